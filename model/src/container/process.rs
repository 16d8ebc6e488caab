//! A process that can be told from a later one with its number.

use serde::{Deserialize, Serialize};

/// A process, named so that its number used again is not mistaken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// Its number, as the host (in rootless mode: the keeper's namespaces) sees it.
    pub pid: i32,
    /// When it was started, in clock ticks since boot: field 22 of `/proc/<pid>/stat`.
    pub start_ticks: u64,
}

impl ProcessIdentity {
    /// Reads the start time out of the text of `/proc/<pid>/stat`.
    ///
    /// The program's name, in brackets, may hold anything: the fields are counted from the last bracket.
    pub fn from_stat(pid: i32, stat: &str) -> Option<Self> {
        let (_, fields) = stat.rsplit_once(')')?;
        let start_ticks = fields.split_ascii_whitespace().nth(19)?.parse().ok()?;
        Some(Self { pid, start_ticks })
    }
}
