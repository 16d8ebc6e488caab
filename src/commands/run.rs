//! `rbuild run`: flags and settings to a [`RunPlan`], which `wiring` hands to the engine.

use std::io::IsTerminal as _;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use rbuild_model::platform::Platform;
use rbuild_model::reference::Reference;
use rbuild_model::step::{EnvVar, ExtraHost, Ulimit};

use super::{Context, Outcome};
use crate::cli::run::{Arguments, Network, PullPolicy, SecurityOption};
use crate::flags::{self, Mode, MountKind, RunMount};
use crate::progress;
use crate::report::{Mistake, NotYet};
use crate::settings::Settings;

/// A container as the user means it: checked, with everything from the environment filled in.
#[derive(Clone, Debug)]
pub(crate) struct RunPlan {
    /// The image's name or id, as written.
    pub(crate) image: String,
    /// The program and its arguments; empty for the image's own.
    pub(crate) command: Vec<String>,
    /// The entrypoint; `None` for the image's, empty for none.
    pub(crate) entrypoint: Option<Vec<String>>,
    pub(crate) name: Option<String>,
    pub(crate) cidfile: Option<PathBuf>,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) platform: Option<Platform>,
    pub(crate) pull: PullPolicy,
    pub(crate) progress: progress::Mode,
    pub(crate) interactive: Mode,
    pub(crate) tty: Mode,
    /// Variables in order; a later one counts.
    pub(crate) env: Vec<EnvVar>,
    pub(crate) user: Option<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) workdir: Option<String>,
    pub(crate) init: Mode,
    /// Mounts; sources of bind mounts are absolute.
    pub(crate) mounts: Vec<RunMount>,
    pub(crate) read_only: Mode,
    pub(crate) shm_size: Option<u64>,
    pub(crate) devices: Vec<flags::Device>,
    pub(crate) network: Network,
    pub(crate) ports: Vec<flags::Published>,
    pub(crate) hostname: Option<String>,
    pub(crate) hosts: Vec<ExtraHost>,
    pub(crate) dns: Vec<IpAddr>,
    pub(crate) dns_search: Vec<String>,
    pub(crate) dns_options: Vec<String>,
    pub(crate) memory: Option<u64>,
    pub(crate) memory_swap: Option<flags::Swap>,
    pub(crate) cpus: Option<flags::Cpus>,
    pub(crate) cpuset_cpus: Option<String>,
    /// Most processes; `None` for no limit.
    pub(crate) pids_limit: Option<u64>,
    pub(crate) ulimits: Vec<Ulimit>,
    pub(crate) oom_score_adj: Option<i16>,
    pub(crate) cap_add: Vec<String>,
    pub(crate) cap_drop: Vec<String>,
    pub(crate) privileged: Mode,
    pub(crate) security: Vec<SecurityOption>,
    pub(crate) sysctls: Vec<flags::Sysctl>,
}

pub(super) fn run(arguments: Arguments, context: &Context) -> Outcome {
    if arguments.tty && arguments.interactive && !std::io::stdin().is_terminal() {
        return Err(Mistake::usage("the input device is not a TTY").hint("leave out `-t`").into());
    }
    let here = std::env::current_dir().context("failed to find the current folder")?;
    let plan = plan(arguments, &context.settings, &here)?;
    crate::wiring::run(&plan, context)
}

