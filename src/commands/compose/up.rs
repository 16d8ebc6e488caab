//! `rbuild compose up`, `create`, `scale`, and `rbuild up`.

mod attached;
mod bell;
mod header;
mod menu;
mod watched;

use std::collections::BTreeSet;

use rbuild_engine::projects::{
    self, AfterFailure, AnonymousVolumes, ChangedContents, Order, Recreate, Starting, Wanted,
};
use rbuild_model::project::ServiceName;

use super::board::Board;
use super::down::Manner as Called;
use super::making::{self, Manner};
use super::project::{Handle, Source, meant};
use super::{providers, remote};
use crate::cli::compose::Project;
use crate::cli::compose::life::Scale;
use crate::cli::compose::up::{Create, Making, Up};
use crate::commands::{Context, Outcome};
use crate::report::{Mistake, Status};

/// Runs `create`.
pub(super) fn create(project: &Project, create: &Create, context: &Context) -> Outcome {
    let mut meant = meant(project, &create.services, Source::Files, context)?;
    remote::agreed(&meant, making::mode(create.making.yes), context)?;
    let mut wanted = making::wanted(&create.making, &create.services, &meant, context)?;
    wanted.starting = Starting::CreateOnly;
    providers::provide(&mut meant, &wanted.targets, wanted.dependencies, project, context)?;
    let handle = Handle::open(meant, "create", context)?;
    detached(&handle, project, &create.making, wanted, Manner::plain(), Ending::Made, context)
}

/// Runs `scale`.
pub(super) fn scale(project: &Project, scale: &Scale, context: &Context) -> Outcome {
    let invalid = |text: &str| Mistake::new(format!("invalid scale specifier: {text}"));
    let named = scale.services.iter().map(|text| {
        let (name, number) = text.split_once('=').ok_or_else(|| invalid(text))?;
        number.parse::<u64>().map_err(|_| invalid(text))?;
        Ok(name.to_owned())
    });
    let named = named.collect::<Result<Vec<String>, Mistake>>()?;
    let mut meant = meant(project, &named, Source::Files, context)?;
    remote::agreed(&meant, making::mode(scale.yes), context)?;
    let making = Making { scale: scale.services.clone(), ..Making::default() };
    let mut wanted = making::wanted(&making, &named, &meant, context)?;
    wanted.dependencies = making::dependencies(scale.no_deps);
    // What is there stays as it is: only how many there are changes.
    wanted.recreate = Recreate::Never;
    wanted.recreate_dependencies = Recreate::Never;
    providers::provide(&mut meant, &wanted.targets, wanted.dependencies, project, context)?;
    let handle = Handle::open(meant, "scale", context)?;
    detached(&handle, project, &making, wanted, Manner::plain(), Ending::Made, context)
}

/// Runs `up`.
pub(super) fn run(project: &Project, up: &Up, called: Called, order: Order, context: &Context) -> Outcome {
    check(up, order)?;
    let mut meant = meant(project, &up.services, Source::Files, context)?;
    remote::agreed(&meant, making::mode(up.making.yes), context)?;
    let mut wanted = making::wanted(&up.making, &up.services, &meant, context)?;
    wanted.order = order;
    wanted.dependencies = making::dependencies(up.no_deps);
    wanted.timeout = making::timeout(up.timeout);
    if up.always_recreate_deps {
        wanted.recreate_dependencies = Recreate::Always;
    }
    if up.renew_anon_volumes {
        wanted.anonymous = AnonymousVolumes::Renew;
    }
    if called == Called::Short {
        wanted.changed_contents = ChangedContents::Recreate;
    }
    if up.no_start {
        wanted.starting = Starting::CreateOnly;
    }
    let manner = Manner {
        evaluate: called == Called::Short,
        haste: called.haste(),
        quiet_build: up.quiet_build,
        ready_within: making::timeout(up.wait_timeout.filter(|seconds| *seconds > 0)),
    };
    providers::provide(&mut meant, &wanted.targets, wanted.dependencies, project, context)?;
    if up.detach || up.wait || up.no_start || project.dry_run {
        let handle = Handle::open(meant, "up", context)?;
        let ending = match (up.wait, up.trace) {
            (true, trace) => {
                // What the services need is waited for, too, whatever it is that they wait for themselves.
                let targets = projects::selected(&handle.meant.model, &wanted.targets, wanted.dependencies);
                Ending::Ready { targets, trace }
            }
            (false, true) => Ending::Traced,
            (false, false) => Ending::Made,
        };
        return detached(&handle, project, &up.making, wanted, manner, ending, context);
    }
    attached::run(meant, project, up, wanted, manner, context)
}

