//! Reading.

use std::collections::HashMap;
use std::io::{self, Read};

use rbuild_model::digest::BlobDigest;
use rbuild_model::platform::Platform;
use serde::Deserialize;

use super::{ArchiveError, ArchivedImage, BlobSink, Stored};
use crate::attest;
use crate::compress::Compression;
use crate::manifest::{Descriptor, Document, LayerFormat, MAX_DOCUMENT, Manifest, MediaType, parse_strict};
use crate::tar::{EntryKind, EntryPath, Limits, Reader};

/// The most files and links of an archive: each becomes a file of the store before it is known what it is.
const MAX_MEMBERS: usize = 100_000;
/// The most bytes of documents that are kept until it is known which of them say something.
const MAX_DOCUMENTS: usize = 128 << 20;

/// A folder that holds an OCI layout. Implementations open plain files below it and follow no link.
pub trait Folder {
    /// Opens a file; `None` if there is none.
    fn open(&self, path: &str) -> io::Result<Option<Box<dyn Read + '_>>>;
}

/// A file of an archive.
#[derive(Clone)]
struct Member {
    stored: Stored,
    compression: Compression,
    /// The bytes, if there are few: it may be a document.
    document: Option<Vec<u8>>,
}

/// Finds the files of an archive by their names.
trait Members {
    fn find(&mut self, path: &str) -> Result<Option<Member>, ArchiveError>;
}

/// Reads an uncompressed tar to its end and returns the images in it; for an index, those for the platform.
pub fn read_archive(
    tar: impl Read,
    limits: Limits,
    platform: &Platform,
    sink: &mut dyn BlobSink,
) -> Result<Vec<ArchivedImage>, ArchiveError> {
    let mut reader = Reader::new(tar, limits);
    let mut members = Archive::default();
    let (mut count, mut kept) = (0, 0);
    while let Some(entry) = reader.next_entry()? {
        count += 1;
        if count > MAX_MEMBERS {
            return Err(ArchiveError::Wrong(format!("it has more than {MAX_MEMBERS} files")));
        }
        match entry.kind {
            EntryKind::File { .. } => {
                let expected = digest_in(&entry.path);
                let name = entry.path.to_string();
                let member =
                    take(sink, expected, &mut reader).map_err(|error| ArchiveError::Member(name, error))?;
                kept += member.document.as_ref().map_or(0, Vec::len);
                if kept > MAX_DOCUMENTS {
                    return Err(ArchiveError::Wrong(format!(
                        "its documents have more than {MAX_DOCUMENTS} bytes"
                    )));
                }
                members.files.insert(entry.path, member);
            }
            EntryKind::Hardlink { target } => {
                members.links.insert(entry.path, target);
            }
            EntryKind::Symlink { target } => {
                if let Some(target) = link_target(&entry.path, &target) {
                    members.links.insert(entry.path, target);
                }
            }
            _ => {}
        }
    }
    reader.finish()?;
    interpret(&mut members, platform)
}

/// Reads the images of a folder; for an index, those for the platform.
pub fn read_layout(
    folder: &dyn Folder,
    platform: &Platform,
    sink: &mut dyn BlobSink,
) -> Result<Vec<ArchivedImage>, ArchiveError> {
    interpret(&mut Opened { folder, sink, seen: HashMap::new() }, platform)
}

/// Returns the digest that the name of a member states.
fn digest_in(path: &EntryPath) -> Option<BlobDigest> {
    let hex = path.as_bytes().strip_prefix(b"blobs/sha256/")?;
    format!("sha256:{}", std::str::from_utf8(hex).ok()?).parse().ok()
}

/// Stores a file and keeps what tells its meaning.
fn take(
    sink: &mut dyn BlobSink,
    expected: Option<BlobDigest>,
    contents: &mut dyn Read,
) -> io::Result<Member> {
    let mut kept = Kept { contents, bytes: Vec::new(), total: 0 };
    let stored = sink.store(expected, &mut kept)?;
    if kept.total != stored.size {
        return Err(io::Error::other("it was not read to its end"));
    }
    let compression = Compression::detect(&kept.bytes);
    let document = (kept.total <= MAX_DOCUMENT && compression == Compression::None).then_some(kept.bytes);
    Ok(Member { stored, compression, document })
}

/// Passes a file on and keeps its beginning, up to the size of a document.
struct Kept<'a> {
    contents: &'a mut dyn Read,
    bytes: Vec<u8>,
    total: u64,
}

