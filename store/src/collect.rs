//! Mark and sweep over what owners register.
//!
//! The sweep knows no tables. Each owner implements [`Collected`] for one kind of object: what of it is kept for its
//! own sake ([`Collected::roots`]), what an object needs ([`Collected::references`]), which objects exist.
//!
//! 1. Leases of dead processes are voided.
//! 2. Marking reads one consistent state: roots and leased objects, and all that these need.
//! 3. Each unmarked object of that state is condemned in a write transaction that looks again: a lease or a reference
//!    that came meanwhile saves it. Look-ups take their lease in the transaction that finds the object, so nothing
//!    slips between. The rows of a batch are gone, and synced, before any file is touched.
//! 4. Outside of all transactions the owner moves the files into the trash, which is emptied at the end.
//!
//! Objects that appear after the marking are not candidates. A dry run is the same code without the third step.
//!
//! Some kinds have no rows: files that only save work, and are listed before the marking ([`Collected::survey`]).
//! Where only so much is to go, `plan` chooses.

mod plan;

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use rusqlite::Transaction;
use thiserror::Error;

use crate::Store;
use crate::crash;
use crate::database::DatabaseError;
use crate::error::FileError;
use crate::lock::{LockClass, LockError, LockMode, LockName};
use crate::process::{ALL, ObjectKind, is_leased};

/// So many objects are condemned in one transaction.
const BATCH: usize = 64;

/// Why a sweep did not run or stopped.
#[derive(Debug, Error)]
pub enum SweepError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The lock of sweeps failed.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another process is sweeping.
    #[error("another rbuild is sweeping this store")]
    Busy,
}

/// What is kept although no image or container needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Keep what was used at or after this time, in seconds since 1970; without it age keeps nothing.
    pub used_since: Option<i64>,
    /// Keep so many bytes of what no image needs: what is dearest to make again, and was used last; without it nothing
    /// is kept for its size.
    pub keep_bytes: Option<u64>,
}

/// Says of an object whether it may go at all, whatever the policy.
pub type Choice<'a> = &'a dyn Fn(ObjectKind, &Candidate) -> bool;

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
}

/// An object that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What it is called.
    pub object: Vec<u8>,
    /// How much room it takes, as far as its row tells.
    pub bytes: u64,
    /// When it was last used, in seconds since 1970; `None` for what lives for others alone.
    pub used_at: Option<i64>,
    /// How long making it again takes.
    pub cost: Duration,
}

impl Candidate {
    /// An object that lives for others alone.
    pub fn new(object: Vec<u8>, bytes: u64) -> Self {
        Self { object, bytes, used_at: None, cost: Duration::ZERO }
    }

    /// The object was last used at a time.
    #[must_use]
    pub fn used_at(self, used_at: i64) -> Self {
        Self { used_at: Some(used_at), ..self }
    }

    /// Making it again takes so long.
    #[must_use]
    pub fn costing(self, cost: Duration) -> Self {
        Self { cost, ..self }
    }
}

/// An object that exists, and why it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The kind.
    pub kind: ObjectKind,
    /// The object and its room.
    pub candidate: Candidate,
    /// Whether somebody uses it now.
    pub leased: bool,
    /// Whether something that is kept for its own sake needs it.
    pub needed: bool,
}

/// What became of an object that was to be condemned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its rows are gone: nobody finds it any more.
    Condemned,
    /// It stays.
    Needed,
}

/// When the files of an object begin to be protected from being taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Everybody leases the object before its files get their name: what is there without a lease or a row is nobody's.
    Before,
    /// The lease comes with the row, after the files.
    Afterwards,
}

/// One kind of object that can be swept; implemented by its owner.
pub trait Collected: Sync {
    /// Returns the kind.
    fn kind(&self) -> ObjectKind;

    /// Marks what is kept for its own sake: named or pinned. What the policy keeps, the sweep keeps.
    fn roots(
        &self,
        transaction: &Transaction<'_>,
        policy: &Policy,
        mark: &mut Mark,
    ) -> Result<(), DatabaseError>;

    /// Marks what an object of this kind needs.
    fn references(
        &self,
        transaction: &Transaction<'_>,
        object: &[u8],
        mark: &mut Mark,
    ) -> Result<(), DatabaseError>;

