//! A build plan handed to the worker, and what comes back told.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use rbuild_confined::Root;
use rbuild_frontend::lower::{Entitlement as Right, LowerOptions, NoCache as Ignored, without_credentials};
use rbuild_image::archive::LayoutImage;
use rbuild_model::platform::Platform;
use rbuild_model::reference::Reference;
use rbuild_model::span::Diagnostic;
use rbuild_worker::cdi::DeviceGrants;
use rbuild_worker::network::HostFiles;
use rbuild_worker::request::{BuildRequest, DockerfilePlace, MainContext, NamedContext, PullPolicy};
use rbuild_worker::{BuildError, Built, Cancel, Checked, StepError, TargetError, TargetRequest};
use serde_json::json;

use super::caller::{self, Caller};
use super::{Home, caches, outputs, registries, signals};
use crate::cli::build::{Entitlement, Method};
use crate::commands::build::{BuildPlan, DockerfileSource, NoCache};
use crate::commands::{Context, Outcome};
use crate::flags::{self, ContextSource, Destination, OutputKind};
use crate::progress::{Display, End, Mode, Tasks};
use crate::report::{self, Findings, Mistake, NotYet, Status, Target};
use crate::settings::{Authorities, Settings};

/// A target of a build, as it is meant.
#[derive(Clone, Debug)]
pub(crate) struct PlannedTarget {
    /// What it is called; each target of a build has a name of its own.
    pub(crate) name: String,
    /// What is built. Its progress is the whole build's, its files with what is known of a result are the caller's.
    pub(crate) plan: BuildPlan,
}

/// Opens the store for a verb that builds, with a switch that the first signal throws. Called before any thread is begun.
pub(crate) fn open_to_build(settings: &Settings, purpose: &str) -> anyhow::Result<(Home, Cancel)> {
    let cancel = Cancel::new();
    let switch = cancel.clone();
    let wish = signals::wish_and(move || switch.cancel())?;
    Ok((Home::open_until(settings, purpose, wish)?, cancel))
}

/// Builds, shows how it goes, and returns how it ended.
pub(crate) fn build(plan: &BuildPlan, context: &Context) -> Outcome {
    // What is wrong with a plan is told before a store is made.
    let (request, caller) = request(plan, &[], context)?;
    let (home, cancel) = open_to_build(&context.settings, "rbuild build")?;
    if let Some(path) = &plan.iidfile {
        forget(path)?;
    }
    let deliver = |built: &[Built]| built.iter().try_for_each(|built| deliver(plan, built, context));
    let requests = vec![(String::new(), request, caller)];
    let built = carry_out(&home, requests, plan.progress, &cancel, context, deliver)?;
    Ok(if built.is_some() { Status::Done } else { Status::Interrupted })
}

/// Builds targets together, shows how it goes, and returns what came of each, in order; `None` if somebody cancelled.
///
/// What is equal in several targets is done once. The first failure stops the others, and names its target.
pub(crate) fn build_all(
    home: &Home,
    targets: &[PlannedTarget],
    progress: Mode,
    cancel: &Cancel,
    context: &Context,
) -> anyhow::Result<Option<Vec<Built>>> {
    let names: Vec<&str> = targets.iter().map(|target| &*target.name).collect();
    let mut requests = Vec::new();
    for PlannedTarget { name, plan } in targets {
        let label = (targets.len() > 1).then(|| name.clone());
        let (request, caller) = request(plan, &names, context).map_err(|error| Target(label).blame(error))?;
        requests.push((name.clone(), request, caller));
    }
    carry_out(home, requests, progress, cancel, context, |_| Ok(()))
}

