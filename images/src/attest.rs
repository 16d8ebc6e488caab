//! Facts about images that leave with them.

use rbuild_image::archive::{OutgoingImage, OutgoingIndex};
use rbuild_image::attest::{self, Predicate, Statement};
use rbuild_model::digest::BlobDigest;
use rbuild_model::reference::Reference;
use rbuild_store::Lease;

use crate::annotations::{self, Annotation};
use crate::error::ImagesError;
use crate::images::Images;
use crate::push::Outgoing;

impl Images {
    /// Packs facts about a packed image as one more image, which stands beside it in an index; nothing without facts.
    ///
    /// Its layers are the statements; they lie among the store's blobs for as long as the lease holds them.
    pub fn attest(
        &self,
        image: &OutgoingImage,
        names: &[Reference],
        predicates: &[Predicate],
        lease: &Lease,
    ) -> Result<Option<OutgoingImage>, ImagesError> {
        if predicates.is_empty() {
            return Ok(None);
        }
        let about = BlobDigest::of(&image.manifest_bytes);
        let mut statements = Vec::new();
        for predicate in predicates {
            let statement = Statement { predicate, about, names, platform: &image.platform };
            let bytes = statement.to_bytes();
            self.blobs.put(&bytes, lease)?;
            statements.push(statement.descriptor(&bytes));
        }
        let (manifest, config) = attest::manifest(statements);
        Ok(Some(OutgoingImage {
            manifest_bytes: manifest.to_bytes(),
            manifest,
            config,
            platform: attest::no_platform(),
            names: Vec::new(),
            entry_annotations: attest::entry_annotations(about),
        }))
    }
}

impl Outgoing {
    /// Lists attestations behind the images; even a single image then stands in an index.
    #[must_use]
    pub fn with(self, attestations: Vec<OutgoingImage>, annotations: &[Annotation]) -> Self {
        if attestations.is_empty() {
            return self;
        }
        let images = self.images.into_iter().chain(attestations).collect();
        let mut index = OutgoingIndex::new(images, Vec::new());
        annotations::annotate_index(&mut index, annotations);
        let document = index.document();
        Self { images: index.images, index: Some(document) }
    }
}
