//! Services that are no containers: a program of the host provides them.
//!
//! ```text
//! PROGRAM compose metadata                                          which options it knows, if it says so
//! PROGRAM compose --project-name=NAME up|down --OPTION=VALUE SERVICE
//! ```
//!
//! The program tells what it does in lines of JSON. Variables that it sets are given to the services that depend on its
//! own, with that one's name in front; they are part of what makes those what they are.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use rbuild_engine::projects::{Dependencies, Member, selected};
use rbuild_model::digest::BlobDigest;
use rbuild_model::project::{Project as Model, Provider, Service, ServiceName};
use serde::Deserialize;

use super::board::{Board, Stage};
use super::models;
use super::project::Meant;
use crate::cli::compose::Project;
use crate::commands::Context;
use crate::report::Mistake;
use crate::text;

/// Folders of the system that programs for `docker` are in, which are not in PATH.
const PLUGINS: [&str; 4] = [
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
];

/// What a provider is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Task {
    Up,
    Down,
}

impl Task {
    const fn word(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }

    /// What is shown before it, and after it.
    const fn shown(self) -> (&'static str, &'static str) {
        match self {
            Self::Up => ("Creating", "Created"),
            Self::Down => ("Removing", "Removed"),
        }
    }
}

/// Has services and models provided that services need which are about to be made, and gives them the variables that
/// come of it.
pub(super) fn provide(
    meant: &mut Meant,
    targets: &BTreeSet<ServiceName>,
    dependencies: Dependencies,
    project: &Project,
    context: &Context,
) -> anyhow::Result<()> {
    let board = Board::new(project, context);
    let selected = selected(&meant.model, targets, dependencies);
    for name in &selected {
        let Some(provider) = meant.model.services.get(name).and_then(|service| service.provider.clone())
        else {
            continue;
        };
        if project.dry_run {
            let kind = text::one_line(&provider.kind);
            context.terminal.print(&format!("provide {name}: by {kind}\n"))?;
            continue;
        }
        let set = asked(&provider, Task::Up, name, meant.name.as_str(), &board, context)?;
        for dependent in dependents(&meant.model, name) {
            if let Some(service) = meant.model.services.get_mut(&dependent) {
                give(service, &set);
            }
            meant.provided.entry(dependent).or_default().extend(set.clone());
        }
    }
    models::provide(meant, &selected, project, &board, context)?;
    board.leave();
    Ok(())
}

/// Has taken away what was provided for services; all of them if none is named. What fails is returned when all were asked.
pub(super) fn withdraw(
    meant: &Meant,
    services: &[String],
    project: &Project,
    board: &Board,
    context: &Context,
) -> anyhow::Result<()> {
    let mut result = Ok(());
    for (name, service) in &meant.model.services {
        let is_meant = services.is_empty() || services.iter().any(|service| service == name.as_str());
        let Some(provider) = service.provider.as_ref().filter(|_| is_meant) else { continue };
        if project.dry_run {
            let kind = text::one_line(&provider.kind);
            context.terminal.print(&format!("withdraw {name}: by {kind}\n"))?;
            continue;
        }
        let asked = asked(provider, Task::Down, name, meant.name.as_str(), board, context);
        result = result.and(asked.map(drop));
    }
    result
}

/// The services that depend on another.
fn dependents(model: &Model, name: &ServiceName) -> Vec<ServiceName> {
    let needs = model.services.values().filter(|service| service.depends_on.contains_key(name));
    needs.map(|service| service.name.clone()).collect()
}

/// Gives variables to a service. What it is recognised by changes with them.
pub(super) fn give(service: &mut Service, set: &BTreeMap<String, String>) {
    if set.is_empty() {
        return;
    }
    let mut known = service.config_hash.clone();
    for (variable, value) in set {
        known.push_str(&format!("\0{variable}={value}"));
        service.environment.insert(variable.clone(), Some(value.clone()));
    }
    service.config_hash = BlobDigest::of(known.as_bytes()).hex();
}

/// What services were given, as far as it is known without asking those who provide.
pub(super) struct Recalled {
    /// The project with it.
    pub(super) model: Model,
    /// The variables.
    pub(super) provided: BTreeMap<ServiceName, BTreeMap<String, String>>,
}

/// Takes the variables that a service's containers were given the last time, where nobody is asked.
pub(super) fn recalled(meant: &Meant, members: &[Member]) -> Recalled {
    let mut recalled = Recalled { model: meant.model.clone(), provided: BTreeMap::new() };
    let provides = |service: &&Service| service.provider.is_some();
    for name in meant.model.services.values().filter(provides).map(|service| &service.name) {
        let prefix = prefix(name);
        for dependent in dependents(&meant.model, name) {
            let own = &meant.model.services[&dependent].environment;
            let mut set = before(members, &dependent);
            set.retain(|variable, _| variable.starts_with(&prefix) && !own.contains_key(variable));
            recalled.give(&dependent, set);
        }
    }
    // Behind those, as they are given.
    for service in meant.model.services.values() {
        let told = service.models.iter().flat_map(|(key, how)| models::variables(key, how));
        let mut was = before(members, &service.name);
        let set: BTreeMap<String, String> = told.filter_map(|name| was.remove_entry(&name)).collect();
        recalled.give(&service.name, set);
    }
    recalled
}

