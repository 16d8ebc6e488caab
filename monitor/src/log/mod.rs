//! Where the output of a container is kept, in the formats of Docker.
//!
//! `Lines` cuts what a program writes into records; a `Writer` puts them into files that are rotated; [`read()`]
//! reads them back, also while they are written, and needs no monitor for it.
//!
//! ```text
//! json-file   <id>-json.log  <id>-json.log.1  <id>-json.log.2.gz ...
//! local       local-logs/container.log  container.log.1.gz ...
//! ```

mod json;
mod lines;
mod local;
mod options;
mod read;
mod rotate;

use std::io;
use std::path::{Path, PathBuf};

use rbuild_model::container::{ContainerId, LogConfig, LogDriver};

pub use self::lines::Source;
pub(crate) use self::lines::{Lines, fresh_id};
use self::options::LogOptions;
pub use self::options::{OptionError, check};
pub use self::read::{Entry, Filter, Follow, ReadError, Reader, Tail, read};
use self::rotate::Rotating;
use crate::protocol::LogPosition;

/// A piece of a line too long for one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Partial {
    /// What all pieces of one line share.
    pub(crate) id: String,
    /// Which piece, from 1 on.
    pub(crate) ordinal: u32,
    /// Whether the line ends with it.
    pub(crate) last: bool,
}

/// What is kept of the output at one time: a line without its end, or a piece of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) source: Source,
    /// Nanoseconds since 1970.
    pub(crate) time: i64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) partial: Option<Partial>,
}

impl Record {
    /// Tells whether a line ends here.
    fn ends_line(&self) -> bool {
        self.partial.as_ref().is_none_or(|partial| partial.last)
    }
}

/// Writes the log of one container.
#[derive(Debug)]
pub(crate) enum Writer {
    Json(Rotating, json::Tail),
    Local(Rotating),
    None,
}

impl Writer {
    /// Opens the log of a container; what is there is continued.
    pub(crate) fn open(
        folder: &Path,
        id: &ContainerId,
        config: &LogConfig,
        context: &Context<'_>,
    ) -> io::Result<Self> {
        let options =
            LogOptions::of(config).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let path = path(folder, id, config.driver);
        Ok(match config.driver {
            LogDriver::JsonFile => {
                Self::Json(Rotating::open(path, options.rotation)?, json::Tail::new(&options.extra, context))
            }
            LogDriver::Local => {
                if let Some(folder) = path.parent() {
                    std::os::unix::fs::DirBuilderExt::mode(std::fs::DirBuilder::new().recursive(true), 0o700)
                        .create(folder)?;
                }
                Self::Local(Rotating::open(path, options.rotation)?)
            }
            LogDriver::None => Self::None,
        })
    }

    /// Writes a record.
    pub(crate) fn write(&mut self, record: &Record) -> io::Result<()> {
        self.add(record)?;
        self.flush()
    }

    /// Adds a record, which is in the file after the next [`Self::flush`].
    pub(crate) fn add(&mut self, record: &Record) -> io::Result<()> {
        match self {
            Self::Json(file, tail) => json::encode(record, tail, file.next_record()?),
            Self::Local(file) => local::encode(record, file.next_record()?),
            Self::None => {}
        }
        Ok(())
    }

    /// Writes what was added.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Json(file, _) | Self::Local(file) => file.flush(),
            Self::None => Ok(()),
        }
    }

    /// Returns the place after what was written.
    pub(crate) fn position(&self) -> Option<LogPosition> {
        match self {
            Self::Json(file, _) | Self::Local(file) => Some(file.position()),
            Self::None => None,
        }
    }
}

/// What log options may take values from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    /// The container's labels, among other attributes of its events.
    pub(crate) attributes: &'a std::collections::BTreeMap<String, String>,
    /// Its environment.
    pub(crate) env: &'a [String],
    /// Its id.
    pub(crate) id: &'a ContainerId,
}

/// Returns where the log of a container is; for a driver that keeps none, where it would be.
pub fn path(folder: &Path, id: &ContainerId, driver: LogDriver) -> PathBuf {
    match driver {
        LogDriver::JsonFile | LogDriver::None => folder.join(format!("{id}-json.log")),
        LogDriver::Local => folder.join("local-logs/container.log"),
    }
}

#[cfg(test)]
mod tests;
