//! The tables of the records.
//!
//! ```text
//! snapshots ◀── chains (a tree of prefixes: parent and one more snapshot)
//!                 ▲
//! keys ────────▶ records ◀── lineage ──▶ builds ◀── failures ──▶ pre_images
//!   │              │
//!   ▼              ▼
//! pre_images ──▶ guarded_values      nodes ──▶ nodes (folders of hashed trees, shared)
//!     ▲   └────▶ contents ─────────▶
//! selections (the paths of what was hashed)
//! ```
//!
//! A record without a tree (`tree = 0`) is a tombstone: its keys still match, its bytes are gone. `generation` orders
//! uses, as the clock cannot; `used_at` is for people and for policies.

use rbuild_store::{DerivedTable, Schema};

/// The tables; every store that a cache lives in is opened with them.
pub const SCHEMA: Schema = Schema {
    name: "cache.records",
    migrations: &[
        "
        CREATE TABLE snapshots (
            number INTEGER PRIMARY KEY,
            id BLOB NOT NULL UNIQUE,
            format TEXT NOT NULL,
            bytes INTEGER NOT NULL,
            unsynced BLOB
        ) STRICT;
        CREATE INDEX snapshots_unsynced ON snapshots (number) WHERE unsynced IS NOT NULL;

        CREATE TABLE chains (
            id INTEGER PRIMARY KEY,
            parent INTEGER REFERENCES chains (id),
            snapshot BLOB REFERENCES snapshots (id) ON DELETE CASCADE,
            CHECK ((id = 0) = (parent IS NULL)),
            CHECK ((id = 0) = (snapshot IS NULL)),
            UNIQUE (parent, snapshot)
        ) STRICT;
        CREATE INDEX chains_by_snapshot ON chains (snapshot);
        INSERT INTO chains (id) VALUES (0);

        CREATE TABLE pre_images (
            key BLOB PRIMARY KEY,
            body TEXT NOT NULL
        ) STRICT;
        CREATE TABLE guarded_values (
            hash BLOB PRIMARY KEY,
            text TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE value_uses (
            hash BLOB NOT NULL,
            pre_image BLOB NOT NULL REFERENCES pre_images (key) ON DELETE CASCADE,
            PRIMARY KEY (hash, pre_image)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX value_uses_by_pre_image ON value_uses (pre_image);

        CREATE TABLE nodes (
            hash BLOB PRIMARY KEY,
            body BLOB NOT NULL
        ) STRICT;
        CREATE TABLE node_children (
            child BLOB NOT NULL,
            parent BLOB NOT NULL REFERENCES nodes (hash) ON DELETE CASCADE,
            PRIMARY KEY (child, parent)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX node_children_by_parent ON node_children (parent);
        CREATE TABLE contents (
            hash BLOB NOT NULL,
            pre_image BLOB NOT NULL REFERENCES pre_images (key) ON DELETE CASCADE,
            PRIMARY KEY (hash, pre_image)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX contents_by_pre_image ON contents (pre_image);

        CREATE TABLE records (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL,
            canonical BLOB NOT NULL,
            definition BLOB,
            content BLOB,
            tree INTEGER NOT NULL CHECK (tree IN (0, 1)),
            chain INTEGER NOT NULL DEFAULT 0 REFERENCES chains (id),
            started_ns INTEGER NOT NULL,
            took_ns INTEGER NOT NULL,
            cpu_ns INTEGER,
            peak_memory INTEGER,
            bytes INTEGER,
            log TEXT,
            generation INTEGER NOT NULL,
            used_at INTEGER NOT NULL,
            unsynced BLOB,
            CHECK (tree = 1 OR chain = 0)
        ) STRICT;
        CREATE INDEX records_unsynced ON records (id) WHERE unsynced IS NOT NULL;
        CREATE INDEX records_by_chain ON records (chain) WHERE chain <> 0;
        CREATE INDEX records_by_definition ON records (definition);
        CREATE INDEX records_by_content ON records (content);

        CREATE TABLE keys (
            kind INTEGER NOT NULL,
            key BLOB NOT NULL,
            record INTEGER NOT NULL REFERENCES records (id) ON DELETE CASCADE,
            PRIMARY KEY (kind, key)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX keys_by_record ON keys (record);
        CREATE INDEX keys_by_key ON keys (key);

        CREATE TABLE builds (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            project TEXT NOT NULL,
            target TEXT NOT NULL,
            started_ns INTEGER NOT NULL,
            took_ns INTEGER NOT NULL,
            succeeded INTEGER NOT NULL CHECK (succeeded IN (0, 1))
        ) STRICT;
        CREATE INDEX builds_by_project ON builds (project, id);
        CREATE TABLE lineage (
            build INTEGER NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
            ordinal INTEGER NOT NULL,
            stage TEXT NOT NULL,
            note TEXT NOT NULL,
            record INTEGER REFERENCES records (id) ON DELETE SET NULL,
            was_hit INTEGER NOT NULL CHECK (was_hit IN (0, 1)),
            PRIMARY KEY (build, ordinal)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX lineage_by_record ON lineage (record);
    ",
        "
        ALTER TABLE builds ADD COLUMN cancelled INTEGER NOT NULL DEFAULT 0 CHECK (cancelled IN (0, 1));
        -- Every line said that it was a hit; how its step came to its result is not known.
        ALTER TABLE lineage RENAME TO lineage_before;
        DROP INDEX lineage_by_record;
        CREATE TABLE lineage (
            build INTEGER NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
            ordinal INTEGER NOT NULL,
            stage TEXT NOT NULL,
            note TEXT NOT NULL,
            record INTEGER REFERENCES records (id) ON DELETE SET NULL,
            origin INTEGER,
            PRIMARY KEY (build, ordinal)
        ) STRICT, WITHOUT ROWID;
        INSERT INTO lineage SELECT build, ordinal, stage, note, record, NULL FROM lineage_before;
        DROP TABLE lineage_before;
        CREATE INDEX lineage_by_record ON lineage (record);
    ",
        "
        -- The paths of what a content key selects, which are not in the key itself.
        CREATE TABLE selections (
            pre_image BLOB NOT NULL REFERENCES pre_images (key) ON DELETE CASCADE,
            place INTEGER NOT NULL,
            path TEXT NOT NULL,
            PRIMARY KEY (pre_image, place)
        ) STRICT, WITHOUT ROWID;
    ",
        "
        -- What the step that a build failed at was to be found by: it came to no record.
        CREATE TABLE failures (
            build INTEGER PRIMARY KEY REFERENCES builds (id) ON DELETE CASCADE,
            ordinal INTEGER NOT NULL,
            definition BLOB,
            content BLOB
        ) STRICT;
        CREATE INDEX failures_by_definition ON failures (definition);
        CREATE INDEX failures_by_content ON failures (content);
    ",
        "
        -- What was unpacked had the size of its tar, and some had none: all are counted anew, on the disk.
        UPDATE snapshots SET bytes = 0;
    ",
    ],
    // Records before snapshots: a record that is dropped lets go of its chain.
    promotable: &[&DerivedTable("records"), &SnapshotRows],
};

/// Snapshots of another boot that were not promoted: their chains, and the trees of records upon them, go with them.
struct SnapshotRows;

const SNAPSHOTS: DerivedTable = DerivedTable("snapshots");

impl rbuild_store::Promotable for SnapshotRows {
    fn unpromoted(
        &self,
        transaction: &rusqlite::Transaction<'_>,
    ) -> Result<Vec<rbuild_store::promotion::Listed>, rbuild_store::DatabaseError> {
        SNAPSHOTS.unpromoted(transaction)
    }

    fn promote(
        &self,
        transaction: &rusqlite::Transaction<'_>,
        listed: &[rbuild_store::promotion::Listed],
    ) -> Result<(), rbuild_store::DatabaseError> {
        SNAPSHOTS.promote(transaction, listed)
    }

    fn undo_other_boots(
        &self,
        transaction: &rusqlite::Transaction<'_>,
        boot: rbuild_store::BootId,
    ) -> Result<usize, rbuild_store::DatabaseError> {
        super::trees::forget_lost_snapshots(transaction, boot)
    }
}
