//! Images from archives and folders.

use std::io::{self, Read};
use std::path::Path;

use rbuild_cache::blobs::{BlobError, Blobs, Expected};
use rbuild_confined::Root;
use rbuild_image::archive::{
    ArchivedImage, BlobSink, Folder, LayoutImage, Stored, read_archive, read_layout, read_layout_image,
};
use rbuild_image::attest::{MAX_STATEMENT, Predicate, read_about};
use rbuild_image::compress::Decoder;
use rbuild_image::manifest::{Descriptor, MediaType};
use rbuild_model::digest::{BlobDigest, ChainId, ImageId};
use rbuild_model::platform::Platform;
use rbuild_model::reference::Reference;
use rbuild_store::{Lease, RoomError};

use crate::arrivals::Arrivals;
use crate::attest::as_rows;
use crate::error::ImagesError;
use crate::images::Images;
use crate::platforms::Member;
use crate::progress::{LayerState, Progress};
use crate::pull::{Resolved, parse_config};
use crate::rows::{self, ImageRow};
use crate::unpack::PendingLayer;

/// The most bytes of all statements about one image: what they say is held in memory until the image is recorded.
const MAX_STATEMENTS: u64 = 2 * MAX_STATEMENT;

/// An image that was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedImage {
    /// The image.
    pub image: ImageId,
    /// The names that it got, each with the image that had it before.
    pub names: Vec<(Reference, Option<ImageId>)>,
}

/// Puts files of an archive into the store.
struct Incoming<'a> {
    blobs: &'a Blobs,
    lease: &'a Lease,
    /// Why one of them could not be put there.
    refused: Option<BlobError>,
}

impl<'a> Incoming<'a> {
    fn new(blobs: &'a Blobs, lease: &'a Lease) -> Self {
        Self { blobs, lease, refused: None }
    }

    /// Tells whoever reads that no more is taken.
    fn refuse(&mut self, error: BlobError) -> io::Error {
        match error {
            BlobError::Room(_) => io::Error::other(self.refused.insert(error).to_string()),
            error => io::Error::other(error),
        }
    }

    /// Returns why nothing more was read: the store takes no more, or what is wrong with the archive.
    fn blame(self, error: &dyn std::error::Error) -> ImagesError {
        self.refused.map_or_else(|| ImagesError::Archive(chain_of(error)), ImagesError::Blob)
    }
}

impl BlobSink for Incoming<'_> {
    fn store(&mut self, expected: Option<BlobDigest>, contents: &mut dyn Read) -> io::Result<Stored> {
        let expected = Expected { digest: expected, size: None };
        let mut writer = self.blobs.ingest(expected).map_err(|error| self.refuse(error))?;
        io::copy(contents, &mut writer).map_err(|error| match error.downcast::<RoomError>() {
            Ok(full) => self.refuse(full.into()),
            Err(error) => error,
        })?;
        let blob = writer.finish(self.lease).map_err(|error| self.refuse(error))?;
        Ok(Stored { digest: blob.digest, size: blob.size })
    }
}

/// A folder whose files are opened without following links.
struct Opened(Root);

impl Folder for Opened {
    fn open(&self, path: &str) -> io::Result<Option<Box<dyn Read + '_>>> {
        use rustix::fs::{Mode, OFlags, ResolveFlags};
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let fd = match rustix::fs::openat2(&self.0, path, flags, Mode::empty(), resolve) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let file = std::fs::File::from(fd);
        // A pipe or a device would never end.
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a plain file"));
        }
        Ok(Some(Box::new(file)))
    }
}

impl Images {
    /// Loads the images of an archive (`docker save`, OCI), packed in any way; they are on the disk before this
    /// returns.
    pub fn load(
        &self,
        archive: impl Read,
        platform: &Platform,
        lease: &Lease,
        progress: &dyn Progress,
    ) -> Result<Vec<LoadedImage>, ImagesError> {
        let archive = self.stoppable(archive);
        let mut tar = Decoder::detect(archive, self.options.compression)
            .map_err(|error| ImagesError::io("read the archive", error))?;
        let mut sink = Incoming::new(&self.blobs, lease);
        let images = read_archive(&mut tar, self.options.tar, platform, &mut sink)
            .map_err(|error| sink.blame(&error))?;
        self.record_loaded(images, lease, progress)
    }

    /// Loads the images of a folder that holds an OCI layout; they are on the disk before this returns.
    pub fn load_layout(
        &self,
        folder: &Path,
        platform: &Platform,
        lease: &Lease,
        progress: &dyn Progress,
    ) -> Result<Vec<LoadedImage>, ImagesError> {
        let root = Root::open(folder)
            .map_err(|error| ImagesError::Archive(format!("cannot open `{}`: {error}", folder.display())))?;
        let mut sink = Incoming::new(&self.blobs, lease);
        let images = read_layout(&Opened(root), platform, &mut sink).map_err(|error| sink.blame(&error))?;
        self.record_loaded(images, lease, progress)
    }

