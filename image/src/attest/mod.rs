//! What is said about an image beside it: what is in it, and how it was made.
//!
//! A *predicate* is such a fact: a bill of materials ([`spdx`], from [`packages`]) or a provenance (made by whoever built the image).
//! A [`Statement`] ties predicates to an image: it names the digest of the image's manifest. Statements of one
//! image are the layers of one more manifest, which an index lists beside the image's own under a platform that is none, with
//! annotations that say what it is about: BuildKit's form, read by its tools and left aside by others. As a [`Form::Artifact`]
//! that manifest also refers to the image's as OCI has it (`subject`), so that registries list it among its referrers.

mod layers;
pub mod packages;
pub mod spdx;

use std::collections::BTreeMap;

use base64::Engine as _;
use rbuild_model::digest::BlobDigest;
use rbuild_model::platform::Platform;
use rbuild_model::reference::Reference;
use serde_json::{Value, json};

pub use self::layers::with_layers;
use crate::manifest::{Descriptor, Manifest, MediaType};

/// The type of a statement's bytes.
pub const STATEMENT: &str = "application/vnd.in-toto+json";
/// The predicate that an SPDX document is.
pub const SPDX: &str = "https://spdx.dev/Document";
/// The predicate that a provenance of SLSA's version 1 is.
pub const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
/// The predicate that a provenance of SLSA's version 0.2 is.
pub const PROVENANCE_02: &str = "https://slsa.dev/provenance/v0.2";
/// The most bytes of a statement that is read.
pub const MAX_STATEMENT: u64 = 64 << 20;
/// What a manifest of statements is, as an artifact.
pub const ARTIFACT: &str = "application/vnd.docker.attestation.manifest.v1+json";
/// The type of a config that says nothing.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

const ABOUT: &str = "vnd.docker.reference.digest";
const KIND: &str = "vnd.docker.reference.type";
const ATTESTATION: &str = "attestation-manifest";
const PREDICATE: &str = "in-toto.io/predicate-type";

/// A fact about an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Predicate {
    /// What kind of fact: a URI.
    pub kind: String,
    /// The fact.
    pub value: Value,
}

/// What a manifest of statements looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// An image for no platform.
    #[default]
    Image,
    /// An artifact of OCI, which refers to the image.
    Artifact,
}

/// A fact, and the image that it is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement<'a> {
    /// The fact.
    pub predicate: &'a Predicate,
    /// The digest of the image's manifest.
    pub about: BlobDigest,
    /// What the image is called.
    pub names: &'a [Reference],
    /// What it is for.
    pub platform: &'a Platform,
}

impl Statement<'_> {
    /// Writes it down.
    pub fn to_bytes(&self) -> Vec<u8> {
        let digest = json!({ "sha256": self.about.hex() });
        let subject = |name: String| json!({ "name": name, "digest": digest });
        let mut subjects: Vec<Value> =
            self.names.iter().map(|name| subject(package_url(name, self.platform))).collect();
        if subjects.is_empty() {
            subjects.push(subject("_".to_owned()));
        }
        statement(self.predicate, &subjects).to_string().into_bytes()
    }

    /// Names its bytes as a layer of a manifest.
    pub fn descriptor(&self, bytes: &[u8]) -> Descriptor {
        let mut descriptor = Descriptor::of(STATEMENT, bytes);
        descriptor.annotations.insert(PREDICATE.to_owned(), self.predicate.kind.clone());
        descriptor
    }
}

/// Writes down a fact about files, which have paths and digests.
pub fn about_files(predicate: &Predicate, files: &[(String, BlobDigest)]) -> Vec<u8> {
    let subject =
        |(name, digest): &(String, BlobDigest)| json!({ "name": name, "digest": { "sha256": digest.hex() } });
    let subjects: Vec<Value> = files.iter().map(subject).collect();
    format!("{:#}", statement(predicate, &subjects)).into_bytes()
}

fn statement(predicate: &Predicate, subjects: &[Value]) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": predicate.kind,
        "subject": subjects,
        "predicate": predicate.value,
    })
}

/// The platform that manifests of statements stand under: none.
pub fn no_platform() -> Platform {
    Platform { os: "unknown".into(), architecture: "unknown".into(), variant: String::new() }
}

/// Makes the manifest of statements, and the config that it names. `about` names the image's manifest.
pub fn manifest(statements: Vec<Descriptor>, form: Form, about: &Descriptor) -> (Manifest, Vec<u8>) {
    match form {
        Form::Image => as_image(statements),
        Form::Artifact => as_artifact(statements, about),
    }
}

