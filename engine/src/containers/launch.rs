//! What a definition comes to at a start: one OCI spec, a root, mounts, a control group.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use rbuild_confined::Root;
use rbuild_confined::users::{Id, UserError, UserSpec, Users};
use rbuild_devices::Given;
use rbuild_model::container::{
    BlkioRate, BlkioWeight, Definition, HostOptions, MissingSource, MountUse, MountWhat, NamespaceUse,
    Resources, SeccompUse,
};
use rbuild_model::network::NetworkMode;
use rbuild_model::rootfs::RootPlan;
use rbuild_monitor::VolumeUse;
use rbuild_sandbox::cgroup::{
    CgroupRequest, Counted, DeviceAccess, DeviceKind, DeviceRate, DeviceRule, DeviceWeight, Devices, Limits,
    OutOfMemory,
};
use rbuild_sandbox::mounts::mount_detached;
use rbuild_sandbox::profile::{
    self, Confinement, FirstProcess, HostNamespaces, Identity, NewPrivileges, Options, Privilege, RootAccess,
    Seccomp, SystemPaths,
};
use rbuild_sandbox::{Access, HostBind, Mount, MountSource, Restrictions, Tmpfs};

use super::chosen;
use super::define;
use super::devices::{self, Granted};
use super::error::ContainerError;
use super::link::Linked;
use super::trees::for_reading;
use crate::engine::{Engine, io};
use crate::error::{GroupPlace, RunError};
use crate::volumes::seen;

/// What a definition comes to.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) spec: Spec,
    pub(super) root: RootPlan,
    pub(super) mounts: Vec<Mount>,
    /// The volumes among the mounts.
    pub(super) volumes: Vec<VolumeUse>,
    pub(super) cgroup: CgroupRequest,
}

impl Engine {
    /// Makes of a definition what its program is run with; `hostname` is what it is called inside.
    pub(super) fn launch(
        &self,
        definition: &Definition,
        hostname: &str,
        links: &[Linked],
    ) -> Result<Launch, ContainerError> {
        let host = &definition.host;
        let root = self.root_plan(definition)?;
        let tree = Root::from_fd(mount_detached(&for_reading(root.clone()))?)?;
        let (identity, home) = identity(&tree, &definition.program.user, &host.groups)?;
        let mut options = Options::new(definition.program.argv());
        let links = links.iter().flat_map(|linked| linked.variables(definition.name.as_str()));
        options.env = define::environment(definition, hostname, &home, links);
        options.cwd = match &definition.program.workdir {
            path if path.is_empty() => "/".to_owned(),
            path => path.clone(),
        };
        options.identity = identity;
        options.host_namespaces = HostNamespaces {
            network: host.network == NetworkMode::Host,
            pid: host.pid == NamespaceUse::Host,
            ipc: host.ipc == NamespaceUse::Host,
            uts: host.uts == NamespaceUse::Host,
            cgroup: host.cgroup == NamespaceUse::Host,
        };
        options.hostname = Some(hostname.to_owned()).filter(|_| !options.host_namespaces.uts);
        options.domainname = definition.domainname.as_deref().map(|name| kernels_part(name).to_owned());
        options.confinement = confinement(host);
        let bound = |limit: i64| u64::try_from(limit).unwrap_or(u64::MAX);
        options.rlimits = host
            .resources
            .ulimits
            .iter()
            .map(|limit| (limit.name.clone(), bound(limit.soft), bound(limit.hard)))
            .collect();
        options.sysctls = host.sysctls.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let given = chosen::choose(&host.device_requests, &self.parts.device_folders)?;
        let rules = equip(host, &given, &mut options)?;
        options.first = if host.init { FirstProcess::Reaper } else { FirstProcess::Program };
        if let Some(size) = host.shm_size {
            options.shm_size = size;
        }
        options.terminal = definition.streams.tty.then(|| definition.streams.size.unwrap_or_default());
        options.root = if host.read_only { RootAccess::ReadOnly } else { RootAccess::Writable };
        options.oom_score_adj = host.oom_score_adj;
        let mut spec = profile::container(options)?;
        if host.ipc == NamespaceUse::Bare
            && let Some(mut mounts) = spec.mounts().clone()
        {
            mounts.retain(|mount| mount.destination() != Path::new("/dev/shm"));
            spec.set_mounts(Some(mounts));
        }
        if !host.annotations.is_empty() {
            let mut annotations = spec.annotations().clone().unwrap_or_default();
            annotations.extend(host.annotations.clone());
            spec.set_annotations(Some(annotations));
        }
        let cgroup = CgroupRequest {
            prefix: self.cgroups_of(definition),
            name: definition.id.to_string(),
            limits: limits(&host.resources)?,
            devices: if host.privileged { Devices::All } else { Devices::DefaultAnd(rules) },
        };
        self.write_given(definition)?;
        let mut volumes = Vec::new();
        let mut mounts = host
            .mounts
            .iter()
            .map(|mount| self.mount(mount, &mut volumes))
            .collect::<Result<Vec<_>, ContainerError>>()?;
        add_mounts(&mut mounts, given.mounts());
        if host.ipc == NamespaceUse::Host {
            // The host's messages come with the host's shared files. What is asked for there comes after them.
            let memory = Mount {
                target: "/dev/shm".into(),
                source: MountSource::Host("/dev/shm".into()),
                access: Access::ReadWrite,
                restrictions: Restrictions::ALL,
            };
            mounts.insert(0, memory);
        }
        Ok(Launch { spec, root, mounts, volumes, cgroup })
    }

