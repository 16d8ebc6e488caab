//! Running a program.

use serde::{Deserialize, Serialize};

use crate::key::{Keyed, PreImage};
use crate::mount::Mount;
use crate::platform::Platform;

/// A program to run in a root (`RUN`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Exec {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// The environment in order: the image's, then ENV and ARG as written.
    pub env: Vec<EnvVar>,
    /// The working folder, an absolute path.
    pub cwd: String,
    /// User and group as `USER` wrote them; empty for root.
    pub user: String,
    /// What the program is compiled for.
    pub platform: Platform,
    /// The host name it sees.
    pub hostname: String,
    /// Which network it has.
    pub network: NetworkMode,
    /// How far it is confined.
    pub security: SecurityMode,
    /// Limits of its processes that were asked for.
    pub ulimits: Vec<Ulimit>,
    /// The control group that its own is made below, if one was asked for.
    pub cgroup_parent: Option<String>,
    /// Host names it is given addresses of.
    pub extra_hosts: Vec<ExtraHost>,
    /// Devices it is given, by their CDI names.
    pub devices: Vec<String>,
    /// The size of `/dev/shm` in bytes, if one was asked for.
    pub shm_size: Option<u64>,
    /// A heredoc that is run as a program file.
    pub script: Option<Script>,
    /// What it sees besides its root.
    pub mounts: Vec<Mount>,
    /// Proxy variables, given without a trace in key or image.
    pub proxy: ProxyEnv,
}

/// An environment variable.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EnvVar {
    /// Its name, without `=`.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Which network a step has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// The builder's network for steps: a bridge with a way out.
    #[default]
    Default,
    /// Only a loopback of its own.
    None,
    /// The host's.
    Host,
}

/// How far a step is confined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecurityMode {
    /// Default capabilities, system call filter, masked paths.
    #[default]
    Sandbox,
    /// All capabilities and devices; needs the entitlement `security.insecure`.
    Insecure,
}

/// A limit of a process (`--ulimit nofile=1024:2048`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ulimit {
    /// Docker's name for it (`nofile`).
    pub name: String,
    /// The limit in force; -1 for none.
    pub soft: i64,
    /// How far the process may raise it; -1 for none.
    pub hard: i64,
}

/// A host name with its address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ExtraHost {
    /// The name.
    pub name: String,
    /// The address, or `host-gateway`.
    pub address: String,
}

/// A heredoc whose body is run as a program file: it begins with `#!`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Script {
    /// The file's name below `/dev/pipes`.
    pub name: String,
    /// What it holds.
    pub body: String,
}

/// Proxy variables of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProxyEnv(pub Vec<EnvVar>);

impl Keyed for Exec {
    fn pre_image(&self) -> PreImage {
        let Self {
            argv,
            env,
            cwd,
            user,
            platform,
            hostname,
            network,
            security,
            ulimits,
            cgroup_parent,
            extra_hosts,
            devices,
            shm_size,
            script,
            mounts,
            proxy: ProxyEnv(_),
        } = self;
        PreImage::fields([
            ("op", PreImage::text("exec")),
            ("argv", PreImage::texts(argv)),
            ("env", env[..].pre_image()),
            ("cwd", PreImage::text(cwd)),
            ("user", PreImage::text(user)),
            ("platform", PreImage::text(platform.to_string())),
            ("hostname", PreImage::text(hostname)),
            (
                "network",
                PreImage::text(match network {
                    NetworkMode::Default => "default",
                    NetworkMode::None => "none",
                    NetworkMode::Host => "host",
                }),
            ),
            (
                "security",
                PreImage::text(match security {
                    SecurityMode::Sandbox => "sandbox",
                    SecurityMode::Insecure => "insecure",
                }),
            ),
            ("ulimits", ulimits[..].pre_image()),
            ("cgroup-parent", PreImage::optional(cgroup_parent.as_ref(), PreImage::text)),
            ("extra-hosts", extra_hosts[..].pre_image()),
            ("devices", PreImage::texts(devices)),
            ("shm-size", PreImage::optional(*shm_size, |size| PreImage::text(size.to_string()))),
            ("script", PreImage::optional(script.as_ref(), Keyed::pre_image)),
            ("mounts", mounts[..].pre_image()),
        ])
    }
}

impl Keyed for EnvVar {
    fn pre_image(&self) -> PreImage {
        let Self { name, value } = self;
        PreImage::fields([("name", PreImage::text(name)), ("value", PreImage::guarded(value))])
    }
}

impl Keyed for Ulimit {
    fn pre_image(&self) -> PreImage {
        let Self { name, soft, hard } = self;
        PreImage::fields([
            ("name", PreImage::text(name)),
            ("soft", PreImage::Number(*soft)),
            ("hard", PreImage::Number(*hard)),
        ])
    }
}

impl Keyed for ExtraHost {
    fn pre_image(&self) -> PreImage {
        let Self { name, address: _ } = self;
        PreImage::text(name)
    }
}

impl Keyed for Script {
    fn pre_image(&self) -> PreImage {
        let Self { name, body } = self;
        PreImage::fields([("name", PreImage::text(name)), ("body", PreImage::text(body))])
    }
}
