//! Looking images up.

use rbuild_model::digest::{ChainId, DiffId, ImageId};
use rbuild_model::image_config::ImageConfig;
use rbuild_model::reference::Reference;
use rbuild_model::snapshot::SnapshotId;
use rbuild_model::span::nearest;

use crate::error::ImagesError;
use crate::images::Images;
use crate::layers::size_of;
use crate::platforms::{self, NamedIndex};
use crate::pull::parse_config;
use crate::rows::{self, ImageRow};

/// An image and what is known about it.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its id.
    pub id: ImageId,
    /// Its config.
    pub config: ImageConfig,
    /// Its config as it came, whose digest is the id.
    pub config_bytes: Vec<u8>,
    /// Its names with a tag.
    pub tags: Vec<Reference>,
    /// Its names with a manifest's digest.
    pub digests: Vec<Reference>,
    /// The image that it was made from here.
    pub parent: Option<ImageId>,
    /// When it came here, in seconds.
    pub added_at: i64,
    /// When it was last named, in seconds.
    pub last_named: Option<i64>,
    /// The bytes of its layers, as far as they are here.
    pub size: u64,
    /// Those of its names that mean other images on other platforms.
    pub indexes: Vec<NamedIndex>,
}

/// An image in a list.
pub type ListedImage = Image;

/// An act in the history of an image, as `history` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryItem {
    /// The image, for the newest act; the others have none.
    pub id: Option<ImageId>,
    /// When, RFC 3339.
    pub created: Option<String>,
    /// By which instruction.
    pub created_by: String,
    /// The tags of the image, for the newest act.
    pub tags: Vec<String>,
    /// The bytes of its layer.
    pub size: u64,
    /// A remark.
    pub comment: String,
}

impl Images {
    /// Finds an image by a name (with `latest` understood), by its id, or by the beginning of its id; names win.
    pub fn find(&self, text: &str) -> Result<Image, ImagesError> {
        let id = self.find_id(text)?;
        self.get(id)?.ok_or_else(|| ImagesError::NotFound(text.to_owned()))
    }

    /// As [`Images::find`], and returns only the id.
    pub fn find_id(&self, text: &str) -> Result<ImageId, ImagesError> {
        if let Ok(id) = text.parse::<ImageId>() {
            return match self.store.read(|tx| rows::image(tx, id))? {
                Some(_) => Ok(id),
                None => {
                    let index = self.index(text)?;
                    let image = index.and_then(|index| platforms::primary(&index.members));
                    image.ok_or_else(|| ImagesError::NotFound(text.to_owned()))
                }
            };
        }
        let shown = match text.parse::<Reference>() {
            Ok(reference) => {
                if let Some(id) = self.find_reference(&reference)? {
                    return Ok(id);
                }
                reference.with_default_tag().familiar()
            }
            Err(_) => text.to_owned(),
        };
        let prefix = text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
        let is_hex =
            !prefix.is_empty() && prefix.len() <= 64 && prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hex {
            let found = self.store.read(|tx| rows::images_by_prefix(tx, &prefix))?;
            match found[..] {
                [only] => return Ok(only),
                [_, ..] => return Err(ImagesError::AmbiguousId(text.to_owned())),
                [] => {}
            }
            if let Some(index) = self.index(&prefix)?
                && let Some(image) = platforms::primary(&index.members)
            {
                return Ok(image);
            }
        }
        Err(ImagesError::NotFound(shown))
    }

    /// Returns the image that a name points to.
    pub fn find_reference(&self, reference: &Reference) -> Result<Option<ImageId>, ImagesError> {
        let reference = reference.clone().with_default_tag();
        // A digest decides over a tag.
        let name = match reference.digest() {
            Some(digest) => format!("{}@{digest}", reference.name()),
            None => reference.to_string(),
        };
        Ok(self.store.read(|tx| rows::named(tx, &name))?)
    }

    /// Returns an image by its id.
    pub fn get(&self, id: ImageId) -> Result<Option<Image>, ImagesError> {
        self.store.read(|tx| match rows::image(tx, id)? {
            Some(row) => describe(tx, row).map(Some),
            None => Ok(None),
        })
    }

    /// Returns all images, the newest first; those that only a name's other platforms mean are not listed by themselves.
    pub fn list(&self) -> Result<Vec<ListedImage>, ImagesError> {
        self.store.read(|tx| {
            let mut listed = Vec::new();
            for row in rows::images(tx)? {
                let image = describe(tx, row)?;
                let named = !image.tags.is_empty() || !image.digests.is_empty();
                if named || !platforms::is_member(tx, image.id)? {
                    listed.push(image);
                }
            }
            Ok(listed)
        })
    }

