use std::collections::BTreeMap;

use super::*;
use crate::compress::{Encoding, Threads, compress};
use crate::manifest::{Descriptor, MediaType};
use crate::tar::{Entry, EntryKind, EntryPath, Limits, Options, Writer};

#[derive(Default)]
struct Memory {
    blobs: BTreeMap<BlobDigest, Vec<u8>>,
}

impl BlobSink for Memory {
    fn store(&mut self, expected: Option<BlobDigest>, contents: &mut dyn Read) -> io::Result<Stored> {
        let mut bytes = Vec::new();
        contents.read_to_end(&mut bytes)?;
        let stored = Stored { digest: BlobDigest::of(&bytes), size: bytes.len() as u64 };
        if expected.is_some_and(|expected| expected != stored.digest) {
            return Err(io::Error::other("another digest"));
        }
        self.blobs.insert(stored.digest, bytes);
        Ok(stored)
    }
}

impl BlobSource for Memory {
    fn open(&self, digest: BlobDigest) -> io::Result<Box<dyn Read + '_>> {
        let bytes = self.blobs.get(&digest).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(&bytes[..]))
    }
}

impl Folder for BTreeMap<String, Vec<u8>> {
    fn open(&self, path: &str) -> io::Result<Option<Box<dyn Read + '_>>> {
        Ok(self.get(path).map(|bytes| Box::new(&bytes[..]) as Box<dyn Read>))
    }
}

const CONFIG: &[u8] = br#"{"architecture":"amd64","os":"linux"}"#;

fn outgoing(memory: &mut Memory, names: &[&str]) -> OutgoingImage {
    let mut packed = Vec::new();
    compress(&[0; 1024][..], &mut packed, Encoding::GZIP, Threads::available()).unwrap();
    let layer = Descriptor::of(MediaType::OCI_LAYER_GZIP, &packed);
    memory.blobs.insert(layer.digest, packed);
    let manifest = Manifest::new(Descriptor::of(MediaType::OCI_CONFIG, CONFIG), vec![layer]);
    OutgoingImage {
        manifest_bytes: manifest.to_bytes(),
        manifest,
        config: CONFIG.to_vec(),
        platform: "linux/amd64".parse().unwrap(),
        names: names.iter().map(|name| name.parse().unwrap()).collect(),
        entry_annotations: BTreeMap::new(),
    }
}

fn read(bytes: &[u8]) -> Result<(Vec<ArchivedImage>, Memory), ArchiveError> {
    let mut memory = Memory::default();
    let platform = "linux/amd64".parse().unwrap();
    let images = read_archive(bytes, Limits::default(), &platform, &mut memory)?;
    Ok((images, memory))
}

#[test]
fn what_is_written_is_read_back_with_all_its_names() {
    let mut memory = Memory::default();
    let image = outgoing(&mut memory, &["busybox:1", "localhost:5000/x/y:z"]);
    for plan in [Plan::docker(std::slice::from_ref(&image)), Plan::oci(std::slice::from_ref(&image))] {
        let bytes = plan.write_tar(Vec::new(), &memory).unwrap();
        assert!(plan.write_tar(Vec::new(), &memory).unwrap() == bytes);
        let (images, read) = read(&bytes).unwrap();
        assert_eq!(images.len(), 1);
        assert_eq!(images[0].manifest, image.manifest);
        assert_eq!(images[0].manifest_bytes.as_deref(), Some(&image.manifest_bytes[..]));
        assert_eq!(images[0].config, CONFIG);
        let mut names = images[0].names.clone();
        names.truncate(2);
        assert_eq!(names, ["docker.io/library/busybox:1", "localhost:5000/x/y:z"]);
        let layer = image.manifest.layers[0].digest;
        assert_eq!(read.blobs.get(&layer), memory.blobs.get(&layer));

        let mut folder = plan.documents.clone();
        for (path, (digest, _)) in &plan.blobs {
            folder.insert(path.clone(), memory.blobs[digest].clone());
        }
        let mut sink = Memory::default();
        let images = read_layout(&folder, &"linux/amd64".parse().unwrap(), &mut sink).unwrap();
        assert_eq!(images[0].manifest, image.manifest);
        assert!(sink.blobs.contains_key(&layer));
        // A blob with another content than its name says is refused.
        folder.insert(format!("blobs/sha256/{}", layer.hex()), b"evil".to_vec());
        assert!(read_layout(&folder, &"linux/amd64".parse().unwrap(), &mut sink).is_err());
    }
}