    /// Lists all objects of this kind, those that need others before those.
    fn candidates(&self, transaction: &Transaction<'_>) -> Result<Vec<Candidate>, DatabaseError>;

    /// Lists the objects of this kind that have no rows. What somebody works with is left out.
    fn survey(&self, store: &Store) -> Result<Vec<Candidate>, SweepError> {
        let _ = store;
        Ok(Vec::new())
    }

    /// Deletes the rows of an object that nothing needs, unless it knows better.
    fn condemn(&self, transaction: &Transaction<'_>, object: &[u8]) -> Result<Verdict, DatabaseError>;

    /// Tells whether anything of this owner needs an object of whatever kind.
    ///
    /// Asked once more just before the object is condemned, of all owners: it may be needed since the marking.
    fn needs(
        &self,
        transaction: &Transaction<'_>,
        kind: ObjectKind,
        object: &[u8],
    ) -> Result<bool, DatabaseError>;

    /// Moves the files of a condemned object out of sight; repeatable.
    ///
    /// Where the same name can be published again, this holds its [`LockClass::Publish`] lock and looks once more.
    fn reclaim(&self, store: &Store, object: &[u8]) -> Result<(), SweepError>;

    /// Says when the files of this kind begin to be protected.
    fn protection(&self) -> Protection {
        Protection::Afterwards
    }

    /// Tidies up after all objects of a sweep were condemned.
    fn finish(&self, transaction: &Transaction<'_>) -> Result<(), DatabaseError> {
        let _ = transaction;
        Ok(())
    }

    /// Finds files that no row names, and rows whose files are missing. Repairs nothing.
    fn check(&self, store: &Store) -> Result<Vec<crate::doctor::Finding>, DatabaseError> {
        let _ = store;
        Ok(Vec::new())
    }
}

/// One object that a sweep took, or would take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swept {
    /// The kind.
    pub kind: ObjectKind,
    /// The object and its room.
    pub candidate: Candidate,
}

/// What a sweep did.
#[derive(Debug, Default)]
pub struct SweepReport {
    /// The objects that were taken, or would be by a sweep that is not dry.
    pub swept: Vec<Swept>,
    /// Their room altogether, as far as their rows tell.
    pub bytes: u64,
    /// What could not be moved away or removed; it is found again by `doctor`.
    pub failures: Vec<SweepError>,
}

/// Whether a sweep takes what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sweep {
    /// Take it.
    Take,
    /// Only tell.
    Dry,
}

/// Whether files that nobody recorded were taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orphans {
    /// There are none any more.
    Gone,
    /// There may be some: other processes work in the store, to which they may belong.
    Left,
}

impl Store {
    /// Sweeps what nothing needs; owners that need objects of others come before those.
    pub fn sweep(
        &self,
        owners: &[&dyn Collected],
        policy: &Policy,
        sweep: Sweep,
    ) -> Result<SweepReport, SweepError> {
        self.sweep_chosen(owners, policy, &|_, _| true, sweep)
    }

    /// As [`Store::sweep`], of certain objects; what the others need stays.
    pub fn sweep_chosen(
        &self,
        owners: &[&dyn Collected],
        policy: &Policy,
        choice: Choice<'_>,
        sweep: Sweep,
    ) -> Result<SweepReport, SweepError> {
        let wish = Wish { policy, choice };
        if sweep == Sweep::Dry {
            // Nothing is changed, so others may sweep meanwhile.
            let surveyed = survey(self, owners)?;
            let unmarked = self.read(|transaction| mark(transaction, owners, surveyed, &wish))?;
            let mut report = SweepReport::default();
            for (owner, candidates) in owners.iter().zip(unmarked) {
                report.add(owner.kind(), candidates);
            }
            return Ok(report);
        }
        let name = LockName::new(LockClass::Upkeep, "sweep");
        let lock = self.locks().scope().try_acquire(&name, LockMode::Exclusive)?.ok_or(SweepError::Busy)?;
        // On a full disk even rows cannot be deleted without room; the reserve is taken again at the end.
        if crate::space::free(self.layout().root())? < self.reserve().size() {
            self.reserve().release()?;
        }
        self.void_dead_leases()?;
        let surveyed = survey(self, owners)?;
        let unmarked = self.read(|transaction| mark(transaction, owners, surveyed, &wish))?;
        crash::point("sweep.marked");
        let mut report = SweepReport::default();
        for (owner, candidates) in owners.iter().zip(unmarked) {
            for batch in candidates.chunks(BATCH) {
                self.sweep_batch(owners, *owner, batch, &mut report)?;
            }
            if !candidates.is_empty() {
                self.write(|transaction| owner.finish(transaction))?;
            }
        }
        drop(lock);
        report.failures.extend(self.empty_trash()?.failures.into_iter().map(SweepError::File));
        self.reserve().restore()?;
        Ok(report)
    }

