//! The verbs of registries.

mod attested;
mod copy;
mod imagetools;
mod login;
mod manifest;
mod push;
mod pushed;
mod search;
mod serve;
mod shown;

use std::path::PathBuf;

use rbuild_images::{ImagesError, Progress};
use rbuild_model::event::Outcome as TaskOutcome;
use rbuild_model::reference::Reference;

use super::Context;
use super::transfer::Transfer;
use crate::progress::{Display, End, Mode};
use crate::report::Mistake;

pub(super) use copy::run as copy;
pub(super) use imagetools::run as imagetools;
pub(super) use login::{login, logout};
pub(super) use manifest::run as manifest;
pub(super) use push::run as push;
pub(super) use search::run as search;
pub(super) use serve::run as registry;

/// Reads the name of an image at a registry.
fn named(text: &str) -> anyhow::Result<Reference> {
    let reference: Reference = text.parse().map_err(|error| Mistake::usage(format!("`{text}`: {error}")))?;
    Ok(if reference.digest().is_some() { reference } else { reference.with_default_tag() })
}

/// The folder for what is on its way between registries.
pub(super) fn spool(context: &Context) -> PathBuf {
    context.settings.environment.path("TMPDIR").unwrap_or_else(|| PathBuf::from("/var/tmp"))
}

/// Shows how far a transfer is while it goes on.
fn progress<T>(
    mode: Mode,
    context: &Context,
    what: &str,
    act: impl FnOnce(&dyn Progress) -> Result<T, ImagesError>,
) -> anyhow::Result<T> {
    let display = Display::start(mode, context.terminal)?;
    let transfer = Transfer::start(display.events(), 1, what.to_owned());
    let done = act(&transfer);
    transfer.finish(if done.is_ok() { TaskOutcome::Done } else { TaskOutcome::Failed });
    display.finish(if done.is_ok() { End::Succeeded } else { End::Failed });
    Ok(done?)
}
