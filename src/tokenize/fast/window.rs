//! Where words of ASCII begin and end, 64 bytes at a time.

/// Bytes that are classified at once.
pub(super) const WINDOW: usize = 64;

/// Classes of the 64 bytes of a window, a bit each.
pub(super) struct Classes {
    /// ASCII letters and digits.
    pub(super) word: u64,
    pub(super) punctuation: u64,
    space: u64,
}

impl Classes {
    #[inline]
    pub(super) fn of(window: &[u8; WINDOW]) -> Self {
        let (mut word, mut graphic, mut space) = (0, 0, 0);
        for (part, bytes) in window.as_chunks::<16>().0.iter().enumerate() {
            let (w, g, s) = simd::classes(bytes);
            word |= u64::from(w) << (16 * part);
            graphic |= u64::from(g) << (16 * part);
            space |= u64::from(s) << (16 * part);
        }
        Self { word, punctuation: graphic & !word, space }
    }

    /// Control characters, and what is not ASCII.
    pub(super) fn other(&self) -> u64 {
        !(self.word | self.punctuation | self.space)
    }
}

/// Sets `case` in ASCII capitals.
#[inline]
pub(super) fn lower(mut bytes: [u8; 16], case: u8) -> [u8; 16] {
    for byte in &mut bytes {
        let capital = byte.wrapping_sub(b'A') < 26;
        *byte |= if capital { case } else { 0 };
    }
    bytes
}

#[cfg(target_arch = "x86_64")]
mod simd {
    use std::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
        _mm_sub_epi8,
    };

    /// Which of 16 bytes are letters or digits; printable but no space; and space, tab or an end of line.
    ///
    /// SSE2 only, which every x86-64 processor has.
    #[inline]
    pub(super) fn classes(bytes: &[u8; 16]) -> (u16, u16, u16) {
        // SAFETY: SSE2 is part of x86-64.
        unsafe { classes_sse2(bytes) }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn classes_sse2(bytes: &[u8; 16]) -> (u16, u16, u16) {
        // SAFETY: both are 16 bytes without invalid values.
        let bytes: __m128i = unsafe { std::mem::transmute(*bytes) };
        let set = |byte: u8| -> __m128i { _mm_set1_epi8(byte.cast_signed()) };
        let within = |bytes: __m128i, first: u8, count: u8| {
            let from_first = _mm_sub_epi8(bytes, set(first));
            _mm_cmpeq_epi8(_mm_min_epu8(from_first, set(count - 1)), from_first)
        };
        let mask = |lanes: __m128i| _mm_movemask_epi8(lanes).cast_unsigned() as u16;
        let letters = within(_mm_or_si128(bytes, set(0x20)), b'a', 26);
        let word = _mm_or_si128(letters, within(bytes, b'0', 10));
        let graphic = within(bytes, b'!', 94);
        let ends = _mm_or_si128(within(bytes, b'\t', 2), _mm_cmpeq_epi8(bytes, set(b'\r')));
        let space = _mm_or_si128(ends, _mm_cmpeq_epi8(bytes, set(b' ')));
        (mask(word), mask(graphic), mask(space))
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod simd {
    pub(super) use super::classes_plain as classes;
}

/// What `simd::classes` gives, byte by byte.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn classes_plain(bytes: &[u8; 16]) -> (u16, u16, u16) {
    let bits = |class: fn(u8) -> bool| {
        bytes.iter().rev().fold(0, |bits, &byte| bits << 1 | u16::from(class(byte)))
    };
    (
        bits(|byte| byte.is_ascii_alphanumeric()),
        bits(|byte| byte.is_ascii_graphic()),
        bits(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_classify_as_the_loop_does() {
        for byte in 0..=255 {
            for at in 0..16 {
                let mut bytes = [b'.'; 16];
                bytes[at] = byte;
                assert_eq!(simd::classes(&bytes), classes_plain(&bytes), "{byte} at {at}");
            }
        }
    }
}