    /// Returns what may have been meant by a name that means nothing here: the tags of that repository, or of one that
    /// is spelled almost so.
    pub fn near(&self, name: &str) -> Result<Vec<String>, ImagesError> {
        let Ok(wanted) = name.parse::<Reference>() else { return Ok(Vec::new()) };
        let known: Vec<Reference> = self.list()?.into_iter().flat_map(|image| image.tags).collect();
        let names: Vec<String> = known.iter().map(Reference::familiar_name).collect();
        let Some(near) = nearest(&wanted.familiar_name(), names.iter().map(String::as_str)) else {
            return Ok(Vec::new());
        };
        let tagged = known.iter().zip(&names).filter(|(_, name)| *name == near);
        let mut near: Vec<String> = tagged.map(|(reference, _)| reference.familiar()).collect();
        near.sort();
        Ok(near)
    }

    /// Returns the config of an image.
    pub fn config(&self, id: ImageId) -> Result<ImageConfig, ImagesError> {
        let row = self.store.read(|tx| rows::image(tx, id))?;
        let row = row.ok_or_else(|| ImagesError::NotFound(id.to_string()))?;
        parse_config(&id.to_string(), &row.config)
    }

    /// Returns the uppermost layer of an image as it lies unpacked; nothing where it has none, or that is not here.
    pub fn top(&self, id: ImageId) -> Result<Option<SnapshotId>, ImagesError> {
        let Some(top) = ChainId::of(&self.config(id)?.rootfs.diff_ids) else { return Ok(None) };
        Ok(self.store.read(|tx| rows::layer(tx, top))?.map(|layer| layer.snapshot))
    }

    /// Returns the acts that made an image, the newest first.
    pub fn history(&self, id: ImageId) -> Result<Vec<HistoryItem>, ImagesError> {
        let image = self.get(id)?.ok_or_else(|| ImagesError::NotFound(id.to_string()))?;
        let sizes = self.store.read(|tx| layer_sizes(tx, &image.config.rootfs.diff_ids))?;
        let mut sizes = sizes.into_iter();
        let mut items: Vec<_> = image
            .config
            .history
            .iter()
            .map(|act| HistoryItem {
                id: None,
                created: act.created.clone(),
                created_by: act.created_by.clone().unwrap_or_default(),
                tags: Vec::new(),
                size: if act.empty_layer { 0 } else { sizes.next().unwrap_or(0) },
                comment: act.comment.clone().unwrap_or_default(),
            })
            .collect();
        items.reverse();
        if let Some(newest) = items.first_mut() {
            newest.id = Some(id);
            newest.tags = image.tags.iter().map(Reference::familiar).collect();
        }
        Ok(items)
    }

    /// Returns how many bytes the layers of an image have, the lowest first.
    pub fn layer_sizes(&self, image: &Image) -> Result<Vec<u64>, ImagesError> {
        Ok(self.store.read(|tx| layer_sizes(tx, &image.config.rootfs.diff_ids))?)
    }
}

fn layer_sizes(
    tx: &rusqlite::Transaction<'_>,
    diff_ids: &[DiffId],
) -> Result<Vec<u64>, rbuild_store::DatabaseError> {
    let mut chain = None;
    let mut sizes = Vec::with_capacity(diff_ids.len());
    for diff_id in diff_ids {
        let next = crate::layers::chain_with(chain, *diff_id);
        sizes.push(rows::layer(tx, next)?.map_or(0, |layer| layer.bytes));
        chain = Some(next);
    }
    Ok(sizes)
}

fn describe(tx: &rusqlite::Transaction<'_>, row: ImageRow) -> Result<Image, ImagesError> {
    let config = parse_config(&row.id.to_string(), &row.config)?;
    let names = rows::names_of(tx, row.id)?;
    let indexes = platforms::indexes_of(tx, &names)?;
    let (digests, tags) = names.into_iter().partition(|name: &Reference| name.digest().is_some());
    Ok(Image {
        id: row.id,
        size: size_of(tx, &config.rootfs.diff_ids)?,
        last_named: rows::last_named(tx, row.id)?,
        config,
        config_bytes: row.config,
        tags,
        digests,
        parent: row.parent,
        added_at: row.added_at,
        indexes,
    })
}
