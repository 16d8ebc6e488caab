//! `rbuild compose start`, `stop`, `restart`, `kill`, `rm`, `pause`, `unpause`: containers that are there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::BufRead as _;

use rbuild_engine::projects::{
    self, Activity, AfterFailure, AnonymousVolumes, Haste, Hold, Member, Operation, Orphans, Planned,
    ReplicaKind, Turn, Wanted,
};

use super::board::Board;
use super::doubts;
use super::look::is_numbered;
use super::making::{self, Manner, Prepared};
use super::places;
use super::project::{Handle, Selection, Source, dependencies};
use crate::cli::compose::Project;
use crate::cli::compose::life::{Kill, Remove, Restart, Services, Start, Stop};
use crate::commands::{Context, Outcome};
use crate::report::{Mistake, Status};

/// Opens a project for a verb about what is there, and looks that the services are known that were named.
fn open(project: &Project, services: &[String], verb: &str, context: &Context) -> anyhow::Result<Handle> {
    let handle = Handle::of(project, &[], Source::WhatIsThere, verb, context)?;
    match services.iter().find(|name| !handle.has_service(name)) {
        Some(name) => Err(Mistake::new(format!("no such service: {name}")).into()),
        None => Ok(handle),
    }
}

/// Returns the containers that a verb is about, without those of services that are gone from the project or off.
fn enabled(
    handle: &Handle,
    selection: &Selection,
    named: &[String],
    context: &Context,
) -> anyhow::Result<Vec<Member>> {
    let mut members = handle.selected(selection)?;
    if members.is_empty() {
        doubts::tell_other_name(&handle.meant, &handle.engine, context.terminal)?;
    }
    handle.keep_own(&mut members, named);
    Ok(members)
}

/// Returns the containers that a verb is about which starts some, with what is left of what runs before they start.
fn startable(handle: &Handle, selection: &Selection, named: &[String]) -> anyhow::Result<Vec<Member>> {
    let mut members = handle.selected(&selection.clone().with_one_offs())?;
    members.retain(|member| member.replica.kind != ReplicaKind::OneOff);
    handle.keep_own(&mut members, named);
    Ok(members)
}

/// Sees to it that nobody else changes the project; nothing if somebody cancelled.
pub(super) fn hold(handle: &Handle, project: &Project, board: &Board) -> anyhow::Result<Option<Hold>> {
    let hold = handle.engine.hold_of_project(&handle.meant.name);
    let tell = |text| board.note(&format!("note: project {} {text}", handle.meant.name));
    // Who only shows what would be done is in nobody's way.
    Ok((project.dry_run || hold.take(&handle.halt, &tell)?).then_some(hold))
}

/// A turn of containers that are there.
pub(super) struct Turning<'a> {
    pub(super) handle: &'a Handle,
    pub(super) project: &'a Project,
    pub(super) members: Vec<Member>,
    pub(super) turn: Turn,
    pub(super) wanted: Wanted,
    pub(super) manner: Manner,
    pub(super) after_failure: AfterFailure,
}

impl Turning<'_> {
    /// Plans the turn.
    pub(super) fn prepare(self) -> anyhow::Result<Prepared> {
        let Self { handle, members, turn, wanted, .. } = self;
        let replicas: Vec<_> = members.iter().map(|member| member.replica.clone()).collect();
        let graph = dependencies(&handle.meant, &members);
        let model = handle.meant.loaded.as_ref().map(|_| &handle.meant.model);
        let plan = projects::turn(&replicas, &graph, model, turn)?;
        let makes = |planned: &Planned| matches!(planned.operation, Operation::RunBefore(_));
        let profiles = match plan.operations.iter().any(makes) {
            true => {
                let model = &handle.meant.model;
                places::check(&handle.meant, model, &model.services.keys().cloned().collect())?
            }
            false => BTreeMap::new(),
        };
        Ok(Prepared { plan, wanted, members, profiles, hold: None })
    }

    /// Plans the turn and carries it out.
    pub(super) fn take(self, board: &Board, context: &Context) -> Outcome {
        let (handle, project, manner, after) = (self.handle, self.project, self.manner, self.after_failure);
        let prepared = self.prepare()?;
        carried(handle, project, &prepared, manner, after, board, context)
    }
}

