//! Killed at every crash point, a store opens again, is sound, and does the same work to the end.

use std::os::unix::process::ExitStatusExt;

use super::sweeping::Notes;
use super::*;
use crate::collect::{Policy, Sweep};

/// Passes every crash point at least once.
fn work(place: &Place) {
    let store = place.open();
    store.precious().replace(&store.layout().containers(), "config.json", b"{1}", Access::Private).unwrap();
    let folder = store.layout().snapshots("test1");
    store.precious().create_folder(&folder).unwrap();
    if !folder.join("s").exists() {
        let tree = store.temp_tree().unwrap();
        fs::write(tree.path().join("file"), "x").unwrap();
        store.derived().publish_tree(tree, &folder, "s").unwrap();
    }
    let known = notes(&store);
    for name in ["kept", "loose"] {
        if !known.iter().any(|known| known == name) {
            add_note(&store, name, None);
        }
    }
    let lease = store.lease("work").unwrap();
    store.write(|transaction| lease.protect(transaction, &[(NOTE, b"kept")])).unwrap();
    store.promote().unwrap();
    let events = store.events();
    let end = events.append(b"{}").unwrap();
    let newest =
        store.layout().events().join(end.to_string().split('.').next().map(|n| format!("{n:0>20}")).unwrap());
    let segment = fs::OpenOptions::new().append(true).open(&newest).unwrap();
    if segment.metadata().unwrap().len() < 1000 {
        segment.set_len((4 << 20) - 1).unwrap();
        std::io::Write::write_all(&mut &segment, b"\n").unwrap();
    }
    events.append(b"{}").unwrap();
    store.sweep(&[&Notes], &Policy::default(), Sweep::Take).unwrap();
}

/// Not a test of its own: the process that is killed.
#[test]
fn victim() {
    let Some((role, place)) = role() else { return };
    if let Some((point, nth)) = role.split_once('#') {
        crash::arm(point, nth.parse().unwrap());
    }
    work(&place);
}

/// Tells whether the victim was killed; it must not fail in another way.
fn run(place: &Place, role: &str) -> bool {
    let output = act("tests::crashing::victim", role, place).output().unwrap();
    let killed = output.status.signal() == Some(9);
    assert!(killed || output.status.success(), "{role}: {}", String::from_utf8_lossy(&output.stderr));
    killed
}

fn check(place: &Place, what: &str) {
    let store = place.open();
    store.void_dead_leases().unwrap();
    store.clear_abandoned_work().unwrap();
    store.empty_trash().unwrap();
    store.reserve().restore().unwrap();
    assert_eq!(store.doctor(&[]).unwrap(), [], "{what}");
    let config = store.layout().containers().join("config.json");
    if let Ok(text) = fs::read_to_string(config) {
        assert_eq!(text, "{1}", "{what}");
    }
}

#[test]
fn every_point_is_survived() {
    for point in crash::POINTS {
        for nth in [1, 2] {
            let place = Place::new();
            let role = format!("{point}#{nth}");
            let killed = run(&place, &role);
            assert!(killed || nth > 1, "the work does not pass {point}");
            check(&place, &role);
            assert!(!run(&place, "to the end"), "{role}");
            let store = place.open();
            store.void_dead_leases().unwrap();
            assert_eq!(notes(&store), ["kept"], "{role}");
            assert!(store.layout().snapshots("test1").join("s/file").exists(), "{role}");
            check(&place, &role);
        }
    }
}

#[test]
fn recovery_that_is_killed_again_and_again_ends_well() {
    let place = Place::new();
    work(&place);
    for _ in 0..3 {
        place.reboot();
        for point in ["open.recovered", "trash.renamed", "process.locked"] {
            run(&place, &format!("{point}#1"));
        }
    }
    work(&place);
    check(&place, "the end");
}
