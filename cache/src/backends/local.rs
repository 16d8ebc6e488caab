//! `type=local`: a folder in the form of an OCI layout.
//!
//! ```text
//! oci-layout          says what it is
//! index.json          one entry a tag
//! blobs/sha256/<hex>  manifests, catalogs, layers, chunks
//! ```
//!
//! A folder is read through [`confined`](rbuild_confined): what is in it may come from anywhere. Writers take turns by a
//! lock on the folder. Each holds a shared lock on `blobs` from its first blob until its catalog names it, and blobs that
//! nothing names are removed only when nobody else holds one.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rbuild_confined::Root;
use rbuild_image::distribution::{Receiver, Sender};
use rbuild_image::manifest::{Descriptor, Document, Index, MAX_DOCUMENT, MediaType};
use rbuild_model::digest::BlobDigest;
use rbuild_store::UniqueId;
use rustix::fs::{FlockOperation, flock};

use super::layout::{self, EMPTY, Form, Meaning};
use super::{Backend, BackendError, Held, Put, catalog};

/// The annotation that a tag stands in.
const TAG: &str = "org.opencontainers.image.ref.name";
/// The file that says that a folder is a layout.
const MARK: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// How much is copied at a time; between two pieces the time is looked at.
const PIECE: usize = 1 << 20;

/// Which document of a layout is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The one with this tag.
    Tag(String),
    /// The one with this digest.
    Digest(BlobDigest),
}

/// Whether blobs that nothing names any more stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unnamed {
    /// They stay.
    #[default]
    Keep,
    /// They go when a catalog is published (`reset`).
    Remove,
}

/// A cache in a folder.
#[derive(Clone, Debug)]
pub struct Local {
    name: String,
    folder: PathBuf,
    entry: Entry,
    form: Form,
    unnamed: Unnamed,
    /// The lock of who writes, from the first blob to the catalog.
    writing: Arc<Mutex<Option<File>>>,
    /// When whatever is under way is stopped.
    deadline: Option<Instant>,
}

impl Local {
    /// Names a cache in a folder, which need not be there yet.
    pub fn new(folder: impl Into<PathBuf>, entry: Entry, form: Form, unnamed: Unnamed) -> Self {
        let folder = folder.into();
        Self {
            name: format!("local {}", folder.display()),
            folder,
            entry,
            form,
            unnamed,
            writing: Arc::default(),
            deadline: None,
        }
    }

