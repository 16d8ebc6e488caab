//! The catalog of a cache: its form, and what makes one acceptable.
//!
//! ```text
//! { "rbuild.cache": 1, "keys": 1, "writer": "rbuild 0.1.0",
//!   "layers":  [ { "diff_id": "sha256:…", "blob": {"mediaType": …, "digest": …, "size": …}, "encoding": "gzip:6" } ],
//!   "records": [ { "name": "[2/4] RUN make", "definitions": ["…"], "contents": ["…"], "canonical": "…",
//!                  "layers": [0, 1], "started_ns": …, "took_ns": … } ],
//!   "builds":  [ { "target": "", "started_ns": …, "steps": [ {"stage": "build", "name": "…", "record": 0} ] } ],
//!   "mounts":  [ { "name": "…", "id": "go", "list": {blob}, "bytes": … } ] }
//! ```
//!
//! A reader takes no catalog of another version, nor one whose keys are made in another way. A catalog that comes from
//! elsewhere is checked whole before any of it is used: bounds first, then that every number points somewhere, that no
//! key is claimed twice, and that no stack is higher than one that can be mounted.

use std::collections::HashSet;

use rbuild_image::manifest::{Descriptor, MAX_LAYERS, MediaType};
use rbuild_model::digest::DiffId;
use rbuild_model::key::{CacheKey, KEY_VERSION};
use rbuild_solver::KeyKind;
use serde::{Deserialize, Serialize};

/// The version of the form.
pub const VERSION: u32 = 1;
/// The media type of a catalog that is a blob.
pub const MEDIA_TYPE: &str = "application/vnd.rbuild.cache.catalog.v1+json";
/// The media type of the list of a cache mount.
pub const MOUNT_TYPE: &str = "application/vnd.rbuild.cache.mount.v1+json";
/// The media type of a chunk of a cache mount.
pub const CHUNK_TYPE: &str = "application/vnd.rbuild.cache.chunk.v1+zstd";

/// The most bytes of a catalog.
pub const MAX_BYTES: u64 = 64 << 20;
/// The most entries of any list.
const MAX_ENTRIES: usize = 100_000;
/// The most keys of one record.
const MAX_KEYS: usize = 1000;
/// The longest name.
const MAX_NAME: usize = 16 << 10;
/// The largest blob that is believed in: 1 TiB.
const MAX_BLOB: u64 = 1 << 40;

/// Why a catalog is not acceptable.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// It is too long.
    #[error("its catalog has more than {} MiB", MAX_BYTES >> 20)]
    TooLarge,
    /// It is no JSON of this form.
    #[error("its catalog cannot be read")]
    Form(#[source] serde_json::Error),
    /// It is of another version.
    #[error("its catalog is of version {0}, and this program reads version {VERSION}")]
    Version(u32),
    /// Its keys mean something else.
    #[error("its keys are of version {0}, and those of this program of version {KEY_VERSION}")]
    Keys(u32),
    /// It contradicts itself.
    #[error("its catalog is not sound: {0}")]
    Unsound(String),
}

/// What a cache holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalog {
    /// [`VERSION`].
    #[serde(rename = "rbuild.cache")]
    pub version: u32,
    /// [`KEY_VERSION`].
    pub keys: u32,
    /// Who wrote it, for people.
    #[serde(default)]
    pub writer: String,
    /// The layers that results are made of, each once.
    #[serde(default)]
    pub layers: Vec<Layer>,
    /// The results.
    #[serde(default)]
    pub records: Vec<Record>,
    /// The builds that they are of.
    #[serde(default)]
    pub builds: Vec<Build>,
    /// Cache mounts.
    #[serde(default)]
    pub mounts: Vec<Mount>,
}

impl Default for Catalog {
    fn default() -> Self {
        Self {
            version: VERSION,
            keys: KEY_VERSION,
            writer: concat!("rbuild ", env!("CARGO_PKG_VERSION")).to_owned(),
            layers: Vec::new(),
            records: Vec::new(),
            builds: Vec::new(),
            mounts: Vec::new(),
        }
    }
}

