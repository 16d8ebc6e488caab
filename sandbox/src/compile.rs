//! From an order to a script: every check, and every host file opened, before anything exists that would have to be
//! undone.
//!
//! A field that would restrict the process and that is not carried out here is an error: a restriction is never
//! dropped silently.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDeviceType, LinuxNamespaceType, Spec};
use rbuild_model::container::BindRecursion;
use rustix::fs::CWD;
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};

use crate::capabilities::CapabilityMask;
use crate::exec::CompiledEntry;
use crate::mounts::{Depth, MountError, check_spreads, clone_mount, mount_root, propagation_flags};
use crate::options::{self, Bind};
use crate::order::{Access, FileContent, HostBind, Mount, MountSource, Order, Restrictions, Stdio, Tmpfs};
use crate::profile::FirstProcess;
use crate::script::{
    Attributes, BlobRange, CapabilityMasks, EnterScript, FdIndex, NewFilesystem, Script, ScriptDevice,
    ScriptMount, ScriptProgram, ScriptSource,
};
use crate::seccomp::SeccompError;
use crate::slot::Namespaces;
use crate::wire::MAX_FDS;
use crate::{cgroup, limits, seccomp};

/// An order that cannot be carried out.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// A mount could not be made.
    #[error("cannot prepare a mount")]
    Mount(#[from] MountError),
    /// The seccomp profile cannot be used.
    #[error("cannot use the seccomp profile")]
    Seccomp(#[from] SeccompError),
    /// The spec asks for something that is not offered.
    #[error("{field} is not supported: {value}")]
    Unsupported {
        /// The field of the spec.
        field: &'static str,
        /// What it holds.
        value: String,
    },
    /// The spec contradicts itself, or the slot that it is to run in.
    #[error("{field}: {why}")]
    Invalid {
        /// The field of the spec.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A path is not text.
    #[error("the path `{}` is not valid UTF-8", path.display())]
    NotText {
        /// The path.
        path: PathBuf,
    },
    /// More descriptors are needed than one message can carry.
    #[error("the order needs more than {MAX_FDS} mounts and streams")]
    TooManyFds,
}

/// A script with everything it refers to.
pub(crate) struct Compiled {
    pub(crate) script: Script,
    pub(crate) blob: Vec<u8>,
    pub(crate) fds: Vec<OwnedFd>,
}

impl Compiled {
    /// Returns the root's mount.
    pub(crate) fn root(&self) -> &OwnedFd {
        &self.fds[usize::from(self.script.root)]
    }
}

/// The longest argument or variable that the kernel takes.
const MAX_STRING: usize = 128 << 10;
const DEFAULT_DEVICES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// Whether device nodes in the root are harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeviceControl {
    /// A cgroup decides which devices can be opened.
    Cgroup,
    /// Nothing does: nodes in the root must not work.
    None,
}

/// Checks an order and opens everything in it.
pub(crate) fn compile(
    order: Order,
    stdio: Stdio,
    namespaces: &Namespaces,
    control: DeviceControl,
    hold: bool,
) -> Result<Compiled, OrderError> {
    let Order { spec, root, mounts, stubs: _ } = order;
    refuse_unsupported(&spec)?;
    check_namespaces(&spec, namespaces)?;
    let mut compiler = Compiler::default();
    let root_attributes = match control {
        DeviceControl::Cgroup => MountAttrFlags::empty(),
        DeviceControl::None => MountAttrFlags::MOUNT_ATTR_NODEV,
    };
    let root = compiler.fd(mount_root(&root, root_attributes)?)?;
    let mut script_mounts = Vec::new();
    for mount in spec.mounts().iter().flatten() {
        script_mounts.push(compiler.oci_mount(mount)?);
    }
    let own_dev = script_mounts.iter().any(|mount| {
        mount.target == "/dev" && matches!(mount.source, ScriptSource::New { kind: NewFilesystem::Tmpfs, .. })
    });
    for mount in mounts {
        script_mounts.push(compiler.mount(mount)?);
    }
    let devices = if own_dev { compiler.devices(&spec)? } else { Vec::new() };
    let program = compiler.program(&spec, stdio)?;
    let linux = spec.linux().as_ref();
    let script = Script {
        root,
        root_readonly: spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false),
        root_propagation: propagation(linux.and_then(|linux| linux.rootfs_propagation().as_deref()))?,
        mounts: script_mounts,
        devices,
        hostname: host_name("hostname", spec.hostname().as_deref(), namespaces)?,
        domainname: host_name("domainname", spec.domainname().as_deref(), namespaces)?,
        sysctls: sysctls(&spec, namespaces)?,
        masked: linux.and_then(|linux| linux.masked_paths().clone()).unwrap_or_default(),
        readonly: linux.and_then(|linux| linux.readonly_paths().clone()).unwrap_or_default(),
        program,
        hold,
    };
    Ok(Compiled { script, blob: compiler.blob, fds: compiler.fds })
}