    fn in_time(&self) -> Result<(), BackendError> {
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(BackendError::OutOfTime),
            _ => Ok(()),
        }
    }

    fn root(&self) -> Result<Option<Root>, BackendError> {
        match Root::open(&self.folder) {
            Ok(root) => Ok(Some(root)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(self.confined(error)),
        }
    }

    fn confined(&self, error: rbuild_confined::Error) -> BackendError {
        let path = self.folder.join(error.path().strip_prefix("/").unwrap_or(error.path()));
        BackendError::Io { act: "read", path, source: io::Error::other(error) }
    }

    fn document(
        &self,
        root: &Root,
        digest: BlobDigest,
        kind: Option<&str>,
    ) -> Result<Document, BackendError> {
        let bytes = self.small(root, digest, MAX_DOCUMENT)?;
        Ok(Document::parse(&bytes, kind)?)
    }

    /// Reads a small blob and compares it with its digest.
    fn small(&self, root: &Root, digest: BlobDigest, limit: u64) -> Result<Vec<u8>, BackendError> {
        let bytes = root.read(blob_path(digest), limit).map_err(|error| self.confined(error))?;
        if BlobDigest::of(&bytes) != digest {
            return Err(BackendError::Unusable(format!("the blob {digest} is something else")));
        }
        Ok(bytes)
    }

    fn index(&self, root: &Root) -> Result<Option<Index>, BackendError> {
        let bytes = match root.read("index.json", MAX_DOCUMENT) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(self.confined(error)),
        };
        match Document::parse(&bytes, Some(MediaType::OCI_INDEX))? {
            Document::Index(index) => Ok(Some(index)),
            Document::Manifest(_) => Err(BackendError::Unusable("its index.json is no index".to_owned())),
        }
    }

    /// Reads what a document means.
    fn held(
        &self,
        root: &Root,
        meaning: Meaning,
        depth: usize,
        held: &mut Vec<Held>,
    ) -> Result<(), BackendError> {
        match meaning {
            Meaning::Ours(config) => {
                held.push(Held::Catalog(self.small(root, config.digest, catalog::MAX_BYTES)?));
            }
            Meaning::BuildKit(config) => {
                held.push(Held::BuildKit(self.small(root, config.digest, catalog::MAX_BYTES)?));
            }
            Meaning::Image(config, layers) => {
                held.push(Held::Image { config: self.small(root, config.digest, MAX_DOCUMENT)?, layers });
            }
            Meaning::Several(documents) if depth == 0 => {
                for entry in documents {
                    let document = self.document(root, entry.digest, Some(entry.media_type.as_str()))?;
                    self.held(root, layout::meaning(document)?, 1, held)?;
                }
            }
            Meaning::Several(_) => {}
        }
        Ok(())
    }

    /// Makes the folders, and takes the turn of this writer.
    fn begin(&self) -> Result<File, BackendError> {
        let blobs = self.folder.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).map_err(|error| BackendError::io("make", &blobs, error))?;
        for folder in [self.folder.join("blobs"), blobs] {
            let meta = std::fs::symlink_metadata(&folder);
            if !meta.map_err(|error| BackendError::io("look at", &folder, error))?.is_dir() {
                return Err(BackendError::Unusable(format!("`{}` is no folder", folder.display())));
            }
        }
        let folder =
            File::open(&self.folder).map_err(|error| BackendError::io("open", &self.folder, error))?;
        flock(&folder, FlockOperation::LockExclusive)
            .map_err(|errno| BackendError::io("lock", &self.folder, errno))?;
        Ok(folder)
    }

    /// Keeps everybody from removing blobs, until the catalog is there.
    fn keep_blobs(&self) -> Result<(), BackendError> {
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if writing.is_none() {
            let blobs = self.folder.join("blobs");
            let lock = File::open(&blobs).map_err(|error| BackendError::io("open", &blobs, error))?;
            flock(&lock, FlockOperation::LockShared)
                .map_err(|errno| BackendError::io("lock", &blobs, errno))?;
            *writing = Some(lock);
        }
        Ok(())
    }

    /// Ends this writing; returns the lock of the blobs if nobody else writes.
    fn end_writing(&self) -> Result<Option<File>, BackendError> {
        let mut writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(lock) = writing.take() else { return Ok(None) };
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(lock)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(BackendError::io("lock", self.folder.join("blobs"), errno)),
        }
    }

    /// Writes a file that appears complete or not at all.
    fn write(&self, path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), BackendError> {
        let failed = |error| BackendError::io("write", path, error);
        let id = UniqueId::random()
            .map_err(|error| BackendError::Here { act: "name a file", source: error.into() })?;
        let fresh = path.with_file_name(format!(".part-{id}"));
        let mut file = File::options().write(true).create_new(true).open(&fresh).map_err(failed)?;
        fill(&mut file).and_then(|()| std::fs::rename(&fresh, path)).map_err(|error| {
            // The first error is the one to tell.
            let _ = std::fs::remove_file(&fresh);
            failed(error)
        })
    }

    fn store(&self, bytes: &[u8], kind: &str) -> Result<Descriptor, BackendError> {
        let descriptor = Descriptor::of(kind, bytes);
        self.put(&descriptor, &bytes)?;
        Ok(descriptor)
    }

    /// Removes the blobs that no entry leads to.
    fn sweep(&self, root: &Root, index: &Index) -> Result<(), BackendError> {
        let mut named = std::collections::HashSet::new();
        let mut open: Vec<(Descriptor, usize)> =
            index.manifests.iter().map(|entry| (entry.clone(), 0)).collect();
        while let Some((entry, depth)) = open.pop() {
            named.insert(entry.digest.hex());
            if depth > 4 || !(entry.media_type.is_manifest() || entry.media_type.is_index()) {
                continue;
            }
            match self.document(root, entry.digest, Some(entry.media_type.as_str()))? {
                Document::Manifest(manifest) => {
                    named.insert(manifest.config.digest.hex());
                    named.extend(manifest.layers.iter().map(|layer| layer.digest.hex()));
                }
                Document::Index(index) => {
                    open.extend(index.manifests.into_iter().map(|entry| (entry, depth + 1)));
                }
            }
        }
        let blobs = self.folder.join("blobs/sha256");
        let failed = |error| BackendError::io("clean", &blobs, error);
        for entry in std::fs::read_dir(&blobs).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let is_named = entry.file_name().to_str().is_some_and(|name| named.contains(name));
            if !is_named && entry.file_type().map_err(failed)?.is_file() {
                std::fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
        Ok(())
    }
}

fn blob_path(digest: BlobDigest) -> PathBuf {
    Path::new("blobs/sha256").join(digest.hex())
}

impl Backend for Local {
    fn name(&self) -> &str {
        &self.name
    }

    fn until(&self, deadline: Instant) -> Arc<dyn Backend> {
        Arc::new(Self { deadline: Some(deadline), ..self.clone() })
    }

