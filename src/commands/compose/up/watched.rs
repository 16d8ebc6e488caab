//! Files that are watched while `up` shows what containers write.

use std::fs::File;
use std::sync::Arc;

use rbuild_engine::projects::Halt;

use super::super::project::Handle;
use super::super::watch::{self, Watching};
use crate::cli::compose::Project;
use crate::cli::compose::up::Up;
use crate::commands::Context;

/// Whether files are watched.
pub(super) enum Watch<'a> {
    /// They are not.
    Off,
    /// They are as soon as the plan was carried out.
    Ready(Ready<'a>),
    /// They are until this is made.
    On(Arc<Halt>),
    /// Not any more, when what is under way is done.
    Ending,
}

/// All that it takes to watch files.
pub(super) struct Ready<'a> {
    pub(super) watching: Watching<'a>,
    /// Keeps others from it.
    pub(super) alone: File,
}

impl<'a> Ready<'a> {
    /// Reads the rules, and keeps others from it.
    pub(super) fn new(
        handle: &'a Handle,
        project: &'a Project,
        up: &Up,
        context: &'a Context,
    ) -> anyhow::Result<Self> {
        let rules = watch::rules(&handle.meant.model, &up.services, context)?;
        let watching =
            Watching { handle, project, quiet: up.quiet_build, prune: true, context, rules, mark: " ⦿ " };
        Ok(Self { alone: watching.alone()?, watching })
    }
}