    /// Returns the folder that the cgroup of a container is in: the one that was asked for, else that of all containers, which
    /// is another one than that of steps because a command that finds a group there without its maker takes it away, and a
    /// container outlives its makers.
    pub(super) fn cgroups_of(&self, definition: &Definition) -> String {
        match &definition.host.cgroup_parent {
            // A path that is not from the top is from the own group.
            Some(parent) => {
                let from = if parent.starts_with('/') { "" } else { "." };
                format!("{from}{}", define::plain(parent).display())
            }
            None => format!("{}c", self.parts.cgroup_prefix),
        }
    }

    /// Returns what a container is called inside.
    pub(crate) fn hostname(&self, definition: &Definition) -> String {
        let of_host =
            matches!(definition.host.network, NetworkMode::Host) || definition.host.uts == NamespaceUse::Host;
        if let NetworkMode::Container(lender) = &definition.host.network
            && let Ok(lender) = self.find(lender)
        {
            return self.hostname(&lender);
        }
        match &definition.hostname {
            Some(name) => name.clone(),
            None if of_host => rustix::system::uname().nodename().to_string_lossy().into_owned(),
            None => definition.id.short(),
        }
    }

    /// Has ready what is mounted; a volume is noted among `volumes`.
    fn mount(&self, mount: &MountUse, volumes: &mut Vec<VolumeUse>) -> Result<Mount, ContainerError> {
        let mut restrictions = Restrictions::default();
        let mut access = if mount.read_only { Access::ReadOnly } else { Access::ReadWrite };
        let source = match &mount.what {
            MountWhat::Bind { source, missing, recursion, propagation } => {
                make_source(source, *missing)?;
                if std::fs::metadata(source).is_err() {
                    return Err(RunError::BindMissing { path: source.clone() }.into());
                }
                MountSource::Bind(HostBind {
                    path: source.clone(),
                    recursion: *recursion,
                    propagation: *propagation,
                })
            }
            MountWhat::Volume { name, subpath, .. } => {
                let (source, driver) = self.volume_source(name, subpath.as_deref())?;
                volumes.push(VolumeUse {
                    name: name.to_string(),
                    driver,
                    target: mount.target.clone(),
                    read_only: mount.read_only,
                });
                source
            }
            MountWhat::Tmpfs(tmpfs) => {
                restrictions = Restrictions { noexec: !tmpfs.exec, nosuid: !tmpfs.suid, nodev: !tmpfs.dev };
                MountSource::Tmpfs(Tmpfs {
                    size: tmpfs.size,
                    mode: tmpfs.mode,
                    uid: tmpfs.uid,
                    gid: tmpfs.gid,
                    more: tmpfs.more.clone(),
                })
            }
            MountWhat::Image { chain, subpath, reference, .. } => {
                access = Access::ReadOnly;
                let root = self.parts.snapshotter.view(chain)?;
                if let Some(subpath) = subpath {
                    let tree = Root::from_fd(mount_detached(&root)?)?;
                    seen(&tree, Path::new(reference), subpath)?;
                }
                MountSource::Within { root, path: subpath.as_ref().map_or_else(|| "/".into(), PathBuf::from) }
            }
        };
        Ok(Mount { target: mount.target.clone().into(), source, access, restrictions })
    }
}

