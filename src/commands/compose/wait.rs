//! `rbuild compose wait`.

use std::collections::BTreeMap;

use rbuild_engine::Engine;
use rbuild_engine::containers::{Change, Condition, Expectation, Told};
use rbuild_engine::projects::Member;
use rbuild_model::container::ContainerId;
use rbuild_store::Cancel;

use super::down::{self, Manner};
use super::look::{Look, Which, is_numbered};
use crate::cli::compose::Project;
use crate::cli::compose::reach::Wait;
use crate::cli::compose::up::Down;
use crate::commands::{Context, Outcome};
use crate::report::{Mistake, Status};

/// Waits until all containers of the services have ended, and returns the status of the last one.
pub(super) fn run(project: &Project, arguments: &Wait, context: &Context) -> Outcome {
    let status = {
        let look = Look::at(project, "wait", context)?;
        let mut members = look.members(&arguments.services, Which::Running)?;
        members.retain(is_numbered);
        if members.is_empty() {
            return Err(Mistake::new(format!("no containers for project \"{}\"", look.meant.name)).into());
        }
        if project.dry_run {
            for member in &members {
                context.terminal.tell(&format!("DRY-RUN MODE - wait for {}\n", member.replica.name));
            }
            Status::Done
        } else {
            let last = ends(&look.engine, &members, |id, code| {
                let text = format!("container \"{id}\" exited with status code {code}\n");
                Ok(context.terminal.print(&text)?)
            })?;
            Status::Program(last as u8)
        }
    };
    if arguments.down_project {
        let down = down::run(project, &Down::default(), Manner::Compose, context)?;
        if down != Status::Done {
            return Ok(down);
        }
    }
    Ok(status)
}

/// Waits for the ends of containers, tells of each as it comes, and returns the status of the last. One that was removed
/// ended with the status that was known of it last.
fn ends(
    engine: &Engine,
    members: &[Member],
    mut told: impl FnMut(ContainerId, i32) -> anyhow::Result<()>,
) -> anyhow::Result<i32> {
    let mut watch = engine.watch(&Cancel::never())?;
    let mut open = BTreeMap::new();
    for member in members {
        watch.add(&member.definition)?;
        open.insert(member.definition.id, (Expectation::new(Condition::NotRunning), 0));
    }
    let mut last = 0;
    while let Told::Changed(id, change) = watch.next(None)? {
        let Some((expectation, code)) = open.get_mut(&id) else { continue };
        if let Change::Now(moment) = &change {
            *code = moment.code;
        }
        if expectation.told(&change).is_some() {
            last = *code;
            watch.remove(id);
            open.remove(&id);
            told(id, last)?;
        }
    }
    Ok(last)
}
