//! Options to one OCI spec, for build steps and containers alike.
//!
//! The defaults are Docker's: fourteen capabilities, the usual mounts, masked and read-only paths, the default
//! filter. A step differs from a container in what it may ask for, not in how it is isolated.

mod defaults;

use std::collections::HashMap;

use oci_spec::runtime::{
    BoxBuilder, Capabilities, Linux, LinuxCapabilities, LinuxDevice, LinuxNamespace, LinuxNamespaceType,
    Mount, PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process, Root, Spec, User,
};

use crate::capabilities::{self, CapabilityMask};
use crate::seccomp;

pub use defaults::{masked_paths, readonly_paths};

/// Options that cannot be made a spec of.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// A capability has an unknown name.
    #[error("unknown capability `{name}`")]
    UnknownCapability {
        /// The name.
        name: String,
    },
    /// A capability is not ours to give.
    #[error("cannot add capability `{name}`: this process does not have it")]
    MissingCapability {
        /// The name.
        name: String,
    },
    /// A resource limit has an unknown name.
    #[error("unknown resource limit `{name}`")]
    UnknownLimit {
        /// The name.
        name: String,
    },
    /// The filter of system calls cannot be had.
    #[error("cannot use the seccomp profile")]
    Seccomp(#[from] seccomp::SeccompError),
}

/// The numeric user of a process. Names are looked up by the caller, in the files of the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The supplementary groups, with the primary one among them.
    pub groups: Vec<u32>,
}

/// How far a process is shut in.
#[derive(Clone, Debug, Default)]
pub struct Confinement {
    /// Whether all walls but the namespaces are taken away.
    pub privilege: Privilege,
    /// Capabilities added to the default set; `ALL` for all that this process has.
    pub capabilities_added: Vec<String>,
    /// Capabilities taken from the default set; `ALL` for all of them.
    pub capabilities_dropped: Vec<String>,
    /// Capabilities that also programs of an ordinary user get.
    pub ambient: Vec<String>,
    /// The filter of system calls.
    pub seccomp: Seccomp,
    /// Whether set-user-id programs work.
    pub new_privileges: NewPrivileges,
    /// Whether the sensitive parts of `/proc` and `/sys` are out of sight.
    pub system_paths: SystemPaths,
}

/// Whether all walls but the namespaces are taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Privilege {
    /// The ordinary walls.
    #[default]
    Ordinary,
    /// All capabilities, no filter, nothing masked, a writable `/sys`.
    Privileged,
}

/// The filter of system calls.
#[derive(Clone, Debug, Default)]
pub enum Seccomp {
    /// The default profile, as wide as the capabilities make it.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// Another profile, as people write it: what it comes to depends on the capabilities.
    Profile(String),
}

/// Whether set-user-id programs and file capabilities give rights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NewPrivileges {
    /// They do.
    #[default]
    Allowed,
    /// They do not.
    Forbidden,
}

/// Whether the sensitive parts of `/proc` and `/sys` are out of sight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SystemPaths {
    /// They are.
    #[default]
    Masked,
    /// They are not.
    Unmasked,
}

/// Which namespaces a process shares with the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostNamespaces {
    /// The network.
    pub network: bool,
    /// The processes.
    pub pid: bool,
    /// Shared memory and message queues.
    pub ipc: bool,
    /// The host name.
    pub uts: bool,
    /// The view of cgroups.
    pub cgroup: bool,
}

/// What the first process of a pid namespace is.
///
/// The runtime spec has no word for it, so it travels as the annotation [`FirstProcess::ANNOTATION`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum FirstProcess {
    /// The program.
    #[default]
    Program,
    /// A reaper of ours, which passes signals on to the program and ends with its status.
    Reaper,
}

impl FirstProcess {
    /// The annotation that asks for a reaper with the value `reaper`.
    pub const ANNOTATION: &str = "rbuild.init";
    const REAPER: &str = "reaper";

    /// Reads what a spec asks for.
    pub fn of_spec(spec: &Spec) -> Self {
        let asked = spec.annotations().as_ref().and_then(|annotations| annotations.get(Self::ANNOTATION));
        if asked.is_some_and(|asked| asked == Self::REAPER) { Self::Reaper } else { Self::Program }
    }
}

/// Everything that a spec is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// Program and arguments.
    pub args: Vec<String>,
    /// The environment, `NAME=value`.
    pub env: Vec<String>,
    /// The working folder.
    pub cwd: String,
    /// The user.
    pub identity: Identity,
    /// The host name.
    pub hostname: Option<String>,
    /// The NIS domain name.
    pub domainname: Option<String>,
    /// How far it is shut in.
    pub confinement: Confinement,
    /// What it shares with the host.
    pub host_namespaces: HostNamespaces,
    /// Resource limits beyond the default ones: name (`nofile`), soft, hard.
    pub rlimits: Vec<(String, u64, u64)>,
    /// Kernel parameters of its namespaces.
    pub sysctls: Vec<(String, String)>,
    /// Devices beyond the default ones.
    pub devices: Vec<LinuxDevice>,
    /// The size of `/dev/shm` in bytes.
    pub shm_size: u64,
    /// Columns and rows of a terminal of its own, if it gets one; zeroes for unknown.
    pub terminal: Option<(u16, u16)>,
    /// Whether the root cannot be written.
    pub root: RootAccess,
    /// How likely the kernel ends it first when memory runs out.
    pub oom_score_adj: Option<i32>,
    /// What the first process is.
    pub first: FirstProcess,
}

