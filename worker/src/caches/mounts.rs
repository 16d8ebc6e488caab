//! Cache mounts that travel: as tars in chunks.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rbuild_cache::backends::catalog::{Blob, MOUNT_TYPE, Mount};
use rbuild_cache::backends::chunks::{self, Chunk, ChunkList, Cut};
use rbuild_cache::backends::{self, Backend, BackendError, Imports, Put, Sent};
use rbuild_confined::Root;
use rbuild_image::manifest::Descriptor;
use rbuild_image::tar::{Limits, Reader};
use rbuild_model::digest::BlobDigest;
use rbuild_model::key::ContentHash;
use rbuild_model::mount::{CacheMount, Mount as StepMount};
use rbuild_model::step::Operation;
use rbuild_snapshotter::extract::{Extractor, Rules};
use rbuild_snapshotter::write_tree;
use rbuild_store::usage::bytes_of;
use rbuild_store::{LockClass, LockMode, LockName, Room, RoomError, Store, Wait};

use crate::cancel::Cancel;
use crate::mounts::plain_folder_name;
use crate::worker::Worker;

/// How long a mount that is in use is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// A cache mount that a build may have used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UsedMount {
    /// The name of its folder.
    pub(crate) name: String,
    /// Its id.
    pub(crate) id: String,
}

/// Adds the cache mounts of a step. Those that begin with a tree have names that only this store knows, and stay.
pub(super) fn used(operation: &Operation, used: &mut Vec<UsedMount>) {
    let Operation::Exec(exec) = operation else { return };
    for mount in &exec.mounts {
        if let StepMount::Cache(cache @ CacheMount { from: None, .. }) = mount {
            let found = UsedMount { name: plain_folder_name(cache), id: cache.id.clone() };
            if !used.contains(&found) {
                used.push(found);
            }
        }
    }
}

/// Keeps what the cache has of the mounts of a build of which nothing new was brought: an older one is better than none.
pub(super) fn keep_former(mounts: &mut Vec<Mount>, former: Vec<Mount>, used: &[UsedMount]) {
    for mount in former {
        let is_used = used.iter().any(|used| used.name == mount.name);
        if is_used && !mounts.iter().any(|brought| brought.name == mount.name) {
            mounts.push(mount);
        }
    }
}

/// One mount to be brought to one cache.
pub(super) struct Bring<'a> {
    pub(super) worker: &'a Worker,
    pub(super) mount: &'a UsedMount,
    pub(super) backend: &'a dyn Backend,
    /// The mounts that the cache has by now.
    pub(super) former: &'a [Mount],
    pub(super) imports: &'a Imports,
    pub(super) parallel: usize,
    pub(super) deadline: Option<Instant>,
}

/// A chunk that has to go up.
struct Fresh {
    chunk: Chunk,
    packed: Vec<u8>,
}

/// How many chunks are packed before they go up: they are in memory.
const BATCH: usize = 8;