/// A layer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Layer {
    /// The digest of its tar.
    pub diff_id: DiffId,
    /// The tar as a blob; none for a layer of an image that its own registry has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<Blob>,
    /// In which form rbuild packed it, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// Whether it was made by itself, on nothing, and only then put on what is below it (`COPY --link`).
    #[serde(default, skip_serializing_if = "Standing::is_on_others")]
    pub standing: Standing,
}

/// What a layer was made on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// On those below it.
    #[default]
    OnOthers,
    /// On nothing.
    Alone,
}

impl Standing {
    fn is_on_others(&self) -> bool {
        *self == Self::OnOthers
    }
}

/// A blob, by what OCI documents say of one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Blob {
    /// What it is.
    #[serde(rename = "mediaType")]
    pub media_type: String,
    /// Its digest.
    pub digest: rbuild_model::digest::BlobDigest,
    /// Its size in bytes.
    pub size: u64,
}

impl Blob {
    /// Returns the same as a descriptor.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.media_type.clone(), self.digest, self.size)
    }
}

impl From<&Descriptor> for Blob {
    fn from(descriptor: &Descriptor) -> Self {
        let Descriptor { media_type, digest, size, .. } = descriptor;
        Self { media_type: media_type.as_str().to_owned(), digest: *digest, size: *size }
    }
}

/// A result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The display name of its step.
    pub name: String,
    /// Its definition keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub definitions: Vec<CacheKey>,
    /// Its content keys.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contents: Vec<CacheKey>,
    /// Its canonical key.
    pub canonical: CacheKey,
    /// Its layers, lowest first; none if only its keys travel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<u32>>,
    /// When its step began, in nanoseconds since the Unix epoch.
    #[serde(default)]
    pub started_ns: i64,
    /// How long it took.
    #[serde(default)]
    pub took_ns: u64,
    /// The processor time that it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ns: Option<u64>,
    /// The most memory it had at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory: Option<u64>,
    /// The size of its topmost layer on disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

impl Record {
    /// Returns its keys with their kinds.
    pub fn keys(&self) -> impl Iterator<Item = (KeyKind, CacheKey)> + '_ {
        let definitions = self.definitions.iter().map(|key| (KeyKind::Definition, *key));
        definitions.chain(self.contents.iter().map(|key| (KeyKind::Content, *key)))
    }
}

/// A build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Its target, empty for the last stage.
    #[serde(default)]
    pub target: String,
    /// When it began, in nanoseconds since the Unix epoch.
    #[serde(default)]
    pub started_ns: i64,
    /// Its steps, in order.
    pub steps: Vec<Step>,
}

/// A step of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The stage it belongs to.
    #[serde(default)]
    pub stage: String,
    /// Its display name.
    pub name: String,
    /// Its record, if it came to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<u32>,
}

/// A cache mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// The name of its folder, which stands for id, owner and mode.
    pub name: String,
    /// Its id, for people.
    #[serde(default)]
    pub id: String,
    /// The list of its chunks.
    pub list: Blob,
    /// The chunks themselves, so that backends know what the catalog holds on to.
    pub chunks: Vec<Blob>,
    /// How many bytes it has.
    #[serde(default)]
    pub bytes: u64,
}

