//! Which tokens stay: the rules of `utils/truncation.rs` and `Encoding::truncate`, on lengths.

use std::ops::Range;

use super::options::{Side, Strategy};

/// Why a text or a pair cannot become rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Upstream fails or panics.
    Unencodable,
    /// `only_second` was asked for, and there is no second.
    NoSecond,
    /// What may be cut is shorter than what must be.
    TooShort,
    /// The windows of a text are no longer than what they share.
    Stride,
    /// The windows would take more memory than one text may.
    Windows,
}

/// How many tokens stay of each text, so that both fit into `room`.
pub(super) fn kept(
    first: usize,
    second: Option<usize>,
    room: usize,
    strategy: Strategy,
) -> Result<(usize, usize), Refusal> {
    let other = second.unwrap_or(0);
    if first.saturating_add(other) <= room {
        return Ok((first, other));
    }
    match (strategy, second) {
        (Strategy::OnlySecond, None) => Err(Refusal::NoSecond),
        (_, None) => Ok((room, 0)),
        (Strategy::OnlyFirst, Some(_)) if other >= room => Err(Refusal::TooShort),
        (Strategy::OnlyFirst, Some(_)) => Ok((room - other, other)),
        (Strategy::OnlySecond, Some(_)) if first >= room => Err(Refusal::TooShort),
        (Strategy::OnlySecond, Some(_)) => Ok((first, room - first)),
        (Strategy::LongestFirst, Some(_)) => {
            let (short, half) = (first.min(other), room / 2);
            // The longer one gives way as long as it stays the longer one.
            let (short, long) =
                if short <= half { (short, room - short) } else { (half, half + room % 2) };
            Ok(if first > other { (long, short) } else { (short, long) })
        }
    }
}

/// The windows over `length` tokens, the one that stays first.
pub(super) fn windows(
    length: usize,
    width: usize,
    stride: usize,
    side: Side,
) -> Result<Vec<Range<usize>>, Refusal> {
    if width >= length {
        return Ok(vec![0..length; 1]);
    }
    if width == 0 {
        return Ok(vec![0..0, 0..length]);
    }
    let step = width.checked_sub(stride).filter(|&step| step > 0).ok_or(Refusal::Stride)?;
    let mut windows = Vec::with_capacity(length / step + 1);
    let mut cut = 0; // tokens before (or, from the left, after) the window
    loop {
        let end = (cut + width).min(length);
        windows.push(match side {
            Side::Right => cut..end,
            Side::Left => length - end..length - cut,
        });
        if end == length {
            return Ok(windows);
        }
        cut += step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokenizers::utils::truncation::{
        TruncationDirection, TruncationParams, TruncationStrategy, truncate_encodings,
    };
    use tokenizers::{Encoding, Token};

    fn encoding(length: usize) -> Encoding {
        let token = |id| Token::new(u32::try_from(id).unwrap(), String::new(), (0, 0));
        Encoding::from_tokens((0..length).map(token).collect(), 0)
    }

    fn ids(window: &Range<usize>) -> Vec<u32> {
        window.clone().map(|id| u32::try_from(id).unwrap()).collect()
    }

    fn spans(encoding: &Encoding) -> Vec<Vec<u32>> {
        let rest = encoding.get_overflowing().iter().map(|e| e.get_ids().to_vec());
        std::iter::once(encoding.get_ids().to_vec()).chain(rest).collect()
    }

    #[test]
    fn what_stays_is_what_upstream_keeps() {
        let strategies = [
            (Strategy::LongestFirst, TruncationStrategy::LongestFirst),
            (Strategy::OnlyFirst, TruncationStrategy::OnlyFirst),
            (Strategy::OnlySecond, TruncationStrategy::OnlySecond),
        ];
        for (ours, strategy) in strategies {
            for case in 0..4000 {
                let (first, second, room) = (case % 20, (case / 20) % 20, case / 400 + 1);
                let second = (second > 0).then(|| second - 1);
                let direction = TruncationDirection::Right;
                let params = TruncationParams { max_length: room, strategy, stride: 0, direction };
                let cut = truncate_encodings(encoding(first), second.map(encoding), &params);
                let cut = cut.ok().map(|(a, b)| (a.len(), b.map_or(0, |b| b.len())));
                assert_eq!(kept(first, second, room, ours).ok(), cut, "{first} {second:?} {room}");
            }
        }
    }

    #[test]
    fn windows_are_upstream_s() {
        for (length, width, stride) in
            (0..24).flat_map(|n| (0..9).flat_map(move |w| (0..9).map(move |s| (n, w, s))))
        {
            if width > 0 && stride >= width {
                assert!(length <= width || windows(length, width, stride, Side::Left).is_err());
                continue;
            }
            for (side, direction) in
                [(Side::Left, TruncationDirection::Left), (Side::Right, TruncationDirection::Right)]
            {
                let mut expected = encoding(length);
                expected.truncate(width, stride, direction);
                let found = windows(length, width, stride, side).unwrap();
                let found: Vec<Vec<u32>> = found.iter().map(ids).collect();
                assert_eq!(found, spans(&expected), "{length} {width} {stride} {side:?}");
            }
        }
    }
}
