//! What a process is given with its devices, made ready for the sandbox.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDevice, LinuxDeviceBuilder, LinuxDeviceType};
use rbuild_model::container::{BindRecursion, Propagation};
use rbuild_model::step::EnvVar;
use rbuild_sandbox::cgroup::{DeviceAccess, DeviceKind, DeviceRule};
use rbuild_sandbox::{Access, HostBind, Mount as SandboxMount, MountSource, Restrictions};

use super::file::{Edits, Mount, Node};
use super::{DeviceError, is_plain};

/// What a process is given.
#[derive(Debug, Default)]
pub struct Given {
    /// Device files.
    nodes: Vec<GivenNode>,
    /// What its control group lets it open.
    pub rules: Vec<DeviceRule>,
    /// Variables, which replace those of the same name.
    pub env: Vec<EnvVar>,
    /// Further groups of its user.
    pub groups: Vec<u32>,
    mounts: Vec<(PathBuf, HostBind, Access, Restrictions)>,
}

#[derive(Debug)]
struct GivenNode {
    path: PathBuf,
    host: PathBuf,
    kind: DeviceKind,
    major: u32,
    minor: u32,
    mode: u32,
    uid: Option<u32>,
    gid: Option<u32>,
}

impl Given {
    /// Adds what a file says; `name` is the device that it is for.
    pub(super) fn add(&mut self, name: &str, file: &Path, edits: &Edits) -> Result<(), DeviceError> {
        let Edits { env, device_nodes, net_devices, mounts, hooks, additional_gids, intel_rdt } = edits;
        let beyond =
            |what: String| DeviceError::Beyond { name: name.to_owned(), file: file.to_owned(), what };
        if let Some(hook) = hooks.first() {
            return Err(beyond(format!(
                "`{}` to be run on the host around it, and nothing is run there",
                hook.path.display()
            )));
        }
        if !net_devices.is_empty() {
            return Err(beyond("an interface of the host's network".to_owned()));
        }
        if intel_rdt.is_some() {
            return Err(beyond("a class of the processor's resources (`intelRdt`)".to_owned()));
        }
        for text in env {
            let Some((key, value)) = text.split_once('=').filter(|(key, _)| !key.is_empty()) else {
                return Err(beyond(format!("the variable `{text}`, which is no `NAME=value`")));
            };
            self.env.retain(|known| known.name != key);
            self.env.push(EnvVar { name: key.to_owned(), value: value.to_owned() });
        }
        for node in device_nodes {
            self.add_node(name, node, &beyond)?;
        }
        for mount in mounts {
            self.add_mount(mount, &beyond)?;
        }
        self.groups.extend(additional_gids.iter().filter(|gid| **gid != 0));
        Ok(())
    }

    fn add_node(
        &mut self,
        name: &str,
        node: &Node,
        beyond: &dyn Fn(String) -> DeviceError,
    ) -> Result<(), DeviceError> {
        let Node { path, host_path, kind, major, minor, file_mode, permissions, uid, gid } = node;
        if !is_plain(path) {
            return Err(beyond(format!("the node `{}`, which is no absolute path", path.display())));
        }
        let host =
            host_path.clone().filter(|host| !host.as_os_str().is_empty()).unwrap_or_else(|| path.clone());
        let kind = match kind.as_deref() {
            None | Some("") => None,
            Some("c" | "u") => Some(DeviceKind::Character),
            Some("b") => Some(DeviceKind::Block),
            Some(other) => {
                return Err(beyond(format!("the node `{}` of type `{other}`", path.display())));
            }
        };
        let (kind, major, minor) = match (kind, major.filter(|major| *major != 0)) {
            (Some(kind), Some(major)) => (kind, major, minor.unwrap_or(0)),
            _ => {
                let failed = |source| DeviceError::Node { name: name.to_owned(), path: host.clone(), source };
                let found = std::fs::metadata(&host).map_err(failed)?;
                let is = match found.file_type() {
                    typ if typ.is_char_device() => DeviceKind::Character,
                    typ if typ.is_block_device() => DeviceKind::Block,
                    _ => return Err(failed(std::io::Error::other("it is no device"))),
                };
                if kind.is_some_and(|kind| kind != is) {
                    return Err(failed(std::io::Error::other("it is a device of another type")));
                }
                (is, rustix::fs::major(found.rdev()), rustix::fs::minor(found.rdev()))
            }
        };
        let letters = permissions.as_deref().filter(|letters| !letters.is_empty()).unwrap_or("rwm");
        let access = DeviceAccess::parse(letters)
            .ok_or_else(|| beyond(format!("the rights `{letters}`, which are not of `rwm`")))?;
        self.rules.push(DeviceRule { kind, major: Some(major), minor: Some(minor), access });
        self.nodes.retain(|known| known.path != *path);
        self.nodes.push(GivenNode {
            path: path.clone(),
            host,
            kind,
            major,
            minor,
            mode: file_mode.map_or(0o666, |mode| mode & 0o777),
            uid: *uid,
            gid: *gid,
        });
        Ok(())
    }

