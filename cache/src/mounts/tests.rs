//! Folders of cache mounts, opened and swept.

use std::fs;

use rbuild_store::StoreOptions;
use rbuild_store::collect::{Collected, Policy, Sweep};
use tempfile::TempDir;

use super::*;

fn place() -> (TempDir, Store, Mounts) {
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions::new(folder.path().join("root"), folder.path().join("run"), "rbuild test");
    let store = Store::open(StoreOptions { schemas: &[&SCHEMA], reserve: 0, ..options }).unwrap();
    let mounts = Mounts::new(&store);
    (folder, store, mounts)
}

fn mount(name: &str) -> MountUse {
    MountUse { name: name.to_owned(), id: format!("id of {name}"), target: "/root/.cache".to_owned() }
}

fn make(mounts: &Mounts, name: &str, bytes: usize) {
    fs::create_dir_all(mounts.path(name)).unwrap();
    fs::write(mounts.path(name).join("file"), vec![7; bytes]).unwrap();
}

#[test]
fn a_folder_goes_when_nobody_uses_it() {
    let (_folder, store, mounts) = place();
    let lease = store.lease("test").unwrap();
    mounts.open(&[mount("a"), mount("b")], &lease).unwrap();
    make(&mounts, "a", 100_000);
    make(&mounts, "b", 5000);
    make(&mounts, "old", 9000);
    mounts.take_stock().unwrap();
    let listed = mounts.list().unwrap();
    let of = |name: &str| listed.iter().find(|mount| mount.is_for.name == name).unwrap();
    assert!(of("a").bytes >= 100_000 && of("b").bytes < 20_000);
    assert_eq!((&*of("a").is_for.id, of("a").uses), ("id of a", 1));
    assert_eq!((&*of("old").is_for.id, of("old").uses), ("", 1), "what was there before is counted too");

    let sweep = || store.sweep(&[&MountFolders], &Policy::default(), Sweep::Take).unwrap();
    let swept = sweep();
    assert_eq!(swept.swept.len(), 1, "{:?}", swept.swept);
    assert!(!mounts.path("old").exists() && mounts.path("a").join("file").exists());
    drop(lease);
    assert_eq!(sweep().swept.len(), 2);
    assert_eq!(mounts.list().unwrap(), []);
    assert_eq!(store.doctor(&[&MountFolders]).unwrap(), []);
}

#[test]
fn a_folder_that_is_opened_while_it_is_condemned_stays() {
    let (_folder, store, mounts) = place();
    let lease = store.lease("test").unwrap();
    mounts.open(&[mount("a")], &lease).unwrap();
    make(&mounts, "a", 10);
    store.write(|transaction| MountFolders.condemn(transaction, b"a")).unwrap();
    mounts.open(&[mount("a")], &lease).unwrap();
    MountFolders.reclaim(&store, b"a").unwrap();
    assert!(mounts.path("a").join("file").exists());
    assert_eq!(mounts.list().unwrap().len(), 1);
}

fn bytes(mounts: &Mounts, name: &str) -> u64 {
    let listed = mounts.list().unwrap();
    listed.into_iter().find(|mount| mount.is_for.name == name).unwrap().bytes
}

#[test]
fn what_a_dead_step_wrote_is_counted_and_what_a_living_one_writes_is_not() {
    let (_folder, store, mounts) = place();
    let (dead, alive) = (store.lease("dead").unwrap(), store.lease("alive").unwrap());
    mounts.open(&[mount("a")], &dead).unwrap();
    mounts.open(&[mount("b")], &alive).unwrap();
    make(&mounts, "a", 100_000);
    make(&mounts, "b", 100_000);
    let bytes = |name| bytes(&mounts, name);
    drop(dead);
    mounts.settle().unwrap();
    assert!(bytes("a") >= 100_000);
    assert_eq!(bytes("b"), 0, "its owner counts it");
    // What was counted is not counted again, until somebody opens it.
    make(&mounts, "a", 300_000);
    mounts.settle().unwrap();
    assert!(bytes("a") < 300_000);
    mounts.open(&[mount("a")], &store.lease("again").unwrap()).unwrap();
    mounts.settle().unwrap();
    assert!(bytes("a") >= 300_000);
}

#[test]
fn a_folder_that_is_filled_and_counted_is_not_yet_closed() {
    let (_folder, store, mounts) = place();
    let lease = store.lease("filled from elsewhere").unwrap();
    mounts.open(&[mount("a")], &lease).unwrap();
    make(&mounts, "a", 50_000);
    mounts.count("a").unwrap();
    assert!(bytes(&mounts, "a") >= 50_000);
    make(&mounts, "a", 300_000);
    drop(lease);
    mounts.settle().unwrap();
    assert!(bytes(&mounts, "a") >= 300_000, "what its step wrote before it was killed counts");
}

#[test]
fn one_of_two_users_counts_for_itself_alone() {
    let (_folder, store, mounts) = place();
    let (first, second) = (store.lease("first").unwrap(), store.lease("second").unwrap());
    mounts.open(&[mount("a")], &first).unwrap();
    mounts.open(&[mount("a")], &second).unwrap();
    make(&mounts, "a", 50_000);
    mounts.close(&["a"]).unwrap();
    drop(first);
    make(&mounts, "a", 300_000);
    mounts.settle().unwrap();
    assert!(bytes(&mounts, "a") < 300_000, "the second still uses it");
    drop(second);
    mounts.settle().unwrap();
    assert!(bytes(&mounts, "a") >= 300_000);
}

#[test]
fn taking_stock_counts_for_the_dead_but_not_for_the_living() {
    let (_folder, store, mounts) = place();
    let alive = store.lease("alive").unwrap();
    mounts.open(&[mount("a")], &store.lease("dead").unwrap()).unwrap();
    mounts.open(&[mount("b")], &alive).unwrap();
    for (name, bytes) in [("a", 50_000), ("b", 50_000)] {
        make(&mounts, name, bytes);
    }
    mounts.take_stock().unwrap();
    for name in ["a", "b"] {
        make(&mounts, name, 300_000);
    }
    drop(alive);
    mounts.settle().unwrap();
    assert!(bytes(&mounts, "a") < 300_000, "nobody opened it since");
    assert!(bytes(&mounts, "b") >= 300_000);
}