fn carry_out(
    home: &Home,
    requests: Vec<(String, BuildRequest, Caller)>,
    progress: Mode,
    cancel: &Cancel,
    context: &Context,
    deliver: impl FnOnce(&[Built]) -> anyhow::Result<()>,
) -> anyhow::Result<Option<Vec<Built>>> {
    let worker = home.worker()?;
    let (requests, callers): (Vec<_>, Vec<_>) =
        requests.into_iter().map(|(name, request, caller)| ((name, request), caller)).unzip();
    let wanted = requests
        .into_iter()
        .zip(&callers)
        .map(|((name, request), client)| TargetRequest { name, request, client })
        .collect();
    let display = Display::start(progress, context.terminal)?;
    let built = worker.build_all(wanted, display.events(), cancel);
    // Caches go up when the results are delivered, and nobody who waits for those waits for them.
    let after = built.as_ref().map_or(Ok(()), |built| {
        deliver(built)?;
        caches::export(&worker, built, cancel)
    });
    let end = match &built {
        Ok(_) if after.is_err() => End::Failed,
        Ok(_) => End::Succeeded,
        Err(TargetError { error: BuildError::Cancelled, .. }) => End::Cancelled,
        Err(_) => End::Failed,
    };
    let tasks = display.finish(end);
    after?;
    match built {
        Ok(built) => Ok(Some(built)),
        Err(TargetError { error: BuildError::Cancelled, .. }) => Ok(None),
        Err(TargetError { target, error }) => Err(Target(target).blame(explain(error, &tasks))),
    }
}

/// What became of looking at a Dockerfile.
pub(crate) struct Looked {
    /// Its text.
    pub(crate) source: Arc<rbuild_model::span::Source>,
    /// What check rules found.
    pub(crate) findings: rbuild_frontend::lint::Findings,
    /// What it comes to, if it could be lowered.
    pub(crate) lowered: Option<Box<rbuild_frontend::lower::Aims>>,
    /// What is wrong with it.
    pub(crate) errors: Vec<Diagnostic>,
    /// What else kept it from being looked at.
    pub(crate) failure: Option<anyhow::Error>,
}

/// Checks a Dockerfile and lowers it.
pub(crate) fn check(plan: &BuildPlan, context: &Context) -> anyhow::Result<Looked> {
    let cancel = Cancel::new();
    let switch = cancel.clone();
    let wish = signals::wish_and(move || switch.cancel())?;
    let (mut request, caller) = request(plan, &[], context)?;
    // An outline is that of one target.
    request.options.all_stages = request.options.target.is_none() && plan.call.method != Method::Outline;
    let source = Arc::clone(&request.dockerfile);
    let home = Home::open_until(&context.settings, "rbuild check", wish)?;
    let worker = home.worker()?;
    let display = Display::start(plan.progress, context.terminal)?;
    let checked = worker.check(request, &caller, display.events(), &cancel);
    let tasks = display.finish(if checked.error.is_none() { End::Succeeded } else { End::Failed });
    let Checked { findings, lowered, error, dockerfile } = checked;
    let source = dockerfile.unwrap_or(source);
    let (errors, failure) = match error {
        None => (Vec::new(), None),
        Some(error) => match explain(error, &tasks).downcast::<Findings>() {
            Ok(Findings(errors)) => (errors, None),
            Err(failure) => (Vec::new(), Some(failure)),
        },
    };
    Ok(Looked { source, findings, lowered, errors, failure })
}

/// Brings in the main context of a plan that is no folder here, and has its root looked at; a Dockerfile alone has none. `None` if
/// somebody cancelled.
pub(crate) fn look_into<T>(
    plan: &BuildPlan,
    context: &Context,
    look: impl FnOnce(Option<&Root>) -> anyhow::Result<T>,
) -> anyhow::Result<Option<T>> {
    let (mut request, caller) = request(plan, &[], context)?;
    let (home, cancel) = open_to_build(&context.settings, "rbuild context")?;
    let worker = home.worker()?;
    let display = Display::start(plan.progress, context.terminal)?;
    let root = worker.main_context(&mut request, &caller, display.events(), &cancel);
    let tasks = display.finish(if root.is_ok() { End::Succeeded } else { End::Failed });
    match root {
        Ok(root) => look(root.as_ref()).map(Some),
        Err(BuildError::Cancelled) => Ok(None),
        Err(error) => Err(explain(error, &tasks)),
    }
}