/// Checks a program that is to enter the namespaces of another.
pub(crate) fn compile_entry(
    spec: &Spec,
    target: BorrowedFd<'_>,
    stdio: Stdio,
) -> Result<CompiledEntry, OrderError> {
    refuse_unsupported(spec)?;
    let mut compiler = Compiler::default();
    let copy = rustix::io::fcntl_dupfd_cloexec(target, 3)
        .map_err(|errno| MountError::path("keep a descriptor of", "the container's init", errno))?;
    let target = compiler.fd(copy)?;
    let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let mut namespaces = libc::CLONE_NEWNS as u32;
    for namespace in listed.into_iter().flatten() {
        namespaces |= match namespace.typ() {
            LinuxNamespaceType::Network => libc::CLONE_NEWNET as u32,
            LinuxNamespaceType::Pid => libc::CLONE_NEWPID as u32,
            LinuxNamespaceType::Ipc => libc::CLONE_NEWIPC as u32,
            LinuxNamespaceType::Uts => libc::CLONE_NEWUTS as u32,
            LinuxNamespaceType::Cgroup => libc::CLONE_NEWCGROUP as u32,
            LinuxNamespaceType::Mount => 0,
            other => {
                return Err(OrderError::Unsupported { field: "linux.namespaces", value: other.to_string() });
            }
        };
    }
    let mut program = compiler.program(spec, stdio)?;
    // The init is there already.
    program.first = FirstProcess::Program;
    let script = EnterScript { target, namespaces, program };
    Ok(CompiledEntry { script, blob: compiler.blob, fds: compiler.fds })
}

fn refuse_unsupported(spec: &Spec) -> Result<(), OrderError> {
    let unsupported = |field, value: String| Err(OrderError::Unsupported { field, value });
    if let Some(process) = spec.process() {
        if let Some(profile) =
            process.apparmor_profile().as_deref().filter(|name| !matches!(*name, "" | "unconfined"))
        {
            return unsupported("process.apparmorProfile", profile.to_owned());
        }
        if let Some(label) = process.selinux_label().as_deref().filter(|label| !label.is_empty()) {
            return unsupported("process.selinuxLabel", label.to_owned());
        }
        if process.io_priority().is_some() {
            return unsupported("process.ioPriority", "set".to_owned());
        }
        if process.scheduler().is_some() {
            return unsupported("process.scheduler", "set".to_owned());
        }
        if process.exec_cpu_affinity().is_some() {
            return unsupported("process.execCPUAffinity", "set".to_owned());
        }
    }
    if spec.hooks().is_some() {
        return unsupported("hooks", "set".to_owned());
    }
    let Some(linux) = spec.linux() else { return Ok(()) };
    if linux.uid_mappings().iter().chain(linux.gid_mappings()).any(|mappings| !mappings.is_empty()) {
        return unsupported("linux.uidMappings", "a user namespace of its own".to_owned());
    }
    if let Some(label) = linux.mount_label().as_deref().filter(|label| !label.is_empty()) {
        return unsupported("linux.mountLabel", label.to_owned());
    }
    if linux.intel_rdt().is_some() {
        return unsupported("linux.intelRdt", "set".to_owned());
    }
    if linux.memory_policy().is_some() {
        return unsupported("linux.memoryPolicy", "set".to_owned());
    }
    if linux.net_devices().as_ref().is_some_and(|devices| !devices.is_empty()) {
        return unsupported("linux.netDevices", "set".to_owned());
    }
    if linux.time_offsets().as_ref().is_some_and(|offsets| !offsets.is_empty()) {
        return unsupported("linux.timeOffsets", "set".to_owned());
    }
    Ok(())
}

