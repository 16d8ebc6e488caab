//! `rbuild man`: manual pages, generated from the definition of the command line.

use std::path::Path;

use anyhow::Context as _;

use super::Outcome;
use crate::cli;
use crate::cli::prune::Man;
use crate::report::Status;

pub(super) fn run(arguments: &Man) -> Outcome {
    let folder = &arguments.folder;
    let failed = || format!("failed to write manual pages to `{}`", folder.display());
    std::fs::create_dir_all(folder).with_context(failed)?;
    let mut command = cli::offered().disable_help_flag(true);
    command.build();
    pages(&command, "rbuild", folder).with_context(failed)?;
    Ok(Status::Done)
}

/// Writes the page of a command, and those of its verbs, which it refers to.
fn pages(command: &clap::Command, name: &str, folder: &Path) -> std::io::Result<()> {
    page(command, name, folder)?;
    let mut verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    verbs.try_for_each(|verb| pages(verb, &format!("{name}-{}", verb.get_name()), folder))
}

fn page(command: &clap::Command, name: &str, folder: &Path) -> std::io::Result<()> {
    let named = command.clone().display_name(name.to_owned());
    let mut text = Vec::new();
    clap_mangen::Man::new(named).title(name.to_uppercase()).section("1").render(&mut text)?;
    std::fs::write(folder.join(format!("{name}.1")), text)
}