impl Read for Kept<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.contents.read(buffer)?;
        self.total += count as u64;
        // A document begins as JSON does; of anything else a few bytes tell the form.
        let wanted = match self.bytes.first().or(buffer[..count].first()) {
            Some(b'{' | b'[' | b' ' | b'\n') => MAX_DOCUMENT as usize,
            _ => Compression::MAGIC_BYTES,
        };
        let room = wanted.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(&buffer[..count.min(room)]);
        Ok(count)
    }
}

#[derive(Default)]
struct Archive {
    files: HashMap<EntryPath, Member>,
    links: HashMap<EntryPath, EntryPath>,
}

impl Members for Archive {
    fn find(&mut self, path: &str) -> Result<Option<Member>, ArchiveError> {
        let Ok(mut path) = EntryPath::new(path) else {
            return Err(ArchiveError::Wrong(format!("the name {path:?} leads out of the archive")));
        };
        // `docker save` of old linked equal layers to one another.
        for _ in 0..8 {
            if let Some(member) = self.files.get(&path) {
                return Ok(Some(member.clone()));
            }
            match self.links.get(&path) {
                Some(target) => path = target.clone(),
                None => return Ok(None),
            }
        }
        Err(ArchiveError::Wrong(format!("`{path}` is a link in a circle")))
    }
}

/// Resolves a symbolic link between members; `None` if it leads out.
fn link_target(link: &EntryPath, target: &[u8]) -> Option<EntryPath> {
    if target.starts_with(b"/") {
        return None;
    }
    let (parent, _) = link.split_last()?;
    let mut parts: Vec<&[u8]> = parent.components().collect();
    for part in target.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    EntryPath::new(parts.join(&b'/')).ok()
}

struct Opened<'a> {
    folder: &'a dyn Folder,
    sink: &'a mut dyn BlobSink,
    seen: HashMap<String, Member>,
}

impl Members for Opened<'_> {
    fn find(&mut self, path: &str) -> Result<Option<Member>, ArchiveError> {
        if let Some(member) = self.seen.get(path) {
            return Ok(Some(member.clone()));
        }
        let parsed = EntryPath::new(path);
        let Ok(entry) = parsed else {
            return Err(ArchiveError::Wrong(format!("the name {path:?} leads out of the folder")));
        };
        let failed = |error| ArchiveError::Member(entry.to_string(), error);
        let Some(mut contents) = self.folder.open(path).map_err(failed)? else { return Ok(None) };
        let member = take(self.sink, digest_in(&entry), &mut contents).map_err(failed)?;
        self.seen.insert(path.to_owned(), member.clone());
        Ok(Some(member))
    }
}

/// An image of a layout, by what names it there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayoutImage {
    /// Its tag; without one and without a digest, `latest`, or the only image that there is.
    pub tag: Option<String>,
    /// The digest of its manifest or index.
    pub digest: Option<BlobDigest>,
}

/// Reads one image of a folder that holds an OCI layout: the one for `platform` where there are several.
///
/// Only files that belong to the image are read.
pub fn read_layout_image(
    folder: &dyn Folder,
    wanted: &LayoutImage,
    platform: &Platform,
    sink: &mut dyn BlobSink,
) -> Result<ArchivedImage, ArchiveError> {
    let mut members = Opened { folder, sink, seen: HashMap::new() };
    let bytes = document(&mut members, "index.json")?.ok_or(ArchiveError::NoImages)?;
    let index = match Document::parse(&bytes, Some(MediaType::OCI_INDEX)) {
        Ok(Document::Index(index)) => index,
        Ok(Document::Manifest(_)) => return Err(ArchiveError::Wrong("`index.json` is no index".to_owned())),
        Err(error) => return Err(ArchiveError::Document("index.json".to_owned(), error)),
    };
    let chosen = choose(&index.manifests, wanted)?;
    oci_image(&mut members, chosen, platform, 0, Others::Leave)?
        .ok_or_else(|| ArchiveError::Wrong("what it names is an attestation".to_owned()))
}

fn choose<'d>(listed: &'d [Descriptor], wanted: &LayoutImage) -> Result<&'d Descriptor, ArchiveError> {
    let tag_of = |descriptor: &'d Descriptor| {
        let name = descriptor.annotations.get("org.opencontainers.image.ref.name")?;
        // Some write the whole name there.
        Some(name.rsplit_once([':', '/']).map_or(name.as_str(), |(_, tag)| tag))
    };
    if let Some(digest) = wanted.digest {
        let found = listed.iter().find(|descriptor| descriptor.digest == digest);
        return found.ok_or_else(|| ArchiveError::Missing(digest.to_string()));
    }
    let tag = wanted.tag.as_deref().unwrap_or("latest");
    if let Some(found) = listed.iter().find(|descriptor| tag_of(descriptor) == Some(tag)) {
        return Ok(found);
    }
    match listed {
        [only] if wanted.tag.is_none() => Ok(only),
        _ => {
            let tags: Vec<&str> = listed.iter().filter_map(tag_of).collect();
            Err(ArchiveError::Wrong(format!("there is no image {tag:?} among [{}]", tags.join(", "))))
        }
    }
}

