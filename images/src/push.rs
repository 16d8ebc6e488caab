//! Images to registries.

use std::io;

use futures_util::{StreamExt as _, TryStreamExt as _};
use rbuild_image::compress::Encoding;
use rbuild_image::distribution::Pushed;
use rbuild_image::manifest::{Descriptor, MediaType};
use rbuild_model::digest::{BlobDigest, ImageId};
use rbuild_model::reference::Reference;
use rbuild_store::Lease;

use crate::error::ImagesError;
use crate::images::Images;
use crate::progress::{LayerState, Progress};
use crate::pull::registry;
use crate::rows;

/// How many layers are sent at a time.
const PARALLEL: usize = 5;

impl Images {
    /// Packs an image and pushes it under a name; returns the digest of its manifest and the manifest's size.
    pub fn push(
        &self,
        image: ImageId,
        reference: &Reference,
        encoding: Encoding,
        lease: &Lease,
        progress: &dyn Progress,
    ) -> Result<(BlobDigest, u64), ImagesError> {
        let reference = reference.clone().with_default_tag();
        let outgoing = self.pack(image, encoding, lease)?;
        let network = self.network()?;
        let reference = &reference;
        let mut layers: Vec<&Descriptor> = Vec::new();
        for layer in &outgoing.manifest.layers {
            if !layers.iter().any(|other| other.digest == layer.digest) {
                layers.push(layer);
            }
        }
        network.runtime.block_on(async {
            futures_util::stream::iter(layers)
                .map(|layer| self.push_layer(reference, layer, progress))
                .buffer_unordered(PARALLEL)
                .try_collect::<Vec<()>>()
                .await?;
            let config = Descriptor::of(MediaType::OCI_CONFIG, &outgoing.config);
            let bytes = &outgoing.config;
            let open = || Ok(Box::new(io::Cursor::new(bytes.clone())) as Box<dyn io::Read + Send>);
            let client = &network.client;
            client
                .push_blob(reference, &config, &open, None)
                .await
                .map_err(|error| registry(reference, error))?;
            client
                .push_manifest(reference, &outgoing.manifest_bytes, outgoing.manifest.media_type())
                .await
                .map_err(|error| registry(reference, error))
        })?;
        let digest = BlobDigest::of(&outgoing.manifest_bytes);
        let by_digest = format!("{}@{digest}", reference.name());
        self.store.write(|tx| -> Result<(), ImagesError> {
            rows::add_manifest(tx, image, digest, outgoing.manifest.media_type(), &outgoing.manifest_bytes)?;
            if let Ok(by_digest) = by_digest.parse() {
                rows::set_name(tx, &by_digest, image, Some(self.store.stamp()))?;
            }
            Ok(())
        })?;
        Ok((digest, outgoing.manifest_bytes.len() as u64))
    }

    async fn push_layer(
        &self,
        reference: &Reference,
        layer: &Descriptor,
        progress: &dyn Progress,
    ) -> Result<(), ImagesError> {
        progress.layer(layer.digest, LayerState::Waiting);
        let origins = self.store.read(|tx| rows::origins_of_blob(tx, layer.digest))?;
        let other = origins.iter().filter_map(|origin| origin.parse::<Reference>().ok()).find(|origin| {
            origin.registry() == reference.registry() && origin.repository() != reference.repository()
        });
        let open = || -> io::Result<Box<dyn io::Read + Send>> {
            let file = self.blobs.open(layer.digest).map_err(io::Error::other)?;
            progress.layer(layer.digest, LayerState::Transferring { current: 0, total: layer.size });
            Ok(Box::new(file.ok_or(io::ErrorKind::NotFound)?))
        };
        let pushed = self
            .network()?
            .client
            .push_blob(reference, layer, &open, other.as_ref().map(Reference::repository))
            .await
            .map_err(|error| registry(reference, error))?;
        let state = match pushed {
            Pushed::Present => LayerState::AlreadyExists,
            Pushed::Mounted => LayerState::Mounted,
            Pushed::Sent => LayerState::Complete,
        };
        progress.layer(layer.digest, state);
        Ok(())
    }
}
