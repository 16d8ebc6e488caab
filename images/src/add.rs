//! Images that were made here: by builds, by commits, from a tar.

use std::io::Read;
use std::path::Path;

use rbuild_confined::{Handle, Kind, Metadata, Root, Step, Walk};
use rbuild_image::compress::Decoder;
use rbuild_model::digest::{BlobDigest, ChainId, ImageId};
use rbuild_model::image_config::{History, ImageConfig, RunConfig};
use rbuild_model::platform::Platform;
use rbuild_model::reference::Reference;
use rbuild_model::snapshot::Chain;
use rbuild_snapshotter::Active;
use rbuild_snapshotter::copier::{Capabilities, Copier, CopyError, CopyRules};
use rbuild_store::usage::bytes_of;
use rbuild_store::{Lease, ObjectKind};

use crate::error::ImagesError;
use crate::images::Images;
use crate::layers::EPOCH_NONE;
use crate::room::TreeRoom;
use crate::rows::{self, ImageRow, LayerRow};

/// An image that was built here.
#[derive(Clone, Debug)]
pub struct BuiltImage<'a> {
    /// Its config; the DiffIds in it are replaced by those of the stack. They count only where the base is gone.
    pub config: ImageConfig,
    /// Its stack of snapshots.
    pub chain: &'a Chain,
    /// The latest time in its new layers, in seconds.
    pub epoch: Option<i64>,
    /// The image that it stands on: its layers keep their DiffIds.
    pub base: Option<ImageId>,
    /// The image that it was committed from, which cannot be removed before it.
    pub parent: Option<ImageId>,
}

/// How a tar becomes an image.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// Its name, if it gets one.
    pub reference: Option<Reference>,
    /// What it is for.
    pub platform: Platform,
    /// How it runs.
    pub run: RunConfig,
    /// A remark for its history.
    pub message: String,
    /// When it is made, RFC 3339; now if nothing is said.
    pub created: Option<String>,
}

impl Images {
    /// Records an image that was built here and returns its id; names are set with [`Images::tag`].
    ///
    /// The new layers' DiffIds are taken from the canonical tars of their trees. Nothing is compressed.
    pub fn add(&self, built: BuiltImage<'_>, lease: &Lease) -> Result<ImageId, ImagesError> {
        let (chain, epoch, parent) = (built.chain, built.epoch, built.parent);
        let (config, bytes) = self.complete(built)?;
        let id = ImageId::of_config(BlobDigest::of(&bytes));
        let row = ImageRow { id, config: bytes, parent, added_at: rows::now_s(), origin: None };
        let diff_ids = &config.rootfs.diff_ids;
        self.store.write(|tx| -> Result<(), ImagesError> {
            rows::add_image(tx, &row, diff_ids, Some(self.store.stamp()))?;
            rows::use_image(tx, id, lease)?;
            let mut below: Option<ChainId> = None;
            for (diff_id, snapshot) in diff_ids.iter().zip(chain.layers()) {
                let next = crate::layers::chain_with(below, *diff_id);
                below = Some(next);
                if let Some(LayerRow { snapshot: known, .. }) = rows::layer(tx, next)? {
                    let is_packable = |tree| rows::is_made_here(tx, tree, *diff_id);
                    if known == *snapshot || is_packable(known)? || !is_packable(*snapshot)? {
                        continue;
                    }
                    // The other tree's blob may be gone, and of this one the layer can be packed at any time.
                    rows::forget_layer(tx, next, known)?;
                }
                let bytes =
                    rows::diff_id(tx, *snapshot, epoch.unwrap_or(EPOCH_NONE))?.map_or(0, |(_, bytes)| bytes);
                let layer = LayerRow { snapshot: *snapshot, bytes };
                lease.protect(tx, &[(ObjectKind::SNAPSHOT, snapshot.as_bytes())])?;
                rows::add_layer(tx, next, layer, Some(self.store.stamp()))?;
            }
            Ok(())
        })?;
        Ok(id)
    }

