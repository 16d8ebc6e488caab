//! Rows in and out: each function is one statement or a few, inside a transaction of the caller.

use rbuild_image::manifest::LayerFormat;
use rbuild_image::tar::TAR_VERSION;
use rbuild_model::digest::{BlobDigest, ChainId, DiffId, ImageId};
use rbuild_model::reference::Reference;
use rbuild_model::snapshot::SnapshotId;
use rbuild_store::process::is_leased;
use rbuild_store::{DatabaseError, Lease, ObjectKind, Stamp};
use rusqlite::{OptionalExtension as _, Transaction};

pub(crate) type Result<T> = std::result::Result<T, DatabaseError>;

/// An image's row.
#[derive(Clone, Debug)]
pub(crate) struct ImageRow {
    pub(crate) id: ImageId,
    pub(crate) config: Vec<u8>,
    pub(crate) parent: Option<ImageId>,
    pub(crate) added_at: i64,
    pub(crate) origin: Option<String>,
}

/// A layer that has a tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LayerRow {
    pub(crate) snapshot: SnapshotId,
    pub(crate) bytes: u64,
}

/// A packed form of a layer.
#[derive(Clone, Debug)]
pub(crate) struct PackedRow {
    pub(crate) media_type: String,
    pub(crate) digest: BlobDigest,
    pub(crate) size: u64,
    pub(crate) origin: Option<String>,
    /// The form that it was packed in here; `None` for what came packed.
    pub(crate) encoding: Option<String>,
}

pub(crate) const fn packed_name(format: LayerFormat) -> &'static str {
    match format {
        LayerFormat::Tar => "tar",
        LayerFormat::Gzip => "gzip",
        LayerFormat::Zstd => "zstd",
    }
}

pub(crate) fn now_s() -> i64 {
    jiff::Timestamp::now().as_second()
}

