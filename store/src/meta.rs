//! What `meta.json` says: the format of a store, its features, its random id.
//!
//! Features work as those of ext4: a binary that does not know a *compatible* feature may do everything, one that
//! does not know an *incompatible* one must not open the store. The format number is the last resort and rises only
//! when the tree itself changes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::error::{Context, ErrorKind, FileError};
use crate::id::UniqueId;

/// The format that this binary writes.
pub const FORMAT: u32 = 1;

/// The incompatible features that this binary knows.
const KNOWN: &[&str] = &[];

/// No `meta.json` is longer; what is longer is not one.
const MAX_BYTES: u64 = 64 * 1024;

/// Why a `meta.json` does not let this binary use the store.
#[derive(Debug, Error)]
pub enum MetaError {
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The text is not what a store writes.
    #[error("`{}` is damaged: {why}; restore it from a backup, or move the folder away to start afresh", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The store was made by a later rbuild.
    #[error("`{}` has store format {found}, and this rbuild knows formats up to {FORMAT}: use the newer rbuild that wrote it", path.display())]
    Future {
        /// The file.
        path: PathBuf,
        /// The format it names.
        found: u32,
    },
    /// The store uses features that this binary does not know.
    #[error("`{}` needs features that this rbuild does not know: [{}]; use the newer rbuild that wrote it", path.display(), features.join(", "))]
    Features {
        /// The file.
        path: PathBuf,
        /// The unknown features.
        features: Vec<String>,
    },
}

/// The identity of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The format of the tree.
    pub format: u32,
    /// Features that a binary need not know.
    pub compatible: Vec<String>,
    /// Features that a binary must know.
    pub incompatible: Vec<String>,
    /// The random id.
    pub id: StoreId,
}

/// The random id of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StoreId(UniqueId);

impl StoreId {
    /// Returns the eight digits that prefix every kernel-global name of this store.
    pub fn short(&self) -> String {
        let mut text = self.0.to_string();
        text.truncate(8);
        text
    }
}

impl std::fmt::Display for StoreId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The text of the file.
#[derive(Serialize, Deserialize)]
struct Wire {
    format: u32,
    #[serde(default)]
    compatible: Vec<String>,
    #[serde(default)]
    incompatible: Vec<String>,
    id: String,
}

impl Meta {
    /// Makes the identity of a new store.
    pub(crate) fn fresh() -> Result<Self, FileError> {
        let id = StoreId(UniqueId::random()?);
        Ok(Self { format: FORMAT, compatible: Vec::new(), incompatible: Vec::new(), id })
    }

    /// Reads the file; `None` if there is none.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>, MetaError> {
        let text = match bounded_read(path) {
            Err(error) if error.kind == ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        Self::parse(path, &text).map(Some)
    }

    fn parse(path: &Path, text: &[u8]) -> Result<Self, MetaError> {
        let damaged = |why: String| MetaError::Damaged { path: path.to_owned(), why };
        // The format is read by itself first: a later format may have changed everything else.
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format } = serde_json::from_slice(text).map_err(|error| damaged(error.to_string()))?;
        if format > FORMAT {
            return Err(MetaError::Future { path: path.to_owned(), found: format });
        }
        let Wire { format, compatible, incompatible, id } =
            serde_json::from_slice(text).map_err(|error| damaged(error.to_string()))?;
        if format == 0 {
            return Err(damaged("format 0 was never written".to_owned()));
        }
        let unknown: Vec<String> =
            incompatible.iter().filter(|name| !KNOWN.contains(&name.as_str())).cloned().collect();
        if !unknown.is_empty() {
            return Err(MetaError::Features { path: path.to_owned(), features: unknown });
        }
        let id = UniqueId::parse(&id)
            .ok_or_else(|| damaged("the store id is not 32 hexadecimal digits".to_owned()))?;
        Ok(Self { format, compatible, incompatible, id: StoreId(id) })
    }

    /// Returns the text of the file.
    pub(crate) fn to_text(&self) -> Vec<u8> {
        let wire = Wire {
            format: self.format,
            compatible: self.compatible.clone(),
            incompatible: self.incompatible.clone(),
            id: self.id.to_string(),
        };
        let mut text = serde_json::to_vec_pretty(&wire).expect("numbers and strings have a JSON form");
        text.push(b'\n');
        text
    }
}

fn bounded_read(path: &Path) -> Result<Vec<u8>, FileError> {
    use std::io::Read;
    let file = fs::File::open(path).at("open", path)?;
    let mut text = Vec::with_capacity(512);
    file.take(MAX_BYTES + 1).read_to_end(&mut text).at("read", path)?;
    if text.len() as u64 > MAX_BYTES {
        let error = io::Error::new(io::ErrorKind::InvalidData, "the file is longer than any store's");
        return Err(FileError::new("read", path, error));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(text: &str) -> String {
        match Meta::parse(Path::new("/s/meta.json"), text.as_bytes()) {
            Ok(meta) => format!("format {} id {}", meta.format, meta.id.short()),
            Err(error) => error.to_string().split(';').next().unwrap_or_default().to_owned(),
        }
    }

    #[test]
    fn texts_and_verdicts() {
        let id = "0123456789abcdef0123456789abcdef";
        for (text, expected) in [
            (format!(r#"{{"format":1,"id":"{id}"}}"#), "format 1 id 01234567"),
            (format!(r#"{{"format":1,"id":"{id}","compatible":["later"]}}"#), "format 1 id 01234567"),
            (
                format!(r#"{{"format":1,"id":"{id}","incompatible":["encrypted"]}}"#),
                "`/s/meta.json` needs features that this rbuild does not know: [encrypted]",
            ),
            (
                r#"{"format":2,"everything":"else"}"#.to_owned(),
                "`/s/meta.json` has store format 2, and this rbuild knows formats up to 1: use the newer rbuild that wrote it",
            ),
            (
                r#"{"format":1,"id":"ABC"}"#.to_owned(),
                "`/s/meta.json` is damaged: the store id is not 32 hexadecimal digits",
            ),
            (r#"{"format":0,"id":"x"}"#.to_owned(), "`/s/meta.json` is damaged: format 0 was never written"),
            (String::new(), "`/s/meta.json` is damaged: EOF while parsing a value at line 1 column 0"),
        ] {
            assert_eq!(verdict(&text), expected);
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let meta = Meta::fresh().unwrap();
        assert_eq!(Meta::parse(Path::new("m"), &meta.to_text()).unwrap(), meta);
    }
}
