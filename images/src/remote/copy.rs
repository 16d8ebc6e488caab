//! Copies between registries: documents and blobs as they are, nothing is unpacked.
//!
//! A blob that the target has stays there; one of the same registry is taken over by the registry itself. Any other goes
//! through an unnamed file, so that either side may break off and go on, and its digest is known to be right before it goes
//! up.

use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _};
use rbuild_image::distribution::{ClientError, Fetched, Pushed, Receiver, Sender, Upload};
use rbuild_image::manifest::{Descriptor, Document, Index, MAX_CHILDREN, Manifest};
use rbuild_model::digest::BlobDigest;
use rbuild_model::platform::Platform;
use rbuild_model::reference::Reference;
use rustix::fs::{Mode, OFlags};

use super::{Remote, by_digest};
use crate::error::ImagesError;
use crate::progress::{LayerState, Progress};
use crate::pull::registry;
use crate::push::PushedImage;

/// How many blobs are copied at a time.
const PARALLEL: usize = 4;
/// How many indexes may stand in one another.
const MAX_DEPTH: usize = 4;
/// By which an attestation says what it is about.
const ABOUT: &str = "vnd.docker.reference.digest";

/// Which images of an index are copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of them.
    All,
    /// Those for these platforms; a single one goes without an index.
    Platforms(Vec<Platform>),
}

/// A document on its way, with the repository that it came from.
pub(super) struct Piece {
    pub(super) source: Reference,
    pub(super) fetched: Fetched,
}

impl Remote {
    /// Copies what a reference names to another name.
    ///
    /// `spool` is a folder for what is on its way. The name is given last.
    pub fn copy(
        &self,
        source: &Reference,
        target: &Reference,
        selection: &Selection,
        spool: &Path,
        progress: &dyn Progress,
    ) -> Result<PushedImage, ImagesError> {
        self.runtime.wait(async {
            let top = self.client.manifest(source).await.map_err(|error| registry(source, error))?;
            let top = match selection {
                Selection::All => top,
                Selection::Platforms(platforms) => self.chosen(source, top, platforms).await?,
            };
            let (bytes, media_type) = (top.bytes.clone(), top.media_type.clone());
            self.copy_below(Piece { source: source.clone(), fetched: top }, target, spool, progress).await?;
            let pushed = self.client.push_manifest(target, &bytes, media_type.as_str()).await;
            let digest = pushed.map_err(|error| refused(target, error))?;
            Ok(PushedImage { digest, size: bytes.len() as u64 })
        })
    }

    /// Narrows an index down to some platforms.
    async fn chosen(
        &self,
        source: &Reference,
        top: Fetched,
        platforms: &[Platform],
    ) -> Result<Fetched, ImagesError> {
        let Document::Index(index) = &top.document else { return Ok(top) };
        let mut kept: Vec<Descriptor> = Vec::new();
        for platform in platforms {
            let entry = index.select(platform).map_err(|source_error| ImagesError::Platform {
                what: source.familiar(),
                source: source_error,
            })?;
            if !kept.iter().any(|other| other.digest == entry.digest) {
                kept.push(entry.clone());
            }
        }
        if let [only] = &kept[..] {
            let named = by_digest(source, only.digest);
            return self.client.manifest(&named).await.map_err(|error| registry(source, error));
        }
        let about = |entry: &&Descriptor| {
            let subject = entry.annotations.get(ABOUT);
            subject.is_some_and(|subject| kept.iter().any(|image| image.digest.to_string() == *subject))
        };
        let attestations: Vec<_> = index.manifests.iter().filter(about).cloned().collect();
        let mut narrowed = Index { manifests: kept, ..index.clone() };
        narrowed.manifests.extend(attestations);
        let bytes = narrowed.to_bytes();
        Ok(Fetched {
            digest: BlobDigest::of(&bytes),
            media_type: top.media_type.clone(),
            document: Document::Index(narrowed),
            origin: top.origin.clone(),
            bytes,
        })
    }

