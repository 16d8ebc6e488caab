//! The documents themselves.

use std::collections::BTreeMap;

use base64::Engine as _;
use rbuild_model::digest::BlobDigest;
use rbuild_model::platform::Platform;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::MAX_CHILDREN;
use super::json::{JsonError, parse_strict};
use super::media::MediaType;

/// A manifest or an index is not acceptable.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It is not acceptable JSON.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// It does not have the form of a manifest or an index.
    #[error("not a manifest or an index")]
    Form(#[source] serde_json::Error),
    /// It could be read as two things.
    #[error("the document is ambiguous: {0}")]
    Ambiguous(String),
    /// It is of a kind that is not supported.
    #[error("documents of type `{0}` are not supported")]
    Unsupported(MediaType),
    /// It is of Docker's first schema.
    #[error("manifests of schema version 1 are not supported: push the image again with a current program")]
    Schema1,
    /// It has too many children.
    #[error("the document has more than {MAX_CHILDREN} entries")]
    TooManyChildren,
    /// The bytes embedded in a descriptor are not those that it names.
    #[error("the data embedded for {0} is not what its digest and size say")]
    Data(BlobDigest),
}

/// What names a blob: its type, digest and size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptor {
    /// The type of the content.
    #[serde(rename = "mediaType", default = "no_media_type")]
    pub media_type: MediaType,
    /// The digest of the content.
    pub digest: BlobDigest,
    /// How many bytes it has.
    pub size: u64,
    /// The platform that a manifest of an index is for, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Value>,
    /// Free-form facts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Fields unknown here, `urls` among them: nothing is fetched from there.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

fn no_media_type() -> MediaType {
    MediaType::new("")
}

impl Descriptor {
    /// Names a content.
    pub fn new(media_type: impl Into<String>, digest: BlobDigest, size: u64) -> Self {
        Self {
            media_type: MediaType::new(media_type),
            digest,
            size,
            platform: None,
            annotations: BTreeMap::new(),
            extra: Map::new(),
        }
    }

    /// Names bytes that are at hand.
    pub fn of(media_type: impl Into<String>, bytes: &[u8]) -> Self {
        Self::new(media_type, BlobDigest::of(bytes), bytes.len() as u64)
    }

    /// Says which platform the content is for.
    #[must_use]
    pub fn for_platform(mut self, platform: &Platform) -> Self {
        let mut object = Map::new();
        object.insert("architecture".to_owned(), platform.architecture.as_str().into());
        object.insert("os".to_owned(), platform.os.as_str().into());
        if !platform.variant.is_empty() {
            object.insert("variant".to_owned(), platform.variant.as_str().into());
        }
        self.platform = Some(Value::Object(object));
        self
    }

    /// Returns the platform in normal form, if one is written there.
    pub fn platform(&self) -> Option<Platform> {
        let field = |name| self.platform.as_ref()?.get(name)?.as_str();
        Some(Platform::new(field("os")?, field("architecture")?, field("variant").unwrap_or_default()))
    }

    /// Returns the bytes embedded in the descriptor, if there are some, after comparing them with its digest.
    pub fn data(&self) -> Result<Option<Vec<u8>>, DocumentError> {
        let Some(data) = self.extra.get("data") else { return Ok(None) };
        let bytes =
            data.as_str().and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok());
        match bytes {
            Some(bytes) if bytes.len() as u64 == self.size && BlobDigest::of(&bytes) == self.digest => {
                Ok(Some(bytes))
            }
            _ => Err(DocumentError::Data(self.digest)),
        }
    }
}

/// What an image consists of on one platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always 2.
    #[serde(rename = "schemaVersion")]
    pub schema_version: u32,
    /// The document's own type.
    #[serde(rename = "mediaType", default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// The config.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// Free-form facts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Fields unknown here.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Manifest {
    /// Makes an OCI manifest.
    pub fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(MediaType::new(MediaType::OCI_MANIFEST)),
            config,
            layers,
            annotations: BTreeMap::new(),
            extra: Map::new(),
        }
    }

    /// Writes the document; equal values make equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("the document has only text keys")
    }

    /// Returns the document's type.
    pub fn media_type(&self) -> &str {
        self.media_type.as_ref().map_or(MediaType::OCI_MANIFEST, MediaType::as_str)
    }
}

