//! `type=oci` and `type=docker`: archives that other tools read.

use rbuild_image::archive::{OutgoingIndex, Plan};
use rbuild_model::digest::BlobDigest;

use super::{ExportError, image, index, only, write};
use crate::attest;
use crate::build::{Built, BuiltPlatform};
use crate::cancel::Cancel;
use crate::describe::Finished;
use crate::request::{ArchiveDest, BuildRequest, Client, Export, Split};
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
    /// The digest of the image's manifest, or of the index of several.
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
    if form == Form::Docker {
        only("type=docker", results)?;
        if export.split == Split::Always {
            return Err(ExportError::Unsupported { what: "an index in an archive of `type=docker`" });
        }
    }
    let mut outgoing = Vec::new();
    let mut attestations = Vec::new();
    let mut images = Vec::new();
    for result in results {
        // The archive is all that was asked for: the store keeps no image of it.
        let (id, mut packed) =
            worker.images.pack_built(image::described(result), export.packing, worker.lease()?)?;
        rbuild_images::annotate(&mut packed, &export.annotations);
        images.push(BuiltPlatform { platform: result.platform.clone(), id });
        let named = request.tags.iter().chain(&export.names).cloned();
        // A name that is asked for twice is one entry of the index: two make it ambiguous for readers.
        for name in named.map(rbuild_model::reference::Reference::with_default_tag) {
            if !packed.names.contains(&name) {
                packed.names.push(name);
            }
        }
        let lease = worker.lease()?;
        let predicates = attest::of_image(&result.facts, index::indexed(export, results));
        let form = export.attached.form;
        attestations.extend(worker.images.attest(&packed, &packed.names, &predicates, form, lease)?);
        outgoing.push(packed);
    }
    if form == Form::Docker && !attestations.is_empty() {
        return Err(ExportError::Unsupported { what: "an archive of `type=docker` with attestations" });
    }
    outgoing.extend(attestations);
    let (plan, digest) = if let [only] = &outgoing[..]
        && export.split != Split::Always
    {
        let digest = BlobDigest::of(&only.manifest_bytes);
        let plan = match form {
            Form::Oci => Plan::oci(&outgoing),
            Form::Docker => Plan::docker(&outgoing),
        };
        (plan, digest)
    } else {
        let names = outgoing.first().map(|first| first.names.clone()).unwrap_or_default();
        let mut index = OutgoingIndex::new(outgoing, names);
        rbuild_images::annotate_index(&mut index, &export.annotations);
        (Plan::oci_index(&index), BlobDigest::of(&index.document()))
    };
    match dest {
        ArchiveDest::File(dest) => {
            write(dest, client, cancel, |out| Ok(worker.images.write_archive(&plan, out).map(drop)?))?;
        }
        ArchiveDest::Folder(folder) => worker.images.write_folder(&plan, folder)?,
    }
    Ok(Archived { digest: Some(digest), images })
}
