//! Snapshots, the chains that they form, and which records still have their trees.

use rbuild_model::snapshot::{Chain, SnapshotId};
use rbuild_store::usage::bytes_of;
use rbuild_store::{BootId, DatabaseError, Stamp};
use rusqlite::{OptionalExtension, Transaction};

use super::{RecordId, Records};

/// The number of a chain; zero is the empty one.
pub(super) type ChainRow = i64;

/// Stands where nobody has counted the room of a snapshot yet.
const UNCOUNTED: i64 = 0;

/// What is written of room that was counted: never nothing, as a file system in memory has it of a small tree.
fn counted(bytes: u64) -> i64 {
    to_row(bytes).max(UNCOUNTED + 1)
}

/// Records that snapshots exist, if that is not known yet; they are derived data until promotion.
///
/// `format` is the folder below `snapshots/` in which the trees lie; what they take may be counted later.
pub fn remember_snapshots(
    transaction: &Transaction<'_>,
    snapshots: &[SnapshotId],
    format: &str,
    bytes: Option<u64>,
    stamp: Stamp,
) -> Result<(), DatabaseError> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO snapshots (id, format, bytes, unsynced) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id) DO NOTHING",
    )?;
    for (place, snapshot) in snapshots.iter().enumerate() {
        // What is known of the room belongs to the top one; the others were recorded with theirs.
        let bytes = if place + 1 == snapshots.len() { bytes.map_or(UNCOUNTED, counted) } else { UNCOUNTED };
        statement.execute((snapshot.as_bytes(), format, bytes, stamp))?;
    }
    Ok(())
}

impl Records {
    /// Counts the room of snapshots that nobody has counted yet, on the disk.
    pub fn take_stock(&self) -> Result<(), DatabaseError> {
        let uncounted: Vec<([u8; 16], String)> =
            self.store.read(|transaction| -> Result<_, DatabaseError> {
                let mut statement =
                    transaction.prepare_cached("SELECT id, format FROM snapshots WHERE bytes = 0")?;
                let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
                Ok(rows.collect::<Result<_, _>>()?)
            })?;
        let mut all = Vec::with_capacity(uncounted.len());
        for (id, format) in uncounted {
            let folder = self.store.layout().snapshots(&format);
            all.push((id, counted(bytes_of(&folder.join(SnapshotId::from_bytes(id).to_string()))?)));
        }
        if all.is_empty() {
            return Ok(());
        }
        self.store.write(|transaction| {
            let mut update =
                transaction.prepare_cached("UPDATE snapshots SET bytes = ?2 WHERE id = ?1 AND bytes = 0")?;
            for (id, bytes) in all {
                update.execute((id, bytes))?;
            }
            Ok(())
        })
    }
}

