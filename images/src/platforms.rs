//! Names that mean several images, one a platform: indexes.
//!
//! Every name points to one image: the one that it means here, which is that of this machine's platform if there is one.
//! Where it means others too, they are listed beside it. So whoever asks for no platform needs not know of indexes, and an
//! index of one platform is nothing but its image.
//!
//! What a build for several platforms makes gets the name all at once. A pull adds the platform that was asked for to those
//! that came with the same index before. An index of ours has no bytes until it leaves: those of its manifests are only
//! known when the layers are packed. It is therefore known by an [`IndexId`].

use std::fmt;

use rbuild_model::digest::{BlobDigest, ImageId};
use rbuild_model::platform::Platform;
use rbuild_model::reference::Reference;
use rbuild_store::{DatabaseError, Stamp};
use rusqlite::Transaction;

use crate::error::ImagesError;
use crate::images::Images;
use crate::rows;

/// An image of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What it is for.
    pub platform: Platform,
    /// The image.
    pub image: ImageId,
}

/// A name that means several images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedIndex {
    /// The name.
    pub name: Reference,
    /// The images, at least two, in the order in which they were asked for.
    pub members: Vec<Member>,
    /// The bytes of their layers, as far as they are here.
    pub size: u64,
}

/// What an index is known by here: the hash of its platforms and images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IndexId(BlobDigest);

impl IndexId {
    /// Names an index by its members.
    pub fn of(members: &[Member]) -> Self {
        use fmt::Write as _;
        let mut text = "rbuild index\n".to_owned();
        for Member { platform, image } in members {
            let _ = writeln!(text, "{platform} {image}");
        }
        Self(BlobDigest::of(text.as_bytes()))
    }

    /// Returns its hexadecimal digits.
    pub fn hex(&self) -> String {
        self.0.hex()
    }
}

impl fmt::Display for IndexId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl NamedIndex {
    /// Returns what the index is known by.
    pub fn id(&self) -> IndexId {
        IndexId::of(&self.members)
    }
}

impl Images {
    /// Points a name (with `latest` understood) to several images, one a platform; returns the image that it means here.
    ///
    /// Platforms that are there twice count once, as the first.
    pub fn tag_index(&self, members: &[Member], reference: &Reference) -> Result<ImageId, ImagesError> {
        if reference.digest().is_some() {
            return Err(ImagesError::Inconsistent {
                what: reference.familiar(),
                why: "a name with a digest cannot be given to an index".to_owned(),
            });
        }
        let reference = reference.clone().with_default_tag();
        let primary = primary(members).ok_or_else(|| ImagesError::NotFound(reference.familiar()))?;
        let stamp = self.store.stamp();
        let before = self.store.write(|tx| -> Result<_, ImagesError> {
            let before = rows::set_name(tx, &reference, primary, Some(stamp))?;
            set(tx, &reference.to_string(), members, Some(stamp))?;
            Ok(before)
        })?;
        if before != Some(primary) {
            self.tell("tag", primary, &reference.familiar());
        }
        Ok(primary)
    }

    /// Points a name to what another one means, with all its platforms; an id means its image.
    pub fn tag_as(&self, text: &str, reference: &Reference) -> Result<(), ImagesError> {
        match self.index(text)? {
            Some(index) => self.tag_index(&index.members, reference).map(drop),
            None => self.tag(self.find_id(text)?, reference).map(drop),
        }
    }

    /// Finds a name that means several images, by the name or by the id of the index.
    pub fn index(&self, text: &str) -> Result<Option<NamedIndex>, ImagesError> {
        if let Ok(reference) = text.parse::<Reference>() {
            let name = reference.with_default_tag();
            let members = self.store.read(|tx| members(tx, &stored(&name)))?;
            if members.len() > 1 {
                return Ok(Some(self.described(name, members)?));
            }
        }
        let prefix = text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
        // Names win, and so do images.
        if prefix.len() < 4 || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let names = self.store.read(names)?;
        for name in names {
            let members = self.store.read(|tx| members(tx, &name))?;
            if members.len() > 1
                && IndexId::of(&members).hex().starts_with(&prefix)
                && let Ok(name) = name.parse()
            {
                return Ok(Some(self.described(name, members)?));
            }
        }
        Ok(None)
    }

    /// Finds the image that a text means on a platform; without one, the image that it means here.
    pub fn find_for(&self, text: &str, platform: Option<&Platform>) -> Result<ImageId, ImagesError> {
        let id = match self.index(text)? {
            Some(index) => match platform {
                Some(platform) => select(&index.members, platform)
                    .ok_or_else(|| no_platform(text, platform, &index.members))?,
                None => primary(&index.members).ok_or_else(|| ImagesError::NotFound(text.to_owned()))?,
            },
            None => self.find_id(text)?,
        };
        if let Some(platform) = platform {
            let own = self.config(id)?.platform();
            if own != *platform && !platform.can_run(&own) {
                return Err(no_platform(text, platform, &[Member { platform: own, image: id }]));
            }
        }
        Ok(id)
    }

