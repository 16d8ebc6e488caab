//! What keys were made of: written once a key, with the texts of guarded values apart.

use rbuild_model::key::{CacheKey, Guarded, PreImage};
use rbuild_store::DatabaseError;
use rusqlite::{OptionalExtension, Transaction};

use super::{RecordError, Records};

/// A pre-image, ready to be stored.
pub(super) struct Prepared<'a> {
    pub(super) key: CacheKey,
    body: String,
    values: Vec<&'a Guarded>,
    contents: Vec<[u8; 32]>,
}

impl<'a> Prepared<'a> {
    pub(super) fn new(image: &'a PreImage, name: &str) -> Result<Self, RecordError> {
        let body = serde_json::to_string(image)
            .map_err(|source| RecordError::Encode { name: name.to_owned(), source })?;
        let mut values = Vec::new();
        image.guarded_values(&mut values);
        let mut contents = Vec::new();
        collect_contents(image, &mut contents);
        Ok(Self { key: image.key(), body, values, contents })
    }

    pub(super) fn store(&self, transaction: &Transaction<'_>) -> Result<(), DatabaseError> {
        let key = self.key.as_bytes();
        let new = transaction
            .prepare_cached("INSERT INTO pre_images VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
            .execute((key, &self.body))?;
        if new == 0 {
            return Ok(());
        }
        let mut value = transaction
            .prepare_cached("INSERT INTO guarded_values VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
        let mut value_use =
            transaction.prepare_cached("INSERT INTO value_uses VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
        for guarded in &self.values {
            if let Some(text) = guarded.text() {
                value.execute((guarded.hash().as_bytes(), text))?;
            }
            value_use.execute((guarded.hash().as_bytes(), key))?;
        }
        let mut content =
            transaction.prepare_cached("INSERT INTO contents VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
        for hash in &self.contents {
            content.execute((hash, key))?;
        }
        Ok(())
    }
}

fn collect_contents(image: &PreImage, found: &mut Vec<[u8; 32]>) {
    match image {
        PreImage::Content(hash) => found.push(*hash.as_bytes()),
        PreImage::List(items) => items.iter().for_each(|item| collect_contents(item, found)),
        PreImage::Fields(fields) => fields.iter().for_each(|(_, value)| collect_contents(value, found)),
        PreImage::Absent
        | PreImage::Flag(_)
        | PreImage::Number(_)
        | PreImage::Text(_)
        | PreImage::Guarded(_)
        | PreImage::Key(_) => {}
    }
}

impl Records {
    /// Returns what a key was made of; [`Records::value`] knows the texts of its guarded values.
    pub fn pre_image(&self, key: CacheKey) -> Result<Option<PreImage>, RecordError> {
        let body: Option<String> = self.store.read(|transaction| -> Result<_, DatabaseError> {
            let mut statement = transaction.prepare_cached("SELECT body FROM pre_images WHERE key = ?1")?;
            Ok(statement.query_row([key.as_bytes()], |row| row.get(0)).optional()?)
        })?;
        body.map(|body| serde_json::from_str(&body).map_err(|source| RecordError::Decode { key, source }))
            .transpose()
    }

    /// Returns the text that a guarded value of a pre-image stands for, if it is known here.
    pub fn value(&self, guarded: &Guarded) -> Result<Option<String>, RecordError> {
        self.store.read(|transaction| {
            let mut statement =
                transaction.prepare_cached("SELECT text FROM guarded_values WHERE hash = ?1")?;
            Ok(statement.query_row([guarded.hash().as_bytes()], |row| row.get(0)).optional()?)
        })
    }
}
