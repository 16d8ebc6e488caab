//! Where things lie: the two folders of a store, drawn.
//!
//! ```text
//! <root>/                          0700, owned by the user; survives a reboot
//!   meta.json                      format, features, random store id; written once, precious
//!   lock                           every process holds it shared; exclusive means alone (migration, reset)
//!   run                            a symlink whose text names the run folder and the boot in use (see `open`)
//!   db.sqlite                      (WAL) all rows
//!   reserve                        preallocated room for a full disk
//!   blobs/sha256/                  content-addressed files, 0444
//!   blobs/partial/                 what came of blobs whose transfer broke off; made at first need
//!   snapshots/<format>/            committed and active trees
//!   volumes/  containers/  mounts/ named volumes, containers, cache mounts
//!   index/                         content hashes that a stat vouches for, what servers said of files, bare
//!                                  repositories; all of it only saves work
//!   logs/                          logs of build steps
//!   events/                        append-only segments
//!   tmp/<process>/                 what a live process is making
//!   trash/                         what is condemned, already out of sight
//!   bad/                           what failed verification, kept for inspection
//! <runtime>/<store8>/              0700; must not survive a reboot
//!   root                           a symlink whose text names the root that it belongs to
//!   procs/<process>                one flock a process, held for life
//!   locks/<class>-<hash>           named locks
//!   db.lock                        the queue of writers to the database
//!   containers/ networks/ netns/ sockets/
//! ```

use std::path::{Path, PathBuf};

use crate::id::UniqueId;

/// The folders below the root that exist in every store.
const ROOT_FOLDERS: &[&str] = &[
    "blobs",
    "blobs/sha256",
    "snapshots",
    "volumes",
    "containers",
    "mounts",
    "index",
    "logs",
    "events",
    "tmp",
    "trash",
    "bad",
];

/// The folders below the run folder.
const RUN_FOLDERS: &[&str] = &["procs", "locks", "containers", "networks", "netns", "sockets"];

/// The paths of one store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
    run: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: PathBuf, run: PathBuf) -> Self {
        Self { root, run }
    }

    /// Returns the root folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the run folder, which a reboot empties.
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// Returns the file that says what this store is.
    pub fn meta(&self) -> PathBuf {
        self.root.join("meta.json")
    }

    /// Returns the file of the store-wide lock.
    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Returns the symlink that names the run folder in use.
    pub(crate) fn run_link(&self) -> PathBuf {
        self.root.join("run")
    }

    /// Returns the database file.
    pub fn database(&self) -> PathBuf {
        self.root.join("db.sqlite")
    }

    /// Returns the file in which writers to the database queue.
    pub(crate) fn database_lock(&self) -> PathBuf {
        self.run.join("db.lock")
    }

    /// Returns the file that keeps room for a full disk.
    pub(crate) fn reserve(&self) -> PathBuf {
        self.root.join("reserve")
    }

    /// Returns the folder of content-addressed blobs.
    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    /// Returns the folder of blobs that came in part; it is made at first need.
    pub fn partial_blobs(&self) -> PathBuf {
        self.root.join("blobs/partial")
    }

    /// Returns the folder of trees that a snapshotter with this format keeps.
    pub fn snapshots(&self, format: &str) -> PathBuf {
        debug_assert!(is_plain_name(format), "a snapshot format is a plain name: {format:?}");
        self.root.join("snapshots").join(format)
    }

    /// Returns the folder of named volumes.
    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// Returns the folder that holds one folder a container.
    pub fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    /// Returns the folder of cache mounts.
    pub fn mounts(&self) -> PathBuf {
        self.root.join("mounts")
    }

    /// Returns the folder of content indexes.
    pub fn index(&self) -> PathBuf {
        self.root.join("index")
    }

    /// Returns the folder of build logs.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// Returns the folder of event segments.
    pub fn events(&self) -> PathBuf {
        self.root.join("events")
    }

    /// Returns the folder of unfinished work.
    pub fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    /// Returns the folder of condemned things.
    pub fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    /// Returns the folder of things that failed verification.
    pub fn bad(&self) -> PathBuf {
        self.root.join("bad")
    }

    /// Returns the folder of process locks.
    pub(crate) fn procs(&self) -> PathBuf {
        self.run.join("procs")
    }

    /// Returns the file whose lock a process holds for life.
    pub(crate) fn process(&self, id: UniqueId) -> PathBuf {
        self.procs().join(id.to_string())
    }

    /// Returns the folder of named locks.
    pub(crate) fn locks(&self) -> PathBuf {
        self.run.join("locks")
    }

    /// Returns the folder of container state files of this boot.
    pub fn run_containers(&self) -> PathBuf {
        self.run.join("containers")
    }

    /// Returns the folder of sockets; the path is short, as a socket's must be.
    pub fn run_sockets(&self) -> PathBuf {
        self.run.join("sockets")
    }

    /// Lists the folders that a root consists of, parents first.
    pub(crate) fn root_folders(&self) -> impl Iterator<Item = PathBuf> + '_ {
        ROOT_FOLDERS.iter().map(|folder| self.root.join(folder))
    }

    /// Lists the folders that a run folder consists of.
    pub(crate) fn run_folders(&self) -> impl Iterator<Item = PathBuf> + '_ {
        RUN_FOLDERS.iter().map(|folder| self.run.join(folder))
    }
}

/// Tells whether a name is one path component that cannot lead anywhere else.
pub(crate) fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= 255 && name != "." && name != ".." && !name.contains(['/', '\0'])
}