fn as_artifact(statements: Vec<Descriptor>, about: &Descriptor) -> (Manifest, Vec<u8>) {
    let config = b"{}".to_vec();
    let mut named = Descriptor::of(EMPTY, &config);
    let data = base64::engine::general_purpose::STANDARD.encode(&config);
    named.extra.insert("data".to_owned(), data.into());
    let mut manifest = Manifest::new(named, statements);
    let subject = json!({ "mediaType": about.media_type, "digest": about.digest, "size": about.size });
    manifest.extra.insert("artifactType".to_owned(), ARTIFACT.into());
    manifest.extra.insert("subject".to_owned(), subject);
    (manifest, config)
}

fn as_image(statements: Vec<Descriptor>) -> (Manifest, Vec<u8>) {
    let diff_ids: Vec<String> = statements.iter().map(|statement| statement.digest.to_string()).collect();
    let config = json!({
        "architecture": "unknown",
        "os": "unknown",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    })
    .to_string()
    .into_bytes();
    (Manifest::new(Descriptor::of(MediaType::OCI_CONFIG, &config), statements), config)
}

/// Says whether an entry of an index is about an image, and none itself.
pub fn is_attestation(entry: &Descriptor) -> bool {
    entry.annotations.contains_key(KIND)
}

/// Whether an entry of an index is a manifest of statements about another.
pub fn is_about(entry: &Descriptor, image: BlobDigest) -> bool {
    // The first of the two keys is an older name.
    let about = ["com.docker.reference.digest", ABOUT].iter().find_map(|key| entry.annotations.get(*key));
    about.is_some_and(|about| *about == image.to_string())
}

/// The kind of fact that a layer of such a manifest holds, if it is a statement.
pub fn kind_of(layer: &Descriptor) -> Option<&str> {
    let media_type = layer.media_type.as_str();
    let is_statement = media_type == STATEMENT || is_signed(media_type);
    layer.annotations.get(PREDICATE).filter(|_| is_statement).map(String::as_str)
}

/// Whether a statement stands in an envelope with signatures, which are not looked at.
fn is_signed(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.in-toto.") && media_type.ends_with("+dsse")
}

/// Reads the fact of a statement that came as a layer; nothing if it is none.
pub fn read(layer: &Descriptor, bytes: &[u8]) -> Option<Predicate> {
    predicate(layer, opened(layer, bytes)?)
}

/// As [`read`], if the statement itself says that it is about an image: where a list says so, that is only its word.
pub fn read_about(layer: &Descriptor, bytes: &[u8], image: BlobDigest) -> Option<Predicate> {
    let statement = opened(layer, bytes)?;
    let mut subjects = statement.get("subject")?.as_array()?.iter();
    let is_about = subjects.any(|subject| subject["digest"]["sha256"] == image.hex().as_str());
    if is_about { predicate(layer, statement) } else { None }
}

/// Takes the fact out of a statement.
fn predicate(layer: &Descriptor, mut statement: Value) -> Option<Predicate> {
    let kind = kind_of(layer)?.to_owned();
    Some(Predicate { kind, value: statement.get_mut("predicate")?.take() })
}

/// Takes a statement out of its envelope, if it is in one.
fn opened(layer: &Descriptor, bytes: &[u8]) -> Option<Value> {
    let statement: Value = serde_json::from_slice(bytes).ok()?;
    if !is_signed(layer.media_type.as_str()) {
        return Some(statement);
    }
    let payload = base64::engine::general_purpose::STANDARD.decode(statement["payload"].as_str()?).ok()?;
    serde_json::from_slice(&payload).ok()
}

/// What is written on the entry of such a manifest in an index.
pub fn entry_annotations(about: BlobDigest) -> BTreeMap<String, String> {
    [(ABOUT, about.to_string()), (KIND, ATTESTATION.to_owned())]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
}