/// Carries a plan out and says how that ended.
pub(super) fn carried(
    handle: &Handle,
    project: &Project,
    prepared: &Prepared,
    manner: Manner,
    after: AfterFailure,
    board: &Board,
    context: &Context,
) -> Outcome {
    if project.dry_run {
        making::print(&prepared.plan, context)?;
        return Ok(Status::Done);
    }
    let carried = making::carry_out(handle, project, prepared, manner, after, &handle.halt, board, context)?;
    making::failed(&handle.meant, prepared, carried, context)?;
    Ok(if handle.halt.is_made() { Status::Interrupted } else { Status::Done })
}

/// Stops services; those that depend on them, and those that they depend on, are left as they are.
pub(super) fn stop(project: &Project, stop: &Stop, context: &Context) -> Outcome {
    let handle = open(project, &stop.services, "stop", context)?;
    let members = enabled(&handle, &Selection::of(&stop.services).with_stopped(), &stop.services, context)?;
    let turning = Turning {
        handle: &handle,
        project,
        members,
        turn: Turn::Stop,
        wanted: Wanted { timeout: making::timeout(stop.timeout), ..Wanted::default() },
        manner: Manner::plain(),
        after_failure: AfterFailure::GoOn,
    };
    turning.take(&Board::new(project, context), context)
}

/// Starts services, with what they depend on.
pub(super) fn start(project: &Project, start: &Start, context: &Context) -> Outcome {
    let handle = open(project, &start.services, "start", context)?;
    let board = Board::new(project, context);
    let Some(hold) = hold(&handle, project, &board)? else { return Ok(Status::Interrupted) };
    let members = handle.members()?;
    if members.is_empty() && handle.meant.loaded.is_none() {
        return Err(Mistake::new(format!("no container found for project {:?}", handle.meant.name.as_str()))
            .hint("`rbuild compose ls -a` lists what there is")
            .into());
    }
    let graph = dependencies(&handle.meant, &members);
    let named = with_dependencies(&start.services, &graph);
    let selection = Selection { services: named.clone(), ..Selection::default() }.with_stopped();
    let members = startable(&handle, &selection, &start.services)?;
    let counts = |member: &&Member| member.replica.kind == ReplicaKind::Numbered;
    let has = |name: &str| members.iter().filter(counts).any(|member| member.replica.service == name);
    let wanted_services: Vec<&str> = match (start.services.is_empty(), handle.meant.loaded.is_some()) {
        (true, true) => handle.meant.model.services.keys().map(|name| name.as_str()).collect(),
        (true, false) => Vec::new(),
        (false, _) => named.iter().map(String::as_str).collect(),
    };
    let model = &handle.meant.model;
    let needs_one = |name: &&&str| {
        model.services.get(**name).is_none_or(|service| service.replicas > 0 && service.provider.is_none())
    };
    if let Some(name) = wanted_services.iter().filter(needs_one).find(|name| !has(name)) {
        return Err(Mistake::new(format!("service {name:?} has no container to start"))
            .hint("make it with `rbuild compose up` or `rbuild compose create`")
            .into());
    }
    let ready_within = making::timeout(start.wait_timeout.filter(|seconds| *seconds > 0));
    let manner = Manner { ready_within, ..Manner::plain() };
    let turning = Turning {
        handle: &handle,
        project,
        members,
        turn: Turn::Start,
        wanted: Wanted::default(),
        manner,
        after_failure: AfterFailure::Stop,
    };
    let mut prepared = turning.prepare()?;
    prepared.hold = Some(hold);
    if start.wait {
        let services = wanted_services.iter().filter_map(|name| model.services.get_key_value(*name));
        projects::ready(&mut prepared.plan, services.map(|(name, _)| name.clone()));
    }
    carried(&handle, project, &prepared, manner, AfterFailure::Stop, &board, context)
}

