//! The store as its users see it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::error::Context;

mod budgets;
#[cfg(feature = "crash-points")]
mod crashing;
mod full_disk;
mod opening;
mod processes;
mod promoting;
mod publishing;
pub(crate) mod sweeping;

/// A place for a root and a run folder.
pub(crate) struct Place {
    folder: PathBuf,
    _temporary: Option<TempDir>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        Self { folder: temporary.path().to_owned(), _temporary: Some(temporary) }
    }

    /// A place that somebody else removes.
    pub(crate) fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), _temporary: None }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    pub(crate) fn options(&self) -> StoreOptions {
        StoreOptions {
            schemas: SCHEMAS,
            reserve: 64 * 1024,
            ..StoreOptions::new(self.root(), self.folder.join("run"), "rbuild test")
        }
    }

    pub(crate) fn open(&self) -> Store {
        Store::open(self.options()).unwrap()
    }

    /// Makes the store look as if the machine had been restarted: another boot id, an empty run folder.
    pub(crate) fn reboot(&self) {
        let link = self.root().join("run");
        let text = fs::read_link(&link).unwrap().into_os_string().into_string().unwrap();
        let (_, rest) = text.split_once(':').unwrap();
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(format!("{}:{rest}", "0".repeat(32)), &link).unwrap();
        fs::remove_dir_all(self.folder.join("run")).unwrap();
    }
}

/// The kind of object that the tests keep.
pub(crate) const NOTE: ObjectKind = ObjectKind("note");

/// Notes: a file each, a row each, and a note may need another.
pub(crate) const NOTES: Schema = Schema {
    name: "notes",
    migrations: &["
        CREATE TABLE notes (
            name TEXT PRIMARY KEY,
            needs TEXT REFERENCES notes (name),
            pinned INTEGER NOT NULL DEFAULT 0,
            unsynced BLOB
        ) STRICT;
        CREATE INDEX notes_unsynced ON notes (unsynced) WHERE unsynced IS NOT NULL;
    "],
    promotable: &[&DerivedTable("notes")],
};

const SCHEMAS: &[&Schema] = &[&NOTES];

pub(crate) fn add_note(store: &Store, name: &str, needs: Option<&str>) {
    let stamp = store.stamp();
    store
        .write(|transaction| -> Result<(), DatabaseError> {
            transaction.execute(
                "INSERT INTO notes (name, needs, unsynced) VALUES (?1, ?2, ?3)",
                (name, needs, stamp),
            )?;
            Ok(())
        })
        .unwrap();
    publish(store, &store.layout().index(), name, b"note").unwrap();
}

/// Publishes a small file.
pub(crate) fn publish(
    store: &Store,
    folder: &Path,
    name: &str,
    bytes: &[u8],
) -> Result<Published, FileError> {
    let mut file = store.temp_file(folder)?;
    std::io::Write::write_all(&mut file, bytes).at("write", folder.join(name))?;
    store.derived().publish(file, folder, name, Access::ReadOnly)
}

pub(crate) fn notes(store: &Store) -> Vec<String> {
    store
        .read(|transaction| -> Result<Vec<String>, DatabaseError> {
            let mut statement = transaction.prepare("SELECT name FROM notes ORDER BY name")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .unwrap()
}

/// Runs the test `name` of this binary again as a process of its own, told by `ROLE` and `PLACE` what it is.
///
/// Such a test returns at once when it is not told anything.
pub(crate) fn act(name: &str, role: &str, place: &Place) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture", "--test-threads=1"]);
    command.env("ROLE", role).env("PLACE", place.folder());
    command
}

/// What this process was told by [`act`].
pub(crate) fn role() -> Option<(String, Place)> {
    let role = std::env::var("ROLE").ok()?;
    let place = std::env::var_os("PLACE")?;
    Some((role, Place::at(Path::new(&place))))
}