/// The package URL of an image: `pkg:docker/library/busybox@latest?platform=linux%2Famd64`.
pub fn package_url(name: &Reference, platform: &Platform) -> String {
    let familiar = name.familiar_name();
    let version = match (name.digest(), name.tag()) {
        (Some(digest), _) => format!("@{}", packages::encoded(&digest.to_string())),
        (None, Some(tag)) => format!("@{}", packages::encoded(tag)),
        (None, None) => String::new(),
    };
    let path: Vec<String> = familiar.split('/').map(packages::encoded).collect();
    format!("pkg:docker/{}{version}?platform={}", path.join("/"), packages::encoded(&platform.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_names_the_image_and_an_index_names_what_it_is_about() {
        let predicate = Predicate { kind: PROVENANCE.to_owned(), value: json!({"a": 1}) };
        let names = ["example.com:5000/app:v1".parse().unwrap()];
        let platform = "linux/arm/v7".parse().unwrap();
        let about = BlobDigest::of(b"manifest");
        let statement = Statement { predicate: &predicate, about, names: &names, platform: &platform };
        let bytes = statement.to_bytes();
        let read: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(
            read["subject"],
            json!([{
                "name": "pkg:docker/example.com%3A5000/app@v1?platform=linux%2Farm%2Fv7",
                "digest": {"sha256": about.hex()},
            }])
        );
        assert_eq!((&read["predicateType"], &read["predicate"]["a"]), (&json!(PROVENANCE), &json!(1)));
        let layer = statement.descriptor(&bytes);
        assert_eq!(layer.annotations[PREDICATE], PROVENANCE);
        assert_eq!(kind_of(&layer), Some(PROVENANCE));
        let subject = Descriptor::of(MediaType::OCI_MANIFEST, b"manifest");
        let (manifest, config) = manifest(vec![layer], Form::Image, &subject);
        let config: Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"], json!([BlobDigest::of(&bytes).to_string()]));
        let text = String::from_utf8(manifest.to_bytes()).unwrap();
        assert!(text.contains(STATEMENT), "{text}");
        let entry = Descriptor::of(MediaType::OCI_MANIFEST, b"x").for_platform(&no_platform());
        assert_eq!(entry.platform, Some(json!({"architecture": "unknown", "os": "unknown"})));
        assert_eq!(entry_annotations(about)[ABOUT], about.to_string());
        let mut entry = entry;
        entry.annotations = entry_annotations(about);
        assert!(is_about(&entry, about) && !is_about(&entry, BlobDigest::of(b"other")));
    }

    #[test]
    fn statements_are_read_also_out_of_envelopes() {
        let bytes = br#"{"predicateType": "x", "predicate": {"a": 1}}"#;
        let mut layer = Descriptor::of(STATEMENT, bytes);
        assert_eq!(read(&layer, bytes), None);
        layer.annotations.insert(PREDICATE.to_owned(), SPDX.to_owned());
        let expected = Some(Predicate { kind: SPDX.to_owned(), value: json!({"a": 1}) });
        assert_eq!(read(&layer, bytes), expected);
        assert_eq!((read(&layer, b"{}"), read(&layer, b"[")), (None, None));
        layer.media_type = MediaType::new("application/vnd.in-toto.spdx+dsse");
        let payload = base64::engine::general_purpose::STANDARD.encode(bytes);
        assert_eq!(read(&layer, json!({"payload": payload}).to_string().as_bytes()), expected);
        assert_eq!(read(&layer, bytes), None);
    }

    #[test]
    fn a_statement_about_something_else_says_nothing_of_an_image() {
        let image = BlobDigest::of(b"image");
        let predicate = Predicate { kind: SPDX.to_owned(), value: json!({"a": 1}) };
        let platform = Platform::host();
        let statement = Statement { predicate: &predicate, about: image, names: &[], platform: &platform };
        let bytes = statement.to_bytes();
        let layer = statement.descriptor(&bytes);
        assert_eq!(read_about(&layer, &bytes, image), Some(predicate.clone()));
        assert_eq!(read_about(&layer, &bytes, BlobDigest::of(b"another")), None);
        for bytes in [&b"{}"[..], b"[", br#"{"subject": 1, "predicate": 2}"#] {
            assert_eq!(read_about(&layer, bytes, image), None);
        }
    }

    #[test]
    fn an_artifact_refers_to_the_image_by_its_manifest_alone() {
        let mut about = Descriptor::of(MediaType::OCI_MANIFEST, b"manifest").for_platform(&Platform::host());
        about.annotations.insert("a".to_owned(), "b".to_owned());
        let (manifest, config) = manifest(Vec::new(), Form::Artifact, &about);
        assert_eq!(config, b"{}");
        let read: Value = serde_json::from_slice(&manifest.to_bytes()).unwrap();
        assert_eq!(
            read,
            json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "artifactType": "application/vnd.docker.attestation.manifest.v1+json",
                "config": {
                    "mediaType": "application/vnd.oci.empty.v1+json",
                    "digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
                    "size": 2,
                    "data": "e30=",
                },
                "layers": [],
                "subject": {
                    "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "digest": about.digest.to_string(),
                    "size": 8,
                },
            })
        );
    }

    #[test]
    fn an_image_without_a_name_is_a_subject_all_the_same() {
        let predicate = Predicate { kind: SPDX.to_owned(), value: Value::Null };
        let platform = Platform::host();
        let statement =
            Statement { predicate: &predicate, about: BlobDigest::of(b"m"), names: &[], platform: &platform };
        let read: Value = serde_json::from_slice(&statement.to_bytes()).unwrap();
        assert_eq!(read["subject"][0]["name"], "_");
        assert_eq!(
            package_url(&"busybox".parse().unwrap(), &"linux/amd64".parse().unwrap()),
            "pkg:docker/busybox?platform=linux%2Famd64"
        );
    }
}
