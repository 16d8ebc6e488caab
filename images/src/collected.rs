//! Images as the store's sweep sees them.
//!
//! What has a tag stays, with all that it stands on: people remove images, and `prune` does what they ask for. A tag that only
//! a build's `FROM` gave is none here ([`bases`](crate::bases)). An image without a tag, which no container is made of and nobody works with, may go where room is to be made, if it can be made
//! again: each of its layers is the result of a step that is still known, or comes from a registry. Its price is the
//! time that fetching takes; where it is all steps, there is none, as those have prices of their own. What came by
//! `load`, `import` or `commit` and has no tag cannot be had again: that stays as well.

use std::time::Duration;

use rbuild_cache::blobs::BYTES_PER_SECOND;
use rbuild_image::tar::TAR_VERSION;
use rbuild_model::digest::ImageId;
use rbuild_model::reference::Reference;
use rbuild_store::collect::{Candidate, Collected, Keeper, Mark, SweepError, Verdict};
use rbuild_store::{DatabaseError, ObjectKind, Store};
use rusqlite::Transaction;

use crate::error::ImagesError;
use crate::images::Images;
use crate::remove::short;
use crate::rows;

/// What holds the room of what others pushed here.
pub const PUSHED: &str = "what was pushed here";

/// The owner of images. Comes before the owners of snapshots and blobs.
#[derive(Clone, Copy, Debug)]
pub struct ImageRows;

/// The trees of images.
const SNAPSHOTS: &str =
    "SELECT layers.snapshot FROM image_layers JOIN layers ON layers.chain = image_layers.chain WHERE 1";

/// Layers of images whose blob cannot be made again, as the tar of their own tree is not known to be theirs.
///
/// A layer that was pulled could be fetched again, but whoever saves, exports or pushes an image expects to do so without
/// the registry it came from.
fn blobs() -> String {
    format!(
        "SELECT layer_blobs.digest FROM image_layers JOIN layer_blobs ON layer_blobs.diff = image_layers.diff \
         WHERE NOT EXISTS (SELECT 1 FROM layers JOIN diff_ids ON diff_ids.snapshot = layers.snapshot \
             WHERE layers.chain = image_layers.chain \
             AND diff_ids.tar_version = {TAR_VERSION} AND diff_ids.diff = image_layers.diff)"
    )
}

/// Blobs that were pushed here.
const SHELVED: &str = "SELECT shelf_blobs.digest FROM shelf_blobs WHERE 1";

/// Tags that somebody chose and what they mean; before a tag is promoted, also what it reverts to if the machine goes down.
const TAGGED: &str = "SELECT image, name FROM names \
    WHERE instr(name, '@') = 0 AND name NOT IN (SELECT name FROM base_names) \
    UNION SELECT image, name FROM name_platforms \
    WHERE instr(name, '@') = 0 AND name NOT IN (SELECT name FROM base_names) \
    UNION SELECT former, name FROM names WHERE former IS NOT NULL";

/// Tells of a layer of an image that it is the result of a step.
const IS_OF_STEP: &str = "EXISTS (SELECT 1 FROM layers JOIN chains ON chains.snapshot = layers.snapshot \
    WHERE layers.chain = image_layers.chain)";

/// Images without a tag that somebody chose, in the order in which they may go; whether they can be made again, and the bytes that have to
/// be fetched for that and that no other image has.
fn untagged() -> String {
    format!(
        "SELECT id, max(added_at, used_at), NOT EXISTS ( \
             SELECT 1 FROM image_layers WHERE image_layers.image = images.id AND NOT {IS_OF_STEP} AND NOT EXISTS ( \
                 SELECT 1 FROM layer_blobs WHERE layer_blobs.diff = image_layers.diff AND origin IS NOT NULL)), ( \
             SELECT coalesce(sum(size), 0) FROM image_layers \
             JOIN layer_blobs ON layer_blobs.diff = image_layers.diff AND origin IS NOT NULL \
             WHERE image_layers.image = images.id AND NOT {IS_OF_STEP} AND NOT EXISTS ( \
                 SELECT 1 FROM image_layers AS others \
                 WHERE others.chain = image_layers.chain AND others.image <> images.id)) \
         FROM images WHERE id NOT IN (SELECT image FROM ({TAGGED})) ORDER BY number DESC"
    )
}

/// An image without a tag.
struct Untagged {
    id: Vec<u8>,
    used_at: i64,
    /// How many bytes are fetched where it is made again; nothing if it cannot be.
    fetched: Option<u64>,
}