/// Returns services with all that they depend on; nothing, which means all, if none is named.
fn with_dependencies(
    services: &[String],
    graph: &std::collections::BTreeMap<String, BTreeSet<String>>,
) -> BTreeSet<String> {
    let mut named: BTreeSet<String> = services.iter().cloned().collect();
    let mut open: Vec<String> = services.to_vec();
    while let Some(name) = open.pop() {
        for need in graph.get(&name).into_iter().flatten() {
            if named.insert(need.clone()) {
                open.push(need.clone());
            }
        }
    }
    named
}

/// Stops services and starts them, with those that restart with them.
pub(super) fn restart(project: &Project, restart: &Restart, context: &Context) -> Outcome {
    let handle = open(project, &restart.services, "restart", context)?;
    let board = Board::new(project, context).of_restart();
    let Some(hold) = hold(&handle, project, &board)? else { return Ok(Status::Interrupted) };
    let mut selection = Selection::of(&restart.services).with_stopped();
    if !restart.no_deps && !restart.services.is_empty() {
        let mut open: Vec<String> = restart.services.clone();
        while let Some(name) = open.pop() {
            for service in handle.meant.model.services.values() {
                let follows =
                    service.depends_on.get(name.as_str()).is_some_and(|dependency| dependency.restart);
                if follows && selection.services.insert(service.name.to_string()) {
                    open.push(service.name.to_string());
                }
            }
        }
    }
    let members = startable(&handle, &selection, &restart.services)?;
    let manner = Manner::plain();
    let turning = Turning {
        handle: &handle,
        project,
        members,
        turn: Turn::Restart,
        wanted: Wanted { timeout: making::timeout(restart.timeout), ..Wanted::default() },
        manner,
        after_failure: AfterFailure::Stop,
    };
    let mut prepared = turning.prepare()?;
    prepared.hold = Some(hold);
    carried(&handle, project, &prepared, manner, AfterFailure::Stop, &board, context)
}

/// Sends a signal.
pub(super) fn kill(project: &Project, kill: &Kill, context: &Context) -> Outcome {
    let handle = open(project, &kill.services, "kill", context)?;
    let board = Board::new(project, context);
    let selection = Selection::of(&kill.services).with_one_offs();
    let mut members = enabled(&handle, &selection, &kill.services, context)?;
    if kill.remove_orphans {
        let others = orphans(&handle)?.into_iter();
        let known: BTreeSet<_> = members.iter().map(|member| member.replica.id).collect();
        members.extend(others.filter(|member| !known.contains(&member.replica.id)));
    }
    if members.is_empty() {
        context.terminal.tell("No container to kill\n");
    }
    let turning = Turning {
        handle: &handle,
        project,
        members,
        turn: Turn::Kill(kill.signal),
        wanted: Wanted::default(),
        manner: Manner::plain(),
        after_failure: AfterFailure::GoOn,
    };
    let status = turning.take(&board, context)?;
    if kill.remove_orphans && status == Status::Done {
        return remove_orphans(&handle, project, &board, context);
    }
    Ok(status)
}

/// Returns the containers of services that are gone from the project.
fn orphans(handle: &Handle) -> anyhow::Result<Vec<Member>> {
    let mut members = handle.members()?;
    members.retain(|member| !handle.has_service(&member.replica.service));
    Ok(members)
}

/// Removes containers of services that are gone from the project. They have had their signal: who is up after it is stopped.
fn remove_orphans(handle: &Handle, project: &Project, board: &Board, context: &Context) -> Outcome {
    let members = orphans(handle)?;
    let wish = projects::Down {
        replicas: members.iter().map(|member| member.replica.clone()).collect(),
        orphans: Orphans::Remove,
        ..projects::Down::default()
    };
    let plan = projects::down(&wish)?;
    let prepared =
        Prepared { plan, wanted: Wanted::default(), members, profiles: BTreeMap::new(), hold: None };
    carried(handle, project, &prepared, Manner::plain(), AfterFailure::GoOn, board, context)
}

