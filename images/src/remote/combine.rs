//! Indexes of images that are at registries by now.

use std::collections::BTreeMap;
use std::path::Path;

use rbuild_image::attest::is_about;
use rbuild_image::distribution::Fetched;
use rbuild_image::manifest::{Descriptor, Document, Index, MediaType};
use rbuild_model::digest::BlobDigest;
use rbuild_model::platform::Platform;
use rbuild_model::reference::Reference;
use serde_json::Value;

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
    pieces: Vec<(Reference, Fetched)>,
}

impl Remote {
    /// Makes an index of what is somewhere by now; nothing is written to any registry.
    ///
    /// Indexes among them give their entries, those for other platforms left out where some are named; what is said about an
    /// image stays with it. The index is a manifest list where all entries are Docker's. A single index stays what it is in all
    /// else, unless it is annotated.
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
            let mut listed: Vec<Descriptor> = Vec::new();
            for entry in entries {
                let fetched = self.client.manifest(&entry.reference).await;
                let fetched = fetched.map_err(|error| registry(&entry.reference, error))?;
                for descriptor in self.entries_of(entry, &fetched).await? {
                    match listed.iter_mut().find(|other| other.digest == descriptor.digest) {
                        Some(other) => other.platform = descriptor.platform.or(other.platform.take()),
                        None => listed.push(descriptor),
                    }
                }
                pieces.push((entry.reference.clone(), fetched));
            }
            if !platforms.is_empty() {
                listed = narrowed(listed, platforms);
                if listed.is_empty() {
                    return Err(none_fits(entries, platforms));
                }
            }
            let mut is_annotated = !annotations.is_empty();
            for entry in &mut listed {
                let more = entry.platform().map(|platform| of_entries(&platform)).unwrap_or_default();
                is_annotated |= !more.is_empty();
                entry.annotations.extend(more);
            }
            if let [(_, only)] = &pieces[..]
                && !is_annotated
            {
                match &only.document {
                    Document::Index(index) if !platforms.is_empty() => {
                        let narrow = Index { manifests: listed, ..index.clone() };
                        let (bytes, media_type) = (bytes(&narrow), only.media_type.clone());
                        return Ok(Combined { bytes, media_type, pieces });
                    }
                    Document::Manifest(_) if preference == Preference::Index => {}
                    _ => {
                        let (bytes, media_type) = (only.bytes.clone(), only.media_type.clone());
                        return Ok(Combined { bytes, media_type, pieces });
                    }
                }
            }
            let all_dockers =
                listed.iter().all(|entry| entry.media_type.as_str() == MediaType::DOCKER_MANIFEST);
            let plain = annotations.is_empty() && listed.iter().all(|entry| entry.annotations.is_empty());
            let media_type = if all_dockers && plain { MediaType::DOCKER_LIST } else { MediaType::OCI_INDEX };
            let mut index = Index::new(listed);
            index.media_type = Some(MediaType::new(media_type));
            index.annotations.clone_from(annotations);
            Ok(Combined { bytes: bytes(&index), media_type: MediaType::new(media_type), pieces })
        })
    }

    /// What an image or an index gives to a new index.
    async fn entries_of(&self, entry: &Entry, fetched: &Fetched) -> Result<Vec<Descriptor>, ImagesError> {
        let reference = &entry.reference;
        match (&fetched.document, &entry.stated) {
            (Document::Index(index), None) => Ok(index.manifests.clone()),
            (Document::Manifest(_), Some(stated)) => Ok(vec![Descriptor {
                platform: stated.platform.clone(),
                annotations: stated.annotations.clone(),
                ..described(fetched)
            }]),
            (Document::Manifest(manifest), None) => {
                let mut descriptor = described(fetched);
                // What is no image has no platform.
                let kind = manifest.config.media_type.as_str();
                if matches!(kind, MediaType::OCI_CONFIG | MediaType::DOCKER_CONFIG) {
                    let config = self.client.small_blob(reference, &manifest.config).await;
                    let config = config.map_err(|error| registry(reference, error))?;
                    let config = crate::pull::parse_config(&reference.familiar(), &config)?;
                    descriptor = descriptor.for_platform(&config.platform());
                }
                Ok(vec![descriptor])
            }
            (Document::Index(_), Some(_)) => Err(ImagesError::Inconsistent {
                what: reference.familiar(),
                why: "an index cannot be an entry of a list".to_owned(),
            }),
        }
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

/// Leaves out what is for other platforms, but not what is said about an image that stays.
fn narrowed(listed: Vec<Descriptor>, platforms: &[Platform]) -> Vec<Descriptor> {
    let fits = |entry: &Descriptor| entry.platform().is_some_and(|platform| platforms.contains(&platform));
    let stay: Vec<BlobDigest> = listed.iter().filter(|entry| fits(entry)).map(|entry| entry.digest).collect();
    let is_about_one = |entry: &Descriptor| stay.iter().any(|image| is_about(entry, *image));
    listed.into_iter().filter(|entry| fits(entry) || is_about_one(entry)).collect()
}

fn none_fits(entries: &[Entry], platforms: &[Platform]) -> ImagesError {
    let names: Vec<String> = entries.iter().map(|entry| entry.reference.familiar()).collect();
    let wanted: Vec<String> = platforms.iter().map(Platform::to_string).collect();
    ImagesError::NoneFits { what: names.join(", "), wanted: wanted.join(", ") }
}

/// Writes an index with its fields in the order that other programs give them, so that the same index has the same digest; those
/// that nobody knows come last.
fn bytes(index: &Index) -> Vec<u8> {
    const INDEX: &[&str] =
        &["schemaVersion", "mediaType", "artifactType", "manifests", "subject", "annotations"];
    const DESCRIPTOR: &[&str] =
        &["mediaType", "digest", "size", "urls", "annotations", "data", "platform", "artifactType"];
    const PLATFORM: &[&str] = &["architecture", "os", "os.version", "os.features", "variant"];
    let mut value = serde_json::to_value(index).expect("the document has only text keys");
    in_order(&mut value, INDEX);
    for entry in value["manifests"].as_array_mut().into_iter().flatten() {
        in_order(entry, DESCRIPTOR);
        entry.get_mut("platform").into_iter().for_each(|platform| in_order(platform, PLATFORM));
    }
    serde_json::to_vec_pretty(&value).expect("a JSON value can be written")
}

fn in_order(value: &mut Value, fields: &[&str]) {
    let Some(object) = value.as_object_mut() else { return };
    let mut rest = std::mem::take(object);
    for field in fields {
        if let Some((field, value)) = rest.shift_remove_entry(*field) {
            object.insert(field, value);
        }
    }
    object.extend(rest);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(text: &str, platform: &str) -> Descriptor {
        Descriptor::of(MediaType::OCI_MANIFEST, text.as_bytes()).for_platform(&platform.parse().unwrap())
    }

    #[test]
    fn what_is_said_about_an_image_stays_with_it() {
        let (amd64, arm64) = (entry("a", "linux/amd64"), entry("b", "linux/arm64"));
        let about = |image: &Descriptor, text: &str| {
            let mut about = entry(text, "unknown/unknown");
            let about_it = ("vnd.docker.reference.digest".to_owned(), image.digest.to_string());
            about.annotations.extend([about_it]);
            about
        };
        let (of_amd64, of_arm64) = (about(&amd64, "c"), about(&arm64, "d"));
        let all = vec![amd64.clone(), arm64, of_amd64.clone(), of_arm64];
        let wanted = |name: &str| vec![name.parse::<Platform>().unwrap()];
        assert_eq!(narrowed(all.clone(), &wanted("linux/amd64")), [amd64, of_amd64]);
        assert_eq!(narrowed(all, &wanted("linux/s390x")), []);
    }

    #[test]
    fn fields_stand_in_one_order_and_none_is_lost() {
        let platform =
            json!({ "os": "linux", "variant": "v2", "os.version": "1.2", "architecture": "amd64" });
        let entry = json!({
            "platform": platform, "foo": "bar", "artifactType": "t/x", "annotations": { "k": "v" },
            "digest": BlobDigest::of(b"a"), "mediaType": MediaType::OCI_MANIFEST, "size": 1,
        });
        let index: Index = serde_json::from_value(json!({
            "annotations": { "z": "1" }, "artifactType": "a/b", "other": 1, "manifests": [entry],
            "mediaType": MediaType::OCI_INDEX, "schemaVersion": 2,
        }))
        .unwrap();
        let value: Value = serde_json::from_slice(&bytes(&index)).unwrap();
        let expected = format!(
            concat!(
                r#"{{"schemaVersion":2,"mediaType":"{}","artifactType":"a/b","manifests":[{{"mediaType":"{}","digest":"{}","#,
                r#""size":1,"annotations":{{"k":"v"}},"platform":{{"architecture":"amd64","os":"linux","os.version":"1.2","#,
                r#""variant":"v2"}},"artifactType":"t/x","foo":"bar"}}],"annotations":{{"z":"1"}},"other":1}}"#
            ),
            MediaType::OCI_INDEX,
            MediaType::OCI_MANIFEST,
            BlobDigest::of(b"a")
        );
        assert_eq!(value.to_string(), expected);
    }
}
