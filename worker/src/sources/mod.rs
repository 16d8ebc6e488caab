//! Trees that are brought in from outside: files of web servers, commits of git repositories, archives.
//!
//! Each is known by a key of its content (a digest, a commit), never of its address: [`Fetcher::found`] says whether the
//! tree is here already, [`Fetcher::keep`] remembers one that was made. What is remembered beside the tree (validators,
//! bare repositories) only saves traffic, and may be thrown away at any time.
//!
//! | Source | Key | What is asked of the server |
//! |---|---|---|
//! | [`http`] | the digest of the bytes, name, mode, `Last-Modified` | whether the file is another one; nothing where a checksum is given and the file is here |
//! | [`git`] | the commit, the folder in it, what of it is kept | what the reference means; nothing where it is a commit that is here |
//! | [`archive`] | the digest of the bytes | – |

pub(crate) mod archive;
pub(crate) mod git;
pub(crate) mod http;

use std::time::SystemTime;

use rbuild_confined::Root;
use rbuild_model::key::{CacheKey, PreImage};
use rbuild_model::snapshot::Chain;
use rbuild_snapshotter::Active;
use rbuild_solver::{IndexError, KeyKind, LookUp, NewRecord, RecordId, StepResult, Tree, Usage};
use rbuild_store::{Lock, LockClass, LockMode, LockName, LockScope, Room, Wait};

use crate::cancel::Cancel;
use crate::error::StepError;
use crate::request::Client;
use crate::room;
use crate::tasks::Task;
use crate::worker::Worker;

/// What a source is fetched with.
pub(crate) struct Fetcher<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) client: &'a dyn Client,
    pub(crate) cancel: &'a Cancel,
    pub(crate) task: &'a Task,
    /// What the source is called in messages; without credentials.
    pub(crate) name: &'a str,
    /// What it is called where it is kept: as it is written.
    pub(crate) kept_name: &'a str,
}

/// A tree from outside.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    pub(crate) chain: Chain,
    canonical: CacheKey,
    record: RecordId,
}

impl From<Fetched> for StepResult {
    fn from(fetched: Fetched) -> Self {
        let Fetched { chain, canonical, record } = fetched;
        Self { tree: Tree::Chain(chain), canonical: Some(canonical), record: Some(record), found: None }
    }
}

impl Fetcher<'_> {
    /// Returns the tree of a key, if it is here.
    pub(crate) fn found(&self, definition: &PreImage) -> Result<Option<Fetched>, StepError> {
        let key = LookUp { key: definition.key(), kind: KeyKind::Definition };
        let found = self.worker.records.find(&[key]).map_err(IndexError::from)?.into_iter().flatten().next();
        Ok(found.and_then(|found| {
            let chain = found.chain()?.clone();
            let here = chain.layers().iter().all(|layer| self.worker.snapshotter.contains(*layer));
            here.then_some(Fetched { chain, canonical: found.canonical, record: found.record })
        }))
    }

    /// Makes a tree, unless the key that writing it comes to has one already. Who knows of bytes before they are written may
    /// reserve room for them; the rest is reserved before the commit.
    pub(crate) fn make(
        &self,
        write: impl FnOnce(&Root, &mut Option<Room>) -> Result<PreImage, StepError>,
    ) -> Result<Fetched, StepError> {
        let started =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let snapshotter = &*self.worker.snapshotter;
        let active = snapshotter.prepare(&Chain::empty()).map_err(StepError::Snapshot)?;
        let mut room = None;
        let root = snapshotter.open_active(&active).map_err(StepError::Snapshot);
        let written = root.and_then(|root| write(&root, &mut room));
        let known = written.and_then(|definition| Ok((self.found(&definition)?, definition)));
        match known {
            Ok((None, definition)) => self.keep(definition, active, started, room),
            Ok((Some(found), _)) => {
                // What is left of it goes with this process's unfinished work.
                let _ = snapshotter.discard(active);
                Ok(found)
            }
            Err(error) => {
                let _ = snapshotter.discard(active);
                Err(error)
            }
        }
    }

    fn keep(
        &self,
        definition: PreImage,
        active: Active,
        started: u128,
        room: Option<Room>,
    ) -> Result<Fetched, StepError> {
        let (store, snapshotter) = (&self.worker.store, &*self.worker.snapshotter);
        let room = room.map_or_else(|| store.reserve_room(0), Ok).map_err(StepError::Room)?;
        let bytes = match room::settle(store, snapshotter, &active, &room) {
            Ok(bytes) => bytes,
            Err(error) => {
                let _ = snapshotter.discard(active);
                return Err(error);
            }
        };
        let id = snapshotter.commit(active).map_err(StepError::Snapshot)?;
        let chain = Chain::empty().with(id);
        let canonical = definition.key();
        let new = NewRecord {
            name: self.kept_name.to_owned(),
            definition: Some(definition),
            content: None,
            canonical,
            chain: chain.clone(),
            started: i128::try_from(started).unwrap_or(i128::MAX),
            took: self.task.elapsed(),
            usage: Usage { bytes, ..Usage::default() },
            log: None,
        };
        let record = self.worker.records.remember_in(&new, &[], &room).map_err(IndexError::from)?;
        Ok(Fetched { chain, canonical, record })
    }

    /// Waits until nobody else fetches the same; a task holds at most one such lock.
    pub(crate) fn alone(&self, scope: &LockScope, subject: CacheKey) -> Result<Lock, StepError> {
        let cancel = self.cancel.for_locks();
        let wait = Wait { cancel: cancel.wish.clone(), timeout: None, notice: None };
        Ok(scope.acquire(&LockName::new(LockClass::Step, subject), LockMode::Exclusive, &wait)?)
    }

    pub(crate) fn failed(&self, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StepError {
        if self.cancel.is_cancelled() {
            return StepError::Cancelled;
        }
        // A step is called by its kind, too.
        let what = self.name.split_once("] ").map_or(self.name, |(_, what)| what);
        StepError::Fetch { what: what.to_owned(), source: error.into() }
    }
}
