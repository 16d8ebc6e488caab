//! What others pushed to this store when it was served as a registry: documents and blobs as they came, by repository.
//!
//! A document is whatever a manifest names: an image, a cache, a signature. It is kept beside the images, which are what this
//! store itself runs and builds on; an image that was pushed becomes one of those by being pulled.

use std::collections::HashSet;

use rbuild_cache::blobs::{Blob, BlobWriter, Blobs};
use rbuild_image::archive::OutgoingImage;
use rbuild_image::manifest::{Descriptor, Document, Manifest, MediaType};
use rbuild_model::digest::{BlobDigest, ImageId};
use rbuild_model::reference::Reference;
use rbuild_store::{DatabaseError, Lease};
use rusqlite::{OptionalExtension as _, Transaction};
use serde::Deserialize;

use crate::error::ImagesError;
use crate::images::Images;
use crate::rows;

/// The tables.
pub(crate) const MIGRATION: &str = "
    CREATE TABLE shelf_documents (
        repository TEXT NOT NULL,
        digest BLOB NOT NULL,
        media_type TEXT NOT NULL,
        bytes BLOB NOT NULL,
        subject BLOB,
        kind TEXT,
        PRIMARY KEY (repository, digest)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX shelf_documents_by_subject ON shelf_documents (repository, subject);
    CREATE TABLE shelf_tags (
        repository TEXT NOT NULL,
        tag TEXT NOT NULL,
        digest BLOB NOT NULL,
        put_at INTEGER NOT NULL,
        PRIMARY KEY (repository, tag)
    ) STRICT, WITHOUT ROWID;
    -- Which repository has which blob.
    CREATE TABLE shelf_blobs (
        repository TEXT NOT NULL,
        digest BLOB NOT NULL,
        PRIMARY KEY (repository, digest)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX shelf_blobs_by_digest ON shelf_blobs (digest);
";

/// When a repository got a blob: one that no document names stays for a while, as a push may be under way.
pub(crate) const WITH_TIMES: &str = "ALTER TABLE shelf_blobs ADD COLUMN put_at INTEGER NOT NULL DEFAULT 0;";

/// All of them.
const TABLES: [&str; 3] = ["shelf_tags", "shelf_documents", "shelf_blobs"];

/// How long a blob that no document names stays, in seconds.
const PUSH: i64 = 24 * 3600;

/// A document of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shelved {
    /// Its digest.
    pub digest: BlobDigest,
    /// Its type.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A document in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShelvedItem {
    /// The repository.
    pub repository: Reference,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its digest.
    pub digest: BlobDigest,
    /// Its type.
    pub media_type: String,
    /// The bytes of what it names, as far as it says.
    pub size: u64,
}

/// Why a document is not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// It is not acceptable.
    #[error("{0}")]
    Invalid(String),
    /// It names a blob that the repository does not have.
    #[error("the repository has no blob {0}")]
    NoBlob(BlobDigest),
    /// It names a document that the repository does not have.
    #[error("the repository has no manifest {0}")]
    NoManifest(BlobDigest),
    /// The store failed.
    #[error(transparent)]
    Images(#[from] ImagesError),
}

impl From<DatabaseError> for NotTaken {
    fn from(error: DatabaseError) -> Self {
        Self::Images(error.into())
    }
}

impl From<rusqlite::Error> for NotTaken {
    fn from(error: rusqlite::Error) -> Self {
        Self::Images(error.into())
    }
}

/// A document that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its digest.
    pub digest: BlobDigest,
    /// What it refers to.
    pub subject: Option<BlobDigest>,
}

/// What a document says that it refers to, and as what.
#[derive(Deserialize)]
struct Referring {
    subject: Option<Descriptor>,
    #[serde(rename = "artifactType")]
    kind: Option<String>,
}

