//! Bytes as text of hex digits: always lower-case, always two a byte.

use std::fmt;

/// Shows bytes as hex digits.
#[derive(Clone, Copy, Debug)]
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut buffer = [0_u8; 64];
        // A digest is written at once: names of blobs and keys of records are made of it all the time.
        for part in self.0.chunks(buffer.len() / 2) {
            for (pair, byte) in buffer.chunks_exact_mut(2).zip(part) {
                pair[0] = DIGITS[usize::from(byte >> 4)];
                pair[1] = DIGITS[usize::from(byte & 15)];
            }
            f.write_str(std::str::from_utf8(&buffer[..part.len() * 2]).map_err(|_| fmt::Error)?)?;
        }
        Ok(())
    }
}

/// Reads as many bytes as `out` takes; nothing else is hex of them, capitals neither.
pub fn parse(text: &str, out: &mut [u8]) -> Option<()> {
    let text = text.as_bytes();
    if text.len() != out.len() * 2 {
        return None;
    }
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_has_one_spelling() {
        let bytes: Vec<u8> = (0..=255).collect();
        let text = Hex(&bytes).to_string();
        assert_eq!(&text[..8], "00010203");
        let mut read = vec![0; bytes.len()];
        assert_eq!(parse(&text, &mut read), Some(()));
        assert_eq!(read, bytes);
        for wrong in ["", "a", "aaa", "AA", "0x", "é"] {
            assert_eq!(parse(wrong, &mut [0]), None, "{wrong}");
        }
    }
}
