//! `rbuild compose run`: one program in a new container of a service.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::{self, IsTerminal as _};

use anyhow::Context as _;
use rbuild_engine::Engine;
use rbuild_engine::containers::{CreateRequest, RemoveOptions, Start};
use rbuild_engine::projects::labels::Aliases;
use rbuild_engine::projects::{AfterFailure, OneOff, Work};
use rbuild_frontend::compose::env_file;
use rbuild_model::container::{Definition, Removal, RestartPolicy};
use rbuild_model::project::Service;
use rbuild_monitor::Attach;
use rbuild_sandbox::capabilities::canonical;

use super::board::Board;
use super::making::{self, Manner};
use super::places::placed;
use super::project::{Handle, Meant, Source, VERSION, meant};
use super::{images_needed, providers, remote};
use crate::cli::compose::Project;
use crate::cli::compose::run::Run;
use crate::cli::compose::up::Making;
use crate::commands::create::{anchored, bindings, environment, mount_request};
use crate::commands::{Context, Outcome};
use crate::flags::{self, DetachKeys, Mode, MountKind};
use crate::report::{self, Findings, Mistake, Status};
use crate::text;
use crate::wiring::{Attendance, Touch};

/// Runs the verb.
pub(super) fn run(project: &Project, run: &Run, context: &Context) -> Outcome {
    let (name, argv) = words(&run.command)?;
    if run.service_ports && !run.publish.is_empty() {
        return Err(Mistake::new("--service-ports and --publish are incompatible").into());
    }
    if run.tty && run.no_tty == Some(true) {
        return Err(Mistake::new("--tty and --no-TTY can't be used together").into());
    }
    let mut meant = meant(project, std::slice::from_ref(&name), Source::Files, context)?;
    remote::agreed(&meant, making::mode(run.yes), context)?;
    let targets = images_needed::names(&meant.model, std::slice::from_ref(&name));
    let dependencies = making::dependencies(run.no_deps);
    providers::provide(&mut meant, &targets, dependencies, project, context)?;
    let service = meant.model.services.get(name.as_str());
    let Some(service) = service.cloned() else {
        return Err(Mistake::new(format!("no such service: {name}")).into());
    };
    let service = changed(service, run, argv, &mut meant, context)?;
    let streams = Streams::of(run)?;
    // Before any thread is begun: what comes later is attended by it.
    let attendance = Attendance::prepare()?;
    let workshop = crate::wiring::project_unwatched(context, "rbuild compose run")?;
    let handle = Handle::with(meant, workshop);
    let quiet = run.quiet;
    let board = Board::new(project, context).quiet(quiet);
    let making = Making {
        build: run.build,
        pull: run.pull,
        quiet_pull: run.quiet_pull,
        remove_orphans: run.remove_orphans,
        ..Making::default()
    };
    let mut wanted = making::wanted(&making, &[], &handle.meant, context)?;
    wanted.targets = BTreeSet::from([service.name.clone()]);
    wanted.one_off = Some(service.name.clone());
    wanted.dependencies = making::dependencies(run.no_deps);
    let manner = Manner { quiet_build: run.quiet_build || quiet, ..Manner::plain() };
    let made = making::prepare(&handle, project, &making, wanted, manner, &board, context);
    let Some(prepared) = made? else { return Ok(Status::Interrupted) };
    if project.dry_run {
        making::print(&prepared.plan, context)?;
        context.terminal.print(&format!("run one container of {}: asked for\n", service.name))?;
        return Ok(Status::Done);
    }
    let (after, halt) = (AfterFailure::Stop, &handle.halt);
    let carried = making::carry_out(&handle, project, &prepared, manner, after, halt, &board, context)?;
    making::failed(&handle.meant, &prepared, carried, context)?;
    board.leave();
    let work = Work {
        project: &handle.meant.model,
        members: &prepared.members,
        wanted: &prepared.wanted,
        profiles: &prepared.profiles,
        haste: manner.haste,
        parallel: None,
        after_failure: after,
        ready_within: None,
        halt,
        hold: None,
        version: VERSION,
    };
    let members = handle.members()?;
    let work = Work { members: &members, ..work };
    let definition = make(&handle, work, &service, run, &streams)?;
    let outcome = if run.detach {
        detached(&handle, work, &service, &definition, context)
    } else {
        attached(&handle, work, &service, &definition, &streams, attendance, context)
    };
    outcome.inspect_err(|_| {
        if run.rm {
            // The error that is told is the first.
            let _ = handle.engine.discard_unstarted(&definition);
        }
    })
}

