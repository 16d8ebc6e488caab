//! RUN: the program, its environment, and what it sees besides its root.

use std::collections::HashMap;

use rbuild_model::graph::StepId;
use rbuild_model::mount::{InputIndex, Mount, SecretMount};
use rbuild_model::span::{Diagnostic, Span};
use rbuild_model::step::{EnvVar, Exec, NetworkMode, Operation, ProxyEnv, Script, SecurityMode};

use super::options::Entitlement;
use super::scope::PROXIES;
use super::state::StageState;
use super::{mounts, remote};
use crate::dockerfile::device;
use crate::dockerfile::expand::Environment as _;
use crate::dockerfile::heredoc;
use crate::dockerfile::instruction::run::Run;
use crate::dockerfile::instruction::{Form, Instruction};
use crate::path;

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
    let mut failed = None;
    for word in &run.mounts {
        match mounts::lower(stage, word, &mut inputs, &mut sockets) {
            Ok(mount) => mounts.push(mount),
            Err(error) => stage.also(&mut failed, error)?,
        }
    }
    if let Some(error) = failed {
        return Err(error);
    }
    let (command, script) = command(run, at, stage);
    if let Some(script) = &script
        && script.name.contains('/')
    {
        let message = format!("a heredoc's name is a file name and holds no slash: {:?}", script.name);
        return Err(stage.error(run.command.span, message));
    }
    if script.is_none() {
        refuse_nul(at, stage)?;
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
    stage.spend(created_by.len(), at.line_span)?;
    put_in_order(&mut mounts);
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

/// Puts mounts in the order in which they are made, as BuildKit has it: folders before what lies in them, however they are
/// written, and secrets and sockets last.
fn put_in_order(mounts: &mut [Mount]) {
    mounts.sort_by(|a, b| place(a).cmp(&place(b)));
}

fn place(mount: &Mount) -> (bool, Option<&str>) {
    match mount {
        Mount::Secret(_) | Mount::Ssh(_) => (true, None),
        _ => (false, mount.target()),
    }
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

/// Refuses a NUL byte in heredocs that become an argument; a script is a file, which may hold any byte.
fn refuse_nul(at: &Instruction, stage: &StageState<'_, '_>) -> Result<(), Diagnostic> {
    for heredoc in &at.heredocs {
        if let Some(found) = heredoc.body.find('\0') {
            let start = heredoc.body_span.start + found;
            let message = "the heredoc holds a NUL byte, and no program can be given one";
            return Err(stage
                .error(Span::new(start, start + 1), message)
                .with_help("take it out of the file, or write it with `printf '\\0'`"));
        }
    }
    Ok(())
}

/// Returns the command as history shows it, with the build arguments.
fn history_text(stage: &StageState<'_, '_>, argv: &[String]) -> String {
    let args = stage.args();
    let mut words: Vec<String> = Vec::with_capacity(args.len() + argv.len() + 1);
    if !args.is_empty() {
        words.push(format!("|{}", args.len()));
        words.extend(args.into_iter().map(|(name, value)| format!("{name}={value}")));
    }
    words.extend(argv.iter().cloned());
    words.join(" ")
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
