//! What is said about an image beside it: what is in it, and how it was made.
//!
//! A *predicate* is such a fact: a bill of materials ([`spdx`], from [`packages`]) or a provenance (made by whoever built the image).
//! A [`Statement`] ties predicates to an image: it names the digest of the image's manifest. Statements of one
//! image are the layers of one more manifest, which an index lists beside the image's own under a platform that is none, with
//! annotations that say what it is about: BuildKit's form, read by its tools and left aside by others.

pub mod packages;
pub mod spdx;

use std::collections::BTreeMap;

use rbuild_model::digest::BlobDigest;
use rbuild_model::platform::Platform;
use rbuild_model::reference::Reference;
use serde_json::{Value, json};

use crate::manifest::{Descriptor, Manifest, MediaType};

/// The type of a statement's bytes.
pub const STATEMENT: &str = "application/vnd.in-toto+json";
/// The predicate that an SPDX document is.
pub const SPDX: &str = "https://spdx.dev/Document";
/// The predicate that a provenance of SLSA's version 1 is.
pub const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

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
        json!({
            "_type": "https://in-toto.io/Statement/v0.1",
            "predicateType": self.predicate.kind,
            "subject": subjects,
            "predicate": self.predicate.value,
        })
        .to_string()
        .into_bytes()
    }

    /// Names its bytes as a layer of a manifest.
    pub fn descriptor(&self, bytes: &[u8]) -> Descriptor {
        let mut descriptor = Descriptor::of(STATEMENT, bytes);
        descriptor.annotations.insert(PREDICATE.to_owned(), self.predicate.kind.clone());
        descriptor
    }
}

/// The platform that manifests of statements stand under: none.
pub fn no_platform() -> Platform {
    Platform { os: "unknown".into(), architecture: "unknown".into(), variant: String::new() }
}

/// Makes the manifest of statements, and the config that it names.
pub fn manifest(statements: Vec<Descriptor>) -> (Manifest, Vec<u8>) {
    let diff_ids: Vec<String> = statements.iter().map(|statement| statement.digest.to_string()).collect();
    let config = json!({
        "architecture": "unknown",
        "os": "unknown",
        "config": {},
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    })
    .to_string()
    .into_bytes();
    let mut manifest = Manifest::new(Descriptor::of(MediaType::OCI_CONFIG, &config), statements);
    manifest.media_type = Some(MediaType::new(MediaType::OCI_MANIFEST));
    (manifest, config)
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
        let (manifest, config) = manifest(vec![layer]);
        let config: Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"], json!([BlobDigest::of(&bytes).to_string()]));
        let text = String::from_utf8(manifest.to_bytes()).unwrap();
        assert!(text.contains(STATEMENT), "{text}");
        let entry = Descriptor::of(MediaType::OCI_MANIFEST, b"x").for_platform(&no_platform());
        assert_eq!(entry.platform, Some(json!({"architecture": "unknown", "os": "unknown"})));
        assert_eq!(entry_annotations(about)[ABOUT], about.to_string());
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
