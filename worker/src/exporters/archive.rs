//! `type=oci` and `type=docker`: archives that other tools read.

use rbuild_image::archive::Plan;
use rbuild_image::compress::Encoding;
use rbuild_model::digest::BlobDigest;

use super::{ExportError, image, only, write};
use crate::build::Finished;
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

/// Writes the images into one archive, and returns the digest of the first one's manifest.
pub(super) fn export(
    worker: &Worker,
    request: &BuildRequest,
    export: &Export,
    results: &[Finished],
    dest: &ArchiveDest,
    form: Form,
    client: &dyn Client,
) -> Result<BlobDigest, ExportError> {
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
    for result in results {
        let id = image::add(worker, result)?;
        let mut packed = worker.images.pack(id, encoding, worker.lease()?)?;
        let named = request.tags.iter().chain(&export.names).cloned();
        packed.names = named.map(rbuild_model::reference::Reference::with_default_tag).collect();
        outgoing.push(packed);
    }
    let digest =
        outgoing.first().map_or_else(|| BlobDigest::of(b""), |first| BlobDigest::of(&first.manifest_bytes));
    let plan = match form {
        Form::Oci => Plan::oci(&outgoing),
        Form::Docker => Plan::docker(&outgoing),
    };
    write(dest, client, |out| Ok(worker.images.write_archive(&plan, out).map(drop)?))?;
    Ok(digest)
}