    /// Completes the config of an image that was built here with the DiffIds of its stack, and returns it with its text.
    pub(crate) fn complete(&self, built: BuiltImage<'_>) -> Result<(ImageConfig, Vec<u8>), ImagesError> {
        let BuiltImage { mut config, chain, epoch, base, parent: _ } = built;
        let known = match base {
            Some(base) => match self.config(base) {
                Ok(config) => config.rootfs.diff_ids,
                // Removed while this one was built: what stands in the config was taken from it before.
                Err(ImagesError::NotFound(_)) => config.rootfs.diff_ids.clone(),
                Err(error) => return Err(error),
            },
            None => Vec::new(),
        };
        if known.len() > chain.len() {
            return Err(ImagesError::Inconsistent {
                what: "the built image".to_owned(),
                why: "it has fewer layers than its base".to_owned(),
            });
        }
        config.rootfs.diff_ids = self.diff_ids(chain, &known, epoch)?;
        let bytes = serde_json::to_vec(&config).map_err(|error| ImagesError::Inconsistent {
            what: "the built image".to_owned(),
            why: format!("its config cannot be written: {error}"),
        })?;
        Ok((config, bytes))
    }

    /// Makes an image of one layer from a tar of a root, packed in any way.
    ///
    /// The image is on the disk before this returns.
    pub fn import(
        &self,
        tar: impl Read,
        options: ImportOptions,
        lease: &Lease,
    ) -> Result<ImageId, ImagesError> {
        let what = "the tar to be imported";
        let tar = self.stoppable(tar);
        let mut decoder = Decoder::detect(tar, self.options.compression)
            .map_err(|error| ImagesError::io(format!("read {what}"), error))?;
        let room = self.room(what)?;
        let (active, _) = self
            .snapshotter
            .apply(&Chain::empty(), &mut room.reader(&mut decoder), self.options.tar)
            .map_err(|error| room.refusal().unwrap_or(ImagesError::Tree(what.to_owned(), error)))?;
        self.import_snapshot(active, room, options, lease)
    }

    /// Makes an image of one layer from what is in a folder; the folder itself becomes an ordinary root.
    ///
    /// The image is on the disk before this returns. In a user namespace, a folder with files of users that it does not
    /// know is refused.
    pub fn import_folder(
        &self,
        folder: &Path,
        options: ImportOptions,
        lease: &Lease,
    ) -> Result<ImageId, ImagesError> {
        let what = folder.display().to_string();
        let tree = |error: rbuild_snapshotter::Error| ImagesError::Tree(what.clone(), error);
        let failed = |error| ImagesError::Copy { path: folder.to_owned(), source: Box::new(error) };
        let source = Root::open(folder).map_err(|error| tree(error.into()))?;
        let from = source.resolve("/").map_err(|error| tree(error.into()))?;
        refuse_foreign(&from).map_err(failed)?;
        let room = self.room(&*what)?;
        if self.store.has_budget() {
            room.reserve(bytes_of(folder)?)?;
        }
        let active = self.snapshotter.prepare(&Chain::empty()).map_err(tree)?;
        let copied = (|| {
            let root = self.snapshotter.open_active(&active).map_err(tree)?;
            let rules = CopyRules { capabilities: Capabilities::Keep, ..CopyRules::default() };
            let into = root.resolve("/").map_err(|error| tree(error.into()))?;
            Copier::new(rules).copy_dir(&from, into).map_err(failed)
        })();
        if let Err(error) = copied {
            // The first error is the one to tell; what is left lies in `tmp` and goes with it.
            let _ = self.snapshotter.discard(active);
            return Err(error);
        }
        self.import_snapshot(active, room, options, lease)
    }