    fn described(&self, name: Reference, members: Vec<Member>) -> Result<NamedIndex, ImagesError> {
        let mut size = 0;
        for member in &members {
            let config = self.config(member.image)?;
            size += self.store.read(|tx| crate::layers::size_of(tx, &config.rootfs.diff_ids))?;
        }
        Ok(NamedIndex { name, members, size })
    }
}

fn no_platform(text: &str, wanted: &Platform, members: &[Member]) -> ImagesError {
    let offered = members.iter().map(|member| member.platform.clone()).collect();
    let source = rbuild_image::manifest::NoPlatform { wanted: wanted.clone(), offered };
    ImagesError::Platform { what: text.to_owned(), source }
}

/// The image that an index means on this machine: the one for its platform, one that runs there, else the first.
pub(crate) fn primary(members: &[Member]) -> Option<ImageId> {
    select(members, &Platform::host()).or_else(|| members.first().map(|member| member.image))
}

/// The image for a platform: the exact one, else the first that runs there.
pub(crate) fn select(members: &[Member], wanted: &Platform) -> Option<ImageId> {
    let exact = members.iter().find(|member| member.platform == *wanted);
    exact
        .or_else(|| members.iter().find(|member| wanted.can_run(&member.platform)))
        .map(|member| member.image)
}

/// The form in which a name stands in rows: a digest decides over a tag.
pub(crate) fn stored(reference: &Reference) -> String {
    match reference.digest() {
        Some(digest) => format!("{}@{digest}", reference.name()),
        None => reference.to_string(),
    }
}

/// Lists the images of a name, in order; empty for one that means a single image.
pub(crate) fn members(transaction: &Transaction<'_>, name: &str) -> Result<Vec<Member>, DatabaseError> {
    let mut statement = transaction
        .prepare_cached("SELECT platform, image FROM name_platforms WHERE name = ?1 ORDER BY number")?;
    let rows = statement
        .query_map([name], |row| Ok((row.get::<_, String>(0)?, ImageId::from_bytes(row.get(1)?))))?;
    let mut members = Vec::new();
    for row in rows {
        let (platform, image) = row?;
        let platform = platform.parse().map_err(|error: rbuild_model::platform::ParsePlatformError| {
            DatabaseError::Damaged { table: "name_platforms", why: error.to_string() }
        })?;
        members.push(Member { platform, image });
    }
    Ok(members)
}

/// Says which images a name means; less than two are no index.
pub(crate) fn set(
    transaction: &Transaction<'_>,
    name: &str,
    wanted: &[Member],
    stamp: Option<Stamp>,
) -> Result<(), DatabaseError> {
    let mut distinct: Vec<Member> = Vec::new();
    for member in wanted {
        if !distinct.iter().any(|known| known.platform == member.platform) {
            distinct.push(member.clone());
        }
    }
    if distinct.len() < 2 {
        distinct.clear();
    }
    if members(transaction, name)? == distinct {
        return Ok(());
    }
    forget(transaction, name)?;
    let mut statement = transaction.prepare_cached(
        "INSERT INTO name_platforms (name, platform, image, unsynced) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for member in distinct {
        statement.execute((name, member.platform.to_string(), member.image.as_bytes(), stamp))?;
    }
    Ok(())
}

/// Makes a name mean one image again.
pub(crate) fn forget(transaction: &Transaction<'_>, name: &str) -> Result<(), DatabaseError> {
    transaction.prepare_cached("DELETE FROM name_platforms WHERE name = ?1")?.execute([name])?;
    Ok(())
}

/// Lists the names that mean several images.
fn names(transaction: &Transaction<'_>) -> Result<Vec<String>, DatabaseError> {
    let mut statement =
        transaction.prepare_cached("SELECT DISTINCT name FROM name_platforms ORDER BY name")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Tells whether a name means an image besides others.
pub(crate) fn is_member(transaction: &Transaction<'_>, image: ImageId) -> Result<bool, DatabaseError> {
    let mut statement =
        transaction.prepare_cached("SELECT 1 FROM name_platforms WHERE image = ?1 LIMIT 1")?;
    Ok(statement.exists([image.as_bytes()])?)
}

/// Lists the indexes among the names of an image.
pub(crate) fn indexes_of(
    transaction: &Transaction<'_>,
    names: &[Reference],
) -> Result<Vec<NamedIndex>, ImagesError> {
    let mut indexes = Vec::new();
    for name in names {
        let members = members(transaction, &stored(name))?;
        if members.len() < 2 {
            continue;
        }
        let mut size = 0;
        for member in &members {
            if let Some(row) = rows::image(transaction, member.image)? {
                let config = crate::pull::parse_config(&row.id.to_string(), &row.config)?;
                size += crate::layers::size_of(transaction, &config.rootfs.diff_ids)?;
            }
        }
        indexes.push(NamedIndex { name: name.clone(), members, size });
    }
    Ok(indexes)
}
