//! The most that the cache may take: no interleaving of reserving, committing, looking up and sweeping exceeds it, or takes
//! what somebody holds.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Barrier, Mutex};

use proptest::prelude::*;
use rusqlite::Transaction;

use super::*;
use crate::budget::{Budget, Room, RoomError};
use crate::collect::{Candidate, Collected, Policy, Sweep, SweepError, Verdict};

/// Things of a size: a cache in small. Each is a row and a file, as a blob is: the file comes first and goes last, both
/// under the lock of the name.
struct Things;

const THING: ObjectKind = ObjectKind("thing");

const THINGS: Schema = Schema {
    name: "test.things",
    migrations: &["CREATE TABLE things (name INTEGER PRIMARY KEY, bytes INTEGER NOT NULL) STRICT;"],
    promotable: &[],
};

impl Collected for Things {
    fn kind(&self) -> ObjectKind {
        THING
    }

    fn candidates(&self, transaction: &Transaction<'_>) -> Result<Vec<Candidate>, DatabaseError> {
        let mut statement = transaction.prepare("SELECT name, bytes FROM things ORDER BY name")?;
        let rows = statement.query_map([], |row| {
            let name: i64 = row.get(0)?;
            let bytes = row.get::<_, i64>(1)?.unsigned_abs();
            Ok(Candidate::new(name.to_be_bytes().to_vec(), bytes).used_at(1))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn condemn(&self, transaction: &Transaction<'_>, object: &[u8]) -> Result<Verdict, DatabaseError> {
        let name = i64::from_be_bytes(object.try_into().unwrap());
        let gone = transaction.execute("DELETE FROM things WHERE name = ?1", [name])?;
        Ok(if gone > 0 { Verdict::Condemned } else { Verdict::Needed })
    }

    fn reclaim(&self, store: &Store, object: &[u8]) -> Result<(), SweepError> {
        let name = i64::from_be_bytes(object.try_into().unwrap());
        let _name = store.locks().scope().acquire(&lock_of(name), LockMode::Exclusive, &Wait::forever())?;
        // It may have come back since its row went.
        if store.read(|transaction| is_known(transaction, name))? {
            return Ok(());
        }
        store.discard(&file_of(store, name))?;
        Ok(())
    }
}

fn lock_of(name: i64) -> LockName {
    LockName::new(LockClass::Publish, format!("thing {name}"))
}

fn file_of(store: &Store, name: i64) -> PathBuf {
    store.layout().blobs().join(name.to_string())
}

fn is_known(transaction: &Transaction<'_>, name: i64) -> Result<bool, DatabaseError> {
    Ok(transaction.prepare_cached("SELECT 1 FROM things WHERE name = ?1")?.exists([name])?)
}

const OWNERS: &[&dyn Collected] = &[&Things];
const MAX: u64 = 100;

fn open(folder: &std::path::Path) -> Store {
    let options = StoreOptions::new(folder.join("root"), folder.join("run"), "rbuild test");
    let store = Store::open(StoreOptions { schemas: &[&THINGS], reserve: 0, ..options }).unwrap();
    store.set_budget(Budget { max: MAX, owners: OWNERS });
    store
}

fn things(store: &Store) -> Vec<(i64, u64)> {
    store
        .read(|transaction| -> Result<Vec<(i64, u64)>, DatabaseError> {
            let mut statement = transaction.prepare("SELECT name, bytes FROM things ORDER BY name")?;
            let rows =
                statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .unwrap()
}

fn commit(store: &Store, name: i64, bytes: u64, room: &Room, lease: &crate::Lease) {
    let _name = store.locks().scope().acquire(&lock_of(name), LockMode::Exclusive, &Wait::forever()).unwrap();
    // One that is there already is in the hands of others: it is replaced as a whole, by the same.
    let fresh = file_of(store, name).with_extension("fresh");
    std::fs::write(&fresh, name.to_string()).unwrap();
    std::fs::rename(&fresh, file_of(store, name)).unwrap();
    store
        .write(|transaction| -> Result<(), DatabaseError> {
            room.settle(transaction)?;
            lease.protect(transaction, &[(THING, &name.to_be_bytes())])?;
            // Somebody else may have made the same: then it is there once.
            transaction.execute(
                "INSERT INTO things VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                (name, i64::try_from(bytes).unwrap()),
            )?;
            Ok(())
        })
        .unwrap();
}

/// Looks a thing up, and leases it in the same moment.
fn find(store: &Store, name: i64, lease: &crate::Lease) -> bool {
    store
        .write(|transaction| -> Result<bool, DatabaseError> {
            let known = is_known(transaction, name)?;
            if known {
                lease.protect(transaction, &[(THING, &name.to_be_bytes())])?;
            }
            Ok(known)
        })
        .unwrap()
}

/// What is committed and what is reserved, at one moment.
fn in_use(store: &Store) -> (u64, u64) {
    store
        .read(|transaction| -> Result<(i64, i64), DatabaseError> {
            let text = "SELECT (SELECT coalesce(sum(bytes), 0) FROM things), \
                        (SELECT coalesce(sum(bytes), 0) FROM reservations)";
            Ok(transaction.query_row(text, [], |row| Ok((row.get(0)?, row.get(1)?)))?)
        })
        .map(|(committed, reserved)| (committed.unsigned_abs(), reserved.unsigned_abs()))
        .unwrap()
}

#[test]
fn room_is_made_and_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let (old, used) = (store.lease("old").unwrap(), store.lease("used").unwrap());
    for (name, bytes, lease) in [(1, 40, &old), (2, 30, &used)] {
        let room = store.reserve_room(bytes).unwrap();
        commit(&store, name, bytes, &room, lease);
    }
    drop(old);
    let room = store.reserve_room(30).unwrap();
    assert_eq!(things(&store).len(), 2, "it fits");
    room.grow_to(50).unwrap();
    assert_eq!(things(&store), [(2, 30)], "what nobody uses made room");
    let error = room.grow_to(71).unwrap_err();
    assert!(matches!(error, RoomError::Full { .. }), "{error}");
    insta_like(&error.to_string());
    let error = room.grow_with(71).unwrap_err().to_string();
    assert!(error.ends_with(", and at least 71 B more are needed"), "more may come: {error}");
    room.grow_to(70).unwrap();
    assert!(store.reserve_room(1).is_err(), "what is reserved is not given away twice");
    let other = open(folder.path());
    assert!(other.reserve_room(1).is_err(), "nor by another process");
    drop(room);
    assert!(other.reserve_room(70).is_ok());
    drop(used);
    assert!(matches!(store.reserve_room(MAX + 1), Err(RoomError::Full { .. })));
    assert_eq!(things(&store), [(2, 30)], "for what can never fit nothing goes");
    // Nor for what does not fit beside what stays.
    let used = store.lease("used").unwrap();
    let room = store.reserve_room(60).unwrap();
    commit(&store, 3, 60, &room, &used);
    assert!(matches!(store.reserve_room(50), Err(RoomError::Full { .. })));
    assert_eq!(things(&store).len(), 2, "the one that nobody uses would not have made enough room");
    assert!(store.reserve_room(40).is_ok());
    assert_eq!(things(&store), [(3, 60)]);
}

#[test]
fn what_is_settled_takes_no_other_reservation_along() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let lease = store.lease("a thing").unwrap();
    let settled = store.reserve_room(10).unwrap();
    commit(&store, 1, 10, &settled, &lease);
    let other = store.reserve_room(20).unwrap();
    drop(settled);
    assert_eq!(in_use(&store), (10, 20));
    drop(other);
    assert_eq!(in_use(&store), (10, 0));
}

/// Things, where something is done each time that they are about to be read, and while they are listed.
struct Moments {
    number: AtomicU32,
    before: Box<dyn Fn(u32) + Send + Sync>,
    within: Box<dyn Fn(u32) + Send + Sync>,
}

impl Collected for Moments {
    fn kind(&self) -> ObjectKind {
        THING
    }

    fn candidates(&self, transaction: &Transaction<'_>) -> Result<Vec<Candidate>, DatabaseError> {
        let listed = Things.candidates(transaction);
        // As another command would: outside of this transaction.
        let number = self.number.load(Ordering::Relaxed);
        std::thread::scope(|scope| scope.spawn(|| (self.within)(number)).join().unwrap());
        listed
    }

    fn survey(&self, _: &Store) -> Result<Vec<Candidate>, SweepError> {
        (self.before)(self.number.fetch_add(1, Ordering::Relaxed) + 1);
        Ok(Vec::new())
    }

    fn condemn(&self, transaction: &Transaction<'_>, object: &[u8]) -> Result<Verdict, DatabaseError> {
        Things.condemn(transaction, object)
    }

    fn reclaim(&self, store: &Store, object: &[u8]) -> Result<(), SweepError> {
        Things.reclaim(store, object)
    }
}

/// Reserves room that only a thing can make way for which nobody uses, while somebody looks things up: from the first number of
/// a reading to the second one, before it or within.
fn reserve_while_looking(begin: u32, end: u32, is_within: bool) {
    let folder = tempfile::tempdir().unwrap();
    let (maker, user) = (open(folder.path()), open(folder.path()));
    let lease = maker.lease("made").unwrap();
    commit(&maker, 1, 80, &maker.reserve_room(80).unwrap(), &lease);
    drop(lease);
    let looking = std::sync::Arc::new(Mutex::new(None));
    let held = std::sync::Arc::clone(&looking);
    let before = move |number| {
        if number == begin {
            let lease = user.lease("look").unwrap();
            user.write(|transaction| lease.protect_all(transaction, THING)).unwrap();
            *held.lock().unwrap() = Some(lease);
        }
        if number == end && !is_within {
            drop(held.lock().unwrap().take());
        }
    };
    let within = move |number| {
        if number == end && is_within {
            drop(looking.lock().unwrap().take());
        }
    };
    let (before, within) = (Box::new(before), Box::new(within));
    let owner: &'static Moments = Box::leak(Box::new(Moments { number: 0.into(), before, within }));
    let options = StoreOptions::new(folder.path().join("root"), folder.path().join("run"), "rbuild test");
    let store = Store::open(StoreOptions { schemas: &[&THINGS], reserve: 0, ..options }).unwrap();
    store.set_budget(Budget { max: MAX, owners: Box::leak(Box::new([owner as &dyn Collected])) });
    store.reserve_room(50).unwrap();
    assert_eq!(things(&store), []);
}

/// A build looks its steps up under one lease for all records, which is over as soon as it knows what it stands on.
#[test]
fn who_looks_many_up_is_waited_for() {
    // It is counted, seen to be free, not taken, counted, seen not to be free, and counted again.
    reserve_while_looking(3, 6, false);
    // It is counted, and the look-up is over when it was seen not to be free.
    reserve_while_looking(1, 2, true);
}

#[test]
fn what_a_dead_process_looked_up_makes_room() {
    let folder = tempfile::tempdir().unwrap();
    let (dead, store) = (open(folder.path()), open(folder.path()));
    let lease = dead.lease("look").unwrap();
    commit(&dead, 1, 80, &dead.reserve_room(80).unwrap(), &lease);
    dead.write(|transaction| lease.protect_all(transaction, THING)).unwrap();
    // A death: the lock falls free, the rows stay.
    std::fs::remove_file(dead.layout().process(dead.process().unwrap().id)).unwrap();
    store.reserve_room(50).unwrap();
    assert_eq!(things(&store), []);
}

fn insta_like(text: &str) {
    assert_eq!(
        text,
        "images and the cache may take 100 B (`cache.max`), 30 B of it are in use (what runs at this moment 30 B), and 71 B \
         more are needed"
    );
}

#[derive(Clone, Debug)]
enum Act {
    Reserve(u64),
    Grow(usize, u64),
    Commit(usize),
    Release(usize),
    GiveUp(usize),
    Sweep(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0_u64..60).prop_map(Act::Reserve),
        (0_usize..4, 0_u64..60).prop_map(|(which, more)| Act::Grow(which, more)),
        (0_usize..4).prop_map(Act::Commit),
        (0_usize..4).prop_map(Act::Release),
        (0_usize..4).prop_map(Act::GiveUp),
        (0_u64..120).prop_map(Act::Sweep),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn the_budget_holds_and_nothing_in_use_goes(acts in prop::collection::vec((act(), any::<bool>()), 1..40)) {
        let folder = tempfile::tempdir().unwrap();
        let stores = [open(folder.path()), open(folder.path())];
        let mut rooms: Vec<(u64, Room)> = Vec::new();
        let mut held: Vec<(i64, crate::Lease)> = Vec::new();
        let mut next = 0;
        for (act, first) in acts {
            let store = &stores[usize::from(first)];
            match act {
                Act::Reserve(bytes) => {
                    if let Ok(room) = store.reserve_room(bytes) {
                        rooms.push((bytes, room));
                    }
                }
                Act::Grow(which, more) => {
                    if let Some((bytes, room)) = rooms.get_mut(which)
                        && room.grow_to(*bytes + more).is_ok()
                    {
                        *bytes += more;
                    }
                }
                Act::Commit(which) if which < rooms.len() => {
                    let (bytes, room) = rooms.remove(which);
                    let lease = store.lease("thing").unwrap();
                    next += 1;
                    commit(store, next, bytes, &room, &lease);
                    held.push((next, lease));
                }
                Act::Release(which) if which < held.len() => drop(held.remove(which)),
                Act::GiveUp(which) if which < rooms.len() => drop(rooms.remove(which)),
                Act::Sweep(keep) => {
                    let policy = Policy { used_since: None, keep_bytes: Some(keep) };
                    store.sweep(OWNERS, &policy, Sweep::Take).unwrap();
                }
                Act::Commit(_) | Act::Release(_) | Act::GiveUp(_) => {}
            }
            let there = things(store);
            let committed: u64 = there.iter().map(|(_, bytes)| bytes).sum();
            let reserved: u64 = rooms.iter().map(|(bytes, _)| bytes).sum();
            prop_assert!(committed + reserved <= MAX, "{committed} and {reserved}");
            for (name, _) in &held {
                prop_assert!(there.iter().any(|(known, _)| known == name), "{name} is in use");
            }
        }
    }
}

/// What a build, or whoever tidies up, does in a store where others do the same.
#[derive(Clone, Debug)]
enum Work {
    /// Makes a thing of that many bytes and holds it, if there is room; the room is reserved in two steps.
    Make(i64, u64),
    /// Looks a thing up and holds it if it is there.
    Find(i64),
    /// Lets go of the oldest that it holds.
    Release,
    /// Sweeps all but so many bytes.
    Sweep(u64),
}

fn work() -> impl Strategy<Value = Work> {
    prop_oneof![
        4 => (0_i64..8, 1_u64..50).prop_map(|(name, bytes)| Work::Make(name, bytes)),
        4 => (0_i64..8).prop_map(Work::Find),
        3 => Just(Work::Release),
        2 => (0_u64..60).prop_map(Work::Sweep),
    ]
}

/// Does the work of one builder, and looks after each act at what must hold whatever the others do.
fn build(store: &Store, work: &[Work]) {
    let mut held: BTreeMap<i64, crate::Lease> = BTreeMap::new();
    for act in work {
        match act {
            Work::Make(name, bytes) if !held.contains_key(name) => {
                let lease = store.lease("a build").unwrap();
                let Ok(room) = store.reserve_room(bytes / 2) else { continue };
                if room.grow_to(*bytes).is_ok() {
                    commit(store, *name, *bytes, &room, &lease);
                    held.insert(*name, lease);
                }
            }
            Work::Find(name) if !held.contains_key(name) => {
                let lease = store.lease("a build").unwrap();
                if find(store, *name, &lease) {
                    held.insert(*name, lease);
                }
            }
            Work::Release => drop(held.pop_first()),
            Work::Sweep(keep) => {
                let policy = Policy { used_since: None, keep_bytes: Some(*keep) };
                match store.sweep(OWNERS, &policy, Sweep::Take) {
                    Ok(_) | Err(SweepError::Busy) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            Work::Make(..) | Work::Find(_) => {}
        }
        let (committed, reserved) = in_use(store);
        assert!(committed + reserved <= MAX, "{committed} and {reserved} after {act:?}");
        for name in held.keys() {
            assert!(find(store, *name, &held[name]), "{name} is in use, and its row is gone after {act:?}");
            let text = std::fs::read_to_string(file_of(store, *name));
            assert_eq!(
                text.ok(),
                Some(name.to_string()),
                "{name} is in use, and its file is gone after {act:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 0, ..ProptestConfig::default() })]
    #[test]
    fn builders_and_sweepers_at_once_lose_nothing_and_keep_within(
        works in prop::collection::vec(prop::collection::vec(work(), 10..30), 4),
    ) {
        let folder = tempfile::tempdir().unwrap();
        // Two processes, two threads each.
        let stores = [open(folder.path()), open(folder.path())];
        let start = Barrier::new(works.len());
        std::thread::scope(|scope| {
            for (at, work) in works.iter().enumerate() {
                let (store, start) = (&stores[at % 2], &start);
                scope.spawn(move || {
                    start.wait();
                    build(store, work);
                });
            }
        });
        // Nothing is reserved any more, and rows and files are the same.
        let (committed, reserved) = in_use(&stores[0]);
        prop_assert!(committed <= MAX && reserved == 0, "{committed} and {reserved}");
        for (name, _) in things(&stores[0]) {
            prop_assert!(file_of(&stores[0], name).exists(), "{name} has a row and no file");
        }
        let policy = Policy { used_since: None, keep_bytes: Some(0) };
        stores[0].sweep(OWNERS, &policy, Sweep::Take).unwrap();
        prop_assert_eq!(std::fs::read_dir(stores[0].layout().blobs()).unwrap().count(), 0);
    }
}
