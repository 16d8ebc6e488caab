//! Taking away what may go, and files that nobody recorded; counting what there is.

use rusqlite::Transaction;

use super::mark::{Mark, Wish, listed, mark, survey};
use super::{
    Candidate, Choice, Collected, Counted, Orphans, Policy, Protection, Sweep, SweepError, SweepReport,
    Swept, Verdict,
};
use crate::Store;
use crate::crash;
use crate::database::DatabaseError;
use crate::error::FileError;
use crate::lock::{LockClass, LockMode, LockName};
use crate::process::{ObjectKind, is_leased};

/// So many objects are condemned in one transaction.
const BATCH: usize = 64;

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
        self.spare_room()?;
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

    /// Gives the reserve back to a file system that is nearly full: even rows cannot be deleted without room. A sweep
    /// begins with it and takes the reserve again at its end.
    pub fn spare_room(&self) -> Result<(), FileError> {
        if crate::space::free(self.layout().root())? < self.reserve().size() {
            self.reserve().release()?;
        }
        Ok(())
    }

    /// Lists all objects there are, and why each is there. Changes nothing.
    pub fn census(&self, owners: &[&dyn Collected]) -> Result<Vec<Counted>, SweepError> {
        let surveyed = survey(self, owners)?;
        self.read(|transaction| -> Result<_, SweepError> {
            let mut mark = Mark::default();
            mark.keep_roots(transaction, owners)?;
            let mut counted = Vec::new();
            for (owner, candidates) in owners.iter().zip(listed(transaction, owners, surveyed)?) {
                let kind = owner.kind();
                for candidate in candidates {
                    let leased = candidate.in_use || is_leased(transaction, kind, &candidate.object)?;
                    let needed = mark.is_kept(kind, &candidate.object);
                    counted.push(Counted { kind, candidate, leased, needed });
                }
            }
            Ok(counted)
        })
    }

    /// Adds up the bytes of all objects there are, with what is read at the very same moment.
    pub(crate) fn total_and<T>(
        &self,
        owners: &[&dyn Collected],
        also: impl Fn(&Transaction<'_>) -> Result<T, DatabaseError>,
    ) -> Result<(u64, T), SweepError> {
        let surveyed = survey(self, owners)?;
        self.read(|transaction| -> Result<_, SweepError> {
            let also = also(transaction)?;
            let all = listed(transaction, owners, surveyed)?;
            Ok((all.iter().flatten().map(|candidate| candidate.bytes).sum(), also))
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
                    for other in owners {
                        other.forget(transaction, owner.kind(), object)?;
                    }
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
