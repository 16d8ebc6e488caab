//! The SQLite file: connections, transactions, migrations.
//!
//! The database is in WAL mode: readers never wait, writers take turns. Owners of tables hand in a [`Schema`] each;
//! one pragma tells whether all of them are current, so that opening a current database costs a single query.
//!
//! # Transactions
//! [`Database::read`] sees one consistent state; [`Database::write`] is `BEGIN IMMEDIATE`. Inside either there is **no
//! I/O, no hashing, no waiting**: gather what is needed first, run the transaction, then act. A transaction ends within
//! five milliseconds. They do not nest, and trying to is an error rather than a deadlock.
//!
//! Writers of all processes queue in a `flock` on a file of its own before they begin, so the kernel wakes exactly
//! the next one. SQLite's own locks offer nothing to wait on and are polled with growing, jittered pauses; that is
//! left as the answer to the few moments outside the queue (recovery of the log, checkpoints).
//!
//! # Durability
//! A commit survives `kill -9` at once. It survives a power loss after the next [`Database::write_synced`] of any process:
//! that syncs the log with all that was written before. A power loss before costs the latest commits, never the order of
//! them. [`Database::checkpoint`] is no promise, as it leaves a short log alone. Checkpoints are neither made by an ordinary
//! commit nor on close (they sync, which a user would wait for), but by promotion.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use thiserror::Error;

use crate::error::{Context, ErrorKind, FileError};
use crate::promotion::Promotable;

mod migrate;
mod pool;

pub(crate) use migrate::Alone;
use pool::{Lent, Pool};

#[cfg(test)]
mod tests;

/// Pages in the log at which even an ordinary commit makes a checkpoint: 64 MiB.
const CHECKPOINT_AT_ANY_PRICE: i64 = 16 * 1024;

/// A log shorter than this is left alone by promotion: reading it at the next open costs less than a sync now.
const CHECKPOINT_ABOVE: u64 = 1 << 20;

/// The tables of one owner.
pub struct Schema {
    /// The owner: a crate or one of its modules.
    pub name: &'static str,
    /// What brings the tables from each version to the next; the version is how many have run. Only ever appended to.
    pub migrations: &'static [&'static str],
    /// The tables among them whose rows name derived files.
    pub promotable: &'static [&'static dyn Promotable],
}

/// Why the database did not do what was asked.
#[derive(Debug, Error)]
pub enum DatabaseError {
    /// A file beside the database failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The database failed as a whole.
    #[error("failed to {act} the database `{}`{}", path.display(), way_out(source))]
    Failed {
        /// What was tried.
        act: &'static str,
        /// The database file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// A statement inside a transaction failed.
    #[error("a database statement failed{}", way_out(.0))]
    Statement(#[source] rusqlite::Error),
    /// A transaction was begun inside another.
    #[error("a database transaction was begun inside another on the same thread")]
    Nested,
    /// The tables were migrated by a later rbuild.
    #[error("the tables of `{schema}` in `{}` have version {found}, and this rbuild knows versions up to {known}: use the newer rbuild that wrote them", path.display())]
    Future {
        /// The owner of the tables.
        schema: &'static str,
        /// The database file.
        path: PathBuf,
        /// The version of the tables.
        found: i64,
        /// The latest version this binary knows.
        known: i64,
    },
    /// Tables must be migrated, which needs the store alone.
    #[error("the tables of `{schema}` in `{}` must be migrated, but another rbuild uses the store: let it end first", path.display())]
    InUse {
        /// The owner of the tables.
        schema: &'static str,
        /// The database file.
        path: PathBuf,
    },
    /// A value in a row is not what was written there.
    #[error("a row of `{table}` is damaged: {why}")]
    Damaged {
        /// The table.
        table: &'static str,
        /// What is wrong.
        why: String,
    },
}

impl From<rusqlite::Error> for DatabaseError {
    fn from(source: rusqlite::Error) -> Self {
        Self::Statement(source)
    }
}

impl DatabaseError {
    /// Returns what a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::File(error) => error.kind,
            Self::Failed { source, .. } | Self::Statement(source) => kind_of(source),
            Self::Nested | Self::Future { .. } | Self::InUse { .. } | Self::Damaged { .. } => {
                ErrorKind::Other
            }
        }
    }
}

