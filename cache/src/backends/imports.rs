//! The caches that a build imports, behind what the store knows itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use rbuild_model::key::{CacheKey, PreImage};
use rbuild_model::snapshot::Chain;
use rbuild_solver::index::{CacheIndex, Found, IndexError, KeyKind, LookUp, NewRecord, Place};
use rbuild_solver::{RecordId, Usage};

use super::catalog::{Catalog, Layer, Mount, Record, Standing};
use super::{Backend, BackendError};
use crate::records::{RecordError, Records};

/// What a build finds: in the store, then in the caches that it imports.
pub struct Imports {
    records: Arc<Records>,
    sources: Vec<Source>,
    state: Mutex<State>,
}

/// A cache that is imported.
struct Source {
    backend: Arc<dyn Backend>,
    catalog: Catalog,
    keys: HashMap<(KeyKind, CacheKey), u32>,
}

#[derive(Default)]
struct State {
    /// Records of the store whose results are in a cache: which, and which record of its catalog.
    known: BTreeMap<RecordId, (usize, u32)>,
    /// Results of which only the keys are of use.
    given_up: Vec<(usize, u32)>,
    /// Caches that turned out to be of no use.
    dropped: Vec<usize>,
}

/// A result that is in a cache.
#[derive(Clone)]
pub struct Wanted {
    /// The number of the cache.
    pub source: usize,
    /// The cache.
    pub backend: Arc<dyn Backend>,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
}

impl Imports {
    /// Puts caches behind the records of a store, the one that is asked first at the front.
    pub fn new(records: Arc<Records>, sources: Vec<(Arc<dyn Backend>, Catalog)>) -> Self {
        let sources = sources
            .into_iter()
            .map(|(backend, catalog)| {
                let mut keys = HashMap::new();
                for (at, record) in catalog.records.iter().enumerate() {
                    keys.extend(record.keys().map(|key| (key, at as u32)));
                }
                Source { backend, catalog, keys }
            })
            .collect();
        Self { records, sources, state: Mutex::default() }
    }

    /// Returns whether there is any cache to look into.
    pub fn is_empty(&self) -> bool {
        self.sources.len() == self.lock().dropped.len()
    }

    /// Returns where the result of a record is, if it is in a cache.
    pub fn wanted(&self, record: RecordId) -> Option<Wanted> {
        let (source, at) = *self.lock().known.get(&record)?;
        let Source { backend, catalog, .. } = &self.sources[source];
        let layers = catalog.stack(catalog.records.get(at as usize)?)?.into_iter().cloned().collect();
        Some(Wanted { source, backend: Arc::clone(backend), layers })
    }

    /// Returns the cache mount of a name, and where it is.
    pub fn mount(&self, name: &str) -> Option<(usize, Arc<dyn Backend>, &Mount)> {
        let state = self.lock();
        self.sources.iter().enumerate().filter(|(at, _)| !state.dropped.contains(at)).find_map(
            |(at, source)| {
                let mount = source.catalog.mounts.iter().find(|mount| mount.name == name)?;
                Some((at, Arc::clone(&source.backend), mount))
            },
        )
    }

    /// Hears that the result of a record is here now: with it, all results that are a part of its stack.
    pub fn came(&self, record: RecordId, chain: &Chain) -> Result<(), RecordError> {
        let mut here = vec![(record, chain.clone())];
        {
            let state = self.lock();
            let Some((source, at)) = state.known.get(&record) else { return self.records.came(&here) };
            let stack = |at: u32| self.sources[*source].catalog.records.get(at as usize)?.layers.as_deref();
            let whole = stack(*at).unwrap_or_default();
            for (other, (of, at)) in &state.known {
                let Some(part) = stack(*at) else { continue };
                if of != source || *other == record || whole.len() != chain.len() {
                    continue;
                }
                if whole.starts_with(part) {
                    here.push((*other, Chain::new(chain.layers()[..part.len()].to_vec())));
                } else if let [only] = part
                    && self.sources[*source].catalog.layers[*only as usize].standing == Standing::Alone
                    && let Some(at) = whole.iter().position(|layer| layer == only)
                {
                    here.push((*other, Chain::new(vec![chain.layers()[at]])));
                }
            }
        }
        self.records.came(&here)
    }

    /// Takes the result of a record for gone from now on: what it stands on is not here. Its keys still lead on.
    pub fn give_up(&self, record: RecordId) {
        let mut state = self.lock();
        if let Some(place) = state.known.remove(&record) {
            state.given_up.push(place);
        }
    }

