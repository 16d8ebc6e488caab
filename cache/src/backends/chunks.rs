//! Cuts a stream into chunks by its content, so that what is equal in two streams is equal chunks in both.
//!
//! A cut is where a rolling hash over the last bytes has so many zeros; between two cuts are at least [`MIN`] and at most
//! [`MAX`] bytes. A chunk is named by the blake3 of its bytes, and travels as a blob: one zstd frame.

use std::collections::HashMap;
use std::io::{self, Read};

use rbuild_image::compress::{Compression, DecodeLimits, Decoder, Encoding, Threads, compress};
use rbuild_image::manifest::Descriptor;
use rbuild_model::digest::BlobDigest;
use rbuild_model::key::ContentHash;
use serde::{Deserialize, Serialize};

use super::catalog::{Blob, CHUNK_TYPE};
use super::{Backend, BackendError, transfer};

/// The least bytes of a chunk, but for the last.
pub const MIN: usize = 512 << 10;
/// The most bytes of a chunk.
pub const MAX: usize = 8 << 20;
/// How many zeros make a cut: one in 2 MiB.
const ZEROS: u32 = 21;
/// The version of the list.
const VERSION: u32 = 1;
/// The most bytes of a list.
pub const MAX_LIST: u64 = 16 << 20;
/// How many chunks are fetched at a time; that many are in memory.
const PARALLEL: usize = 4;

/// The chunks of one stream, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkList {
    version: u32,
    /// The chunks.
    pub chunks: Vec<Chunk>,
}

/// One chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// The hash of its bytes.
    pub hash: ContentHash,
    /// How many there are.
    pub size: u64,
    /// What it travels as.
    pub blob: Blob,
}

impl ChunkList {
    /// Lists chunks.
    pub fn new(chunks: Vec<Chunk>) -> Self {
        Self { version: VERSION, chunks }
    }

    /// Writes it.
    ///
    /// # Panics
    ///
    /// Never: the form has only text keys.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("the form has only text keys")
    }

    /// Reads one that came from elsewhere, and checks it.
    pub fn parse(bytes: &[u8]) -> Result<Self, BackendError> {
        let unusable = |why: String| BackendError::Unusable(format!("the list of a cache mount: {why}"));
        let list: Self = serde_json::from_slice(bytes).map_err(|error| unusable(error.to_string()))?;
        if list.version != VERSION {
            return Err(unusable(format!("it is of version {}", list.version)));
        }
        let most = MAX as u64;
        match list.chunks.iter().find(|chunk| chunk.size > most || chunk.blob.size > 2 * most) {
            Some(chunk) => Err(unusable(format!("a chunk of {} bytes", chunk.size.max(chunk.blob.size)))),
            None => Ok(list),
        }
    }

    /// Returns how many bytes the stream has.
    pub fn bytes(&self) -> u64 {
        self.chunks.iter().fold(0, |sum, chunk| sum.saturating_add(chunk.size))
    }

    /// Returns the chunks by their hashes.
    pub fn known(&self) -> HashMap<ContentHash, Blob> {
        self.chunks.iter().map(|chunk| (chunk.hash, chunk.blob.clone())).collect()
    }
}

/// A chunk as it was cut.
pub struct Cut {
    /// The hash of its bytes.
    pub hash: ContentHash,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Cut {
    /// Packs it.
    pub fn pack(&self) -> io::Result<(Chunk, Vec<u8>)> {
        let mut packed = Vec::new();
        compress(&self.bytes[..], &mut packed, Encoding::ZSTD, Threads(std::num::NonZeroUsize::MIN))?;
        let blob = Blob::from(&Descriptor::new(CHUNK_TYPE, BlobDigest::of(&packed), packed.len() as u64));
        Ok((Chunk { hash: self.hash, size: self.bytes.len() as u64, blob }, packed))
    }
}

/// Cuts a stream; each chunk is handed on as it is found.
pub fn cut<E: From<io::Error>>(
    mut stream: impl Read,
    mut found: impl FnMut(Cut) -> Result<(), E>,
) -> Result<(), E> {
    let gear = gear();
    let mut hand_on = |bytes: Vec<u8>| {
        let hash = ContentHash::from_bytes(*blake3::hash(&bytes).as_bytes());
        found(Cut { hash, bytes })
    };
    let mut chunk: Vec<u8> = Vec::with_capacity(MAX);
    let mut rolling = 0_u64;
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            // Below the least size nothing is looked at: a cut depends on the last 64 bytes only.
            let skipped = MIN.saturating_sub(64).saturating_sub(chunk.len()).min(rest.len());
            chunk.extend_from_slice(&rest[..skipped]);
            rest = &rest[skipped..];
            let mut taken = 0;
            let mut is_cut = false;
            for byte in rest {
                taken += 1;
                rolling = (rolling << 1).wrapping_add(gear[usize::from(*byte)]);
                let length = chunk.len() + taken;
                if length >= MAX || (length >= MIN && rolling.leading_zeros() >= ZEROS) {
                    is_cut = true;
                    break;
                }
            }
            chunk.extend_from_slice(&rest[..taken]);
            rest = &rest[taken..];
            if is_cut {
                rolling = 0;
                hand_on(std::mem::replace(&mut chunk, Vec::with_capacity(MAX)))?;
            }
        }
    }
    if !chunk.is_empty() {
        hand_on(chunk)?;
    }
    Ok(())
}