fn kind_of(error: &rusqlite::Error) -> ErrorKind {
    use rusqlite::ErrorCode;
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => ErrorKind::NoSpace,
        Some(ErrorCode::ReadOnly) => ErrorKind::ReadOnly,
        Some(ErrorCode::PermissionDenied) => ErrorKind::Permission,
        Some(ErrorCode::SystemIoFailure) => ErrorKind::Device,
        _ => ErrorKind::Other,
    }
}

fn way_out(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => {
            " (the disk is full: `rbuild prune` frees what no image or container needs)"
        }
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
            " (the file is damaged: `rbuild doctor` tells what can be kept)"
        }
        Some(rusqlite::ErrorCode::ReadOnly) => " (the file system is read-only)",
        Some(rusqlite::ErrorCode::SystemIoFailure) => {
            " (the disk or its file system failed: the kernel's log, `dmesg`, says how)"
        }
        _ => "",
    }
}

/// What a commit promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sync {
    Later,
    BeforeSuccess,
}

/// What is to become of what a transaction wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Keep,
    Undo,
}

/// What is done inside a transaction. Every caller's own is behind a pointer, so that all share the code around it.
type Body<'a> = dyn FnMut(&Transaction<'_>) -> Verdict + 'a;

/// Runs what a caller does inside a transaction, once, and returns what came of it.
fn once<T, E: From<DatabaseError>>(
    body: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    run: impl FnOnce(&mut Body<'_>) -> Result<(), DatabaseError>,
) -> Result<T, E> {
    let mut body = Some(body);
    let mut done = None;
    run(&mut |transaction| {
        let result = body.take().expect("a transaction has one body")(transaction);
        let verdict = if result.is_ok() { Verdict::Keep } else { Verdict::Undo };
        done = Some(result);
        verdict
    })?;
    done.expect("a transaction that was begun ran its body")
}

/// The database of one store.
pub struct Database {
    path: PathBuf,
    connections: Pool,
    queue: Mutex<OwnedFd>,
    folder_synced: Mutex<bool>,
}

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Marks the thread as being inside a transaction.
struct Inside;

impl Inside {
    fn enter() -> Result<Self, DatabaseError> {
        if INSIDE.replace(true) { Err(DatabaseError::Nested) } else { Ok(Self) }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(false);
    }
}

/// The writers' queue, held until dropped.
struct Turn<'a>(std::sync::MutexGuard<'a, OwnedFd>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Unlocking a description that we hold locked cannot fail, and closing it would unlock it as well.
        let _ = rustix::fs::flock(&*self.0, FlockOperation::Unlock);
    }
}

impl Database {
    /// Opens the database; [`Database::migrate`] must follow before its tables are used.
    pub(crate) fn open(path: PathBuf, queue: &Path) -> Result<Self, DatabaseError> {
        let mode = Mode::RUSR | Mode::WUSR;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC;
        let queue = rustix::fs::open(queue, flags, mode).at("open", queue)?;
        let database = Self {
            path,
            connections: Pool::new(),
            queue: Mutex::new(queue),
            folder_synced: Mutex::new(false),
        };
        let first = match database.take() {
            // SQLite would create the file readable by all; its logs take over the mode of the file.
            Err(DatabaseError::Failed { source, .. })
                if source.sqlite_error_code() == Some(rusqlite::ErrorCode::CannotOpen) =>
            {
                rustix::fs::open(&database.path, flags, mode).at("create", &database.path)?;
                database.take()?
            }
            connection => connection?,
        };
        first.give_back();
        Ok(database)
    }

