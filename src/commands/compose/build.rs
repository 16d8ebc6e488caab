//! `rbuild compose build`, and the builds of `up`, `create` and `run`: all images of a project as one build, in which equal
//! steps are done once.

mod print;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rbuild_engine::projects::image_name;
use rbuild_model::digest::ImageId;
use rbuild_model::platform::Platform;
use rbuild_model::project::{
    AdditionalContext, Build as Section, Dockerfile, FileSource, Limit, Project as Model, Service,
    ServiceName,
};
use rbuild_model::reference::Reference;
use rbuild_model::span;
use rbuild_model::step::{EnvVar, ExtraHost, Limits, NetworkMode, Ulimit};
use rbuild_worker::request::Attestations;

use super::board::{Board, Stage};
use super::images_needed::names;
use super::places::placed;
use super::project::{Handle, Source, meant};
use super::{making, remote};
use crate::cli::build::{Call, Entitlement, Method, What, entitlement};
use crate::cli::compose::build::Build;
use crate::cli::compose::{Progress, Project};
use crate::commands::build::{
    BuildPlan, CachePlan, ClientSecret, DockerfileSource, NoCache, SecretValue, attestations, plan_of,
    with_proxies,
};
use crate::commands::{Context, Outcome, check};
use crate::flags::{self, ContextSource, Mode};
use crate::progress;
use crate::report::{Mistake, NotYet, Status};
use crate::settings::Settings;
use crate::wiring::{self, PlannedTarget};

/// Labels that say by whom and for what an image was built.
const LABELS: [&str; 3] =
    ["com.docker.compose.project", "com.docker.compose.service", "com.docker.compose.image.builder"];

/// What a command line says of builds, besides what services say.
#[derive(Clone, Debug, Default)]
pub(super) struct Manner {
    /// Arguments over those of services.
    pub(super) args: Vec<EnvVar>,
    /// Whether everything is run.
    pub(super) no_cache: bool,
    /// Whether base images are asked for.
    pub(super) pull: bool,
    /// A limit on the memory of steps.
    pub(super) memory: Option<u64>,
    /// Agents and keys over those of services.
    pub(super) ssh: Vec<flags::Ssh>,
    /// Whether images that services name are pushed.
    pub(super) push: Mode,
    /// Whether Dockerfiles are only checked.
    pub(super) check: bool,
    /// What is said of how images are made, where services do not say it.
    pub(super) provenance: Option<String>,
    /// Whether bills of materials are made, where services do not say it.
    pub(super) sbom: Option<String>,
    /// How it is shown.
    pub(super) progress: progress::Mode,
}

/// Runs the verb.
pub(super) fn run(project: &Project, build: &Build, context: &Context) -> Outcome {
    if build.progress.is_some() {
        context
            .terminal
            .tell("warning: `--progress` stands before the verb: `rbuild compose --progress KIND build`\n");
    }
    let project = &Project { progress: build.progress.or(project.progress), ..project.clone() };
    let meant = meant(project, &build.services, Source::Files, context)?;
    if !build.print {
        remote::agreed(&meant, making::mode(build.yes), context)?;
    }
    let handle = Handle::open(meant, "build", context)?;
    let model = &handle.meant.model;
    let mut wanted: BTreeSet<ServiceName> = match build.services.is_empty() {
        true => model.services.keys().cloned().collect(),
        false if build.with_dependencies => model.services.keys().cloned().collect(),
        false => names(model, &build.services),
    };
    wanted.retain(|name| model.services[name].build.is_some());
    if wanted.is_empty() {
        context.terminal.tell("No services to build\n");
        return Ok(Status::Done);
    }
    let environment = &context.settings.environment;
    let mut args = Vec::new();
    for text in &build.build_args {
        let entry =
            flags::env_entry(text).map_err(|error| Mistake::new(format!("`--build-arg`: {error}")))?;
        let value = entry.value.or_else(|| environment.text(&entry.name));
        args.extend(value.map(|value| EnvVar { name: entry.name, value }));
    }
    let memory = build.memory.as_deref().map(flags::bytes).transpose();
    let ssh = build.ssh.iter().map(|text| flags::ssh(text)).collect::<Result<_, _>>();
    let manner = Manner {
        args,
        no_cache: build.no_cache,
        pull: build.pull,
        memory: memory.map_err(|error| Mistake::new(format!("`--memory`: {error}")))?,
        ssh: ssh.map_err(|error| Mistake::new(format!("`--ssh`: {error}")))?,
        push: Mode::from(build.push),
        check: build.check,
        provenance: build.provenance.clone(),
        sbom: build.sbom.clone(),
        progress: shown(project, build.quiet, context),
    };
    if build.print {
        let targets = targets(&handle, &wanted, &manner, &context.settings)?;
        context.terminal.print(&print::bake_file(model, &wanted, &targets, &manner)?)?;
        return Ok(Status::Done);
    }
    if build.check {
        return check_all(&handle, &wanted, &manner, context);
    }
    if project.dry_run {
        for name in &wanted {
            let service = &model.services[name];
            let image = image_name(model, service);
            context.terminal.print(&format!("build {image}: asked for\n"))?;
            if build.push && bears_name(service) {
                context.terminal.print(&format!("push {image}: asked for\n"))?;
            }
        }
        return Ok(Status::Done);
    }
    let Some(built) = build_all(&handle, &wanted, &manner, context)? else { return Ok(Status::Interrupted) };
    tell_built(model, &built, &Board::new(project, context).quiet(build.quiet));
    Ok(Status::Done)
}