    fn add_mount(
        &mut self,
        mount: &Mount,
        beyond: &dyn Fn(String) -> DeviceError,
    ) -> Result<(), DeviceError> {
        let Mount { host_path, container_path, options, kind } = mount;
        let shown = container_path.display();
        if !is_plain(container_path) || !is_plain(host_path) {
            return Err(beyond(format!("a mount on `{shown}` that is no absolute path on both sides")));
        }
        if let Some(kind) = kind.as_deref().filter(|kind| !matches!(*kind, "" | "bind" | "none")) {
            return Err(beyond(format!("a mount of type `{kind}` on `{shown}`")));
        }
        let mut bind = HostBind {
            path: host_path.clone(),
            recursion: BindRecursion::One,
            propagation: Propagation::default(),
        };
        let (mut access, mut restrictions) = (Access::ReadWrite, Restrictions::default());
        for option in options {
            match option.as_str() {
                "bind" | "rw" | "suid" | "dev" | "exec" => {}
                "rbind" => bind.recursion = BindRecursion::All,
                "ro" => access = Access::ReadOnly,
                "nosuid" => restrictions.nosuid = true,
                "nodev" => restrictions.nodev = true,
                "noexec" => restrictions.noexec = true,
                "private" => bind.propagation = Propagation::Private,
                "rprivate" => bind.propagation = Propagation::RPrivate,
                "slave" => bind.propagation = Propagation::Slave,
                "rslave" => bind.propagation = Propagation::RSlave,
                other => return Err(beyond(format!("a mount with the option `{other}` on `{shown}`"))),
            }
        }
        self.mounts.retain(|(target, ..)| target != container_path);
        self.mounts.push((container_path.clone(), bind, access, restrictions));
        // What is mounted below another mount comes after it.
        self.mounts.sort_by_key(|(target, ..)| target.components().count());
        Ok(())
    }

    /// Sets its variables among others (`NAME=value`).
    pub fn set_variables(&self, env: &mut Vec<String>) {
        let name = |entry: &str| entry.split_once('=').map_or(entry.len(), |(name, _)| name.len());
        env.retain(|entry| !self.env.iter().any(|var| var.name == entry[..name(entry)]));
        env.extend(self.env.iter().map(|var| format!("{}={}", var.name, var.value)));
    }

    /// Returns the nodes as a spec has them: those that no owner is named for belong to `user`.
    ///
    /// Who may not make nodes has the host's own bound in their place, see [`Self::mounts`].
    pub fn devices(&self, (uid, gid): (u32, u32)) -> Vec<LinuxDevice> {
        if !rbuild_sandbox::rootless::in_initial_user_namespace() {
            return Vec::new();
        }
        let device = |node: &GivenNode| {
            let typ = match node.kind {
                DeviceKind::Character => LinuxDeviceType::C,
                DeviceKind::Block => LinuxDeviceType::B,
            };
            LinuxDeviceBuilder::default()
                .path(node.path.clone())
                .typ(typ)
                .major(i64::from(node.major))
                .minor(i64::from(node.minor))
                .file_mode(node.mode)
                .uid(node.uid.unwrap_or(uid))
                .gid(node.gid.unwrap_or(gid))
                .build()
                .expect("path, type and numbers of the device are set")
        };
        self.nodes.iter().map(device).collect()
    }

    /// Returns the mounts.
    pub fn mounts(&self) -> Vec<SandboxMount> {
        let mut mounts = Vec::new();
        if !rbuild_sandbox::rootless::in_initial_user_namespace() {
            mounts.extend(self.nodes.iter().map(|node| SandboxMount {
                target: node.path.clone(),
                source: MountSource::Host(node.host.clone()),
                access: Access::ReadWrite,
                restrictions: Restrictions::default(),
            }));
        }
        mounts.extend(self.mounts.iter().map(|(target, bind, access, restrictions)| SandboxMount {
            target: target.clone(),
            source: MountSource::Bind(bind.clone()),
            access: *access,
            restrictions: *restrictions,
        }));
        mounts
    }
}