fn list_untagged(transaction: &Transaction<'_>) -> Result<Vec<Untagged>, DatabaseError> {
    let mut statement = transaction.prepare_cached(&untagged())?;
    let rows = statement.query_map([], |row| {
        let fetched: i64 = row.get(3)?;
        let fetched = row.get::<_, bool>(2)?.then_some(fetched.unsigned_abs());
        Ok(Untagged { id: row.get(0)?, used_at: row.get(1)?, fetched })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn objects(
    transaction: &Transaction<'_>,
    kind: ObjectKind,
    text: &str,
    of: &[&[u8]],
) -> Result<Vec<(ObjectKind, Vec<u8>)>, DatabaseError> {
    let mut statement = transaction.prepare_cached(text)?;
    let rows = statement.query_map(rusqlite::params_from_iter(of), |row| Ok((kind, row.get(0)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Returns an image as people call it.
fn called(name: &str) -> String {
    let familiar = name.parse::<Reference>().map_or_else(|_| name.to_owned(), |name| name.familiar());
    format!("image {familiar}")
}

impl Collected for ImageRows {
    fn kind(&self) -> ObjectKind {
        ObjectKind::IMAGE
    }

    fn keepers(&self, transaction: &Transaction<'_>) -> Result<Vec<Keeper>, DatabaseError> {
        let mut statement = transaction.prepare_cached(TAGGED)?;
        let tagged = statement.query_map([], |row| {
            let name: String = row.get(1)?;
            Ok(Keeper { name: called(&name), objects: vec![(ObjectKind::IMAGE, row.get(0)?)] })
        })?;
        let mut keepers: Vec<Keeper> = tagged.collect::<Result<_, _>>()?;
        for image in list_untagged(transaction)? {
            if let (None, Ok(id)) = (image.fetched, image.id.as_slice().try_into()) {
                let name = format!("image {} (no tag)", short(ImageId::from_bytes(id)));
                keepers.push(Keeper { name, objects: vec![(ObjectKind::IMAGE, image.id)] });
            }
        }
        let pushed = objects(transaction, ObjectKind::BLOB, SHELVED, &[])?;
        keepers.push(Keeper { name: PUSHED.to_owned(), objects: pushed });
        Ok(keepers)
    }

    fn references(
        &self,
        transaction: &Transaction<'_>,
        object: &[u8],
        mark: &mut Mark,
    ) -> Result<(), DatabaseError> {
        for (kind, text) in [
            (ObjectKind::SNAPSHOT, format!("{SNAPSHOTS} AND image_layers.image = ?1")),
            (ObjectKind::BLOB, format!("{} AND image_layers.image = ?1", blobs())),
            (ObjectKind::IMAGE, "SELECT parent FROM images WHERE id = ?1 AND parent IS NOT NULL".to_owned()),
        ] {
            for (kind, needed) in objects(transaction, kind, &text, &[object])? {
                mark.keep(kind, &needed);
            }
        }
        Ok(())
    }

    fn candidates(&self, transaction: &Transaction<'_>) -> Result<Vec<Candidate>, DatabaseError> {
        // The room belongs to the snapshots and blobs, which are counted by themselves.
        let candidate = |image: Untagged| {
            let again = Duration::from_secs_f64(image.fetched? as f64 / BYTES_PER_SECOND);
            Some(Candidate::new(image.id, 0).used_at(image.used_at).costing(again))
        };
        Ok(list_untagged(transaction)?.into_iter().filter_map(candidate).collect())
    }

    fn condemn(&self, transaction: &Transaction<'_>, object: &[u8]) -> Result<Verdict, DatabaseError> {
        let Ok(id) = object.try_into() else { return Ok(Verdict::Needed) };
        rows::remove_image(transaction, ImageId::from_bytes(id))?;
        Ok(Verdict::Condemned)
    }

    fn needs(
        &self,
        transaction: &Transaction<'_>,
        kind: ObjectKind,
        object: &[u8],
    ) -> Result<bool, DatabaseError> {
        let text = match kind {
            ObjectKind::IMAGE => format!(
                "SELECT 1 FROM ({TAGGED}) WHERE image = ?1 UNION ALL SELECT 1 FROM images WHERE parent = ?1"
            ),
            ObjectKind::SNAPSHOT => format!("{SNAPSHOTS} AND layers.snapshot = ?1"),
            ObjectKind::BLOB => {
                let of_layers = blobs();
                format!(
                    "{of_layers} AND layer_blobs.digest = ?1 UNION ALL {SHELVED} AND shelf_blobs.digest = ?1"
                )
            }
            _ => return Ok(false),
        };
        Ok(transaction.prepare_cached(&text)?.exists([object])?)
    }

    fn forget(
        &self,
        transaction: &Transaction<'_>,
        kind: ObjectKind,
        object: &[u8],
    ) -> Result<(), DatabaseError> {
        if kind == ObjectKind::SNAPSHOT {
            rows::forget_snapshot(transaction, object)?;
        }
        Ok(())
    }

    fn reclaim(&self, _: &Store, _: &[u8]) -> Result<(), SweepError> {
        // The files are those of snapshots and blobs.
        Ok(())
    }

    fn finish(&self, transaction: &Transaction<'_>) -> Result<(), DatabaseError> {
        rows::forget_loose_layers(transaction)?;
        for table in ["blob_places", "uploads"] {
            let text = format!(
                "DELETE FROM {table} WHERE NOT EXISTS \
                 (SELECT 1 FROM layer_blobs WHERE layer_blobs.digest = {table}.digest)"
            );
            transaction.prepare_cached(&text)?.execute([])?;
        }
        Ok(())
    }
}

impl Images {
    /// Lists the trees and blobs of all images, with a tag or without.
    pub fn holdings(&self) -> Result<Vec<(ObjectKind, Vec<u8>)>, ImagesError> {
        self.store.read(|tx| {
            let mut found = objects(tx, ObjectKind::SNAPSHOT, SNAPSHOTS, &[])?;
            found.extend(objects(tx, ObjectKind::BLOB, &blobs(), &[])?);
            Ok(found)
        })
    }
}
