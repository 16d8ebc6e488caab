//! `rbuild compose watch`: changes of files brought into services while they run.
//!
//! ```text
//! inotify --Tree--> batch of paths --rules::todo--> per service: rebuild, or copy, restart, run
//! ```
//!
//! Files are written and removed in the container's own tree from outside: no program in the image is needed.

mod rules;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rbuild_confined::Owner;
use rbuild_engine::projects::{
    AfterFailure, Halt, Happening, HookPlace, Member, Turn, Wanted, Watcher, Work,
};
use rbuild_frontend::ignore::{Ignore, text_of};
use rbuild_model::digest::ImageId;
use rbuild_model::project::{Hook, MountKind, Project as Model, Service, ServiceName, WatchAction};
use rustix::fs::FlockOperation;

pub(super) use self::rules::Watched;
use self::rules::{Todo, todo};
use self::tree::Tree;
use super::board::Board;
use super::life::{self, Turning};
use super::look::is_numbered;
use super::making::{self, Manner};
use super::project::{Handle, Selection, Source, VERSION, meant};
use super::remote;
use crate::cli::compose::Project;
use crate::cli::compose::reach::Watch;
use crate::cli::compose::up::Making;
use crate::commands::{Context, Outcome, copy};
use crate::flags::Mode;
use crate::report::{self, Mistake, Status};
use crate::wiring::AtSignal;

/// So many changes in one batch are worth a remark.
const MANY: usize = 1000;

/// A project that is watched.
pub(super) struct Watching<'a> {
    pub(super) handle: &'a Handle,
    pub(super) project: &'a Project,
    /// Whether nothing is told of builds.
    pub(super) quiet: bool,
    /// Whether images go that nothing names any more.
    pub(super) prune: bool,
    pub(super) context: &'a Context,
    pub(super) rules: Vec<Watched>,
    /// What stands before each line, to tell it from what services write.
    pub(super) mark: &'static str,
}

pub(super) fn run(project: &Project, arguments: &Watch, context: &Context) -> Outcome {
    let meant = meant(project, &arguments.services, Source::Files, context)?;
    remote::agreed(&meant, making::mode(arguments.yes), context)?;
    let rules = rules(&meant.model, &arguments.services, context)?;
    // Nothing is left half done by an end at any moment, so the first signal is enough.
    let workshop = crate::wiring::project_attended(context, "rbuild compose watch", |_, _| AtSignal::Ends)?;
    let crate::wiring::Workshop { engine, halt, cancel, home } = workshop;
    let handle = Handle { meant, engine, halt, cancel, home };
    let (quiet, prune) = (arguments.quiet, arguments.prune);
    let watching = Watching { handle: &handle, project, quiet, prune, context, rules, mark: "" };
    if project.dry_run {
        context.terminal.tell(&format!("DRY-RUN MODE - watch {} rules\n", watching.rules.len()));
        return Ok(Status::Done);
    }
    let _alone = watching.alone()?;
    if !arguments.no_up {
        watching.make(&arguments.services, Mode::On)?;
    }
    watching.go_on(&handle.halt)?;
    Ok(Status::Interrupted)
}

/// Reads the rules of those services that are named, or of all; there has to be one.
pub(super) fn rules(model: &Model, named: &[String], context: &Context) -> anyhow::Result<Vec<Watched>> {
    let is_meant =
        |service: &&Service| named.is_empty() || named.iter().any(|name| name == service.name.as_str());
    let mut rules = Vec::new();
    for service in model.services.values().filter(is_meant) {
        rules.extend(rules_of(service, context)?);
    }
    if rules.is_empty() {
        let why =
            "none of the selected services is configured for watch, consider setting a 'develop' section";
        return Err(Mistake::new(why).into());
    }
    Ok(rules)
}

/// Reads the rules of a service.
fn rules_of(service: &Service, context: &Context) -> anyhow::Result<Vec<Watched>> {
    let mut watched = Vec::new();
    let ignored = service.build.as_ref().map(|build| context_ignore(&build.context)).transpose()?.flatten();
    for rule in &service.watch {
        let mut rule = rule.clone();
        if rule.action == WatchAction::Rebuild && service.build.is_none() {
            return Err(Mistake::new(format!(
                "can't watch service \"{}\" with action rebuild without a build context",
                service.name
            ))
            .into());
        }
        if let Ok(real) = std::fs::canonicalize(&rule.path) {
            rule.path = real;
        } else if !rule.path.parent().is_some_and(Path::is_dir) {
            context.terminal.tell(&format!(
                "warning: path `{}` of service {} is not there and is not watched\n",
                rule.path.display(),
                service.name
            ));
            continue;
        }
        let path = rule.path.clone();
        let one = Watched::new(service.name.clone(), rule, ignored.clone())
            .map_err(|error| Mistake::new(format!("services.{}.develop.watch: {error}", service.name)))?;
        if one.syncs() && is_mounted(service, &path) {
            context.terminal.tell(&format!(
                "warning: path '{}' also declared by a bind mount volume, this path won't be monitored!\n",
                path.display()
            ));
            continue;
        }
        watched.push(one);
    }
    Ok(watched)
}