/// Returns the numbers of a user, with its home.
pub(super) fn identity(
    tree: &Root,
    user: &str,
    groups: &[String],
) -> Result<(Identity, String), ContainerError> {
    let no_group = |group: &str, place, source| RunError::Group { group: group.to_owned(), place, source };
    let fail = |source| match &source {
        UserError::NoGroup { name } => no_group(&name.clone(), GroupPlace::User, source),
        _ => RunError::User { user: user.to_owned(), source },
    };
    let spec: UserSpec = user.parse().map_err(fail)?;
    let users = Users::load(tree);
    let found = users.lookup(&spec).map_err(fail)?;
    let mut all = found.groups;
    for group in groups {
        let fail = |source| no_group(group, GroupPlace::Further, source);
        let spec: UserSpec = format!("0:{group}").parse().map_err(fail)?;
        let gid = match spec.group {
            Some(Id::Number(gid)) => gid,
            _ => users.lookup(&spec).map_err(fail)?.gid,
        };
        all.push(gid);
    }
    all.sort_unstable();
    all.dedup();
    let home = found.home.to_string_lossy().into_owned();
    Ok((Identity { uid: found.uid, gid: found.gid, groups: all }, home))
}

/// Adds the devices of a container, and what comes with those that it asks for by name; returns who may use them.
/// Returns what the kernel keeps of the name of a domain: the first 64 bytes, and no part of a character.
fn kernels_part(name: &str) -> &str {
    let end = (0..=name.len().min(64)).rev().find(|end| name.is_char_boundary(*end));
    &name[..end.unwrap_or_default()]
}

fn equip(
    host: &HostOptions,
    given: &Given,
    options: &mut Options,
) -> Result<Vec<DeviceRule>, ContainerError> {
    let Granted { devices, mut rules } = devices::grant(&host.devices)?;
    if host.privileged {
        options.devices = devices::all()?;
    }
    options.devices.extend(devices);
    let named = given.devices((options.identity.uid, options.identity.gid));
    options.devices.retain(|known| !named.iter().any(|device| device.path() == known.path()));
    options.devices.extend(named);
    options.identity.groups.extend(&given.groups);
    given.set_variables(&mut options.env);
    rules.extend(given.rules.iter().copied());
    for rule in &host.resources.device_rules {
        rules.extend(device_rules(rule)?);
    }
    Ok(rules)
}

/// Adds what comes with devices to the mounts, in the place of what is asked for there.
fn add_mounts(mounts: &mut Vec<Mount>, given: Vec<Mount>) {
    if !given.is_empty() {
        mounts.retain(|mount| !given.iter().any(|other| other.target == mount.target));
        mounts.extend(given);
        mounts.sort_by_key(|mount| mount.target.components().count());
    }
}

