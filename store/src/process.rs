//! Processes and what they protect.
//!
//! A process that needs leases or temporary files registers once: first a `flock` on `procs/<id>`, held for life, then
//! a row. The id is random and never used again, so a lock that can be had, or a file that is gone (a reboot), means
//! dead without doubt, and everything that was written in the process's name is void.
//!
//! A [`Lease`] keeps objects from being swept. Its rows are written in the same transaction that looked the objects
//! up, or before they are made.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rusqlite::Transaction;
use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::Store;
use crate::crash;
use crate::database::{DatabaseError, Schema};
use crate::durable::create_private_folder;
use crate::error::{Context, FileError};
use crate::id::UniqueId;
use crate::layout::Layout;
use crate::lock::{LockMode, try_file};

/// The store's own tables.
pub(crate) const SCHEMA: Schema = Schema {
    name: "store",
    migrations: &[
        "
        CREATE TABLE generation (only INTEGER PRIMARY KEY CHECK (only = 1), number INTEGER NOT NULL) STRICT;
        INSERT INTO generation VALUES (1, 1);
        CREATE TABLE processes (
            id BLOB PRIMARY KEY,
            pid INTEGER NOT NULL,
            command TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE leases (
            id BLOB PRIMARY KEY,
            process BLOB REFERENCES processes (id) ON DELETE CASCADE,
            boot BLOB,
            expires_uptime_s INTEGER,
            purpose TEXT NOT NULL,
            CHECK ((process IS NULL) = (expires_uptime_s IS NOT NULL AND boot IS NOT NULL))
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX leases_by_process ON leases (process);
        CREATE TABLE lease_objects (
            kind TEXT NOT NULL,
            object BLOB NOT NULL,
            lease BLOB NOT NULL REFERENCES leases (id) ON DELETE CASCADE,
            PRIMARY KEY (kind, object, lease)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX lease_objects_by_lease ON lease_objects (lease);
    ",
        "
        -- Leases of processes alone. Whoever is alone with the store finds none that are not void.
        DROP TABLE lease_objects;
        DROP TABLE leases;
        CREATE TABLE leases (
            id BLOB PRIMARY KEY,
            process BLOB NOT NULL REFERENCES processes (id) ON DELETE CASCADE,
            purpose TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX leases_by_process ON leases (process);
        CREATE TABLE lease_objects (
            kind TEXT NOT NULL,
            object BLOB NOT NULL,
            lease BLOB NOT NULL REFERENCES leases (id) ON DELETE CASCADE,
            PRIMARY KEY (kind, object, lease)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX lease_objects_by_lease ON lease_objects (lease);
    ",
    ],
    promotable: &[],
};

/// A kind of object that owners make and sweep: "blob", "snapshot".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKind(pub &'static str);

impl ObjectKind {
    /// A committed tree, named by the 16 bytes of its id.
    pub const SNAPSHOT: Self = Self("snapshot");
    /// A content-addressed file, named by the 32 bytes of its digest.
    pub const BLOB: Self = Self("blob");
    /// What came of a blob whose transfer broke off, named by the 32 bytes of the digest.
    pub const PARTIAL: Self = Self("partial");
    /// A folder that a cache mount shows, named by its name.
    pub const MOUNT: Self = Self("mount");
    /// The log of a step, named by its file's name.
    pub const LOG: Self = Self("log");
    /// Something that only saves work, named by its path below `index`.
    pub const INDEX: Self = Self("index");
    /// The tree of a record of the cache, named by the 8 bytes of the record's number, highest first.
    pub const RECORD: Self = Self("record");
    /// An image, named by the 32 bytes of its id.
    pub const IMAGE: Self = Self("image");
}

/// The registration of this process.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) id: UniqueId,
    /// Held for life: closing it says that the process is dead.
    _life: OwnedFd,
    path: PathBuf,
    tmp: PathBuf,
    tmp_made: OnceLock<()>,
    next: AtomicU64,
}

impl Process {
    fn register(store: &Store) -> Result<Self, FileError> {
        let id = UniqueId::random()?;
        let path = store.layout().process(id);
        let grant = try_file(&path, LockMode::Exclusive)?.ok_or_else(|| {
            FileError::new("register as", &path, std::io::Error::other("a fresh random name is in use"))
        })?;
        crash::point("process.locked");
        let tmp = store.layout().tmp().join(id.to_string());
        Ok(Self { id, _life: grant.fd, path, tmp, tmp_made: OnceLock::new(), next: AtomicU64::new(0) })
    }

    /// Returns the folder of what this process is making, which is created at first need.
    fn work_folder(&self) -> Result<&Path, FileError> {
        if self.tmp_made.get().is_none() {
            create_private_folder(&self.tmp)?;
            self.tmp_made.get_or_init(|| ());
        }
        Ok(&self.tmp)
    }

    /// Cleans up after a process that ends in order.
    pub(crate) fn retire(&self) {
        // Whatever of this fails is found by the next recovery.
        if self.tmp_made.get().is_some() {
            let _ = rustix::fs::rmdir(&self.tmp);
        }
        let _ = rustix::fs::unlink(&self.path);
    }
}

/// Tells whether the lock that a process holds for life is held.
fn is_held(path: &Path) -> Result<bool, FileError> {
    let fd = match rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(false),
        opened => opened.at("open", path)?,
    };
    // Shared, so that two who ask at once do not take each other for the process.
    match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK | Errno::INTR) => Ok(true),
        Err(error) => Err(FileError::new("test the lock of", path, error)),
    }
}

/// Tells whether any registered process lives.
pub(crate) fn is_any_alive(layout: &Layout) -> Result<bool, FileError> {
    let procs = layout.procs();
    for entry in std::fs::read_dir(&procs).at("list", &procs)? {
        if is_held(&entry.at("list", &procs)?.path())? {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Store {
    /// Returns the registration of this process, making it at first need.
    pub(crate) fn process(&self) -> Result<&Process, FileError> {
        self.process_cell().get_or_try_register(|| Process::register(self))
    }

    /// Returns a fresh path in the folder of what this process is making.
    pub(crate) fn temp_path(&self) -> Result<PathBuf, FileError> {
        let process = self.process()?;
        Ok(process.work_folder()?.join(process.next.fetch_add(1, Ordering::Relaxed).to_string()))
    }

    /// Returns the random id under which this process is registered.
    pub fn process_id(&self) -> Result<UniqueId, FileError> {
        Ok(self.process()?.id)
    }

    /// Returns the folder under `tmp` of what this process is making; it is thrown away when the process is dead.
    pub fn work_folder(&self) -> Result<&Path, FileError> {
        self.process()?.work_folder()
    }

    /// Tells whether a registered process lives.
    pub fn is_alive(&self, id: UniqueId) -> Result<bool, FileError> {
        is_held(&self.layout().process(id))
    }

    /// Begins a lease in the name of this process; nothing is written until it protects something.
    pub fn lease(&self, purpose: &str) -> Result<Lease, FileError> {
        let process = self.process()?.id;
        Ok(Lease {
            store: self.clone(),
            id: UniqueId::random()?,
            process,
            purpose: purpose.to_owned(),
            written: AtomicBool::new(false),
        })
    }

    /// Voids the leases of dead processes; returns how many processes were dead.
    pub fn void_dead_leases(&self) -> Result<usize, DatabaseError> {
        let registered = self.database().read(|transaction| -> Result<Vec<[u8; 16]>, DatabaseError> {
            let mut statement = transaction.prepare_cached("SELECT id FROM processes")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })?;
        let ours = self.process_cell().get().map(|process| process.id);
        let mut dead = Vec::new();
        for bytes in registered {
            let id = UniqueId::from_bytes(bytes);
            if Some(id) != ours && !self.is_alive(id)? {
                dead.push(id);
            }
        }
        if dead.is_empty() {
            return Ok(0);
        }
        self.database().write(|transaction| -> Result<(), DatabaseError> {
            let mut statement = transaction.prepare_cached("DELETE FROM processes WHERE id = ?1")?;
            for id in &dead {
                statement.execute([id.as_bytes()])?;
            }
            Ok(())
        })?;
        for id in &dead {
            let _ = rustix::fs::unlink(self.layout().process(*id));
        }
        Ok(dead.len())
    }

    /// Tells whether a process died without tidying up. Cheap: every command may ask.
    pub fn has_abandoned_work(&self) -> Result<bool, FileError> {
        let folder = self.layout().tmp();
        for entry in std::fs::read_dir(&folder).at("list", &folder)? {
            let entry = entry.at("list", &folder)?;
            match entry.file_name().to_str().and_then(UniqueId::parse) {
                Some(id) if self.is_alive(id)? => {}
                _ => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Tells whether another living process has begun to make something.
    pub(crate) fn others_work(&self) -> Result<bool, FileError> {
        let folder = self.layout().tmp();
        let own = self.process_cell().get().map(|process| process.id);
        for entry in std::fs::read_dir(&folder).at("list", &folder)? {
            let entry = entry.at("list", &folder)?;
            if let Some(id) = entry.file_name().to_str().and_then(UniqueId::parse)
                && Some(id) != own
                && self.is_alive(id)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Moves what dead processes were making into the trash; returns how many folders there were.
    pub fn clear_abandoned_work(&self) -> Result<usize, FileError> {
        let folder = self.layout().tmp();
        let mut cleared = 0;
        for entry in std::fs::read_dir(&folder).at("list", &folder)? {
            let entry = entry.at("list", &folder)?;
            let owner = entry.file_name().to_str().and_then(UniqueId::parse);
            let alive = match owner {
                Some(id) => self.is_alive(id)?,
                None => false,
            };
            if !alive && self.discard(&entry.path())? {
                cleared += 1;
            }
        }
        Ok(cleared)
    }
}

/// Protects objects from being swept until it is dropped or the process ends.
#[derive(Debug)]
pub struct Lease {
    store: Store,
    id: UniqueId,
    process: UniqueId,
    purpose: String,
    written: AtomicBool,
}

/// The object that stands for all of its kind in leases; no object is called so.
pub(crate) const ALL: &[u8] = b"";

impl Lease {
    /// Protects all objects of a kind: for whoever is about to look many up, and does not know yet which.
    ///
    /// While it lasts nothing of the kind is swept, so it should not last longer than the looking up.
    pub fn protect_all(&self, transaction: &Transaction<'_>, kind: ObjectKind) -> Result<(), DatabaseError> {
        self.protect(transaction, &[(kind, ALL)])
    }

    /// Ends the protection of all objects of a kind; those that are protected by themselves stay so.
    pub fn end_all(&self, transaction: &Transaction<'_>, kind: ObjectKind) -> Result<(), DatabaseError> {
        transaction
            .prepare_cached("DELETE FROM lease_objects WHERE kind = ?1 AND object = ?2 AND lease = ?3")?
            .execute((kind.0, ALL, self.id.as_bytes()))?;
        Ok(())
    }

    /// Protects objects, in the transaction that found them or before they are made.
    pub fn protect(
        &self,
        transaction: &Transaction<'_>,
        objects: &[(ObjectKind, &[u8])],
    ) -> Result<(), DatabaseError> {
        if objects.is_empty() {
            return Ok(());
        }
        // The rows of process and lease are written again each time, as an earlier transaction may have rolled back.
        transaction.prepare_cached("INSERT OR IGNORE INTO processes VALUES (?1, ?2, ?3)")?.execute((
            self.process.as_bytes(),
            std::process::id(),
            self.store.purpose(),
        ))?;
        transaction
            .prepare_cached("INSERT OR IGNORE INTO leases (id, process, purpose) VALUES (?1, ?2, ?3)")?
            .execute((self.id.as_bytes(), self.process.as_bytes(), &self.purpose))?;
        self.written.store(true, Ordering::Relaxed);
        add_objects(transaction, self.id, objects)
    }

    /// Gives up the protection now, and tells whether that worked.
    pub fn release(mut self) -> Result<(), DatabaseError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), DatabaseError> {
        if !std::mem::take(self.written.get_mut()) {
            return Ok(());
        }
        self.store.database().write(|transaction| {
            transaction.prepare_cached("DELETE FROM leases WHERE id = ?1")?.execute([self.id.as_bytes()])?;
            Ok(())
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // A lease that cannot be ended now ends with the process.
        let _ = self.end();
    }
}

fn add_objects(
    transaction: &Transaction<'_>,
    lease: UniqueId,
    objects: &[(ObjectKind, &[u8])],
) -> Result<(), DatabaseError> {
    let mut statement =
        transaction.prepare_cached("INSERT OR IGNORE INTO lease_objects VALUES (?1, ?2, ?3)")?;
    for (kind, object) in objects {
        statement.execute((kind.0, object, lease.as_bytes()))?;
    }
    Ok(())
}

/// Tells whether any lease protects the object; meaningful after [`Store::void_dead_leases`].
pub fn is_leased(
    transaction: &Transaction<'_>,
    kind: ObjectKind,
    object: &[u8],
) -> Result<bool, DatabaseError> {
    let mut statement = transaction
        .prepare_cached("SELECT 1 FROM lease_objects WHERE kind = ?1 AND object IN (?2, ?3) LIMIT 1")?;
    Ok(statement.exists((kind.0, object, ALL))?)
}

/// Advances the store-wide counter, which orders what the clock cannot.
pub fn next_generation(transaction: &Transaction<'_>) -> Result<i64, DatabaseError> {
    let mut statement = transaction
        .prepare_cached("UPDATE generation SET number = number + 1 WHERE only = 1 RETURNING number")?;
    Ok(statement.query_row([], |row| row.get(0))?)
}