/// How many indexes may stand in one another.
const MAX_INDEX_DEPTH: usize = 4;

fn blob_path(digest: BlobDigest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn document(members: &mut dyn Members, path: &str) -> Result<Option<Vec<u8>>, ArchiveError> {
    match members.find(path)? {
        Some(Member { document: Some(bytes), .. }) => Ok(Some(bytes)),
        Some(_) => Err(ArchiveError::Wrong(format!("`{}` is no document", path.escape_debug()))),
        None => Ok(None),
    }
}

/// An entry of Docker's `manifest.json`.
#[derive(Deserialize)]
struct DockerImage {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "RepoTags")]
    tags: Option<Vec<String>>,
    #[serde(rename = "Layers")]
    layers: Vec<String>,
}

fn interpret(members: &mut dyn Members, platform: &Platform) -> Result<Vec<ArchivedImage>, ArchiveError> {
    let index = document(members, "index.json")?;
    let docker = document(members, "manifest.json")?;
    if index.is_none() && docker.is_none() {
        return Err(ArchiveError::NoImages);
    }
    let mut images = Vec::new();
    if let Some(bytes) = index {
        let failed = |error| ArchiveError::Document("index.json".to_owned(), error);
        let Document::Index(index) = Document::parse(&bytes, Some(MediaType::OCI_INDEX)).map_err(failed)?
        else {
            return Err(ArchiveError::Wrong("`index.json` is no index".to_owned()));
        };
        for descriptor in &index.manifests {
            if let Some(mut image) = oci_image(members, descriptor, platform, 0, Others::Take)? {
                image.statements.extend(statements(members, &index.manifests, descriptor.digest)?);
                add(&mut images, image);
            }
        }
    }
    if let Some(bytes) = docker {
        let value =
            parse_strict(&bytes).map_err(|error| ArchiveError::Json("manifest.json".to_owned(), error))?;
        let entries: Vec<DockerImage> = serde_json::from_value(value)
            .map_err(|error| ArchiveError::Wrong(format!("`manifest.json` has another form: {error}")))?;
        for entry in entries {
            let image = docker_image(members, entry)?;
            let digest = image.manifest.config.digest;
            let of_an_index = |known: &ArchivedImage| {
                known.others.iter().any(|other| other.manifest.config.digest == digest)
            };
            // It stands there for readers that know of no platforms.
            if !images.iter().any(of_an_index) {
                add(&mut images, image);
            }
        }
    }
    Ok(images)
}

/// Adds an image, or its names to the same image.
fn add(images: &mut Vec<ArchivedImage>, image: ArchivedImage) {
    let known = images.iter_mut().find(|known| known.manifest.config.digest == image.manifest.config.digest);
    let Some(known) = known else {
        images.push(image);
        return;
    };
    for name in image.names {
        if !known.names.contains(&name) {
            known.names.push(name);
        }
    }
}

fn oci_image(
    members: &mut dyn Members,
    descriptor: &Descriptor,
    platform: &Platform,
    depth: usize,
    others: Others,
) -> Result<Option<ArchivedImage>, ArchiveError> {
    // Attestations are listed beside images.
    if attest::is_attestation(descriptor) {
        return Ok(None);
    }
    let path = blob_path(descriptor.digest);
    let bytes = document(members, &path)?.ok_or_else(|| ArchiveError::Missing(path.clone()))?;
    if bytes.len() as u64 != descriptor.size {
        return Err(ArchiveError::Wrong(format!("`{path}` has not the size that the index says")));
    }
    let parsed = Document::parse(&bytes, Some(descriptor.media_type.as_str()))
        .map_err(|error| ArchiveError::Document(path.clone(), error))?;
    let manifest = match parsed {
        Document::Manifest(manifest) => manifest,
        Document::Index(index) => {
            if depth >= MAX_INDEX_DEPTH {
                return Err(ArchiveError::Wrong("too many indexes in one another".to_owned()));
            }
            let chosen = match index.select(platform) {
                Ok(chosen) => chosen,
                // Whoever takes all of them takes those for other machines, too.
                Err(error) => match index.manifests.iter().find(|entry| entry.platform().is_some()) {
                    Some(first) if others == Others::Take => first,
                    _ => return Err(ArchiveError::Wrong(error.to_string())),
                },
            };
            let Some(mut image) = oci_image(members, chosen, platform, depth + 1, Others::Leave)? else {
                return Ok(None);
            };
            image.names = names_of(descriptor);
            if others == Others::Take {
                image.statements = statements(members, &index.manifests, chosen.digest)?;
                take_others(members, &index.manifests, chosen, &mut image)?;
            }
            return Ok(Some(image));
        }
    };
    let config_path = blob_path(manifest.config.digest);
    let config = document(members, &config_path)?.ok_or(ArchiveError::Missing(config_path))?;
    for layer in &manifest.layers {
        let path = blob_path(layer.digest);
        let member = members.find(&path)?.ok_or_else(|| ArchiveError::Missing(path.clone()))?;
        if member.stored.size != layer.size {
            return Err(ArchiveError::Wrong(format!("`{path}` has not the size that its manifest says")));
        }
    }
    let names = names_of(descriptor);
    let manifest_bytes = Some(bytes);
    Ok(Some(ArchivedImage {
        manifest,
        manifest_bytes,
        config,
        names,
        others: Vec::new(),
        place: 0,
        statements: Vec::new(),
    }))
}

