//! RUN: the program, its environment, and what it sees besides its root.

use std::collections::HashMap;

use rbuild_model::graph::StepId;
use rbuild_model::mount::{
    BindMount, CacheMount, InputIndex, Mount, SecretMount, SecretTarget, SshMount, TmpfsMount,
};
use rbuild_model::span::{Diagnostic, Span};
use rbuild_model::step::{EnvVar, Exec, NetworkMode, Operation, ProxyEnv, Script, SecurityMode};

use super::options::Entitlement;
use super::scope::PROXIES;
use super::state::StageState;
use super::{path, remote};
use crate::dockerfile::device;
use crate::dockerfile::expand::{self, Environment as _, Mode};
use crate::dockerfile::heredoc;
use crate::dockerfile::instruction::run::Run;
use crate::dockerfile::instruction::{Form, Instruction};
use crate::dockerfile::mount::{self, MountError, MountKind, MountRequest};

/// Where a heredoc that is a program file is seen.
const SCRIPTS: &str = "/dev/pipes";

/// The host name of steps when nobody chooses one.
const HOSTNAME: &str = "buildkitsandbox";

/// The inputs of a step; a tree that is used twice is one input.
pub(super) struct Inputs {
    steps: Vec<StepId>,
    known: HashMap<StepId, InputIndex>,
}

impl Inputs {
    pub(super) fn new(base: StepId) -> Self {
        // The base is not shared with sources: it is worked on, they are looked at.
        Self { steps: vec![base], known: HashMap::new() }
    }

    pub(super) fn add(&mut self, step: StepId) -> InputIndex {
        let steps = &mut self.steps;
        *self.known.entry(step).or_insert_with(|| {
            steps.push(step);
            InputIndex(u32::try_from(steps.len() - 1).expect("a step has fewer than 2^32 inputs"))
        })
    }

    pub(super) fn finish(self) -> Vec<StepId> {
        self.steps
    }
}

pub(crate) fn run(run: &Run, at: &Instruction, stage: &mut StageState<'_, '_>) -> Result<(), Diagnostic> {
    let options = stage.options();
    let mut inputs = Inputs::new(stage.root);
    let mut mounts = Vec::with_capacity(run.mounts.len());
    let mut sockets = 0;
    for word in &run.mounts {
        let request = request(stage, &word.value, word.span)?;
        mounts.push(lower_mount(stage, request, &mut inputs, &mut sockets, word.span)?);
    }
    let (command, script) = command(run, at, stage);
    if let Some(script) = &script
        && script.name.contains('/')
    {
        let message = format!("a heredoc's name is a file name and holds no slash: {:?}", script.name);
        return Err(stage.error(run.command.span, message));
    }
    let argv =
        if run.command.is_shell() { stage.shell().into_iter().chain(command).collect() } else { command };
    stage.spend(stage.env().size(), at.line_span)?;
    let mut env = stage.env().list();
    if let Some(socket) = mounts.iter().find_map(|mount| match mount {
        Mount::Ssh(ssh) => Some(ssh.target.clone()),
        _ => None,
    }) && stage.env().get("SSH_AUTH_SOCK").is_none()
    {
        env.push(EnvVar { name: "SSH_AUTH_SOCK".to_owned(), value: socket });
    }
    let masked: Vec<EnvVar> = mounts
        .iter()
        .filter_map(|mount| match mount {
            Mount::Secret(SecretMount { env: Some(name), .. }) => {
                Some(EnvVar { name: name.clone(), value: "****".to_owned() })
            }
            _ => None,
        })
        .collect();
    let created_by = format!("RUN {} # buildkit", history_text(stage, &argv));
    let given_hostname = options.build_args.get("BUILDKIT_SANDBOX_HOSTNAME").or(options.hostname.as_ref());
    let exec = Exec {
        argv,
        env,
        cwd: path::join("/", &stage.config.config.working_dir),
        user: stage.config.config.user.clone(),
        platform: stage.platform.clone(),
        hostname: given_hostname.cloned().unwrap_or_else(|| HOSTNAME.to_owned()),
        network: network(run, stage)?,
        security: security(run, stage)?,
        ulimits: options.ulimits.clone(),
        cgroup_parent: options.cgroup_parent.clone(),
        extra_hosts: options.extra_hosts.clone(),
        devices: devices(run, stage)?,
        shm_size: options.shm_size,
        script,
        mounts,
        proxy: proxy(&options.build_args),
    };
    let mut title = stage.title(at, &masked);
    if let Some(first) = at.heredocs.first()
        && is_only_heredoc(run, at)
    {
        title = title.before(&format!(" ({})", first.summary()));
    }
    let step = stage.add_named_step(Operation::Exec(Box::new(exec)), inputs.finish(), title);
    stage.root = step;
    stage.commit(created_by, Some(step));
    Ok(())
}

