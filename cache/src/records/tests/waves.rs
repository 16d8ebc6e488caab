//! Looking up wave after wave: one write for all of them.

use super::*;

/// Whether somebody holds a record.
fn is_leased(store: &Store, id: RecordId) -> bool {
    store.read(|transaction| process::is_leased(transaction, ObjectKind::RECORD, &object_of(id))).unwrap()
}

fn rows(store: &Store) -> i64 {
    count(store, "lease_objects")
}

#[test]
fn all_is_protected_while_somebody_looks_and_then_what_was_found() {
    let folder = tempfile::tempdir().unwrap();
    let maker = store(folder.path());
    let (one, other) = (record("one", &[1]), record("other", &[2]));
    let made = Records::new(&maker, "test1");
    let (first, second) = (made.remember(&one).unwrap(), made.remember(&other).unwrap());
    made.release().unwrap();
    (1..=2).for_each(|number| make_tree(&maker, number));

    let user = store(folder.path());
    let records = Records::new(&user, "test1");
    let found = |new: &NewRecord| records.find_more(&[look_up(new)]).unwrap().remove(0).unwrap().record;
    assert_eq!(found(&one), first);
    assert_eq!(rows(&maker), 1, "one row stands for all");
    assert!(is_leased(&maker, first) && is_leased(&maker, second));
    let sweep = || maker.sweep(OWNERS, &Policy::default(), Sweep::Take).unwrap().swept.len();
    assert_eq!(sweep(), 0);
    assert_eq!(found(&one), first, "another wave writes nothing");
    assert_eq!(rows(&maker), 1);

    records.settle().unwrap();
    assert!(is_leased(&maker, first) && !is_leased(&maker, second));
    assert_eq!(sweep(), 2, "the other one and its snapshot");
    records.settle().unwrap();
    assert_eq!(find(&records, &one).unwrap().record, first);
    drop(records);
    assert_eq!((rows(&maker), sweep()), (0, 2));
}

#[test]
fn a_build_that_ran_nothing_writes_its_uses_with_its_history() {
    let (_folder, store) = place();
    let records = Records::new(&store, "test1");
    let new = record("make", &[1]);
    let id = records.remember(&new).unwrap();
    records.release().unwrap();
    let age = |transaction: &Transaction<'_>| -> Result<(), DatabaseError> {
        transaction.execute("UPDATE records SET used_at = 5", [])?;
        Ok(())
    };
    store.write(age).unwrap();
    let used_at = || records.census().unwrap()[0].used_at;
    records.find_more(&[look_up(&new)]).unwrap();
    assert_eq!(used_at(), 5, "looking up does not write");
    let build = NewBuild {
        project: "/p".to_owned(),
        target: String::new(),
        started: 1,
        took: Duration::ZERO,
        result: BuildResult::Succeeded,
        lineage: Vec::new(),
        tried: None,
    };
    records.remember_build(&build).unwrap();
    assert!(used_at() > 5 && is_leased(&store, id));
    assert_eq!(rows(&store), 1, "what was found in place of all");
}
