//! Facts about images: kept with those of the store, and leaving with those that leave.

use rbuild_image::archive::{OutgoingImage, OutgoingIndex};
use rbuild_image::attest::{self, Form, Predicate, Statement};
use rbuild_image::manifest::Descriptor;
use rbuild_model::digest::ImageId;
use rbuild_model::reference::Reference;
use rbuild_store::Lease;

use crate::annotations::{self, Annotation};
use crate::departures::Departures;
use crate::error::ImagesError;
use crate::images::Images;
use crate::push::Outgoing;
use crate::rows;

impl Images {
    /// Remembers what is said about an image, in place of what was said before.
    pub fn state(&self, image: ImageId, predicates: &[Predicate]) -> Result<(), ImagesError> {
        let facts = as_rows(predicates);
        // Most images have none, and a transaction that changes nothing costs a lock all the same.
        if facts.is_empty() && self.store.read(|tx| rows::facts(tx, image))?.is_empty() {
            return Ok(());
        }
        Ok(self.store.write(|tx| rows::set_facts(tx, image, &facts))?)
    }

    /// Returns what is said about an image.
    pub fn stated(&self, image: ImageId) -> Result<Vec<Predicate>, ImagesError> {
        let facts = self.store.read(|tx| rows::facts(tx, image))?;
        let parse = |(kind, text): (String, String)| match serde_json::from_str(&text) {
            Ok(value) => Ok(Predicate { kind, value }),
            Err(error) => Err(ImagesError::Inconsistent {
                what: format!("what is said about {image}"),
                why: error.to_string(),
            }),
        };
        facts.into_iter().map(parse).collect()
    }

    /// Lists beside packed images of the store what is said about them.
    pub(crate) fn with_stated(
        &self,
        ids: &[ImageId],
        name: &Reference,
        outgoing: Outgoing,
        lease: &Lease,
        departures: &dyn Departures,
    ) -> Result<Outgoing, ImagesError> {
        let attestations = self.attested(&outgoing.images, ids, std::slice::from_ref(name), lease)?;
        attestations
            .iter()
            .flat_map(|made| &made.manifest.layers)
            .try_for_each(|layer| departures.packed(layer))?;
        Ok(outgoing.with(attestations, &[]))
    }

    /// Packs what is said about packed images of the store.
    pub(crate) fn attested(
        &self,
        images: &[OutgoingImage],
        ids: &[ImageId],
        names: &[Reference],
        lease: &Lease,
    ) -> Result<Vec<OutgoingImage>, ImagesError> {
        let made = images
            .iter()
            .zip(ids)
            .map(|(image, id)| self.attest(image, names, &self.stated(*id)?, Form::Image, lease));
        made.filter_map(Result::transpose).collect()
    }

    /// Packs facts about a packed image as one more image, which stands beside it in an index; nothing without facts.
    ///
    /// Its layers are the statements; they lie among the store's blobs for as long as the lease holds them.
    pub fn attest(
        &self,
        image: &OutgoingImage,
        names: &[Reference],
        predicates: &[Predicate],
        form: Form,
        lease: &Lease,
    ) -> Result<Option<OutgoingImage>, ImagesError> {
        if predicates.is_empty() {
            return Ok(None);
        }
        let subject = Descriptor::of(image.manifest.media_type(), &image.manifest_bytes);
        let about = subject.digest;
        let mut statements = Vec::new();
        for predicate in predicates {
            let predicate = attest::with_layers(predicate, &image.manifest.layers);
            let statement = Statement { predicate: &predicate, about, names, platform: &image.platform };
            let bytes = statement.to_bytes();
            self.blobs.put(&bytes, lease)?;
            statements.push(statement.descriptor(&bytes));
        }
        let (manifest, config) = attest::manifest(statements, form, &subject);
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

/// Writes facts as the store keeps them: kinds, and values as JSON.
pub(crate) fn as_rows(predicates: &[Predicate]) -> Vec<(String, String)> {
    predicates.iter().map(|fact| (fact.kind.clone(), fact.value.to_string())).collect()
}

impl Outgoing {
    /// Lists attestations behind the images; even a single image then stands in an index.
    #[must_use]
    pub fn with(self, attestations: Vec<OutgoingImage>, annotations: &[Annotation]) -> Self {
        if attestations.is_empty() {
            return self;
        }
        let images = self.images.into_iter().chain(attestations).collect();
        Self { images, index: None }.listed(annotations)
    }

    /// Has the images stand in an index, also a single one.
    #[must_use]
    pub fn listed(self, annotations: &[Annotation]) -> Self {
        if self.index.is_some() {
            return self;
        }
        let mut index = OutgoingIndex::new(self.images, Vec::new());
        annotations::annotate_index(&mut index, annotations);
        let document = index.document();
        Self { images: index.images, index: Some(document) }
    }
}
