//! `rbuild build`: flags and settings to a [`BuildPlan`], which `wiring` hands to the worker.

use std::path::PathBuf;
use std::sync::Arc;

use rbuild_engine::containers::LEAST_MEMORY;
use rbuild_model::platform::Platform;
use rbuild_model::reference::Reference;
use rbuild_model::span::Source;
use rbuild_model::step::{EnvVar, ExtraHost, Limits, NetworkMode, Ulimit};
use rbuild_worker::request::{Attestations, Materials};

use super::{Context, Outcome};
use crate::cli::build::{Arguments, Call, Entitlement, Method, StepLimits, What};
use crate::flags::{self, ContextSource, Mode, Output, SecretSource, Ssh};
use crate::progress;
use crate::report::Mistake;
use crate::settings::{Authorities, Settings};

/// Where a Dockerfile is that is not the usual file of the context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DockerfileSource {
    /// In a place that was named.
    At(ContextSource),
    /// It stands in another file, whose key is its name.
    Text(Arc<Source>),
}

/// A build as the user means it: checked, with everything from the environment filled in.
#[derive(Clone, Debug)]
pub(crate) struct BuildPlan {
    pub(crate) context: ContextSource,
    pub(crate) dockerfile: Option<DockerfileSource>,
    pub(crate) target: Option<String>,
    pub(crate) platforms: Vec<Platform>,
    /// Arguments in order, the caller's proxies first.
    pub(crate) build_args: Vec<EnvVar>,
    pub(crate) contexts: Vec<flags::BuildContext>,
    pub(crate) call: Call,
    pub(crate) tags: Vec<Reference>,
    pub(crate) outputs: Vec<Output>,
    /// Whether the result is kept in the store besides other outputs.
    pub(crate) load: Mode,
    /// What is written on manifests and indexes of all that leaves.
    pub(crate) annotations: Vec<rbuild_images::Annotation>,
    /// What is said about the result.
    pub(crate) attestations: Attestations,
    /// Whether the result is pushed.
    pub(crate) push: Mode,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) iidfile: Option<PathBuf>,
    pub(crate) metadata_file: Option<PathBuf>,
    pub(crate) no_cache: NoCache,
    pub(crate) pull: Mode,
    pub(crate) secrets: Vec<ClientSecret>,
    pub(crate) ssh: Vec<Ssh>,
    pub(crate) network: NetworkMode,
    pub(crate) hosts: Vec<ExtraHost>,
    pub(crate) shm_size: Option<u64>,
    pub(crate) ulimits: Vec<Ulimit>,
    pub(crate) limits: Limits,
    pub(crate) allow: Vec<Entitlement>,
    /// Certificate authorities that steps are given besides those of their image.
    pub(crate) ca: Option<Authorities>,
    pub(crate) progress: progress::Mode,
    /// Whether only the image's id is printed.
    pub(crate) quiet: Mode,
    /// Caches elsewhere.
    pub(crate) caches: CachePlan,
}

/// The caches elsewhere that a build uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CachePlan {
    /// Those that results are taken from.
    pub(crate) from: Vec<flags::CacheFrom>,
    /// Those that results are brought to.
    pub(crate) to: Vec<flags::CacheTo>,
}

/// What is run although the cache holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoCache {
    /// Nothing.
    Nothing,
    /// These stages.
    Stages(Vec<String>),
    /// Everything.
    Everything,
}

/// A secret that the caller has.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ClientSecret {
    /// What it is asked for by.
    pub(crate) id: String,
    /// Where its bytes are.
    pub(crate) value: SecretValue,
}

/// Where the bytes of a secret are.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum SecretValue {
    /// In a file that is read when a step asks for it.
    File(PathBuf),
    /// Here.
    Bytes(Vec<u8>),
}

impl std::fmt::Debug for ClientSecret {
    /// Writes no value.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientSecret").field("id", &self.id).finish_non_exhaustive()
    }
}

pub(super) fn run(arguments: Arguments, context: &Context) -> Outcome {
    let plan = plan(arguments, &context.settings)?;
    if plan.call.method == Method::Build
        && plan.outputs.iter().any(writes_to_stdout)
        && context.terminal.out().kind.is_terminal()
    {
        return Err(Mistake::new("refusing to write an archive to a terminal")
            .hint("name a file with `dest=FILE`, or redirect the output")
            .into());
    }
    match plan.call.method {
        Method::Build => crate::wiring::build(&plan, context),
        Method::Check | Method::Outline | Method::Targets => super::check::call(&plan, context),
    }
}