/// Names the images that were built.
pub(super) fn tell_built(model: &Model, built: &BTreeMap<ServiceName, ImageId>, board: &Board) {
    for service in built.keys().filter_map(|name| known(model, name.as_str())) {
        board.tell(&image_name(model, service), "Built", Stage::Done);
    }
}

/// How a build is shown.
pub(super) fn shown(project: &Project, quiet: bool, context: &Context) -> progress::Mode {
    match project.progress {
        _ if quiet => progress::Mode::Quiet,
        None => context.settings.progress,
        Some(Progress::Auto) => progress::Mode::Auto,
        Some(Progress::Tty) => progress::Mode::Tty,
        Some(Progress::Plain) => progress::Mode::Plain,
        Some(Progress::Json) => progress::Mode::Rawjson,
        Some(Progress::Quiet) => progress::Mode::Quiet,
    }
}

/// Builds the images of services, and of those that they are built from; `None` if somebody cancelled.
pub(super) fn build_all(
    handle: &Handle,
    services: &BTreeSet<ServiceName>,
    manner: &Manner,
    context: &Context,
) -> anyhow::Result<Option<BTreeMap<ServiceName, ImageId>>> {
    let targets = targets(handle, services, manner, &context.settings)?;
    let built = crate::wiring::build_all(&handle.home, &targets, manner.progress, &handle.cancel, context)?;
    let Some(built) = built else { return Ok(None) };
    let images = with_contexts(&handle.meant.model, services).into_iter().zip(built);
    Ok(Some(images.filter_map(|(name, built)| Some((name, built.images.first()?.id))).collect()))
}

/// Checks the Dockerfiles of services, and builds nothing.
fn check_all(
    handle: &Handle,
    services: &BTreeSet<ServiceName>,
    manner: &Manner,
    context: &Context,
) -> Outcome {
    let targets = targets(handle, services, manner, &context.settings)?;
    let mut status = Status::Done;
    for PlannedTarget { name, plan } in targets.iter().filter(|target| services.contains(&*target.name)) {
        if services.len() > 1 {
            context.terminal.print(&format!("{name}\n"))?;
        }
        match check::call(plan, context)? {
            Status::Done => {}
            other => status = other,
        }
    }
    Ok(status)
}

/// The services that are built for services to be built: themselves, and those whose results they take.
pub(super) fn with_contexts(model: &Model, services: &BTreeSet<ServiceName>) -> BTreeSet<ServiceName> {
    let mut all = services.clone();
    let mut open: Vec<ServiceName> = all.iter().cloned().collect();
    while let Some(name) = open.pop() {
        let section = known(model, name.as_str()).and_then(|service| service.build.as_ref());
        for context in section.into_iter().flat_map(|section| section.additional_contexts.values()) {
            if let AdditionalContext::Service(other) = context
                && all.insert(other.clone())
            {
                open.push(other.clone());
            }
        }
    }
    all
}

/// A service and how it is built.
struct SectionOf<'a> {
    service: &'a Service,
    section: &'a Section,
}

fn section<'a>(model: &'a Model, name: &str) -> anyhow::Result<SectionOf<'a>> {
    let service = known(model, name)
        .ok_or_else(|| Mistake::new(format!("service {name} is needed for a build and is not there")))?;
    let section = service.build.as_ref().ok_or_else(|| {
        Mistake::new(format!("service {name} is a context of another one's build and is not built itself"))
    })?;
    Ok(SectionOf { service, section })
}

