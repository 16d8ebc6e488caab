//! The rows of containers.
//!
//! One row a container, with its definition as a document. Small tables beside it say what other owners have to know
//! without reading documents: which snapshots it stands on, which volumes it has. Look-ups are one read.

use rbuild_model::container::{
    ContainerId, ContainerName, DEFINITION_VERSION, Definition, MountWhat, Removal,
};
use rbuild_model::digest::ImageId;
use rbuild_store::collect::{Candidate, Collected, Mark, Policy, SweepError, Verdict};
use rbuild_store::{DatabaseError, ObjectKind, Schema, Store};
use rusqlite::{OptionalExtension as _, Transaction};

use super::error::ContainerError;

/// The tables; every store is opened with them.
pub const SCHEMA: Schema = Schema {
    name: "containers",
    migrations: &["
        CREATE TABLE containers (
            number INTEGER PRIMARY KEY,
            id TEXT NOT NULL UNIQUE,
            name TEXT NOT NULL UNIQUE,
            image BLOB NOT NULL,
            auto_remove INTEGER NOT NULL,
            definition TEXT NOT NULL
        ) STRICT;
        CREATE INDEX containers_by_image ON containers (image);

        CREATE TABLE container_layers (
            container TEXT NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
            snapshot BLOB NOT NULL,
            PRIMARY KEY (container, snapshot)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX container_layers_by_snapshot ON container_layers (snapshot);

        CREATE TABLE container_volumes (
            container TEXT NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
            volume TEXT NOT NULL,
            anonymous INTEGER NOT NULL,
            PRIMARY KEY (container, volume)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX container_volumes_by_volume ON container_volumes (volume);
    "],
    promotable: &[],
};

/// Adds a container; tells who has the name if it is taken.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    definition: &Definition,
) -> Result<Result<(), ContainerId>, ContainerError> {
    if let Some(holder) = holder_of(transaction, &definition.name)? {
        return Ok(Err(holder));
    }
    let id = definition.id.to_string();
    transaction
        .prepare_cached(
            "INSERT INTO containers (id, name, image, auto_remove, definition) VALUES (?1, ?2, ?3, ?4, ?5)",
        )
        .map_err(DatabaseError::from)?
        .execute((
            &id,
            definition.name.as_str(),
            definition.image.id.as_bytes(),
            definition.host.removal == Removal::Auto,
            text_of(definition),
        ))
        .map_err(DatabaseError::from)?;
    let mut layer = transaction
        .prepare_cached("INSERT OR IGNORE INTO container_layers VALUES (?1, ?2)")
        .map_err(DatabaseError::from)?;
    for snapshot in definition.image.chain.layers() {
        layer.execute((&id, snapshot.as_bytes())).map_err(DatabaseError::from)?;
    }
    let mut volume = transaction
        .prepare_cached("INSERT OR IGNORE INTO container_volumes VALUES (?1, ?2, ?3)")
        .map_err(DatabaseError::from)?;
    for mount in &definition.host.mounts {
        if let MountWhat::Volume { name, anonymous, .. } = &mount.what {
            volume.execute((&id, name.as_str(), *anonymous)).map_err(DatabaseError::from)?;
        }
    }
    Ok(Ok(()))
}

/// Returns who has a name.
pub(super) fn holder_of(
    transaction: &Transaction<'_>,
    name: &ContainerName,
) -> Result<Option<ContainerId>, DatabaseError> {
    let mut statement = transaction.prepare_cached("SELECT id FROM containers WHERE name = ?1")?;
    let holder: Option<String> = statement.query_row([name.as_str()], |row| row.get(0)).optional()?;
    holder.map(|id| parse_id(&id)).transpose()
}

/// Writes a changed definition: name, policy, limits, networks.
pub(super) fn update(transaction: &Transaction<'_>, definition: &Definition) -> Result<bool, DatabaseError> {
    let mut statement = transaction
        .prepare_cached("UPDATE containers SET name = ?2, auto_remove = ?3, definition = ?4 WHERE id = ?1")?;
    let changed = statement.execute((
        definition.id.to_string(),
        definition.name.as_str(),
        definition.host.removal == Removal::Auto,
        text_of(definition),
    ))?;
    Ok(changed > 0)
}

/// Takes a container's name away from it, so that another can have it.
pub(super) fn free_name(transaction: &Transaction<'_>, id: ContainerId) -> Result<(), DatabaseError> {
    transaction.prepare_cached("UPDATE containers SET name = id WHERE id = ?1")?.execute([id.to_string()])?;
    Ok(())
}

/// Deletes a container's rows; tells whether there were any.
pub(super) fn delete(transaction: &Transaction<'_>, id: ContainerId) -> Result<bool, DatabaseError> {
    let mut statement = transaction.prepare_cached("DELETE FROM containers WHERE id = ?1")?;
    Ok(statement.execute([id.to_string()])? > 0)
}

/// Lists all containers, the newest first.
pub(super) fn all(transaction: &Transaction<'_>) -> Result<Vec<Definition>, ContainerError> {
    let read = |transaction: &Transaction<'_>| -> Result<Vec<(String, String)>, DatabaseError> {
        let mut statement =
            transaction.prepare_cached("SELECT id, definition FROM containers ORDER BY number DESC")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    };
    read(transaction)?.iter().map(|(id, text)| definition_of(id, text)).collect()
}

/// Returns a container by its id.
pub(super) fn get(
    transaction: &Transaction<'_>,
    id: ContainerId,
) -> Result<Option<Definition>, ContainerError> {
    let id = id.to_string();
    let read = |transaction: &Transaction<'_>| -> Result<Option<String>, DatabaseError> {
        let mut statement = transaction.prepare_cached("SELECT definition FROM containers WHERE id = ?1")?;
        Ok(statement.query_row([&id], |row| row.get(0)).optional()?)
    };
    read(transaction)?.map(|text| definition_of(&id, &text)).transpose()
}