/// Whether a path is in the containers by a bind mount anyway.
fn is_mounted(service: &Service, path: &Path) -> bool {
    service.volumes.iter().any(|mount| match &mount.kind {
        MountKind::Bind { source, .. } => path.starts_with(source),
        _ => false,
    })
}

/// Reads the ignore file of a build context that is a folder.
fn context_ignore(folder: &str) -> anyhow::Result<Option<(PathBuf, Ignore)>> {
    let Ok(folder) = std::fs::canonicalize(folder) else { return Ok(None) };
    let path = folder.join(".dockerignore");
    match std::fs::read(&path) {
        Ok(bytes) => {
            let ignore = Ignore::parse(&text_of(&bytes))
                .map_err(|error| Mistake::new(format!("{}: {error}", path.display())))?;
            Ok(Some((folder, ignore)))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("failed to read `{}`", path.display())),
    }
}

impl Watching<'_> {
    /// Makes sure that nobody else watches the project.
    pub(super) fn alone(&self) -> anyhow::Result<File> {
        let name = &self.handle.meant.name;
        let path = self.handle.home.store.layout().run().join(format!("watch-{name}.lock"));
        let file = File::options().write(true).create(true).truncate(false).open(&path);
        let file = file.with_context(|| format!("failed to open `{}`", path.display()))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                Err(Mistake::new(format!("cannot take exclusive lock for project \"{name}\""))
                    .hint("another `rbuild compose watch` of this project is at work")
                    .into())
            }
            Err(errno) => Err(errno).with_context(|| format!("failed to lock `{}`", path.display())),
        }
    }

    /// Watches until a wish to stop is made.
    pub(super) fn go_on(&self, halt: &Halt) -> anyhow::Result<()> {
        let tops: BTreeSet<PathBuf> = self.rules.iter().map(|watched| watched.rule.path.clone()).collect();
        let skips = |folder: &Path| {
            let mut covering = self.rules.iter().filter(|one| folder.starts_with(&one.rule.path)).peekable();
            covering.peek().is_some() && covering.all(|watched| watched.skips(folder))
        };
        // Watched before what is there is copied: what changes meanwhile is copied once more.
        let mut tree = Tree::new(tops.into_iter().collect(), skips).context("failed to watch for changes")?;
        self.first_copies()?;
        self.say("Watch enabled")?;
        while let Some(changed) = tree.batch(halt).context("failed to watch for changes")? {
            for (service, todo) in todo(&self.rules, &changed) {
                // What fails once may go well after the next change.
                if let Err(error) = self.act(service, &todo) {
                    report::tell(&error, self.context.terminal);
                }
            }
        }
        self.say("Watch disabled")
    }

    /// Copies what rules want copied before anything has changed.
    fn first_copies(&self) -> anyhow::Result<()> {
        for watched in self.rules.iter().filter(|watched| watched.rule.initial_sync && watched.syncs()) {
            let mut paths = BTreeSet::new();
            let mut open = vec![watched.rule.path.clone()];
            while let Some(path) = open.pop() {
                if path.is_dir() && !path.is_symlink() && !watched.skips(&path) {
                    let entries = std::fs::read_dir(&path)
                        .with_context(|| format!("failed to list `{}`", path.display()))?;
                    open.extend(entries.flatten().map(|entry| entry.path()));
                } else {
                    paths.insert(path);
                }
            }
            for (service, todo) in todo(std::slice::from_ref(watched), &paths) {
                self.act(service, &Todo { sync: todo.sync, ..Todo::default() })?;
            }
        }
        Ok(())
    }

    fn act(&self, service: &ServiceName, todo: &Todo<'_>) -> anyhow::Result<()> {
        if todo.rebuild {
            return self.rebuild(service);
        }
        let members = self.members(service)?;
        if !todo.sync.is_empty() {
            let count = todo.sync.len();
            if count > MANY {
                self.context.terminal.tell(&format!(
                    "warning: {count} changes of service {service} are copied at once: `ignore` leaves files out\n"
                ));
            }
            self.say(&format!("Syncing service \"{service}\" after {count} changes were detected"))?;
            for member in &members {
                self.copy(member, &todo.sync)?;
            }
        }
        if todo.restart {
            self.restart(service)?;
        } else if !todo.hooks.is_empty() {
            let hooks: Vec<Hook> = todo.hooks.iter().copied().cloned().collect();
            for member in &members {
                self.run_hooks(member, service, &hooks)?;
            }
        }
        Ok(())
    }

    /// Returns the containers of a service that run.
    fn members(&self, service: &ServiceName) -> anyhow::Result<Vec<Member>> {
        let mut members = self.handle.selected(&Selection::of(&[service.to_string()]))?;
        members.retain(is_numbered);
        Ok(members)
    }

    /// Makes a container's files what ours are.
    fn copy(&self, member: &Member, changes: &BTreeMap<PathBuf, BTreeSet<String>>) -> anyhow::Result<()> {
        let (engine, definition) = (&self.handle.engine, &member.definition);
        let owner = engine.owner_inside(definition)?.unwrap_or(Owner::new(0, 0));
        for (path, targets) in changes {
            let kind = std::fs::symlink_metadata(path).map(|meta| meta.file_type());
            for target in targets {
                match &kind {
                    Err(_) => engine.remove_path(definition, target)?,
                    Ok(kind) if kind.is_dir() => engine.make_folder(definition, target, Some(owner))?,
                    Ok(_) => {
                        let target = Path::new(target);
                        let folder = target.parent().unwrap_or(Path::new("/")).to_string_lossy();
                        let name = target.file_name().map(PathBuf::from).unwrap_or_default();
                        engine.make_folder(definition, &folder, Some(owner))?;
                        match copy::place(engine, path, definition, &folder, &name, owner) {
                            // It went again; the next batch knows.
                            Err(_) if !path.exists() => {}
                            placed => placed?,
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn rebuild(&self, service: &ServiceName) -> anyhow::Result<()> {
        self.say(&format!("Rebuilding service(s) [\"{service}\"] after changes were detected..."))?;
        let before: BTreeSet<ImageId> =
            self.members(service)?.iter().map(|member| member.definition.image.id).collect();
        self.make(&[service.to_string()], Mode::Off)?;
        if self.prune {
            let images = &self.handle.home.images;
            for id in before {
                if images.get(id)?.is_some_and(|image| image.tags.is_empty()) {
                    // One that something still needs stays.
                    let _ = images.remove(&id.to_string(), &self.handle.engine);
                }
            }
        }
        self.say(&format!("service(s) [\"{service}\"] successfully built"))
    }

    /// Builds and makes services, with what they depend on or without.
    fn make(&self, services: &[String], dependencies: Mode) -> anyhow::Result<()> {
        let (handle, project, context) = (self.handle, self.project, self.context);
        let board = Board::new(project, context);
        let making = Making { build: true, ..Making::default() };
        let mut wanted = making::wanted(&making, services, &handle.meant, context)?;
        wanted.dependencies = making::dependencies(dependencies == Mode::Off);
        let manner = Manner { quiet_build: self.quiet, ..Manner::plain() };
        let made = making::prepare(handle, project, &making, wanted, manner, &board, context)?;
        let Some(prepared) = made else { return Ok(()) };
        let after = AfterFailure::Stop;
        let carried =
            making::carry_out(handle, project, &prepared, manner, after, &handle.halt, &board, context)?;
        board.leave();
        making::failed(&handle.meant, &prepared, carried, context)
    }

    /// Starts anew what runs of a service, when it is our turn.
    fn restart(&self, service: &ServiceName) -> anyhow::Result<()> {
        let (handle, project, context) = (self.handle, self.project, self.context);
        let board = Board::new(project, context).of_restart();
        let Some(hold) = life::hold(handle, project, &board)? else { return Ok(()) };
        // Looked at now: whose turn it was may have made them anew, or taken them away.
        let members = self.members(service)?;
        if members.is_empty() {
            return Ok(());
        }
        let (manner, after_failure) = (Manner::plain(), AfterFailure::Stop);
        let wanted = Wanted::default();
        let turning =
            Turning { handle, project, members, turn: Turn::Restart, wanted, manner, after_failure };
        let mut prepared = turning.prepare()?;
        prepared.hold = Some(hold);
        match life::carried(handle, project, &prepared, manner, after_failure, &board, context)? {
            Status::Done => self.say(&format!("service(s) [\"{service}\"] restarted")),
            // Somebody has cancelled.
            _ => Ok(()),
        }
    }

    fn run_hooks(&self, member: &Member, service: &ServiceName, hooks: &[Hook]) -> anyhow::Result<()> {
        let handle = self.handle;
        let wanted = Wanted::default();
        let work = Work {
            project: &handle.meant.model,
            members: std::slice::from_ref(member),
            wanted: &wanted,
            profiles: &BTreeMap::new(),
            haste: Manner::plain().haste,
            parallel: None,
            after_failure: AfterFailure::Stop,
            ready_within: None,
            halt: &handle.halt,
            hold: None,
            version: VERSION,
        };
        let heard = Heard { board: Board::new(self.project, self.context), context: self.context };
        handle.engine.run_hooks(work, &member.definition, service.as_str(), hooks, &heard)?;
        Ok(())
    }

    fn say(&self, text: &str) -> anyhow::Result<()> {
        Ok(self.context.terminal.print(&format!("{}{text}\n", self.mark))?)
    }
}

/// Shows what is written by what runs after a copy.
struct Heard<'a> {
    board: Board,
    context: &'a Context,
}

impl Watcher for Heard<'_> {
    fn happened(&self, happening: Happening) {
        self.board.happened(happening);
    }

    fn said(&self, _: &HookPlace, output: &[u8]) {
        // Where nobody reads any more, the next line of ours fails and says so.
        let _ = self.context.terminal.print(&String::from_utf8_lossy(output));
    }
}
