//! Containers: made, started, watched, changed, removed.
//!
//! ```text
//! create   image -> containers/<id>/{config.json, given-<mount>.tar, <snapshot>/} -> row          (nothing runs)
//! start    definition -> networks, spec, mounts -> the container's monitor -> the program
//! ps       one read of the rows, and the state file of each
//! rm       row, then the folder to the trash
//! ```
//!
//! Who changes what a container is holds its lock in the store ([`rbuild_store::LockClass::Container`]); what it does is
//! the monitor's alone. Look-ups take no lock.

mod archive;
mod boot;
mod chosen;
mod collected;
mod commit;
mod control;
mod create;
mod define;
mod devices;
mod error;
mod events;
mod exec;
mod find;
mod follow;
mod given;
mod inspect;
mod launch;
mod lend;
mod link;
mod list;
mod logs;
mod names;
mod note;
mod observe;
mod ports;
mod prepare;
mod reap;
mod remove;
mod request;
mod rows;
mod stats;
mod storage;
mod trees;
mod update;
mod watch;

pub use archive::PathStat;
pub use boot::Back;
pub(crate) use chosen::choose_from;
pub use collected::ContainerRows;
pub use commit::CommitRequest;
pub use control::Start;
pub(crate) use control::resolver_choice;
pub use create::Made;
pub use define::LEAST_MEMORY;
pub(crate) use define::{check_limits, check_workdir, health};
pub use error::ContainerError;
pub use exec::ExecRequest;
pub use given::GivenFile;
pub use inspect::Sizes;
pub(crate) use list::networks;
pub use list::{Filter, ListRequest, Listed, Listing, PortFilter, fits_name};
pub use note::{EndpointNote, PortNote, RunNote};
pub use observe::Observed;
pub(crate) use prepare::Prepared;
/// What a container is at one moment, for those who wait.
pub use rbuild_monitor::Moment;
pub use remove::{Pruned, RemoveOptions};
pub use request::{CreateRequest, MountKind, MountRequest};
pub use rows::SCHEMA;
pub use stats::Sample;
pub(crate) use trees::of_init;
pub use trees::{Changed, How};
pub use update::{Processes, Update};
pub use watch::{Awaited, Change, Condition, Expectation, Told, Watch};

/// The places between two effects at which tests kill the process.
pub const CRASH_POINTS: &[&str] = &[
    "container.published",
    "container.filled",
    "container.recorded",
    "container.connected",
    "container.started",
    "container.row-gone",
    "container.folder-gone",
    "volume.filling",
    "volume.filled",
];