/// Divides the words behind the flags into the service and what is run in it.
fn words(words: &[OsString]) -> anyhow::Result<(String, Vec<String>)> {
    let text = |word: &OsString| {
        let text = word.to_str().map(str::to_owned);
        text.ok_or_else(|| Mistake::new(format!("{} is not UTF-8 text", word.to_string_lossy())))
    };
    let mut all = words.iter().map(text).collect::<Result<Vec<String>, _>>()?;
    let argv = all.split_off(1.min(all.len()));
    let name = all.pop().ok_or_else(|| Mistake::new("no service is named"))?;
    Ok((name, argv))
}

/// Returns the service as it is for this one container.
fn changed(
    mut service: Service,
    run: &Run,
    argv: Vec<String>,
    meant: &mut Meant,
    context: &Context,
) -> anyhow::Result<Service> {
    let settings = &context.settings;
    service.restart = None;
    service.deploy.iter_mut().for_each(|deploy| deploy.restart_policy = None);
    service.replicas = 1;
    if !run.service_ports {
        service.ports.clear();
    }
    if let Some(entrypoint) = &run.entrypoint {
        let words = if entrypoint.is_empty() { Vec::new() } else { split(entrypoint)? };
        service.entrypoint = Some(words);
        service.command = Some(Vec::new());
    }
    if !argv.is_empty() {
        service.command = Some(argv);
    }
    if let Some(user) = &run.user {
        service.user = Some(user.clone());
    }
    if let Some(folder) = &run.workdir {
        service.working_dir = Some(folder.clone());
    }
    for text in &run.label {
        let (name, value) = flags::label(text).map_err(|error| mistaken("label", text, error))?;
        service.labels.insert(name, value);
    }
    let entries =
        run.env.iter().map(|text| flags::env_entry(text).map_err(|error| mistaken("env", text, error)));
    let entries = entries.collect::<anyhow::Result<Vec<_>>>()?;
    service.environment.extend(variables(&run.env_from_file, environment(&[], entries, settings)?)?);
    for (given, list, other) in [(&run.cap_add, true, "cap-add"), (&run.cap_drop, false, "cap-drop")] {
        for text in given {
            let capability = flags::capability(text).map_err(|error| mistaken(other, text, error))?;
            let (to, from) = match list {
                true => (&mut service.cap_add, &mut service.cap_drop),
                false => (&mut service.cap_drop, &mut service.cap_add),
            };
            from.retain(|known| canonical(known) != capability);
            to.push(capability);
        }
    }
    // Others look the service up by its name: they see the one that is meant here.
    meant.model.services.insert(service.name.clone(), service.clone());
    Ok(service)
}

/// Returns the variables of flags, and behind them those of files in the grammar of `.env`, as the peer has it: a flag counts before
/// all files, a file before those behind it, and values in files are made of what is known by then, never of this machine's.
fn variables(files: &[String], flags: Vec<String>) -> anyhow::Result<BTreeMap<String, Option<String>>> {
    let mut known: BTreeMap<String, String> = flags
        .into_iter()
        .map(|entry| match entry.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (entry, String::new()),
        })
        .collect();
    for file in files {
        let failed = || format!("failed to read `--env-from-file {file}`");
        let text = std::fs::read_to_string(file).with_context(failed)?;
        let source = rbuild_model::span::Source::new(file.as_str(), text);
        let read = env_file(&source, &|name| known.get(name).cloned());
        for (name, value) in read.map_err(|error| anyhow::Error::from(Findings::from(error)))? {
            known.entry(name).or_insert(value);
        }
    }
    Ok(known.into_iter().map(|(name, value)| (name, Some(value))).collect())
}

fn mistaken(flag: &str, text: &str, error: impl std::fmt::Display) -> anyhow::Error {
    Mistake::new(format!("`--{flag} {text}`: {error}")).into()
}

/// Divides a text into words as a shell does.
fn split(text: &str) -> anyhow::Result<Vec<String>> {
    rbuild_frontend::compose::words(text)
        .map_err(|error| Mistake::new(format!("`--entrypoint {text}`: {error}")).into())
}

/// Which of its streams are attached.
#[derive(Clone, Copy, Debug)]
struct Streams {
    tty: bool,
    stdin: bool,
}

impl Streams {
    /// A container in the background has them as well: who attaches later finds its program waiting.
    fn of(run: &Run) -> anyhow::Result<Self> {
        let stdin = run.interactive.unwrap_or(true);
        let is_asked_for = run.tty || run.no_tty == Some(false);
        if is_asked_for && stdin && !io::stdin().is_terminal() {
            return Err(Mistake::new(
                "cannot attach stdin to a TTY-enabled container because stdin is not a terminal",
            )
            .into());
        }
        let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        Ok(Self { tty: is_asked_for || (is_terminal && run.no_tty.is_none()), stdin })
    }
}