impl Images {
    /// Takes a blob in that somebody has written.
    pub fn shelve_blob(&self, repository: &str, writer: BlobWriter) -> Result<Blob, ImagesError> {
        let lease = self.store.lease("a push")?;
        let blob = writer.finish(&lease)?;
        self.store.write(|tx| add_blob(tx, repository, blob.digest))?;
        Ok(blob)
    }

    /// Gives a repository the blobs of packed statements: whoever was told of them has at least a day to fetch them.
    pub(crate) fn shelve_statements(
        &self,
        repository: &str,
        attestations: &[OutgoingImage],
        lease: &Lease,
    ) -> Result<(), ImagesError> {
        for made in attestations {
            self.blobs.put(&made.config, lease)?;
            self.store
                .write(|tx| parts(&made.manifest).try_for_each(|part| add_blob(tx, repository, part)))?;
        }
        Ok(())
    }

    /// Gives a repository a blob that is here; tells whether it is.
    pub fn shelve_known(&self, repository: &str, digest: BlobDigest) -> Result<bool, ImagesError> {
        // Leased by the look-up: no sweep takes it before the repository has it.
        let lease = self.store.lease("a push")?;
        let is_known = self.store.write(|tx| -> Result<bool, ImagesError> {
            Ok(is_offered(tx, digest)? && Blobs::find_in(tx, digest, &lease)?.is_some())
        })?;
        if !is_known || self.blobs.open(digest)?.is_none() {
            return Ok(false);
        }
        self.store.write(|tx| add_blob(tx, repository, digest))?;
        Ok(true)
    }