/// Whether the root can be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RootAccess {
    /// It can.
    #[default]
    Writable,
    /// It cannot; mounts in it may.
    ReadOnly,
}

impl Options {
    /// Starts with a program and defaults for all else.
    pub fn new(args: Vec<String>) -> Self {
        Self {
            args,
            env: Vec::new(),
            cwd: "/".to_owned(),
            identity: Identity::default(),
            hostname: None,
            domainname: None,
            confinement: Confinement::default(),
            host_namespaces: HostNamespaces::default(),
            rlimits: Vec::new(),
            sysctls: Vec::new(),
            devices: Vec::new(),
            shm_size: defaults::SHM_SIZE,
            terminal: None,
            root: RootAccess::default(),
            oom_score_adj: None,
            first: FirstProcess::default(),
        }
    }
}

/// Makes the spec of a build step: no terminal, a constant host name, the step's own out-of-memory score.
pub fn step(mut options: Options) -> Result<Spec, ProfileError> {
    options.terminal = None;
    options.hostname.get_or_insert_with(|| defaults::STEP_HOSTNAME.to_owned());
    options.oom_score_adj.get_or_insert(defaults::STEP_OOM_SCORE_ADJ);
    if options.host_namespaces.uts {
        options.hostname = None;
    }
    spec(options)
}

/// Makes the spec of a container.
pub fn container(options: Options) -> Result<Spec, ProfileError> {
    spec(options)
}

/// Returns the capabilities that a confinement comes to.
pub fn capability_mask(confinement: &Confinement) -> Result<CapabilityMask, ProfileError> {
    let held = CapabilityMask::held();
    let Confinement { privilege, capabilities_added: added, capabilities_dropped: dropped, .. } = confinement;
    if *privilege == Privilege::Privileged {
        return Ok(held);
    }
    let is_all = |name: &String| capabilities::canonical(name) == "ALL";
    let bit = |name: &String| {
        let number = capabilities::number(name);
        number.map(|number| 1 << number).ok_or_else(|| ProfileError::UnknownCapability { name: name.clone() })
    };
    let mut mask = if dropped.iter().any(is_all) { 0 } else { CapabilityMask::DEFAULT.0 & held.0 };
    if added.iter().any(is_all) {
        mask = held.0;
    }
    for name in dropped.iter().filter(|name| !is_all(name)) {
        mask &= !bit(name)?;
    }
    for name in added.iter().filter(|name| !is_all(name)) {
        let bit = bit(name)?;
        if held.0 & bit == 0 {
            return Err(ProfileError::MissingCapability { name: name.clone() });
        }
        mask |= bit;
    }
    Ok(CapabilityMask(mask))
}

fn spec(options: Options) -> Result<Spec, ProfileError> {
    let Options {
        args,
        env,
        cwd,
        identity,
        hostname,
        domainname,
        confinement,
        host_namespaces,
        rlimits,
        sysctls,
        devices,
        shm_size,
        terminal,
        root: root_access,
        oom_score_adj,
        first,
    } = options;
    let mask = capability_mask(&confinement)?;
    let privileged = confinement.privilege == Privilege::Privileged;

    let mut user = User::default();
    user.set_uid(identity.uid).set_gid(identity.gid).set_additional_gids(Some(identity.groups));
    let mut process = Process::default();
    process
        .set_args(Some(args))
        .set_env(Some(env))
        .set_cwd(cwd.into())
        .set_user(user)
        .set_capabilities(Some(capability_sets(mask, &confinement.ambient)?))
        .set_no_new_privileges(Some(confinement.new_privileges == NewPrivileges::Forbidden))
        .set_oom_score_adj(oom_score_adj)
        .set_rlimits(Some(limits(&[defaults::limits(&rlimits), rlimits].concat())?))
        .set_terminal(Some(terminal.is_some()));
    if let Some((columns, rows)) = terminal {
        let size = BoxBuilder::default().width(columns).height(rows).build();
        process.set_console_size(Some(size.expect("both fields of the size are set")));
    }

    let mut linux = Linux::default();
    let masked = confinement.system_paths == SystemPaths::Masked && !privileged;
    linux
        .set_namespaces(Some(namespaces(host_namespaces)))
        .set_resources(None)
        .set_devices((!devices.is_empty()).then_some(devices))
        .set_masked_paths(masked.then(defaults::masked_paths))
        .set_readonly_paths(masked.then(defaults::readonly_paths))
        .set_seccomp(match confinement.seccomp {
            _ if privileged => None,
            Seccomp::Default => Some(seccomp::default_profile(mask)),
            Seccomp::Unconfined => None,
            Seccomp::Profile(text) => Some(seccomp::read(&text, mask)?),
        });
    let mut parameters: HashMap<String, String> = HashMap::new();
    if !host_namespaces.network {
        let (ports, ping) = (defaults::UNPRIVILEGED_PORTS, defaults::PING_GROUPS);
        parameters.insert(ports.0.to_owned(), ports.1.to_owned());
        // The groups of the range must exist, which they do not in a user namespace.
        if crate::rootless::in_initial_user_namespace() {
            parameters.insert(ping.0.to_owned(), ping.1.to_owned());
        }
    }
    parameters.extend(sysctls);
    linux.set_sysctl(Some(parameters));

    let mut root = Root::default();
    root.set_readonly(Some(root_access == RootAccess::ReadOnly));
    let mut spec = Spec::default();
    spec.set_process(Some(process))
        .set_root(Some(root))
        .set_hostname(hostname)
        .set_domainname(domainname)
        .set_mounts(Some(mounts(shm_size, host_namespaces, privileged)))
        .set_linux(Some(linux));
    if first == FirstProcess::Reaper {
        let asked = (FirstProcess::ANNOTATION.to_owned(), FirstProcess::REAPER.to_owned());
        spec.set_annotations(Some(HashMap::from([asked])));
    }
    Ok(spec)
}