/// Compares the namespaces of the spec with those of the slot.
fn check_namespaces(spec: &Spec, namespaces: &Namespaces) -> Result<(), OrderError> {
    let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let mut seen = Vec::new();
    for namespace in listed.into_iter().flatten() {
        let typ = namespace.typ();
        if seen.contains(&typ) {
            return Err(OrderError::Invalid {
                field: "linux.namespaces",
                why: format!("{typ} is named twice"),
            });
        }
        seen.push(typ);
    }
    for (typ, own) in namespaces.listed() {
        let asked = seen.contains(&typ);
        if asked != own {
            let (spec, slot) =
                if asked { ("asks for one", "shares the host's") } else { ("asks for none", "has one") };
            let why = format!("the spec {spec} of its own for {typ}, the slot {slot}");
            return Err(OrderError::Invalid { field: "linux.namespaces", why });
        }
    }
    if let Some(typ) =
        seen.iter().find(|typ| matches!(typ, LinuxNamespaceType::User | LinuxNamespaceType::Time))
    {
        return Err(OrderError::Unsupported { field: "linux.namespaces", value: typ.to_string() });
    }
    Ok(())
}

fn propagation(name: Option<&str>) -> Result<u64, OrderError> {
    match name {
        None | Some("" | "private" | "rprivate") => Ok(0),
        Some("slave" | "rslave") => Ok(libc::MS_SLAVE),
        Some("shared" | "rshared") => Ok(libc::MS_SHARED),
        Some("unbindable" | "runbindable") => Ok(libc::MS_UNBINDABLE),
        Some(other) => {
            Err(OrderError::Unsupported { field: "linux.rootfsPropagation", value: other.to_owned() })
        }
    }
}

fn host_name(
    field: &'static str,
    name: Option<&str>,
    namespaces: &Namespaces,
) -> Result<Option<String>, OrderError> {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(None) };
    if !namespaces.own_uts() {
        return Err(OrderError::Invalid { field, why: "needs a uts namespace of its own".to_owned() });
    }
    if name.len() > 64 || name.bytes().any(|byte| byte == 0) {
        return Err(OrderError::Invalid { field, why: "must be at most 64 bytes".to_owned() });
    }
    Ok(Some(name.to_owned()))
}

/// Turns kernel parameters into paths below `/proc/sys`; only what is namespaced is allowed.
fn sysctls(spec: &Spec, namespaces: &Namespaces) -> Result<Vec<(String, String)>, OrderError> {
    const IPC: [&str; 7] = ["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni"];
    let mut result = Vec::new();
    for (name, value) in spec.linux().iter().filter_map(|linux| linux.sysctl().as_ref()).flatten() {
        // The first separator decides which form it is.
        let path = match name.find(['.', '/']).map(|place| name.as_bytes()[place]) {
            Some(b'.') => name
                .chars()
                .map(|letter| match letter {
                    '.' => '/',
                    '/' => '.',
                    other => other,
                })
                .collect(),
            _ => name.clone(),
        };
        let safe = !path.is_empty()
            && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
            && !path.contains('\0');
        let ipc =
            path.strip_prefix("kernel/").is_some_and(|name| IPC.contains(&name) || name == "shm_rmid_forced");
        let allowed = namespaces.own_ipc() && (ipc || path.starts_with("fs/mqueue/"))
            || namespaces.own_network() && path.starts_with("net/")
            || namespaces.own_uts() && path == "kernel/domainname";
        if !safe || !allowed {
            let why = format!("`{name}` belongs to no namespace of its own");
            return Err(OrderError::Invalid { field: "linux.sysctl", why });
        }
        result.push((path, value.clone()));
    }
    result.sort();
    Ok(result)
}

