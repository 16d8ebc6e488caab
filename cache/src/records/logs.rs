//! The logs of steps: plain files in the store's `logs/`, named by records.
//!
//! A log is written while its step runs, before there is a record that could name it. Its own name begins with the id
//! of the process that writes it ([`Store::process_id`](rbuild_store::Store::process_id)) and a dash, so that a log
//! which no record names can be told from one that is still being written.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use rbuild_store::{DatabaseError, FileError, UniqueId};

use super::{RecordError, Records};

impl Records {
    /// Names a new log, for [`NewRecord::log`](rbuild_solver::index::NewRecord::log), and says where to write it.
    pub fn new_log(&self) -> Result<(String, PathBuf), RecordError> {
        let name = format!("{}-{}", self.store.process_id()?, UniqueId::random()?);
        let path = self.log_path(&name);
        Ok((name, path))
    }

    /// Returns where the log with this name lies; a name that would lead elsewhere leads to nothing.
    pub fn log_path(&self, name: &str) -> PathBuf {
        let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.');
        let name = if is_plain && !name.starts_with('.') && !name.is_empty() { name } else { "not-a-log" };
        self.store.layout().logs().join(name)
    }

    /// Throws away the logs that no record names and no live process writes; returns how many there were.
    pub fn sweep_logs(&self) -> Result<usize, RecordError> {
        let ours = self.store.process_id()?;
        // Listed before the rows are read: a log that gets its record in between is not among the files, or is named.
        let folder = self.store.layout().logs();
        let failed = |error| FileError::new("list", &folder, error);
        let mut loose = Vec::new();
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let owner =
                name.to_str().and_then(|name| name.split_once('-')).and_then(|(id, _)| UniqueId::parse(id));
            let is_written = match owner {
                Some(owner) => owner == ours || self.store.is_alive(owner)?,
                None => false,
            };
            if !is_written {
                loose.push(entry.path());
            }
        }
        let named: HashSet<String> = self.store.read(|transaction| -> Result<_, DatabaseError> {
            let mut statement =
                transaction.prepare_cached("SELECT log FROM records WHERE log IS NOT NULL")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })?;
        let mut swept = 0;
        for path in loose {
            let is_named =
                path.file_name().and_then(|name| name.to_str()).is_some_and(|name| named.contains(name));
            if !is_named && self.store.discard(&path)? {
                swept += 1;
            }
        }
        Ok(swept)
    }
}
