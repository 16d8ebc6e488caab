//! A run plan handed to the engine.

use anyhow::Context as _;
use rbuild_engine::RunRequest;
use rbuild_engine::request::{
    Begins, DeviceRequest, Init, Missing, MountKind as EngineMount, MountRequest, NetworkRequest,
    PortRequest, Stdin,
};
use rbuild_images::{LayerState, Progress};
use rbuild_model::digest::BlobDigest;
use rbuild_network::ports::Protocol;
use rbuild_network::resolver::ResolverChoice;
use rbuild_sandbox::cgroup::Limits;
use rbuild_sandbox::profile::{Confinement, NewPrivileges, Privilege, RootAccess, Seccomp, SystemPaths};
use rbuild_sandbox::{Access, Restrictions, Tmpfs};

use super::Home;
use super::attend::Foreground;
use crate::cli::run::{Network, PullPolicy, SecurityOption};
use crate::commands::run::RunPlan;
use crate::commands::{Context, Outcome};
use crate::flags::{self, Mode, MountKind, Propagation, RunMount};
use crate::progress;
use crate::report::{NotYet, Status};
use crate::terminal::Terminal;

/// Runs a program in a container and returns its status.
pub(crate) fn run(plan: &RunPlan, context: &Context) -> Outcome {
    let mut request = request(plan)?;
    if let Some(rootless) = &context.settings.rootless
        && request.network == NetworkRequest::Bridge
    {
        if !rootless.has_network() {
            request.network = NetworkRequest::Host;
        } else if request.dns.servers.is_empty() {
            request.dns.servers = super::Rootless::resolver().servers;
        }
    }
    let home = Home::open(&context.settings, "rbuild run")?;
    let engine = home.engine()?;
    let mut attendant = Foreground::new(plan.tty == Mode::On, context.terminal)?;
    let result = engine.run(&request, &PullNotes(context.terminal, plan.progress), &mut attendant);
    drop(attendant);
    match result {
        Ok(finished) => {
            if finished.exit.oom_killed {
                context.terminal.tell(&killed_for_memory(plan.memory));
            }
            Ok(Status::Program(finished.exit.code()))
        }
        Err(error) => {
            let status = match error.exit_status() {
                126 => Status::NotExecutable,
                127 => Status::NotFound,
                _ => Status::Usage,
            };
            crate::report::tell(&error.into(), context.terminal);
            Ok(status)
        }
    }
}

/// Says why a program of the container was killed, and what would help.
fn killed_for_memory(limit: Option<u64>) -> String {
    match limit {
        Some(limit) => format!(
            "note: the kernel killed a process of the container: it needed more memory than its limit of {} MiB\n\
             hint: give it more with `--memory`\n",
            limit >> 20
        ),
        None => "note: the kernel killed a process of the container: memory ran out\n".to_owned(),
    }
}

/// Tells on standard error that an image is being pulled, as docker does.
struct PullNotes(Terminal, progress::Mode);

impl PullNotes {
    fn tell(&self, text: &str) {
        if !matches!(self.1, progress::Mode::Quiet | progress::Mode::None) {
            self.0.tell(text);
        }
    }
}

impl Progress for PullNotes {
    fn layer(&self, layer: BlobDigest, state: LayerState) {
        let what = match state {
            LayerState::Transferred => "Download complete",
            LayerState::Complete => "Pull complete",
            LayerState::AlreadyExists => "Already exists",
            LayerState::Waiting
            | LayerState::Transferring { .. }
            | LayerState::Unpacking
            | LayerState::Mounted => {
                return;
            }
        };
        self.tell(&format!("{}: {what}\n", &layer.hex()[..12]));
    }

    fn note(&self, text: &str) {
        self.tell(&format!("{text}\n"));
    }
}

fn request(plan: &RunPlan) -> anyhow::Result<RunRequest> {
    let later = |what: &str, instead: &str| -> anyhow::Error { NotYet::supported(what, instead).into() };
    if plan.cidfile.is_some() {
        return Err(later("`--cidfile`", "a container in the foreground goes when its program ends"));
    }
    if !plan.labels.is_empty() {
        return Err(later("`--label`", "containers are not listed yet, so leave it out"));
    }
    let mut published = Vec::new();
    for ports in &plan.ports {
        published.extend(port_requests(ports)?);
    }
    let mut request = RunRequest::new(&plan.image);
    request.pull = match plan.pull {
        PullPolicy::Missing => rbuild_images::PullPolicy::Missing,
        PullPolicy::Always => rbuild_images::PullPolicy::Always,
        PullPolicy::Never => rbuild_images::PullPolicy::Never,
    };
    if let Some(platform) = &plan.platform {
        request.platform = platform.clone();
    }
    request.command.clone_from(&plan.command);
    request.entrypoint.clone_from(&plan.entrypoint);
    request.env = plan.env.iter().map(|var| format!("{}={}", var.name, var.value)).collect();
    request.workdir.clone_from(&plan.workdir);
    request.user.clone_from(&plan.user);
    request.groups.clone_from(&plan.groups);
    request.name.clone_from(&plan.name);
    request.hostname.clone_from(&plan.hostname);
    request.mounts = plan.mounts.iter().map(mount).collect::<anyhow::Result<_>>()?;
    request.network = match plan.network {
        Network::Bridge => NetworkRequest::Bridge,
        Network::Host => NetworkRequest::Host,
        Network::None => NetworkRequest::None,
    };
    request.published = published;
    request.extra_hosts.clone_from(&plan.hosts);
    request.dns = ResolverChoice {
        servers: plan.dns.clone(),
        search: plan.dns_search.clone(),
        options: plan.dns_options.clone(),
    };
    request.root = if plan.read_only == Mode::On { RootAccess::ReadOnly } else { RootAccess::Writable };
    request.confinement = confinement(plan)?;
    request.limits = Limits {
        memory: plan.memory,
        memory_and_swap: match (plan.memory, plan.memory_swap) {
            (_, Some(flags::Swap::Total(total))) => Some(total),
            // As docker has it: as much swap as memory.
            (Some(memory), None) => Some(memory.saturating_mul(2)),
            _ => None,
        },
        memory_reservation: None,
        nano_cpus: plan.cpus.map(|cpus| cpus.0),
        cpu_shares: None,
        cpuset_cpus: plan.cpuset_cpus.clone(),
        cpuset_mems: None,
        pids: plan.pids_limit,
    };
    request.ulimits.clone_from(&plan.ulimits);
    request.sysctls = plan.sysctls.iter().map(|sysctl| (sysctl.name.clone(), sysctl.value.clone())).collect();
    request.devices = plan
        .devices
        .iter()
        .map(|device| DeviceRequest {
            host: device.host.clone(),
            container: device.container.clone(),
            access: device.rights.clone(),
        })
        .collect();
    request.shm_size = plan.shm_size;
    request.oom_score_adj = plan.oom_score_adj.map(Into::into);
    request.init = if plan.init == Mode::On { Init::Reaper } else { Init::Program };
    if plan.tty == Mode::On {
        request.terminal = Some(super::attend::window());
    }
    request.stdin = if plan.interactive == Mode::On { Stdin::Attached } else { Stdin::Closed };
    Ok(request)
}