impl Bring<'_> {
    /// Brings what of the mount is not there. A mount that is not here stays as the cache, or the one that it was to come
    /// from, has it.
    pub(super) fn run(&self) -> Result<Option<(Mount, Sent)>, BackendError> {
        let former = self.former.iter().find(|mount| mount.name == self.mount.name);
        let folder = self.worker.store.layout().mounts().join(&self.mount.name);
        if !folder.is_dir() {
            return match former {
                Some(former) if self.is_whole(former)? => Ok(Some((former.clone(), Sent::default()))),
                _ => self.hand_on(),
            };
        }
        let name = LockName::new(LockClass::CacheMount, &self.mount.name);
        let left =
            self.deadline.map_or(PATIENCE, |deadline| deadline.saturating_duration_since(Instant::now()));
        let wait = Wait { timeout: Some(left.min(PATIENCE)), ..Wait::forever() };
        let locked = self.worker.store.locks().scope().acquire(&name, LockMode::Exclusive, &wait);
        let _lock = locked.map_err(|error| BackendError::Here { act: "lock it", source: error.into() })?;
        // What the cache has of it is known without packing it again.
        let known = former.map(|former| read_list(self.backend, former)).transpose();
        let mut known = known.ok().flatten().map(|list| list.known()).unwrap_or_default();
        let blobs: Vec<Blob> = known.values().cloned().collect();
        let there = self.there(&blobs)?;
        known.retain(|_, blob| there.contains(&blob.digest));
        let (chunks, sent) = self.bring(&folder, &known)?;
        let list = ChunkList::new(chunks);
        let bytes = list.to_bytes();
        let descriptor = Descriptor::of(MOUNT_TYPE, &bytes);
        self.backend.put(&descriptor, &bytes.as_slice())?;
        Ok(Some((self.described(&list, &descriptor), sent)))
    }

    fn described(&self, list: &ChunkList, descriptor: &Descriptor) -> Mount {
        let mut chunks: Vec<Blob> = list.chunks.iter().map(|chunk| chunk.blob.clone()).collect();
        let mut known = HashSet::new();
        chunks.retain(|blob| known.insert(blob.digest));
        Mount {
            name: self.mount.name.clone(),
            id: self.mount.id.clone(),
            list: Blob::from(descriptor),
            chunks,
            bytes: list.bytes(),
        }
    }

    /// Whether the cache still has all that a mount of its own consists of.
    fn is_whole(&self, mount: &Mount) -> Result<bool, BackendError> {
        let blobs: Vec<Blob> = mount.chunks.iter().chain([&mount.list]).cloned().collect();
        let there = self.there(&blobs)?;
        Ok(blobs.iter().all(|blob| there.contains(&blob.digest)))
    }

    fn there(&self, blobs: &[Blob]) -> Result<HashSet<BlobDigest>, BackendError> {
        still_there(self.backend, blobs, self.parallel, self.deadline)
    }

    /// Brings a mount from the cache that was imported to this one.
    fn hand_on(&self) -> Result<Option<(Mount, Sent)>, BackendError> {
        let Some((_, from, mount)) = self.imports.mount(&self.mount.name) else { return Ok(None) };
        let from = self.deadline.map_or_else(|| from.clone(), |deadline| from.until(deadline));
        let blobs: Vec<&Blob> = mount.chunks.iter().chain([&mount.list]).collect();
        let sent = backends::send_missing(&blobs, self.parallel, self.deadline, |blob| {
            let descriptor = blob.descriptor();
            if self.backend.has(&descriptor)? {
                return Ok((Put::Present, 0));
            }
            let bytes = backends::read(&*from, &descriptor, chunks::MAX_LIST)?;
            Ok((self.backend.put(&descriptor, &bytes.as_slice())?, descriptor.size))
        })?;
        Ok(Some((mount.clone(), sent)))
    }

    fn bring(
        &self,
        folder: &Path,
        known: &HashMap<ContentHash, Blob>,
    ) -> Result<(Vec<Chunk>, Sent), BackendError> {
        let here = |act| move |error: io::Error| BackendError::Here { act, source: error.into() };
        let root = Root::open(folder)
            .map_err(|error| BackendError::Here { act: "open it", source: error.into() })?;
        let (reader, writer) = io::pipe().map_err(here("make a pipe"))?;
        let mut list: Vec<Chunk> = Vec::new();
        let mut sent = Sent::default();
        let mut batch: Vec<Fresh> = Vec::new();
        let mut send = |batch: &mut Vec<Fresh>| -> Result<(), BackendError> {
            let done = backends::send_missing(batch, self.parallel, self.deadline, |fresh| {
                let descriptor = fresh.chunk.blob.descriptor();
                Ok((self.backend.put(&descriptor, &fresh.packed.as_slice())?, descriptor.size))
            })?;
            sent.blobs += done.blobs;
            sent.bytes += done.bytes;
            sent.present += done.present;
            batch.clear();
            Ok(())
        };
        let written = std::thread::scope(|scope| {
            let writing = scope.spawn(move || {
                let out = io::BufWriter::with_capacity(256 << 10, writer);
                write_tree(&root, "/", Path::new(""), out).map(|mut out| io::Write::flush(&mut out))
            });
            let cut = chunks::cut(reader, |cut: Cut| -> Result<(), CutError> {
                if let Some(blob) = known.get(&cut.hash) {
                    list.push(Chunk { hash: cut.hash, size: cut.bytes.len() as u64, blob: blob.clone() });
                    return Ok(());
                }
                let (chunk, packed) = cut.pack()?;
                list.push(chunk.clone());
                batch.push(Fresh { chunk, packed });
                if batch.len() >= BATCH { Ok(send(&mut batch)?) } else { Ok(()) }
            });
            match writing.join() {
                Ok(written) => cut.map(|()| written),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        });
        match written {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => return Err(here("read it")(error)),
            Ok(Err(error)) => return Err(BackendError::Here { act: "read it", source: error.into() }),
            Err(CutError::Io(error)) => return Err(here("read it")(error)),
            Err(CutError::Backend(error)) => return Err(error),
        }
        send(&mut batch)?;
        Ok((list, sent))
    }
}

/// Why a mount could not be cut, or its chunks not be sent.
enum CutError {
    Io(io::Error),
    Backend(BackendError),
}

impl From<io::Error> for CutError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<BackendError> for CutError {
    fn from(error: BackendError) -> Self {
        Self::Backend(error)
    }
}

