//! Which implementation stands behind which trait: the composition root.

mod attend;
mod build;
mod caches;
mod caller;
mod credentials;
mod home;
mod keys;
pub(crate) mod logins;
mod meant;
mod outputs;
mod project;
mod promotion;
mod registries;
mod rootless;
mod run;
mod signals;

use std::ffi::OsString;
use std::process::ExitCode;

pub(crate) use build::{
    Looked, PlannedTarget, build, build_all, check, folder_of, look_into, metadata, open_to_build, replace,
    source,
};
pub(crate) use caches::open_cache;
pub(crate) use caller::{dockerfile, find_dockerfile, ignore, missing_dockerfile};
pub(crate) use home::{Home, OWNERS};
pub(crate) use meant::{hinted, short};
pub(crate) use project::{Workshop, project, project_attended, project_unwatched};
pub(crate) use rootless::Rootless;
pub(crate) use run::{
    Attendance, Touch, attach, create, engine, engine_to_fill, exec, run, start_attached, window,
};
pub(crate) use signals::{Asks, AtSignal};

/// Runs a hidden stage if the arguments ask for one: the first act of the program.
pub(crate) fn stage(arguments: impl IntoIterator<Item = OsString> + Clone) -> Option<ExitCode> {
    rbuild_sandbox::stage::dispatch(arguments.clone()).or_else(|| rbuild_monitor::dispatch(arguments))
}
