use rbuild_model::digest::BlobDigest;
use rbuild_model::platform::Platform;

use super::*;

const ZERO: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

fn manifest_text(extra: &str) -> String {
    format!(
        r#"{{"schemaVersion":2,{extra}"config":{{"mediaType":"c","digest":"{ZERO}","size":1}},"layers":[]}}"#
    )
}

fn parse(text: &str) -> Result<Document, DocumentError> {
    Document::parse(text.as_bytes(), None)
}

#[test]
fn a_document_is_one_thing_or_nothing() {
    assert!(matches!(parse(&manifest_text("")), Ok(Document::Manifest(_))));
    assert!(matches!(parse(r#"{"schemaVersion":2,"manifests":[]}"#), Ok(Document::Index(_))));
    let both = manifest_text(r#""manifests":[],"#);
    assert!(matches!(parse(&both), Err(DocumentError::Ambiguous(_))));
    let typed = manifest_text(&format!(r#""mediaType":"{}","#, MediaType::OCI_INDEX));
    assert!(matches!(parse(&typed), Err(DocumentError::Ambiguous(_))));
    let cased = manifest_text(r#""Layers":[],"#);
    assert!(matches!(parse(&cased), Err(DocumentError::Ambiguous(_))));
    let foreign = manifest_text(r#""mediaType":"application/x","#);
    assert!(matches!(parse(&foreign), Err(DocumentError::Unsupported(_))));
    assert!(matches!(parse(r#"{"schemaVersion":1,"fsLayers":[]}"#), Err(DocumentError::Schema1)));
}

#[test]
fn the_type_that_came_along_must_agree() {
    let text = manifest_text(&format!(r#""mediaType":"{}","#, MediaType::DOCKER_MANIFEST));
    let with = |content_type| Document::parse(text.as_bytes(), Some(content_type));
    assert!(with(MediaType::DOCKER_MANIFEST).is_ok());
    assert!(with("application/vnd.docker.distribution.manifest.v2+json; charset=utf-8").is_ok());
    assert!(with("application/json").is_ok());
    assert!(matches!(with(MediaType::OCI_MANIFEST), Err(DocumentError::Ambiguous(_))));
    assert!(matches!(with(MediaType::DOCKER_LIST), Err(DocumentError::Ambiguous(_))));
}

#[test]
fn json_that_parsers_read_differently_is_refused() {
    for text in [
        manifest_text(r#""config":1,"#),
        format!("{} ", manifest_text("")) + "{}",
        format!("\u{feff}{}", manifest_text("")),
        format!("{}1{}", "[".repeat(70), "]".repeat(70)),
        manifest_text(r#""a":1e999,"#),
        "{".to_owned(),
    ] {
        assert!(matches!(parse(&text), Err(DocumentError::Json(_))), "{text}");
    }
    let huge = vec![b' '; MAX_DOCUMENT as usize + 1];
    assert!(matches!(parse_strict(&huge), Err(JsonError::TooLarge)));
}

#[test]
fn digests_and_sizes_follow_their_grammar() {
    for (digest, size) in [
        ("sha256:../../x", "1"),
        ("md5:00", "1"),
        ("sha512:00", "1"),
        (&ZERO.to_uppercase(), "1"),
        (ZERO, "-1"),
        (ZERO, "18446744073709551616"),
        (ZERO, "1.5"),
        (ZERO, "\"1\""),
    ] {
        let text = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"c","digest":"{digest}","size":{size}}},"layers":[]}}"#
        );
        assert!(matches!(parse(&text), Err(DocumentError::Form(_))), "{text}");
    }
}

#[test]
fn embedded_data_is_checked() {
    let mut descriptor = Descriptor::of("t", b"hi");
    assert_eq!(descriptor.data().unwrap(), None);
    descriptor.extra.insert("data".into(), "aGk=".into());
    assert_eq!(descriptor.data().unwrap().unwrap(), b"hi");
    for wrong in ["aGkh", "!", ""] {
        descriptor.extra.insert("data".into(), wrong.into());
        assert!(matches!(descriptor.data(), Err(DocumentError::Data(_))));
    }
}

fn index(platforms: &[&str]) -> Index {
    let entries = platforms.iter().map(|name| {
        let descriptor = Descriptor::of(MediaType::OCI_MANIFEST, name.as_bytes());
        match name.parse::<Platform>() {
            Ok(platform) => descriptor.for_platform(&platform),
            Err(_) => descriptor,
        }
    });
    Index::new(entries.collect())
}

fn chosen<'a>(platforms: &[&'a str], wanted: &str) -> Option<&'a str> {
    let index = index(platforms);
    let digest = index.select(&wanted.parse().unwrap()).ok()?.digest;
    platforms.iter().find(|name| BlobDigest::of(name.as_bytes()) == digest).copied()
}

#[test]
fn the_platform_decides_and_order_breaks_ties() {
    let all = ["linux/arm/v5", "linux/386", "linux/amd64", "linux/arm/v7", "linux/arm64", "unknown/unknown"];
    assert_eq!(chosen(&all, "linux/amd64"), Some("linux/amd64"));
    assert_eq!(chosen(&all, "linux/arm/v6"), Some("linux/arm/v5"));
    assert_eq!(chosen(&all, "linux/arm/v8"), Some("linux/arm/v7"));
    assert_eq!(chosen(&["linux/386", "linux/arm64"], "linux/amd64"), Some("linux/386"));
    assert_eq!(chosen(&all, "linux/s390x"), None);
    assert_eq!(chosen(&["no platform"], "linux/amd64"), Some("no platform"));
    assert_eq!(chosen(&["no platform", "linux/arm64"], "linux/amd64"), None);
    let message = index(&all).select(&"linux/s390x".parse().unwrap()).unwrap_err().to_string();
    assert!(
        message.contains("linux/s390x") && message.contains("linux/amd64") && !message.contains("unknown")
    );
}

#[test]
fn written_documents_are_read_back_and_pinned() {
    let layer = Descriptor::of(MediaType::OCI_LAYER_GZIP, b"layer");
    let manifest = Manifest::new(Descriptor::of(MediaType::OCI_CONFIG, b"{}"), vec![layer]);
    let bytes = manifest.to_bytes();
    assert_eq!(Document::parse(&bytes, None).unwrap(), Document::Manifest(manifest));
    assert_eq!(
        BlobDigest::of(&bytes).to_string(),
        "sha256:4851b0e052b7b6ddf088334a8c85f450ce342eb67f7dc342a21ce9536e084745"
    );
    let index = index(&["linux/amd64", "linux/arm/v7"]);
    assert_eq!(Document::parse(&index.to_bytes(), None).unwrap(), Document::Index(index));
}
