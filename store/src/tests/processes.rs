//! What happens when a process is killed: everything it held falls free by itself.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use super::*;

/// Starts the actor and waits until it says that it is ready.
fn start(role: &str, place: &Place) -> Child {
    let mut child = act("tests::processes::actor", role, place).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let ready = lines.by_ref().map_while(Result::ok).any(|line| line.contains("ready"));
    assert!(ready, "the actor ended before it was ready");
    child
}

/// Not a test of its own: what the other processes of the tests here do.
#[test]
#[allow(clippy::print_stdout)]
fn actor() {
    let Some((role, place)) = role() else { return };
    let store = place.open();
    let name = LockName::new(LockClass::Step, "shared");
    match role.as_str() {
        "hold" => {
            let _lock = store.locks().scope().try_acquire(&name, LockMode::Exclusive).unwrap().unwrap();
            let lease = store.lease("test").unwrap();
            store.write(|transaction| lease.protect(transaction, &[(NOTE, b"a")])).unwrap();
            let tree = store.temp_tree().unwrap();
            fs::write(tree.path().join("half"), "done").unwrap();
            println!("\nready");
            // Held until the killer comes.
            let _ = std::io::stdin().lines().next();
            std::thread::park();
        }
        "write-for-ever" => {
            println!("\nready");
            for number in 0.. {
                add_note(&store, &format!("{}-{number}", std::process::id()), None);
            }
        }
        other => panic!("no such role: {other}"),
    }
}

#[test]
fn a_killed_process_lets_go_of_everything() {
    let place = Place::new();
    let store = place.open();
    add_note(&store, "a", None);
    let mut child = start("hold", &place);
    let name = LockName::new(LockClass::Step, "shared");
    let scope = store.locks().scope();
    assert!(scope.try_acquire(&name, LockMode::Exclusive).unwrap().is_none());
    assert_eq!(store.void_dead_leases().unwrap(), 0);
    assert_eq!(store.clear_abandoned_work().unwrap(), 0);

    let waiter = std::thread::spawn({
        let (store, name) = (store.clone(), name.clone());
        move || {
            let lock = store.locks().scope().acquire(&name, LockMode::Exclusive, &Wait::forever()).unwrap();
            lock.abandoned().cloned()
        }
    });
    let pid = child.id();
    child.kill().unwrap();
    child.wait().unwrap();
    let holder = waiter.join().unwrap().expect("the holder died inside, and its mark is found");
    assert_eq!((holder.pid, holder.purpose.as_str()), (pid, "rbuild test"));

    let leased = || store.read(|transaction| process::is_leased(transaction, NOTE, b"a")).unwrap();
    assert!(leased(), "until somebody looks");
    assert_eq!(store.void_dead_leases().unwrap(), 1);
    assert!(!leased());
    assert!(matches!(store.doctor(&[]).unwrap().as_slice(), [doctor::Finding::Abandoned { .. }]));
    store.clear_abandoned_work().unwrap();
    store.empty_trash().unwrap();
    assert_eq!(store.doctor(&[]).unwrap(), []);
}

#[test]
fn writers_that_are_killed_leave_whole_rows_and_a_sound_database() {
    let place = Place::new();
    let store = place.open();
    for _ in 0..5 {
        let mut children = [start("write-for-ever", &place), start("write-for-ever", &place)];
        let before = notes(&store).len();
        // Something is written while they live, so they die in the middle of their work.
        while notes(&store).len() < before + 20 {
            add_note(&store, &format!("ours-{}", notes(&store).len()), None);
        }
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(store.database().check().unwrap(), [] as [String; 0]);
    }
    let rows = notes(&store);
    add_note(&store, "after", None);
    assert_eq!(notes(&store).len(), rows.len() + 1);
}
