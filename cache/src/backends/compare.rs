//! What a store and a cache elsewhere have of each other's results, by their keys.

use std::collections::HashSet;

use rbuild_solver::LookUp;

use super::catalog::{Catalog, Record};
use crate::records::builds::BuildResult;
use crate::records::{RecordError, Records};

/// Who has a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Both.
    Both,
    /// Both, the cache without its layers.
    KeysOnly,
    /// Only the cache.
    Cache,
    /// Only the store.
    Store,
}

/// A result that one of the two has, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// Who has it.
    pub side: Side,
    /// The display name of its step.
    pub name: String,
    /// The bytes of its layers, as far as they are known.
    pub bytes: Option<u64>,
}

impl Catalog {
    /// Returns what the blobs of a record's layers come to; nothing if they do not travel.
    pub fn bytes(&self, record: &Record) -> Option<u64> {
        let stack = self.stack(record)?;
        Some(stack.iter().filter_map(|layer| layer.blob.as_ref()).map(|blob| blob.size).sum())
    }
}

/// Compares the results of catalogs with a store, and those of the last build of a project with the catalogs.
pub fn compare(records: &Records, catalogs: &[Catalog], project: &str) -> Result<Vec<Compared>, RecordError> {
    let mut lines = Vec::new();
    let mut there = HashSet::new();
    for catalog in catalogs {
        for record in &catalog.records {
            there.extend(record.keys());
            let wave: Vec<LookUp> = record.keys().map(|(kind, key)| LookUp { key, kind }).collect();
            let found = records.find(&wave)?;
            let is_here = found.into_iter().flatten().any(|found| found.canonical == record.canonical);
            let side = match (is_here, &record.layers) {
                (true, Some(_)) => Side::Both,
                (true, None) => Side::KeysOnly,
                (false, _) => Side::Cache,
            };
            lines.push(Compared { side, name: record.name.clone(), bytes: catalog.bytes(record) });
        }
    }
    let builds = records.builds(project)?;
    let Some(last) = builds.iter().find(|build| build.result == BuildResult::Succeeded) else {
        return Ok(lines);
    };
    let mut known = HashSet::new();
    let lineage = records.lineage(last.id)?;
    let ids: Vec<_> = lineage.iter().filter_map(|line| line.record).filter(|id| known.insert(*id)).collect();
    for travelling in records.travelling(&ids)?.into_iter().flatten() {
        if !travelling.keys.is_empty() && !travelling.keys.iter().any(|key| there.contains(key)) {
            let (name, bytes) = (travelling.details.name, travelling.details.usage.bytes);
            lines.push(Compared { side: Side::Store, name, bytes });
        }
    }
    Ok(lines)
}