/// A choice of manifests, one a platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Always 2.
    #[serde(rename = "schemaVersion")]
    pub schema_version: u32,
    /// The document's own type.
    #[serde(rename = "mediaType", default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<MediaType>,
    /// The choice.
    pub manifests: Vec<Descriptor>,
    /// Free-form facts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Fields unknown here.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Index {
    /// Makes an OCI index.
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: Some(MediaType::new(MediaType::OCI_INDEX)),
            manifests,
            annotations: BTreeMap::new(),
            extra: Map::new(),
        }
    }

    /// Writes the document; equal values make equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec_pretty(self).expect("the document has only text keys")
    }
}

/// A manifest or an index.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "documents are few and short-lived")]
pub enum Document {
    /// An image for one platform.
    Manifest(Manifest),
    /// A choice of images.
    Index(Index),
}

/// Keys that have a meaning in a document or a descriptor.
const KEYS: [&str; 12] = [
    "schemaVersion",
    "mediaType",
    "manifests",
    "layers",
    "config",
    "digest",
    "size",
    "platform",
    "urls",
    "data",
    "annotations",
    "subject",
];

impl Document {
    /// Reads a document; `content_type` is what the response that brought it, or the descriptor that named it,
    /// called it.
    pub fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Self, DocumentError> {
        let value = parse_strict(bytes)?;
        let ambiguous = |text: String| Err(DocumentError::Ambiguous(text));
        let Value::Object(object) = &value else { return ambiguous("it is not an object".to_owned()) };
        check_spelling(object)?;
        for list in ["manifests", "layers"] {
            if let Some(Value::Array(children)) = object.get(list) {
                if children.len() > MAX_CHILDREN {
                    return Err(DocumentError::TooManyChildren);
                }
                children.iter().filter_map(Value::as_object).try_for_each(check_spelling)?;
            }
        }
        if let Some(Value::Object(config)) = object.get("config") {
            check_spelling(config)?;
        }
        if object.get("schemaVersion").and_then(Value::as_u64) == Some(1) {
            return Err(DocumentError::Schema1);
        }

        let own = object.get("mediaType").and_then(Value::as_str).map(MediaType::new);
        // A parameter such as `; charset=utf-8` is not part of the type; types unknown here say nothing.
        let outer = content_type
            .map(|text| MediaType::new(text.split(';').next().unwrap_or_default().trim()))
            .filter(|media_type| media_type.is_manifest() || media_type.is_index());
        if let (Some(own), Some(outer)) = (&own, &outer)
            && own != outer
        {
            return ambiguous(format!("it calls itself `{own}` and came as `{outer}`"));
        }
        let kind = own.or(outer);
        let is_index = match (object.contains_key("manifests"), object.contains_key("layers")) {
            (true, true) => return ambiguous("it has both `manifests` and `layers`".to_owned()),
            (true, false) if object.contains_key("config") => {
                return ambiguous("it has both `manifests` and `config`".to_owned());
            }
            (is_index, _) => is_index,
        };
        match kind {
            Some(kind) if !kind.is_manifest() && !kind.is_index() => {
                return Err(DocumentError::Unsupported(kind));
            }
            Some(kind) if kind.is_index() != is_index => {
                return ambiguous(format!("it is of type `{kind}` and has the form of another"));
            }
            _ => {}
        }
        let document = if is_index {
            Self::Index(serde_json::from_value(value).map_err(DocumentError::Form)?)
        } else {
            Self::Manifest(serde_json::from_value(value).map_err(DocumentError::Form)?)
        };
        Ok(document)
    }
}

/// Refuses keys that some parsers would take for one that has a meaning.
fn check_spelling(object: &Map<String, Value>) -> Result<(), DocumentError> {
    for key in object.keys() {
        if KEYS.iter().any(|known| known.eq_ignore_ascii_case(key) && known != key) {
            return Err(DocumentError::Ambiguous(format!(
                "the key {key:?} differs only in case from a known one"
            )));
        }
    }
    Ok(())
}