/// Whether a service says what its image is called.
fn bears_name(service: &Service) -> bool {
    service.image.as_ref().is_some_and(|image| !image.is_empty())
}

/// Plans the builds of services, and of those that they are built from.
fn targets(
    handle: &Handle,
    services: &BTreeSet<ServiceName>,
    manner: &Manner,
    settings: &Settings,
) -> anyhow::Result<Vec<PlannedTarget>> {
    let model = &handle.meant.model;
    let mut targets = Vec::new();
    for name in with_contexts(model, services) {
        let SectionOf { service, section } = section(model, name.as_str())?;
        // What others are built from is not pushed by the way.
        let push = Mode::from(manner.push == Mode::On && services.contains(&name) && bears_name(service));
        let misplaced = |key: &str, error: anyhow::Error| {
            placed(&handle.meant, &["services", name.as_str(), "build", key], error)
        };
        if let Some((key, error)) = refused(section) {
            return Err(misplaced(key, error));
        }
        let planned = plan(model, service, section, manner, settings);
        let planned = planned.map_err(|error| misplaced("", error.context(format!("service {name}"))))?;
        targets.push(PlannedTarget { name: name.to_string(), plan: BuildPlan { push, ..planned } });
    }
    Ok(targets)
}

/// Returns a service, turned on or not.
pub(super) fn known<'a>(model: &'a Model, name: &str) -> Option<&'a Service> {
    model.services.get(name).or_else(|| model.disabled.get(name))
}

/// Makes of a service's build section what a build goes by.
fn plan(
    model: &Model,
    service: &Service,
    section: &Section,
    manner: &Manner,
    settings: &Settings,
) -> anyhow::Result<BuildPlan> {
    let place = flags::context_source(&section.context);
    let args = section.args.iter().filter(|(name, _)| !manner.args.iter().any(|arg| arg.name == **name));
    let args = args.map(|(name, value)| EnvVar { name: name.clone(), value: value.clone() });
    let args: Vec<EnvVar> = args.chain(manner.args.iter().cloned()).collect();
    let contexts = section.additional_contexts.iter().map(|(name, place)| flags::BuildContext {
        name: name.clone(),
        source: match place {
            AdditionalContext::Service(service) => ContextSource::Target(service.to_string()),
            AdditionalContext::Place(place) => flags::context_source(place),
        },
    });
    let hosts = hosts(section)
        .map(|(name, address)| ExtraHost { name: name.to_owned(), address: address.to_owned() });
    let call = if manner.check { Method::Check } else { Method::Build };
    let base = What {
        context: section.context.clone(),
        file: None,
        target: None,
        platform: Vec::new(),
        build_arg: Vec::new(),
        build_context: Vec::new(),
    };
    Ok(BuildPlan {
        caches: caches(section)?,
        dockerfile: dockerfile(service, section, &place),
        context: place,
        target: section.target.clone().filter(|target| !target.is_empty()),
        platforms: platforms(service, section, settings)?,
        build_args: with_proxies(args, settings)?,
        contexts: contexts.collect(),
        tags: tags(model, service, section)?,
        outputs: Vec::new(),
        load: Mode::Off,
        annotations: Vec::new(),
        push: Mode::Off,
        attestations: attested(section, manner)?,
        call: Call::of(call),
        labels: labels(model, service, section),
        no_cache: match (manner.no_cache || section.no_cache, section.no_cache_filter.as_slice()) {
            (true, _) => NoCache::Everything,
            (false, []) => NoCache::Nothing,
            (false, stages) => NoCache::Stages(stages.to_vec()),
        },
        pull: Mode::from(manner.pull || section.pull),
        secrets: secrets(model, section)?,
        ssh: agents(section, manner),
        network: network(section)?,
        hosts: hosts.collect(),
        shm_size: section.shm_size.and_then(|size| u64::try_from(size.0).ok()).filter(|size| *size > 0),
        ulimits: ulimits(section),
        limits: Limits { memory: manner.memory.filter(|memory| *memory > 0), ..Limits::default() },
        allow: rights(section)?,
        progress: manner.progress,
        ..plan_of(base, settings)?
    })
}