/// Collects what a script refers to.
#[derive(Default)]
struct Compiler {
    blob: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Compiler {
    fn fd(&mut self, fd: OwnedFd) -> Result<FdIndex, OrderError> {
        if self.fds.len() >= MAX_FDS {
            return Err(OrderError::TooManyFds);
        }
        self.fds.push(fd);
        Ok((self.fds.len() - 1) as FdIndex)
    }

    fn bytes(&mut self, bytes: &[u8]) -> BlobRange {
        let start = self.blob.len();
        self.blob.extend_from_slice(bytes);
        BlobRange { start, length: bytes.len() }
    }

    fn oci_mount(&mut self, mount: &oci_spec::runtime::Mount) -> Result<ScriptMount, OrderError> {
        let target = target(mount.destination())?;
        if mount.uid_mappings().is_some() || mount.gid_mappings().is_some() {
            return Err(OrderError::Unsupported { field: "mounts.uidMappings", value: target });
        }
        let mut parsed = options::parse(mount.options().as_deref().unwrap_or_default());
        let kind = mount.typ().as_deref().unwrap_or_default();
        let source = if parsed.bind.is_some() || kind == "bind" {
            if let Some((key, _)) = parsed.data.first() {
                let why = format!("`{key}` is no option of a bind mount");
                return Err(OrderError::Invalid { field: "mounts.options", why });
            }
            let Some(source) = mount.source() else {
                return Err(OrderError::Invalid {
                    field: "mounts.source",
                    why: format!("missing for `{target}`"),
                });
            };
            let depth = if parsed.bind == Some(Bind::All) { Depth::All } else { Depth::One };
            ScriptSource::Fd(self.host(source, depth)?)
        } else {
            let data = std::mem::take(&mut parsed.data);
            match kind {
                "proc" => ScriptSource::Proc,
                "cgroup" | "cgroup2" => cgroup::visible(),
                "tmpfs" => ScriptSource::New { kind: NewFilesystem::Tmpfs, options: data },
                "devpts" => {
                    let mut options = data;
                    // A group that does not exist here would make the mount fail.
                    let mapped = |value: &str| value.parse().is_ok_and(crate::rootless::is_group_mapped);
                    options.retain(|(key, value)| key != "gid" || value.as_deref().is_none_or(mapped));
                    ScriptSource::New { kind: NewFilesystem::Devpts, options }
                }
                "mqueue" => ScriptSource::New { kind: NewFilesystem::Mqueue, options: data },
                "sysfs" => ScriptSource::New { kind: NewFilesystem::Sysfs, options: data },
                other => {
                    return Err(OrderError::Unsupported { field: "mounts.type", value: other.to_owned() });
                }
            }
        };
        let keep_target = matches!(target.as_str(), "/proc" | "/dev" | "/sys");
        Ok(ScriptMount { target, source, attributes: parsed.attributes, keep_target })
    }

    fn mount(&mut self, mount: Mount) -> Result<ScriptMount, OrderError> {
        let Mount { target: path, source, access, restrictions } = mount;
        let target = target(&path)?;
        let Restrictions { nosuid, nodev, noexec } = restrictions;
        let mut set = 0;
        for (wanted, bit) in [
            (nosuid, libc::MOUNT_ATTR_NOSUID),
            (nodev, libc::MOUNT_ATTR_NODEV),
            (noexec, libc::MOUNT_ATTR_NOEXEC),
            (access == Access::ReadOnly, libc::MOUNT_ATTR_RDONLY),
        ] {
            set |= if wanted { bit } else { 0 };
        }
        let mut attributes = Attributes { set, ..Attributes::default() };
        attributes.recursive = matches!(source, MountSource::Host(_) | MountSource::Fd(_));
        let source = match source {
            MountSource::Host(path) => ScriptSource::Fd(self.host(&path, Depth::All)?),
            MountSource::Bind(HostBind { path, recursion, propagation }) => {
                check_spreads(&path, propagation)?;
                let (flag, spread) = propagation_flags(propagation);
                attributes.propagation = flag;
                attributes.spread = Some(spread);
                attributes.recursive = matches!(recursion, BindRecursion::All | BindRecursion::ReadOnly);
                let depth = if recursion == BindRecursion::One { Depth::One } else { Depth::All };
                ScriptSource::Fd(self.host(&path, depth)?)
            }
            MountSource::Fd(fd) => {
                let clone = clone_mount(fd.as_fd(), Depth::All)
                    .map_err(|errno| MountError::path("clone the mount for", &path, errno))?;
                ScriptSource::Fd(self.fd(clone)?)
            }
            MountSource::Detached(mount) => ScriptSource::Fd(self.fd(mount)?),
            MountSource::Within { root, path } => {
                let quiet = MountAttrFlags::MOUNT_ATTR_NODEV;
                ScriptSource::Within { root: self.fd(mount_root(&root, quiet)?)?, path: text(&path)? }
            }
            MountSource::Tmpfs(Tmpfs { size, mode, uid, gid }) => {
                let mut options = vec![
                    ("mode".to_owned(), Some(format!("{mode:o}"))),
                    ("uid".to_owned(), Some(uid.to_string())),
                    ("gid".to_owned(), Some(gid.to_string())),
                ];
                options.extend(size.map(|size| ("size".to_owned(), Some(size.to_string()))));
                ScriptSource::New { kind: NewFilesystem::Tmpfs, options }
            }
            MountSource::File(FileContent { bytes, mode, uid, gid }) => {
                ScriptSource::File { content: self.bytes(&bytes), mode, uid, gid }
            }
        };
        // Files come from the staging tmpfs, where nothing can be executed; a script is to be.
        if matches!(source, ScriptSource::File { .. }) {
            attributes.clear = libc::MOUNT_ATTR_NOEXEC;
        }
        Ok(ScriptMount { target, source, attributes, keep_target: false })
    }

    /// Clones the mount at a path of the host.
    fn host(&mut self, path: &Path, depth: Depth) -> Result<FdIndex, OrderError> {
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        if depth == Depth::All {
            flags |= OpenTreeFlags::AT_RECURSIVE;
        }
        let mount = open_tree(CWD, path, flags).map_err(|errno| MountError::path("bind", path, errno))?;
        self.fd(mount)
    }

    fn devices(&mut self, spec: &Spec) -> Result<Vec<ScriptDevice>, OrderError> {
        let bind = !crate::rootless::may_make_devices();
        let mut devices = Vec::new();
        for (path, major, minor) in DEFAULT_DEVICES {
            let host = if bind { Some(self.host(Path::new(path), Depth::One)?) } else { None };
            let path = path.to_owned();
            devices.push(ScriptDevice {
                path,
                block: false,
                major,
                minor,
                mode: 0o666,
                uid: 0,
                gid: 0,
                host,
            });
        }
        for device in spec.linux().iter().filter_map(|linux| linux.devices().as_ref()).flatten() {
            let path = target(device.path())?;
            let block = match device.typ() {
                LinuxDeviceType::C | LinuxDeviceType::U => false,
                LinuxDeviceType::B => true,
                other => {
                    return Err(OrderError::Unsupported {
                        field: "linux.devices.type",
                        value: format!("{other:?}"),
                    });
                }
            };
            let number = |value: i64| {
                u32::try_from(value).map_err(|_| OrderError::Invalid {
                    field: "linux.devices",
                    why: format!("`{path}` has no valid device number"),
                })
            };
            let (major, minor) = (number(device.major())?, number(device.minor())?);
            let mode = device.file_mode().unwrap_or(0o666) & 0o777;
            let (uid, gid) = (device.uid().unwrap_or(0), device.gid().unwrap_or(0));
            let host = if bind { Some(self.host(device.path(), Depth::One)?) } else { None };
            devices.retain(|known: &ScriptDevice| known.path != path);
            devices.push(ScriptDevice { path, block, major, minor, mode, uid, gid, host });
        }
        Ok(devices)
    }

    fn program(&mut self, spec: &Spec, stdio: Stdio) -> Result<ScriptProgram, OrderError> {
        let Some(process) = spec.process() else {
            return Err(OrderError::Invalid { field: "process", why: "missing".to_owned() });
        };
        let args = process.args().clone().unwrap_or_default();
        if args.first().is_none_or(String::is_empty) {
            return Err(OrderError::Invalid { field: "process.args", why: "names no program".to_owned() });
        }
        let env = process.env().clone().unwrap_or_default();
        for text in args.iter().chain(&env) {
            if text.len() >= MAX_STRING || text.contains('\0') {
                let why = "an argument or variable is longer than 128 KiB or has a zero byte".to_owned();
                return Err(OrderError::Invalid { field: "process", why });
            }
        }
        if let Some(entry) = env.iter().find(|entry| entry.find('=').is_none_or(|place| place == 0)) {
            let why = format!("`{entry}` is not of the form name=value");
            return Err(OrderError::Invalid { field: "process.env", why });
        }
        let user = process.user();
        if user.uid() == u32::MAX || user.gid() == u32::MAX {
            return Err(OrderError::Invalid { field: "process.user", why: "4294967295 is no id".to_owned() });
        }
        let terminal = process.terminal().unwrap_or(false).then(|| {
            process.console_size().map_or((0, 0), |size| (clamp(size.width()), clamp(size.height())))
        });
        let Stdio { stdin, stdout, stderr } = stdio;
        let mut streams = [None; 3];
        for (place, stream) in [stdin, stdout, stderr].into_iter().enumerate() {
            if let Some(stream) = stream.filter(|_| terminal.is_none()) {
                streams[place] = Some(self.fd(stream)?);
            }
        }
        let capabilities = capabilities(process)?;
        let seccomp = match spec.linux().as_ref().and_then(|linux| linux.seccomp().as_ref()) {
            Some(profile) => {
                let (program, flags) = seccomp::from_oci(profile)?;
                Some((self.bytes(&seccomp::encode(&program)), flags))
            }
            None => None,
        };
        let mut rlimits = Vec::new();
        for limit in process.rlimits().iter().flatten() {
            let name = limit.typ().to_string();
            let Some(number) = limits::number(&name) else {
                return Err(OrderError::Unsupported { field: "process.rlimits", value: name });
            };
            if limit.soft() > limit.hard() {
                let why = format!("the soft limit of {name} is above the hard one");
                return Err(OrderError::Invalid { field: "process.rlimits", why });
            }
            rlimits.push((number, limit.soft(), limit.hard()));
        }
        let cwd = text(process.cwd())?;
        if !cwd.starts_with('/') {
            return Err(OrderError::Invalid {
                field: "process.cwd",
                why: format!("`{cwd}` is not absolute"),
            });
        }
        Ok(ScriptProgram {
            args,
            env,
            cwd,
            uid: user.uid(),
            gid: user.gid(),
            groups: user.additional_gids().clone().unwrap_or_default(),
            umask: user.umask().unwrap_or(0o022),
            capabilities,
            rlimits,
            no_new_privileges: process.no_new_privileges().unwrap_or(false),
            oom_score_adj: process.oom_score_adj(),
            personality: personality(spec)?,
            seccomp,
            stdio: streams,
            terminal,
            first: FirstProcess::of_spec(spec),
        })
    }
}

fn clamp(value: u64) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

fn personality(spec: &Spec) -> Result<Option<u64>, OrderError> {
    use oci_spec::runtime::LinuxPersonalityDomain;
    const PER_LINUX32: u64 = 8;
    let Some(personality) = spec.linux().as_ref().and_then(|linux| linux.personality().as_ref()) else {
        return Ok(None);
    };
    Ok(Some(match personality.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => PER_LINUX32,
    }))
}