/// Puts together what is to be said about an image; of two flags about one thing the short one counts, else the last.
pub(crate) fn attestations(
    all: Vec<flags::Attest>,
    sbom: Option<flags::Attest>,
    provenance: Option<flags::Attest>,
) -> Attestations {
    let mut attestations = Attestations::default();
    for attest in all.into_iter().chain(sbom).chain(provenance) {
        match attest {
            flags::Attest::Sbom(wanted) => {
                attestations.materials = (wanted == Mode::On).then_some(Materials);
            }
            flags::Attest::Provenance(wanted) => attestations.provenance = wanted,
        }
    }
    attestations
}

/// Adds the proxies that nothing is said about: those of Docker's `config.json`, else the caller's own.
pub(crate) fn with_proxies(given: Vec<EnvVar>, settings: &Settings) -> anyhow::Result<Vec<EnvVar>> {
    let is_in = |list: &[EnvVar], name: &str| list.iter().any(|one| one.name.eq_ignore_ascii_case(name));
    let mut proxies: Vec<EnvVar> = Vec::new();
    for source in [settings.docker_proxies()?, settings.environment.proxies()] {
        let known = proxies.clone();
        let new =
            source.into_iter().filter(|proxy| !is_in(&known, &proxy.name) && !is_in(&given, &proxy.name));
        proxies.extend(new.map(|proxy| EnvVar { name: proxy.name, value: proxy.value }));
    }
    proxies.extend(given);
    Ok(proxies)
}

/// Plans to look at a Dockerfile, with nothing to come out.
pub(super) fn plan_of(what: What, settings: &Settings) -> anyhow::Result<BuildPlan> {
    let dockerfile = what.file.as_deref().filter(|file| !file.is_empty()).map(flags::context_source);
    let place = flags::context_source(&what.context);
    if place == ContextSource::Stdin && dockerfile == Some(ContextSource::Stdin) {
        return Err(Mistake::usage("context and Dockerfile cannot both come from standard input").into());
    }
    if what.context.is_empty() {
        return Err(Mistake::usage("the context is empty").hint("write `.` for this folder").into());
    }
    let platforms = match (what.platform.is_empty(), &settings.platform) {
        (true, Some(platform)) => vec![platform.clone()],
        _ => what.platform.into_iter().flat_map(|list| list.0).collect(),
    };
    let given = what.build_arg.into_iter().filter_map(|entry| {
        let value = entry.value.or_else(|| settings.environment.text(&entry.name))?;
        Some(EnvVar { name: entry.name, value })
    });
    let build_args = with_proxies(given.collect(), settings)?;
    Ok(BuildPlan {
        context: place,
        dockerfile: dockerfile.map(DockerfileSource::At),
        target: what.target.filter(|target| !target.is_empty()),
        platforms,
        build_args,
        contexts: what.build_context,
        call: Call::of(Method::Build),
        tags: Vec::new(),
        outputs: Vec::new(),
        load: Mode::Off,
        push: Mode::Off,
        annotations: Vec::new(),
        attestations: Attestations::default(),
        labels: Vec::new(),
        iidfile: None,
        metadata_file: None,
        no_cache: NoCache::Nothing,
        pull: Mode::Off,
        secrets: Vec::new(),
        ssh: Vec::new(),
        network: NetworkMode::Default,
        hosts: Vec::new(),
        shm_size: None,
        ulimits: Vec::new(),
        limits: Limits::default(),
        allow: Vec::new(),
        ca: None,
        progress: settings.progress,
        quiet: Mode::Off,
        caches: CachePlan::default(),
    })
}

/// Puts flags and settings together.
pub(crate) fn plan(arguments: Arguments, settings: &Settings) -> anyhow::Result<BuildPlan> {
    let what = plan_of(arguments.what, settings)?;
    let tags = arguments.tag.iter().map(|tag| reference(tag)).collect::<anyhow::Result<Vec<_>>>()?;
    let secrets = arguments
        .secret
        .into_iter()
        .filter_map(|secret| client_secret(secret, settings).transpose())
        .collect::<anyhow::Result<Vec<_>>>()?;
    let call =
        if arguments.check { Call { method: Method::Check, ..arguments.call } } else { arguments.call };
    let progress = match (arguments.progress, arguments.quiet) {
        (None | Some(progress::Mode::Auto | progress::Mode::Quiet), true) => progress::Mode::Quiet,
        (Some(_), true) => {
            return Err(Mistake::usage("`--quiet` and `--progress` exclude each other").into());
        }
        (mode, false) => mode.unwrap_or(settings.progress),
    };
    let no_cache = match (arguments.no_cache, arguments.no_cache_filter) {
        (true, _) => NoCache::Everything,
        (false, stages) if stages.is_empty() => NoCache::Nothing,
        (false, stages) => NoCache::Stages(stages),
    };
    let stdouts = arguments.output.iter().filter(|output| writes_to_stdout(output)).count();
    if stdouts > 1 {
        return Err(Mistake::usage("only one output can go to standard output").into());
    }
    let limits = limits(arguments.limits)?;
    let mut caches = CachePlan { from: arguments.cache_from, to: arguments.cache_to };
    for (from, to) in arguments.cache {
        caches.from.push(from);
        caches.to.push(to);
    }
    Ok(BuildPlan {
        call,
        tags,
        outputs: arguments.output,
        load: arguments.load.into(),
        push: arguments.push.into(),
        annotations: arguments.annotation.into_iter().flat_map(|all| all.0).collect(),
        attestations: attestations(arguments.attest, arguments.sbom, arguments.provenance),
        labels: arguments.label,
        iidfile: arguments.iidfile,
        metadata_file: arguments.metadata_file,
        no_cache,
        pull: arguments.pull.into(),
        secrets,
        ssh: arguments.ssh,
        network: arguments.network,
        hosts: arguments.add_host,
        shm_size: arguments.shm_size,
        ulimits: arguments.ulimit,
        limits,
        allow: arguments.allow,
        ca: arguments.ca.map(Authorities::from),
        progress,
        quiet: (arguments.quiet || progress == progress::Mode::Quiet).into(),
        caches,
        ..what
    })
}

