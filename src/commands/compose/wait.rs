//! `rbuild compose wait`.

use std::sync::mpsc;

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
        let (told, hear) = mpsc::channel();
        let mut last = 0;
        std::thread::scope(|scope| -> anyhow::Result<()> {
            for member in &members {
                let (told, engine) = (told.clone(), &look.engine);
                scope.spawn(move || {
                    // Who hears is there until all have ended.
                    let _ = told.send((member.definition.id, engine.wait(&member.definition)));
                });
            }
            drop(told);
            for (id, ended) in hear {
                last = ended?;
                context.terminal.print(&format!("container \"{id}\" exited with status code {last}\n"))?;
            }
            Ok(())
        })?;
        Status::Program(last as u8)
    };
    if arguments.down_project {
        down::run(project, &Down::default(), Manner::Compose, context)?;
    }
    Ok(status)
}
