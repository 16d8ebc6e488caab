//! How the backends of this process speak to servers: one runtime, one client, made at first use.

use std::sync::OnceLock;

use rbuild_image::distribution::{Client, ClientError, Registries, Web};
use tokio::runtime::{Builder, Runtime};

use super::BackendError;

/// The network of all backends.
pub struct Network {
    registries: Registries,
    made: OnceLock<Made>,
}

struct Made {
    runtime: Runtime,
    client: Client,
    web: Web,
}

impl Network {
    /// Says how servers are spoken to; costs nothing.
    pub fn new(registries: Registries) -> Self {
        Self { registries, made: OnceLock::new() }
    }

    fn made(&self) -> Result<&Made, BackendError> {
        if let Some(made) = self.made.get() {
            return Ok(made);
        }
        // Several threads wait for transfers at once; whichever waits drives those of all.
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| BackendError::Here { act: "start the network runtime", source: error.into() })?;
        let client = Client::new(self.registries.clone())?;
        let web = Web::new(&self.registries)?;
        // Another thread may have been faster; its network is then the one.
        Ok(self.made.get_or_init(|| Made { runtime, client, web }))
    }

    /// Speaks to a registry.
    pub(super) fn registry<T>(
        &self,
        act: impl AsyncFnOnce(&Client) -> Result<T, ClientError>,
    ) -> Result<T, BackendError> {
        let Made { runtime, client, .. } = self.made()?;
        Ok(runtime.block_on(act(client))?)
    }

    /// Speaks to another server.
    pub(super) fn web<T>(
        &self,
        act: impl AsyncFnOnce(&Web) -> Result<T, ClientError>,
    ) -> Result<T, BackendError> {
        let Made { runtime, web, .. } = self.made()?;
        Ok(runtime.block_on(act(web))?)
    }
}