impl Recalled {
    fn give(&mut self, name: &ServiceName, set: BTreeMap<String, String>) {
        if let Some(service) = self.model.services.get_mut(name) {
            give(service, &set);
            self.provided.entry(name.clone()).or_default().extend(set);
        }
    }
}

/// The variables that the containers of a service were made with.
fn before(members: &[Member], service: &ServiceName) -> BTreeMap<String, String> {
    let member = members.iter().find(|member| member.replica.service == service.as_str());
    let origin = member.and_then(|member| member.definition.origin.as_ref());
    let was = origin.and_then(|origin| origin["environment"].as_object()).into_iter().flatten();
    was.filter_map(|(variable, value)| Some((variable.clone(), value.as_str()?.to_owned()))).collect()
}

/// What stands in front of the variables that come of a service.
fn prefix(service: &ServiceName) -> String {
    format!("{}_", service.as_str().to_uppercase())
}

/// Runs a provider, and returns the variables that it sets.
fn asked(
    provider: &Provider,
    task: Task,
    service: &ServiceName,
    project: &str,
    board: &Board,
    context: &Context,
) -> anyhow::Result<BTreeMap<String, String>> {
    let kind = &provider.kind;
    let program = program(kind, context).ok_or_else(|| {
        Mistake::new(format!("service {service}: there is no provider `{kind}`: no such program in PATH"))
            .hint(format!("install `{kind}` or `docker-{kind}`"))
    })?;
    let known = metadata(&program).map(|metadata| metadata.of(task));
    let options = options(provider, known.as_ref())?;
    let (begun, done) = task.shown();
    board.tell(service.as_str(), begun, Stage::Working);
    let mut command = Command::new(&program);
    command.arg("compose").arg(format!("--project-name={project}")).arg(task.word());
    command.args(options).arg(service.as_str());
    let failed = || format!("failed to run provider `{}`", program.display());
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().with_context(failed)?;
    let lines = BufReader::new(child.stdout.take().expect("its output is a pipe")).lines();
    let mut heard = Heard { prefix: prefix(service), ..Heard::default() };
    let read = lines.map(|line| line.with_context(failed)).try_for_each(|line| {
        if let Some(info) = heard.line(&line?)? {
            board.tell(service.as_str(), &info, Stage::Working);
        }
        anyhow::Ok(())
    });
    // Who is not listened to any more is not left behind either.
    if read.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().with_context(failed)?;
    let result = read.and_then(|()| match (heard.error.take(), status.success()) {
        (Some(error), _) => {
            Err(Mistake::new(format!("provider {kind} of service {service}: {error}")).into())
        }
        (None, false) => {
            let how = status.code().map_or_else(|| "by a signal".to_owned(), |code| format!("with {code}"));
            Err(Mistake::new(format!("provider {kind} of service {service} ended {how}")).into())
        }
        (None, true) => Ok(()),
    });
    board.tell(
        service.as_str(),
        if result.is_ok() { done } else { "Error" },
        match result {
            Ok(()) => Stage::Done,
            Err(_) => Stage::Failed,
        },
    );
    result.map(|()| heard.set)
}

/// Finds a provider's program: one that extends `docker`, else one of its own name.
fn program(kind: &str, context: &Context) -> Option<PathBuf> {
    let path = context.settings.environment.path("PATH").unwrap_or_default();
    let own = || std::env::split_paths(&path).map(|folder| folder.join(kind)).find(|place| runs(place));
    plugin(kind, context).or_else(own)
}

/// Finds a program that extends `docker`.
pub(super) fn plugin(kind: &str, context: &Context) -> Option<PathBuf> {
    let path = context.settings.environment.path("PATH").unwrap_or_default();
    let of_user = context.settings.docker_config.iter().map(|folder| folder.join("cli-plugins"));
    let folders = of_user.chain(PLUGINS.iter().map(PathBuf::from)).chain(std::env::split_paths(&path));
    folders.map(|folder| folder.join(format!("docker-{kind}"))).find(|place| runs(place))
}

/// Whether a file is a program that we may run.
fn runs(place: &Path) -> bool {
    place.is_file() && rustix::fs::access(place, rustix::fs::Access::EXEC_OK).is_ok()
}

/// What a provider says of itself.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Metadata {
    up: Known,
    down: Known,
}

/// The options that a provider knows; what it says nothing of it is given all.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Known {
    parameters: Vec<Parameter>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Parameter {
    name: String,
    required: bool,
}