/// Returns which of several blobs a cache still has: what a list names may have been removed there as too old. Those that
/// are there are kept from that by the question.
fn still_there(
    backend: &dyn Backend,
    blobs: &[Blob],
    parallel: usize,
    deadline: Option<Instant>,
) -> Result<HashSet<BlobDigest>, BackendError> {
    let there: Mutex<HashSet<BlobDigest>> = Mutex::default();
    backends::send_missing(blobs, parallel, deadline, |blob| {
        if backend.has(&blob.descriptor())? {
            there.lock().unwrap_or_else(PoisonError::into_inner).insert(blob.digest);
        }
        Ok((Put::Present, 0))
    })?;
    Ok(there.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn read_list(backend: &dyn Backend, mount: &Mount) -> Result<ChunkList, BackendError> {
    ChunkList::parse(&backends::read(backend, &mount.list.descriptor(), chunks::MAX_LIST)?)
}

/// Fills a fresh folder with the mount of a name, if a cache that is imported has it; returns the room that it takes,
/// reserved until the mount is counted.
///
/// What cannot be had, or does not hold together, leaves the folder to be thrown away.
pub(crate) fn restore(
    imports: &Imports,
    name: &str,
    folder: &Path,
    store: &Store,
    cancel: &Cancel,
) -> Result<Option<Room>, BackendError> {
    let Some((_, backend, mount)) = imports.mount(name) else { return Ok(None) };
    let list = read_list(&*backend, mount)?;
    if list.bytes() != mount.bytes {
        return Err(BackendError::Unusable("its list has other bytes than its catalog says".to_owned()));
    }
    let no_room = |error: RoomError| BackendError::Here { act: "reserve room for it", source: error.into() };
    let room = store.reserve_room(list.bytes()).map_err(no_room)?;
    let root = Root::open(folder)
        .map_err(|error| BackendError::Here { act: "open a folder", source: error.into() })?;
    // Two chunks wait at most: so much is in memory besides those that are on their way.
    let (sender, pieces) = mpsc::sync_channel::<Vec<u8>>(2);
    std::thread::scope(|scope| {
        let extracting = scope.spawn(move || {
            let tar = Reader::new(Pieces { pieces, piece: Vec::new(), at: 0 }, Limits::default());
            Extractor::onto_tree(root, Rules::default())?.extract(tar).map(drop)
        });
        let restored = chunks::restore(&*backend, &list, |bytes| {
            if cancel.is_cancelled() {
                return Err(io::Error::other("it was cancelled"));
            }
            sender.send(bytes.to_vec()).map_err(|_| io::Error::other("it is no tar of a cache mount"))
        });
        drop(sender);
        let extracted = match extracting.join() {
            Ok(extracted) => extracted,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        // An error of the extraction ends the fetching, so it goes first.
        extracted
            .map_err(|error| BackendError::Here { act: "unpack a cache mount", source: error.into() })?;
        restored
    })?;
    // Small files take more than their bytes.
    let bytes = bytes_of(folder).map_err(|error| no_room(error.into()))?;
    room.grow_to(bytes).map_err(no_room)?;
    Ok(Some(room))
}

/// Bytes that come in pieces.
struct Pieces {
    pieces: mpsc::Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            match self.pieces.recv() {
                Ok(piece) => (self.piece, self.at) = (piece, 0),
                Err(mpsc::RecvError) => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len() - self.at);
        buffer[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use rbuild_cache::backends::local::{Entry, Local, Unnamed};

    use super::*;

    fn mount(name: &str, list: &[u8]) -> Mount {
        let list = Blob::from(&Descriptor::of(MOUNT_TYPE, list));
        Mount { name: name.to_owned(), id: name.to_owned(), list, chunks: Vec::new(), bytes: 0 }
    }

    #[test]
    fn what_was_not_brought_stays_as_it_was() {
        let used = |name: &str| UsedMount { name: name.to_owned(), id: name.to_owned() };
        let mut mounts = vec![mount("a", b"new")];
        let former = vec![mount("a", b"old"), mount("b", b"old"), mount("unused", b"old")];
        keep_former(&mut mounts, former, &[used("a"), used("b"), used("c")]);
        assert_eq!(mounts, [mount("a", b"new"), mount("b", b"old")]);
    }

    #[test]
    fn chunks_that_the_cache_lost_are_not_known() {
        let folder = tempfile::tempdir().unwrap();
        let tag = Entry::Tag("latest".to_owned());
        let cache = Local::new(folder.path(), tag, backends::Form::default(), Unnamed::Keep);
        let (here, lost) = (mount("a", b"here").list, mount("a", b"lost").list);
        cache.put(&here.descriptor(), &&b"here"[..]).unwrap();
        let there = still_there(&cache, &[here.clone(), lost], 2, None).unwrap();
        assert_eq!(there, HashSet::from([here.digest]));
    }
}