/// Reads the Dockerfile of a plan.
pub(crate) fn source(plan: &BuildPlan) -> anyhow::Result<Arc<rbuild_model::span::Source>> {
    let mut caller = Caller::new(Vec::new(), Vec::new());
    let from = contexts(plan, &mut caller)?;
    match (from.main, from.dockerfile_place) {
        (_, DockerfilePlace::Given) => Ok(from.dockerfile),
        (MainContext::Stream, DockerfilePlace::Context(None)) => caller::dockerfile_from_stdin(),
        _ => Err(NotYet::supported(
            "listing the targets of a Dockerfile elsewhere",
            "fetch it and name the file",
        )
        .into()),
    }
}

/// Writes the files that tell of a result, and prints its id where that is all that is wanted.
fn deliver(plan: &BuildPlan, built: &Built, context: &Context) -> anyhow::Result<()> {
    let first = built.images.first().map(|image| image.id.to_string());
    let id = built.index().map(|index| index.to_string()).or(first);
    if let (Some(path), Some(id)) = (&plan.iidfile, &id) {
        replace(path, id.as_bytes())?;
    }
    if let Some(path) = &plan.metadata_file {
        replace(path, &serde_json::to_vec_pretty(&metadata(plan, built))?)?;
    }
    if plan.quiet == flags::Mode::On
        && let Some(id) = id
    {
        context.terminal.print(&format!("{id}\n"))?;
    }
    Ok(())
}

/// Tells what is known of a result, as `--metadata-file` writes it.
pub(crate) fn metadata(plan: &BuildPlan, built: &Built) -> serde_json::Map<String, serde_json::Value> {
    let first = built.images.first().map(|image| image.id.to_string());
    let id = built.index().map(|index| index.to_string()).or(first);
    let mut metadata = serde_json::Map::new();
    if let Some(digest) = built.digest.map(|digest| digest.to_string()).or_else(|| id.clone()) {
        metadata.insert("containerimage.digest".to_owned(), json!(digest));
    }
    if let Some(id) = &id {
        metadata.insert("containerimage.config.digest".to_owned(), json!(id));
    }
    if !plan.tags.is_empty() {
        let names: Vec<String> = plan.tags.iter().map(ToString::to_string).collect();
        metadata.insert("image.name".to_owned(), json!(names.join(",")));
    }
    metadata
}

/// Takes away what an earlier build wrote, which nobody is to take for the result of one that fails. Links stay: one may lead to
/// standard output.
fn forget(path: &Path) -> anyhow::Result<()> {
    if !std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file()) {
        return Ok(());
    }
    std::fs::remove_file(path).with_context(|| format!("failed to remove `{}`", path.display()))
}

/// Writes a file that appears complete or not at all; a device or a pipe is written to.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if std::fs::metadata(path).is_ok_and(|meta| !meta.is_file()) {
        return std::fs::write(path, bytes)
            .with_context(|| format!("failed to write to `{}`", path.display()));
    }
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}.part", std::process::id()));
    let fresh = PathBuf::from(fresh);
    std::fs::write(&fresh, bytes)
        .and_then(|()| std::fs::rename(&fresh, path))
        // The error that counts is why it could not be written.
        .inspect_err(|_| drop(std::fs::remove_file(&fresh)))
        .with_context(|| format!("failed to write `{}`", path.display()))
}

/// Makes of a build's error what reports know how to tell.
fn explain(error: BuildError, tasks: &Tasks) -> anyhow::Error {
    match error {
        BuildError::Dockerfile(findings) => Findings(findings).into(),
        BuildError::Step { name, location, source } => {
            let Some(mut failure) = tasks.failure(&name) else {
                let findings = location.map(|location| {
                    let source = anyhow::Error::from(*source);
                    let message = report::chain(&source);
                    let mut finding = Diagnostic::error(&location.source, location.span, message);
                    finding.help = report::hint(&source);
                    Findings(vec![finding])
                });
                return findings.map_or_else(|| anyhow::anyhow!("failed to solve: {name}"), Into::into);
            };
            failure.location = failure.location.or(location);
            match *source {
                StepError::Exited { command, log, shortage, .. } => {
                    failure.command = Some(command);
                    failure.log = log;
                    failure.reason = shortage.map(|shortage| anyhow::anyhow!(shortage.to_string()));
                }
                other => failure.reason = Some(other.into()),
            }
            failure.into()
        }
        BuildError::Resolve { name, location: Some(location), help, source } => {
            let source = anyhow::Error::from_boxed(source);
            let message = format!("failed to resolve {name}: {}", report::chain(&source));
            let mut finding = Diagnostic::error(&location.source, location.span, message);
            finding.help = help.or_else(|| report::hint(&source));
            Findings(vec![finding]).into()
        }
        BuildError::Unsupported { what } => {
            NotYet::supported(what, "see the table in README.md for what works").into()
        }
        other => other.into(),
    }
}

