//! What verbs of projects work with: the store, what runs containers, and the wish to stop.

use std::sync::Arc;

use anyhow::Context as _;
use rbuild_engine::Engine;
use rbuild_engine::projects::Halt;
use rbuild_worker::Cancel;

use super::Home;
use super::signals::{self, Asks, AtSignal};
use crate::commands::Context;

/// What verbs of projects work with.
pub(crate) struct Workshop {
    /// What runs containers.
    pub(crate) engine: Engine,
    /// The wish to stop.
    pub(crate) halt: Arc<Halt>,
    /// The same wish, for builds.
    pub(crate) cancel: Cancel,
    /// The open store; goes last.
    pub(crate) home: Home,
}

/// Opens the store for a verb that stops at the first signal when what is under way is done, and ends at the second.
/// Must be called before any thread is begun.
pub(crate) fn project(context: &Context, purpose: &str) -> anyhow::Result<Workshop> {
    let at = |count, _| if count == 1 { AtSignal::GoesOn } else { AtSignal::Ends };
    project_attended(context, purpose, at)
}

/// As [`project`]; at every signal it is asked what becomes of the program.
pub(crate) fn project_attended(
    context: &Context,
    purpose: &str,
    mut at: impl FnMut(u32, Asks) -> AtSignal + Send + 'static,
) -> anyhow::Result<Workshop> {
    let halt = Arc::new(Halt::new().context("failed to watch for signals")?);
    let cancel = Cancel::new();
    let (waker, switch) = (Arc::clone(&halt), cancel.clone());
    let wish = signals::wish_of_each(move |count, asks| {
        waker.now();
        switch.cancel();
        at(count, asks)
    })?;
    let home = Home::open_until(&context.settings, purpose, wish)?;
    let engine = home.engine()?;
    Ok(Workshop { engine, halt, cancel, home })
}

/// Opens the store for a verb that leaves signals to whom it attends.
pub(crate) fn project_unwatched(context: &Context, purpose: &str) -> anyhow::Result<Workshop> {
    let halt = Arc::new(Halt::new().context("failed to watch for signals")?);
    let home = Home::open_to_fill(&context.settings, purpose)?;
    let engine = home.engine()?;
    Ok(Workshop { engine, halt, cancel: Cancel::new(), home })
}