    /// Takes a manifest or an index in; it is on the disk before this returns, with all that it names.
    pub fn shelve_document(
        &self,
        repository: &str,
        tag: Option<&str>,
        bytes: &[u8],
        media_type: &str,
    ) -> Result<Taken, NotTaken> {
        let document =
            Document::parse(bytes, Some(media_type)).map_err(|error| NotTaken::Invalid(error.to_string()))?;
        let Referring { subject, kind } =
            serde_json::from_slice(bytes).map_err(|error| NotTaken::Invalid(error.to_string()))?;
        let digest = BlobDigest::of(bytes);
        let kind = kind.filter(|kind| !kind.is_empty()).or_else(|| match &document {
            Document::Manifest(manifest) => Some(manifest.config.media_type.as_str().to_owned()),
            Document::Index(_) => None,
        });
        let subject = subject.map(|subject| subject.digest);
        if let Document::Manifest(manifest) = &document {
            for part in parts(manifest) {
                if !self.has_part(repository, part)? {
                    return Err(NotTaken::NoBlob(part));
                }
            }
        }
        self.store.write(|tx| -> Result<(), NotTaken> {
            match &document {
                Document::Manifest(_) => {}
                Document::Index(index) => {
                    for entry in &index.manifests {
                        if document_row(tx, repository, entry.digest)?.is_none()
                            && rows::manifest(tx, entry.digest)?.is_none()
                        {
                            return Err(NotTaken::NoManifest(entry.digest));
                        }
                    }
                }
            }
            tx.prepare_cached("INSERT OR REPLACE INTO shelf_documents VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
                .execute((
                    repository,
                    digest.as_bytes(),
                    media_type,
                    bytes,
                    subject.map(|subject| *subject.as_bytes()),
                    &kind,
                ))?;
            if let Some(tag) = tag {
                tx.prepare_cached("INSERT OR REPLACE INTO shelf_tags VALUES (?1, ?2, ?3, ?4)")?.execute((
                    repository,
                    tag,
                    digest.as_bytes(),
                    rows::now_s(),
                ))?;
            }
            Ok(())
        })?;
        self.store.promote()?;
        Ok(Taken { digest, subject })
    }

    /// Tells whether a repository has a blob. One that is found elsewhere in this store is its own from now on: whoever pushes
    /// it was told that it is here.
    fn has_part(&self, repository: &str, digest: BlobDigest) -> Result<bool, ImagesError> {
        if self.store.read(|tx| has_blob(tx, repository, digest))? {
            return Ok(true);
        }
        if let Some(image) = self.store.read(|tx| rows::image(tx, ImageId::of_config(digest)))? {
            // The config of an image is kept with the image, which may go.
            let lease = self.store.lease("a push")?;
            self.blobs.put(&image.config, &lease)?;
            self.store.write(|tx| add_blob(tx, repository, digest))?;
            return Ok(true);
        }
        self.shelve_known(repository, digest)
    }

    /// Forgets a tag, or a document with its tags; tells whether it was there.
    pub fn unshelve(&self, repository: &str, wanted: Wanted<'_>) -> Result<bool, ImagesError> {
        self.store.write_synced(|tx| match wanted {
            Wanted::Tag(tag) => {
                let gone = tx
                    .prepare_cached("DELETE FROM shelf_tags WHERE repository = ?1 AND tag = ?2")?
                    .execute((repository, tag))?;
                Ok(gone > 0)
            }
            Wanted::Digest(digest) => {
                let digest = digest.as_bytes();
                tx.prepare_cached("DELETE FROM shelf_tags WHERE repository = ?1 AND digest = ?2")?
                    .execute((repository, digest))?;
                let gone = tx
                    .prepare_cached("DELETE FROM shelf_documents WHERE repository = ?1 AND digest = ?2")?
                    .execute((repository, digest))?;
                Ok(gone > 0)
            }
        })
    }

    /// Lists what was pushed here, by repository and digest.
    pub fn shelved(&self) -> Result<Vec<ShelvedItem>, ImagesError> {
        Ok(self.store.read(items)?)
    }

    /// Forgets all that was pushed to a repository; tells whether there was something.
    pub fn unshelve_all(&self, repository: &str) -> Result<bool, ImagesError> {
        self.store.write_synced(|tx| {
            let mut gone = 0;
            for table in TABLES {
                let text = format!("DELETE FROM {table} WHERE repository = ?1");
                gone += tx.prepare_cached(&text)?.execute([repository])?;
            }
            Ok(gone > 0)
        })
    }

    /// Forgets all that was pushed here, also by a push that is under way; tells what that was, by its names.
    pub fn clear_shelf(&self) -> Result<Vec<String>, ImagesError> {
        let items = self.store.write_synced(|tx| -> Result<_, ImagesError> {
            let items = items(tx)?;
            for table in TABLES {
                tx.execute(&format!("DELETE FROM {table}"), [])?;
            }
            Ok(items)
        })?;
        let mut names = Vec::new();
        for item in items {
            let name = item.repository.familiar_name();
            match &item.tags[..] {
                [] => names.push(format!("{name}@{}", item.digest)),
                tags => names.extend(tags.iter().map(|tag| format!("{name}:{tag}"))),
            }
        }
        Ok(names)
    }

    /// Lists the blobs of what was pushed here.
    pub fn shelved_blobs(&self) -> Result<HashSet<BlobDigest>, ImagesError> {
        Ok(self.store.read(needed)?.into_iter().map(|(_, digest)| digest).collect())
    }

    /// Takes blobs from repositories that have no document any more that names them; what has just come stays, as a push may
    /// be under way.
    pub fn tidy_shelf(&self) -> Result<(), ImagesError> {
        let before = rows::now_s() - PUSH;
        self.store.write(|tx| -> Result<(), ImagesError> {
            let needed = needed(tx)?;
            let mut statement =
                tx.prepare_cached("SELECT repository, digest FROM shelf_blobs WHERE put_at < ?1")?;
            let old = statement.query_map([before], |row| {
                Ok((row.get::<_, String>(0)?, BlobDigest::from_bytes(row.get(1)?)))
            })?;
            let mut remove =
                tx.prepare_cached("DELETE FROM shelf_blobs WHERE repository = ?1 AND digest = ?2")?;
            for link in old.collect::<rusqlite::Result<Vec<_>>>()? {
                if !needed.contains(&link) {
                    remove.execute((&link.0, link.1.as_bytes()))?;
                }
            }
            Ok(())
        })
    }

    /// Takes a blob from a repository; tells whether it was there.
    pub fn unshelve_blob(&self, repository: &str, digest: BlobDigest) -> Result<bool, ImagesError> {
        self.store.write_synced(|tx| {
            let gone = tx
                .prepare_cached("DELETE FROM shelf_blobs WHERE repository = ?1 AND digest = ?2")?
                .execute((repository, digest.as_bytes()))?;
            Ok(gone > 0)
        })
    }

    /// Lists what refers to a document of a repository.
    pub fn shelved_referrers(
        &self,
        repository: &str,
        subject: BlobDigest,
    ) -> Result<Vec<Descriptor>, ImagesError> {
        self.store.read(|tx| {
            let mut statement = tx.prepare_cached(
                "SELECT digest, media_type, bytes, kind FROM shelf_documents \
                 WHERE repository = ?1 AND subject = ?2 ORDER BY digest",
            )?;
            let mut rows = statement.query((repository, subject.as_bytes()))?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let bytes: Vec<u8> = row.get(2)?;
                let digest = BlobDigest::from_bytes(row.get(0)?);
                let mut entry = Descriptor::new(row.get::<_, String>(1)?, digest, bytes.len() as u64);
                if let Ok(Document::Manifest(Manifest { annotations, .. })) = Document::parse(&bytes, None) {
                    entry.annotations = annotations;
                }
                if let Some(kind) = row.get::<_, Option<String>>(3)? {
                    entry.extra.insert("artifactType".to_owned(), kind.into());
                }
                found.push(entry);
            }
            Ok(found)
        })
    }
}

