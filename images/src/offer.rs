//! What this store offers as a registry: its images under their names, and what was pushed to it.
//!
//! An image is packed when somebody first asks for its manifest, and found packed from then on; a layer's blob that was
//! swept meanwhile is packed again. Of two things under one name, the one that was named last is meant. What is said about
//! an image is listed beside it, as a push would have it, and is written down anew whenever the image is asked for. A digest
//! that nobody was told is that of nothing: no digest has anything packed.

use std::collections::BTreeSet;
use std::fs::File;

use rbuild_image::compress::Encoding;
use rbuild_image::manifest::Document;
use rbuild_model::digest::{BlobDigest, ImageId};
use rbuild_model::reference::Reference;
use rusqlite::OptionalExtension as _;

use crate::error::ImagesError;
use crate::images::Images;
use crate::push::Outgoing;
use crate::rows;
use crate::shelf::{self, Shelved, Wanted};

/// A blob that is offered.
#[derive(Debug)]
pub enum Offered {
    /// A file of so many bytes.
    File(File, u64),
    /// Bytes at hand.
    Bytes(Vec<u8>),
}

impl Images {
    /// Finds a manifest or an index of a repository.
    pub fn offered_document(
        &self,
        repository: &Reference,
        wanted: Wanted<'_>,
    ) -> Result<Option<Shelved>, ImagesError> {
        let name = repository.name();
        let shelved = self.store.read(|tx| shelf::find(tx, &name, wanted))?;
        match (wanted, shelved) {
            (Wanted::Digest(_), Some((found, _))) => Ok(Some(found)),
            (Wanted::Digest(digest), None) => self.document_by_digest(repository, digest),
            (Wanted::Tag(tag), shelved) => {
                let Ok(named) = format!("{name}:{tag}").parse::<Reference>() else { return Ok(None) };
                let named_at = self.store.read(|tx| rows::named_at(tx, &named.to_string()))?;
                match (shelved, named_at) {
                    (Some((found, put_at)), named_at) if named_at.is_none_or(|at| at < put_at) => {
                        Ok(Some(found))
                    }
                    (Some((found, _)), None) => Ok(Some(found)),
                    (None, None) => Ok(None),
                    (_, Some(_)) => Ok(Some(self.made_of(&named)?)),
                }
            }
        }
    }

    fn document_by_digest(
        &self,
        repository: &Reference,
        digest: BlobDigest,
    ) -> Result<Option<Shelved>, ImagesError> {
        let found = self.store.read(|tx| rows::manifest(tx, digest))?;
        if let Some((media_type, bytes)) = found {
            let found = Shelved { digest, media_type, bytes };
            self.refill(repository, &found)?;
            return Ok(Some(found));
        }
        // What was asked for by its digest has that for a name.
        let named = repository.clone().with_digest(digest);
        if !self.is_listed(&named)? {
            return Ok(None);
        }
        Ok(Some(self.made_of(&named)?).filter(|made| made.digest == digest))
    }