    fn catalog(&self) -> Result<Vec<Held>, BackendError> {
        let Some(root) = self.root()? else { return Ok(Vec::new()) };
        let document = match &self.entry {
            Entry::Digest(digest) => self.document(&root, *digest, None)?,
            Entry::Tag(tag) => {
                let Some(index) = self.index(&root)? else { return Ok(Vec::new()) };
                let entry = index.manifests.iter().find(|entry| entry.annotations.get(TAG) == Some(tag));
                let Some(entry) = entry else { return Ok(Vec::new()) };
                self.document(&root, entry.digest, Some(entry.media_type.as_str()))?
            }
        };
        let mut held = Vec::new();
        self.held(&root, layout::meaning(document)?, 0, &mut held)?;
        Ok(held)
    }

    fn publish(&self, catalog: &[u8], blobs: &[Descriptor]) -> Result<(), BackendError> {
        let config = self.store(catalog, catalog::MEDIA_TYPE)?;
        if blobs.is_empty() {
            self.store(EMPTY, "application/vnd.oci.empty.v1+json")?;
        }
        let document = layout::write(self.form, config, blobs)?;
        let mut entry = self.store(&document.bytes, &document.media_type)?;
        let _turn = self.begin()?;
        let Some(root) = self.root()? else {
            return Err(BackendError::Missing(self.folder.display().to_string()));
        };
        let mut index = self.index(&root)?.unwrap_or_else(|| Index::new(Vec::new()));
        let tag = match &self.entry {
            Entry::Tag(tag) => tag.clone(),
            Entry::Digest(digest) => {
                return Err(BackendError::Unusable(format!(
                    "a cache cannot be written under the digest {digest}"
                )));
            }
        };
        index.manifests.retain(|entry| entry.annotations.get(TAG) != Some(&tag));
        entry.annotations.insert(TAG.to_owned(), tag);
        index.manifests.push(entry);
        self.write(&self.folder.join("oci-layout"), |file| file.write_all(MARK))?;
        self.write(&self.folder.join("index.json"), |file| file.write_all(&index.to_bytes()))?;
        let alone = self.end_writing()?;
        if self.unnamed == Unnamed::Remove && alone.is_some() {
            self.sweep(&root, &index)?;
        }
        Ok(())
    }

    fn has(&self, blob: &Descriptor) -> Result<bool, BackendError> {
        let Some(root) = self.root()? else { return Ok(false) };
        let path = blob_path(blob.digest);
        let found = root.find_nofollow(&path).map_err(|error| self.confined(error))?;
        if found.is_none() {
            return Ok(false);
        }
        // Looked at again: until it is kept, somebody else may have taken it away.
        self.keep_blobs()?;
        let found =
            root.find_nofollow(&path).and_then(|found| found.map(|found| found.metadata()).transpose());
        let found = found.map_err(|error| self.confined(error))?;
        Ok(found.is_some_and(|found| found.is_file() && found.size == blob.size))
    }

    fn get(&self, blob: &Descriptor, into: &mut dyn Receiver) -> Result<(), BackendError> {
        let missing = || BackendError::Missing(blob.digest.to_string());
        let root = self.root()?.ok_or_else(missing)?;
        let path = blob_path(blob.digest);
        let mut file = root
            .open_file(&path)
            .map_err(|error| if error.is_not_found() { missing() } else { self.confined(error) })?;
        let failed = |error| BackendError::io("read", self.folder.join(&path), error);
        let mut piece = vec![0; PIECE];
        loop {
            self.in_time()?;
            match file.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(count) => into.receive(&piece[..count]).map_err(failed)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    fn put(&self, blob: &Descriptor, sender: &dyn Sender) -> Result<Put, BackendError> {
        if self.has(blob)? {
            return Ok(Put::Present);
        }
        drop(self.begin()?);
        self.keep_blobs()?;
        let path = self.folder.join(blob_path(blob.digest));
        let mut over = None;
        let written = self.write(&path, |file| {
            let mut source = sender.open(0)?;
            let mut sent = 0;
            loop {
                if let Err(error) = self.in_time() {
                    over = Some(error);
                    return Err(io::ErrorKind::TimedOut.into());
                }
                match io::copy(&mut source.by_ref().take(PIECE as u64), file)? {
                    0 => break,
                    count => sent += count,
                }
            }
            if sent != blob.size {
                return Err(io::Error::other(format!(
                    "{} has {} bytes, and {sent} came",
                    blob.digest, blob.size
                )));
            }
            Ok(())
        });
        match over {
            Some(error) => Err(error),
            None => written.map(|()| Put::Sent),
        }
    }
}

#[cfg(test)]
mod tests;