impl Catalog {
    /// Writes it.
    ///
    /// # Panics
    ///
    /// Never: the form has only text keys.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("the form has only text keys")
    }

    /// Reads one that came from elsewhere, and checks it.
    pub fn parse(bytes: &[u8]) -> Result<Self, CatalogError> {
        if bytes.len() as u64 > MAX_BYTES {
            return Err(CatalogError::TooLarge);
        }
        #[derive(Deserialize)]
        struct Versions {
            #[serde(rename = "rbuild.cache")]
            version: u32,
            keys: u32,
        }
        let Versions { version, keys } = serde_json::from_slice(bytes).map_err(CatalogError::Form)?;
        if version != VERSION {
            return Err(CatalogError::Version(version));
        }
        if keys != KEY_VERSION {
            return Err(CatalogError::Keys(keys));
        }
        let catalog: Self = serde_json::from_slice(bytes).map_err(CatalogError::Form)?;
        catalog.check()?;
        Ok(catalog)
    }

    /// Lists the blobs that it names, each once.
    pub fn blobs(&self) -> Vec<Descriptor> {
        let layers = self.layers.iter().filter_map(|layer| layer.blob.as_ref());
        let mounts = self.mounts.iter().flat_map(|mount| std::iter::once(&mount.list).chain(&mount.chunks));
        let mut known = HashSet::new();
        layers.chain(mounts).filter(|blob| known.insert(blob.digest)).map(Blob::descriptor).collect()
    }

    /// Returns the layers of a record, if they travel.
    pub fn stack(&self, record: &Record) -> Option<Vec<&Layer>> {
        record.layers.as_ref()?.iter().map(|at| self.layers.get(*at as usize)).collect()
    }

    /// Says whether it holds together.
    pub fn check(&self) -> Result<(), CatalogError> {
        let unsound = |what: String| Err(CatalogError::Unsound(what));
        let Self { version: _, keys: _, writer, layers, records, builds, mounts } = self;
        let steps: usize = builds.iter().map(|build| build.steps.len()).sum();
        let chunks: usize = mounts.iter().map(|mount| mount.chunks.len()).sum();
        for (what, count) in [
            ("layers", layers.len()),
            ("records", records.len()),
            ("builds", builds.len()),
            ("steps", steps),
            ("mounts", mounts.len()),
            ("chunks", chunks),
        ] {
            if count > MAX_ENTRIES {
                return unsound(format!("it has more than {MAX_ENTRIES} {what}"));
            }
        }
        let names = records.iter().map(|record| &record.name);
        let steps = builds.iter().flat_map(|build| &build.steps);
        let names = names.chain(steps.clone().flat_map(|step| [&step.stage, &step.name]));
        let names = names.chain(mounts.iter().flat_map(|mount| [&mount.name, &mount.id]));
        if names.chain([writer]).any(|name| name.len() > MAX_NAME) {
            return unsound(format!("it has a name of more than {MAX_NAME} bytes"));
        }
        for layer in layers {
            if let Some(blob) = &layer.blob {
                check_blob(blob)?;
                if MediaType::new(blob.media_type.clone()).layer_format().is_none() {
                    return unsound(format!(
                        "layer {} is of the unknown type {:?}",
                        layer.diff_id, blob.media_type
                    ));
                }
            }
        }
        let mut claimed = HashSet::new();
        for record in records {
            if record.definitions.len() + record.contents.len() > MAX_KEYS {
                return unsound(format!("a record has more than {MAX_KEYS} keys"));
            }
            if let Some(key) = record.keys().find(|key| !claimed.insert(*key)) {
                return unsound(format!("two records claim the key {}", key.1));
            }
            let stack = record.layers.as_deref().unwrap_or_default();
            if stack.len() > MAX_LAYERS {
                return unsound(format!("a result has more than {MAX_LAYERS} layers"));
            }
            if let Some(at) = stack.iter().find(|at| **at as usize >= layers.len()) {
                return unsound(format!("a record names layer {at}, and there are {}", layers.len()));
            }
        }
        if steps.filter_map(|step| step.record).any(|at| at as usize >= records.len()) {
            return unsound("a step names a record that is not there".to_owned());
        }
        let mut known = HashSet::new();
        for mount in mounts {
            if !is_mount_name(&mount.name) || !known.insert(&mount.name) {
                return unsound(format!(
                    "{:?} is not the name of a cache mount, or stands there twice",
                    mount.name
                ));
            }
            check_blob(&mount.list)?;
            mount.chunks.iter().try_for_each(check_blob)?;
        }
        Ok(())
    }
}

fn check_blob(blob: &Blob) -> Result<(), CatalogError> {
    if blob.size > MAX_BLOB {
        return Err(CatalogError::Unsound(format!("{} is said to have {} bytes", blob.digest, blob.size)));
    }
    Ok(())
}

/// Whether a text can be the name of the folder of a cache mount: 32 hex digits.
fn is_mount_name(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests;