/// Whether the images of an index for other platforms are taken along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Others {
    Take,
    Leave,
}

/// Takes the images of an index along that are for other platforms; what of them is not in the archive is left out.
fn take_others(
    members: &mut dyn Members,
    listed: &[Descriptor],
    chosen: &Descriptor,
    image: &mut ArchivedImage,
) -> Result<(), ArchiveError> {
    for descriptor in listed {
        if std::ptr::eq(descriptor, chosen) {
            image.place = image.others.len();
            continue;
        }
        let Some(platform) = descriptor.platform().filter(|_| descriptor.media_type.is_manifest()) else {
            continue;
        };
        match oci_image(members, descriptor, &platform, MAX_INDEX_DEPTH, Others::Leave) {
            Ok(None) => {}
            Ok(Some(other)) => {
                let statements = statements(members, listed, descriptor.digest)?;
                image.others.push(ArchivedImage { names: Vec::new(), statements, ..other });
            }
            Err(ArchiveError::Missing(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Finds the statements that a list has about one of its images, as far as they are in the archive.
fn statements(
    members: &mut dyn Members,
    listed: &[Descriptor],
    image: BlobDigest,
) -> Result<Vec<Descriptor>, ArchiveError> {
    let mut found = Vec::new();
    for entry in listed.iter().filter(|entry| attest::is_about(entry, image)) {
        let Some(bytes) = document(members, &blob_path(entry.digest))? else { continue };
        // Signatures and the like may stand there as well.
        let Ok(Document::Manifest(manifest)) = Document::parse(&bytes, Some(entry.media_type.as_str()))
        else {
            continue;
        };
        for layer in manifest.layers {
            if attest::kind_of(&layer).is_some() && members.find(&blob_path(layer.digest))?.is_some() {
                found.push(layer);
            }
        }
    }
    Ok(found)
}

/// Returns the names that annotations give: the full one, else one that could be a full one.
fn names_of(descriptor: &Descriptor) -> Vec<String> {
    let annotation = |key: &str| descriptor.annotations.get(key).filter(|name| !name.is_empty());
    if let Some(name) = annotation("io.containerd.image.name") {
        return vec![name.clone()];
    }
    // Many write only a tag there, which names nothing by itself.
    let name = annotation("org.opencontainers.image.ref.name").filter(|name| name.contains([':', '/']));
    name.into_iter().cloned().collect()
}

fn docker_image(members: &mut dyn Members, entry: DockerImage) -> Result<ArchivedImage, ArchiveError> {
    let config = document(members, &entry.config)?
        .ok_or_else(|| ArchiveError::Missing(entry.config.escape_debug().to_string()))?;
    let mut layers = Vec::with_capacity(entry.layers.len());
    for path in &entry.layers {
        let member =
            members.find(path)?.ok_or_else(|| ArchiveError::Missing(path.escape_debug().to_string()))?;
        let format = match member.compression {
            Compression::None => LayerFormat::Tar,
            Compression::Gzip => LayerFormat::Gzip,
            Compression::Zstd => LayerFormat::Zstd,
            other => {
                return Err(ArchiveError::Wrong(format!("layers packed with {other:?} are not supported")));
            }
        };
        let media_type = MediaType::of_layer(format);
        layers.push(Descriptor::new(media_type.as_str(), member.stored.digest, member.stored.size));
    }
    let manifest = Manifest::new(Descriptor::of(MediaType::OCI_CONFIG, &config), layers);
    let names = entry.tags.unwrap_or_default();
    Ok(ArchivedImage {
        manifest,
        manifest_bytes: None,
        config,
        names,
        others: Vec::new(),
        place: 0,
        statements: Vec::new(),
    })
}
