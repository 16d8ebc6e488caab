//! `type=registry`: a name at a registry, and where images with a cache in them are read.

use std::sync::Arc;
use std::time::Instant;

use rbuild_image::distribution::{Pushed, Receiver, Sender, Upload};
use rbuild_image::manifest::{Descriptor, Document, MAX_DOCUMENT, MediaType};
use rbuild_model::reference::Reference;

use super::layout::{self, EMPTY, Form, Meaning};
use super::{Backend, BackendError, Held, Network, Put, catalog, transfer};

/// A cache at a registry.
#[derive(Clone)]
pub struct Registry {
    name: String,
    reference: Reference,
    form: Form,
    network: Network,
}

impl Registry {
    /// Names a cache at a registry.
    pub fn new(reference: Reference, form: Form, network: Network) -> Self {
        Self { name: format!("registry {}", reference.familiar()), reference, form, network }
    }

    /// Reads what a document means.
    fn held(&self, meaning: Meaning, depth: usize, held: &mut Vec<Held>) -> Result<(), BackendError> {
        match meaning {
            Meaning::Ours(config) => {
                held.push(Held::Catalog(transfer::read(self, &config, catalog::MAX_BYTES)?));
            }
            Meaning::BuildKit(config) => {
                held.push(Held::BuildKit(transfer::read(self, &config, catalog::MAX_BYTES)?));
            }
            Meaning::Image(config, layers) => {
                held.push(Held::Image { config: transfer::read(self, &config, MAX_DOCUMENT)?, layers });
            }
            Meaning::Several(documents) if depth == 0 => {
                for entry in documents {
                    let document = self.document(&self.reference.clone().with_digest(entry.digest))?;
                    self.held(layout::meaning(document)?, 1, held)?;
                }
            }
            Meaning::Several(_) => {}
        }
        Ok(())
    }

    fn document(&self, reference: &Reference) -> Result<Document, BackendError> {
        Ok(self.network.registry(|client| client.manifest(reference))?.document)
    }

    fn push(&self, descriptor: &Descriptor, sender: &dyn Sender) -> Result<Put, BackendError> {
        let upload = Upload { descriptor, sender, mount_from: None };
        let pushed = self.network.registry(|client| client.push_blob(&self.reference, upload))?;
        Ok(match pushed {
            Pushed::Present => Put::Present,
            Pushed::Mounted | Pushed::Sent => Put::Sent,
        })
    }

    fn push_bytes(&self, bytes: &[u8], kind: &str) -> Result<Descriptor, BackendError> {
        let descriptor = Descriptor::of(kind, bytes);
        self.push(&descriptor, &bytes)?;
        Ok(descriptor)
    }
}

impl Backend for Registry {
    fn name(&self) -> &str {
        &self.name
    }

    fn until(&self, deadline: Instant) -> Arc<dyn Backend> {
        Arc::new(Self { network: self.network.until(deadline), ..self.clone() })
    }

    fn catalog(&self) -> Result<Vec<Held>, BackendError> {
        let document = match self.document(&self.reference) {
            Ok(document) => document,
            Err(BackendError::Client(error)) if error.is_not_found() => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut held = Vec::new();
        self.held(layout::meaning(document)?, 0, &mut held)?;
        Ok(held)
    }

    fn publish(&self, catalog: &[u8], blobs: &[Descriptor]) -> Result<(), BackendError> {
        let config = self.push_bytes(catalog, catalog::MEDIA_TYPE)?;
        if blobs.is_empty() {
            self.push_bytes(EMPTY, MediaType::OCI_LAYER)?;
        }
        let document = layout::write(self.form, config, blobs)?;
        self.network.registry(|client| {
            client.push_manifest(&self.reference, &document.bytes, &document.media_type)
        })?;
        Ok(())
    }

    fn has(&self, blob: &Descriptor) -> Result<bool, BackendError> {
        self.network.registry(|client| client.has_blob(&self.reference, blob.digest))
    }

    fn get(&self, blob: &Descriptor, into: &mut dyn Receiver) -> Result<(), BackendError> {
        self.network.registry(|client| client.blob(&self.reference, blob, into))
    }

    fn put(&self, blob: &Descriptor, sender: &dyn Sender) -> Result<Put, BackendError> {
        self.push(blob, sender)
    }
}

#[cfg(test)]
mod tests;