/// Refuses files whose folders are not there: nobody wants to learn that when everything is built.
fn check_folders(plan: &BuildPlan) -> anyhow::Result<()> {
    let archives = plan.outputs.iter().filter_map(|output| match &output.kind {
        OutputKind::Tar { dest: Destination::Path(path), .. }
        | OutputKind::Oci { dest: Destination::Path(path), tar: flags::Mode::On, .. }
        | OutputKind::Docker { dest: Some(Destination::Path(path)), tar: flags::Mode::On, .. } => Some(path),
        _ => None,
    });
    for file in archives.chain(&plan.iidfile).chain(&plan.metadata_file) {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            let message =
                format!("`{}` cannot be written: there is no folder `{}`", file.display(), folder.display());
            return Err(Mistake::new(message).into());
        }
    }
    Ok(())
}

/// Makes a request of a plan; contexts may be what comes out of others of the targets.
fn request(plan: &BuildPlan, targets: &[&str], context: &Context) -> anyhow::Result<(BuildRequest, Caller)> {
    check_folders(plan)?;
    let settings = &context.settings;
    let own_agent = settings.environment.text("SSH_AUTH_SOCK").map(PathBuf::from);
    let mut caller = Caller::new(plan.secrets.clone(), caller::agents(&plan.ssh, own_agent)?);
    let platform = Platform::host();
    let mut options = LowerOptions::new(platform.clone());
    let From { dockerfile, dockerfile_place, main, project } = contexts(plan, &mut caller)?;
    options.target.clone_from(&plan.target);
    options.build_args = plan.build_args.iter().map(|arg| (arg.name.clone(), arg.value.clone())).collect();
    if let Some(epoch) = settings.environment.epoch() {
        options.build_args.entry("SOURCE_DATE_EPOCH".to_owned()).or_insert(epoch);
    }
    if !plan.platforms.is_empty() {
        options.platforms.clone_from(&plan.platforms);
        options.platforms_chosen = true;
    }
    options.keep_times = outputs::keeps_times(plan)?;
    options.result_epoch = outputs::epoch(plan)?;
    options.labels.clone_from(&plan.labels);
    options.no_cache = match &plan.no_cache {
        NoCache::Nothing => Ignored::None,
        NoCache::Everything => Ignored::All,
        NoCache::Stages(stages) => Ignored::Stages(stages.clone()),
    };
    options.network = plan.network;
    options.extra_hosts.clone_from(&plan.hosts);
    options.ulimits.clone_from(&plan.ulimits);
    options.shm_size = plan.shm_size;
    options.limits.clone_from(&plan.limits);
    options.entitlements = plan
        .allow
        .iter()
        .filter_map(|right| match right {
            Entitlement::NetworkHost => Some(Right::NetworkHost),
            Entitlement::SecurityInsecure => Some(Right::SecurityInsecure),
            Entitlement::Devices | Entitlement::Device(_) | Entitlement::DeviceAlias { .. } => None,
        })
        .collect();
    let mut named = std::collections::BTreeMap::new();
    for flags::BuildContext { name, source } in &plan.contexts {
        named.insert(name.clone(), named_context(name, source, targets, &mut caller)?);
    }
    let request = BuildRequest {
        dockerfile,
        dockerfile_place,
        main,
        options,
        contexts: named,
        pull: if plan.pull == flags::Mode::On { PullPolicy::Always } else { PullPolicy::Missing },
        tags: plan.tags.clone(),
        exports: outputs::exports(plan)?,
        parallel: settings.parallel,
        extra_ca: extra_ca(settings, plan)?,
        project,
        caches: caches::caches(&plan.caches, settings)?,
        attestations: plan.attestations.clone(),
        devices: devices(&plan.allow),
    };
    Ok((request, caller))
}