    /// Packs statements that somebody was told of again, where they went after their day.
    fn refill(&self, repository: &Reference, told: &Shelved) -> Result<(), ImagesError> {
        let Ok(Document::Manifest(manifest)) = Document::parse(&told.bytes, Some(&told.media_type)) else {
            return Ok(());
        };
        let config = manifest.config.digest;
        let is_here = || {
            self.store.read(|tx| -> Result<_, ImagesError> {
                Ok(shelf::is_offered(tx, config)? || rows::image(tx, ImageId::of_config(config))?.is_some())
            })
        };
        if is_here()? {
            return Ok(());
        }
        for name in self.names_in(repository)? {
            if self.is_listed(&name)? {
                // Why one of the names cannot be had is told to whoever asks for it.
                let _ = self.made_of(&name);
                if is_here()? {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Whether what a name means stands in an index.
    fn is_listed(&self, name: &Reference) -> Result<bool, ImagesError> {
        let name = name.to_string();
        if self.index(&name)?.is_some() {
            return Ok(true);
        }
        Ok(self.store.read(|tx| match rows::named(tx, &name)? {
            Some(image) => rows::facts(tx, image).map(|facts| !facts.is_empty()),
            None => Ok(false),
        })?)
    }

    fn names_in(&self, repository: &Reference) -> Result<Vec<Reference>, ImagesError> {
        let name = repository.name();
        let names = self.store.read(rows::tags)?;
        Ok(names.into_iter().filter(|tag| tag.name() == name).collect())
    }

    /// Makes the document that a name of images means, and remembers it with all that it lists.
    fn made_of(&self, named: &Reference) -> Result<Shelved, ImagesError> {
        let lease = self.store.lease("a pull from here")?;
        let members: Vec<ImageId> = match self.index(&named.to_string())? {
            Some(index) => index.members.iter().map(|member| member.image).collect(),
            None => vec![self.find_id(&named.to_string())?],
        };
        let mut packed = Vec::new();
        for id in &members {
            packed.push(self.pack(*id, Encoding::GZIP, &lease)?);
        }
        let attestations = self.attested(&packed, &members, std::slice::from_ref(named), &lease)?;
        self.shelve_statements(&named.name(), &attestations, &lease)?;
        let outgoing = Outgoing::new(packed, &[]).with(attestations, &[]);
        let (bytes, media_type) = outgoing.top().ok_or_else(|| ImagesError::NotFound(named.to_string()))?;
        let top = Shelved {
            digest: BlobDigest::of(bytes),
            media_type: media_type.to_owned(),
            bytes: bytes.to_vec(),
        };
        self.store.write(|tx| -> Result<(), ImagesError> {
            // What stands for several images goes with the first of them, and is made anew without it.
            let owners = members.iter().chain(std::iter::repeat(&members[0]));
            for (owner, made) in owners.zip(&outgoing.images) {
                let digest = BlobDigest::of(&made.manifest_bytes);
                rows::add_manifest(tx, *owner, digest, made.manifest.media_type(), &made.manifest_bytes)?;
            }
            Ok(rows::add_manifest(tx, members[0], top.digest, &top.media_type, &top.bytes)?)
        })?;
        Ok(top)
    }

    /// Opens a blob that is offered: a layer, a config, or what was pushed.
    pub fn offered_blob(&self, digest: BlobDigest) -> Result<Option<Offered>, ImagesError> {
        if let Some(row) = self.store.read(|tx| rows::image(tx, ImageId::of_config(digest)))? {
            return Ok(Some(Offered::Bytes(row.config)));
        }
        if !self.store.read(|tx| shelf::is_offered(tx, digest))? {
            return Ok(None);
        }
        if let Some(file) = self.opened(digest)? {
            return Ok(Some(file));
        }
        // It was swept: the image that has the layer is packed again.
        let image = self.store.read(|tx| image_with(tx, digest))?;
        let Some(image) = image else { return Ok(None) };
        let lease = self.store.lease("a pull from here")?;
        self.pack(image, Encoding::GZIP, &lease)?;
        self.opened(digest)
    }

    fn opened(&self, digest: BlobDigest) -> Result<Option<Offered>, ImagesError> {
        let Some(file) = self.blobs.open(digest)? else { return Ok(None) };
        let size = file.metadata().map_err(|error| ImagesError::io("look at a blob", error))?.len();
        Ok(Some(Offered::File(file, size)))
    }

    /// Lists the tags of a repository, sorted.
    pub fn offered_tags(&self, repository: &Reference) -> Result<Vec<String>, ImagesError> {
        let mut tags: BTreeSet<String> =
            self.store.read(|tx| shelf::tags(tx, &repository.name()))?.into_iter().collect();
        tags.extend(self.names_in(repository)?.iter().filter_map(|name| name.tag().map(str::to_owned)));
        Ok(tags.into_iter().collect())
    }

    /// Lists the repositories, sorted, each by the shortest name that it is asked for by.
    pub fn offered_repositories(&self) -> Result<Vec<String>, ImagesError> {
        let (names, shelved) =
            self.store.read(|tx| Ok::<_, ImagesError>((rows::tags(tx)?, shelf::repositories(tx)?)))?;
        let shelved = shelved.iter().filter_map(|name| name.parse::<Reference>().ok());
        let all: BTreeSet<String> =
            names.into_iter().chain(shelved).map(|name| name.familiar_name()).collect();
        Ok(all.into_iter().collect())
    }
}

/// Finds an image that has a layer whose packed form is a blob.
fn image_with(
    tx: &rusqlite::Transaction<'_>,
    digest: BlobDigest,
) -> Result<Option<ImageId>, rbuild_store::DatabaseError> {
    let mut statement = tx.prepare_cached(
        "SELECT image_layers.image FROM image_layers JOIN layer_blobs ON layer_blobs.diff = image_layers.diff \
         WHERE layer_blobs.digest = ?1 LIMIT 1",
    )?;
    let row = statement.query_row([digest.as_bytes()], |row| row.get(0));
    Ok(row.optional()?.map(ImageId::from_bytes))
}
