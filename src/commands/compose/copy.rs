//! `rbuild compose cp`.

use std::fs::File;
use std::io::Seek as _;

use anyhow::Context as _;
use rbuild_engine::projects::Member;
use rustix::fs::{Mode, OFlags};

use super::board::{Board, Stage};
use super::look::{Look, Which, is_numbered};
use crate::cli::compose::Project;
use crate::cli::compose::reach::Copy;
use crate::commands::copy::{self as single, How, Place};
use crate::commands::{Context, Outcome};
use crate::flags::Mode as Switch;
use crate::report::{Mistake, Status};

pub(super) fn run(project: &Project, arguments: &Copy, context: &Context) -> Outcome {
    let mode = |on| if on { Switch::On } else { Switch::Off };
    let how = How { archive: mode(arguments.archive), follow_link: mode(arguments.follow_link) };
    let board = Board::new(project, context);
    match (Place::read(&arguments.source), Place::read(&arguments.target)) {
        (Place::Container(..), Place::Container(..)) => {
            Err(Mistake::new("copying between services is not supported")
                .hint("copy out with `SERVICE:PATH -` and in with `- SERVICE:PATH`")
                .into())
        }
        (Place::Container(service, path), target) => {
            let look = Look::at(project, "cp", context)?;
            let member = chosen(&look, service, arguments)?.swap_remove(0);
            told(&board, project, &member, &arguments.source, &arguments.target, || {
                single::from(&look.engine, &member.definition, path, target, how)
            })?;
            Ok(Status::Done)
        }
        (source, Place::Container(service, path)) => {
            let look = Look::at(project, "cp", context)?;
            let members = chosen(&look, service, arguments)?;
            // A stream can be read once, and every replica gets it.
            let mut kept = match source {
                Place::Stream if members.len() > 1 && !project.dry_run => Some(keep_stdin(&look)?),
                _ => None,
            };
            for member in &members {
                told(&board, project, member, &arguments.source, &arguments.target, || match &mut kept {
                    Some(tar) => {
                        tar.rewind()?;
                        let engine = &look.engine;
                        let owner = match how.archive {
                            Switch::On => engine.owner_inside(&member.definition)?,
                            Switch::Off => None,
                        };
                        Ok(engine.copy_in(&member.definition, path, owner, tar)?)
                    }
                    None => single::to(&look.engine, source, &member.definition, path, how),
                })?;
            }
            Ok(Status::Done)
        }
        _ => Err(Mistake::new("unknown copy direction")
            .hint("write the service's path as `SERVICE:PATH`")
            .into()),
    }
}

/// Returns the containers that are meant, at least one: those of `run` only with `--all`.
fn chosen(look: &Look, service: &str, arguments: &Copy) -> anyhow::Result<Vec<Member>> {
    let mut members = look.members(&[service.to_owned()], Which::Any)?;
    let index = arguments.index.filter(|index| *index > 0);
    members.retain(|member| {
        (arguments.all || is_numbered(member)) && index.is_none_or(|index| member.replica.number == index)
    });
    if members.is_empty() {
        return Err(Mistake::new(match index {
            Some(index) => format!("service \"{service}\" has no container #{index}"),
            None => format!("no container found for service \"{service}\""),
        })
        .into());
    }
    Ok(members)
}

/// Copies, and tells of it before and behind.
fn told(
    board: &Board,
    project: &Project,
    member: &Member,
    source: &str,
    target: &str,
    copy: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let name = &member.replica.name;
    let here = |place: &str| match Place::read(place) {
        Place::Container(_, path) => format!("{name}:{path}"),
        _ => place.to_owned(),
    };
    let id = format!("{name} copy {} to {}", here(source), here(target));
    let id = if project.dry_run { format!("DRY-RUN MODE - {id}") } else { id };
    board.tell(&id, "Copying", Stage::Working);
    if !project.dry_run {
        copy()?;
    }
    board.tell(&id, "Copied", Stage::Done);
    Ok(())
}

/// Keeps standard input in a file without a name.
fn keep_stdin(look: &Look) -> anyhow::Result<File> {
    let folder = look.home.store.work_folder()?;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR)
        .with_context(|| format!("failed to make a file in `{}`", folder.display()))?;
    let mut file = File::from(file);
    std::io::copy(&mut std::io::stdin().lock(), &mut file).context("failed to read standard input")?;
    Ok(file)
}
