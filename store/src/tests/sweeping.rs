use rusqlite::Transaction;

use super::*;
use crate::collect::{Candidate, Collected, Keeper, Mark, Policy, Sweep, SweepError, Verdict};

/// Sweeps notes.
pub(crate) struct Notes;

impl Collected for Notes {
    fn kind(&self) -> ObjectKind {
        NOTE
    }

    fn keepers(&self, transaction: &Transaction<'_>) -> Result<Vec<Keeper>, DatabaseError> {
        let mut statement = transaction.prepare("SELECT name FROM notes WHERE pinned = 1")?;
        let rows = statement.query_map([], |row| {
            let name: String = row.get(0)?;
            Ok(Keeper { objects: vec![(NOTE, name.clone().into_bytes())], name })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn references(
        &self,
        transaction: &Transaction<'_>,
        object: &[u8],
        mark: &mut Mark,
    ) -> Result<(), DatabaseError> {
        let name = std::str::from_utf8(object).unwrap();
        let needs: Option<String> =
            transaction.query_row("SELECT needs FROM notes WHERE name = ?1", [name], |row| row.get(0))?;
        needs.into_iter().for_each(|needs| mark.keep(NOTE, needs.as_bytes()));
        Ok(())
    }

    fn candidates(&self, transaction: &Transaction<'_>) -> Result<Vec<Candidate>, DatabaseError> {
        let mut statement = transaction.prepare("SELECT name FROM notes ORDER BY needs IS NULL, name")?;
        let rows =
            statement.query_map([], |row| Ok(Candidate::new(row.get::<_, String>(0)?.into_bytes(), 4)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn condemn(&self, transaction: &Transaction<'_>, object: &[u8]) -> Result<Verdict, DatabaseError> {
        let name = std::str::from_utf8(object).unwrap();
        let gone = transaction.execute("DELETE FROM notes WHERE name = ?1", [name])?;
        Ok(if gone == 1 { Verdict::Condemned } else { Verdict::Needed })
    }

    fn needs(
        &self,
        transaction: &Transaction<'_>,
        kind: ObjectKind,
        object: &[u8],
    ) -> Result<bool, DatabaseError> {
        let name = std::str::from_utf8(object).unwrap();
        Ok(kind == NOTE && transaction.prepare("SELECT 1 FROM notes WHERE needs = ?1")?.exists([name])?)
    }

    fn reclaim(&self, store: &Store, object: &[u8]) -> Result<(), SweepError> {
        store.discard(&store.layout().index().join(std::str::from_utf8(object).unwrap()))?;
        Ok(())
    }
}

fn files(store: &Store) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(store.layout().index())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn pin(store: &Store, name: &str) {
    store
        .write(|transaction| -> Result<(), DatabaseError> {
            transaction.execute("UPDATE notes SET pinned = 1 WHERE name = ?1", [name])?;
            Ok(())
        })
        .unwrap();
}

#[test]
fn what_nothing_needs_goes_and_the_rest_stays() {
    let place = Place::new();
    let store = place.open();
    add_note(&store, "base", None);
    add_note(&store, "pinned", Some("base"));
    add_note(&store, "loose", Some("base"));
    add_note(&store, "lone", None);
    add_note(&store, "leased", None);
    pin(&store, "pinned");
    let lease = store.lease("test").unwrap();
    store.write(|transaction| lease.protect(transaction, &[(NOTE, b"leased")])).unwrap();

    let dry = store.sweep(&[&Notes], &Policy::default(), Sweep::Dry).unwrap();
    assert_eq!(dry.swept.len(), 2);
    assert_eq!(notes(&store).len(), 5);

    let report = store.sweep(&[&Notes], &Policy::default(), Sweep::Take).unwrap();
    assert_eq!(report.swept, dry.swept, "a dry run tells what a sweep takes");
    assert_eq!((report.bytes, report.failures.len()), (8, 0));
    assert_eq!(notes(&store), ["base", "leased", "pinned"]);
    assert_eq!(files(&store), ["base", "leased", "pinned"]);

    lease.release().unwrap();
    store.sweep(&[&Notes], &Policy::default(), Sweep::Take).unwrap();
    assert_eq!(notes(&store), ["base", "pinned"]);
    assert_eq!(store.doctor(&[&Notes]).unwrap(), []);
}

#[test]
fn a_lease_of_a_dead_process_is_void_and_one_of_a_live_process_is_not() {
    let place = Place::new();
    let one = place.open();
    let two = place.open();
    add_note(&one, "a", None);
    let lease = one.lease("test").unwrap();
    one.write(|transaction| lease.protect(transaction, &[(NOTE, b"a")])).unwrap();
    assert_eq!(two.void_dead_leases().unwrap(), 0);
    two.sweep(&[&Notes], &Policy::default(), Sweep::Take).unwrap();
    assert_eq!(notes(&two), ["a"]);

    // A death: the lock falls free, the rows stay.
    let process = one.process().unwrap().id;
    fs::remove_file(one.layout().process(process)).unwrap();
    assert_eq!(two.void_dead_leases().unwrap(), 1);
    two.sweep(&[&Notes], &Policy::default(), Sweep::Take).unwrap();
    assert_eq!(notes(&two), [] as [&str; 0]);
}

#[test]
fn a_rolled_back_protection_can_be_made_again() {
    let place = Place::new();
    let store = place.open();
    let lease = store.lease("test").unwrap();
    let undone = store.write(|transaction| -> Result<(), DatabaseError> {
        lease.protect(transaction, &[(NOTE, b"a")])?;
        Err(DatabaseError::Damaged { table: "notes", why: "says the test".to_owned() })
    });
    assert!(undone.is_err());
    let leased = || store.read(|transaction| process::is_leased(transaction, NOTE, b"a")).unwrap();
    assert!(!leased());
    store.write(|transaction| lease.protect(transaction, &[(NOTE, b"a")])).unwrap();
    assert!(leased());
    drop(lease);
    assert!(!leased());
}

#[test]
fn only_one_sweeps() {
    let place = Place::new();
    let store = place.open();
    let name = LockName::new(LockClass::Upkeep, "sweep");
    let _other = store.locks().scope().try_acquire(&name, LockMode::Exclusive).unwrap().unwrap();
    let refused = store.sweep(&[&Notes], &Policy::default(), Sweep::Take);
    assert!(matches!(refused, Err(collect::SweepError::Busy)));
}