impl Metadata {
    fn of(self, task: Task) -> Known {
        match task {
            Task::Up => self.up,
            Task::Down => self.down,
        }
    }
}

/// Asks a provider what it knows; many have no answer.
fn metadata(program: &PathBuf) -> Option<Metadata> {
    let output = Command::new(program).args(["compose", "metadata"]).stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| serde_json::from_slice(&output.stdout).ok())?
}

/// Writes the options of a provider: those that it knows, once for each value.
fn options(provider: &Provider, known: Option<&Known>) -> Result<Vec<String>, Mistake> {
    let parameters = known.map(|known| &known.parameters[..]).unwrap_or_default();
    let missing = parameters.iter().find(|one| one.required && !provider.options.contains_key(&one.name));
    if let Some(missing) = missing {
        let (name, kind) = (&missing.name, &provider.kind);
        let what = format!("required parameter {name:?} is missing from provider {kind:?} definition");
        return Err(Mistake::new(what));
    }
    let is_known = |name: &str| parameters.is_empty() || parameters.iter().any(|one| one.name == name);
    let options = provider.options.iter().filter(|(name, _)| is_known(name));
    Ok(options
        .flat_map(|(name, values)| values.iter().map(move |value| format!("--{name}={value}")))
        .collect())
}

/// What a provider said so far.
#[derive(Debug, Default)]
struct Heard {
    /// What stands in front of variables.
    prefix: String,
    set: BTreeMap<String, String>,
    error: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Message {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    message: String,
}

impl Heard {
    /// Hears a line; returns what people are told.
    fn line(&mut self, line: &str) -> Result<Option<String>, Mistake> {
        if line.trim().is_empty() {
            return Ok(None);
        }
        let message: Message = serde_json::from_str(line).map_err(|error| {
            Mistake::new(format!("a provider's line is no message: {}: {error}", text::one_line(line)))
        })?;
        let variable = || {
            let pair = message.message.split_once('=');
            pair.map(|(name, value)| (name.to_owned(), value.to_owned())).ok_or_else(|| {
                Mistake::new(format!("a provider sets a variable without a value: {}", text::one_line(line)))
            })
        };
        match message.kind.as_str() {
            "info" => return Ok(Some(text::one_line(&message.message))),
            "error" => drop(self.error.get_or_insert(message.message)),
            "setenv" => {
                let (name, value) = variable()?;
                self.set.insert(format!("{}{name}", self.prefix), value);
            }
            "rawsetenv" => {
                let (name, value) = variable()?;
                self.set.insert(name, value);
            }
            "debug" => {}
            other => {
                return Err(Mistake::new(format!(
                    "a provider's message is of a type that nobody knows: {other:?}"
                )));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_set_variables_and_fail() {
        let mut heard = Heard { prefix: "MY-DB_".to_owned(), ..Heard::default() };
        let info = heard.line("{\"type\":\"info\",\"message\":\"preparing\"}").expect("a message");
        assert_eq!(info.as_deref(), Some("preparing"));
        for line in [
            "{\"type\":\"setenv\",\"message\":\"URL=http://x?a=b\"}",
            "{\"type\":\"rawsetenv\",\"message\":\"TOKEN=\"}",
            "{\"type\":\"debug\",\"message\":\"quiet\"}",
            "",
        ] {
            assert_eq!(heard.line(line).expect("a message"), None, "{line}");
        }
        let set = [("MY-DB_URL", "http://x?a=b"), ("TOKEN", "")];
        assert_eq!(heard.set, set.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        heard.line("{\"type\":\"error\",\"message\":\"broke\"}").expect("a message");
        assert_eq!(heard.error.as_deref(), Some("broke"));
        for line in ["text", "{\"type\":\"setenv\",\"message\":\"X\"}", "{\"type\":\"other\"}"] {
            assert!(heard.line(line).is_err(), "{line}");
        }
    }

    #[test]
    fn only_options_that_are_known_are_given() {
        let provider = Provider {
            kind: "cloud".to_owned(),
            options: BTreeMap::from([
                ("size".to_owned(), vec!["10".to_owned()]),
                ("zone".to_owned(), vec!["a".to_owned(), "b".to_owned()]),
            ]),
        };
        let all = ["--size=10", "--zone=a", "--zone=b"];
        assert_eq!(options(&provider, None).expect("options"), all);
        let knows =
            |name: &str, required| Known { parameters: vec![Parameter { name: name.to_owned(), required }] };
        assert_eq!(options(&provider, Some(&knows("zone", true))).expect("options"), all[1..]);
        let error = options(&provider, Some(&knows("type", true))).expect_err("it is missing");
        assert_eq!(
            error.to_string(),
            "required parameter \"type\" is missing from provider \"cloud\" definition"
        );
    }
}
