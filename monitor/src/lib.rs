//! The supervisor process of a container.
//!
//! A **monitor** is one small process beside one container. It runs what a [`Plan`] says, owns the streams and
//! the log, knows how the program ended, starts it again as its policy says, asks for its health, runs further programs in
//! it, and serves its networks. It never opens the database: all it knows it is told ([`Settings`], [`Plan`]), and all
//! it learns it writes into two small files ([`Record`]).
//!
//! ```text
//! command --spawn--> monitor --launch--> init (the container's first process)
//!    |                  |  ^-- pipes or terminal --|
//!    '--- control ------'  holds containers/<id>/lock for life
//! ```
//!
//! Commands speak with it through [`Client`], over a socket in the run folder. Without a monitor, a command that holds the
//! lock ([`Place::try_lock`]) may write. If a monitor is killed, its container goes on: output blocks in its pipes
//! when they are full and none is lost. The next command that [observes](Place::observe) this starts another monitor
//! ([`Client::adopt`]), which finds the same processes again by pid, start time and boot.
//!
//! One thread and one `poll` do everything (`server`); what may take long and is nobody's wait (compression of old
//! logs) has a thread for as long as it takes.

mod backoff;
pub mod client;
mod document;
mod events;
mod health;
pub mod log;
mod output;
mod place;
mod plan;
pub mod protocol;
mod record;
mod server;

use std::ffi::OsString;
use std::process::ExitCode;

pub use client::{
    Client, ClientError, Following, Program, Residence, Session, SessionEvent, Spawned, Started, WatchEvent,
    Watcher, Zygote,
};
pub use document::DocumentError;
pub use place::{Lock, MACHINE_RESTARTED, Observed, Place, PlaceError};
pub use plan::{
    EarlyProbes, ExecPlan, ExecPrivilege, Handed, NameServing, Plan, Settings, Shares, Stdin, VolumeUse,
};
pub use protocol::{Attach, ExecId, ExecProgress, ExecState, Grace, LogPosition, Refusal, StreamEnd, Until};
pub use record::{Moment, Patience, Record, Uptime};

/// The name a monitor is executed under.
const MARKER: &str = "rbuild-monitor";

/// Runs a monitor if the arguments ask for one and returns its exit status; `None` if they do not.
///
/// Must be among the first acts of `main`, before any thread is made. The arguments include the program's name.
pub fn dispatch(arguments: impl IntoIterator<Item = OsString>) -> Option<ExitCode> {
    let mut arguments = arguments.into_iter();
    (arguments.next()? == MARKER).then(|| ExitCode::from(server::run(arguments)))
}

/// Writes an error with its causes as one text: what a record says of a start that failed.
pub fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