fn to_row(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn image_of_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<ImageRow> {
    Ok(ImageRow {
        id: ImageId::from_bytes(row.get(0)?),
        config: row.get(1)?,
        parent: row.get::<_, Option<[u8; 32]>>(2)?.map(ImageId::from_bytes),
        added_at: row.get(3)?,
        origin: row.get(4)?,
    })
}

const IMAGE_COLUMNS: &str = "SELECT id, config, parent, added_at, origin FROM images";

pub(crate) fn image(transaction: &Transaction<'_>, id: ImageId) -> Result<Option<ImageRow>> {
    let mut statement = transaction.prepare_cached(&format!("{IMAGE_COLUMNS} WHERE id = ?1"))?;
    Ok(statement.query_row([id.as_bytes()], image_of_row).optional()?)
}

pub(crate) fn images(transaction: &Transaction<'_>) -> Result<Vec<ImageRow>> {
    let mut statement =
        transaction.prepare_cached(&format!("{IMAGE_COLUMNS} ORDER BY added_at DESC, number DESC"))?;
    let rows = statement.query_map([], image_of_row)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Finds up to two images whose id begins with hex digits.
pub(crate) fn images_by_prefix(transaction: &Transaction<'_>, prefix: &str) -> Result<Vec<ImageId>> {
    let mut statement = transaction
        .prepare_cached("SELECT id FROM images WHERE substr(lower(hex(id)), 1, ?2) = ?1 LIMIT 2")?;
    let rows = statement
        .query_map((prefix, to_row(prefix.len() as u64)), |row| row.get(0).map(ImageId::from_bytes))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Records an image; one that is known keeps its row, which loses its stamp if the new one has none.
pub(crate) fn add_image(
    transaction: &Transaction<'_>,
    row: &ImageRow,
    diff_ids: &[DiffId],
    stamp: Option<Stamp>,
) -> Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO images (id, config, parent, added_at, origin, unsynced) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
             ON CONFLICT (id) DO UPDATE SET unsynced = CASE WHEN excluded.unsynced IS NULL THEN NULL \
             ELSE images.unsynced END, origin = coalesce(excluded.origin, images.origin)",
        )?
        .execute((
            row.id.as_bytes(),
            &row.config,
            row.parent.map(|parent| *parent.as_bytes()),
            row.added_at,
            &row.origin,
            stamp,
        ))?;
    let mut statement = transaction.prepare_cached(
        "INSERT OR IGNORE INTO image_layers (image, ordinal, chain, diff) VALUES (?1, ?2, ?3, ?4)",
    )?;
    let mut chain: Option<ChainId> = None;
    for (ordinal, diff_id) in diff_ids.iter().enumerate() {
        let next = match chain {
            Some(below) => below.with(*diff_id),
            None => ChainId::from_bytes(*diff_id.as_bytes()),
        };
        statement.execute((
            row.id.as_bytes(),
            to_row(ordinal as u64),
            next.as_bytes(),
            diff_id.as_bytes(),
        ))?;
        chain = Some(next);
    }
    Ok(())
}

/// Replaces what is said about an image: kinds, and values as JSON.
pub(crate) fn set_facts(
    transaction: &Transaction<'_>,
    id: ImageId,
    facts: &[(String, String)],
) -> Result<()> {
    transaction.prepare_cached("DELETE FROM image_facts WHERE image = ?1")?.execute([id.as_bytes()])?;
    let mut statement = transaction
        .prepare_cached("INSERT INTO image_facts (image, ordinal, kind, value) VALUES (?1, ?2, ?3, ?4)")?;
    for (ordinal, (kind, value)) in facts.iter().enumerate() {
        statement.execute((id.as_bytes(), to_row(ordinal as u64), kind, value))?;
    }
    Ok(())
}

/// What is said about an image: kinds, and values as JSON.
pub(crate) fn facts(transaction: &Transaction<'_>, id: ImageId) -> Result<Vec<(String, String)>> {
    let mut statement = transaction
        .prepare_cached("SELECT kind, value FROM image_facts WHERE image = ?1 ORDER BY ordinal")?;
    let rows = statement.query_map([id.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Removes an image; who has removed all they remove [forgets the layers](forget_loose_layers) that are no image's then.
pub(crate) fn remove_image(transaction: &Transaction<'_>, id: ImageId) -> Result<()> {
    transaction.prepare_cached("DELETE FROM names WHERE image = ?1")?.execute([id.as_bytes()])?;
    transaction.prepare_cached("DELETE FROM image_layers WHERE image = ?1")?.execute([id.as_bytes()])?;
    transaction.prepare_cached("DELETE FROM manifests WHERE image = ?1")?.execute([id.as_bytes()])?;
    transaction.prepare_cached("DELETE FROM image_facts WHERE image = ?1")?.execute([id.as_bytes()])?;
    transaction.prepare_cached("DELETE FROM images WHERE id = ?1")?.execute([id.as_bytes()])?;
    Ok(())
}

/// Forgets the trees of stacks that no image has and nobody is making one of; their snapshots go with a sweep.
pub(crate) fn forget_loose_layers(transaction: &Transaction<'_>) -> Result<()> {
    let mut statement = transaction.prepare_cached(
        "SELECT chain, snapshot FROM layers \
         WHERE NOT EXISTS (SELECT 1 FROM image_layers WHERE image_layers.chain = layers.chain)",
    )?;
    let loose =
        statement.query_map([], |row| Ok((ChainId::from_bytes(row.get(0)?), row.get::<_, [u8; 16]>(1)?)))?;
    for (chain, snapshot) in loose.collect::<rusqlite::Result<Vec<_>>>()? {
        if !is_leased(transaction, ObjectKind::SNAPSHOT, &snapshot)? {
            forget_layer(transaction, chain, SnapshotId::from_bytes(snapshot))?;
        }
    }
    Ok(())
}

/// Forgets what was known of a tree that goes: nothing leads to it, and nothing is packed of it any more.
pub(crate) fn forget_snapshot(transaction: &Transaction<'_>, snapshot: &[u8]) -> Result<()> {
    transaction.prepare_cached("DELETE FROM layers WHERE snapshot = ?1")?.execute([snapshot])?;
    transaction.prepare_cached("DELETE FROM diff_ids WHERE snapshot = ?1")?.execute([snapshot])?;
    Ok(())
}

/// Leases an image, and remembers that it was used; tells whether it is there.
pub(crate) fn use_image(transaction: &Transaction<'_>, id: ImageId, lease: &Lease) -> Result<bool> {
    let now = now_s();
    let mut find = transaction.prepare_cached("SELECT used_at FROM images WHERE id = ?1")?;
    let Some(used_at) = find.query_row([id.as_bytes()], |row| row.get::<_, i64>(0)).optional()? else {
        return Ok(false);
    };
    // To the hour: what is used all the time is not written all the time.
    if used_at < now - 3600 {
        transaction
            .prepare_cached("UPDATE images SET used_at = ?2 WHERE id = ?1")?
            .execute((id.as_bytes(), now))?;
    }
    lease.protect(transaction, &[(ObjectKind::IMAGE, id.as_bytes())])?;
    Ok(true)
}

pub(crate) fn children(transaction: &Transaction<'_>, id: ImageId) -> Result<bool> {
    Ok(transaction
        .prepare_cached("SELECT 1 FROM images WHERE parent = ?1 LIMIT 1")?
        .exists([id.as_bytes()])?)
}

pub(crate) fn layer(transaction: &Transaction<'_>, chain: ChainId) -> Result<Option<LayerRow>> {
    let mut statement = transaction.prepare_cached("SELECT snapshot, bytes FROM layers WHERE chain = ?1")?;
    let row = statement.query_row([chain.as_bytes()], |row| {
        Ok(LayerRow {
            snapshot: SnapshotId::from_bytes(row.get(0)?),
            bytes: row.get::<_, i64>(1)?.unsigned_abs(),
        })
    });
    Ok(row.optional()?)
}

/// Records the tree of a stack; a stack that has one keeps it.
pub(crate) fn add_layer(
    transaction: &Transaction<'_>,
    chain: ChainId,
    layer: LayerRow,
    stamp: Option<Stamp>,
) -> Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO layers (chain, snapshot, bytes, unsynced) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (chain) DO NOTHING",
        )?
        .execute((chain.as_bytes(), layer.snapshot.as_bytes(), to_row(layer.bytes), stamp))?;
    Ok(())
}

/// Forgets that a stack has a tree; one that others made meanwhile stays.
pub(crate) fn forget_layer(
    transaction: &Transaction<'_>,
    chain: ChainId,
    snapshot: SnapshotId,
) -> Result<()> {
    transaction
        .prepare_cached("DELETE FROM layers WHERE chain = ?1 AND snapshot = ?2")?
        .execute((chain.as_bytes(), snapshot.as_bytes()))?;
    Ok(())
}

pub(crate) fn diff_id(
    transaction: &Transaction<'_>,
    snapshot: SnapshotId,
    epoch: i64,
) -> Result<Option<(DiffId, u64)>> {
    let mut statement = transaction.prepare_cached(
        "SELECT diff, bytes FROM diff_ids WHERE snapshot = ?1 AND tar_version = ?2 AND epoch = ?3",
    )?;
    let row = statement.query_row((snapshot.as_bytes(), TAR_VERSION, epoch), |row| {
        Ok((DiffId::from_bytes(row.get(0)?), row.get::<_, i64>(1)?.unsigned_abs()))
    });
    Ok(row.optional()?)
}

pub(crate) fn add_diff_id(
    transaction: &Transaction<'_>,
    snapshot: SnapshotId,
    epoch: i64,
    diff_id: DiffId,
    bytes: u64,
) -> Result<()> {
    transaction.prepare_cached("INSERT OR REPLACE INTO diff_ids VALUES (?1, ?2, ?3, ?4, ?5)")?.execute((
        snapshot.as_bytes(),
        TAR_VERSION,
        epoch,
        diff_id.as_bytes(),
        to_row(bytes),
    ))?;
    Ok(())
}

/// Finds the epoch under which the tar of a snapshot has a DiffId.
pub(crate) fn epoch_of(
    transaction: &Transaction<'_>,
    snapshot: SnapshotId,
    diff_id: DiffId,
) -> Result<Option<i64>> {
    let mut statement = transaction.prepare_cached(
        "SELECT epoch FROM diff_ids WHERE snapshot = ?1 AND tar_version = ?2 AND diff = ?3 LIMIT 1",
    )?;
    let row = statement.query_row((snapshot.as_bytes(), TAR_VERSION, diff_id.as_bytes()), |row| row.get(0));
    Ok(row.optional()?)
}

/// Lists the packed forms of a layer.
pub(crate) fn packed(transaction: &Transaction<'_>, diff_id: DiffId) -> Result<Vec<PackedRow>> {
    packed_rows(transaction, "?2 IS NULL", diff_id, None)
}

/// Lists the packed forms of a layer that were made here in a certain way.
pub(crate) fn packed_as(
    transaction: &Transaction<'_>,
    diff_id: DiffId,
    encoding: &str,
) -> Result<Vec<PackedRow>> {
    packed_rows(transaction, "encoding = ?2", diff_id, Some(encoding))
}

fn packed_rows(
    transaction: &Transaction<'_>,
    condition: &'static str,
    diff_id: DiffId,
    encoding: Option<&str>,
) -> Result<Vec<PackedRow>> {
    let mut statement = transaction.prepare_cached(&format!(
        "SELECT media_type, digest, size, origin, encoding FROM layer_blobs WHERE diff = ?1 AND {condition} \
         ORDER BY packed, digest"
    ))?;
    let rows = statement.query_map((diff_id.as_bytes(), encoding), |row| {
        Ok(PackedRow {
            media_type: row.get(0)?,
            digest: BlobDigest::from_bytes(row.get(1)?),
            size: row.get::<_, i64>(2)?.unsigned_abs(),
            origin: row.get(3)?,
            encoding: row.get(4)?,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Tells whether the tar of a layer is that of its snapshot, so that it can be packed anew at any time.
pub(crate) fn is_made_here(
    transaction: &Transaction<'_>,
    snapshot: SnapshotId,
    diff_id: DiffId,
) -> Result<bool> {
    Ok(epoch_of(transaction, snapshot, diff_id)?.is_some())
}

/// Tells whether a blob is recorded as the packed form of a layer.
pub(crate) fn is_packed(transaction: &Transaction<'_>, diff_id: DiffId, digest: BlobDigest) -> Result<bool> {
    let mut statement =
        transaction.prepare_cached("SELECT 1 FROM layer_blobs WHERE diff = ?1 AND digest = ?2 LIMIT 1")?;
    Ok(statement.exists([diff_id.as_bytes(), digest.as_bytes()])?)
}

/// Records a packed form of a layer: a blob whose contents were hashed to the DiffId, never one that a manifest merely
/// lists beside it. What is recorded leaves in every image that has the layer.
pub(crate) fn add_packed(
    transaction: &Transaction<'_>,
    diff_id: DiffId,
    format: LayerFormat,
    row: &PackedRow,
) -> Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO layer_blobs (diff, media_type, packed, digest, size, origin, encoding) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO UPDATE SET \
             origin = coalesce(excluded.origin, layer_blobs.origin), \
             encoding = coalesce(excluded.encoding, layer_blobs.encoding)",
        )?
        .execute((
            diff_id.as_bytes(),
            &row.media_type,
            packed_name(format),
            row.digest.as_bytes(),
            to_row(row.size),
            &row.origin,
            &row.encoding,
        ))?;
    Ok(())
}

pub(crate) fn add_manifest(
    transaction: &Transaction<'_>,
    image: ImageId,
    digest: BlobDigest,
    media_type: &str,
    bytes: &[u8],
) -> Result<()> {
    transaction.prepare_cached("INSERT OR IGNORE INTO manifests VALUES (?1, ?2, ?3, ?4)")?.execute((
        digest.as_bytes(),
        image.as_bytes(),
        media_type,
        bytes,
    ))?;
    Ok(())
}

/// Returns the bytes of the manifests that an image came with or was given.
pub(crate) fn manifests(transaction: &Transaction<'_>, image: ImageId) -> Result<Vec<Vec<u8>>> {
    let mut statement =
        transaction.prepare_cached("SELECT bytes FROM manifests WHERE image = ?1 ORDER BY digest")?;
    let rows = statement.query_map([image.as_bytes()], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Returns a manifest by its digest: its type and its bytes.
pub(crate) fn manifest(
    transaction: &Transaction<'_>,
    digest: BlobDigest,
) -> Result<Option<(String, Vec<u8>)>> {
    let mut statement =
        transaction.prepare_cached("SELECT media_type, bytes FROM manifests WHERE digest = ?1")?;
    Ok(statement.query_row([digest.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
}

/// Returns when a name was given, in seconds.
pub(crate) fn named_at(transaction: &Transaction<'_>, name: &str) -> Result<Option<i64>> {
    let mut statement = transaction.prepare_cached("SELECT named_at FROM names WHERE name = ?1")?;
    Ok(statement.query_row([name], |row| row.get(0)).optional()?)
}

/// Returns what a registry last said that a tag names, and when it was asked, in seconds.
pub(crate) fn remembered(transaction: &Transaction<'_>, name: &str) -> Result<Option<(BlobDigest, i64)>> {
    let mut statement =
        transaction.prepare_cached("SELECT digest, asked_at FROM tag_memory WHERE name = ?1")?;
    let row = statement.query_row([name], |row| Ok((BlobDigest::from_bytes(row.get(0)?), row.get(1)?)));
    Ok(row.optional()?)
}

/// Remembers what a registry said that a tag names.
pub(crate) fn remember(transaction: &Transaction<'_>, name: &str, digest: BlobDigest) -> Result<()> {
    transaction.prepare_cached("INSERT OR REPLACE INTO tag_memory VALUES (?1, ?2, ?3)")?.execute((
        name,
        digest.as_bytes(),
        now_s(),
    ))?;
    Ok(())
}

/// Lists all names with a tag.
pub(crate) fn tags(transaction: &Transaction<'_>) -> Result<Vec<Reference>> {
    let mut statement =
        transaction.prepare_cached("SELECT name FROM names WHERE instr(name, '@') = 0 ORDER BY name")?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    let mut names = Vec::new();
    for name in rows {
        names.push(name?.parse().map_err(|error: rbuild_model::reference::ParseReferenceError| {
            DatabaseError::Damaged { table: "names", why: error.to_string() }
        })?);
    }
    Ok(names)
}

/// Returns the image that a name points to.
pub(crate) fn named(transaction: &Transaction<'_>, name: &str) -> Result<Option<ImageId>> {
    let mut statement = transaction.prepare_cached("SELECT image FROM names WHERE name = ?1")?;
    let row = statement.query_row([name], |row| row.get(0));
    Ok(row.optional()?.map(ImageId::from_bytes))
}

/// Lists the names of an image, tags before digests, each kind by name.
pub(crate) fn names_of(transaction: &Transaction<'_>, image: ImageId) -> Result<Vec<Reference>> {
    let mut statement = transaction
        .prepare_cached("SELECT name FROM names WHERE image = ?1 ORDER BY instr(name, '@') > 0, name")?;
    let rows = statement.query_map([image.as_bytes()], |row| row.get::<_, String>(0))?;
    let mut names = Vec::new();
    for name in rows {
        names.push(name?.parse().map_err(|error: rbuild_model::reference::ParseReferenceError| {
            DatabaseError::Damaged { table: "names", why: error.to_string() }
        })?);
    }
    Ok(names)
}

/// Points a name to an image and returns the image that it pointed to before; an unchanged name is not written.
pub(crate) fn set_name(
    transaction: &Transaction<'_>,
    reference: &Reference,
    image: ImageId,
    stamp: Option<Stamp>,
) -> Result<Option<ImageId>> {
    let name = reference.to_string();
    let before = named(transaction, &name)?;
    // Who makes it an index, or the name of a base alone, says so afterwards.
    crate::platforms::forget(transaction, &name)?;
    crate::bases::choose(transaction, &name)?;
    if before == Some(image) {
        if stamp.is_none() {
            transaction
                .prepare_cached("UPDATE names SET unsynced = NULL, former = NULL WHERE name = ?1 AND unsynced IS NOT NULL")?
                .execute([&name])?;
        }
        return Ok(before);
    }
    // Without a stamp there is nothing to revert to.
    let former = before.filter(|_| stamp.is_some()).map(|id| *id.as_bytes());
    transaction
        .prepare_cached(
            "INSERT INTO names (name, repository, image, named_at, former, unsynced) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
             ON CONFLICT (name) DO UPDATE SET image = excluded.image, named_at = excluded.named_at, \
             former = CASE WHEN names.unsynced IS NULL THEN excluded.former ELSE names.former END, \
             unsynced = excluded.unsynced",
        )?
        .execute((&name, reference.name(), image.as_bytes(), now_s(), former, stamp))?;
    Ok(before)
}

pub(crate) fn remove_name(transaction: &Transaction<'_>, reference: &Reference) -> Result<bool> {
    let gone =
        transaction.prepare_cached("DELETE FROM names WHERE name = ?1")?.execute([reference.to_string()])?;
    Ok(gone > 0)
}

/// Returns when an image was last named, in seconds.
pub(crate) fn last_named(transaction: &Transaction<'_>, image: ImageId) -> Result<Option<i64>> {
    let mut statement = transaction.prepare_cached("SELECT max(named_at) FROM names WHERE image = ?1")?;
    Ok(statement.query_row([image.as_bytes()], |row| row.get(0))?)
}

/// Returns the repositories that are known to have a blob, where it came from and where it was pushed to.
pub(crate) fn places_of_blob(transaction: &Transaction<'_>, digest: BlobDigest) -> Result<Vec<String>> {
    let mut statement = transaction.prepare_cached(
        "SELECT repository FROM blob_places WHERE digest = ?1 \
         UNION SELECT origin FROM layer_blobs WHERE digest = ?1 AND origin IS NOT NULL",
    )?;
    let rows = statement.query_map([digest.as_bytes()], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Returns the URL of an upload to a repository that was begun and not ended.
pub(crate) fn upload(
    transaction: &Transaction<'_>,
    digest: BlobDigest,
    repository: &str,
) -> Result<Option<String>> {
    let mut statement =
        transaction.prepare_cached("SELECT url FROM uploads WHERE digest = ?1 AND repository = ?2")?;
    Ok(statement.query_row((digest.as_bytes(), repository), |row| row.get(0)).optional()?)
}

/// Remembers at which URL an upload to a repository is gone on with.
pub(crate) fn set_upload(
    transaction: &Transaction<'_>,
    digest: BlobDigest,
    repository: &str,
    url: &str,
) -> Result<()> {
    transaction
        .prepare_cached("INSERT OR REPLACE INTO uploads (digest, repository, url) VALUES (?1, ?2, ?3)")?
        .execute((digest.as_bytes(), repository, url))?;
    Ok(())
}

/// Remembers that a repository has a blob; no upload of it is gone on with any more.
pub(crate) fn add_place(transaction: &Transaction<'_>, digest: BlobDigest, repository: &str) -> Result<()> {
    transaction
        .prepare_cached("INSERT OR IGNORE INTO blob_places (digest, repository) VALUES (?1, ?2)")?
        .execute((digest.as_bytes(), repository))?;
    transaction
        .prepare_cached("DELETE FROM uploads WHERE digest = ?1 AND repository = ?2")?
        .execute((digest.as_bytes(), repository))?;
    Ok(())
}