/// Puts flags and settings together.
pub(crate) fn plan(
    arguments: Arguments,
    settings: &Settings,
    here: &std::path::Path,
) -> anyhow::Result<RunPlan> {
    let image = arguments.image().to_owned();
    let is_id = (4..=64).contains(&image.len()) && image.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_id && !image.starts_with("sha256:") {
        image.parse::<Reference>().map_err(|error| Mistake::usage(error.to_string()))?;
    }
    let command = arguments.command().to_vec();
    if arguments.stop_signal.is_some() {
        return Err(NotYet::supported(
            "`--stop-signal` of `rbuild run`",
            "leave it out: the signals that you send are passed on as they are",
        )
        .into());
    }
    if let Some(cidfile) = &arguments.cidfile
        && cidfile.exists()
    {
        return Err(Mistake::usage(format!("the container id file `{}` exists", cidfile.display()))
            .hint("make sure that the other container is not running, or delete the file")
            .into());
    }
    let platform = match arguments.platform {
        None => settings.platform.clone(),
        Some(list) => match <[Platform; 1]>::try_from(list.0) {
            Ok([platform]) => Some(platform),
            Err(_) => return Err(Mistake::usage("a container has one platform").into()),
        },
    };
    if let (Some(memory), Some(flags::Swap::Total(total))) = (arguments.memory, arguments.memory_swap)
        && total < memory
    {
        return Err(Mistake::usage("`--memory-swap` is below `--memory`")
            .hint("it is the sum of memory and swap; -1 for no limit")
            .into());
    }
    if arguments.memory.is_none() && matches!(arguments.memory_swap, Some(flags::Swap::Total(_))) {
        return Err(Mistake::usage("`--memory-swap` needs `--memory`").into());
    }
    if arguments.network != Network::Bridge && !arguments.publish.is_empty() {
        return Err(Mistake::usage("ports can only be published with `--network bridge`").into());
    }
    let env = environment(&arguments.env_file, arguments.env, settings)?;
    let mounts = arguments.volume.into_iter().chain(arguments.mount).chain(arguments.tmpfs);
    let mounts = mounts.map(|mount| anchored(mount, here)).collect::<anyhow::Result<Vec<_>>>()?;
    for (at, mount) in mounts.iter().enumerate() {
        if mounts[..at].iter().any(|other| same_target(&other.target, &mount.target)) {
            return Err(Mistake::usage(format!("duplicate mount point: `{}`", mount.target)).into());
        }
    }
    Ok(RunPlan {
        image,
        command,
        entrypoint: arguments
            .entrypoint
            .map(|program| if program.is_empty() { vec![] } else { vec![program] }),
        name: arguments.name,
        cidfile: arguments.cidfile,
        labels: arguments.label,
        platform,
        pull: arguments.pull,
        progress: if arguments.quiet {
            progress::Mode::Quiet
        } else {
            arguments.progress.unwrap_or(settings.progress)
        },
        interactive: arguments.interactive.into(),
        tty: arguments.tty.into(),
        env,
        user: arguments.user,
        groups: arguments.group_add,
        workdir: arguments.workdir,
        init: arguments.init.into(),
        mounts,
        read_only: arguments.read_only.into(),
        shm_size: arguments.shm_size,
        devices: arguments.device,
        network: arguments.network,
        ports: arguments.publish,
        hostname: arguments.hostname,
        hosts: arguments.add_host,
        dns: arguments.dns,
        dns_search: arguments.dns_search,
        dns_options: arguments.dns_option,
        memory: arguments.memory,
        memory_swap: arguments.memory_swap,
        cpus: arguments.cpus,
        cpuset_cpus: arguments.cpuset_cpus,
        pids_limit: arguments
            .pids_limit
            .and_then(|limit| u64::try_from(limit).ok())
            .filter(|limit| *limit > 0),
        ulimits: arguments.ulimit,
        oom_score_adj: arguments.oom_score_adj,
        cap_add: arguments.cap_add,
        cap_drop: arguments.cap_drop,
        privileged: arguments.privileged.into(),
        security: arguments.security_opt,
        sysctls: arguments.sysctl,
    })
}

/// Returns the variables of the files, then those of the flags, with the caller's values where they are asked for.
fn environment(
    files: &[PathBuf],
    entries: Vec<flags::EnvEntry>,
    settings: &Settings,
) -> anyhow::Result<Vec<EnvVar>> {
    let mut all = Vec::new();
    for file in files {
        let failed = || format!("failed to read `--env-file {}`", file.display());
        let text = std::fs::read_to_string(file).with_context(failed)?;
        all.extend(flags::env_file(&text).map_err(|error| Mistake::new(format!("{}: {error}", failed())))?);
    }
    all.extend(entries);
    Ok(all
        .into_iter()
        .filter_map(|entry| {
            let value = entry.value.or_else(|| settings.environment.text(&entry.name))?;
            Some(EnvVar { name: entry.name, value })
        })
        .collect())
}

/// Makes the source of a bind mount absolute; one of `--mount` must be there.
fn anchored(mut mount: RunMount, here: &std::path::Path) -> anyhow::Result<RunMount> {
    if let MountKind::Bind { source, create, .. } = &mut mount.kind {
        *source = here.join(&*source);
        if *create == Mode::Off && !source.exists() {
            return Err(Mistake::usage(format!("bind source path does not exist: `{}`", source.display()))
                .hint("make the folder, or use `-v`, which makes it")
                .into());
        }
    }
    Ok(mount)
}

fn same_target(a: &str, b: &str) -> bool {
    let parts = |text: &str| {
        text.split('/').filter(|part| !matches!(*part, "" | ".")).map(str::to_owned).collect::<Vec<_>>()
    };
    parts(a) == parts(b)
}
