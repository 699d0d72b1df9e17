//! JSON lines: one record a line, plain or compressed with zstd.

use std::io::Read as _;

use bytes::{Buf as _, Bytes};
use zstd::stream::raw::{self, InBuffer, Operation as _, OutBuffer};
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
    let mut decoder = Decoder::with_buffer(data).map_err(|e| unreadable(&e))?;
    let mut all = Vec::new();
    loop {
        // Memory grows with what really comes, never with what a frame claims.
        let read =
            (&mut decoder).take(PIECE as u64).read_to_end(&mut all).map_err(|e| unreadable(&e))?;
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

/// Decompresses zstd piece by piece, in memory that does not grow with what a frame claims.
pub struct Inflater {
    decoder: raw::Decoder<'static>,
    /// What has come and was not used yet.
    input: Bytes,
    /// Whether what was used so far are whole frames.
    whole: bool,
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflater").field("whole", &self.whole).finish_non_exhaustive()
    }
}

impl Inflater {
    pub fn new() -> Result<Self> {
        let decoder = raw::Decoder::new().map_err(|e| unreadable(&e))?;
        Ok(Self { decoder, input: Bytes::new(), whole: true })
    }

    /// Takes the next bytes, once [`Inflater::piece`] has given all of the ones before.
    pub fn push(&mut self, data: Bytes) {
        self.input = data;
    }

    /// The next bytes, at most 1 MiB, or none before more has come.
    pub fn piece(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            let mut input = InBuffer::around(&self.input[..]);
            let mut output = OutBuffer::around(&mut piece);
            let rest = self.decoder.run(&mut input, &mut output).map_err(|e| unreadable(&e))?;
            let (used, made) = (input.pos(), output.pos());
            if used == 0 && made == 0 {
                self.whole |= rest == 0;
                return Ok(None);
            }
            self.whole = rest == 0;
            self.input.advance(used);
            if made > 0 {
                return Ok(Some(piece));
            }
        }
    }

    /// Fails where the last frame has no end.
    pub fn finish(&self) -> Result<()> {
        if self.whole { Ok(()) } else { Err(unreadable(&"it is cut")) }
    }
}

fn unreadable(e: &dyn std::fmt::Display) -> Error {
    Error::input(format!("a zstd object cannot be read ({e}); write it again"))
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

        /// All at once is the reference.
        #[test]
        fn pieces_are_the_whole(data in prop::collection::vec(any::<u8>(), 0..900), copies in 1usize..4000, frames in 1usize..3, cut in 1usize..5000, lost in 0usize..9) {
            let data = data.repeat(copies);
            let packed = deflate(&data).unwrap().repeat(frames);
            let packed = &packed[..packed.len() - lost.min(packed.len() - 1)];
            let mut inflater = Inflater::new().unwrap();
            let mut all = Vec::new();
            for part in packed.chunks(cut) {
                inflater.push(Bytes::copy_from_slice(part));
                while let Some(piece) = inflater.piece().unwrap() {
                    prop_assert!(piece.len() <= PIECE);
                    all.extend(piece);
                }
            }
            let whole = inflate(packed, usize::MAX);
            prop_assert_eq!(inflater.finish().is_ok(), whole.is_ok());
            if let Ok(whole) = whole {
                prop_assert_eq!(all, whole);
            }
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
