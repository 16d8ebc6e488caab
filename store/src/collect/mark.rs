//! What may go: everything that exists, less what is named, leased, needed or kept.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use rusqlite::Transaction;

use super::{Candidate, Choice, Collected, Policy, SweepError, plan};
use crate::Store;
use crate::database::DatabaseError;
use crate::process::{ALL, ObjectKind};

/// What is alive, as far as it is known.
#[derive(Debug, Default)]
pub struct Mark {
    alive: HashMap<ObjectKind, HashSet<Vec<u8>>>,
    fresh: Vec<(ObjectKind, Vec<u8>)>,
}

impl Mark {
    /// Says that an object is alive.
    pub fn keep(&mut self, kind: ObjectKind, object: &[u8]) {
        let known = self.alive.entry(kind).or_default();
        if !known.contains(object) {
            known.insert(object.to_vec());
            self.fresh.push((kind, object.to_vec()));
        }
    }

    /// Tells whether an object is known to be alive.
    pub fn is_kept(&self, kind: ObjectKind, object: &[u8]) -> bool {
        self.alive.get(&kind).is_some_and(|known| known.contains(object))
    }

    /// Returns what is known to be alive, each with its kind.
    pub(crate) fn into_kept(self) -> impl Iterator<Item = (ObjectKind, Vec<u8>)> {
        self.alive
            .into_iter()
            .flat_map(|(kind, objects)| objects.into_iter().map(move |object| (kind, object)))
    }

    /// Marks what the owners keep for its own sake, and all that this needs.
    pub(super) fn keep_roots(
        &mut self,
        transaction: &Transaction<'_>,
        owners: &[&dyn Collected],
    ) -> Result<(), DatabaseError> {
        for owner in owners {
            for (kind, object) in owner.keepers(transaction)?.iter().flat_map(|keeper| &keeper.objects) {
                self.keep(*kind, object);
            }
        }
        self.follow(transaction, owners)
    }

    /// Marks all that what is marked needs.
    pub(crate) fn follow(
        &mut self,
        transaction: &Transaction<'_>,
        owners: &[&dyn Collected],
    ) -> Result<(), DatabaseError> {
        while let Some((kind, object)) = self.fresh.pop() {
            if let Some(owner) = owners.iter().find(|owner| owner.kind() == kind) {
                owner.references(transaction, &object, self)?;
            }
        }
        Ok(())
    }
}

/// What may go.
pub(super) struct Wish<'a> {
    pub(super) policy: &'a Policy,
    pub(super) choice: Choice<'a>,
}

/// Lists for each owner the objects that have no rows.
pub(super) fn survey(store: &Store, owners: &[&dyn Collected]) -> Result<Vec<Vec<Candidate>>, SweepError> {
    owners.iter().map(|owner| owner.survey(store)).collect()
}

/// Lists for each owner all of its objects.
pub(super) fn listed(
    transaction: &Transaction<'_>,
    owners: &[&dyn Collected],
    surveyed: Vec<Vec<Candidate>>,
) -> Result<Vec<Vec<Candidate>>, DatabaseError> {
    owners
        .iter()
        .zip(surveyed)
        .map(|(owner, mut candidates)| {
            candidates.extend(owner.candidates(transaction)?);
            Ok(candidates)
        })
        .collect()
}

/// Lists for each owner the objects that go.
pub(super) fn mark(
    transaction: &Transaction<'_>,
    owners: &[&dyn Collected],
    surveyed: Vec<Vec<Candidate>>,
    wish: &Wish<'_>,
) -> Result<Vec<Vec<Candidate>>, DatabaseError> {
    let mut mark = Mark::default();
    mark.keep_roots(transaction, owners)?;
    for owner in owners {
        let mut statement = transaction.prepare_cached("SELECT object FROM lease_objects WHERE kind = ?1")?;
        let mut rows = statement.query([owner.kind().0])?;
        while let Some(row) = rows.next()? {
            match row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)? {
                ALL => {
                    for candidate in owner.candidates(transaction)? {
                        mark.keep(owner.kind(), &candidate.object);
                    }
                }
                object => mark.keep(owner.kind(), object),
            }
        }
    }
    mark.follow(transaction, owners)?;
    let mut unmarked = listed(transaction, owners, surveyed)?;
    let retain = |unmarked: &mut [Vec<Candidate>], mark: &Mark| {
        for (owner, candidates) in owners.iter().zip(unmarked) {
            candidates
                .retain(|candidate| !candidate.in_use && !mark.is_kept(owner.kind(), &candidate.object));
        }
    };
    retain(&mut unmarked, &mark);
    let bytes =
        |unmarked: &[Vec<Candidate>]| unmarked.iter().flatten().map(|candidate| candidate.bytes).sum::<u64>();
    let all = bytes(&unmarked);
    for (owner, candidates) in owners.iter().zip(&unmarked) {
        let stays = |candidate: &&Candidate| {
            let is_recent = wish
                .policy
                .used_since
                .is_some_and(|since| candidate.used_at.is_some_and(|used_at| used_at >= since));
            // What lives for others alone goes when they do, not by its own age.
            is_recent || !(wish.choice)(owner.kind(), candidate)
        };
        candidates.iter().filter(stays).for_each(|candidate| mark.keep(owner.kind(), &candidate.object));
    }
    mark.follow(transaction, owners)?;
    retain(&mut unmarked, &mark);
    if let Some(keep) = wish.policy.keep_bytes {
        let gone = plan::victims(&pieces(transaction, owners, &unmarked)?, all.saturating_sub(keep));
        let mut gone = gone.into_iter();
        for candidates in &mut unmarked {
            candidates.retain(|_| gone.next().unwrap_or(false));
        }
    }
    Ok(unmarked)
}

/// Describes what may go to whoever chooses.
fn pieces(
    transaction: &Transaction<'_>,
    owners: &[&dyn Collected],
    unmarked: &[Vec<Candidate>],
) -> Result<Vec<plan::Piece>, DatabaseError> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let listed = || {
        let all = owners.iter().zip(unmarked);
        all.flat_map(|(owner, candidates)| candidates.iter().map(|candidate| (*owner, candidate)))
    };
    let places: HashMap<(ObjectKind, &[u8]), usize> = listed()
        .enumerate()
        .map(|(at, (owner, candidate))| ((owner.kind(), &*candidate.object), at))
        .collect();
    listed()
        .map(|(owner, candidate)| {
            let mut needs = Mark::default();
            owner.references(transaction, &candidate.object, &mut needs)?;
            let needs =
                needs.fresh.iter().filter_map(|(kind, object)| places.get(&(*kind, &**object)).copied());
            let idle = |used_at: i64| now.saturating_sub(used_at.unsigned_abs());
            Ok(plan::Piece {
                bytes: candidate.bytes,
                cost: candidate.cost,
                idle: candidate.used_at.map(|used_at| Duration::from_secs(idle(used_at))),
                needs: needs.collect(),
            })
        })
        .collect()
}
