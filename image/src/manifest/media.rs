//! Media types of documents and layers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How the tar of a layer is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LayerFormat {
    /// Not at all.
    Tar,
    /// With gzip.
    Gzip,
    /// With zstd.
    Zstd,
}

/// Who named a set of media types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// The OCI image specification.
    Oci,
    /// Docker's image manifest, version 2, schema 2.
    Docker,
}

/// The media type of a document, a config or a layer, as written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MediaType(String);

macro_rules! media_types {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        impl MediaType {
            $($(#[$doc])* pub const $name: &'static str = $text;)*
        }
    };
}

media_types! {
    /// An OCI manifest.
    OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json";
    /// An OCI index.
    OCI_INDEX = "application/vnd.oci.image.index.v1+json";
    /// An OCI image config.
    OCI_CONFIG = "application/vnd.oci.image.config.v1+json";
    /// An OCI layer, unpacked.
    OCI_LAYER = "application/vnd.oci.image.layer.v1.tar";
    /// An OCI layer packed with gzip.
    OCI_LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip";
    /// An OCI layer packed with zstd.
    OCI_LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// A Docker manifest.
    DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json";
    /// A Docker manifest list.
    DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// A Docker image config.
    DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json";
    /// A Docker layer, unpacked.
    DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar";
    /// A Docker layer packed with gzip.
    DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    /// A Docker layer packed with zstd, as BuildKit names it.
    DOCKER_LAYER_ZSTD = "application/vnd.docker.image.rootfs.diff.tar.zstd";
}

impl MediaType {
    /// The documents that a registry is asked for.
    pub const DOCUMENTS: [&'static str; 4] =
        [Self::OCI_INDEX, Self::OCI_MANIFEST, Self::DOCKER_LIST, Self::DOCKER_MANIFEST];

    /// Takes a media type as written.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether documents of the type are manifests.
    pub fn is_manifest(&self) -> bool {
        matches!(self.0.as_str(), Self::OCI_MANIFEST | Self::DOCKER_MANIFEST)
    }

    /// Returns whether documents of the type are indexes.
    pub fn is_index(&self) -> bool {
        matches!(self.0.as_str(), Self::OCI_INDEX | Self::DOCKER_LIST)
    }

    /// Returns how layers of the type are packed; `None` if it is no layer's type.
    ///
    /// Types of layers that may not be pushed to other registries mean the same here as the others.
    pub fn layer_format(&self) -> Option<LayerFormat> {
        let text = self.0.as_str();
        Some(match text {
            Self::OCI_LAYER | Self::DOCKER_LAYER => LayerFormat::Tar,
            Self::OCI_LAYER_GZIP | Self::DOCKER_LAYER_GZIP => LayerFormat::Gzip,
            Self::OCI_LAYER_ZSTD | Self::DOCKER_LAYER_ZSTD => LayerFormat::Zstd,
            "application/vnd.oci.image.layer.nondistributable.v1.tar"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar" => LayerFormat::Tar,
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" => LayerFormat::Gzip,
            "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd" => LayerFormat::Zstd,
            _ => return None,
        })
    }

    /// Returns OCI's type of a layer packed so.
    pub fn of_layer(format: LayerFormat) -> Self {
        Self::of_layer_in(Family::Oci, format)
    }

    /// Returns a family's type of a layer packed so.
    pub fn of_layer_in(family: Family, format: LayerFormat) -> Self {
        Self::new(match (family, format) {
            (Family::Oci, LayerFormat::Tar) => Self::OCI_LAYER,
            (Family::Oci, LayerFormat::Gzip) => Self::OCI_LAYER_GZIP,
            (Family::Oci, LayerFormat::Zstd) => Self::OCI_LAYER_ZSTD,
            (Family::Docker, LayerFormat::Tar) => Self::DOCKER_LAYER,
            (Family::Docker, LayerFormat::Gzip) => Self::DOCKER_LAYER_GZIP,
            (Family::Docker, LayerFormat::Zstd) => Self::DOCKER_LAYER_ZSTD,
        })
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_debug())
    }
}
