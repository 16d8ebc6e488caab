//! Mounts and device nodes: every host path is opened here, so that nothing below has to look one up.

use std::os::fd::AsFd as _;
use std::path::Path;

use oci_spec::runtime::{LinuxDeviceType, Spec};
use rbuild_model::container::BindRecursion;
use rustix::fs::CWD;
use rustix::mount::{MountAttrFlags, OpenTreeFlags, open_tree};

use super::{Compiler, OrderError, text};
use crate::cgroup;
use crate::mounts::{Depth, MountError, check_spreads, clone_mount, mount_root, propagation_flags};
use crate::options::{self, Bind};
use crate::order::{Access, FileContent, HostBind, Mount, MountSource, Restrictions, Tmpfs};
use crate::script::{Attributes, FdIndex, NewFilesystem, ScriptDevice, ScriptMount, ScriptSource};

const DEFAULT_DEVICES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

impl Compiler {
    pub(super) fn oci_mount(&mut self, mount: &oci_spec::runtime::Mount) -> Result<ScriptMount, OrderError> {
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

    pub(super) fn mount(&mut self, mount: Mount) -> Result<ScriptMount, OrderError> {
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
            MountSource::Tmpfs(Tmpfs { size, mode, uid, gid, more }) => {
                let more = options::parse(&more);
                attributes.set |= more.attributes.set;
                attributes.clear |= more.attributes.clear;
                let mut options = vec![
                    ("uid".to_owned(), Some(uid.to_string())),
                    ("gid".to_owned(), Some(gid.to_string())),
                ];
                options.extend(mode.map(|mode| ("mode".to_owned(), Some(format!("{mode:o}")))));
                options.extend(size.map(|size| ("size".to_owned(), Some(size.to_string()))));
                options.extend(more.data);
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

    pub(super) fn devices(&mut self, spec: &Spec) -> Result<Vec<ScriptDevice>, OrderError> {
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
}

pub(super) fn propagation(name: Option<&str>) -> Result<u64, OrderError> {
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
