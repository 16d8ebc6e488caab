use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Barrier, mpsc};

use super::*;

fn locks(folder: &tempfile::TempDir) -> Locks {
    Locks::new(folder.path().to_owned(), "test build")
}

#[test]
fn exclusive_excludes_and_shared_shares() {
    let folder = tempfile::tempdir().unwrap();
    let locks = locks(&folder);
    let name = LockName::new(LockClass::Step, "abc");
    let first = locks.scope().try_acquire(&name, LockMode::Exclusive).unwrap().unwrap();
    assert!(locks.scope().try_acquire(&name, LockMode::Exclusive).unwrap().is_none());
    assert!(locks.scope().try_acquire(&name, LockMode::Shared).unwrap().is_none());
    drop(first);
    let one = locks.scope().try_acquire(&name, LockMode::Shared).unwrap().unwrap();
    let two = locks.scope().try_acquire(&name, LockMode::Shared).unwrap().unwrap();
    assert!(locks.scope().try_acquire(&name, LockMode::Exclusive).unwrap().is_none());
    drop((one, two));
    drop(locks.scope().try_acquire(&name, LockMode::Exclusive).unwrap().unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "an exclusive holder removes the file");
}

#[test]
fn a_waiter_is_told_who_holds_and_is_granted_when_it_is_let_go() {
    let folder = tempfile::tempdir().unwrap();
    let locks = locks(&folder);
    let name = LockName::new(LockClass::Blob, "sha256:00");
    let held = locks.scope().try_acquire(&name, LockMode::Exclusive).unwrap().unwrap();
    let (told, hear) = mpsc::channel();
    let waiter = std::thread::spawn({
        let (locks, name) = (locks.clone(), name.clone());
        move || {
            let told = Mutex::new(told);
            let notice = move |name: &LockName, holder: Option<&Holder>| {
                let text = format!("{name}: {}", holder.map_or_else(String::new, Holder::to_string));
                told.lock().unwrap().send(text).unwrap();
            };
            let wait = Wait { cancel: Cancel::never(), timeout: None, notice: Some(&notice) };
            locks.scope().acquire(&name, LockMode::Exclusive, &wait).map(drop)
        }
    });
    let text = hear.recv().unwrap();
    assert_eq!(text, format!("blob sha256:00: process {} (test build)", std::process::id()));
    drop(held);
    waiter.join().unwrap().unwrap();
}

#[test]
fn waiting_ends_with_the_wish_or_the_time() {
    let folder = tempfile::tempdir().unwrap();
    let locks = locks(&folder);
    let name = LockName::new(LockClass::Image, "alpine:3");
    let held = locks.scope().try_acquire(&name, LockMode::Exclusive).unwrap().unwrap();

    let (canceller, cancel) = Cancel::pair();
    let waiter = std::thread::spawn({
        let (locks, name) = (locks.clone(), name.clone());
        move || locks.scope().acquire(&name, LockMode::Exclusive, &Wait::until(&cancel)).map(drop)
    });
    canceller.cancel();
    assert!(matches!(waiter.join().unwrap(), Err(LockError::Cancelled { .. })));

    let wait = Wait { cancel: Cancel::never(), timeout: Some(Duration::from_millis(5)), notice: None };
    let error = locks.scope().acquire(&name, LockMode::Shared, &wait).unwrap_err();
    let LockError::TimedOut { holder, .. } = &error else { panic!("{error}") };
    assert_eq!(holder.as_ref().unwrap().pid, std::process::id());
    drop(held);
    // The threads that were left behind let go as soon as they are granted, so the lock can be had.
    drop(locks.scope().acquire(&name, LockMode::Exclusive, &Wait::forever()).unwrap());
}

#[test]
fn what_killed_holders_left_goes_and_what_is_held_stays() {
    let folder = tempfile::tempdir().unwrap();
    let locks = locks(&folder);
    let held = LockName::new(LockClass::Container, "held");
    let held = locks.scope().try_acquire(&held, LockMode::Exclusive).unwrap().unwrap();
    let shared = LockName::new(LockClass::Step, "shared");
    let shared = locks.scope().try_acquire(&shared, LockMode::Shared).unwrap().unwrap();
    std::fs::write(folder.path().join("container-left"), "1\ttest build\n").unwrap();
    locks.remove_left().unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "those that are held");
    drop((held, shared));
    locks.remove_left().unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn many_take_turns_and_none_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let locks = locks(&folder);
    let inside = Arc::new(AtomicU32::new(0));
    let start = Arc::new(Barrier::new(8));
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let (locks, inside, start) = (locks.clone(), inside.clone(), start.clone());
            std::thread::spawn(move || {
                let name = LockName::new(LockClass::Step, "shared");
                start.wait();
                for _ in 0..25 {
                    let lock = locks.scope().acquire(&name, LockMode::Exclusive, &Wait::forever()).unwrap();
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two hold an exclusive lock");
                    assert_eq!(lock.abandoned(), None);
                    inside.fetch_sub(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
}

#[test]
fn single_flight_works_once() {
    let folder = tempfile::tempdir().unwrap();
    let locks = locks(&folder);
    let made = Arc::new(Mutex::new(None));
    let start = Arc::new(Barrier::new(6));
    let workers: Vec<_> = (0..6)
        .map(|number| {
            let (locks, made, start) = (locks.clone(), made.clone(), start.clone());
            std::thread::spawn(move || {
                start.wait();
                let flight = locks.scope().single_flight::<u32, LockError>(
                    &LockName::new(LockClass::Step, "once"),
                    &Wait::forever(),
                    || Ok(*made.lock().unwrap()),
                    |_| {
                        *made.lock().unwrap() = Some(number);
                        Ok(number)
                    },
                );
                flight.unwrap()
            })
        })
        .collect();
    let flights: Vec<_> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
    assert_eq!(flights.iter().filter(|flight| matches!(flight, Flight::Made(_))).count(), 1);
    let expected = made.lock().unwrap().unwrap();
    assert!(flights.into_iter().all(|flight| flight.into_inner() == expected));
}

#[test]
#[cfg(debug_assertions)]
fn the_order_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let locks = locks(&folder);
    let refused = |first: LockName, second: LockName| {
        let scope = locks.scope();
        let _held = scope.try_acquire(&first, LockMode::Exclusive).unwrap().unwrap();
        let attempt = std::panic::AssertUnwindSafe(|| scope.try_acquire(&second, LockMode::Exclusive));
        std::panic::catch_unwind(attempt).is_err()
    };
    let name = LockName::new;
    use LockClass::{CacheMount, Container, Image, Step};
    assert!(!refused(name(Image, "a"), name(Step, "a")));
    assert!(refused(name(Step, "a"), name(Image, "a")));
    assert!(refused(name(Step, "a"), name(Step, "b")), "at most one step lock a task");
    assert!(!refused(name(CacheMount, "a"), name(CacheMount, "b")));
    assert!(refused(name(CacheMount, "b"), name(CacheMount, "a")));
    assert!(refused(name(Container, "a"), name(Container, "a")));
}
