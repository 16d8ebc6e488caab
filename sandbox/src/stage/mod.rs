//! The hidden stages: this program, executed again from its sealed copy, single-threaded, doing what it is told.
//!
//! ```text
//! program (many threads) --spawn requests--> server (one thread, outside all namespaces)
//!    |                                          | clone3
//!    |--------- one script per init --------> init (pid 1 of the new namespaces) --execve--> the user's program
//! ```
//!
//! One **server** serves all the launches of a [`Launcher`](crate::Launcher): it never sees a script, it only makes
//! inits, waits for them, reports their end, and kills them when the program is gone. An **init** enters its cgroups
//! and namespaces, swaps the host's mounts for an empty tree, and parks; then its whole order comes as one message.
//!
//! The order of an init's acts is a contract: dumpable off before anything of others can be seen, all host files by
//! descriptor, rights dropped in the order in which they are needed last, the filter as late as it can be loaded,
//! descriptors closed right before the program.

mod attributes;
mod console;
mod devices;
mod enter;
mod init;
mod masks;
mod mounts;
mod park;
mod reaper;
mod server;
mod targets;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use rustix::io::Errno;

use crate::script::{Cause, ProgramFailure, StageFailure};
use crate::{mounts::MountError, sys};

/// The name a stage is executed under.
pub(crate) const MARKER: &str = "rbuild-stage";
/// The first argument: which conversation is spoken. A stage is always of the same build as its maker.
pub(crate) const ROLE: &str = "server";
/// What a stage has for an environment: room for the command line that a first process shows.
pub(crate) const ROOM: (&str, usize) = ("_", 240);
/// Where a stage finds its channel.
const CHANNEL: i32 = 0;

/// Runs the stage that the arguments ask for and returns its exit status; `None` if they ask for none.
///
/// Must be the first act of `main`, before any thread is made or any file opened. The arguments include the
/// program's name.
pub fn dispatch(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter();
    if arguments.next()? != MARKER {
        return None;
    }
    let status = match arguments.next() {
        Some(role) if role == ROLE => sys::inherited(CHANNEL).map_or(1, server::serve),
        _ => 2,
    };
    Some(ExitCode::from(status))
}

/// The result of a stage's act.
pub(crate) type Act<T = ()> = Result<T, StageFailure>;

/// Gives failures their act.
pub(crate) trait Doing<T> {
    /// Names the act that failed.
    fn doing(self, act: impl FnOnce() -> String) -> Act<T>;
}

impl<T> Doing<T> for Result<T, Errno> {
    fn doing(self, act: impl FnOnce() -> String) -> Act<T> {
        self.map_err(|errno| StageFailure {
            act: act(),
            cause: Cause::Errno(errno.raw_os_error()),
            program: None,
        })
    }
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, act: impl FnOnce() -> String) -> Act<T> {
        self.map_err(|error| {
            let cause = error.raw_os_error().map_or_else(|| Cause::Check(error.to_string()), Cause::Errno);
            StageFailure { act: act(), cause, program: None }
        })
    }
}

impl<T> Doing<T> for Result<T, MountError> {
    fn doing(self, act: impl FnOnce() -> String) -> Act<T> {
        self.map_err(|error| {
            let source =
                std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
            StageFailure { act: act(), cause: Cause::Check(format!("{error}{source}")), program: None }
        })
    }
}

/// Makes a failure of a check.
pub(crate) fn refuse<T>(act: impl Into<String>, why: impl Into<String>) -> Act<T> {
    Err(StageFailure { act: act.into(), cause: Cause::Check(why.into()), program: None })
}

/// Makes the failure of a program that cannot be executed.
pub(crate) fn no_program(act: String, errno: Errno) -> StageFailure {
    let program = match errno {
        Errno::NOENT | Errno::NOTDIR => ProgramFailure::NotFound,
        _ => ProgramFailure::NotExecutable,
    };
    StageFailure { act, cause: Cause::Errno(errno.raw_os_error()), program: Some(program) }
}
