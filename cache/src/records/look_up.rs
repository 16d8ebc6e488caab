//! Looking keys up, and keeping what was found.
//!
//! A build asks wave after wave: from the first on all records are protected by one row, and the waves only read. What
//! was found is protected by itself once the build has [settled](Records::settle) on it.

use std::sync::PoisonError;

use rbuild_model::key::CacheKey;
use rbuild_solver::RecordId;
use rbuild_solver::index::{Found, LookUp, Place};
use rbuild_store::process::next_generation;
use rbuild_store::{DatabaseError, Lease, ObjectKind};
use rusqlite::{OptionalExtension, Transaction};

use super::{RecordError, Records, kind_row, now_s, object_of, trees};

/// A use is written down again only when the last one is longer ago: a build that changes nothing writes little.
const USE_RESOLUTION_S: u64 = 60;

/// Whether somebody asks wave after wave, and what was found so far.
#[derive(Debug, Default)]
pub(super) enum Looking {
    /// Nobody has asked yet.
    #[default]
    No,
    /// All records are protected.
    Since(Vec<Seen>),
    /// What was found is protected, and what is found from now on is at once.
    Settled,
}

/// A record that was found with its tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    record: RecordId,
    /// Whether its last use is long ago.
    is_stale: bool,
}

/// What a wave found.
struct Wave {
    answers: Vec<Option<Found>>,
    seen: Vec<Seen>,
}

impl Records {
    /// Looks up a wave of keys; what is found with its tree is leased until this value is dropped.
    pub fn find(&self, wave: &[LookUp]) -> Result<Vec<Option<Found>>, RecordError> {
        if wave.is_empty() {
            return Ok(Vec::new());
        }
        self.settle()?;
        // Most steps are asked for here just before they run, and are not there: that needs no turn to write.
        let Wave { answers, seen } = self.store.read(|transaction| look(transaction, wave))?;
        if seen.is_empty() {
            return Ok(answers);
        }
        self.with_lease(|lease| {
            self.store.write(|transaction| {
                let Wave { answers, seen } = look(transaction, wave)?;
                keep(transaction, lease, &seen)?;
                Ok(answers)
            })
        })
    }

    /// As [`Records::find`], for whoever asks wave after wave: all records are protected from the first on, by one
    /// row, and a wave only reads. [`Records::settle`] protects what was found in place of all.
    pub fn find_more(&self, wave: &[LookUp]) -> Result<Vec<Option<Found>>, RecordError> {
        if wave.is_empty() {
            return Ok(Vec::new());
        }
        let mut looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Looking::Settled = *looking {
            drop(looking);
            return self.find(wave);
        }
        if let Looking::No = *looking {
            self.with_lease(|lease| {
                Ok(self.store.write(|transaction| lease.protect_all(transaction, ObjectKind::RECORD))?)
            })?;
            *looking = Looking::Since(Vec::new());
        }
        let Wave { answers, seen } = self.store.read(|transaction| look(transaction, wave))?;
        if let Looking::Since(all) = &mut *looking {
            all.extend(seen);
        }
        Ok(answers)
    }

    /// Protects what was found, and lets the rest go. Repeatable.
    pub fn settle(&self) -> Result<(), RecordError> {
        let mut looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let Looking::Since(seen) = std::mem::replace(&mut *looking, Looking::Settled) else { return Ok(()) };
        self.with_lease(|lease| {
            self.store.write(|transaction| -> Result<(), DatabaseError> {
                keep(transaction, lease, &seen)?;
                lease.end_all(transaction, ObjectKind::RECORD)
            })?;
            Ok(())
        })
    }

    /// Ends the looking up of a build: returns what was found and not yet protected by itself.
    pub(super) fn end_looking(&self) -> Vec<Seen> {
        match std::mem::take(&mut *self.looking.lock().unwrap_or_else(PoisonError::into_inner)) {
            Looking::Since(seen) => seen,
            Looking::No | Looking::Settled => Vec::new(),
        }
    }
}

fn look(transaction: &Transaction<'_>, wave: &[LookUp]) -> Result<Wave, DatabaseError> {
    let now = now_s();
    let mut found = Wave { answers: Vec::with_capacity(wave.len()), seen: Vec::new() };
    for question in wave {
        let hit = find_one(transaction, question)?;
        if let Some(Hit { found: Found { record, place: Place::Here(_), .. }, used_at }) = &hit {
            let is_stale = now.abs_diff(*used_at) > USE_RESOLUTION_S;
            found.seen.push(Seen { record: *record, is_stale });
        }
        found.answers.push(hit.map(|hit| hit.found));
    }
    Ok(found)
}

/// Leases what was found, and writes down the uses of what was not used for long.
pub(super) fn keep(transaction: &Transaction<'_>, lease: &Lease, seen: &[Seen]) -> Result<(), DatabaseError> {
    let trees: Vec<_> = seen.iter().map(|seen| object_of(seen.record)).collect();
    let objects: Vec<_> = trees.iter().map(|tree| (ObjectKind::RECORD, tree.as_slice())).collect();
    lease.protect(transaction, &objects)?;
    touch(transaction, seen)
}

fn touch(transaction: &Transaction<'_>, seen: &[Seen]) -> Result<(), DatabaseError> {
    if !seen.iter().any(|seen| seen.is_stale) {
        return Ok(());
    }
    let (now, generation) = (now_s(), next_generation(transaction)?);
    let mut touch =
        transaction.prepare_cached("UPDATE records SET generation = ?2, used_at = ?3 WHERE id = ?1")?;
    for Seen { record, .. } in seen.iter().filter(|seen| seen.is_stale) {
        touch.execute((record.0, generation, now))?;
    }
    Ok(())
}

/// What a look-up found, and when it was last used.
pub(super) struct Hit {
    pub(super) found: Found,
    used_at: i64,
}

pub(super) fn find_one(
    transaction: &Transaction<'_>,
    question: &LookUp,
) -> Result<Option<Hit>, DatabaseError> {
    let mut statement = transaction.prepare_cached(
        "SELECT records.id, records.canonical, records.tree, records.chain, records.used_at FROM keys \
         JOIN records ON records.id = keys.record WHERE keys.kind = ?1 AND keys.key = ?2",
    )?;
    let row = statement
        .query_row((kind_row(question.kind), question.key.as_bytes()), |row| {
            let canonical = CacheKey::from_bytes(row.get(1)?);
            let found = Found { record: RecordId(row.get(0)?), canonical, place: Place::Gone };
            Ok((found, row.get::<_, bool>(2)?, row.get(3)?, row.get(4)?))
        })
        .optional()?;
    let Some((mut found, has_tree, chain, used_at)) = row else { return Ok(None) };
    if has_tree {
        found.place = Place::Here(trees::read_chain(transaction, chain)?);
    }
    Ok(Some(Hit { found, used_at }))
}