fn confinement(host: &HostOptions) -> Confinement {
    Confinement {
        privilege: if host.privileged { Privilege::Privileged } else { Privilege::Ordinary },
        capabilities_added: host.cap_add.clone(),
        capabilities_dropped: host.cap_drop.clone(),
        ambient: Vec::new(),
        seccomp: match &host.seccomp {
            SeccompUse::Default => Seccomp::Default,
            SeccompUse::Unconfined => Seccomp::Unconfined,
            SeccompUse::Profile(text) => Seccomp::Profile(text.clone()),
        },
        new_privileges: if host.no_new_privileges {
            NewPrivileges::Forbidden
        } else {
            NewPrivileges::Allowed
        },
        system_paths: if host.unmasked { SystemPaths::Unmasked } else { SystemPaths::Masked },
    }
}

/// Checks what a start needs of what was asked for, so that nothing is made that can never start.
pub(super) fn check(resources: &Resources) -> Result<(), ContainerError> {
    limits(resources)?;
    resources.device_rules.iter().try_for_each(|rule| device_rules(rule).map(drop))
}

/// Makes limits of a control group of what was asked for.
pub(super) fn limits(resources: &Resources) -> Result<Limits, ContainerError> {
    let Resources {
        memory,
        memory_swap,
        memory_reservation,
        memory_swappiness,
        nano_cpus,
        cpu_shares,
        cpu_period,
        cpu_quota,
        cpu_rt_period,
        cpu_rt_runtime,
        cpuset_cpus,
        cpuset_mems,
        pids,
        oom_kill_disable,
        blkio_weight,
        blkio_weight_device,
        device_read_bps,
        device_write_bps,
        device_read_iops,
        device_write_iops,
        // They are no limits of a group.
        device_rules: _,
        ulimits: _,
    } = resources;
    let rates = [
        (device_read_bps, Counted::BytesRead),
        (device_write_bps, Counted::BytesWritten),
        (device_read_iops, Counted::Reads),
        (device_write_iops, Counted::Writes),
    ];
    let rates = rates.into_iter().flat_map(|(rates, counted)| rates.iter().map(move |rate| (rate, counted)));
    let devices = rates.map(|(rate, counted)| device_rate(rate, counted)).collect::<Result<_, _>>()?;
    Ok(Limits {
        devices,
        memory: *memory,
        memory_and_swap: match (memory, memory_swap) {
            (_, Some(total)) => u64::try_from(*total).ok(),
            // As docker has it: as much swap as memory.
            (Some(memory), None) => Some(memory.saturating_mul(2)),
            (None, None) => None,
        },
        memory_reservation: *memory_reservation,
        nano_cpus: match (nano_cpus, cpu_quota) {
            (Some(nano), _) => Some(*nano),
            (None, Some(quota)) if *quota > 0 => {
                let period = cpu_period.unwrap_or(100_000).max(1);
                Some(quota.unsigned_abs().saturating_mul(1_000_000_000) / period)
            }
            _ => None,
        },
        cpu_period_us: *cpu_period,
        cpu_rt_period_us: *cpu_rt_period,
        cpu_rt_runtime_us: *cpu_rt_runtime,
        cpu_shares: *cpu_shares,
        cpuset_cpus: cpuset_cpus.clone(),
        cpuset_mems: cpuset_mems.clone(),
        pids: *pids,
        io_weight: *blkio_weight,
        io_weights: blkio_weight_device.iter().map(device_weight).collect::<Result<_, _>>()?,
        swappiness: *memory_swappiness,
        out_of_memory: if *oom_kill_disable { OutOfMemory::Wait } else { OutOfMemory::Kill },
    })
}

fn device_rate(rate: &BlkioRate, counted: Counted) -> Result<DeviceRate, ContainerError> {
    Ok(DeviceRate { device: block_device(&rate.path)?, counted, rate: rate.rate })
}

fn device_weight(weight: &BlkioWeight) -> Result<DeviceWeight, ContainerError> {
    Ok(DeviceWeight { device: block_device(&weight.path)?, weight: weight.weight })
}

/// Looks up the device whose use is bounded.
fn block_device(path: &str) -> Result<(u32, u32), ContainerError> {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

    let found = std::fs::metadata(path).map_err(io("look at the device", path))?;
    if !found.file_type().is_block_device() {
        return Err(ContainerError::Invalid(format!("`{path}` is no block device: its use has no bounds")));
    }
    Ok((rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev())))
}

