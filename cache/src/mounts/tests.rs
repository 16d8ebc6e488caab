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

#[test]
fn what_a_dead_step_wrote_is_counted_and_what_a_living_one_writes_is_not() {
    let (_folder, store, mounts) = place();
    let (dead, alive) = (store.lease("dead").unwrap(), store.lease("alive").unwrap());
    mounts.open(&[mount("a")], &dead).unwrap();
    mounts.open(&[mount("b")], &alive).unwrap();
    make(&mounts, "a", 100_000);
    make(&mounts, "b", 100_000);
    let bytes = |name: &str| {
        let listed = mounts.list().unwrap();
        listed.into_iter().find(|mount| mount.is_for.name == name).unwrap().bytes
    };
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
