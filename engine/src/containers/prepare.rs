//! What a start needs whatever it starts, made ahead: while the container is made, or while it waits for others.

use std::sync::{MutexGuard, PoisonError};

use rbuild_model::network::NetworkMode;
use rbuild_monitor::{ClientError, Spawned, Zygote};
use rbuild_network::namespace::{Namespace, NamespaceBegun};

use crate::engine::Engine;

/// What was begun and is nobody's yet. It goes with the engine at the latest.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// What monitors are copies of, where several are started.
    zygote: Option<Zygote>,
    monitor: Option<Spawned>,
    namespace: Option<NamespaceBegun>,
}

impl Engine {
    /// Begins what the next start needs: the process of a monitor, and a network namespace unless it shares one.
    pub fn prepare_start(&self, network: &NetworkMode) {
        let mut prepared = self.prepared();
        // What cannot be had now is asked for again, and its error told, when it is needed.
        if has_own_namespace(network) && prepared.namespace.is_none() {
            prepared.namespace = Namespace::begin().ok();
        }
        if prepared.monitor.is_none() {
            prepared.monitor = self.spawn(&mut prepared).ok();
        }
    }

    /// Begins what many starts have in common.
    pub(crate) fn prepare_starts(&self) {
        let mut prepared = self.prepared();
        if prepared.zygote.is_none() {
            // Without it, each monitor is begun by itself.
            prepared.zygote = Zygote::new(&self.parts.monitor).ok();
        }
    }

    /// Lets go of what nobody took.
    pub(crate) fn drop_prepared(&self) {
        drop(std::mem::take(&mut *self.prepared()));
    }

    /// Takes the monitor that was begun ahead, or begins one.
    pub(super) fn new_monitor(&self) -> Result<Spawned, ClientError> {
        let mut prepared = self.prepared();
        prepared.monitor.take().map_or_else(|| self.spawn(&mut prepared), Ok)
    }

    fn spawn(&self, prepared: &mut Prepared) -> Result<Spawned, ClientError> {
        match prepared.zygote.as_ref().map(Zygote::spawn) {
            Some(Ok(spawned)) => Ok(spawned),
            // Somebody killed it.
            Some(Err(_)) | None => {
                prepared.zygote = None;
                Spawned::new(&self.parts.monitor)
            }
        }
    }

    pub(super) fn prepared_namespace(&self, network: &NetworkMode) -> Option<Namespace> {
        if !has_own_namespace(network) {
            return None;
        }
        let begun = self.prepared().namespace.take()?;
        begun.finish().ok()
    }

    fn prepared(&self) -> MutexGuard<'_, Prepared> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn has_own_namespace(network: &NetworkMode) -> bool {
    !matches!(network, NetworkMode::Host | NetworkMode::Container(_))
}
