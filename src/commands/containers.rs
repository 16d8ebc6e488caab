//! Verbs that do one thing to each container: all are tried, the failures are told, the status is the last one's.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use anyhow::Context as _;
use jiff::Timestamp;
use rbuild_engine::Engine;
use rbuild_engine::containers::{CommitRequest, ContainerError, RemoveOptions};
use rbuild_model::container::Definition;

use super::prune::{agreed, section};
use super::{Context, Outcome};
use crate::cli::container::{Commit, Diff, Export, Prune, Reap, Remove, Rename};
use crate::human;
use crate::report::{self, Mistake, Status};

/// Does something to each container and prints what it returns.
pub(super) fn each(
    names: &[String],
    context: &Context,
    mut act: impl FnMut(&str) -> Result<Option<String>, ContainerError>,
) -> Outcome {
    let mut status = Status::Done;
    for name in names {
        match act(name) {
            Ok(Some(line)) => context.terminal.print(&format!("{line}\n"))?,
            Ok(None) => {}
            Err(error) => status = report::tell(&error.into(), context.terminal),
        }
    }
    Ok(status)
}

pub(super) fn remove(arguments: &Remove, context: &Context) -> Outcome {
    let (_home, engine) = crate::wiring::engine(context, "rbuild rm")?;
    let options = RemoveOptions { force: arguments.force, volumes: arguments.volumes };
    each(&arguments.containers, context, |name| match engine.remove(name, options) {
        Ok(_) => Ok(Some(name.to_owned())),
        // What is not there need not be removed.
        Err(ContainerError::NotFound(_)) if arguments.force => {
            context.terminal.tell(&format!("note: no such container: {}\n", crate::text::one_line(name)));
            Ok(None)
        }
        Err(error) => Err(error),
    })
}

pub(super) fn rename(arguments: &Rename, context: &Context) -> Outcome {
    let (_home, engine) = crate::wiring::engine(context, "rbuild rename")?;
    engine.rename(&arguments.container, &arguments.name)?;
    Ok(Status::Done)
}

pub(super) fn diff(arguments: &Diff, context: &Context) -> Outcome {
    let (_home, engine) = crate::wiring::engine(context, "rbuild diff")?;
    let changes = engine.changes(&engine.find(&arguments.container)?)?;
    let line = |change: &rbuild_engine::containers::Changed| {
        format!("{} {}\n", change.how.letter(), change.path.display())
    };
    context.terminal.print(&changes.iter().map(line).collect::<String>())?;
    Ok(Status::Done)
}

pub(super) fn commit(arguments: &Commit, context: &Context) -> Outcome {
    let reference = arguments.name.as_deref().map(str::parse).transpose();
    let reference = reference
        .map_err(|error: rbuild_model::reference::ParseReferenceError| Mistake::new(error.to_string()))?;
    let (_home, engine) = crate::wiring::engine_to_fill(context, "rbuild commit")?;
    let image = engine.commit(
        &engine.find(&arguments.container)?,
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

pub(super) fn export(arguments: &Export, context: &Context) -> Outcome {
    let (_home, engine) = crate::wiring::engine(context, "rbuild export")?;
    let definition = engine.find(&arguments.container)?;
    write_files(&engine, &definition, arguments.output.as_deref(), context)
}

/// Writes all files of a container as a tar, to a file or to standard output.
pub(super) fn write_files(
    engine: &Engine,
    definition: &Definition,
    output: Option<&Path>,
    context: &Context,
) -> Outcome {
    match output {
        Some(path) => {
            let failed = || format!("failed to write `{}`", path.display());
            let mut file = BufWriter::new(File::create(path).with_context(failed)?);
            let written = engine.export(definition, &mut file);
            if written.is_err() {
                let _ = std::fs::remove_file(path);
            }
            written?;
        }
        None if context.terminal.out().kind.is_terminal() => {
            return Err(Mistake::new("cowardly refusing to save to a terminal")
                .hint("use the `-o` flag or redirect")
                .into());
        }
        None => engine.export(definition, &mut std::io::stdout().lock())?,
    }
    Ok(Status::Done)
}

pub(super) fn prune(arguments: &Prune, context: &Context) -> Outcome {
    let question = "WARNING! This will remove all stopped containers.";
    if !arguments.force && !agreed(question, context)? {
        return Ok(Status::Done);
    }
    let filters = super::ps::filters(&arguments.filter, Timestamp::now())?;
    let (_home, engine) = crate::wiring::engine(context, "rbuild container prune")?;
    let (pruned, failures) = engine.prune(filters)?;
    let mut text = section("Deleted Containers:", pruned.removed);
    text.push_str(&format!("Total reclaimed space: {}\n", human::precise_size(pruned.bytes)));
    context.terminal.print(&text)?;
    Ok(report::tell_all(failures, context.terminal))
}

pub(super) fn reap(arguments: &Reap, context: &Context) -> Outcome {
    let (_home, engine) = crate::wiring::engine(context, "rbuild reap")?;
    reap_with(&engine, &arguments.id)
}

fn reap_with(engine: &Engine, id: &str) -> Outcome {
    let id = id.parse().map_err(|error| Mistake::usage(format!("{error}")))?;
    engine.reap(id)?;
    Ok(Status::Done)
}