    fn import_snapshot(
        &self,
        active: Active,
        room: TreeRoom<'_>,
        options: ImportOptions,
        lease: &Lease,
    ) -> Result<ImageId, ImagesError> {
        let snapshot = room.commit(active, lease, &|_, _| Ok(()))?;
        let created = options.created.unwrap_or_else(|| jiff::Timestamp::now().to_string());
        let mut config =
            ImageConfig { created: Some(created.clone()), config: options.run, ..Default::default() };
        config.set_platform(&options.platform);
        config.history.push(History {
            created: Some(created),
            comment: Some(options.message),
            ..History::default()
        });
        let chain = Chain::new(vec![snapshot]);
        let built = BuiltImage { config, chain: &chain, epoch: None, base: None, parent: None };
        let image = self.add(built, lease)?;
        if let Some(reference) = &options.reference {
            self.tag(image, reference)?;
        }
        self.store.promote()?;
        self.tell("import", image, &image.to_string());
        Ok(image)
    }

    /// Points a name (with `latest` understood) to an image, and returns the image that it pointed to before.
    ///
    /// A name with a digest is refused: what a digest names is not for us to say.
    pub fn tag(&self, image: ImageId, reference: &Reference) -> Result<Option<ImageId>, ImagesError> {
        if reference.digest().is_some() {
            return Err(ImagesError::Inconsistent {
                what: reference.familiar(),
                why: "a name with a digest cannot be given to an image".to_owned(),
            });
        }
        let reference = reference.clone().with_default_tag();
        let before = self.store.write(|tx| {
            if rows::image(tx, image)?.is_none() {
                return Err(ImagesError::NotFound(image.to_string()));
            }
            Ok(rows::set_name(tx, &reference, image, Some(self.store.stamp()))?)
        })?;
        if before != Some(image) {
            self.tell("tag", image, &reference.familiar());
        }
        Ok(before)
    }
}

/// Refuses a folder in which something belongs to a user or group that this user namespace does not map. All of these
/// look alike, as one id that may well be mapped: a copy would be given to that one without a word.
fn refuse_foreign(folder: &Handle) -> Result<(), CopyError> {
    let (user, group) = (id_of_unmapped("uid"), id_of_unmapped("gid"));
    if user.is_none() && group.is_none() {
        return Ok(());
    }
    let check = |path: &Path, meta: &Metadata| {
        if Some(meta.owner.uid) == user || Some(meta.owner.gid) == group {
            return Err(CopyError::Foreign { path: path.to_owned() });
        }
        Ok(())
    };
    check(Path::new("."), &folder.metadata()?)?;
    let mut walk = Walk::new(folder.open_dir()?)?;
    while let Some(step) = walk.next()? {
        if step == Step::Leave {
            continue;
        }
        let meta = walk.metadata()?;
        check(walk.path(), &meta)?;
        if meta.kind == Kind::Directory {
            walk.enter()?;
        }
    }
    Ok(())
}

/// The id by which ids (`uid` or `gid`) are shown that this user namespace does not map; nothing if it maps all.
fn id_of_unmapped(kind: &str) -> Option<u32> {
    // A kernel without user namespaces has no map.
    let map = std::fs::read_to_string(format!("/proc/self/{kind}_map")).ok()?;
    if maps_all(&map) {
        return None;
    }
    let shown = std::fs::read_to_string(format!("/proc/sys/kernel/overflow{kind}"));
    Some(shown.ok().and_then(|id| id.trim().parse().ok()).unwrap_or(65534))
}

/// Whether a map has every id; the last number is none.
fn maps_all(map: &str) -> bool {
    let counts = map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
    counts.sum::<u64>() >= u64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::maps_all;

    #[test]
    fn a_namespace_with_few_ids_shows_strangers() {
        assert!(maps_all("         0          0 4294967295\n"));
        assert!(maps_all("0 1000 1\n1 0 4294967294\n"));
        for few in ["", "0 12345 1\n", "0 1000 1\n1 100000 65536\n"] {
            assert!(!maps_all(few), "{few}");
        }
    }
}
