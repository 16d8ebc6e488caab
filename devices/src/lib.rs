//! Devices by the names of the Container Device Interface (CDI): what `RUN --device` gives a step, and `--device` and
//! `--gpus` a container.
//!
//! Files in a few folders say which devices there are, and what a process is given with each: nodes, mounts, variables,
//! groups. The full name of a device is `vendor/class=device`.
//!
//! | Module | What it does |
//! |---|---|
//! | `file` | the form of the files |
//! | `registry` | all files of a machine, and what names come to |
//! | `edits` | what a process is given |

mod edits;
mod file;
mod registry;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use self::edits::Given;
pub use self::file::is_qualified;
pub use self::registry::Registry;

/// The folders that say what devices there are, unless others are named; a later one counts more.
pub const FOLDERS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// Why a device cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The name is none.
    #[error("invalid device {name:?}: a name is `vendor/class`, `vendor/class=device` or `vendor/class=*`")]
    Name {
        /// The name.
        name: String,
    },
    /// Its file asks for something that nobody is given.
    #[error("device {name} cannot be given: `{}` asks for {what}", file.display())]
    Beyond {
        /// The device.
        name: String,
        /// The file that says what it is.
        file: PathBuf,
        /// What is asked for.
        what: String,
    },
    /// A node of it is not on this machine, or is no device.
    #[error("device {name}: cannot look at `{}`", path.display())]
    Node {
        /// The device.
        name: String,
        /// Where its node should be.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
}

/// Returns what is wrong with files that may have a device that is missing, as the end of a message.
pub fn doubts(problems: &[String]) -> String {
    if problems.is_empty() { String::new() } else { format!(" ({})", problems.join("; ")) }
}

/// Returns whether a path is in its plain form: absolute, and without `..`.
fn is_plain(path: &Path) -> bool {
    path.is_absolute() && !path.components().any(|part| part == std::path::Component::ParentDir)
}