/// Reads `c 1:3 rwm`; a number may be `*`. The kind `a` is every device, whatever the rest says.
pub(super) fn device_rules(text: &str) -> Result<Vec<DeviceRule>, ContainerError> {
    let wrong = || ContainerError::Invalid(format!("invalid device cgroup rule format: '{text}'"));
    let words: Vec<&str> = text.split_whitespace().collect();
    let [kind, numbers, access] = words[..] else { return Err(wrong()) };
    let (major, minor) = numbers.split_once(':').ok_or_else(wrong)?;
    let number = |text: &str| match text {
        "*" => Ok(None),
        text => text.parse().map(Some).map_err(|_| wrong()),
    };
    let (major, minor) = (number(major)?, number(minor)?);
    let access = DeviceAccess::parse(access).ok_or_else(wrong)?;
    Ok(match kind {
        "c" => vec![DeviceRule { kind: DeviceKind::Character, major, minor, access }],
        "b" => vec![DeviceRule { kind: DeviceKind::Block, major, minor, access }],
        "a" => [DeviceKind::Character, DeviceKind::Block]
            .map(|kind| DeviceRule { kind, major: None, minor: None, access: DeviceAccess::ALL })
            .into(),
        _ => return Err(wrong()),
    })
}

/// Makes the folder of the host that a container sees, if it is to be made and is not there.
pub(super) fn make_source(source: &Path, missing: MissingSource) -> Result<(), ContainerError> {
    if missing == MissingSource::Make && !source.exists() {
        std::fs::create_dir_all(source).map_err(io("make", source))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_long_names_of_domains_the_kernel_gets_a_part() {
        let long = "d".repeat(70);
        assert_eq!(kernels_part(&long), &long[..64]);
        assert_eq!(kernels_part(&format!("{}ß", &long[..63])), &long[..63]);
        assert_eq!(kernels_part("corp.example"), "corp.example");
    }

    #[test]
    fn a_group_that_is_not_there_is_called_one() {
        let folder = tempfile::tempdir().unwrap();
        let tree = Root::open(folder.path()).unwrap();
        for (user, groups, named) in
            [("", &["nobodies".to_owned()][..], GroupPlace::Further), ("0:nobodies", &[], GroupPlace::User)]
        {
            let error = identity(&tree, user, groups).unwrap_err();
            assert_eq!(error.to_string(), "unable to find group nobodies");
            let ContainerError::Run(RunError::Group { place, .. }) = error else { panic!("{error}") };
            assert_eq!(place, named, "{user}");
        }
    }

    #[test]
    fn rates_are_for_block_devices() {
        let asked = |path: &str| BlkioRate { path: path.to_owned(), rate: 5 };
        let refused = |path: &str| device_rate(&asked(path), Counted::Reads).unwrap_err().to_string();
        assert_eq!(refused("/dev/null"), "`/dev/null` is no block device: its use has no bounds");
        assert!(refused("/dev/none").contains("look at the device"));
    }

    #[test]
    fn rules_for_devices_are_read_as_docker_reads_them() {
        let all = |kind| DeviceRule { kind, major: None, minor: None, access: DeviceAccess::ALL };
        assert_eq!(device_rules("a *:* rwm").unwrap(), [all(DeviceKind::Character), all(DeviceKind::Block)]);
        assert_eq!(device_rules("a 1:3 r").unwrap().len(), 2, "the rest says nothing");
        let access = DeviceAccess { read: true, write: false, make: false };
        let null = DeviceRule { kind: DeviceKind::Character, major: Some(1), minor: None, access };
        assert_eq!(device_rules("c 1:* r").unwrap(), [null]);
        for wrong in ["", "x 1:3 r", "c 1 r", "c 1:x r", "c 1:3", "c 1:3 q"] {
            let said = device_rules(wrong).unwrap_err().to_string();
            assert_eq!(said, format!("invalid device cgroup rule format: '{wrong}'"));
        }
    }
}