/// What a document is asked for by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// A tag.
    Tag(&'a str),
    /// Its digest.
    Digest(BlobDigest),
}

/// The blobs that a manifest needs; those that may not be distributed lie elsewhere.
fn parts(manifest: &Manifest) -> impl Iterator<Item = BlobDigest> {
    std::iter::once(&manifest.config)
        .chain(&manifest.layers)
        .filter(|part| {
            let kind = part.media_type.as_str();
            !kind.contains(".nondistributable.") && !kind.contains(".foreign.")
        })
        .map(|part| part.digest)
}

/// Lists the documents, by repository and digest.
fn items(tx: &Transaction<'_>) -> Result<Vec<ShelvedItem>, DatabaseError> {
    let mut statement = tx.prepare_cached(
        "SELECT repository, digest, media_type, bytes FROM shelf_documents ORDER BY repository, digest",
    )?;
    let mut of_tags =
        tx.prepare_cached("SELECT tag FROM shelf_tags WHERE repository = ?1 AND digest = ?2 ORDER BY tag")?;
    let mut rows = statement.query([])?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        let (name, digest): (String, [u8; 32]) = (row.get(0)?, row.get(1)?);
        let Ok(repository) = name.parse() else { continue };
        let tags = of_tags.query_map((&name, digest), |row| row.get(0))?;
        let bytes: Vec<u8> = row.get(3)?;
        let size = match Document::parse(&bytes, None) {
            Ok(Document::Manifest(manifest)) => {
                manifest.config.size + manifest.layers.iter().map(|layer| layer.size).sum::<u64>()
            }
            _ => 0,
        };
        items.push(ShelvedItem {
            repository,
            tags: tags.collect::<rusqlite::Result<_>>()?,
            digest: BlobDigest::from_bytes(digest),
            media_type: row.get(2)?,
            size: size + bytes.len() as u64,
        });
    }
    Ok(items)
}