/// Refuses flags that contradict each other.
fn check(up: &Up, order: Order) -> anyhow::Result<()> {
    let aborts = up.abort_on_container_exit || up.abort_on_container_failure || up.exit_code_from.is_some();
    let attaches = !up.attach.is_empty() || up.attach_dependencies;
    let is_detached = up.detach || up.wait;
    let flag = if up.wait { "--wait" } else { "--detach" };
    let conflicts = [
        (
            order == Order::StartFirst && (up.no_start || up.making.no_recreate),
            "--start-first cannot be combined with --no-start or --no-recreate".to_owned(),
        ),
        (
            is_detached && (aborts || attaches || up.watch),
            format!(
                "{flag} cannot be combined with --abort-on-container-exit, --abort-on-container-failure, \
                 --exit-code-from, --attach, --attach-dependencies or --watch"
            ),
        ),
        (
            up.abort_on_container_exit && up.abort_on_container_failure,
            "--abort-on-container-exit cannot be combined with --abort-on-container-failure".to_owned(),
        ),
        (
            !up.attach.is_empty() && up.attach_dependencies,
            "cannot combine --attach and --attach-dependencies".to_owned(),
        ),
        (
            up.making.no_recreate && up.renew_anon_volumes,
            "--no-recreate and --renew-anon-volumes are incompatible".to_owned(),
        ),
        (
            up.making.no_recreate && up.always_recreate_deps,
            "--always-recreate-deps and --no-recreate are incompatible".to_owned(),
        ),
        (up.making.no_build && up.watch, "--no-build and --watch are incompatible".to_owned()),
        (
            up.wait_timeout.is_some_and(|seconds| seconds < 0),
            "--wait-timeout must be a non-negative integer".to_owned(),
        ),
    ];
    if let Some((_, why)) = conflicts.into_iter().find(|(conflict, _)| *conflict) {
        return Err(Mistake::new(why).into());
    }
    Ok(())
}

/// What comes after everything was made.
enum Ending {
    /// Nothing.
    Made,
    /// The time line is shown.
    Traced,
    /// These services are waited for.
    Ready { targets: BTreeSet<ServiceName>, trace: bool },
}

/// Makes what is wanted, and returns.
fn detached(
    handle: &Handle,
    project: &Project,
    making: &Making,
    wanted: Wanted,
    manner: Manner,
    ending: Ending,
    context: &Context,
) -> Outcome {
    // An error that comes after a signal is the signal's doing.
    handle.home.ended(made(handle, project, making, wanted, manner, ending, context))
}

fn made(
    handle: &Handle,
    project: &Project,
    making: &Making,
    wanted: Wanted,
    manner: Manner,
    ending: Ending,
    context: &Context,
) -> Outcome {
    let board = Board::new(project, context);
    let made = making::prepare(handle, project, making, wanted, manner, &board, context);
    let Some(mut prepared) = made? else { return Ok(Status::Interrupted) };
    let trace = matches!(&ending, Ending::Traced | Ending::Ready { trace: true, .. });
    if let Ending::Ready { targets, .. } = ending {
        projects::ready(&mut prepared.plan, targets);
    }
    if project.dry_run {
        making::print(&prepared.plan, context)?;
        return Ok(Status::Done);
    }
    for kept in &prepared.plan.kept {
        board.tell(&format!("Container {}", kept.name), "Running", super::board::Stage::Done);
    }
    let halt = &handle.halt;
    let after = AfterFailure::Stop;
    let carried = making::carry_out(handle, project, &prepared, manner, after, halt, &board, context)?;
    board.leave();
    if trace {
        making::show_trace(&prepared, Some(&carried), &board, context)?;
    }
    making::failed(&handle.meant, &prepared, carried, context)?;
    making::note_missing_unit(handle, &board, context);
    Ok(if handle.halt.is_made() { Status::Interrupted } else { Status::Done })
}