enum Part<'a> {
    File(&'a str, &'a [u8]),
    Link(&'a str, &'a str),
}

fn archive(parts: &[Part<'_>]) -> Vec<u8> {
    let mut tar = Writer::new(Vec::new(), Options::default());
    for part in parts {
        match part {
            Part::File(path, bytes) => {
                let kind = EntryKind::File { size: bytes.len() as u64 };
                tar.append_bytes(&Entry::new(EntryPath::new(path).unwrap(), kind, 0o644), bytes).unwrap();
            }
            Part::Link(path, target) => {
                let kind = EntryKind::Symlink { target: target.as_bytes().to_vec() };
                tar.append_bytes(&Entry::new(EntryPath::new(path).unwrap(), kind, 0o777), &[]).unwrap();
            }
        }
    }
    tar.finish().unwrap()
}

#[test]
fn archives_of_old_link_equal_layers() {
    let manifest = br#"[{"Config":"c.json","RepoTags":["a:1"],"Layers":["one/layer.tar","two/layer.tar"]}]"#;
    let bytes = archive(&[
        Part::File("one/layer.tar", &[0; 1024]),
        Part::Link("two/layer.tar", "../one/layer.tar"),
        Part::File("c.json", CONFIG),
        Part::File("manifest.json", manifest),
    ]);
    let (images, _) = read(&bytes).unwrap();
    let layers = &images[0].manifest.layers;
    assert_eq!(layers[0].digest, BlobDigest::of(&[0; 1024]));
    assert_eq!(layers[0], layers[1]);
    assert_eq!(layers[0].media_type.as_str(), MediaType::OCI_LAYER);
    assert_eq!(images[0].names, ["a:1"]);
}

#[test]
fn names_do_not_lead_out_of_an_archive() {
    for (config, layer) in [
        ("../../etc/passwd", "l"),
        ("/c.json", "../../../etc/shadow"),
        ("c.json", "missing"),
        ("c.json", "out"),
        ("c.json", "absolute"),
        ("c.json", "circle"),
        ("c.json", "folder"),
    ] {
        let manifest = format!(r#"[{{"Config":"{config}","RepoTags":null,"Layers":["{layer}"]}}]"#);
        let bytes = archive(&[
            Part::File("c.json", CONFIG),
            Part::Link("out", "../../../../etc/passwd"),
            Part::Link("absolute", "/etc/passwd"),
            Part::Link("circle", "circle"),
            Part::File("folder/file", b""),
            Part::File("manifest.json", manifest.as_bytes()),
        ]);
        assert!(read(&bytes).is_err(), "{config} {layer}");
    }
}

#[test]
fn what_is_no_archive_of_images_says_so() {
    assert!(matches!(read(&archive(&[Part::File("x", b"y")])), Err(ArchiveError::NoImages)));
    assert!(matches!(read(b"plain text"), Err(ArchiveError::Tar(_))));
    for wrong in [&b"{}"[..], b"[{\"Config\":1}]", b"[] trailing", b"\x1f\x8b\x08"] {
        assert!(read(&archive(&[Part::File("manifest.json", wrong)])).is_err());
    }
    let doubled =
        archive(&[Part::File("index.json", br#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#)]);
    assert!(matches!(read(&doubled), Err(ArchiveError::Document(..))));
    let lying = archive(&[Part::File(&format!("blobs/sha256/{}", "0".repeat(64)), b"x")]);
    assert!(matches!(read(&lying), Err(ArchiveError::Member(..))));
}

#[test]
fn archives_of_more_than_anybody_has_are_refused() {
    let refused = |bytes: &[u8]| read(bytes).err().unwrap().to_string();
    // One name again and again: each is a file of the store all the same.
    let many: Vec<_> = (0..100_001).map(|_| Part::File("x", b"")).collect();
    assert_eq!(refused(&archive(&many)), "it has more than 100000 files");
    let blank = vec![b' '; 4 << 20];
    let documents: Vec<_> = (0..33).map(|_| Part::File("x", &blank)).collect();
    assert_eq!(refused(&archive(&documents)), "its documents have more than 134217728 bytes");
}
