//! The rows of volumes: one a volume, with its definition as a document.

use rbuild_model::volume::{VolumeDefinition, VolumeName};
use rbuild_store::{DatabaseError, Schema};
use rusqlite::{OptionalExtension as _, Transaction};

/// The tables; every store is opened with them.
pub const SCHEMA: Schema = Schema {
    name: "volumes",
    migrations: &["
        CREATE TABLE volumes (
            name TEXT PRIMARY KEY,
            definition TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;
    "],
    promotable: &[],
};

/// Lists all volumes, by name.
pub(super) fn all(transaction: &Transaction<'_>) -> Result<Vec<VolumeDefinition>, DatabaseError> {
    let mut statement = transaction.prepare_cached("SELECT definition FROM volumes ORDER BY name")?;
    let texts = statement.query_map([], |row| row.get::<_, String>(0))?;
    texts.map(|text| read(&text?)).collect()
}

/// Finds a volume.
pub(super) fn find(
    transaction: &Transaction<'_>,
    name: &VolumeName,
) -> Result<Option<VolumeDefinition>, DatabaseError> {
    let text: Option<String> = transaction
        .prepare_cached("SELECT definition FROM volumes WHERE name = ?1")?
        .query_row([name.as_str()], |row| row.get(0))
        .optional()?;
    text.map(|text| read(&text)).transpose()
}

/// Adds a volume, unless another has its name; returns the one that is there then, and whether it is the new one.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    definition: &VolumeDefinition,
) -> Result<(VolumeDefinition, bool), DatabaseError> {
    let text = serde_json::to_string(definition).expect("a definition has only strings and maps");
    let added = transaction
        .prepare_cached("INSERT OR IGNORE INTO volumes (name, definition) VALUES (?1, ?2)")?
        .execute((definition.name.as_str(), text))?;
    let there =
        find(transaction, &definition.name)?.ok_or_else(|| damaged("a row that was added is gone"))?;
    Ok((there, added == 1))
}

/// Removes a volume.
pub(super) fn remove(transaction: &Transaction<'_>, name: &VolumeName) -> Result<(), DatabaseError> {
    transaction.prepare_cached("DELETE FROM volumes WHERE name = ?1")?.execute([name.as_str()])?;
    Ok(())
}

fn read(text: &str) -> Result<VolumeDefinition, DatabaseError> {
    serde_json::from_str(text).map_err(|error| damaged(&error.to_string()))
}

fn damaged(why: &str) -> DatabaseError {
    DatabaseError::Damaged { table: "volumes", why: why.to_owned() }
}