/// Returns where the Dockerfile is, if it is not the usual one.
fn dockerfile(service: &Service, section: &Section, context: &ContextSource) -> Option<DockerfileSource> {
    match &section.dockerfile {
        Dockerfile::Path(path) if path.is_empty() || path == "Dockerfile" => None,
        Dockerfile::Path(path) => Some(DockerfileSource::At(match context {
            // What is relative is meant from the context on.
            ContextSource::Local(folder) if !path.starts_with('/') => ContextSource::Local(folder.join(path)),
            _ => ContextSource::Local(path.into()),
        })),
        Dockerfile::Inline(text) => {
            let name = format!("services.{}.build.dockerfile_inline", service.name);
            Some(DockerfileSource::Text(span::Source::new(name, text.clone())))
        }
    }
}

fn tags(model: &Model, service: &Service, section: &Section) -> anyhow::Result<Vec<Reference>> {
    let tags = std::iter::once(image_name(model, service)).chain(section.tags.iter().cloned());
    let read = |tag: String| {
        let reference = tag.parse::<Reference>().map_err(|error| Mistake::new(format!("{tag}: {error}")))?;
        Ok(reference.with_default_tag())
    };
    tags.map(read).collect()
}

fn platforms(service: &Service, section: &Section, settings: &Settings) -> anyhow::Result<Vec<Platform>> {
    let platforms = match (&section.platforms[..], &service.platform, &settings.platform) {
        ([], Some(platform), _) if !platform.is_empty() => vec![platform.clone()],
        ([], _, Some(platform)) => return Ok(vec![platform.clone()]),
        (platforms, ..) => platforms.to_vec(),
    };
    let read = |text: &String| {
        text.parse().map_err(|error| Mistake::new(format!("build.platforms: {text}: {error}")).into())
    };
    platforms.iter().map(read).collect()
}

fn labels(model: &Model, service: &Service, section: &Section) -> Vec<(String, String)> {
    let own = LABELS.iter().zip([model.name.as_str(), service.name.as_str(), "classic"]);
    let own = own.map(|(name, value)| ((*name).to_owned(), value.to_owned()));
    section.labels.iter().map(|(name, value)| (name.clone(), value.clone())).chain(own).collect()
}

/// Returns the agents of the command line, and those of the section that it says nothing of.
fn agents(section: &Section, manner: &Manner) -> Vec<flags::Ssh> {
    let mut agents = manner.ssh.clone();
    for agent in &section.ssh {
        if !agents.iter().any(|other| other.id == agent.id) {
            let paths = agent.path.iter().map(PathBuf::from).collect();
            agents.push(flags::Ssh { id: agent.id.clone(), paths });
        }
    }
    agents
}

fn rights(section: &Section) -> anyhow::Result<Vec<Entitlement>> {
    let rights = section.entitlements.iter().map(|text| {
        let wrong = |error| Mistake::new(format!("build.entitlements: `{text}`: {error}"));
        entitlement(text).map_err(wrong)
    });
    let mut rights = rights.collect::<Result<Vec<_>, _>>()?;
    if section.privileged {
        rights.push(Entitlement::SecurityInsecure);
    }
    Ok(rights)
}

fn network(section: &Section) -> anyhow::Result<NetworkMode> {
    match section.network.as_deref() {
        None | Some("" | "default" | "bridge") => Ok(NetworkMode::Default),
        Some("none") => Ok(NetworkMode::None),
        Some("host") => Ok(NetworkMode::Host),
        Some(other) => {
            let what = format!("`build.network: {other}`");
            Err(NotYet::supported(what, "use default, none or host").into())
        }
    }
}

fn ulimits(section: &Section) -> Vec<Ulimit> {
    let bound = |limit: Limit| match limit {
        Limit::AtMost(count) => i64::try_from(count).unwrap_or(i64::MAX),
        Limit::Unlimited => -1,
    };
    let limits = section.ulimits.iter();
    limits
        .map(|(name, limit)| Ulimit { name: name.clone(), soft: bound(limit.soft), hard: bound(limit.hard) })
        .collect()
}