/// Tells whether there is a container with this id.
pub(super) fn exists(transaction: &Transaction<'_>, id: ContainerId) -> Result<bool, DatabaseError> {
    let mut statement = transaction.prepare_cached("SELECT 1 FROM containers WHERE id = ?1")?;
    Ok(statement.exists([id.to_string()])?)
}

/// Finds a container by its full id, else by its name, else by the beginning of its id.
pub(super) fn find(transaction: &Transaction<'_>, text: &str) -> Result<Definition, ContainerError> {
    let name = text.strip_prefix('/').unwrap_or(text);
    let read = |transaction: &Transaction<'_>| -> Result<Vec<(String, String)>, DatabaseError> {
        let mut exact = transaction.prepare_cached(
            "SELECT id, definition FROM containers WHERE id = ?1 OR name = ?1 ORDER BY id = ?1 DESC LIMIT 1",
        )?;
        if let Some(row) = exact.query_row([name], |row| Ok((row.get(0)?, row.get(1)?))).optional()? {
            return Ok(vec![row]);
        }
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(Vec::new());
        }
        let prefix = name.to_ascii_lowercase();
        // `g` comes behind every digit.
        let mut ranged = transaction.prepare_cached(
            "SELECT id, definition FROM containers WHERE id >= ?1 AND id < ?1 || 'g' LIMIT 2",
        )?;
        let rows = ranged.query_map([prefix], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    };
    match &read(transaction)?[..] {
        [] => Err(ContainerError::NotFound(text.to_owned())),
        [(id, definition)] => definition_of(id, definition),
        _ => Err(ContainerError::Ambiguous(text.to_owned())),
    }
}

/// Returns the containers that have a volume, and those that use an image.
pub(super) fn volume_users(
    transaction: &Transaction<'_>,
    volume: &str,
) -> Result<Vec<ContainerId>, DatabaseError> {
    ids(transaction, "SELECT container FROM container_volumes WHERE volume = ?1", volume)
}

/// Returns the containers that were made of an image.
pub(super) fn image_users(
    transaction: &Transaction<'_>,
    image: ImageId,
) -> Result<Vec<ContainerId>, DatabaseError> {
    ids(transaction, "SELECT id FROM containers WHERE image = ?1 ORDER BY number", image.as_bytes())
}

fn ids(
    transaction: &Transaction<'_>,
    statement: &str,
    parameter: impl rusqlite::ToSql,
) -> Result<Vec<ContainerId>, DatabaseError> {
    let mut statement = transaction.prepare_cached(statement)?;
    let rows = statement.query_map([parameter], |row| row.get::<_, String>(0))?;
    rows.map(|id| parse_id(&id?)).collect()
}

fn parse_id(text: &str) -> Result<ContainerId, DatabaseError> {
    text.parse().map_err(|_| DatabaseError::Damaged {
        table: "containers",
        why: format!("{text:?} is no id of a container"),
    })
}

fn text_of(definition: &Definition) -> String {
    serde_json::to_string(definition).expect("a definition can be written to memory")
}

fn definition_of(id: &str, text: &str) -> Result<Definition, ContainerError> {
    serde_json::from_str(text).map_err(|source| {
        let version =
            serde_json::from_str::<serde_json::Value>(text).ok().and_then(|v| v["version"].as_u64());
        match version {
            Some(found) if found > u64::from(DEFINITION_VERSION) => {
                ContainerError::Future { id: id.to_owned(), found }
            }
            _ => ContainerError::Damaged { id: id.to_owned(), source },
        }
    })
}

/// Containers as the store's sweep sees them: what they stand on is kept. Comes before the owner of snapshots.
#[derive(Clone, Copy, Debug)]
pub struct ContainerRows;

impl Collected for ContainerRows {
    fn kind(&self) -> ObjectKind {
        ObjectKind("container")
    }

    fn roots(&self, transaction: &Transaction<'_>, _: &Policy, mark: &mut Mark) -> Result<(), DatabaseError> {
        let mut statement = transaction.prepare_cached("SELECT DISTINCT snapshot FROM container_layers")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            mark.keep(ObjectKind::SNAPSHOT, &row.get::<_, Vec<u8>>(0)?);
        }
        Ok(())
    }

    fn references(&self, _: &Transaction<'_>, _: &[u8], _: &mut Mark) -> Result<(), DatabaseError> {
        Ok(())
    }

    fn candidates(&self, _: &Transaction<'_>) -> Result<Vec<Candidate>, DatabaseError> {
        Ok(Vec::new())
    }

    fn condemn(&self, _: &Transaction<'_>, _: &[u8]) -> Result<Verdict, DatabaseError> {
        Ok(Verdict::Needed)
    }

    fn needs(
        &self,
        transaction: &Transaction<'_>,
        kind: ObjectKind,
        object: &[u8],
    ) -> Result<bool, DatabaseError> {
        if kind != ObjectKind::SNAPSHOT {
            return Ok(false);
        }
        let mut statement =
            transaction.prepare_cached("SELECT 1 FROM container_layers WHERE snapshot = ?1 LIMIT 1")?;
        Ok(statement.exists([object])?)
    }

    fn reclaim(&self, _: &Store, _: &[u8]) -> Result<(), SweepError> {
        Ok(())
    }
}
