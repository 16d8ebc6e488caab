//! `rbuild compose commit` and `export`.

use rbuild_engine::containers::CommitRequest;
use rbuild_model::reference::{ParseReferenceError, Reference};

use super::look::{Look, Which};
use crate::cli::compose::Project;
use crate::cli::compose::reach::{Commit, Export};
use crate::commands::{Context, Outcome, containers};
use crate::report::{Mistake, Status};

pub(super) fn run(project: &Project, arguments: &Commit, context: &Context) -> Outcome {
    let reference: Option<Reference> = arguments
        .name
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|error: ParseReferenceError| Mistake::usage(error.to_string()))?;
    let look = Look::to_commit(project, context)?;
    let member = look.one(&arguments.service, arguments.index, Which::Running)?;
    if project.dry_run {
        context.terminal.tell(&format!("DRY-RUN MODE - commit {}\n", member.replica.name));
        return Ok(Status::Done);
    }
    let image = look.engine.commit(
        &member.definition,
        &CommitRequest {
            reference,
            author: arguments.author.clone(),
            message: arguments.message.clone(),
            changes: arguments.change.clone(),
            pause: arguments.pause,
        },
    )?;
    context.terminal.print(&format!("{image}\n"))?;
    Ok(Status::Done)
}

pub(super) fn export(project: &Project, arguments: &Export, context: &Context) -> Outcome {
    let look = Look::at(project, "export", context)?;
    let member = look.one(&arguments.service, arguments.index, Which::Running)?;
    if project.dry_run {
        context.terminal.tell(&format!("DRY-RUN MODE - export {}\n", member.replica.name));
        return Ok(Status::Done);
    }
    containers::write_files(&look.engine, &member.definition, arguments.output.as_deref(), context)
}