/// Returns which devices steps may have.
fn devices(allow: &[Entitlement]) -> DeviceGrants {
    let mut grants = DeviceGrants::default();
    for right in allow {
        match right {
            Entitlement::Devices => grants.all = true,
            Entitlement::Device(name) => grants.named.push(name.clone()),
            Entitlement::DeviceAlias { alias, name } => {
                grants.aliases.insert(alias.clone(), name.clone());
            }
            Entitlement::NetworkHost | Entitlement::SecurityInsecure => {}
        }
    }
    grants
}

/// Reads the certificate authorities that steps are given besides those of their image.
fn extra_ca(settings: &Settings, plan: &BuildPlan) -> anyhow::Result<Option<Vec<u8>>> {
    let path = match plan.ca.as_ref().or(settings.step_authorities.as_ref()) {
        None | Some(Authorities::Builtin) => return Ok(None),
        Some(Authorities::Host) => registries::host_bundle(settings).ok_or_else(|| {
            Mistake::new("`--ca host`: this machine has no bundle of certificate authorities")
        })?,
        Some(Authorities::File(path)) => path.clone(),
    };
    let pem = std::fs::read(&path)
        .with_context(|| format!("failed to read the certificate authorities in `{}`", path.display()))?;
    if !pem.windows(BEGIN.len()).any(|window| window == BEGIN) {
        return Err(Mistake::new(format!("`{}` holds no certificates in PEM form", path.display())).into());
    }
    Ok(Some(pem))
}

/// How a certificate in PEM form begins.
const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// What is built from, as far as it is known before the worker looks.
struct From {
    dockerfile: Arc<rbuild_model::span::Source>,
    dockerfile_place: DockerfilePlace,
    main: MainContext,
    project: String,
}

/// The folder here that a context is, if it is one.
pub(crate) fn folder_of(context: &ContextSource) -> Option<&Path> {
    match context {
        ContextSource::Local(folder) => Some(folder),
        // What looks like a repository of that host may be a folder here.
        ContextSource::Git(text) if text.starts_with("github.com/") => {
            Some(Path::new(text)).filter(|folder| folder.is_dir())
        }
        _ => None,
    }
}

/// Finds the Dockerfile and the main context.
fn contexts(plan: &BuildPlan, caller: &mut Caller) -> anyhow::Result<From> {
    if let Some(folder) = folder_of(&plan.context) {
        return local_context(plan, folder, caller);
    }
    let (main, project) = match &plan.context {
        ContextSource::Stdin => (MainContext::Stream, "-".to_owned()),
        ContextSource::Git(url) => (MainContext::Git(url.clone()), without_credentials(url)),
        ContextSource::Http(url) => (MainContext::Web(url.clone()), without_credentials(url)),
        other => return Err(only_named(other)),
    };
    let mut dockerfile = rbuild_model::span::Source::new("Dockerfile", String::new());
    let dockerfile_place = match &plan.dockerfile {
        None => DockerfilePlace::Context(None),
        // A path in full is one here.
        Some(DockerfileSource::At(ContextSource::Local(path))) if path.is_absolute() => {
            (_, dockerfile) = caller::dockerfile(Some(path), Path::new("/"))?;
            DockerfilePlace::Given
        }
        Some(DockerfileSource::At(ContextSource::Local(path))) => {
            let path = path.to_str().ok_or_else(|| Mistake::usage("`--file`: the path is not UTF-8"))?;
            DockerfilePlace::Context(Some(path.to_owned()))
        }
        Some(DockerfileSource::At(ContextSource::Stdin)) => {
            dockerfile = caller::dockerfile_from_stdin()?;
            DockerfilePlace::Given
        }
        Some(DockerfileSource::At(ContextSource::Http(url))) => DockerfilePlace::Web(url.clone()),
        Some(DockerfileSource::Text(text)) => {
            dockerfile = Arc::clone(text);
            DockerfilePlace::Given
        }
        Some(DockerfileSource::At(_)) => return Err(no_file()),
    };
    Ok(From { dockerfile, dockerfile_place, main, project })
}