/// Tells whether the command is nothing but one heredoc, whose body is then the command.
fn is_only_heredoc(run: &Run, at: &Instruction) -> bool {
    match &run.command.form {
        Form::Shell(text) => at.heredocs.len() == 1 && matches!(heredoc::opening(text), Ok(Some(_))),
        Form::Exec(_) => false,
    }
}

fn command(run: &Run, at: &Instruction, stage: &StageState<'_, '_>) -> (Vec<String>, Option<Script>) {
    let text = match &run.command.form {
        Form::Exec(argv) => return (argv.clone(), None),
        Form::Shell(text) => text,
    };
    if is_only_heredoc(run, at) {
        let heredoc = &at.heredocs[0];
        let body = heredoc.content();
        // The text as it stands in the file decides: behind a tab that `<<-` removes, `#!` is a comment of the shell.
        if heredoc.body.starts_with("#!") && stage.platform.os != "windows" {
            let argv = vec![format!("{SCRIPTS}/{}", heredoc.name)];
            return (argv, Some(Script { name: heredoc.name.clone(), body }));
        }
        return (vec![body], None);
    }
    // The shell reads the heredocs itself, so it gets them as they were written.
    let mut whole = text.clone();
    for heredoc in &at.heredocs {
        whole.push('\n');
        whole.push_str(&heredoc.body);
        whole.push_str(&heredoc.name);
    }
    (vec![whole], None)
}

/// Returns the command as history shows it: each build argument once, where it was first declared, with its last value.
fn history_text(stage: &StageState<'_, '_>, argv: &[String]) -> String {
    let mut args: Vec<(&str, String)> = Vec::new();
    for arg in stage.args() {
        let value =
            stage.env().get(&arg.name).map(str::to_owned).or_else(|| arg.value.clone()).unwrap_or_default();
        match args.iter_mut().find(|(name, _)| *name == arg.name) {
            Some(known) => known.1 = value,
            None => args.push((&arg.name, value)),
        }
    }
    let mut words: Vec<String> = Vec::with_capacity(args.len() + argv.len() + 1);
    if !args.is_empty() {
        words.push(format!("|{}", args.len()));
        words.extend(args.into_iter().map(|(name, value)| format!("{name}={value}")));
    }
    words.extend(argv.iter().cloned());
    words.join(" ")
}

fn request(stage: &mut StageState<'_, '_>, text: &str, span: Span) -> Result<MountRequest, Diagnostic> {
    let mut failed = None;
    let request = mount::parse(
        text,
        Some(&mut |value: &str| {
            let word = crate::dockerfile::instruction::Word::new(value.to_owned(), span);
            match stage.expand(&word) {
                Ok(text) => Ok(text),
                Err(error) => {
                    failed = Some(error);
                    // The error itself says more than the placeholder can.
                    expand::expand("${", Mode::heredoc(), &()).map(|expanded| expanded.text)
                }
            }
        }),
    );
    request.map_err(|error| {
        failed.unwrap_or_else(|| {
            let mut finding = stage.error(span, error.to_string());
            finding.help = error.help();
            finding
        })
    })
}

