//! The rows of containers.
//!
//! One row a container, with its definition as a document. Small tables beside it say what other owners have to know
//! without reading documents: which snapshots it stands on, which volumes it has. Look-ups are one read.

use rbuild_model::container::{
    ContainerId, ContainerName, DEFINITION_VERSION, Definition, MountWhat, Removal,
};
use rbuild_model::digest::ImageId;
use rbuild_store::collect::Keeper;
use rbuild_store::{DatabaseError, ObjectKind, Schema};
use rusqlite::{OptionalExtension as _, Transaction};

use super::error::ContainerError;

/// The tables; every store is opened with them.
pub const SCHEMA: Schema = Schema {
    name: "containers",
    migrations: &[
        "
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
    ",
        "
        CREATE TABLE container_images (
            container TEXT NOT NULL REFERENCES containers (id) ON DELETE CASCADE,
            image BLOB NOT NULL,
            PRIMARY KEY (container, image)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX container_images_by_image ON container_images (image);
    ",
    ],
    promotable: &[],
};

/// What a container is to the store: the object is its id.
pub(super) const CONTAINER: ObjectKind = ObjectKind("container");

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
    let mut image = transaction
        .prepare_cached("INSERT OR IGNORE INTO container_images VALUES (?1, ?2)")
        .map_err(DatabaseError::from)?;
    let mut chains = vec![&definition.image.chain];
    for mount in &definition.host.mounts {
        if let MountWhat::Image { id: mounted, chain, .. } = &mount.what {
            image.execute((&id, mounted.as_bytes())).map_err(DatabaseError::from)?;
            chains.push(chain);
        }
    }
    for snapshot in chains.into_iter().flat_map(|chain| chain.layers()) {
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

/// Lists all containers, the newest first. One whose definition cannot be read does not hide the others.
pub(super) fn all(
    transaction: &Transaction<'_>,
) -> Result<Vec<Result<Definition, ContainerError>>, DatabaseError> {
    let mut statement =
        transaction.prepare_cached("SELECT id, definition FROM containers ORDER BY number DESC")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    Ok(rows.iter().map(|(id, text)| definition_of(id, text)).collect())
}

/// Lists the containers that remove themselves; what cannot be read is left to who lists all.
pub(super) fn auto_removed(transaction: &Transaction<'_>) -> Result<Vec<Definition>, DatabaseError> {
    let mut statement =
        transaction.prepare_cached("SELECT id, definition FROM containers WHERE auto_remove = 1")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    Ok(rows.iter().filter_map(|(id, text)| definition_of(id, text).ok()).collect())
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

/// Returns the containers that were made of an image, and those that have it mounted.
pub(super) fn image_users(
    transaction: &Transaction<'_>,
    image: ImageId,
) -> Result<Vec<ContainerId>, DatabaseError> {
    ids(transaction, USES_IMAGE, image.as_bytes())
}

/// Which containers use an image.
pub(super) const USES_IMAGE: &str = "SELECT id FROM containers WHERE image = ?1 \
                                     UNION SELECT container FROM container_images WHERE image = ?1";

/// Lists what each container keeps: its images, and the snapshots below it.
pub(super) fn kept(transaction: &Transaction<'_>) -> Result<Vec<Keeper>, DatabaseError> {
    let mut containers = transaction.prepare_cached("SELECT id, name FROM containers ORDER BY number")?;
    let parts = [
        (ObjectKind::IMAGE, "SELECT image FROM containers WHERE id = ?1"),
        (ObjectKind::IMAGE, "SELECT image FROM container_images WHERE container = ?1"),
        (ObjectKind::SNAPSHOT, "SELECT snapshot FROM container_layers WHERE container = ?1"),
    ];
    let mut rows = containers.query([])?;
    let mut keepers = Vec::new();
    while let Some(row) = rows.next()? {
        let (id, name): (String, String) = (row.get(0)?, row.get(1)?);
        let mut objects = Vec::new();
        for (kind, text) in parts {
            let mut statement = transaction.prepare_cached(text)?;
            let found = statement.query_map([&id], |row| Ok((kind, row.get(0)?)))?;
            objects.extend(found.collect::<rusqlite::Result<Vec<_>>>()?);
        }
        keepers.push(Keeper { name: format!("container {name}"), objects });
    }
    Ok(keepers)
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

/// Lists the ids of all containers.
pub(super) fn all_ids(transaction: &Transaction<'_>) -> Result<Vec<ContainerId>, DatabaseError> {
    let mut statement = transaction.prepare_cached("SELECT id FROM containers")?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
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
    serde_json::from_slice(text.as_bytes()).map_err(|source| {
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
