//! Cache mounts that travel: as tars in chunks.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rbuild_cache::backends::catalog::{Blob, MOUNT_TYPE, Mount};
use rbuild_cache::backends::chunks::{self, Chunk, ChunkList, Cut};
use rbuild_cache::backends::{self, Backend, BackendError, Imports, Put, Sent};
use rbuild_confined::Root;
use rbuild_image::distribution::Sender;
use rbuild_image::manifest::Descriptor;
use rbuild_image::tar::{Limits, Reader};
use rbuild_model::key::ContentHash;
use rbuild_model::mount::{CacheMount, Mount as StepMount};
use rbuild_model::step::Operation;
use rbuild_snapshotter::extract::{Extractor, Rules};
use rbuild_snapshotter::write_tree;
use rbuild_store::{LockClass, LockMode, LockName, Wait};

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

struct Packed<'a>(&'a [u8]);

impl Sender for Packed<'_> {
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        self.0.open(from)
    }
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
                Some(former) => Ok(Some((former.clone(), Sent::default()))),
                None => self.hand_on(),
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
        let known = known.ok().flatten().map(|list| list.known()).unwrap_or_default();
        let (chunks, sent) = self.bring(&folder, &known)?;
        let list = ChunkList::new(chunks);
        let bytes = list.to_bytes();
        let descriptor = Descriptor::of(MOUNT_TYPE, &bytes);
        self.backend.put(&descriptor, &Packed(&bytes))?;
        Ok(Some((self.described(&list, &descriptor), sent)))
    }

    fn described(&self, list: &ChunkList, descriptor: &Descriptor) -> Mount {
        let mut chunks: Vec<Blob> = list.chunks.iter().map(|chunk| chunk.blob.clone()).collect();
        let mut known = std::collections::HashSet::new();
        chunks.retain(|blob| known.insert(blob.digest));
        Mount {
            name: self.mount.name.clone(),
            id: self.mount.id.clone(),
            list: Blob::from(descriptor),
            chunks,
            bytes: list.bytes(),
        }
    }

    /// Brings a mount from the cache that was imported to this one.
    fn hand_on(&self) -> Result<Option<(Mount, Sent)>, BackendError> {
        let Some((_, from, mount)) = self.imports.mount(&self.mount.name) else { return Ok(None) };
        let blobs: Vec<&Blob> = mount.chunks.iter().chain([&mount.list]).collect();
        let sent = backends::send_missing(&blobs, self.parallel, self.deadline, |blob| {
            let descriptor = blob.descriptor();
            if self.backend.has(&descriptor)? {
                return Ok((Put::Present, 0));
            }
            let bytes = backends::read(&*from, &descriptor, chunks::MAX_LIST)?;
            Ok((self.backend.put(&descriptor, &Packed(&bytes))?, descriptor.size))
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
                Ok((self.backend.put(&descriptor, &Packed(&fresh.packed))?, descriptor.size))
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

fn read_list(backend: &dyn Backend, mount: &Mount) -> Result<ChunkList, BackendError> {
    ChunkList::parse(&backends::read(backend, &mount.list.descriptor(), chunks::MAX_LIST)?)
}

/// Fills a fresh folder with the mount of a name, if a cache that is imported has it; says whether it did.
///
/// What cannot be had, or does not hold together, leaves the folder to be thrown away.
pub(crate) fn restore(imports: &Imports, name: &str, folder: &Path) -> Result<bool, BackendError> {
    let Some((_, backend, mount)) = imports.mount(name) else { return Ok(false) };
    let list = read_list(&*backend, mount)?;
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
        restored.map(|()| true)
    })
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
