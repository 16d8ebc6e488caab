//! Registries without a store: what the verbs of registries ask and say, from threads that wait.

use rbuild_image::distribution::{Client, Credential, Registries};
use tokio::runtime::{Builder, Runtime};

use crate::error::ImagesError;

/// The client of registries and the runtime that it lives on. May be shared by threads.
pub struct Remote {
    pub(crate) client: Client,
    pub(crate) runtime: Runtime,
}

impl Remote {
    /// Sets the client up; nobody is spoken to yet.
    pub fn new(registries: &Registries) -> Result<Self, ImagesError> {
        let client = Client::new(registries.clone()).map_err(ImagesError::Client)?;
        Ok(Self { client, runtime: runtime()? })
    }

    /// Asks a registry whether a credential lets one in; returns what is to be kept of it: the same, or a token in its place.
    pub fn log_in(
        registries: &Registries,
        registry: &str,
        credential: Credential,
    ) -> Result<Credential, ImagesError> {
        let asked = Client::log_in(registries, registry, credential);
        runtime()?.block_on(asked).map_err(ImagesError::Client)
    }
}

fn runtime() -> Result<Runtime, ImagesError> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| ImagesError::io("start the network runtime", error))
}