    /// Returns the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self, act: &'static str) -> impl FnOnce(rusqlite::Error) -> DatabaseError + '_ {
        move |source| DatabaseError::Failed { act, path: self.path.clone(), source }
    }

    fn connect(&self) -> Result<Connection, DatabaseError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&self.path, flags).map_err(self.failed("open"))?;
        let mut set_up = || -> Result<(), rusqlite::Error> {
            connection.busy_handler(Some(pause))?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            // Else each new value of some parameters has a statement made anew, in case a partial index fits it.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
            connection.set_prepared_statement_cache_capacity(128);
            connection.execute_batch(
                "PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY;",
            )?;
            connection.pragma_update_and_check(
                None,
                "wal_autocheckpoint",
                CHECKPOINT_AT_ANY_PRICE,
                |_| Ok(()),
            )
        };
        set_up().map_err(self.failed("set up"))?;
        Ok(connection)
    }

    /// Lends a connection. Who wants to write has [its turn](Self::turn) first: nothing is waited for with a connection.
    fn take(&self) -> Result<Lent<'_>, DatabaseError> {
        self.connections.take(|| self.connect())
    }

    /// Waits for our turn to write.
    fn turn(&self) -> Result<Turn<'_>, DatabaseError> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match rustix::fs::flock(&*queue, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Turn(queue)),
                Err(Errno::INTR) => {}
                Err(error) => {
                    let error = FileError::new("lock the writers' queue of", &self.path, error);
                    return Err(error.into());
                }
            }
        }
    }

    /// Runs a transaction that only reads.
    pub fn read<T, E: From<DatabaseError>>(
        &self,
        body: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        once(body, |body| self.begin_to_read(body))
    }

    fn begin_to_read(&self, body: &mut Body<'_>) -> Result<(), DatabaseError> {
        let _inside = Inside::enter()?;
        let mut connection = self.take()?;
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Deferred)
            .map_err(self.failed("begin to read"))?;
        body(&transaction);
        // Rolls back, which for a reader is the end.
        drop(transaction);
        connection.give_back();
        Ok(())
    }

    /// Runs a transaction that may write; an error rolls all of it back.
    pub fn write<T, E: From<DatabaseError>>(
        &self,
        body: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.transact(Sync::Later, body)
    }

    /// As [`Database::write`], and what it wrote, with all that was written before, is on the disk before it succeeds.
    pub fn write_synced<T, E: From<DatabaseError>>(
        &self,
        body: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let done = self.transact(Sync::BeforeSuccess, body)?;
        self.sync_folder()?;
        Ok(done)
    }

    /// Gives the room back that rows left behind.
    pub fn compact(&self) -> Result<(), DatabaseError> {
        let _inside = Inside::enter()?;
        let turn = self.turn()?;
        let connection = self.take()?;
        let done = connection.execute_batch("VACUUM").and_then(|()| empty_log(&connection));
        let done = done.and_then(|emptied| begin_log(&connection, emptied));
        drop(turn);
        done.map_err(self.failed("compact"))?;
        connection.give_back();
        Ok(())
    }

    fn transact<T, E: From<DatabaseError>>(
        &self,
        sync: Sync,
        body: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        once(body, |body| self.begin_to_write(sync, body))
    }

    fn begin_to_write(&self, sync: Sync, body: &mut Body<'_>) -> Result<(), DatabaseError> {
        let _inside = Inside::enter()?;
        let turn = self.turn()?;
        let mut connection = self.take()?;
        if sync == Sync::BeforeSuccess {
            connection.execute_batch("PRAGMA synchronous = FULL").map_err(self.failed("set up"))?;
        }
        let done = {
            let transaction = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(self.failed("begin to write"))?;
            match body(&transaction) {
                Verdict::Keep => transaction.commit().map_err(self.failed("commit to")),
                // Dropping the transaction rolls it back.
                Verdict::Undo => Ok(()),
            }
        };
        drop(turn);
        // What did not commit is closed: it may still be inside its transaction.
        done?;
        if sync == Sync::BeforeSuccess {
            connection.execute_batch("PRAGMA synchronous = NORMAL").map_err(self.failed("set up"))?;
        }
        connection.give_back();
        Ok(())
    }

    /// Syncs the folder of the database once a process: the log's own entry may be younger than the last sync.
    fn sync_folder(&self) -> Result<(), DatabaseError> {
        let mut synced = self.folder_synced.lock().unwrap_or_else(PoisonError::into_inner);
        if !*synced {
            let folder = self.path.parent().expect("the database lies in the root");
            crate::durable::sync_folder(folder)?;
            *synced = true;
        }
        Ok(())
    }

    /// Whether the log is so long that reading it at each open costs more than a checkpoint would once.
    pub fn is_log_long(&self) -> bool {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        std::fs::metadata(&log).is_ok_and(|stat| stat.len() > CHECKPOINT_ABOVE)
    }

    /// Moves the log into the database file and begins it anew, if it is long; readers in the way postpone that.
    pub fn checkpoint(&self) -> Result<(), DatabaseError> {
        if !self.is_log_long() {
            return Ok(());
        }
        let _inside = Inside::enter()?;
        let turn = self.turn()?;
        let mut connection = self.take()?;
        // A checkpoint that must wait for a reader is not worth the wait: the next promotion tries again.
        connection.busy_handler(None::<fn(i32) -> bool>).map_err(self.failed("set up"))?;
        let done = empty_log(&connection);
        connection.busy_handler(Some(pause)).map_err(self.failed("set up"))?;
        let done = done.and_then(|emptied| begin_log(&connection, emptied));
        drop(turn);
        done.map_err(self.failed("checkpoint"))?;
        connection.give_back();
        Ok(())
    }

    /// Lists what SQLite itself finds wrong with the file; empty when it is sound.
    pub fn check(&self) -> Result<Vec<String>, DatabaseError> {
        let _inside = Inside::enter()?;
        let connection = self.take()?;
        let list = |statement: &str| -> Result<Vec<String>, rusqlite::Error> {
            connection.prepare(statement)?.query_map([], |row| row.get::<_, String>(0))?.collect()
        };
        let mut found = list("PRAGMA integrity_check(20)").map_err(self.failed("check"))?;
        found.retain(|line| line != "ok");
        let broken: Vec<String> = list("SELECT DISTINCT 'row of ' || \"table\" || ' without its ' || parent FROM pragma_foreign_key_check")
            .map_err(self.failed("check"))?;
        found.extend(broken);
        connection.give_back();
        Ok(found)
    }
}