/// Puts the limits of steps together; zero is none, as docker has it.
fn limits(flags: StepLimits) -> anyhow::Result<Limits> {
    let StepLimits { memory, memory_swap, cpu_shares, cpu_period, cpu_quota, cpuset_cpus, cpuset_mems } =
        flags;
    let memory = memory.filter(|memory| *memory > 0);
    if memory.is_some_and(|memory| memory < LEAST_MEMORY) {
        return Err(Mistake::usage("Minimum memory limit allowed is 6MB").into());
    }
    let memory_swap = match (memory, memory_swap) {
        (_, Some(flags::Swap::Unlimited)) => None,
        // As docker has it: as much swap as memory.
        (memory, None | Some(flags::Swap::Total(0))) => memory.map(|memory| memory.saturating_mul(2)),
        (None, Some(flags::Swap::Total(_))) => {
            return Err(Mistake::usage("`--memory-swap` needs `--memory`").into());
        }
        (Some(memory), Some(flags::Swap::Total(total))) if total < memory => {
            return Err(Mistake::usage("`--memory-swap` is below `--memory`")
                .hint("it is the sum of memory and swap; -1 for no limit")
                .into());
        }
        (Some(_), Some(flags::Swap::Total(total))) => Some(total),
    };
    Ok(Limits {
        memory,
        memory_swap: memory_swap.map(|swap| i64::try_from(swap).unwrap_or(i64::MAX)),
        cpu_shares: cpu_shares.filter(|shares| *shares > 0),
        cpu_period: cpu_period.filter(|period| *period > 0),
        cpu_quota: cpu_quota.filter(|quota| *quota > 0),
        cpuset_cpus: cpuset_cpus.filter(|list| !list.is_empty()),
        cpuset_mems: cpuset_mems.filter(|list| !list.is_empty()),
    })
}

fn writes_to_stdout(output: &Output) -> bool {
    use flags::{Destination::Stdout, OutputKind};
    match &output.kind {
        OutputKind::Tar { dest, .. } | OutputKind::Oci { dest, .. } => *dest == Stdout,
        OutputKind::Docker { dest, .. } => *dest == Some(Stdout),
        OutputKind::Local { .. } | OutputKind::Nothing | OutputKind::Image { .. } => false,
    }
}

/// Reads the name that a result gets.
fn reference(text: &str) -> anyhow::Result<Reference> {
    let reference: Reference =
        text.parse().map_err(|error| Mistake::usage(format!("`--tag {text}`: {error}")))?;
    if reference.digest().is_some() {
        return Err(Mistake::usage(format!("`--tag {text}`: a name cannot state a digest")).into());
    }
    Ok(reference.with_default_tag())
}

/// Finds a secret; a variable that is not set is none, as for steps that can do without.
fn client_secret(secret: flags::Secret, settings: &Settings) -> anyhow::Result<Option<ClientSecret>> {
    let variable =
        |name: &str| settings.environment.text(name).map(|value| SecretValue::Bytes(value.into_bytes()));
    let value = match secret.source {
        SecretSource::File(path) => SecretValue::File(path),
        SecretSource::Variable(name) => match variable(&name) {
            Some(value) => value,
            None => return Ok(None),
        },
        SecretSource::Either(name) => variable(&name).unwrap_or_else(|| SecretValue::File(name.into())),
    };
    if let SecretValue::File(path) = &value
        && !path.exists()
    {
        return Err(Mistake::new(format!("secret `{}`: there is no file `{}`", secret.id, path.display()))
            .hint("write `src=FILE` or `env=VARIABLE`")
            .into());
    }
    Ok(Some(ClientSecret { id: secret.id, value }))
}