    /// Takes one image of a folder that holds an OCI layout in, without any name, and makes its layers ready.
    pub fn resolve_layout(
        &self,
        root: Root,
        wanted: &LayoutImage,
        platform: &Platform,
        lease: &Lease,
        progress: &dyn Progress,
    ) -> Result<Resolved, ImagesError> {
        let mut sink = Incoming::new(&self.blobs, lease);
        let mut archived = read_layout_image(&Opened(root), wanted, platform, &mut sink)
            .map_err(|error| sink.blame(&error))?;
        archived.names.clear();
        let digest = archived.manifest_bytes.as_deref().map(BlobDigest::of);
        let loaded = self.record_one(&archived, lease, progress)?;
        self.ready(loaded.image, digest, lease, progress)
    }

    fn record_loaded(
        &self,
        images: Vec<ArchivedImage>,
        lease: &Lease,
        progress: &dyn Progress,
    ) -> Result<Vec<LoadedImage>, ImagesError> {
        let mut loaded = Vec::with_capacity(images.len());
        for image in images {
            let one = self.record_one(&image, lease, progress)?;
            if !image.others.is_empty() {
                let mut members = Vec::with_capacity(image.others.len() + 1);
                for other in &image.others {
                    let image = self.record_one(other, lease, progress)?.image;
                    members.push(Member { platform: self.config(image)?.platform(), image });
                }
                let platform = self.config(one.image)?.platform();
                members.insert(image.place, Member { platform, image: one.image });
                for (name, _) in &one.names {
                    self.tag_index(&members, name)?;
                }
            }
            loaded.push(one);
        }
        self.store.promote()?;
        for one in &loaded {
            self.tell("load", one.image, &one.image.to_string());
        }
        Ok(loaded)
    }

    fn record_one(
        &self,
        archived: &ArchivedImage,
        lease: &Lease,
        progress: &dyn Progress,
    ) -> Result<LoadedImage, ImagesError> {
        let image = ImageId::of_config(BlobDigest::of(&archived.config));
        let what = image.to_string();
        let config = parse_config(&what, &archived.config)?;
        let diff_ids = &config.rootfs.diff_ids;
        let layers = PendingLayer::of_image(&what, &archived.manifest, diff_ids, None)?;
        // All names and facts are read before anything is recorded.
        let names = archived
            .names
            .iter()
            .map(|name| name.parse::<Reference>().map(Reference::with_default_tag))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| ImagesError::Archive(error.to_string()))?;
        let facts = as_rows(&self.stated_in(archived)?);
        let base = self.find_chain(None, diff_ids, lease)?;
        let present = base.len();
        for layer in &layers[..present] {
            progress.layer(layer.descriptor.digest, LayerState::AlreadyExists);
        }
        let arrivals = Arrivals::here(layers.len() - present);
        let base_id = ChainId::of(&diff_ids[..present]);
        self.unpack(base, base_id, &layers[present..], &arrivals, lease, progress)?;
        self.record_forms(&layers)?;

        let row = ImageRow {
            id: image,
            config: archived.config.clone(),
            parent: None,
            added_at: rows::now_s(),
            origin: None,
        };
        let names = self.store.write(|tx| -> Result<_, ImagesError> {
            rows::add_image(tx, &row, diff_ids, Some(self.store.stamp()))?;
            rows::use_image(tx, image, lease)?;
            if let Some(bytes) = &archived.manifest_bytes {
                let media_type =
                    archived.manifest.media_type.as_ref().map_or(MediaType::OCI_MANIFEST, MediaType::as_str);
                rows::add_manifest(tx, image, BlobDigest::of(bytes), media_type, bytes)?;
            }
            // An archive that says nothing takes nothing back.
            if !facts.is_empty() {
                rows::set_facts(tx, image, &facts)?;
            }
            let mut given = Vec::new();
            for name in &names {
                // A name that pins a digest says what it names; an archive has no say in that.
                if name.digest().is_some() {
                    continue;
                }
                let before = rows::set_name(tx, name, image, Some(self.store.stamp()))?;
                if !given.iter().any(|(other, _)| other == name) {
                    given.push((name.clone(), before));
                }
            }
            Ok(given)
        })?;
        Ok(LoadedImage { image, names })
    }

    /// Reads what an archive says about an image, out of its blobs.
    fn stated_in(&self, archived: &ArchivedImage) -> Result<Vec<Predicate>, ImagesError> {
        let Some(manifest) = archived.manifest_bytes.as_deref().map(BlobDigest::of) else {
            return Ok(Vec::new());
        };
        let mut facts = Vec::new();
        let mut room = MAX_STATEMENTS;
        for statement in &archived.statements {
            let Descriptor { digest, size, .. } = statement;
            if *size > MAX_STATEMENT {
                let message = format!("the statement {digest} has {size} bytes, more than {MAX_STATEMENT}");
                return Err(ImagesError::Archive(message));
            }
            room = room.checked_sub(*size).ok_or_else(|| {
                let message = format!("its statements about one image have more than {MAX_STATEMENTS} bytes");
                ImagesError::Archive(message)
            })?;
            let Some(file) = self.blobs.open(*digest)? else { continue };
            let mut bytes = Vec::new();
            let read = file.take(*size).read_to_end(&mut bytes);
            read.map_err(|error| ImagesError::io("read what the archive says about an image", error))?;
            facts.extend(read_about(statement, &bytes, manifest));
        }
        Ok(facts)
    }
}

/// Joins an error and its sources, for a message that holds no source.
fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
