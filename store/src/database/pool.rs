//! The connections of one process, shared by its threads.
//!
//! A new connection reads the whole schema and prepares its statements anew, which costs as much as some dozen transactions.
//! As these are short, a thread rather waits for another one's connection than opening its own, once as many are in use as there
//! are processors; but not for long, as some transactions read all there is, or end with a sync. Whoever holds a
//! connection waits for nothing but SQLite: writers queue before they take one.
//!
//! What is shared is at rest: outside of any transaction, with no statement half read. All else is closed.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

/// As many connections are kept at most, on machines with so many processors and more.
const MOST: usize = 8;

/// As many are kept on machines with fewer processors: one may be busy for long.
const LEAST: usize = 2;

/// What a thread waits at most: some times what opening a connection takes.
const PATIENCE: Duration = Duration::from_millis(5);

/// The connections.
pub(super) struct Pool {
    held: Mutex<Held>,
    /// One is idle, or fewer are lent.
    freed: Condvar,
    most: usize,
    patience: Duration,
}

#[derive(Default)]
struct Held {
    idle: Vec<Connection>,
    lent: usize,
}

impl Pool {
    pub(super) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(LEAST, usize::from);
        Self {
            held: Mutex::default(),
            freed: Condvar::new(),
            most: processors.clamp(LEAST, MOST),
            patience: PATIENCE,
        }
    }

    /// Lends a connection: an idle one, after a while if need be, or one that is opened.
    pub(super) fn take<E>(&self, open: impl FnOnce() -> Result<Connection, E>) -> Result<Lent<'_>, E> {
        let all_in_use = |held: &mut Held| held.idle.is_empty() && held.lent >= self.most;
        let waited = self.freed.wait_timeout_while(self.held(), self.patience, all_in_use);
        let (mut held, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let idle = held.idle.pop();
        held.lent += 1;
        drop(held);
        // It counts already, so that others wait for it; what cannot be opened is taken off by the drop.
        let mut lent = Lent { pool: self, connection: idle };
        if lent.connection.is_none() {
            lent.connection = Some(open()?);
        }
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
    /// Lets others use it, if it is at rest and not one too many.
    pub(super) fn give_back(mut self) {
        // A transaction that could not be rolled back, or a statement that still reads, would show its old state to whoever is next.
        let at_rest =
            self.connection.take_if(|connection| connection.is_autocommit() && !connection.is_busy());
        let Some(connection) = at_rest else { return };
        let mut held = self.pool.held();
        if held.idle.len() < self.pool.most {
            held.idle.push(connection);
        }
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        drop(self.connection.take());
        self.pool.held().lent -= 1;
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

    fn pool(most: usize, patience: Duration) -> Pool {
        Pool { most, patience, ..Pool::new() }
    }

    fn marked(lent: &Connection) -> bool {
        lent.prepare("SELECT * FROM mark").is_ok()
    }

    fn mark(lent: &Connection) {
        lent.execute_batch("CREATE TEMP TABLE mark (x)").unwrap();
    }

    #[test]
    fn what_is_given_back_is_lent_again() {
        let pool = pool(1, Duration::ZERO);
        let lent = pool.take(open).unwrap();
        mark(&lent);
        lent.give_back();
        let again = pool.take(|| -> Result<_, rusqlite::Error> { panic!("there is one") }).unwrap();
        assert!(marked(&again));
    }

    #[test]
    fn what_is_inside_a_transaction_or_a_statement_is_lent_to_nobody() {
        let pool = pool(1, Duration::ZERO);
        let lent = pool.take(open).unwrap();
        mark(&lent);
        lent.execute_batch("BEGIN").unwrap();
        lent.give_back();
        let lent = pool.take(open).unwrap();
        assert!(!marked(&lent) && lent.is_autocommit());
        mark(&lent);
        // Nothing less than this leaves a statement behind: it borrows its connection.
        let mut statement = lent.prepare("SELECT 1 UNION SELECT 2").unwrap();
        let mut rows = statement.query([]).unwrap();
        assert!(rows.next().unwrap().is_some());
        std::mem::forget(rows);
        std::mem::forget(statement);
        assert!(lent.is_autocommit() && lent.is_busy());
        lent.give_back();
        assert!(pool.held().idle.is_empty());
        assert!(!marked(&pool.take(open).unwrap()));
    }

    #[test]
    fn what_is_not_given_back_makes_room() {
        let pool = pool(1, Duration::ZERO);
        mark(&pool.take(open).unwrap());
        assert!(pool.take(|| Err::<Connection, &str>("no file")).is_err());
        assert_eq!(pool.held().lent, 0);
        assert!(!marked(&pool.take(open).unwrap()), "it is another one");
    }

    #[test]
    fn who_finds_all_in_use_waits() {
        let pool = pool(2, Duration::from_secs(3600));
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..8 {
                        let lent = pool.take(open).unwrap();
                        assert!(pool.held().lent <= 2);
                        lent.give_back();
                    }
                });
            }
        });
        let held = pool.held();
        assert!(held.lent == 0 && (1..=2).contains(&held.idle.len()));
    }

    #[test]
    fn who_has_waited_long_opens_another_which_is_not_kept() {
        let pool = pool(1, Duration::from_millis(1));
        let first = pool.take(open).unwrap();
        let second = pool.take(open).unwrap();
        mark(&first);
        first.give_back();
        second.give_back();
        assert_eq!(pool.held().idle.len(), 1);
        assert!(marked(&pool.take(open).unwrap()));
    }
}
