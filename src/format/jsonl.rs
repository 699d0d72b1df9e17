//! JSON lines: one record a line, plain or compressed with zstd.

use std::io::Read as _;

use zstd::stream::read::Decoder;

use crate::error::{Error, Result};

/// zstd's own default: fast, and a third to a tenth of what text was.
const LEVEL: i32 = 3;
/// Bytes that are decompressed at once.
const PIECE: usize = 1 << 20;

/// Lines of `data` without their ends (`\n` or `\r\n`), each of which must be UTF-8.
pub fn lines(data: &[u8]) -> impl Iterator<Item = Result<&str>> {
    let data = data.strip_suffix(b"\n").unwrap_or(data);
    let none = data.is_empty();
    let lines = data.split(|&byte| byte == b'\n').filter(move |_| !none);
    lines.map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        std::str::from_utf8(line).map_err(|_| Error::input("a line of JSON is not UTF-8"))
    })
}

/// Compresses with zstd, with a checksum of the content; the same input gives the same bytes.
pub fn deflate(data: &[u8]) -> Result<Vec<u8>> {
    let failed = |e| Error::internal(format!("zstd cannot compress ({e})"));
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), LEVEL).map_err(failed)?;
    encoder.include_checksum(true).map_err(failed)?;
    encoder.set_pledged_src_size(Some(data.len() as u64)).map_err(failed)?;
    std::io::Write::write_all(&mut encoder, data).map_err(failed)?;
    encoder.finish().map_err(failed)
}

/// Decompresses zstd, at most `limit` bytes: a few bytes can claim any number of them.
pub fn inflate(data: &[u8], limit: usize) -> Result<Vec<u8>> {
    let bad = |e| Error::input(format!("a zstd object cannot be read ({e}); write it again"));
    let mut decoder = Decoder::with_buffer(data).map_err(bad)?;
    let mut all = Vec::new();
    loop {
        // Memory grows with what really comes, never with what a frame claims.
        let read = (&mut decoder).take(PIECE as u64).read_to_end(&mut all).map_err(bad)?;
        if all.len() > limit {
            return Err(Error::input(format!(
                "a zstd object has more than {limit} bytes; split it"
            )));
        }
        if read == 0 {
            return Ok(all);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(data: &[u8]) -> Vec<&str> {
        lines(data).collect::<Result<_>>().unwrap()
    }

    #[test]
    fn lines_end_with_or_without_a_newline() {
        assert_eq!(all(b""), Vec::<&str>::new());
        assert_eq!(all(b"1"), ["1"]);
        assert_eq!(all(b"1\r\n2\n"), ["1", "2"]);
        assert_eq!(all(b"1\n\n2"), ["1", "", "2"]);
        assert_eq!(all("\"\u{2028}\"\n".as_bytes()), ["\"\u{2028}\""]);
        assert!(lines(b"1\n\xff\n").any(|line| line.is_err()));
    }

    proptest! {
        #[test]
        fn round_trip(data in prop::collection::vec(any::<u8>(), 0..5000), copies in 1usize..600) {
            let data = data.repeat(copies);
            let packed = deflate(&data).unwrap();
            prop_assert_eq!(&inflate(&packed, data.len()).unwrap(), &data);
            prop_assert_eq!(deflate(&data).unwrap(), packed);
        }

        #[test]
        fn damage_is_an_error(at in 0usize..4000, bit in 0u8..8) {
            let data: Vec<u8> = (0..4000u32).map(|i| (i * i % 251) as u8).collect();
            let mut packed = deflate(&data).unwrap();
            let at = at % packed.len();
            packed[at] ^= 1 << bit;
            prop_assert!(inflate(&packed, 1 << 20).map_or(true, |read| read == data));
            packed.truncate(at.max(1));
            prop_assert!(inflate(&packed, 1 << 20).is_err());
        }
    }

    #[test]
    fn a_frame_that_grows_without_end_is_refused() {
        let bomb = deflate(&vec![0; 64 << 20]).unwrap();
        assert!(bomb.len() < 64 << 10);
        let error = inflate(&bomb, 1 << 20).unwrap_err().to_string();
        assert!(error.contains("more than 1048576 bytes"), "{error}");
        // A frame that claims 2^63 bytes and has none: magic, a descriptor with an 8-byte size, the size.
        let mut liar = vec![0x28, 0xb5, 0x2f, 0xfd, 0b1110_0000];
        liar.extend_from_slice(&(1u64 << 62).to_le_bytes());
        assert!(inflate(&liar, usize::MAX).is_err());
    }
}
