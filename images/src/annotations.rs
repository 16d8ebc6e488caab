//! Annotations of what leaves: of manifests, of indexes, and of their entries.

use std::collections::BTreeMap;

use rbuild_image::archive::{OutgoingImage, OutgoingIndex};
use rbuild_model::platform::Platform;

/// What an annotation is written on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// The manifest of an image.
    Manifest,
    /// The entry of an image in an index.
    ManifestDescriptor,
    /// The index of several images.
    Index,
    /// The entry of the index in the list of an archive.
    IndexDescriptor,
}

/// A fact that is written on what leaves.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Annotation {
    /// On what.
    pub level: Level,
    /// On the image for which platform; on all if none is named.
    pub platform: Option<Platform>,
    /// What it is called.
    pub key: String,
    /// What it says.
    pub value: String,
}

/// Collects the annotations of a level, for a platform.
fn at(annotations: &[Annotation], level: Level, platform: Option<&Platform>) -> BTreeMap<String, String> {
    annotations
        .iter()
        .filter(|one| one.level == level)
        .filter(|one| one.platform.is_none() || one.platform.as_ref() == platform)
        .map(|one| (one.key.clone(), one.value.clone()))
        .collect()
}

/// Writes annotations on an image and on its entry.
pub fn annotate(image: &mut OutgoingImage, annotations: &[Annotation]) {
    let on_manifest = at(annotations, Level::Manifest, Some(&image.platform));
    if !on_manifest.is_empty() {
        image.manifest.annotations.extend(on_manifest);
        image.manifest_bytes = image.manifest.to_bytes();
    }
    image.entry_annotations.extend(at(annotations, Level::ManifestDescriptor, Some(&image.platform)));
}

/// Writes annotations on an index and on its entry.
pub fn annotate_index(index: &mut OutgoingIndex, annotations: &[Annotation]) {
    index.annotations.extend(at(annotations, Level::Index, None));
    index.entry_annotations.extend(at(annotations, Level::IndexDescriptor, None));
}
