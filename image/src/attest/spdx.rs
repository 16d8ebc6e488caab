//! The bill of materials as a document of SPDX 2.3, in JSON.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::packages::{Inventory, Package};

/// What a document is about.
#[derive(Clone, Debug)]
pub struct Described<'a> {
    /// What the image is called, if anything.
    pub name: &'a str,
    /// When the document was made, in RFC 3339.
    pub created: &'a str,
    /// Who made it: a name and a version, `rbuild-1.2`.
    pub tool: &'a str,
}

const NOTHING: &str = "NOASSERTION";
const ROOT: &str = "SPDXRef-Image";

/// Writes down what was found in a root. Equal inventories make equal documents.
pub fn document(inventory: &Inventory, described: &Described<'_>) -> Value {
    let mut hasher = Sha256::new();
    hasher.update(described.name);
    let mut packages = vec![json!({
        "name": described.name,
        "SPDXID": ROOT,
        "downloadLocation": NOTHING,
        "filesAnalyzed": false,
        "licenseConcluded": NOTHING,
        "licenseDeclared": NOTHING,
        "copyrightText": NOTHING,
        "primaryPackagePurpose": "CONTAINER",
    })];
    let mut relationships = vec![relationship("SPDXRef-DOCUMENT", "DESCRIBES", ROOT)];
    for package in inventory.packages() {
        let url = inventory.url(package);
        hasher.update(b"\n");
        hasher.update(&url);
        let id = id(package, &url);
        relationships.push(relationship(ROOT, "CONTAINS", &id));
        packages.push(entry(package, &url, &id));
    }
    let left_out: Vec<&str> = inventory.left_out().collect();
    let hash: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": described.name,
        "documentNamespace": format!("https://spdx.org/spdxdocs/rbuild-{hash}"),
        "creationInfo": {
            "created": described.created,
            "creators": [format!("Tool: {}", described.tool)],
        },
        "packages": packages,
        "relationships": relationships,
    });
    if !left_out.is_empty() {
        document["comment"] = json!(format!("not read: {}", left_out.join("; ")));
    }
    document
}

fn entry(package: &Package, url: &str, id: &str) -> Value {
    let mut entry = json!({
        "name": package.name,
        "SPDXID": id,
        "versionInfo": package.version,
        "downloadLocation": NOTHING,
        "filesAnalyzed": false,
        "licenseConcluded": NOTHING,
        "licenseDeclared": NOTHING,
        "copyrightText": NOTHING,
        "sourceInfo": format!("acquired package info from: /{}", package.found_in),
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": url,
        }],
    });
    // What a package says of its licence is rarely an expression of SPDX, and a wrong one spoils the document.
    if let Some(licence) = &package.licence {
        entry["licenseComments"] = json!(format!("declared: {licence}"));
    }
    entry
}

fn relationship(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

/// An id of letters, digits, dots and dashes, the same for the same package.
fn id(package: &Package, url: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let name: String = package.name.chars().map(plain).collect();
    let hash = Sha256::new().chain_update(url).chain_update([0]).chain_update(&package.found_in).finalize();
    let hash: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("SPDXRef-Package-{}-{name}-{hash}", package.ecosystem.word())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::packages::Database;
    use super::*;

    #[test]
    fn a_document_describes_the_image_and_what_it_contains() {
        let mut inventory = Inventory::default();
        let list = "P:musl\nV:1.2.5-r0\nL:MIT\n\nP:a+b\nV:1\n\nP:a-b\nV:1\n";
        inventory.read(Database::Apk, "lib/apk/db/installed", &list.as_bytes()).unwrap();
        inventory.leave_out("var/lib/rpm/rpmdb.sqlite", "rpm is not read");
        let described = Described { name: "app", created: "2024-01-01T00:00:00Z", tool: "rbuild-0" };
        let document = document(&inventory, &described);
        assert_eq!(document, super::document(&inventory.clone(), &described));
        let packages = document["packages"].as_array().unwrap();
        let ids: HashSet<&str> = packages.iter().map(|package| package["SPDXID"].as_str().unwrap()).collect();
        assert_eq!((packages.len(), ids.len()), (4, 4), "{document:#}");
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
        assert!(ids.iter().all(|id| id.chars().all(good)));
        for relationship in document["relationships"].as_array().unwrap() {
            assert!(ids.contains(relationship["relatedSpdxElement"].as_str().unwrap()));
        }
        let musl = packages.iter().find(|package| package["name"] == "musl").unwrap();
        assert_eq!(musl["externalRefs"][0]["referenceLocator"], "pkg:apk/alpine/musl@1.2.5-r0");
        assert_eq!(musl["licenseComments"], "declared: MIT");
        assert_eq!(document["comment"], "not read: var/lib/rpm/rpmdb.sqlite: rpm is not read");
    }
}
