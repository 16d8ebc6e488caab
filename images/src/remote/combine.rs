//! Indexes of images that are at registries by now.

use std::collections::BTreeMap;
use std::path::Path;

use rbuild_image::manifest::{Descriptor, Document, Index, MediaType};
use rbuild_model::platform::Platform;
use rbuild_model::reference::Reference;

use super::copy::{Piece, nameless};
use super::{Remote, described};
use crate::error::ImagesError;
use crate::progress::Progress;
use crate::pull::registry;
use crate::push::PushedImage;

/// What becomes of a single image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Preference {
    /// An index with one entry.
    #[default]
    Index,
    /// It stays what it is.
    Copy,
}

/// An image or an index that goes into a new index.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where it is.
    pub reference: Reference,
    /// What is said of it in the index, in place of what its config and its own index say.
    pub stated: Option<Descriptor>,
}

impl From<Reference> for Entry {
    fn from(reference: Reference) -> Self {
        Self { reference, stated: None }
    }
}

/// A document that names what is to be combined.
#[derive(Clone, Debug)]
pub struct Combined {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its type.
    pub media_type: MediaType,
    /// Where what it names is.
    pieces: Vec<(Reference, rbuild_image::distribution::Fetched)>,
}

impl Remote {
    /// Makes an index of what is somewhere by now; nothing is written to any registry.
    ///
    /// Indexes among them give their entries, those for other platforms left out where some are named. The index is a manifest list where all entries are Docker's.
    pub fn combine(
        &self,
        entries: &[Entry],
        annotations: &BTreeMap<String, String>,
        of_entries: &dyn Fn(&Platform) -> BTreeMap<String, String>,
        platforms: &[Platform],
        preference: Preference,
    ) -> Result<Combined, ImagesError> {
        self.runtime.wait(async {
            let mut pieces = Vec::new();
            for entry in entries {
                let fetched = self.client.manifest(&entry.reference).await;
                pieces.push((
                    entry.reference.clone(),
                    fetched.map_err(|error| registry(&entry.reference, error))?,
                ));
            }
            if let [(_, only)] = &pieces[..]
                && annotations.is_empty()
                && platforms.is_empty()
                && (matches!(only.document, Document::Index(_)) || preference == Preference::Copy)
            {
                return Ok(Combined {
                    bytes: only.bytes.clone(),
                    media_type: only.media_type.clone(),
                    pieces,
                });
            }
            let mut listed: Vec<Descriptor> = Vec::new();
            for (entry, (reference, fetched)) in entries.iter().zip(&pieces) {
                let more = match (&fetched.document, &entry.stated) {
                    (Document::Index(index), None) => index.manifests.clone(),
                    (Document::Manifest(_), Some(stated)) => vec![Descriptor {
                        platform: stated.platform.clone(),
                        annotations: stated.annotations.clone(),
                        ..described(fetched)
                    }],
                    (Document::Manifest(manifest), None) => {
                        let mut descriptor = described(fetched);
                        // What is no image has no platform.
                        if matches!(
                            manifest.config.media_type.as_str(),
                            MediaType::OCI_CONFIG | MediaType::DOCKER_CONFIG
                        ) {
                            let config = self.client.small_blob(reference, &manifest.config).await;
                            let config = config.map_err(|error| registry(reference, error))?;
                            let config = crate::pull::parse_config(&reference.familiar(), &config)?;
                            descriptor = descriptor.for_platform(&config.platform());
                        }
                        vec![descriptor]
                    }
                    (Document::Index(_), Some(_)) => {
                        return Err(ImagesError::Inconsistent {
                            what: reference.familiar(),
                            why: "an index cannot be an entry of a list".to_owned(),
                        });
                    }
                };
                for descriptor in more {
                    match listed.iter_mut().find(|other| other.digest == descriptor.digest) {
                        Some(other) => other.platform = descriptor.platform.or(other.platform.take()),
                        None => listed.push(descriptor),
                    }
                }
            }
            if !platforms.is_empty() {
                listed.retain(|entry| entry.platform().is_some_and(|platform| platforms.contains(&platform)));
            }
            for entry in &mut listed {
                if let Some(platform) = entry.platform() {
                    entry.annotations.extend(of_entries(&platform));
                }
            }
            let all_dockers =
                listed.iter().all(|entry| entry.media_type.as_str() == MediaType::DOCKER_MANIFEST);
            let plain = annotations.is_empty() && listed.iter().all(|entry| entry.annotations.is_empty());
            let media_type = if all_dockers && plain { MediaType::DOCKER_LIST } else { MediaType::OCI_INDEX };
            let mut index = Index::new(listed);
            index.media_type = Some(MediaType::new(media_type));
            index.annotations.clone_from(annotations);
            Ok(Combined { bytes: index.to_bytes(), media_type: MediaType::new(media_type), pieces })
        })
    }

    /// Puts what was combined under names, and brings what it names along.
    pub fn place(
        &self,
        combined: &Combined,
        targets: &[Reference],
        spool: &Path,
        progress: &dyn Progress,
    ) -> Result<Option<PushedImage>, ImagesError> {
        let mut pushed = None;
        for target in targets {
            self.runtime.wait(async {
                for (source, fetched) in &combined.pieces {
                    let piece = Piece { source: source.clone(), fetched: fetched.clone() };
                    self.copy_below(piece, target, spool, progress).await?;
                    let is_new = fetched.bytes != combined.bytes;
                    if is_new && matches!(fetched.document, Document::Manifest(_)) {
                        let nameless = nameless(target);
                        let kind = fetched.media_type.as_str();
                        let done = self.client.push_manifest(&nameless, &fetched.bytes, kind).await;
                        done.map_err(|source| ImagesError::Push { what: target.familiar(), source })?;
                    }
                }
                let done =
                    self.client.push_manifest(target, &combined.bytes, combined.media_type.as_str()).await;
                let digest = done.map_err(|source| ImagesError::Push { what: target.familiar(), source })?;
                pushed = Some(PushedImage { digest, size: combined.bytes.len() as u64 });
                Ok::<_, ImagesError>(())
            })?;
        }
        Ok(pushed)
    }
}
