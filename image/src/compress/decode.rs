//! Bounded decoding.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::frames::Zstd;
use super::input::Input;
use super::members::Gzip;
use super::{Compression, DecodeError};

/// The bounds of decoding; tests lower them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Bytes that may come out.
    pub expanded_bytes: u64,
    /// How many times the input the output may be.
    pub ratio: u64,
    /// Bytes that may come out before the ratio counts: small contents may be as regular as they like.
    pub ratio_after: u64,
    /// Members of a gzip stream.
    pub members: u64,
    /// Memory of one decoder, in bytes (the window of zstd, the dictionary of xz).
    pub memory: u64,
}

impl Default for DecodeLimits {
    fn default() -> Self {
        Self {
            expanded_bytes: 64 << 30,
            ratio: 1000,
            ratio_after: 64 << 20,
            members: 1 << 22,
            memory: 128 << 20,
        }
    }
}

/// Reads what a compressed stream holds, wherever that comes from: all decoders are compiled once.
pub struct Decoder<'a> {
    form: Form<'a>,
    limits: DecodeLimits,
    input: Arc<AtomicU64>,
    output: u64,
}

enum Form<'a> {
    Plain(Input<'a>),
    Gzip(Gzip<'a>),
    Zstd(Zstd<'a>),
    Xz(liblzma::bufread::XzDecoder<Input<'a>>),
    Bzip2(bzip2::bufread::MultiBzDecoder<Input<'a>>),
}

impl<'a> Decoder<'a> {
    /// Starts to decode a stream whose form its first bytes tell.
    pub fn detect(mut inner: impl Read + 'a, limits: DecodeLimits) -> io::Result<Self> {
        let mut start = Vec::with_capacity(Compression::MAGIC_BYTES);
        (&mut inner).take(Compression::MAGIC_BYTES as u64).read_to_end(&mut start)?;
        Self::make(Compression::detect(&start), start, Box::new(inner), limits)
    }

    /// Starts to decode a stream of a known form.
    pub fn new(compression: Compression, inner: impl Read + 'a, limits: DecodeLimits) -> io::Result<Self> {
        Self::make(compression, Vec::new(), Box::new(inner), limits)
    }

    fn make(
        compression: Compression,
        start: Vec<u8>,
        inner: Box<dyn Read + 'a>,
        limits: DecodeLimits,
    ) -> io::Result<Self> {
        let (input, count) = Input::new(start, inner);
        let form = match compression {
            Compression::None => Form::Plain(input),
            Compression::Gzip => Form::Gzip(Gzip::new(input, limits.members)),
            Compression::Zstd => Form::Zstd(Zstd::new(input, limits.memory.max(1024).ilog2())?),
            Compression::Xz => {
                let stream =
                    liblzma::stream::Stream::new_stream_decoder(limits.memory, liblzma::stream::CONCATENATED)
                        .map_err(io::Error::other)?;
                Form::Xz(liblzma::bufread::XzDecoder::new_stream(input, stream))
            }
            Compression::Bzip2 => Form::Bzip2(bzip2::bufread::MultiBzDecoder::new(input)),
        };
        Ok(Self { form, limits, input: count, output: 0 })
    }

    /// Returns how many bytes came out so far.
    pub const fn expanded_bytes(&self) -> u64 {
        self.output
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let count = match &mut self.form {
            Form::Plain(input) => input.read(buffer)?,
            Form::Gzip(decoder) => decoder.read(buffer)?,
            Form::Zstd(decoder) => decoder.read(buffer)?,
            Form::Xz(decoder) => decoder.read(buffer)?,
            Form::Bzip2(decoder) => decoder.read(buffer)?,
        };
        if count == 0 {
            let rest = match &mut self.form {
                Form::Plain(_) | Form::Gzip(_) | Form::Zstd(_) => 0,
                Form::Xz(decoder) => decoder.get_mut().fill_buf()?.len(),
                Form::Bzip2(decoder) => decoder.get_mut().fill_buf()?.len(),
            };
            return if rest == 0 { Ok(0) } else { Err(DecodeError::Trailing.into()) };
        }
        self.output += count as u64;
        if self.output > self.limits.expanded_bytes {
            return Err(DecodeError::TooLarge(self.limits.expanded_bytes).into());
        }
        if self.output > self.limits.ratio_after
            && self.output / self.limits.ratio.max(1) > self.input.load(Ordering::Relaxed)
        {
            return Err(DecodeError::Ratio(self.limits.ratio).into());
        }
        Ok(count)
    }
}