/// Tells whether a power loss takes nothing of a stack away: all of it was promoted.
pub fn is_durable(transaction: &Transaction<'_>, chain: &Chain) -> Result<bool, DatabaseError> {
    let mut statement =
        transaction.prepare_cached("SELECT 1 FROM snapshots WHERE id = ?1 AND unsynced IS NULL")?;
    for snapshot in chain.layers() {
        if !statement.exists([snapshot.as_bytes()])? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Finds or makes the row of a chain.
pub(super) fn chain_row(transaction: &Transaction<'_>, chain: &Chain) -> Result<ChainRow, DatabaseError> {
    let mut find = transaction.prepare_cached("SELECT id FROM chains WHERE parent = ?1 AND snapshot = ?2")?;
    let mut make =
        transaction.prepare_cached("INSERT INTO chains (parent, snapshot) VALUES (?1, ?2) RETURNING id")?;
    let mut row = 0;
    for snapshot in chain.layers() {
        let key = (row, snapshot.as_bytes());
        row = match find.query_row(key, |found| found.get(0)).optional()? {
            Some(found) => found,
            None => make.query_row(key, |made| made.get(0))?,
        };
    }
    Ok(row)
}

/// Reads a chain, lowest first.
pub(super) fn read_chain(transaction: &Transaction<'_>, row: ChainRow) -> Result<Chain, DatabaseError> {
    let mut statement = transaction.prepare_cached("SELECT parent, snapshot FROM chains WHERE id = ?1")?;
    let mut layers = Vec::new();
    let mut at = row;
    while at != 0 {
        let (parent, snapshot): (ChainRow, [u8; 16]) =
            statement.query_row([at], |found| Ok((found.get(0)?, found.get(1)?)))?;
        layers.push(SnapshotId::from_bytes(snapshot));
        at = parent;
    }
    layers.reverse();
    Ok(Chain::new(layers))
}

/// Makes a record a tombstone, and drops of its chain what no other record needs.
pub(super) fn drop_tree(transaction: &Transaction<'_>, record: RecordId) -> Result<bool, DatabaseError> {
    let mut find = transaction.prepare_cached("SELECT chain FROM records WHERE id = ?1 AND tree = 1")?;
    let Some(chain) = find.query_row([record.0], |row| row.get::<_, ChainRow>(0)).optional()? else {
        return Ok(false);
    };
    transaction
        .prepare_cached("UPDATE records SET tree = 0, chain = 0, unsynced = NULL WHERE id = ?1")?
        .execute([record.0])?;
    prune_chain(transaction, chain)?;
    Ok(true)
}

/// Drops a chain and its prefixes, from the top down to the first that something needs.
pub(super) fn prune_chain(transaction: &Transaction<'_>, chain: ChainRow) -> Result<(), DatabaseError> {
    let mut find = transaction.prepare_cached("SELECT parent FROM chains WHERE id = ?1")?;
    let mut prune = transaction.prepare_cached(
        "DELETE FROM chains WHERE id = ?1 AND id <> 0 \
         AND NOT EXISTS (SELECT 1 FROM records WHERE records.chain = ?1 AND records.chain <> 0) \
         AND NOT EXISTS (SELECT 1 FROM chains AS upper WHERE upper.parent = ?1)",
    )?;
    let mut at = chain;
    while at != 0 {
        let Some(parent) = find.query_row([at], |row| row.get(0)).optional()? else { break };
        if prune.execute([at])? == 0 {
            break;
        }
        at = parent;
    }
    Ok(())
}

/// Forgets that a snapshot exists: records upon it become tombstones, chains through it go.
pub fn forget_snapshot(transaction: &Transaction<'_>, snapshot: SnapshotId) -> Result<(), DatabaseError> {
    let chains: Vec<ChainRow> = transaction
        .prepare_cached(
            "WITH RECURSIVE above (id) AS ( \
                 SELECT id FROM chains WHERE snapshot = ?1 \
                 UNION SELECT chains.id FROM chains JOIN above ON chains.parent = above.id \
             ) SELECT id FROM above ORDER BY id DESC",
        )?
        .query_map([snapshot.as_bytes()], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut bury = transaction.prepare_cached(
        "UPDATE records SET tree = 0, chain = 0, unsynced = NULL WHERE chain = ?1 AND chain <> 0",
    )?;
    let mut drop_chain = transaction.prepare_cached("DELETE FROM chains WHERE id = ?1")?;
    let mut below = Vec::new();
    let mut parent = transaction.prepare_cached("SELECT parent FROM chains WHERE id = ?1")?;
    // A chain is younger than what it stands on, so the highest number is a leaf by then.
    for chain in chains {
        bury.execute([chain])?;
        below.push(parent.query_row([chain], |row| row.get::<_, ChainRow>(0))?);
        drop_chain.execute([chain])?;
    }
    for chain in below {
        prune_chain(transaction, chain)?;
    }
    transaction.prepare_cached("DELETE FROM snapshots WHERE id = ?1")?.execute([snapshot.as_bytes()])?;
    Ok(())
}

/// Forgets the snapshots that were recorded under another boot and never promoted.
pub(super) fn forget_lost_snapshots(
    transaction: &Transaction<'_>,
    boot: BootId,
) -> Result<usize, DatabaseError> {
    let lost: Vec<[u8; 16]> = transaction
        .prepare_cached(
            "SELECT id FROM snapshots WHERE unsynced IS NOT NULL AND substr(unsynced, 1, 16) <> ?1",
        )?
        .query_map([boot.as_bytes()], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for snapshot in &lost {
        forget_snapshot(transaction, SnapshotId::from_bytes(*snapshot))?;
    }
    // Records that were dropped before left chains behind.
    drop_loose_chains(transaction)?;
    Ok(lost.len())
}

/// Drops the chains that nothing needs, however they came to be.
pub(super) fn drop_loose_chains(transaction: &Transaction<'_>) -> Result<(), DatabaseError> {
    let mut statement = transaction.prepare_cached(
        "DELETE FROM chains WHERE id <> 0 \
         AND NOT EXISTS (SELECT 1 FROM records WHERE records.chain = chains.id AND records.chain <> 0) \
         AND NOT EXISTS (SELECT 1 FROM chains AS upper WHERE upper.parent = chains.id)",
    )?;
    while statement.execute([])? > 0 {}
    Ok(())
}

/// SQLite's integers are signed; nothing that is counted here comes near the difference.
pub(super) fn to_row(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
