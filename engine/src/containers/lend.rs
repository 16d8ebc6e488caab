//! Namespaces that containers lend to others: network, processes, messages and shared memory.
//!
//! Whoever is to lend is looked up when the container is made, and kept by its id; it has to run whenever the container
//! starts, also when its policy starts it again.

use rbuild_model::container::{ContainerId, Definition, NamespaceUse};
use rbuild_model::network::NetworkMode;
use rbuild_monitor::Shares;
use rbuild_sandbox::Mount;

use super::control::name_file;
use super::error::ContainerError;
use crate::engine::Engine;

/// The files by which a container knows names.
pub(super) const NAME_FILES: [&str; 3] = ["/etc/hosts", "/etc/resolv.conf", "/etc/hostname"];

/// No such file is longer.
pub(super) const LONGEST: u64 = 1 << 20;

impl Engine {
    /// Puts ids in the place of the names of containers that are to lend namespaces, if they can.
    pub(super) fn resolve_lenders(&self, definition: &mut Definition) -> Result<(), ContainerError> {
        let own = definition.id;
        let host = &mut definition.host;
        if let NetworkMode::Container(name) = &mut host.network {
            if name.is_empty() {
                let why = "invalid network mode: invalid container format container:<name|id>";
                return Err(ContainerError::Invalid(why.to_owned()));
            }
            match self.lender(name, own) {
                Ok(lender) => *name = lender.id.to_string(),
                // It may be made before the start.
                Err(ContainerError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        if let NamespaceUse::Container(name) = &mut host.pid {
            *name = self.lender(name, own)?.id.to_string();
        }
        if let NamespaceUse::Container(name) = &mut host.ipc {
            let lender = self.lender(name, own)?;
            check_shareable(&lender)?;
            *name = lender.id.to_string();
        }
        for (what, of) in [("UTS", &host.uts), ("cgroup namespace", &host.cgroup)] {
            if let NamespaceUse::Container(_) | NamespaceUse::Shareable = of {
                return Err(ContainerError::Invalid(format!(
                    "invalid {what} mode: it is `private` or `host`"
                )));
            }
        }
        Ok(())
    }

    fn lender(&self, name: &str, own: ContainerId) -> Result<Definition, ContainerError> {
        let lender = self.find(name)?;
        if lender.id == own {
            return Err(ContainerError::Invalid("a container cannot share its own namespaces".to_owned()));
        }
        Ok(lender)
    }

    /// Returns whose namespaces a container shares that is about to start.
    pub(super) fn shares(&self, definition: &Definition) -> Result<Shares, ContainerError> {
        let host = &definition.host;
        let running = |name: &str, what: &str| {
            let lender = self.find(name)?;
            if self.observe(&lender)?.state.run().is_none() {
                let id = lender.id;
                return Err(ContainerError::State(format!("{what}: container {id} is not running")));
            }
            Ok(lender)
        };
        let mut shares = Shares::default();
        if let NetworkMode::Container(name) = &host.network {
            // Whether it runs was found out when its namespace was opened.
            shares.network = Some(self.find(name)?.id);
        }
        if let NamespaceUse::Container(name) = &host.pid {
            shares.pid = Some(running(name, "failed to join PID namespace")?.id);
        }
        if let NamespaceUse::Container(name) = &host.ipc {
            let lender = running(name, "failed to join IPC namespace")?;
            check_shareable(&lender)?;
            shares.ipc = Some(lender.id);
        }
        Ok(shares)
    }

    /// Returns the files of names of a container that runs, for one that shares its network.
    pub(super) fn lent_name_files(&self, name: &str, read_only: bool) -> Result<Vec<Mount>, ContainerError> {
        let Some(root) = self.running_root(&self.find(name)?)? else { return Ok(Vec::new()) };
        let root = root.with_mounts(rbuild_confined::Mounts::Cross);
        let mut mounts = Vec::new();
        for target in NAME_FILES {
            match root.read(target, LONGEST) {
                Ok(bytes) => mounts.push(name_file(target, bytes, read_only)),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(mounts)
    }
}

/// Checks that others may see a container's messages and shared memory.
fn check_shareable(lender: &Definition) -> Result<(), ContainerError> {
    match lender.host.ipc {
        NamespaceUse::Shareable | NamespaceUse::Host => Ok(()),
        NamespaceUse::Own | NamespaceUse::Bare | NamespaceUse::Container(_) => {
            Err(ContainerError::State(format!(
                "cannot join IPC of a container {}: non-shareable IPC (hint: use IpcMode:shareable for the donor container)",
                lender.id
            )))
        }
    }
}
