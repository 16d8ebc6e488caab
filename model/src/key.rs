//! What a result is found by, and what that was made of.
//!
//! A key is never computed from loose bytes: a [`PreImage`] is built first, and the key is the blake3 hash of its
//! canonical encoding. So the record's typed pre-image is by construction what was hashed, and `why` can compare two
//! of them field by field. The encoding is injective: every value carries its kind and its length.
//!
//! | In the key of | Definition key | Content key |
//! |---|---|---|
//! | any step | the operation's keyed fields, the canonical key of each input's matched result | the operation's keyed fields, for each selecting input the content hash of what it selects, the canonical key of each other input |
//! | image source | ChainId and platform (its canonical key; it is found by its pin) | none |
//! | local source | none: its content is known only where it is selected | none |
//!
//! What of an operation is keyed is said, field by field, in [`crate::step`].

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::digest::digest_type;

digest_type!(
    /// The key that a step's result is found by: of its definition, or of its content.
    CacheKey,
    "",
    "cache key (64 lower-case hex digits)"
);
digest_type!(
    /// The hash of what a selection of paths of a tree holds: names, kinds, modes, owners, bytes; no times.
    ContentHash,
    "",
    "content hash (64 lower-case hex digits)"
);

/// The version of the encoding and of every rule that feeds it; a part of each key.
///
/// It changes when an equal step could come to mean something else.
pub const KEY_VERSION: u32 = 1;

/// What a key is made of: a typed value that people can be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PreImage {
    /// Nothing was given where something could be.
    Absent,
    /// A yes or no.
    Flag(bool),
    /// A number.
    Number(i64),
    /// A text that may be shown.
    Text(String),
    /// A text that may be a secret (a value of ARG or ENV): kept in the value table, not in the record.
    Guarded(Guarded),
    /// The key of another result.
    Key(CacheKey),
    /// The content of a selection.
    Content(ContentHash),
    /// A list in order.
    List(Vec<Self>),
    /// Named fields in order.
    Fields(Vec<(Cow<'static, str>, Self)>),
}

/// A text that records refer to by its hash only.
///
/// Serialised, it is the hash alone; two are equal when their hashes are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Guarded {
    hash: ContentHash,
    #[serde(skip)]
    text: Option<String>,
}

impl Guarded {
    /// Guards a text.
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let hash = ContentHash::from_bytes(*blake3::hash(text.as_bytes()).as_bytes());
        Self { hash, text: Some(text) }
    }

    /// Returns the hash that stands for the text.
    pub const fn hash(&self) -> ContentHash {
        self.hash
    }

    /// Returns the text, if this value was not read back from a record.
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }
}

impl PartialEq for Guarded {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
    }
}

impl Eq for Guarded {}

impl PreImage {
    /// Makes a text value.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Makes a guarded text value.
    pub fn guarded(text: impl Into<String>) -> Self {
        Self::Guarded(Guarded::new(text))
    }

