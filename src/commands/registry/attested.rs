//! What is said about images at registries, in the form that buildx shows it in.

use rbuild_image::attest::{ARTIFACT, SPDX, is_about};
use rbuild_image::distribution::Fetched;
use rbuild_image::manifest::{Descriptor, Document};
use rbuild_images::Remote;
use rbuild_model::digest::BlobDigest;
use rbuild_model::reference::Reference;
use serde_json::{Map, Value, json};

/// What the kinds of provenances begin with, whatever their version.
const PROVENANCES: &str = "https://slsa.dev/provenance/";

/// What is said about an image: of one platform the facts, of several by platform.
pub(super) struct Said {
    /// `{"SPDX": ...}`.
    pub(super) materials: Value,
    /// `{"SLSA": ...}`.
    pub(super) provenance: Value,
}

/// Fetches what is said about an image: what stands beside it in its index, else what refers to it.
pub(super) fn said(remote: &Remote, reference: &Reference, fetched: &Fetched) -> anyhow::Result<Said> {
    let (images, beside): (Vec<(String, BlobDigest)>, &[Descriptor]) = match &fetched.document {
        Document::Manifest(_) => (vec![(String::new(), fetched.digest)], &[]),
        Document::Index(index) => {
            let platform = |entry: &Descriptor| {
                let platform = entry.platform().filter(|platform| platform.os != "unknown")?;
                Some((platform.to_string(), entry.digest))
            };
            (index.manifests.iter().filter_map(platform).collect(), &index.manifests)
        }
    };
    let (mut materials, mut provenance) = (Map::new(), Map::new());
    for (platform, image) in &images {
        let mut about: Vec<BlobDigest> =
            beside.iter().filter(|entry| is_about(entry, *image)).map(|entry| entry.digest).collect();
        if about.is_empty() {
            let is_artifact = |entry: &Descriptor| entry.extra.get("artifactType") == Some(&json!(ARTIFACT));
            let referring = remote.referrers(reference, *image)?;
            about = referring.into_iter().filter(is_artifact).map(|entry| entry.digest).collect();
        }
        let (sbom, slsa) = facts(remote, reference, &about)?;
        materials.extend(sbom.map(|sbom| (platform.clone(), sbom)));
        provenance.extend(slsa.map(|slsa| (platform.clone(), slsa)));
    }
    // As with images: what is for one platform needs no name of it.
    let shown = |mut facts: Map<String, Value>| match images.len() {
        0 | 1 => facts.into_iter().next().map_or_else(|| json!({}), |(_, fact)| fact),
        _ => {
            facts.sort_keys();
            Value::Object(facts)
        }
    };
    Ok(Said { materials: shown(materials), provenance: shown(provenance) })
}

/// The bill of materials and the provenance that manifests hold.
fn facts(
    remote: &Remote,
    reference: &Reference,
    manifests: &[BlobDigest],
) -> anyhow::Result<(Option<Value>, Option<Value>)> {
    let (mut bills, mut provenance) = (Vec::new(), None);
    for manifest in manifests {
        let named = reference.clone().without_digest().with_digest(*manifest);
        let Document::Manifest(manifest) = remote.document(&named)?.document else { continue };
        for layer in &manifest.layers {
            let Some(mut fact) = remote.statement(reference, layer)? else { continue };
            // As Go writes what it knows no type of.
            fact.value.sort_all_objects();
            if fact.kind == SPDX {
                bills.push(fact.value);
            } else if fact.kind.starts_with(PROVENANCES) && provenance.is_none() {
                provenance = Some(json!({ "SLSA": fact.value }));
            }
        }
    }
    let mut bills = bills.into_iter();
    let sbom = bills.next().map(|first| {
        let mut sbom = json!({ "SPDX": first });
        let more: Vec<Value> = bills.collect();
        if !more.is_empty() {
            sbom["AdditionalSPDXs"] = json!(more);
        }
        sbom
    });
    Ok((sbom, provenance))
}
