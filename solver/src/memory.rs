//! A [`CacheIndex`] in memory: for tests, and the yardstick of the others.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rbuild_model::key::{CacheKey, PreImage};

use crate::index::{CacheIndex, Found, IndexError, KeyKind, LookUp, NewRecord, Place, RecordId};

/// Results by key, in memory.
#[derive(Debug, Default)]
pub struct MemoryIndex {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    keys: HashMap<(KeyKind, CacheKey), RecordId>,
    records: Vec<Found>,
}

impl MemoryIndex {
    /// Makes an empty index.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the tree of a result.
    pub fn drop_tree(&self, record: RecordId) {
        self.lock().records[record.0 as usize].place = Place::Gone;
    }

    /// Forgets the trees of all results, as garbage collection does; their keys stay.
    pub fn drop_trees(&self) {
        for record in &mut self.lock().records {
            record.place = Place::Gone;
        }
    }

    /// Moves the trees of all results to a cache elsewhere.
    pub fn move_trees(&self) {
        for record in &mut self.lock().records {
            record.place = Place::Elsewhere;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CacheIndex for MemoryIndex {
    fn look_up(&self, wave: &[LookUp]) -> Result<Vec<Option<Found>>, IndexError> {
        let state = self.lock();
        let find = |LookUp { key, kind }: &LookUp| {
            state.keys.get(&(*kind, *key)).map(|RecordId(id)| state.records[*id as usize].clone())
        };
        Ok(wave.iter().map(find).collect())
    }

    fn alias(&self, definition: &PreImage, record: RecordId) -> Result<(), IndexError> {
        self.lock().keys.insert((KeyKind::Definition, definition.key()), record);
        Ok(())
    }

    fn insert(&self, record: &NewRecord) -> Result<RecordId, IndexError> {
        let mut state = self.lock();
        let id = RecordId(state.records.len() as i64);
        state.records.push(Found {
            record: id,
            canonical: record.canonical,
            place: Place::Here(record.chain.clone()),
        });
        for (kind, key) in [(KeyKind::Definition, &record.definition), (KeyKind::Content, &record.content)] {
            if let Some(key) = key {
                state.keys.insert((kind, key.key()), id);
            }
        }
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn conforms() {
        crate::index::conformance::suite(&super::MemoryIndex::new());
    }
}
