//! The most that the cache may take: no interleaving of reserving, committing and sweeping exceeds it.

use proptest::prelude::*;
use rusqlite::Transaction;

use super::*;
use crate::budget::{Budget, Room, RoomError};
use crate::collect::{Candidate, Collected, Mark, Policy, Sweep, SweepError, Verdict};

/// Things of a size: a cache in small.
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

    fn roots(&self, _: &Transaction<'_>, _: &Policy, _: &mut Mark) -> Result<(), DatabaseError> {
        Ok(())
    }

    fn references(&self, _: &Transaction<'_>, _: &[u8], _: &mut Mark) -> Result<(), DatabaseError> {
        Ok(())
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

    fn needs(&self, _: &Transaction<'_>, _: ObjectKind, _: &[u8]) -> Result<bool, DatabaseError> {
        Ok(false)
    }

    fn reclaim(&self, _: &Store, _: &[u8]) -> Result<(), SweepError> {
        Ok(())
    }
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
    store
        .write(|transaction| -> Result<(), DatabaseError> {
            room.settle(transaction)?;
            lease.protect(transaction, &[(THING, &name.to_be_bytes())])?;
            transaction
                .execute("INSERT INTO things VALUES (?1, ?2)", (name, i64::try_from(bytes).unwrap()))?;
            Ok(())
        })
        .unwrap();
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
    room.grow_to(70).unwrap();
    assert!(store.reserve_room(1).is_err(), "what is reserved is not given away twice");
    let other = open(folder.path());
    assert!(other.reserve_room(1).is_err(), "nor by another process");
    drop(room);
    assert!(other.reserve_room(70).is_ok());
    drop(used);
    assert!(matches!(store.reserve_room(MAX + 1), Err(RoomError::Full { .. })));
    assert_eq!(things(&store), [(2, 30)], "for what can never fit nothing goes");
}

fn insta_like(text: &str) {
    assert_eq!(
        text,
        "the cache may take 100 B (`cache.max`), 30 B of it are in use, and 71 B more are needed"
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
