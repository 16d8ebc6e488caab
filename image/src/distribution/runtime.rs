//! Threads that wait for calls.

use std::pin::{Pin, pin};

use tokio::runtime::Builder;

use super::error::ClientError;

/// What calls run on. Several threads may wait at a time; whichever waits drives the calls of all.
#[derive(Debug)]
pub struct Runtime(tokio::runtime::Runtime);

impl Runtime {
    /// Sets one up; it starts no thread.
    pub fn new() -> Result<Self, ClientError> {
        let built = Builder::new_current_thread().enable_all().build();
        built
            .map(Self)
            .map_err(|error| ClientError::Setup(format!("the network runtime does not start: {error}")))
    }

    /// Waits for something.
    ///
    /// # Panics
    ///
    /// Within a call: who is waited for must not wait.
    pub fn wait<T>(&self, act: impl Future<Output = T>) -> T {
        let mut came = None;
        self.drive(pin!(async { came = Some(act.await) }));
        came.expect("it is driven until it has come")
    }

    /// What is waited for is of many types; the loop that drives it is compiled once.
    fn drive(&self, act: Pin<&mut dyn Future<Output = ()>>) {
        self.0.block_on(act);
    }
}