    /// Makes a list of texts.
    pub fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::List(texts.into_iter().map(Self::text).collect())
    }

    /// Makes a value that may be missing.
    pub fn optional<T>(value: Option<T>, describe: impl FnOnce(T) -> Self) -> Self {
        value.map_or(Self::Absent, describe)
    }

    /// Makes a value of named fields.
    pub fn fields(fields: impl IntoIterator<Item = (&'static str, Self)>) -> Self {
        Self::Fields(fields.into_iter().map(|(name, value)| (Cow::Borrowed(name), value)).collect())
    }

    /// Computes the key that this value is the pre-image of.
    pub fn key(&self) -> CacheKey {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"rbuild key\0");
        hasher.update(&KEY_VERSION.to_le_bytes());
        self.encode(&mut |bytes| {
            hasher.update(bytes);
        });
        CacheKey::from_bytes(*hasher.finalize().as_bytes())
    }

    /// Collects the guarded texts within, for the value table.
    pub fn guarded_values<'a>(&'a self, found: &mut Vec<&'a Guarded>) {
        match self {
            Self::Guarded(value) => found.push(value),
            Self::List(items) => items.iter().for_each(|item| item.guarded_values(found)),
            Self::Fields(fields) => fields.iter().for_each(|(_, value)| value.guarded_values(found)),
            Self::Absent
            | Self::Flag(_)
            | Self::Number(_)
            | Self::Text(_)
            | Self::Key(_)
            | Self::Content(_) => {}
        }
    }

    fn encode(&self, out: &mut impl FnMut(&[u8])) {
        fn length(out: &mut impl FnMut(&[u8]), length: usize) {
            out(&(length as u64).to_le_bytes());
        }
        match self {
            Self::Absent => out(&[0]),
            Self::Flag(value) => out(&[1, u8::from(*value)]),
            Self::Number(value) => {
                out(&[2]);
                out(&value.to_le_bytes());
            }
            Self::Text(text) => {
                out(&[3]);
                length(out, text.len());
                out(text.as_bytes());
            }
            Self::Guarded(value) => {
                out(&[4]);
                out(value.hash.as_bytes());
            }
            Self::Key(key) => {
                out(&[5]);
                out(key.as_bytes());
            }
            Self::Content(hash) => {
                out(&[6]);
                out(hash.as_bytes());
            }
            Self::List(items) => {
                out(&[7]);
                length(out, items.len());
                for item in items {
                    item.encode(out);
                }
            }
            Self::Fields(fields) => {
                out(&[8]);
                length(out, fields.len());
                for (name, value) in fields {
                    length(out, name.len());
                    out(name.as_bytes());
                    value.encode(out);
                }
            }
        }
    }
}

/// A value that says what of it is hashed.
///
/// Implementations destructure `self` without `..`, so that a new field does not compile until somebody has decided
/// whether it changes the result.
pub trait Keyed {
    /// Describes what of the value changes the result.
    fn pre_image(&self) -> PreImage;
}

impl<T: Keyed> Keyed for [T] {
    fn pre_image(&self) -> PreImage {
        PreImage::List(self.iter().map(Keyed::pre_image).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pre_image() -> impl Strategy<Value = PreImage> {
        let leaf = prop_oneof![
            Just(PreImage::Absent),
            any::<bool>().prop_map(PreImage::Flag),
            any::<i64>().prop_map(PreImage::Number),
            "[a-b]{0,3}".prop_map(PreImage::text),
            "[a-b]{0,3}".prop_map(PreImage::guarded),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(PreImage::List),
                prop::collection::vec(("[a-b]{0,2}".prop_map(Cow::Owned), inner), 0..3)
                    .prop_map(PreImage::Fields),
            ]
        })
    }

    proptest! {
        #[test]
        fn equal_keys_mean_equal_values(a in pre_image(), b in pre_image()) {
            prop_assert_eq!(a.key() == b.key(), a == b);
        }
    }

    #[test]
    fn texts_do_not_run_together() {
        assert_ne!(PreImage::texts(["ab", "c"]).key(), PreImage::texts(["a", "bc"]).key());
        assert_ne!(PreImage::text("1").key(), PreImage::Number(1).key());
        assert_ne!(PreImage::Absent.key(), PreImage::text("").key());
    }

    #[test]
    fn the_encoding_is_pinned() {
        let value = PreImage::fields([
            ("argv", PreImage::texts(["/bin/sh", "-c", "true"])),
            ("env", PreImage::List(vec![PreImage::guarded("A=1")])),
            ("root", PreImage::Key(CacheKey::from_bytes([7; 32]))),
        ]);
        insta::assert_snapshot!(value.key(), @"b1338165134a359709038644a0d998df934f98b08144bb5947d9b8e4a117aa51");
    }

    #[test]
    fn a_guarded_text_is_not_written_out() {
        let value = PreImage::guarded("hunter2");
        let text = serde_json::to_string(&value).unwrap();
        assert!(!text.contains("hunter2"));
        assert_eq!(serde_json::from_str::<PreImage>(&text).unwrap().key(), value.key());
    }
}
