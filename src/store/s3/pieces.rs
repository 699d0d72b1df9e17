use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::reference::Crc;

/// A body of which the signature covers the bytes; larger ones are vouched for by their CRC, which S3 compares.
pub(super) const SIGNED: usize = 64 << 10;

/// The pieces as a request's body, sent from where they lie; a retry sends them again.
pub(super) fn stream(pieces: Vec<Bytes>) -> ByteStream {
    let bytes: usize = pieces.iter().map(Bytes::len).sum();
    ByteStream::new(if bytes <= SIGNED {
        SdkBody::from(joined(pieces))
    } else {
        SdkBody::retryable(move || SdkBody::from_body_1_x(Pieces::new(pieces.clone())))
    })
}

/// The pieces as one, copied if there are several.
pub(super) fn joined(pieces: Vec<Bytes>) -> Bytes {
    match <[Bytes; 1]>::try_from(pieces) {
        Ok([only]) => only,
        Err(pieces) => pieces.concat().into(),
    }
}

/// CRC-64/NVME of the pieces.
pub(super) fn crc(pieces: &[Bytes]) -> u64 {
    let mut crc = Crc::default();
    for piece in pieces {
        crc.update(piece);
    }
    crc.value()
}

/// The bytes `start..start + length` of pieces that follow each other.
pub(super) fn cut(pieces: &[Bytes], start: u64, length: u64) -> Vec<Bytes> {
    let (mut skip, mut left, mut found) = (start, length, Vec::new());
    for piece in pieces {
        let bytes = piece.len() as u64;
        if skip >= bytes {
            skip -= bytes;
            continue;
        }
        let take = left.min(bytes - skip);
        if take == 0 {
            break;
        }
        // Both are at most the length of a piece, which is in memory.
        let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        found.push(piece.slice(at(skip)..at(skip + take)));
        (skip, left) = (0, left - take);
    }
    found
}

struct Pieces {
    left: VecDeque<Bytes>,
    bytes: u64,
}

impl Pieces {
    fn new(pieces: Vec<Bytes>) -> Self {
        let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self { left: pieces.into(), bytes }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.left.pop_front();
        self.bytes -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cuts_follow_each_other(lengths in prop::collection::vec(0usize..9, 0..6), part in 1u64..9) {
            let pieces: Vec<Bytes> = lengths.iter().enumerate()
                .map(|(i, &n)| vec![u8::try_from(i).unwrap(); n].into()).collect();
            let whole = pieces.concat();
            let mut again = Vec::new();
            let mut start = 0;
            while start < whole.len() as u64 {
                let length = part.min(whole.len() as u64 - start);
                let found = cut(&pieces, start, length).concat();
                prop_assert_eq!(found.len() as u64, length);
                again.extend(found);
                start += length;
            }
            prop_assert_eq!(again, whole);
        }
    }
}
