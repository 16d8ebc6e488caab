//! Catalogs as OCI documents: what a registry and an OCI layout hold.
//!
//! A cache is an image manifest whose config is the catalog and whose layers are all blobs that it names, so that
//! whoever collects garbage keeps them. With `image-manifest=false` it is an index with the same descriptors, as BuildKit
//! wrote caches first.

use rbuild_image::attest;
use rbuild_image::manifest::{Descriptor, Document, Index, Manifest, MediaType};

use super::{BackendError, catalog};

/// The media type of the config of a cache that BuildKit wrote.
const BUILDKIT_CONFIG: &str = "application/vnd.buildkit.cacheconfig.v0";
/// The most documents that one reference may stand for.
const MAX_DOCUMENTS: usize = 32;
/// The descriptor of nothing, which stands where a list must not be empty.
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// What it holds.
pub(super) const EMPTY: &[u8] = b"{}";

/// In which form a cache is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Whether it is an image manifest, or else an index.
    pub document: DocumentForm,
    /// Whether the types are OCI's, or else Docker's.
    pub family: rbuild_image::manifest::Family,
}

/// The document that a cache is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DocumentForm {
    /// An image manifest: every registry takes one.
    #[default]
    Manifest,
    /// An index whose entries are blobs.
    Index,
}

impl Default for Form {
    fn default() -> Self {
        Self { document: DocumentForm::Manifest, family: rbuild_image::manifest::Family::Oci }
    }
}

/// A document and its media type.
pub(super) struct Written {
    pub(super) bytes: Vec<u8>,
    pub(super) media_type: String,
}

/// Writes the document of a cache.
pub(super) fn write(form: Form, config: Descriptor, blobs: &[Descriptor]) -> Result<Written, BackendError> {
    use rbuild_image::manifest::Family;
    if blobs.len() + 1 > rbuild_image::manifest::MAX_CHILDREN {
        return Err(BackendError::Unusable(format!(
            "the cache has {} blobs, and a manifest names {} at most: leave mounts out with `mounts=false`",
            blobs.len(),
            rbuild_image::manifest::MAX_CHILDREN
        )));
    }
    let (bytes, media_type) = match form.document {
        DocumentForm::Manifest => {
            let mut layers = blobs.to_vec();
            if layers.is_empty() {
                layers.push(Descriptor::of(EMPTY_TYPE, EMPTY));
            }
            let mut manifest = Manifest::new(config, layers);
            if form.family == Family::Docker {
                manifest.media_type = Some(MediaType::new(MediaType::DOCKER_MANIFEST));
            }
            (manifest.to_bytes(), manifest.media_type().to_owned())
        }
        DocumentForm::Index => {
            let mut entries = blobs.to_vec();
            entries.push(config);
            let mut index = Index::new(entries);
            let media_type = match form.family {
                Family::Oci => MediaType::OCI_INDEX,
                Family::Docker => MediaType::DOCKER_LIST,
            };
            index.media_type = Some(MediaType::new(media_type));
            (index.to_bytes(), media_type.to_owned())
        }
    };
    Ok(Written { bytes, media_type })
}

/// What a document stands for.
pub(super) enum Meaning {
    /// A cache of ours: the catalog.
    Ours(Descriptor),
    /// A cache of BuildKit's: its config.
    BuildKit(Descriptor),
    /// An image: its config and its layers.
    Image(Descriptor, Vec<Descriptor>),
    /// Several documents.
    Several(Vec<Descriptor>),
}

/// Says what a document stands for.
pub(super) fn meaning(document: Document) -> Result<Meaning, BackendError> {
    match document {
        Document::Manifest(manifest) => Ok(match manifest.config.media_type.as_str() {
            catalog::MEDIA_TYPE => Meaning::Ours(manifest.config),
            BUILDKIT_CONFIG => Meaning::BuildKit(manifest.config),
            _ => Meaning::Image(manifest.config, manifest.layers),
        }),
        Document::Index(index) => {
            let of_type = |kind: &str| index.manifests.iter().find(|entry| entry.media_type.as_str() == kind);
            if let Some(ours) = of_type(catalog::MEDIA_TYPE) {
                return Ok(Meaning::Ours(ours.clone()));
            }
            if let Some(config) = of_type(BUILDKIT_CONFIG) {
                return Ok(Meaning::BuildKit(config.clone()));
            }
            // Beside an image may stand what is said about it: that has no cache.
            let documents: Vec<Descriptor> = index
                .manifests
                .into_iter()
                .filter(|entry| entry.media_type.is_manifest() && !attest::is_attestation(entry))
                .collect();
            if documents.len() > MAX_DOCUMENTS {
                return Err(BackendError::Unusable(format!(
                    "it stands for {} images, and {MAX_DOCUMENTS} are looked at",
                    documents.len()
                )));
            }
            Ok(Meaning::Several(documents))
        }
    }
}
