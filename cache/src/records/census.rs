//! The records that have their trees, for whoever lists what the cache holds.

use rbuild_model::snapshot::SnapshotId;
use rbuild_solver::RecordId;

use super::{RecordError, Records, object_of};

/// A record and the snapshots that it stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its number.
    pub record: RecordId,
    /// What its step is called.
    pub name: String,
    /// The snapshot that the step made; `None` for the empty tree.
    pub top: Option<SnapshotId>,
    /// The one below it.
    pub below: Option<SnapshotId>,
    /// When the step began, in seconds since 1970.
    pub started_at: i64,
    /// When it was last used.
    pub used_at: i64,
}

impl Made {
    /// Returns what sweeps call the record.
    pub fn object(&self) -> Vec<u8> {
        object_of(self.record).to_vec()
    }
}

impl Records {
    /// Lists the records that have their trees, the latest first.
    pub fn census(&self) -> Result<Vec<Made>, RecordError> {
        self.store.read(|transaction| {
            let mut statement = transaction.prepare_cached(
                "SELECT records.id, name, top.snapshot, below.snapshot, started_ns, used_at FROM records \
                 JOIN chains AS top ON top.id = records.chain \
                 LEFT JOIN chains AS below ON below.id = top.parent \
                 WHERE tree = 1 ORDER BY generation DESC",
            )?;
            let snapshot = |row: &rusqlite::Row<'_>, column| -> rusqlite::Result<Option<SnapshotId>> {
                Ok(row.get::<_, Option<[u8; 16]>>(column)?.map(SnapshotId::from_bytes))
            };
            let rows = statement.query_map([], |row| {
                Ok(Made {
                    record: RecordId(row.get(0)?),
                    name: row.get(1)?,
                    top: snapshot(row, 2)?,
                    below: snapshot(row, 3)?,
                    started_at: row.get::<_, i64>(4)? / 1_000_000_000,
                    used_at: row.get(5)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }
}
