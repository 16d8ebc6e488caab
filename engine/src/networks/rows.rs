//! The rows of networks: one a network, with its definition as a document.

use rbuild_model::network::NetworkDefinition;
use rbuild_store::{DatabaseError, Schema};
use rusqlite::Transaction;

/// The tables; every store is opened with them.
pub const SCHEMA: Schema = Schema {
    name: "networks",
    migrations: &["
        CREATE TABLE networks (
            number INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            name TEXT NOT NULL UNIQUE,
            definition TEXT NOT NULL
        ) STRICT;
    "],
    promotable: &[],
};

/// Lists all networks, in the order in which they were made.
pub(super) fn all(transaction: &Transaction<'_>) -> Result<Vec<NetworkDefinition>, DatabaseError> {
    let mut statement = transaction.prepare_cached("SELECT definition FROM networks ORDER BY number")?;
    let texts = statement.query_map([], |row| row.get::<_, String>(0))?;
    texts.map(|text| read(&text?)).collect()
}

fn read(text: &str) -> Result<NetworkDefinition, DatabaseError> {
    serde_json::from_str(text)
        .map_err(|error| DatabaseError::Damaged { table: "networks", why: error.to_string() })
}

/// Adds a network; `false` if another has its name.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    definition: &NetworkDefinition,
) -> Result<bool, DatabaseError> {
    let text = serde_json::to_string(definition).expect("a definition has only strings, lists and maps");
    let added = transaction
        .prepare_cached("INSERT OR IGNORE INTO networks (id, name, definition) VALUES (?1, ?2, ?3)")?
        .execute((&definition.id, &definition.name, text))?;
    Ok(added == 1)
}

/// Writes down what became of a network that is there.
pub(super) fn replace(
    transaction: &Transaction<'_>,
    definition: &NetworkDefinition,
) -> Result<(), DatabaseError> {
    let text = serde_json::to_string(definition).expect("a definition has only strings, lists and maps");
    transaction
        .prepare_cached("UPDATE networks SET definition = ?2 WHERE id = ?1")?
        .execute((&definition.id, text))?;
    Ok(())
}

/// Removes a network.
pub(super) fn remove(transaction: &Transaction<'_>, id: &str) -> Result<(), DatabaseError> {
    transaction.prepare_cached("DELETE FROM networks WHERE id = ?1")?.execute([id])?;
    Ok(())
}
