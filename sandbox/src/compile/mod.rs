//! From an order to a script: every check, and every host file opened, before anything exists that would have to be
//! undone.
//!
//! A field that would restrict the process and that is not carried out here is an error: a restriction is never
//! dropped silently.

mod mounts;
mod namespaces;
mod program;
mod unsupported;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use rustix::mount::MountAttrFlags;

use crate::exec::CompiledEntry;
use crate::mounts::{MountError, add_attributes, mount_root};
use crate::order::{Order, RootSource, Stdio};
use crate::profile::FirstProcess;
use crate::script::{BlobRange, EnterScript, FdIndex, NewFilesystem, Script, ScriptSource};
use crate::seccomp::SeccompError;
use crate::slot::Namespaces;
use crate::wire::MAX_FDS;

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
    slot: &Namespaces,
    control: DeviceControl,
    hold: bool,
) -> Result<Compiled, OrderError> {
    let Order { spec, root, mounts, stubs: _ } = order;
    unsupported::refuse(&spec)?;
    namespaces::check(&spec, slot)?;
    let mut compiler = Compiler::default();
    let root_attributes = match control {
        DeviceControl::Cgroup => MountAttrFlags::empty(),
        DeviceControl::None => MountAttrFlags::MOUNT_ATTR_NODEV,
    };
    let root = match root {
        RootSource::Plan(plan) => mount_root(&plan, root_attributes)?,
        RootSource::Mounted(mount) => {
            add_attributes(&mount, root_attributes)?;
            mount
        }
    };
    let root = compiler.fd(root)?;
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
        root_propagation: mounts::propagation(linux.and_then(|linux| linux.rootfs_propagation().as_deref()))?,
        mounts: script_mounts,
        devices,
        hostname: namespaces::host_name("hostname", spec.hostname().as_deref(), slot)?,
        domainname: namespaces::host_name("domainname", spec.domainname().as_deref(), slot)?,
        sysctls: namespaces::sysctls(&spec, slot)?,
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
    unsupported::refuse(spec)?;
    let mut compiler = Compiler::default();
    let copy = rustix::io::fcntl_dupfd_cloexec(target, 3)
        .map_err(|errno| MountError::path("keep a descriptor of", "the container's init", errno))?;
    let target = compiler.fd(copy)?;
    let namespaces = namespaces::to_enter(spec)?;
    let mut program = compiler.program(spec, stdio)?;
    // The init is there already.
    program.first = FirstProcess::Program;
    let script = EnterScript { target, namespaces, program };
    Ok(CompiledEntry { script, blob: compiler.blob, fds: compiler.fds })
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
}

fn text(path: &Path) -> Result<String, OrderError> {
    path.to_str().map(str::to_owned).ok_or_else(|| OrderError::NotText { path: path.to_owned() })
}
