//! `type=oci` and `type=docker`: archives that other tools read.

use rbuild_image::archive::Plan;
use rbuild_image::compress::Encoding;
use rbuild_model::digest::BlobDigest;

use super::{ExportError, image, only, write};
use crate::build::{Built, BuiltPlatform, Finished};
use crate::cancel::Cancel;
use crate::request::{ArchiveDest, BuildRequest, Client, Compression, Export};
use crate::worker::Worker;

/// The form of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// An OCI layout.
    Oci,
    /// An OCI layout that `docker load` reads as well.
    Docker,
}

/// What an archive holds.
pub(super) struct Archived {
    /// The digest of the first image's manifest.
    digest: Option<BlobDigest>,
    images: Vec<BuiltPlatform>,
}

impl Archived {
    /// Tells of it in a build's result; images that are kept in the store count before those that left.
    pub(super) fn tell(self, built: &mut Built) {
        built.digest = self.digest;
        if built.images.is_empty() {
            built.images = self.images;
        }
    }
}

/// Writes the images into one archive.
#[expect(clippy::too_many_arguments, reason = "what an export is told, and by whom")]
pub(super) fn export(
    worker: &Worker,
    request: &BuildRequest,
    export: &Export,
    results: &[Finished],
    dest: &ArchiveDest,
    form: Form,
    client: &dyn Client,
    cancel: &Cancel,
) -> Result<Archived, ExportError> {
    let ArchiveDest::File(dest) = dest else {
        return Err(ExportError::Unsupported { what: "tar=false" });
    };
    if form == Form::Docker {
        only("type=docker", results)?;
    }
    let encoding = match export.compression {
        Compression::Gzip => Encoding::GZIP,
        Compression::Zstd => Encoding::ZSTD,
        Compression::None => Encoding::Plain,
    };
    let mut outgoing = Vec::new();
    let mut images = Vec::new();
    for result in results {
        // The archive is all that was asked for: the store keeps no image of it.
        let (id, mut packed) =
            worker.images.pack_built(image::described(result), encoding, worker.lease()?)?;
        images.push(BuiltPlatform { platform: result.platform.clone(), id });
        let named = request.tags.iter().chain(&export.names).cloned();
        // A name that is asked for twice is one entry of the index: two make it ambiguous for readers.
        for name in named.map(rbuild_model::reference::Reference::with_default_tag) {
            if !packed.names.contains(&name) {
                packed.names.push(name);
            }
        }
        outgoing.push(packed);
    }
    let digest = outgoing.first().map(|first| BlobDigest::of(&first.manifest_bytes));
    let plan = match form {
        Form::Oci => Plan::oci(&outgoing),
        Form::Docker => Plan::docker(&outgoing),
    };
    write(dest, client, cancel, |out| Ok(worker.images.write_archive(&plan, out).map(drop)?))?;
    Ok(Archived { digest, images })
}