    /// Copies all that a document names, and the documents below it, but not the document itself.
    pub(super) async fn copy_below(
        &self,
        top: Piece,
        target: &Reference,
        spool: &Path,
        progress: &dyn Progress,
    ) -> Result<(), ImagesError> {
        let mut known = HashSet::from([top.fetched.digest]);
        let mut documents: Vec<Piece> = Vec::new();
        let mut waiting = VecDeque::from([(top, 1)]);
        let mut blobs: Vec<(Reference, Descriptor)> = Vec::new();
        while let Some((piece, depth)) = waiting.pop_front() {
            match &piece.fetched.document {
                Document::Manifest(manifest) => blobs.extend(parts(&piece.source, manifest)),
                Document::Index(index) => {
                    if depth > MAX_DEPTH || documents.len() + index.manifests.len() > MAX_CHILDREN {
                        return Err(ImagesError::Inconsistent {
                            what: piece.source.familiar(),
                            why: format!(
                                "more than {MAX_DEPTH} indexes in one another, or too many manifests"
                            ),
                        });
                    }
                    for entry in &index.manifests {
                        if !known.insert(entry.digest) {
                            continue;
                        }
                        let named = by_digest(&piece.source, entry.digest);
                        let fetched =
                            self.client.manifest(&named).await.map_err(|error| registry(&named, error))?;
                        waiting.push_back((Piece { source: piece.source.clone(), fetched }, depth + 1));
                    }
                }
            }
            documents.push(piece);
        }
        let mut seen = HashSet::new();
        blobs.retain(|(_, blob)| seen.insert(blob.digest));
        futures_util::stream::iter(blobs)
            .map(
                |(source, blob)| async move { self.copy_blob(&source, target, &blob, spool, progress).await },
            )
            .buffer_unordered(PARALLEL)
            .try_collect::<()>()
            .await?;
        // Whoever is named comes before who names it; the first one gets its name from the caller.
        for Piece { fetched, .. } in documents.iter().skip(1).rev() {
            let nameless = nameless(target);
            let pushed = self.client.push_manifest(&nameless, &fetched.bytes, fetched.media_type.as_str());
            pushed.await.map_err(|error| refused(target, error))?;
        }
        Ok(())
    }

    async fn copy_blob(
        &self,
        source: &Reference,
        target: &Reference,
        blob: &Descriptor,
        spool: &Path,
        progress: &dyn Progress,
    ) -> Result<(), ImagesError> {
        if source.name() == target.name() {
            progress.layer(blob.digest, LayerState::AlreadyExists);
            return Ok(());
        }
        progress.layer(blob.digest, LayerState::Waiting);
        let mount_from = (source.registry() == target.registry()).then(|| source.repository());
        let adopted = self.client.adopt_blob(target, blob, mount_from).await;
        let pushed = match adopted.map_err(|error| refused(target, error))? {
            Some(pushed) => pushed,
            None => {
                let file = Arc::new(unnamed(spool)?);
                let mut receiver = Incoming { file: Arc::clone(&file), received: 0, blob, progress };
                let fetched = self.client.blob(source, blob, &mut receiver).await;
                fetched.map_err(|error| registry(source, error))?;
                let sender = Leaving { file, blob, progress };
                let upload = Upload { descriptor: blob, sender: &sender, mount_from: None };
                self.client.push_blob(target, upload).await.map_err(|error| refused(target, error))?
            }
        };
        let state = match pushed {
            Pushed::Present => LayerState::AlreadyExists,
            Pushed::Mounted => LayerState::Mounted,
            Pushed::Sent => LayerState::Complete,
        };
        progress.layer(blob.digest, state);
        Ok(())
    }
}

/// The blobs of a manifest; those that may not be distributed stay where they are.
fn parts(source: &Reference, manifest: &Manifest) -> Vec<(Reference, Descriptor)> {
    let distributed = |blob: &&Descriptor| {
        let kind = blob.media_type.as_str();
        !kind.contains(".nondistributable.") && !kind.contains(".foreign.")
    };
    let all = std::iter::once(&manifest.config).chain(&manifest.layers);
    all.filter(distributed).map(|blob| (source.clone(), blob.clone())).collect()
}

fn refused(target: &Reference, source: ClientError) -> ImagesError {
    ImagesError::Push { what: target.familiar(), source }
}

/// The repository of a reference.
pub(super) fn nameless(target: &Reference) -> Reference {
    target.name().parse().unwrap_or_else(|_| target.clone())
}

/// Makes a file without a name.
fn unnamed(folder: &Path) -> Result<File, ImagesError> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok(file.into()),
        Err(error) => Err(ImagesError::io(format!("make a file in `{}`", folder.display()), error.into())),
    }
}

/// A blob that comes.
struct Incoming<'a> {
    file: Arc<File>,
    received: u64,
    blob: &'a Descriptor,
    progress: &'a dyn Progress,
}

impl Receiver for Incoming<'_> {
    fn receive(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, self.received)?;
        self.received += bytes.len() as u64;
        // The other half is the way up.
        let state = LayerState::Transferring { current: self.received / 2, total: self.blob.size };
        self.progress.layer(self.blob.digest, state);
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        self.received = 0;
        Ok(())
    }
}

/// A blob that goes.
struct Leaving<'a> {
    file: Arc<File>,
    blob: &'a Descriptor,
    progress: &'a dyn Progress,
}

impl Sender for Leaving<'_> {
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let rest = self.blob.size.saturating_sub(from);
        Ok(Box::new(At { file: Arc::clone(&self.file), at: from }.take(rest)))
    }

    fn sent(&self, bytes: u64) {
        let current = self.blob.size / 2 + bytes / 2;
        let state = LayerState::Transferring { current, total: self.blob.size };
        self.progress.layer(self.blob.digest, state);
    }
}

/// Reads a file from a place of its own.
struct At {
    file: Arc<File>,
    at: u64,
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}
