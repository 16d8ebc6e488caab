//! Watch rules.

use std::path::PathBuf;

use super::service::Hook;

/// What is done when files change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchRule {
    /// The file or folder.
    pub path: PathBuf,
    /// What is done.
    pub action: WatchAction,
    /// Where files are copied to.
    pub target: Option<String>,
    /// Patterns of what counts; everything if empty.
    pub include: Vec<String>,
    /// Patterns of what does not count.
    pub ignore: Vec<String>,
    /// What is run by [`WatchAction::SyncExec`].
    pub exec: Option<Hook>,
    /// Whether files are copied before watching begins.
    pub initial_sync: bool,
}

/// What is done when files change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WatchAction {
    /// The image is built and the service recreated.
    Rebuild,
    /// Files are copied.
    Sync,
    /// The service is restarted.
    Restart,
    /// Files are copied and the service is restarted.
    SyncRestart,
    /// Files are copied and a command is run.
    SyncExec,
}
