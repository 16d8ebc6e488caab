//! Namespaces of other containers, which have to run whenever this one starts.

use std::fs::File;
use std::path::Path;

use rbuild_model::container::ContainerId;
use rbuild_sandbox::mounts::mount_of;
use rbuild_sandbox::process::Process;
use rbuild_sandbox::{Access, Mount, MountSource, Namespaces, Network, Restrictions, Sharing};

use crate::chain;
use crate::place::Place;
use crate::plan::Shares;

/// Where shared memory is mounted in every container.
const SHARED_MEMORY: &str = "/dev/shm";

/// Puts the namespaces of others in the place of own ones; with the messages of another come its shared files.
pub(super) fn join(
    own: &Place,
    shares: &Shares,
    namespaces: &mut Namespaces,
    mounts: &mut Vec<Mount>,
) -> Result<(), String> {
    let Shares { network, pid, ipc } = shares;
    if let Some(lender) = network {
        let what = "cannot join network namespace of a non running container";
        namespaces.network = Network::Join(lent(own, lender, "net", what)?.0.into());
    }
    if let Some(lender) = pid {
        namespaces.pid = Sharing::Join(lent(own, lender, "pid", "failed to join PID namespace")?.0.into());
    }
    if let Some(lender) = ipc {
        let (namespace, process) = lent(own, lender, "ipc", "failed to join IPC namespace")?;
        namespaces.ipc = Sharing::Join(namespace.into());
        let memory = mount_of(&process, Path::new(SHARED_MEMORY)).map_err(|error| chain(&error))?;
        let memory = Mount {
            target: SHARED_MEMORY.into(),
            source: MountSource::Detached(memory),
            access: Access::ReadWrite,
            restrictions: Restrictions::ALL,
        };
        // What is asked for there comes after it.
        mounts.insert(0, memory);
    }
    Ok(())
}

/// Opens a namespace of the first process of another container.
fn lent(own: &Place, lender: &ContainerId, name: &str, what: &str) -> Result<(File, Process), String> {
    let place = own.neighbour(lender);
    let record = place.observe().map_err(|error| chain(&error))?.record().clone();
    let stopped = || format!("{what}: container {lender} is not running");
    let process = record.state.run().and_then(|run| Process::find(run.init)).ok_or_else(stopped)?;
    let path = format!("/proc/{}/ns/{name}", process.pid());
    let opened = File::open(&path);
    // Its number may have been another's by then.
    if !rbuild_sandbox::process::is_alive(process.identity()) {
        return Err(stopped());
    }
    Ok((opened.map_err(|error| format!("cannot open `{path}`: {error}"))?, process))
}
