//! The connections of one process, shared by its threads.
//!
//! A new connection reads the whole schema and prepares its statements anew, which costs as much as some dozen transactions.
//! As these are short and wait for nothing, a thread rather waits for another one's connection than opening its own, once there
//! are as many as processors. What holds one must therefore not wait for anything but SQLite: writers
//! queue before they take one. (Migrations, which come before all else, have the only one there is.)

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

/// As many connections are open at most on machines with fewer processors.
const LEAST: usize = 2;

/// As many are open at most.
const MOST: usize = 8;

/// The connections.
pub(super) struct Pool {
    held: Mutex<Held>,
    freed: Condvar,
    most: usize,
}

#[derive(Default)]
struct Held {
    idle: Vec<Connection>,
    /// How many there are, idle or not.
    open: usize,
}

impl Pool {
    pub(super) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(LEAST, usize::from);
        Self { held: Mutex::default(), freed: Condvar::new(), most: processors.clamp(LEAST, MOST) }
    }

    /// Takes an idle connection, opens one, or waits for one, in this order.
    pub(super) fn take<E>(&self, open: impl FnOnce() -> Result<Connection, E>) -> Result<Lent<'_>, E> {
        let mut held = self.held();
        loop {
            if let Some(connection) = held.idle.pop() {
                return Ok(Lent { pool: self, connection: Some(connection) });
            }
            if held.open < self.most {
                break;
            }
            held = self.freed.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
        held.open += 1;
        drop(held);
        // Counted already: what fails to open gives its place to who waits.
        let mut lent = Lent { pool: self, connection: None };
        lent.connection = Some(open()?);
        Ok(lent)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that is in use. Unless it is [given back](Lent::give_back) it is closed: an error may have left it in any state.
pub(super) struct Lent<'a> {
    pool: &'a Pool,
    connection: Option<Connection>,
}

impl Lent<'_> {
    /// Lets others use it.
    pub(super) fn give_back(mut self) {
        let connection = self.connection.take();
        let mut held = self.pool.held();
        // The drop takes off what is closed.
        held.open += 1;
        held.idle.extend(connection);
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        drop(self.connection.take());
        self.pool.held().open -= 1;
        self.pool.freed.notify_one();
    }
}

impl Deref for Lent<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("it is there until it is given back")
    }
}

impl DerefMut for Lent<'_> {
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("it is there until it is given back")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> Result<Connection, rusqlite::Error> {
        Connection::open_in_memory()
    }

    fn pool(most: usize) -> Pool {
        Pool { most, ..Pool::new() }
    }

    #[test]
    fn what_is_given_back_is_lent_again() {
        let pool = pool(1);
        let lent = pool.take(open).unwrap();
        lent.execute_batch("CREATE TEMP TABLE mark (x)").unwrap();
        lent.give_back();
        let again = pool.take(|| -> Result<_, rusqlite::Error> { panic!("there is one") }).unwrap();
        again.execute_batch("INSERT INTO mark VALUES (1)").unwrap();
    }

    #[test]
    fn what_is_not_given_back_makes_room() {
        let pool = pool(1);
        drop(pool.take(open).unwrap());
        assert!(pool.take(|| Err::<Connection, &str>("no file")).is_err());
        let lent = pool.take(open).unwrap();
        assert!(lent.execute_batch("SELECT * FROM mark").is_err(), "it is another one");
        assert_eq!(pool.held().open, 1);
    }

    #[test]
    fn who_finds_all_in_use_waits() {
        let pool = pool(2);
        let used = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..8 {
                        let lent = pool.take(open).unwrap();
                        assert!(pool.held().open <= 2);
                        used.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        lent.give_back();
                    }
                });
            }
        });
        assert_eq!(used.into_inner(), 128);
        let held = pool.held();
        assert!(held.open == held.idle.len() && held.open <= 2);
    }
}
