//! What a monitor is told: once about the container ([`Settings`]), and at each start how to run it ([`Plan`]).
//!
//! Both are kept in the run folder, so that a monitor that takes a dead one's place knows them; descriptors
//! ([`Handed`]) are found again through the container's first process.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use oci_spec::runtime::Spec;
use rbuild_model::container::{ContainerId, HealthCheck, LogConfig, Removal, RestartPolicy, Signal};
use rbuild_model::rootfs::RootPlan;
use rbuild_network::duty::Duties;
use rbuild_network::service::Upstreams;
use rbuild_sandbox::Mount;
use rbuild_sandbox::cgroup::CgroupRequest;
use serde::{Deserialize, Serialize};

/// What a monitor has to know of its container, whether it runs or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Which container.
    pub id: ContainerId,
    /// What its events carry: name, image, labels.
    pub attributes: BTreeMap<String, String>,
    /// Its environment, for log options that take values from there.
    pub env: Vec<String>,
    /// How its standard input is kept.
    pub stdin: Stdin,
    /// How its output is kept.
    pub log: LogConfig,
    /// Whether it is started again.
    pub restart: RestartPolicy,
    /// How its health is found out.
    pub health: Option<HealthCheck>,
    /// Whether its health is asked before the first probe is due.
    #[serde(default)]
    pub early_probes: EarlyProbes,
    /// The signal that stops it, if one was chosen.
    pub stop_signal: Option<Signal>,
    /// The time it has to stop; `None` for any.
    pub stop_timeout: Option<Duration>,
    /// What becomes of it at its end.
    pub removal: Removal,
    /// The folder that events are told in; nothing is told without one.
    pub events: Option<PathBuf>,
    /// Arguments of this program that look after the container when it has ended, for one that removes itself or has
    /// volumes that are mounted only while they are used.
    pub reap: Vec<String>,
}

/// Whether the health of a container is asked at 50, 100, 200, 400 ms ... after its start, before the first probe is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EarlyProbes {
    /// It is: a success counts, a failure is forgotten.
    #[default]
    On,
    /// It is not.
    Off,
}

/// How the standard input of a container is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stdin {
    /// It is at its end.
    #[default]
    Closed,
    /// It stays open while nobody is attached.
    Open,
    /// It ends with the first who attached it.
    Once,
}

/// How a container is run, again and again: everything in it stays valid until the container is removed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Plan {
    /// The process, its rights and its view of the kernel.
    pub spec: Spec,
    /// Its root.
    pub root: RootPlan,
    /// Mounts beyond those of the spec; none by descriptor.
    pub mounts: Vec<Mount>,
    /// Its control group, below a prefix that is for containers only: nothing there is ever reclaimed unasked.
    pub cgroup: CgroupRequest,
    /// What is to be done for its networks.
    pub duties: Option<Duties>,
    /// The volumes that it has while it runs, for who is told of that.
    #[serde(default)]
    pub volumes: Vec<VolumeUse>,
    /// Other containers whose namespaces it shares; looked up at each start.
    #[serde(default)]
    pub shares: Shares,
    /// Whatever the caller wants to find again in the container's [record](crate::Record).
    pub note: serde_json::Value,
}

/// A volume that a program has while it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeUse {
    /// Its name.
    pub name: String,
    /// Who keeps it.
    pub driver: String,
    /// Where the program sees it.
    pub target: String,
    /// Whether the program can only read it.
    pub read_only: bool,
}

/// The containers whose namespaces another one shares. They have to run when it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shares {
    /// Whose network.
    pub network: Option<ContainerId>,
    /// Whose processes.
    pub pid: Option<ContainerId>,
    /// Whose message queues and shared memory, `/dev/shm` among it.
    pub ipc: Option<ContainerId>,
}

/// Questions for names of a container that came into a network which has names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameServing {
    /// What its programs are told of servers.
    pub resolv_conf: String,
    /// Who is asked for what its networks do not know.
    pub upstreams: Upstreams,
}

/// The descriptors that a plan needs.
#[derive(Debug, Default)]
pub struct Handed {
    /// The network namespace; without one it is a new one, or the host's, as the spec says.
    pub network: Option<OwnedFd>,
    /// The network namespace that networks are made in, if it is not the monitor's own.
    pub place: Option<OwnedFd>,
    /// The reserved ports, in the order of the duties.
    pub ports: Vec<OwnedFd>,
}

/// Which descriptors come along with a message, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HandedList {
    network: bool,
    place: bool,
    ports: usize,
}

impl Handed {
    pub(crate) fn list(&self) -> HandedList {
        let Self { network, place, ports } = self;
        HandedList { network: network.is_some(), place: place.is_some(), ports: ports.len() }
    }

    pub(crate) fn into_fds(self) -> Vec<OwnedFd> {
        let Self { network, place, ports } = self;
        [network, place].into_iter().flatten().chain(ports).collect()
    }

    /// Takes descriptors that arrived apart; `None` if they are not what the list says.
    pub(crate) fn of_fds(list: HandedList, fds: Vec<OwnedFd>) -> Option<Self> {
        let named = [list.network, list.place];
        if named.iter().filter(|there| **there).count().checked_add(list.ports)? != fds.len() {
            return None;
        }
        let mut fds = fds.into_iter();
        let mut next = |there: bool| if there { fds.next() } else { None };
        let [network, place] = named.map(&mut next);
        Some(Self { network, place, ports: fds.collect() })
    }
}

/// A program that is to run in a running container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecPlan {
    /// Program and arguments.
    pub args: Vec<String>,
    /// Variables over those of the container.
    pub env: Vec<String>,
    /// The working folder; the container's without one.
    pub cwd: Option<String>,
    /// The numeric user, group and further groups; the container's without them.
    pub user: Option<(u32, u32, Vec<u32>)>,
    /// Whether it gets all rights.
    pub privilege: ExecPrivilege,
    /// Columns and rows of a terminal of its own, if it gets one; zeroes for unknown.
    pub terminal: Option<(u16, u16)>,
    /// Whether its standard input is open.
    pub stdin: Stdin,
    /// Whatever the caller wants to find again.
    pub note: serde_json::Value,
}

/// Whether a program that runs in a container gets rights that the container has not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExecPrivilege {
    /// It has what the container has.
    #[default]
    Ordinary,
    /// All capabilities, and no filter of system calls.
    Privileged,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_come_apart_as_they_were_put_together() {
        let fd = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let number = |fd: &Option<OwnedFd>| fd.as_ref().map(std::os::fd::AsRawFd::as_raw_fd);
        let handed = Handed { place: Some(fd()), ports: vec![fd(), fd()], ..Handed::default() };
        let (list, place) = (handed.list(), number(&handed.place));
        let back = Handed::of_fds(list, handed.into_fds()).unwrap();
        assert_eq!((number(&back.place), back.ports.len()), (place, 2));
        assert!(back.network.is_none());
        assert!(Handed::of_fds(list, vec![fd()]).is_none());
        assert!(Handed::of_fds(HandedList { ports: usize::MAX, ..list }, Vec::new()).is_none());
    }
}