/// Moves the log into the database file; tells whether no reader was in the way.
fn empty_log(connection: &Connection) -> Result<bool, rusqlite::Error> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| Ok(row.get::<_, i64>(0)? == 0))
}

/// Writes down in an empty log what is in the database already.
///
/// Whoever writes first into an empty log syncs it and its folder: that is done here, where nobody waits for it.
fn begin_log(connection: &Connection, emptied: bool) -> Result<(), rusqlite::Error> {
    if !emptied {
        return Ok(());
    }
    let stamp: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    connection.pragma_update(None, "user_version", stamp)
}

/// Waits a little before something is tried again of which nothing tells when it is over; gives up after about ten seconds.
pub(crate) fn pause(attempt: i32) -> bool {
    if attempt >= 250 {
        return false;
    }
    let mut jitter = [0u8; 1];
    // Without random bytes the pauses of rivals are equal, which is slower and still right.
    let _ = rustix::rand::getrandom(&mut jitter, rustix::rand::GetRandomFlags::NONBLOCK);
    let longest_us = (500 << attempt.min(7)) as i64;
    let micros = longest_us / 4 + longest_us * 3 / 4 * i64::from(jitter[0]) / 255;
    let time = rustix::event::Timespec { tv_sec: 0, tv_nsec: micros * 1000 };
    let _ = rustix::event::poll(&mut [], Some(&time));
    true
}
