//! Registries without a store: what the verbs of registries ask and say, from threads that wait.

mod combine;
mod copy;
mod documents;
mod search;

use rbuild_image::attest::{self, Predicate};
use rbuild_image::distribution::{Client, Credential, Fetched, Registries, Runtime};
use rbuild_image::manifest::{Descriptor, Document, Manifest};
use rbuild_model::digest::BlobDigest;
use rbuild_model::image_config::ImageConfig;
use rbuild_model::reference::Reference;

pub use self::combine::{Combined, Entry, Preference};
pub use self::copy::Selection;
pub use self::search::Found;
use crate::error::ImagesError;
use crate::pull::{parse_config, registry};

/// The client of registries and the runtime that it lives on. May be shared by threads.
pub struct Remote {
    pub(crate) client: Client,
    pub(crate) runtime: Runtime,
}

impl Remote {
    /// Sets the client up; nobody is spoken to yet.
    pub fn new(registries: &Registries) -> Result<Self, ImagesError> {
        let client = Client::new(registries.clone()).map_err(ImagesError::Client)?;
        let runtime = Runtime::new().map_err(ImagesError::Client)?;
        Ok(Self { client, runtime })
    }

    /// Asks a registry whether a credential lets one in; returns what is to be kept of it: the same, or a token in its place.
    pub fn log_in(
        registries: &Registries,
        registry: &str,
        credential: Credential,
    ) -> Result<Credential, ImagesError> {
        let asked = Client::log_in(registries, registry, credential);
        Runtime::new().map_err(ImagesError::Client)?.wait(asked).map_err(ImagesError::Client)
    }

    /// Fetches the manifest or index that a reference names.
    pub fn document(&self, reference: &Reference) -> Result<Fetched, ImagesError> {
        self.runtime.wait(self.client.manifest(reference)).map_err(|error| registry(reference, error))
    }

    /// Fetches the config that a manifest names, as it came and as far as it is understood.
    pub fn config(
        &self,
        reference: &Reference,
        manifest: &Manifest,
    ) -> Result<(Vec<u8>, ImageConfig), ImagesError> {
        let fetched = self.runtime.wait(self.client.small_blob(reference, &manifest.config));
        let bytes = fetched.map_err(|error| registry(reference, error))?;
        let config = parse_config(&reference.familiar(), &bytes)?;
        Ok((bytes, config))
    }

    /// Fetches a statement about an image: nothing if the layer of an attestation is none that is understood.
    pub fn statement(
        &self,
        reference: &Reference,
        layer: &Descriptor,
    ) -> Result<Option<Predicate>, ImagesError> {
        if attest::kind_of(layer).is_none() {
            return Ok(None);
        }
        let fetched = self.runtime.wait(self.client.bounded_blob(reference, layer, attest::MAX_STATEMENT));
        let bytes = fetched.map_err(|error| registry(reference, error))?;
        Ok(attest::read(layer, &bytes))
    }

    /// Lists the tags of a repository.
    pub fn tags(&self, reference: &Reference) -> Result<Vec<String>, ImagesError> {
        self.runtime.wait(self.client.tags(reference)).map_err(|error| registry(reference, error))
    }

    /// Lists what refers to a manifest.
    pub fn referrers(
        &self,
        reference: &Reference,
        subject: BlobDigest,
    ) -> Result<Vec<Descriptor>, ImagesError> {
        self.runtime
            .wait(self.client.referrers(reference, subject))
            .map_err(|error| registry(reference, error))
    }
}

/// Names a document by its own digest in the repository that it came from.
fn by_digest(reference: &Reference, digest: BlobDigest) -> Reference {
    reference.clone().without_digest().with_digest(digest)
}

/// What a fetched document is named by in an index.
fn described(fetched: &Fetched) -> Descriptor {
    let mut descriptor = Descriptor::of(fetched.media_type.as_str(), &fetched.bytes);
    if let Document::Manifest(manifest) = &fetched.document
        && let Some(kind) = manifest.extra.get("artifactType")
    {
        descriptor.extra.insert("artifactType".to_owned(), kind.clone());
    }
    descriptor
}
