//! What is wrong with a store: findings with their way out.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

use crate::Store;
use crate::collect::Collected;
use crate::database::DatabaseError;
use crate::error::{Context, FileError};
use crate::id::UniqueId;

/// Why the checks could not run.
#[derive(Debug, Error)]
pub enum CheckError {
    /// The database could not be read at all.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A folder could not be read.
    #[error(transparent)]
    File(#[from] FileError),
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It costs room or time; upkeep takes care of it.
    Untidy,
    /// Something can be made again and has to be.
    Lost,
    /// Something is broken that cannot be made again.
    Broken,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A statement of SQLite about its file.
    Database {
        /// What it says.
        message: String,
    },
    /// A folder of the layout is missing.
    MissingFolder {
        /// The folder.
        path: PathBuf,
    },
    /// Something lies in the store that no row names.
    Orphan {
        /// Where it lies.
        path: PathBuf,
    },
    /// A row names something that is not there.
    Missing {
        /// Where it should lie.
        path: PathBuf,
    },
    /// The bytes are not what the name says.
    Damaged {
        /// Where it lies.
        path: PathBuf,
    },
    /// A dead process left unfinished work.
    Abandoned {
        /// Where it lies.
        path: PathBuf,
    },
    /// Condemned things wait to be unlinked.
    Trash {
        /// How many.
        entries: usize,
    },
    /// Things that failed verification are kept for inspection.
    Quarantined {
        /// How many.
        entries: usize,
    },
    /// The room for a full disk is not held.
    NoReserve,
}

impl Finding {
    /// Returns how bad it is.
    pub fn severity(&self) -> Severity {
        match self {
            Self::Database { .. } | Self::MissingFolder { .. } => Severity::Broken,
            Self::Missing { .. } | Self::Damaged { .. } => Severity::Lost,
            Self::Orphan { .. }
            | Self::Abandoned { .. }
            | Self::Trash { .. }
            | Self::Quarantined { .. }
            | Self::NoReserve => Severity::Untidy,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Database { message } => write!(f, "the database is damaged: {message}"),
            Self::MissingFolder { path } => write!(f, "the folder `{}` is missing", path.display()),
            Self::Orphan { path } => write!(f, "`{}` belongs to nothing", path.display()),
            Self::Missing { path } => write!(f, "`{}` is recorded and not there", path.display()),
            Self::Damaged { path } => write!(f, "`{}` does not hold what its name says", path.display()),
            Self::Abandoned { path } => {
                write!(f, "`{}` was left unfinished by a dead process", path.display())
            }
            Self::Trash { entries } => write!(f, "{entries} condemned things wait to be removed"),
            Self::Quarantined { entries } => write!(f, "{entries} damaged things are kept for inspection"),
            Self::NoReserve => write!(f, "no room is reserved for a full disk"),
        }
    }
}

impl Store {
    /// Checks the store and what its owners keep in it. Changes nothing.
    pub fn doctor(&self, owners: &[&dyn Collected]) -> Result<Vec<Finding>, CheckError> {
        let mut findings: Vec<Finding> =
            self.database().check()?.into_iter().map(|message| Finding::Database { message }).collect();
        let layout = self.layout();
        let folders = layout.root_folders().chain(layout.run_folders());
        findings.extend(folders.filter(|path| !path.is_dir()).map(|path| Finding::MissingFolder { path }));
        let tmp = layout.tmp();
        for entry in std::fs::read_dir(&tmp).at("list", &tmp)? {
            let entry = entry.at("list", &tmp)?;
            let alive = match entry.file_name().to_str().and_then(UniqueId::parse) {
                Some(id) => self.is_own(id) || self.is_alive(id)?,
                None => false,
            };
            if !alive {
                findings.push(Finding::Abandoned { path: entry.path() });
            }
        }
        let count = |folder: PathBuf| -> Result<usize, FileError> {
            Ok(std::fs::read_dir(&folder).at("list", &folder)?.count())
        };
        match count(layout.trash())? {
            0 => {}
            entries => findings.push(Finding::Trash { entries }),
        }
        match count(layout.bad())? {
            0 => {}
            entries => findings.push(Finding::Quarantined { entries }),
        }
        if !self.reserve().restore_not_needed() && !self.is_bare()? {
            findings.push(Finding::NoReserve);
        }
        for owner in owners {
            findings.extend(owner.check(self)?);
        }
        Ok(findings)
    }

    fn is_own(&self, id: UniqueId) -> bool {
        self.process_cell().get().is_some_and(|process| process.id == id)
    }
}