/// Lists the blobs that documents name, by repository.
fn needed(tx: &Transaction<'_>) -> Result<HashSet<(String, BlobDigest)>, DatabaseError> {
    let mut needed = HashSet::new();
    let mut statement = tx.prepare_cached("SELECT repository, bytes FROM shelf_documents")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (name, bytes): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
        if let Ok(Document::Manifest(manifest)) = Document::parse(&bytes, None) {
            needed.extend(parts(&manifest).map(|part| (name.clone(), part)));
        }
    }
    Ok(needed)
}

/// Returns a document, and when its tag was set if it was asked for by one.
pub(crate) fn find(
    tx: &Transaction<'_>,
    repository: &str,
    wanted: Wanted<'_>,
) -> Result<Option<(Shelved, i64)>, DatabaseError> {
    let (digest, put_at) = match wanted {
        Wanted::Digest(digest) => (digest, 0),
        Wanted::Tag(tag) => {
            let mut statement = tx
                .prepare_cached("SELECT digest, put_at FROM shelf_tags WHERE repository = ?1 AND tag = ?2")?;
            let row = statement.query_row((repository, tag), |row| {
                Ok((BlobDigest::from_bytes(row.get(0)?), row.get::<_, i64>(1)?))
            });
            let Some(found) = row.optional()? else { return Ok(None) };
            found
        }
    };
    Ok(document_row(tx, repository, digest)?.map(|document| (document, put_at)))
}

fn document_row(
    tx: &Transaction<'_>,
    repository: &str,
    digest: BlobDigest,
) -> Result<Option<Shelved>, DatabaseError> {
    let mut statement = tx.prepare_cached(
        "SELECT media_type, bytes FROM shelf_documents WHERE repository = ?1 AND digest = ?2",
    )?;
    let row = statement.query_row((repository, digest.as_bytes()), |row| {
        Ok(Shelved { digest, media_type: row.get(0)?, bytes: row.get(1)? })
    });
    Ok(row.optional()?)
}

/// Lists the tags of a repository.
pub(crate) fn tags(tx: &Transaction<'_>, repository: &str) -> Result<Vec<String>, DatabaseError> {
    let mut statement = tx.prepare_cached("SELECT tag FROM shelf_tags WHERE repository = ?1")?;
    let rows = statement.query_map([repository], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Lists the repositories that have documents.
pub(crate) fn repositories(tx: &Transaction<'_>) -> Result<Vec<String>, DatabaseError> {
    let mut statement = tx.prepare_cached("SELECT DISTINCT repository FROM shelf_documents")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn add_blob(tx: &Transaction<'_>, repository: &str, digest: BlobDigest) -> Result<(), DatabaseError> {
    tx.prepare_cached(
        "INSERT INTO shelf_blobs (repository, digest, put_at) VALUES (?1, ?2, ?3) \
         ON CONFLICT DO UPDATE SET put_at = excluded.put_at",
    )?
    .execute((repository, digest.as_bytes(), rows::now_s()))?;
    Ok(())
}

fn has_blob(tx: &Transaction<'_>, repository: &str, digest: BlobDigest) -> Result<bool, DatabaseError> {
    let mut statement =
        tx.prepare_cached("SELECT 1 FROM shelf_blobs WHERE repository = ?1 AND digest = ?2")?;
    Ok(statement.exists((repository, digest.as_bytes()))?)
}

/// Tells whether a blob may be had from here: it was pushed here, or is of an image's layer.
pub(crate) fn is_offered(tx: &Transaction<'_>, digest: BlobDigest) -> Result<bool, DatabaseError> {
    let mut statement = tx.prepare_cached(
        "SELECT 1 FROM shelf_blobs WHERE digest = ?1 UNION ALL \
         SELECT 1 FROM layer_blobs WHERE digest = ?1 AND diff IN (SELECT diff FROM image_layers) LIMIT 1",
    )?;
    Ok(statement.exists([digest.as_bytes()])?)
}

/// Whether a media type is one that documents have.
pub fn is_document(media_type: &str) -> bool {
    let media_type = MediaType::new(media_type);
    media_type.is_manifest() || media_type.is_index()
}
