//! The tables of images.

use rbuild_store::promotion::Listed;
use rbuild_store::{BootId, DatabaseError, DerivedTable, Promotable, Schema};
use rusqlite::Transaction;

/// The tables; every store is opened with them.
///
/// ```text
/// names ──▶ images ──▶ image_layers (ordinal: ChainId) ──▶ layers ──▶ snapshot
///             ▲                                              │ DiffId
///         manifests (bytes as they came)                     ▼
///                                    diff_ids (by snapshot)  layer_blobs ──▶ blob
/// names ◀── name_platforms ──▶ images (see `platforms`)
/// ```
pub const SCHEMA: Schema = Schema {
    name: "images",
    migrations: &[
        "
        CREATE TABLE images (
            number INTEGER PRIMARY KEY,
            id BLOB NOT NULL UNIQUE,
            config BLOB NOT NULL,
            parent BLOB,
            added_at INTEGER NOT NULL,
            origin TEXT,
            unsynced BLOB
        ) STRICT;
        CREATE INDEX images_unsynced ON images (number) WHERE unsynced IS NOT NULL;

        CREATE TABLE image_layers (
            image BLOB NOT NULL REFERENCES images (id) ON DELETE CASCADE,
            ordinal INTEGER NOT NULL,
            chain BLOB NOT NULL,
            diff BLOB NOT NULL,
            PRIMARY KEY (image, ordinal)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX image_layers_by_chain ON image_layers (chain);
        CREATE INDEX image_layers_by_diff ON image_layers (diff);

        CREATE TABLE layers (
            number INTEGER PRIMARY KEY,
            chain BLOB NOT NULL UNIQUE,
            snapshot BLOB NOT NULL,
            bytes INTEGER NOT NULL,
            unsynced BLOB
        ) STRICT;
        CREATE INDEX layers_unsynced ON layers (number) WHERE unsynced IS NOT NULL;
        CREATE INDEX layers_by_snapshot ON layers (snapshot);

        CREATE TABLE diff_ids (
            snapshot BLOB NOT NULL,
            tar_version INTEGER NOT NULL,
            epoch INTEGER NOT NULL,
            diff BLOB NOT NULL,
            bytes INTEGER NOT NULL,
            PRIMARY KEY (snapshot, tar_version, epoch)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX diff_ids_by_diff ON diff_ids (diff);

        CREATE TABLE layer_blobs (
            diff BLOB NOT NULL,
            media_type TEXT NOT NULL,
            packed TEXT NOT NULL,
            digest BLOB NOT NULL,
            size INTEGER NOT NULL,
            origin TEXT,
            PRIMARY KEY (diff, packed, digest)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX layer_blobs_by_digest ON layer_blobs (digest);

        CREATE TABLE manifests (
            digest BLOB PRIMARY KEY,
            image BLOB NOT NULL REFERENCES images (id) ON DELETE CASCADE,
            media_type TEXT NOT NULL,
            bytes BLOB NOT NULL
        ) STRICT;
        CREATE INDEX manifests_by_image ON manifests (image);

        CREATE TABLE names (
            number INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            repository TEXT NOT NULL,
            image BLOB NOT NULL REFERENCES images (id) ON DELETE CASCADE,
            named_at INTEGER NOT NULL,
            former BLOB,
            unsynced BLOB
        ) STRICT;
        CREATE INDEX names_by_image ON names (image);
        CREATE INDEX names_unsynced ON names (number) WHERE unsynced IS NOT NULL;
    ",
        "
        -- How a blob was packed here; nothing for one that came packed.
        ALTER TABLE layer_blobs ADD COLUMN encoding TEXT;
    ",
        "
        -- What a name means on each platform, where that is more than one.
        CREATE TABLE name_platforms (
            number INTEGER PRIMARY KEY,
            name TEXT NOT NULL REFERENCES names (name) ON DELETE CASCADE,
            platform TEXT NOT NULL,
            image BLOB NOT NULL REFERENCES images (id) ON DELETE CASCADE,
            unsynced BLOB,
            UNIQUE (name, platform)
        ) STRICT;
        CREATE INDEX name_platforms_by_image ON name_platforms (image);
        CREATE INDEX name_platforms_unsynced ON name_platforms (number) WHERE unsynced IS NOT NULL;
    ",
        "
        -- Which repositories of registries have a blob, as far as it was pushed from here.
        CREATE TABLE blob_places (
            digest BLOB NOT NULL,
            repository TEXT NOT NULL,
            PRIMARY KEY (digest, repository)
        ) STRICT, WITHOUT ROWID;
    ",
        crate::shelf::MIGRATION,
        crate::shelf::WITH_TIMES,
        "
        -- What a registry said that a tag names, and when.
        CREATE TABLE tag_memory (
            name TEXT PRIMARY KEY,
            digest BLOB NOT NULL,
            asked_at INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
    ",
        "
        -- What the build of an image said about it, for when it leaves: predicates of in-toto, as JSON.
        CREATE TABLE image_facts (
            image BLOB NOT NULL REFERENCES images (id) ON DELETE CASCADE,
            ordinal INTEGER NOT NULL,
            kind TEXT NOT NULL,
            value TEXT NOT NULL,
            PRIMARY KEY (image, ordinal)
        ) STRICT;
    ",
        "
        -- At which URL an upload to a repository is gone on with that was begun and not ended.
        CREATE TABLE uploads (
            digest BLOB NOT NULL,
            repository TEXT NOT NULL,
            url TEXT NOT NULL,
            PRIMARY KEY (digest, repository)
        ) STRICT, WITHOUT ROWID;
    ",
        "
        -- When an image was last built on or run, in seconds since 1970.
        ALTER TABLE images ADD COLUMN used_at INTEGER NOT NULL DEFAULT 0;
    ",
        "
        -- Names that only a build's FROM gave (see `bases`).
        CREATE TABLE base_names (
            name TEXT PRIMARY KEY REFERENCES names (name) ON DELETE CASCADE
        ) STRICT, WITHOUT ROWID;
    ",
    ],
    // Names first: a name that reverts must not go with the image that it pointed to.
    promotable: &[&Names, &DerivedTable("name_platforms"), &DerivedTable("images"), &DerivedTable("layers")],
};

/// Names keep their former image until promotion, and revert to it if the machine goes down before.
struct Names;

const NAMES: DerivedTable = DerivedTable("names");

impl Promotable for Names {
    fn unpromoted(&self, transaction: &Transaction<'_>) -> Result<Vec<Listed>, DatabaseError> {
        NAMES.unpromoted(transaction)
    }

    fn promote(&self, transaction: &Transaction<'_>, listed: &[Listed]) -> Result<(), DatabaseError> {
        NAMES.promote(transaction, listed)?;
        transaction
            .prepare_cached("UPDATE names SET former = NULL WHERE unsynced IS NULL AND former IS NOT NULL")?
            .execute([])?;
        Ok(())
    }

    fn undo_other_boots(&self, transaction: &Transaction<'_>, boot: BootId) -> Result<usize, DatabaseError> {
        let reverted = transaction
            .prepare_cached(
                "UPDATE names SET image = former, former = NULL, unsynced = NULL \
                 WHERE unsynced IS NOT NULL AND substr(unsynced, 1, 16) <> ?1 \
                 AND former IN (SELECT id FROM images)",
            )?
            .execute([boot.as_bytes()])?;
        Ok(reverted + NAMES.undo_other_boots(transaction, boot)?)
    }
}