fn lower_mount(
    stage: &mut StageState<'_, '_>,
    request: MountRequest,
    inputs: &mut Inputs,
    sockets: &mut u32,
    span: Span,
) -> Result<Mount, Diagnostic> {
    let workdir = stage.config.config.working_dir.clone();
    let absolute = |target: Option<&str>| path::join(&workdir, target.unwrap_or(""));
    let below_root = |stage: &StageState<'_, '_>, target: String| {
        if target == "/" {
            return Err(stage
                .error(span, "invalid mount target \"/\"")
                .with_help("give a `target` below `/`; without one the mount covers WORKDIR"));
        }
        Ok(target)
    };
    let source = path::join("/", request.source.as_deref().unwrap_or(""));
    let owner = (request.uid.unwrap_or(0), request.gid.unwrap_or(0));
    Ok(match request.kind {
        MountKind::Bind => {
            let tree = match &request.from {
                Some(from) => stage.tree(from),
                None => stage.context(),
            };
            Mount::Bind(BindMount {
                target: below_root(stage, absolute(request.target.as_deref()))?,
                from: inputs.add(tree.step),
                source,
                writable: request.writable.unwrap_or(false),
            })
        }
        MountKind::Cache => {
            let target = below_root(stage, absolute(request.target.as_deref()))?;
            let id = request.id.filter(|id| !id.is_empty());
            let id = id.unwrap_or_else(|| path::clean(request.target.as_deref().unwrap_or("")));
            let id = match stage.options().build_args.get("BUILDKIT_CACHE_MOUNT_NS") {
                Some(namespace) if !namespace.is_empty() => path::clean(&format!("{namespace}/{id}")),
                _ => id,
            };
            let from = request.from.as_deref().map(|from| stage.tree(from));
            Mount::Cache(CacheMount {
                target,
                id,
                sharing: request.sharing.unwrap_or_default(),
                from: from.map(|tree| inputs.add(tree.step)),
                source,
                readonly: request.writable == Some(false),
                mode: request.mode.unwrap_or(0o755),
                uid: owner.0,
                gid: owner.1,
            })
        }
        MountKind::Tmpfs => Mount::Tmpfs(TmpfsMount {
            target: below_root(stage, absolute(request.target.as_deref()))?,
            size: request.size,
        }),
        MountKind::Secret => {
            let id = request.id.or(request.source).filter(|id| !id.is_empty());
            let named =
                id.or_else(|| request.target.as_deref().map(|target| path::base_name(target).to_owned()));
            let Some(id) = named.filter(|id| !id.is_empty()) else {
                return Err(stage.error(span, MountError::NoId.to_string()));
            };
            let file = match (&request.target, &request.env) {
                (None, Some(_)) => None,
                (Some(target), _) => Some(absolute(Some(target))),
                (None, None) => Some(format!("/run/secrets/{}", path::base_name(&id))),
            };
            let target = match file {
                Some(file) => Some(SecretTarget {
                    path: below_root(stage, file)?,
                    mode: request.mode.unwrap_or(0o400),
                    uid: owner.0,
                    gid: owner.1,
                }),
                None => None,
            };
            stage.uses_secret(&id, request.required);
            Mount::Secret(SecretMount { id, target, env: request.env, required: request.required })
        }
        MountKind::Ssh => {
            let target = match request.target.as_deref() {
                Some(target) => below_root(stage, absolute(Some(target)))?,
                None => format!("/run/buildkit/ssh_agent.{sockets}"),
            };
            *sockets += 1;
            let id = request.id.filter(|id| !id.is_empty()).unwrap_or_else(|| "default".to_owned());
            stage.uses_agent(&id, request.required);
            Mount::Ssh(SshMount {
                id,
                target,
                required: request.required,
                mode: request.mode.unwrap_or(0o600),
                uid: owner.0,
                gid: owner.1,
            })
        }
    })
}

fn allowed(
    stage: &StageState<'_, '_>,
    needed: Entitlement,
    name: &str,
    span: Span,
) -> Result<(), Diagnostic> {
    if stage.options().entitlements.contains(&needed) {
        return Ok(());
    }
    Err(stage
        .error(span, format!("{name} is not allowed"))
        .with_help(format!("allow it with `--allow {name}`")))
}

fn network(run: &Run, stage: &StageState<'_, '_>) -> Result<NetworkMode, Diagnostic> {
    let Some(word) = &run.network else { return Ok(stage.options().network) };
    Ok(match word.value.as_str() {
        "none" => NetworkMode::None,
        "host" => {
            allowed(stage, Entitlement::NetworkHost, "network.host", word.span)?;
            NetworkMode::Host
        }
        _ => stage.options().network,
    })
}

fn security(run: &Run, stage: &StageState<'_, '_>) -> Result<SecurityMode, Diagnostic> {
    match &run.security {
        Some(word) if word.value == "insecure" => {
            allowed(stage, Entitlement::SecurityInsecure, "security.insecure", word.span)?;
            Ok(SecurityMode::Insecure)
        }
        _ => Ok(SecurityMode::Sandbox),
    }
}

fn devices(run: &Run, stage: &StageState<'_, '_>) -> Result<Vec<String>, Diagnostic> {
    run.devices
        .iter()
        .map(|word| {
            let request =
                device::parse(&word.value).map_err(|error| stage.error(word.span, error.to_string()))?;
            Ok(if request.required { request.name + ",required" } else { request.name })
        })
        .collect()
}

fn proxy(build_args: &std::collections::BTreeMap<String, String>) -> ProxyEnv {
    let mut variables = Vec::new();
    for name in PROXIES {
        let lower = name.to_lowercase();
        if let Some(value) = build_args.get(name).or_else(|| build_args.get(&lower)) {
            for name in [name.to_owned(), lower] {
                variables.push(EnvVar { name, value: value.clone() });
            }
        }
    }
    ProxyEnv(variables)
}

/// Tells whether an ADD source is fetched and not read from the context.
pub(super) fn is_remote(text: &str) -> bool {
    remote::is_git_url(text) || remote::is_http_url(text)
}