    /// Leaves a cache out from now on, and forgets what was adopted of it and did not come. Returns its name.
    pub fn drop_source(&self, source: usize) -> Result<&str, RecordError> {
        let adopted: Vec<RecordId> = {
            let mut state = self.lock();
            if !state.dropped.contains(&source) {
                state.dropped.push(source);
            }
            let of = |place: &(usize, u32)| place.0 == source;
            let adopted =
                state.known.iter().filter(|(_, place)| of(place)).map(|(record, _)| *record).collect();
            state.known.retain(|_, place| !of(place));
            adopted
        };
        self.records.forget_adopted(&adopted)?;
        Ok(self.sources[source].backend.name())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds a key in the caches that are of use.
    fn find(&self, state: &State, question: &LookUp) -> Option<(usize, u32)> {
        let alive = self.sources.iter().enumerate().filter(|(at, _)| !state.dropped.contains(at));
        alive.filter_map(|(at, source)| Some((at, *source.keys.get(&(question.kind, question.key))?))).next()
    }

    fn record(&self, (source, at): (usize, u32)) -> &Record {
        &self.sources[source].catalog.records[at as usize]
    }

    fn look(&self, wave: &[LookUp]) -> Result<Vec<Option<Found>>, RecordError> {
        let mut answers = self.records.find_more(wave)?;
        if self.is_empty() {
            return Ok(answers);
        }
        let mut state = self.lock();
        for (question, answer) in wave.iter().zip(&mut answers) {
            if answer.as_ref().is_some_and(|found| found.place != Place::Gone) {
                continue;
            }
            let Some(place) = self.find(&state, question) else { continue };
            let record = self.record(place);
            let at = match answer {
                // What stands on a result was found by its canonical key, and only an equal one can take its place.
                Some(found) if found.canonical != record.canonical => continue,
                Some(found) => found.record,
                None => match self.equal(record)? {
                    Some(found) => {
                        self.records.lead_to(found.record, &[(question.kind, question.key)])?;
                        *answer = Some(found);
                        continue;
                    }
                    None => {
                        let name = self.sources[place.0].backend.name();
                        let adopted = self.records.adopt(name, &[record])?;
                        adopted.into_iter().next().expect("one record was adopted")
                    }
                },
            };
            let is_there = record.layers.is_some() && !state.given_up.contains(&place);
            let elsewhere = if is_there { Place::Elsewhere } else { Place::Gone };
            if elsewhere == Place::Elsewhere {
                state.known.insert(at, place);
            }
            *answer = Some(Found { record: at, canonical: record.canonical, place: elsewhere });
        }
        Ok(answers)
    }

    /// Finds the result of a record of a catalog by its content: it may be here under another definition.
    fn equal(&self, record: &Record) -> Result<Option<Found>, RecordError> {
        let keys: Vec<LookUp> =
            record.contents.iter().map(|key| LookUp { key: *key, kind: KeyKind::Content }).collect();
        let found = self.records.find_more(&keys)?.into_iter().flatten();
        Ok(found.into_iter().find(|found| found.canonical == record.canonical && found.chain().is_some()))
    }
}

/// A record of this store as a catalog has it, without layers.
pub fn described(travelling: &crate::records::Travelling) -> Record {
    let crate::records::Travelling { details, keys, chain: _ } = travelling;
    let of = |wanted: KeyKind, own: Option<CacheKey>| {
        let mut found: Vec<CacheKey> =
            keys.iter().filter(|(kind, _)| *kind == wanted).map(|(_, key)| *key).collect();
        // Its own key comes first, if it still leads to it.
        found.sort_by_key(|key| Some(*key) != own);
        found
    };
    let nanos = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let Usage { cpu, peak_memory, bytes } = details.usage;
    Record {
        name: details.name.clone(),
        definitions: of(KeyKind::Definition, details.definition),
        contents: of(KeyKind::Content, details.content),
        canonical: details.canonical,
        layers: None,
        started_ns: i64::try_from(details.started).unwrap_or(0),
        took_ns: nanos(details.took),
        cpu_ns: cpu.map(nanos),
        peak_memory,
        bytes,
    }
}

impl std::fmt::Debug for Imports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.sources.iter().map(|source| source.backend.name())).finish()
    }
}

impl From<RecordError> for BackendError {
    fn from(error: RecordError) -> Self {
        Self::Here { act: "use the records", source: error.into() }
    }
}

impl CacheIndex for Imports {
    fn look_up(&self, wave: &[LookUp]) -> Result<Vec<Option<Found>>, IndexError> {
        self.look(wave).map_err(|error| IndexError(Box::new(error)))
    }

    fn settle(&self) -> Result<(), IndexError> {
        CacheIndex::settle(&*self.records)
    }

    fn alias(&self, definition: &PreImage, record: RecordId) -> Result<(), IndexError> {
        self.records.alias(definition, record)
    }

    fn insert(&self, record: &NewRecord) -> Result<RecordId, IndexError> {
        self.records.insert(record)
    }
}

#[cfg(test)]
mod tests;