fn capability_sets(mask: CapabilityMask, ambient: &[String]) -> Result<LinuxCapabilities, ProfileError> {
    let mut raised = 0;
    for name in ambient {
        let number = capabilities::number(name)
            .ok_or_else(|| ProfileError::UnknownCapability { name: name.clone() })?;
        raised |= 1 << number;
    }
    let raised = CapabilityMask(raised & mask.0).to_oci();
    let mut sets = LinuxCapabilities::default();
    sets.set_bounding(Some(mask.to_oci()))
        .set_effective(Some(mask.to_oci()))
        .set_permitted(Some(mask.to_oci()))
        // Empty but for what is to be ambient: inheritable capabilities would meet those of files.
        .set_inheritable(Some(raised.clone()))
        .set_ambient(Some(raised));
    debug_assert!(sets.inheritable().as_ref().is_some_and(|set: &Capabilities| set.len() <= ambient.len()));
    Ok(sets)
}

fn limits(limits: &[(String, u64, u64)]) -> Result<Vec<PosixRlimit>, ProfileError> {
    limits
        .iter()
        .map(|(name, soft, hard)| {
            let unknown = || ProfileError::UnknownLimit { name: name.clone() };
            let number = crate::limits::number(name).ok_or_else(unknown)?;
            let upper = format!("RLIMIT_{}", crate::limits::name(number).to_ascii_uppercase());
            let typ: PosixRlimitType = upper.parse().map_err(|_| unknown())?;
            let limit = PosixRlimitBuilder::default().typ(typ).soft(*soft).hard(*hard).build();
            Ok(limit.expect("all fields of the limit are set"))
        })
        .collect()
}

fn namespaces(host: HostNamespaces) -> Vec<LinuxNamespace> {
    [
        (LinuxNamespaceType::Mount, false),
        (LinuxNamespaceType::Network, host.network),
        (LinuxNamespaceType::Pid, host.pid),
        (LinuxNamespaceType::Ipc, host.ipc),
        (LinuxNamespaceType::Uts, host.uts),
        (LinuxNamespaceType::Cgroup, host.cgroup),
    ]
    .into_iter()
    .filter(|(_, shared)| !shared)
    .map(|(typ, _)| {
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(typ);
        namespace
    })
    .collect()
}

fn mounts(shm_size: u64, host: HostNamespaces, privileged: bool) -> Vec<Mount> {
    let shm = format!("nosuid,nodev,noexec,mode=1777,size={shm_size}");
    let system = if privileged { "nosuid,nodev,noexec" } else { "nosuid,nodev,noexec,ro" };
    let mut mounts = vec![
        if host.pid {
            mount("/proc", "bind", "/proc", "rbind,nosuid,nodev,noexec")
        } else {
            mount("/proc", "proc", "proc", "nosuid,nodev,noexec")
        },
        mount("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=64m"),
        mount("/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5"),
        mount("/dev/shm", "tmpfs", "shm", &shm),
    ];
    if !host.ipc {
        mounts.push(mount("/dev/mqueue", "mqueue", "mqueue", "nosuid,nodev,noexec"));
    }
    mounts.push(mount("/sys", "sysfs", "sysfs", system));
    // A privileged one divides its own group further, as an engine within a container does.
    mounts.push(mount("/sys/fs/cgroup", "cgroup", "cgroup", system));
    mounts
}

fn mount(target: &str, kind: &str, source: &str, options: &str) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(target.into())
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(source.into()))
        .set_options(Some(options.split(',').map(str::to_owned).collect()));
    mount
}
