//! The store as its users see it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use tempfile::TempDir;

use super::*;

mod opening;
mod publishing;
mod sweeping;

/// A place for a root and a run folder.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    pub(crate) fn options(&self) -> StoreOptions {
        StoreOptions {
            schemas: SCHEMAS,
            reserve: 64 * 1024,
            ..StoreOptions::new(self.root(), self.folder.path().join("run"), "rbuild test")
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
        fs::remove_dir_all(self.folder.path().join("run")).unwrap();
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
    store.derived().write(&store.layout().index(), name, b"note", Access::ReadOnly).unwrap();
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