/// Makes the container.
fn make(
    handle: &Handle,
    work: Work<'_>,
    service: &Service,
    run: &Run,
    streams: &Streams,
) -> anyhow::Result<Definition> {
    let slug = format!("{}{}", rbuild_store::UniqueId::random()?, rbuild_store::UniqueId::random()?);
    let name = match &run.name {
        Some(name) => name.clone(),
        None => {
            let separator = handle.meant.model.separator;
            format!(
                "{}{separator}{}{separator}run{separator}{}",
                handle.meant.name,
                service.name,
                &slug[..12]
            )
        }
    };
    let mut ports = Vec::new();
    for text in &run.publish {
        let published = flags::publish(text).map_err(|error| mistaken("publish", text, error))?;
        bindings(&published, &mut ports);
    }
    let here = std::env::current_dir().context("failed to find the current folder")?;
    let mut mounts = Vec::new();
    for text in &run.volume {
        let mut mount =
            anchored(flags::volume(text).map_err(|error| mistaken("volume", text, error))?, &here)?;
        // A volume of the project is meant by its key.
        if let MountKind::Volume { name: Some(name), .. } = &mut mount.kind
            && let Some(volume) = handle.meant.model.volumes.get(name.as_str())
        {
            name.clone_from(&volume.name);
        }
        mounts.push(mount_request(&mount));
    }
    let adjust = |request: &mut CreateRequest| {
        request.mounts.retain(|known| !mounts.iter().any(|mount| mount.target == known.target));
        request.mounts.append(&mut mounts);
        request.exposed.extend(ports.iter().map(|port| format!("{}/{}", port.port, port.protocol.word())));
        request.host.ports.append(&mut ports);
        request.host.restart = RestartPolicy::No;
        request.host.removal = if run.rm { Removal::Auto } else { Removal::Keep };
        request.streams.tty = streams.tty;
        request.streams.open_stdin = streams.stdin;
        request.streams.stdin_once = streams.stdin;
        request.streams.attached = [streams.stdin, true, true];
        if streams.tty {
            request.streams.size = Some(crate::wiring::window()).filter(|(columns, _)| *columns > 0);
        }
    };
    let aliases = if run.use_aliases { Aliases::Service } else { Aliases::Own };
    let one = OneOff { service, name: &name, slug: &slug, aliases };
    Ok(handle.engine.make_one_off(work, one, adjust)?)
}

/// Starts it, and prints its id.
fn detached(
    handle: &Handle,
    work: Work<'_>,
    service: &Service,
    definition: &Definition,
    context: &Context,
) -> Outcome {
    if let Start::Started(notes) = handle.engine.start(definition)? {
        for note in notes {
            context.terminal.tell(&format!("note: {}\n", text::one_line(&note)));
        }
    }
    run_hooks(handle, work, definition, service)
        .inspect_err(|_| remove_unattended(&handle.engine, definition))?;
    context.terminal.print(&format!("{}\n", definition.id))?;
    Ok(Status::Done)
}

/// Runs what is run beside the program after its start.
fn run_hooks(
    handle: &Handle,
    work: Work<'_>,
    definition: &Definition,
    service: &Service,
) -> anyhow::Result<()> {
    let (name, silent) = (service.name.as_str(), rbuild_engine::projects::Unwatched);
    let ran = handle.engine.run_hooks(work, definition, name, &service.post_start, &silent);
    ran.map_err(|error| {
        let keys = ["services", name].map(str::to_owned).into_iter().chain(error.keys());
        placed(&handle.meant, &keys.collect::<Vec<_>>(), error)
    })
}

/// Removes a container whose hook failed: it is not left to run unattended.
fn remove_unattended(engine: &Engine, definition: &Definition) {
    let options = RemoveOptions { force: true, volumes: definition.host.removal == Removal::Auto };
    // The error that is told is the hook's.
    let _ = engine.remove(&definition.id.to_string(), options);
}

/// Runs it in the foreground and returns its status.
fn attached(
    handle: &Handle,
    work: Work<'_>,
    service: &Service,
    definition: &Definition,
    streams: &Streams,
    attendance: Attendance,
    context: &Context,
) -> Outcome {
    let touch = Touch {
        streams: Attach { stdin: streams.stdin, stdout: true, stderr: true },
        detach: DetachKeys::default(),
        signals: Mode::On,
    };
    attendance.run(&handle.engine, definition, &touch, context, || {
        if service.post_start.is_empty() {
            return;
        }
        // A program that has ended already has no use for them.
        let engine = &handle.engine;
        let goes_on = || engine.observe(definition).is_ok_and(|seen| seen.state.is_active());
        if let Err(error) = run_hooks(handle, work, definition, service)
            && goes_on()
        {
            report::tell(&error, context.terminal);
            remove_unattended(engine, definition);
        }
    })
}

#[cfg(test)]
mod tests;
