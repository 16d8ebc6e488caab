//! Writing.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use rbuild_model::digest::BlobDigest;
use rbuild_model::platform::Platform;
use rbuild_model::reference::Reference;
use serde_json::json;

use super::{ArchiveError, BlobSource};
use crate::manifest::{Descriptor, Index, Manifest, MediaType};
use crate::tar::{Entry, EntryKind, EntryPath, Options, Writer};

/// An image on its way out.
#[derive(Clone, Debug)]
pub struct OutgoingImage {
    /// What it consists of.
    pub manifest: Manifest,
    /// The manifest's bytes.
    pub manifest_bytes: Vec<u8>,
    /// The config's bytes.
    pub config: Vec<u8>,
    /// What it is for.
    pub platform: Platform,
    /// Its names.
    pub names: Vec<Reference>,
    /// What is written on its entry in an index.
    pub entry_annotations: BTreeMap<String, String>,
}

impl OutgoingImage {
    /// Names the manifest, as entries do.
    fn entry(&self) -> Descriptor {
        let mut entry =
            Descriptor::of(self.manifest.media_type(), &self.manifest_bytes).for_platform(&self.platform);
        entry.annotations.clone_from(&self.entry_annotations);
        entry
    }
}

/// Several images on their way out, one a platform, that share their names.
#[derive(Clone, Debug)]
pub struct OutgoingIndex {
    /// The images; their own names do not count.
    pub images: Vec<OutgoingImage>,
    /// The names of the index.
    pub names: Vec<Reference>,
    /// What is written on the index.
    pub annotations: BTreeMap<String, String>,
    /// What is written on its entry in the list of an archive.
    pub entry_annotations: BTreeMap<String, String>,
}

impl OutgoingIndex {
    /// Lists images under names.
    pub fn new(images: Vec<OutgoingImage>, names: Vec<Reference>) -> Self {
        Self { images, names, annotations: BTreeMap::new(), entry_annotations: BTreeMap::new() }
    }

    /// Makes the document that lists the images with their platforms.
    pub fn document(&self) -> Vec<u8> {
        let mut index = Index::new(self.images.iter().map(OutgoingImage::entry).collect());
        index.annotations.clone_from(&self.annotations);
        index.to_bytes()
    }

    /// The image that readers get who know of no platforms: the one that runs here, else the first.
    fn primary(&self) -> Option<&OutgoingImage> {
        let host = Platform::host();
        self.images.iter().find(|image| host.can_run(&image.platform)).or_else(|| self.images.first())
    }
}

/// Which parts an archive has besides the OCI layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    /// None.
    Oci,
    /// Those by which `docker load` reads it.
    Docker,
}

/// The files of an archive: documents with their bytes, and blobs to be copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The documents, by their paths.
    pub documents: BTreeMap<String, Vec<u8>>,
    /// The blobs, by their paths, with their sizes.
    pub blobs: BTreeMap<String, (BlobDigest, u64)>,
}

impl Plan {
    /// Plans an OCI layout that `docker load` reads as well.
    pub fn docker(images: &[OutgoingImage]) -> Self {
        Self::new(images, &[], Dialect::Docker)
    }

    /// As [`Plan::docker`], with indexes. Readers that do not know OCI layouts get one image of each.
    pub fn docker_with(images: &[OutgoingImage], indexes: &[OutgoingIndex]) -> Self {
        Self::new(images, indexes, Dialect::Docker)
    }

    /// Plans an OCI layout.
    pub fn oci(images: &[OutgoingImage]) -> Self {
        Self::new(images, &[], Dialect::Oci)
    }

    /// Plans an OCI layout with one index.
    pub fn oci_index(index: &OutgoingIndex) -> Self {
        Self::new(&[], std::slice::from_ref(index), Dialect::Oci)
    }