fn capabilities(process: &oci_spec::runtime::Process) -> Result<CapabilityMasks, OrderError> {
    let Some(sets) = process.capabilities() else { return Ok(CapabilityMasks::default()) };
    let mask = |set: &Option<oci_spec::runtime::Capabilities>| {
        set.as_ref().map_or(0, |set| CapabilityMask::from_oci(set).0)
    };
    let masks = CapabilityMasks {
        bounding: mask(sets.bounding()),
        effective: mask(sets.effective()),
        permitted: mask(sets.permitted()),
        inheritable: mask(sets.inheritable()),
        ambient: mask(sets.ambient()),
    };
    let within = |inner: u64, outer: u64| inner & !outer == 0;
    let consistent = within(masks.effective, masks.permitted)
        && within(masks.permitted, masks.bounding)
        && within(masks.ambient, masks.inheritable & masks.permitted);
    if consistent {
        Ok(masks)
    } else {
        let why =
            "effective must be within permitted within bounding, ambient within inheritable and permitted";
        Err(OrderError::Invalid { field: "process.capabilities", why: why.to_owned() })
    }
}

/// Checks the place of a mount.
fn target(path: &Path) -> Result<String, OrderError> {
    let mut target = text(path)?;
    if !target.starts_with('/') {
        target.insert(0, '/');
    }
    let why = if target.contains('\0') || target.len() > 4096 {
        "is no valid path"
    } else if target.split('/').all(|part| matches!(part, "" | ".")) {
        "is the root itself"
    } else {
        return Ok(target);
    };
    Err(OrderError::Invalid { field: "mounts.destination", why: format!("`{target}` {why}") })
}

fn text(path: &Path) -> Result<String, OrderError> {
    path.to_str().map(str::to_owned).ok_or_else(|| OrderError::NotText { path: path.to_owned() })
}