    /// Lists all objects there are, and why each is there. Changes nothing.
    pub fn census(&self, owners: &[&dyn Collected]) -> Result<Vec<Counted>, SweepError> {
        let surveyed = survey(self, owners)?;
        self.read(|transaction| -> Result<Vec<Counted>, SweepError> {
            let mut mark = Mark::default();
            for owner in owners {
                owner.roots(transaction, &Policy::default(), &mut mark)?;
            }
            mark.follow(transaction, owners)?;
            let mut counted = Vec::new();
            for (owner, candidates) in owners.iter().zip(listed(transaction, owners, surveyed)?) {
                let kind = owner.kind();
                for candidate in candidates {
                    let leased = is_leased(transaction, kind, &candidate.object)?;
                    let needed = mark.is_kept(kind, &candidate.object);
                    counted.push(Counted { kind, candidate, leased, needed });
                }
            }
            Ok(counted)
        })
    }

    /// Takes away files that killed processes made and never recorded. Dead leases are voided first.
    ///
    /// A file without a row may also be one that is just being made. Of kinds that are leased before they are made there
    /// is then a lease; of others nothing is taken while another process works in this store: a file that was there
    /// before none did, and has no row afterwards, is nobody's.
    pub fn discard_orphans(&self, owners: &[&dyn Collected]) -> Result<Orphans, SweepError> {
        let mut left = Orphans::Gone;
        for owner in owners {
            let suspects = orphans(*owner, self)?;
            if suspects.is_empty() {
                continue;
            }
            if owner.protection() == Protection::Afterwards && self.others_work()? {
                left = Orphans::Left;
                continue;
            }
            let unprotected = self.read(|transaction| -> Result<Vec<Vec<u8>>, DatabaseError> {
                let mut unprotected = Vec::new();
                for object in suspects {
                    if !is_leased(transaction, owner.kind(), &object)? {
                        unprotected.push(object);
                    }
                }
                Ok(unprotected)
            })?;
            let still = orphans(*owner, self)?;
            for object in unprotected.into_iter().filter(|object| still.contains(object)) {
                owner.reclaim(self, &object)?;
            }
        }
        Ok(left)
    }

    fn sweep_batch(
        &self,
        owners: &[&dyn Collected],
        owner: &dyn Collected,
        batch: &[Candidate],
        report: &mut SweepReport,
    ) -> Result<(), SweepError> {
        let condemned = self.write_synced(|transaction| -> Result<Vec<Candidate>, DatabaseError> {
            let mut condemned = Vec::with_capacity(batch.len());
            for candidate in batch {
                let object = &candidate.object;
                let is_needed = || -> Result<bool, DatabaseError> {
                    for other in owners {
                        if other.needs(transaction, owner.kind(), object)? {
                            return Ok(true);
                        }
                    }
                    is_leased(transaction, owner.kind(), object)
                };
                if !is_needed()? && owner.condemn(transaction, object)? == Verdict::Condemned {
                    condemned.push(candidate.clone());
                }
            }
            Ok(condemned)
        })?;
        crash::point("sweep.condemned");
        for candidate in &condemned {
            if let Err(error) = owner.reclaim(self, &candidate.object) {
                report.failures.push(error);
            }
        }
        crash::point("sweep.reclaimed");
        report.add(owner.kind(), condemned);
        Ok(())
    }
}

impl SweepReport {
    fn add(&mut self, kind: ObjectKind, candidates: Vec<Candidate>) {
        for candidate in candidates {
            self.bytes = self.bytes.saturating_add(candidate.bytes);
            self.swept.push(Swept { kind, candidate });
        }
    }
}

/// What may go.
struct Wish<'a> {
    policy: &'a Policy,
    choice: Choice<'a>,
}

impl Mark {
    /// Marks all that what is marked needs.
    fn follow(
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

/// Lists for each owner the objects that have no rows.
fn survey(store: &Store, owners: &[&dyn Collected]) -> Result<Vec<Vec<Candidate>>, SweepError> {
    owners.iter().map(|owner| owner.survey(store)).collect()
}

/// Lists for each owner all of its objects.
fn listed(
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
fn mark(
    transaction: &Transaction<'_>,
    owners: &[&dyn Collected],
    surveyed: Vec<Vec<Candidate>>,
    wish: &Wish<'_>,
) -> Result<Vec<Vec<Candidate>>, DatabaseError> {
    let mut mark = Mark::default();
    for owner in owners {
        owner.roots(transaction, wish.policy, &mut mark)?;
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
            candidates.retain(|candidate| !mark.is_kept(owner.kind(), &candidate.object));
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

/// The objects of an owner's files that no row names; files whose names are no objects are left to whoever put them.
fn orphans(owner: &dyn Collected, store: &Store) -> Result<Vec<Vec<u8>>, DatabaseError> {
    let findings = owner.check(store)?;
    let names = findings.iter().filter_map(|finding| match finding {
        crate::doctor::Finding::Orphan { path } => path.file_name()?.to_str(),
        _ => None,
    });
    Ok(names.filter_map(bytes_of_hex).collect())
}

fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0 && !digits.is_empty())?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}