fn confinement(plan: &RunPlan) -> anyhow::Result<Confinement> {
    let mut confinement = Confinement {
        privilege: if plan.privileged == Mode::On { Privilege::Privileged } else { Privilege::Ordinary },
        capabilities_added: plan.cap_add.clone(),
        capabilities_dropped: plan.cap_drop.clone(),
        ..Confinement::default()
    };
    for option in &plan.security {
        match option {
            SecurityOption::NoNewPrivileges(Mode::On) => {
                confinement.new_privileges = NewPrivileges::Forbidden
            }
            SecurityOption::NoNewPrivileges(Mode::Off) => confinement.new_privileges = NewPrivileges::Allowed,
            SecurityOption::SeccompUnconfined => confinement.seccomp = Seccomp::Unconfined,
            SecurityOption::SeccompFile(path) => {
                let what = format!("a system call filter from a file (`{}`)", path.display());
                return Err(NotYet::supported(what, "use the default one, or `seccomp=unconfined`").into());
            }
            SecurityOption::SystemPathsUnconfined => confinement.system_paths = SystemPaths::Unmasked,
        }
    }
    Ok(confinement)
}

fn mount(mount: &RunMount) -> anyhow::Result<MountRequest> {
    let kind = match &mount.kind {
        MountKind::Bind { source, propagation, recursive, create } => {
            if *propagation != Propagation::RecursivePrivate {
                return Err(NotYet::supported("mount propagation", "leave it at `rprivate`").into());
            }
            if *recursive == Mode::Off {
                return Err(
                    NotYet::supported("a bind without the mounts below", "leave the option out").into()
                );
            }
            let missing = if *create == Mode::On { Missing::MakeFolder } else { Missing::Refuse };
            EngineMount::Bind { source: source.clone(), missing }
        }
        MountKind::Volume { name, copy, subpath } => EngineMount::Volume {
            name: name.clone(),
            begins: if *copy == Mode::On { Begins::WithImage } else { Begins::Empty },
            subpath: subpath.clone(),
        },
        MountKind::Tmpfs { size, mode, options } => {
            let mut tmpfs = Tmpfs { size: *size, mode: mode.unwrap_or(0o1777), ..Tmpfs::default() };
            let mut restrictions = Restrictions::ALL;
            for option in options {
                match (option.as_str(), option.split_once('=')) {
                    ("exec" | "noexec", _) => restrictions.noexec = option == "noexec",
                    ("suid" | "nosuid", _) => restrictions.nosuid = option == "nosuid",
                    ("dev" | "nodev", _) => restrictions.nodev = option == "nodev",
                    // What the kernel does anyway.
                    ("async" | "relatime", _) => {}
                    (_, Some(("uid", id))) => tmpfs.uid = id.parse().context("uid of a tmpfs")?,
                    (_, Some(("gid", id))) => tmpfs.gid = id.parse().context("gid of a tmpfs")?,
                    _ => {
                        return Err(NotYet::supported(
                            format!("the tmpfs option `{option}`"),
                            "use `size` and `mode`",
                        )
                        .into());
                    }
                }
            }
            EngineMount::Tmpfs { tmpfs, restrictions }
        }
    };
    let access = if mount.read_only == Mode::On { Access::ReadOnly } else { Access::ReadWrite };
    Ok(MountRequest { target: mount.target.clone(), access, kind })
}

fn port_requests(ports: &flags::Published) -> anyhow::Result<Vec<PortRequest>> {
    let protocol = match ports.protocol {
        flags::Protocol::Tcp => Protocol::Tcp,
        flags::Protocol::Udp => Protocol::Udp,
        flags::Protocol::Sctp => {
            return Err(NotYet::supported("publishing sctp", "publish tcp or udp").into());
        }
    };
    let container = ports.container.first..=ports.container.last;
    let requests = container.enumerate().map(|(at, port)| PortRequest {
        host_ip: ports.address,
        host_port: ports.host.map(|range| range.first + at as u16),
        port,
        protocol,
    });
    Ok(requests.collect())
}