/// Finds what a build section says and no build can have: the key, and why.
fn refused(section: &Section) -> Option<(&'static str, anyhow::Error)> {
    if section.isolation.as_deref().is_some_and(|word| !matches!(word, "" | "default")) {
        return Some(("isolation", NotYet::supported("`build.isolation`", "leave it out").into()));
    }
    if let Err(error) = network(section) {
        return Some(("network", error));
    }
    for (name, address) in hosts(section) {
        if address != "host-gateway" && address.parse::<IpAddr>().is_err() {
            return Some(("extra_hosts", Mistake::new(format!("invalid host {name}={address}")).into()));
        }
    }
    let ContextSource::Local(folder) = flags::context_source(&section.context) else { return None };
    if !folder.exists() {
        let why = format!("unable to prepare context: path {:?} not found", folder.display().to_string());
        return Some(("context", Mistake::new(why).into()));
    }
    let Dockerfile::Path(path) = &section.dockerfile else { return None };
    let (name, is_there) = match path.as_str() {
        "" | "Dockerfile" => ("Dockerfile", wiring::find_dockerfile(&folder).is_some()),
        named => (named, folder.join(named).exists()),
    };
    let missing = || ("dockerfile", wiring::missing_dockerfile(Path::new(name)).into());
    (folder.is_dir() && !is_there).then(missing)
}

/// The names that a build gives to addresses.
fn hosts(section: &Section) -> impl Iterator<Item = (&str, &str)> {
    let all = section.extra_hosts.iter();
    all.flat_map(|(name, addresses)| addresses.iter().map(move |address| (name.as_str(), address.as_str())))
}

/// What is said of an image, in the words of flags.
struct Chosen<'a> {
    provenance: Option<&'a str>,
    sbom: Option<&'a str>,
}

/// What a service says counts, then what the command line does.
fn chosen<'a>(section: &'a Section, manner: &'a Manner) -> Chosen<'a> {
    fn either<'a>(own: &'a Option<String>, given: &'a Option<String>) -> Option<&'a str> {
        own.as_deref().filter(|word| !word.is_empty()).or(given.as_deref())
    }
    Chosen {
        provenance: either(&section.provenance, &manner.provenance),
        sbom: either(&section.sbom, &manner.sbom),
    }
}

/// Reads what is to be said of an image.
fn attested(section: &Section, manner: &Manner) -> anyhow::Result<Attestations> {
    let Chosen { provenance, sbom } = chosen(section, manner);
    let wrong = |what: &str, text: &str, error: flags::Invalid| {
        anyhow::Error::from(Mistake::usage(format!("`{what}: {text}`: {error}")))
    };
    let sbom = sbom.map(|text| flags::sbom(text).map_err(|error| wrong("sbom", text, error)));
    let provenance =
        provenance.map(|text| flags::provenance(text).map_err(|error| wrong("provenance", text, error)));
    Ok(attestations(Vec::new(), sbom.transpose()?, provenance.transpose()?))
}

/// The secrets of a project that a build may ask for.
fn secrets(model: &Model, section: &Section) -> anyhow::Result<Vec<ClientSecret>> {
    let mut secrets = Vec::new();
    for grant in &section.secrets {
        let key = grant.source.as_str();
        let id = grant.target.clone().filter(|target| !target.is_empty()).unwrap_or_else(|| key.to_owned());
        let value = match model.secrets.get(&grant.source).map(|object| &object.source) {
            Some(FileSource::File(path)) => SecretValue::File(path.clone()),
            Some(FileSource::Environment(name)) => match model.environment.get(name) {
                Some(value) => SecretValue::Bytes(value.clone().into_bytes()),
                None => {
                    let why = format!("secret `{key}`: the variable `{name}` is not set");
                    return Err(Mistake::new(why).into());
                }
            },
            Some(FileSource::Content(text)) => SecretValue::Bytes(text.clone().into_bytes()),
            _ => {
                let why = format!("secret `{key}` cannot be had for a build");
                return Err(Mistake::new(why).hint("give it a file or a variable").into());
            }
        };
        secrets.push(ClientSecret { id, value });
    }
    Ok(secrets)
}

/// Reads the caches elsewhere that a service's build names.
fn caches(section: &Section) -> anyhow::Result<CachePlan> {
    let mistake = |key: &str, text: &str, error: flags::Invalid| {
        anyhow::Error::from(Mistake::usage(format!("`build.{key}: {text}`: {error}")))
    };
    let from = section
        .cache_from
        .iter()
        .map(|text| flags::cache_from(text).map_err(|error| mistake("cache_from", text, error)));
    let to = section
        .cache_to
        .iter()
        .map(|text| flags::cache_to(text).map_err(|error| mistake("cache_to", text, error)));
    Ok(CachePlan { from: from.collect::<Result<_, _>>()?, to: to.collect::<Result<_, _>>()? })
}