/// Holds containers still.
pub(super) fn pause(project: &Project, services: &Services, context: &Context) -> Outcome {
    frozen(project, services, Turn::Pause, "pause", context)
}

/// Lets containers go on.
pub(super) fn unpause(project: &Project, services: &Services, context: &Context) -> Outcome {
    frozen(project, services, Turn::Unpause, "unpause", context)
}

fn frozen(project: &Project, named: &Services, turn: Turn, verb: &str, context: &Context) -> Outcome {
    let handle = open(project, &named.services, verb, context)?;
    let members = enabled(&handle, &Selection::of(&named.services), &named.services, context)?;
    let paused = members.iter().find(|member| member.replica.activity == Activity::Paused);
    let (unfit, what) = match (turn, paused) {
        (Turn::Pause, paused) => (paused, "already paused"),
        (_, Some(_)) => (None, ""),
        (_, None) => (members.first(), "not paused"),
    };
    if let Some(member) = unfit {
        return Err(Mistake::new(format!("container {} is {what}", member.replica.name)).into());
    }
    let turning = Turning {
        handle: &handle,
        project,
        members,
        turn,
        wanted: Wanted::default(),
        manner: Manner::plain(),
        after_failure: AfterFailure::GoOn,
    };
    turning.take(&Board::new(project, context), context)
}

/// Removes containers that do not run.
pub(super) fn remove(project: &Project, remove: &Remove, context: &Context) -> Outcome {
    let handle = open(project, &remove.services, "rm", context)?;
    let board = Board::new(project, context);
    let selection = Selection::of(&remove.services).with_stopped();
    if remove.stop && !project.dry_run {
        let members = enabled(&handle, &selection, &remove.services, context)?;
        let turning = Turning {
            handle: &handle,
            project,
            members,
            turn: Turn::Stop,
            wanted: Wanted::default(),
            manner: Manner { haste: Haste::None, ..Manner::plain() },
            after_failure: AfterFailure::GoOn,
        };
        let status = turning.take(&board, context)?;
        if status != Status::Done {
            return Ok(status);
        }
    }
    let mut members = enabled(&handle, &selection.with_one_offs(), &remove.services, context)?;
    let stays = |member: &Member| !remove.stop && member.replica.activity.is_up();
    let numbered = members.iter().filter(|member| is_numbered(member) && stays(member));
    let left: BTreeSet<String> = numbered.map(|member| member.replica.service.clone()).collect();
    members.retain(|member| match member.replica.kind {
        // Where nothing is done, those that would have been stopped are removed in the same plan.
        ReplicaKind::Numbered => !stays(member),
        ReplicaKind::OneOff => false,
        // That it failed before they started counts for nobody when they are gone.
        ReplicaKind::PreStart => !member.replica.activity.is_up() && !left.contains(&member.replica.service),
    });
    if members.is_empty() {
        context.terminal.tell("No stopped containers\n");
        return Ok(Status::Done);
    }
    let names: Vec<&str> = members.iter().map(|member| member.replica.name.as_str()).collect();
    context.terminal.print(&format!("Going to remove {}\n", names.join(", ")))?;
    if !remove.force && !project.dry_run {
        context.terminal.tell("Are you sure? [yN] ");
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        if !matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
            return Ok(Status::Done);
        }
    }
    let volumes = if remove.volumes { AnonymousVolumes::Renew } else { AnonymousVolumes::Keep };
    let turning = Turning {
        handle: &handle,
        project,
        members,
        turn: Turn::Remove(volumes),
        wanted: Wanted::default(),
        manner: Manner::plain(),
        after_failure: AfterFailure::GoOn,
    };
    turning.take(&board, context)
}