/// The numbers of the rolling hash: they are part of what makes chunks equal, and so never change.
fn gear() -> [u64; 256] {
    let mut bytes = [0; 256 * 8];
    blake3::Hasher::new().update(b"rbuild chunk gear 1").finalize_xof().fill(&mut bytes);
    let mut gear = [0; 256];
    for (number, bytes) in gear.iter_mut().zip(bytes.chunks_exact(8)) {
        *number = bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    }
    gear
}

/// Fetches the chunks of a list and hands their bytes on in order, several on their way at a time.
pub fn restore(
    backend: &dyn Backend,
    list: &ChunkList,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), BackendError> {
    for window in list.chunks.chunks(PARALLEL) {
        let fetched = std::thread::scope(|scope| {
            let fetches: Vec<_> =
                window.iter().map(|chunk| scope.spawn(move || fetch(backend, chunk))).collect();
            let join = |fetch: std::thread::ScopedJoinHandle<'_, _>| match fetch.join() {
                Ok(fetched) => fetched,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            fetches.into_iter().map(join).collect::<Result<Vec<_>, BackendError>>()
        })?;
        for bytes in fetched {
            take(&bytes)
                .map_err(|source| BackendError::Here { act: "write a cache mount", source: source.into() })?;
        }
    }
    Ok(())
}

fn fetch(backend: &dyn Backend, chunk: &Chunk) -> Result<Vec<u8>, BackendError> {
    let packed = transfer::read(backend, &chunk.blob.descriptor(), 2 * MAX as u64)?;
    let wrong = |why: String| BackendError::Unusable(format!("the chunk {}: {why}", chunk.hash));
    let limits = DecodeLimits::default();
    let decoder =
        Decoder::new(Compression::Zstd, &packed[..], limits).map_err(|error| wrong(error.to_string()))?;
    let mut bytes = Vec::new();
    decoder.take(chunk.size + 1).read_to_end(&mut bytes).map_err(|error| wrong(error.to_string()))?;
    if bytes.len() as u64 != chunk.size
        || ContentHash::from_bytes(*blake3::hash(&bytes).as_bytes()) != chunk.hash
    {
        return Err(wrong("what came is something else".to_owned()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn noise(seed: &[u8], length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        blake3::Hasher::new().update(seed).finalize_xof().fill(&mut bytes);
        bytes
    }

    fn cuts(bytes: &[u8]) -> Vec<Cut> {
        let mut cuts = Vec::new();
        cut(bytes, |cut| -> io::Result<()> {
            cuts.push(cut);
            Ok(())
        })
        .unwrap();
        cuts
    }

    #[test]
    fn chunks_are_bounded_and_make_up_the_stream() {
        for length in [0, 1, MIN, 20 << 20] {
            let bytes = noise(b"a", length);
            let cuts = cuts(&bytes);
            assert_eq!(cuts.iter().flat_map(|cut| &cut.bytes).copied().collect::<Vec<_>>(), bytes);
            assert!(cuts.iter().all(|cut| cut.bytes.len() <= MAX));
            assert!(cuts.iter().rev().skip(1).all(|cut| cut.bytes.len() >= MIN));
        }
        let zeros = vec![0; 20 << 20];
        assert!(cuts(&zeros).iter().all(|cut| cut.bytes.len() <= MAX), "where nothing cuts, the bound does");
    }

    #[test]
    fn what_is_put_in_between_changes_the_chunks_around_it_only() {
        let bytes = noise(b"b", 40 << 20);
        let mut changed = bytes.clone();
        changed.splice(10 << 20..10 << 20, *b"something new");
        let hashes = |bytes: &[u8]| cuts(bytes).into_iter().map(|cut| cut.hash).collect::<HashSet<_>>();
        let (before, after) = (hashes(&bytes), hashes(&changed));
        assert!(before.len() > 8, "{}", before.len());
        assert!(after.difference(&before).count() <= 2, "{}", after.difference(&before).count());
    }

    #[test]
    fn where_cuts_are_is_pinned() {
        let lengths: Vec<usize> = cuts(&noise(b"c", 16 << 20)).iter().map(|cut| cut.bytes.len()).collect();
        let pinned = [953_360, 5_074_685, 1_865_286, 2_249_140, 2_099_422, 2_782_238, 1_568_160, 184_925];
        assert_eq!(lengths, pinned);
    }

    #[test]
    fn lists_with_impossible_chunks_are_refused() {
        let (chunk, packed) = Cut { hash: ContentHash::from_bytes([0; 32]), bytes: vec![1] }.pack().unwrap();
        assert_eq!(chunk.blob.digest, BlobDigest::of(&packed));
        let list = ChunkList::new(vec![chunk.clone()]);
        assert_eq!(ChunkList::parse(&list.to_bytes()).unwrap(), list);
        let huge = ChunkList::new(vec![Chunk { size: u64::MAX, ..chunk }]);
        assert!(ChunkList::parse(&huge.to_bytes()).is_err());
        assert!(ChunkList::parse(b"{}").is_err());
    }
}