    fn new(images: &[OutgoingImage], indexes: &[OutgoingIndex], dialect: Dialect) -> Self {
        let mut plan = Self::default();
        let mut entries = Vec::new();
        let mut docker = Vec::new();
        let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        let mut name = |entry: &Descriptor, names: &[Reference], top: &OutgoingImage| {
            if names.is_empty() {
                entries.push(entry.clone());
            }
            for name in names {
                let mut entry = entry.clone();
                entry.annotations.insert("io.containerd.image.name".to_owned(), name.to_string());
                if let Some(tag) = name.tag() {
                    entry.annotations.insert("org.opencontainers.image.ref.name".to_owned(), tag.to_owned());
                    let top = top.manifest.layers.last().map_or_else(String::new, |layer| layer.digest.hex());
                    repositories.entry(name.familiar_name()).or_default().insert(tag.to_owned(), top);
                }
                entries.push(entry);
            }
            let tags: Vec<_> =
                names.iter().filter(|name| name.tag().is_some()).map(Reference::familiar).collect();
            docker.push(json!({
                "Config": path(top.manifest.config.digest),
                "RepoTags": if tags.is_empty() { serde_json::Value::Null } else { json!(tags) },
                "Layers": top.manifest.layers.iter().map(|layer| path(layer.digest)).collect::<Vec<_>>(),
            }));
        };
        for image in images {
            plan.take(image);
            name(&image.entry(), &image.names, image);
        }
        for index in indexes {
            for image in &index.images {
                plan.take(image);
            }
            let document = index.document();
            let mut entry = Descriptor::of(MediaType::OCI_INDEX, &document);
            entry.annotations.clone_from(&index.entry_annotations);
            plan.documents.insert(path(entry.digest), document);
            if let Some(primary) = index.primary() {
                name(&entry, &index.names, primary);
            }
        }
        plan.documents.insert("index.json".to_owned(), Index::new(entries).to_bytes());
        plan.documents.insert("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
        if dialect == Dialect::Docker {
            plan.documents.insert("manifest.json".to_owned(), json!(docker).to_string().into_bytes());
            if !repositories.is_empty() {
                plan.documents
                    .insert("repositories".to_owned(), json!(repositories).to_string().into_bytes());
            }
        }
        plan
    }

    /// Takes in what an image consists of.
    fn take(&mut self, image: &OutgoingImage) {
        self.documents.insert(path(BlobDigest::of(&image.manifest_bytes)), image.manifest_bytes.clone());
        self.documents.insert(path(image.manifest.config.digest), image.config.clone());
        for layer in &image.manifest.layers {
            self.blobs.insert(path(layer.digest), (layer.digest, layer.size));
        }
    }

    /// Writes the files as a tar, ordered by path; equal plans make equal bytes.
    pub fn write_tar<W: Write>(&self, out: W, source: &dyn BlobSource) -> Result<W, ArchiveError> {
        let mut tar = Writer::new(out, Options::default());
        let entry = |path: &str, kind: EntryKind, mode: u32| {
            EntryPath::new(path)
                .map(|path| Entry::new(path, kind, mode))
                .map_err(|problem| ArchiveError::Wrong(format!("`{path}` {problem}")))
        };
        for folder in ["blobs", "blobs/sha256"] {
            tar.append_bytes(&entry(folder, EntryKind::Directory, 0o755)?, &[])?;
        }
        let mut paths: Vec<_> = self.documents.keys().chain(self.blobs.keys()).collect();
        paths.sort();
        paths.dedup();
        for path in paths {
            if let Some(bytes) = self.documents.get(path) {
                tar.append_bytes(&entry(path, EntryKind::File { size: bytes.len() as u64 }, 0o644)?, bytes)?;
            } else if let Some((digest, size)) = self.blobs.get(path) {
                let mut contents =
                    source.open(*digest).map_err(|error| ArchiveError::Member(path.clone(), error))?;
                tar.append(&entry(path, EntryKind::File { size: *size }, 0o644)?, &mut contents)?;
            }
        }
        Ok(tar.finish()?)
    }
}

impl Plan {
    /// Writes the files into a folder, which is made if it is missing. An OCI layout that is there keeps what it has: entries of its
    /// index that carry none of the new names stay.
    ///
    /// Blobs come first and the index last: whoever reads meanwhile finds everything that an index names.
    pub fn write_folder(&self, folder: &Path, source: &dyn BlobSource) -> Result<(), ArchiveError> {
        let failed = |path: &str| {
            let path = folder.join(path).display().to_string();
            move |error: io::Error| ArchiveError::Member(path, error)
        };
        let blobs = "blobs/sha256";
        std::fs::create_dir_all(folder.join(blobs)).map_err(failed(blobs))?;
        for (path, (digest, size)) in &self.blobs {
            let there = std::fs::metadata(folder.join(path));
            if there.is_ok_and(|there| there.is_file() && there.len() == *size) {
                continue;
            }
            let mut contents = source.open(*digest).map_err(failed(path))?;
            put(folder, path, &mut contents).map_err(failed(path))?;
        }
        let (index, others): (Vec<_>, Vec<_>) =
            self.documents.iter().partition(|(path, _)| *path == "index.json");
        for (path, bytes) in others {
            put(folder, path, &mut &bytes[..]).map_err(failed(path))?;
        }
        for (path, bytes) in index {
            let bytes = match std::fs::read(folder.join(path)) {
                Ok(old) => merged(&old, bytes).ok_or_else(|| {
                    ArchiveError::Wrong(format!("`{path}` in the folder is no index of images"))
                })?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => bytes.clone(),
                Err(error) => return Err(failed(path)(error)),
            };
            put(folder, path, &mut &bytes[..]).map_err(failed(path))?;
        }
        Ok(())
    }
}

/// Writes a file that appears complete or not at all.
fn put(folder: &Path, path: &str, contents: &mut dyn io::Read) -> io::Result<()> {
    let fresh = folder.join(format!("{path}.{}.part", std::process::id()));
    let written = std::fs::File::create(&fresh)
        .and_then(|mut file| io::copy(contents, &mut file))
        .and_then(|_| std::fs::rename(&fresh, folder.join(path)));
    if written.is_err() {
        // The first error is the one to tell.
        let _ = std::fs::remove_file(&fresh);
    }
    written
}

/// Puts the entries of an index into one that is there, in the place of those with the same names or the same content.
fn merged(old: &[u8], new: &[u8]) -> Option<Vec<u8>> {
    let mut index: serde_json::Value = serde_json::from_slice(old).ok()?;
    let new: serde_json::Value = serde_json::from_slice(new).ok()?;
    let names = |entry: &serde_json::Value| {
        ["io.containerd.image.name", "org.opencontainers.image.ref.name"]
            .map(|key| entry["annotations"][key].as_str().map(str::to_owned))
    };
    let entries = index.get_mut("manifests")?.as_array_mut()?;
    for entry in new["manifests"].as_array()? {
        let own = names(entry);
        entries.retain(|known| {
            let same_name = own.iter().any(Option::is_some) && names(known) == own;
            let same_content = known["digest"] == entry["digest"] && names(known) == own;
            !(same_name || same_content)
        });
        entries.push(entry.clone());
    }
    serde_json::to_vec_pretty(&index).ok()
}

/// Where a blob lies in a layout.
fn path(digest: BlobDigest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
