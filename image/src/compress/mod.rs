//! Compression of layers and archives: telling the forms apart, bounded decoding, parallel encoding.
//!
//! [`Decoder`] reads a stream whose form its first bytes tell (or that is said) and keeps bounds on what comes
//! out of it, so that a small file cannot fill a disk: so many bytes, so many times the input, so much memory for
//! a window. A stream must be whole: damage, a cut end and anything behind the end are errors.
//!
//! [`compress`] makes gzip or zstd on several threads; the bytes do not depend on how many. The gzip form is a
//! sequence of members of at most [`GZIP_CHUNK`] bytes, without names or times, so that it is also decoded by several
//! threads; what is packed already (pictures, archives) is stored in it as it is. Streams of zstd that have many frames are
//! decoded by several threads, too; all other forms by one.

mod decode;
mod encode;
mod frames;
mod input;
mod many;
mod member;
mod members;
mod noise;

#[cfg(test)]
mod tests;

use std::io;

pub use decode::{DecodeLimits, Decoder};
pub use encode::{Encoding, GZIP_CHUNK, Threads, compress};

use crate::manifest::LayerFormat;

/// A form of compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// None.
    None,
    /// gzip, of one member or many.
    Gzip,
    /// zstd, of one frame or many.
    Zstd,
    /// xz.
    Xz,
    /// bzip2.
    Bzip2,
}

impl Compression {
    /// The number of first bytes that tell the form.
    pub const MAGIC_BYTES: usize = 6;

    /// Tells the form of a stream by its first bytes; what is none of the known forms is taken as not compressed.
    pub fn detect(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, 8, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // A skippable frame may come first.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Self::Bzip2,
            _ => Self::None,
        }
    }
}

impl From<LayerFormat> for Compression {
    fn from(format: LayerFormat) -> Self {
        match format {
            LayerFormat::Tar => Self::None,
            LayerFormat::Gzip => Self::Gzip,
            LayerFormat::Zstd => Self::Zstd,
        }
    }
}

/// A stream could not be decoded, or not within its bounds.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// More bytes came out than allowed.
    #[error("the stream expands to more than {0} bytes")]
    TooLarge(u64),
    /// The stream expands far more than contents do.
    #[error("the stream expands to more than {0} times its size")]
    Ratio(u64),
    /// Something stands behind the compressed stream.
    #[error("something stands behind the end of the compressed stream")]
    Trailing,
    /// There are more members than allowed.
    #[error("the stream has more than {0} members")]
    TooManyMembers(u64),
}

impl From<DecodeError> for io::Error {
    fn from(error: DecodeError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}