fn local_context(plan: &BuildPlan, folder: &Path, caller: &mut Caller) -> anyhow::Result<From> {
    let mut dockerfile_place = DockerfilePlace::Given;
    let (path, dockerfile) = match &plan.dockerfile {
        Some(DockerfileSource::At(ContextSource::Stdin)) => (None, caller::dockerfile_from_stdin()?),
        Some(DockerfileSource::Text(text)) => (None, Arc::clone(text)),
        Some(DockerfileSource::At(ContextSource::Local(path))) => {
            let (path, text) = caller::dockerfile(Some(path), folder)?;
            (Some(path), text)
        }
        Some(DockerfileSource::At(ContextSource::Http(url))) => {
            dockerfile_place = DockerfilePlace::Web(url.clone());
            (None, rbuild_model::span::Source::new("Dockerfile", String::new()))
        }
        Some(DockerfileSource::At(_)) => return Err(no_file()),
        None => {
            // The folder's own mistake is told before that of what should be in it.
            caller.offer("context", folder, None)?;
            let (path, text) = caller::dockerfile(None, folder)?;
            (Some(path), text)
        }
    };
    caller.offer("context", folder, caller::ignore(path.as_deref(), folder)?)?;
    let project = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    // Without the slash that may stand at its end.
    let project = project.components().as_path().to_string_lossy().into_owned();
    Ok(From { dockerfile, dockerfile_place, main: MainContext::Given, project })
}

fn only_named(source: &ContextSource) -> anyhow::Error {
    let kind = match source {
        ContextSource::Image(_) => "an image (`docker-image://`)",
        ContextSource::Layout(_) => "an OCI layout (`oci-layout://`)",
        ContextSource::Target(_) => "another target (`target:`)",
        ContextSource::Local(_) | ContextSource::Stdin | ContextSource::Git(_) | ContextSource::Http(_) => {
            "it"
        }
    };
    Mistake::usage(format!("{kind} cannot be the main context"))
        .hint("give it a name: `--build-context NAME=...`, and use that in FROM or COPY --from")
        .into()
}

fn no_file() -> anyhow::Error {
    Mistake::usage("`--file`: a Dockerfile is a file in or beside the context, `-`, or a URL").into()
}

fn named_context(
    name: &str,
    source: &ContextSource,
    targets: &[&str],
    caller: &mut Caller,
) -> anyhow::Result<NamedContext> {
    let mistake =
        |why: String| anyhow::Error::from(Mistake::usage(format!("`--build-context {name}`: {why}")));
    match source {
        ContextSource::Local(folder) => {
            caller.offer(name, folder, caller::ignore(None, folder)?)?;
            Ok(NamedContext::Local)
        }
        ContextSource::Image(image) if image == "scratch" => Ok(NamedContext::Scratch),
        ContextSource::Image(image) => {
            let reference: Reference = image.parse().map_err(|error| mistake(format!("{error}")))?;
            Ok(NamedContext::Image(reference.with_default_tag()))
        }
        ContextSource::Git(url) => Ok(NamedContext::Git(url.clone())),
        ContextSource::Http(url) => Ok(NamedContext::Web(url.clone())),
        ContextSource::Layout(text) => {
            let flags::Layout { folder, tag, digest } =
                flags::layout(text).map_err(|error| mistake(error.to_string()))?;
            caller.offer(name, &folder, None)?;
            Ok(NamedContext::Layout(LayoutImage { tag, digest }))
        }
        ContextSource::Stdin => Err(mistake("only the main context comes from standard input".to_owned())),
        ContextSource::Target(target) if targets.contains(&&**target) => {
            Ok(NamedContext::Target(target.clone()))
        }
        ContextSource::Target(_) => Err(mistake("targets are named in bake files only".to_owned())),
    }
}

/// Reads what the host says about names.
pub(super) fn host_files() -> HostFiles {
    HostFiles {
        resolv_conf: std::fs::read_to_string("/etc/resolv.conf").ok(),
        resolved_upstream: std::fs::read_to_string(rbuild_network::resolver::RESOLVED_UPSTREAM).ok(),
        hosts: std::fs::read_to_string("/etc/hosts").unwrap_or_default(),
    }
}
