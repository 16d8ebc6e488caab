//! Imports go only down: the floors of ARCHITECTURE.md as a table.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::{File, Finding, code};

/// On which floor each crate lives. Crates of one floor do not import each other.
const FLOORS: &[(&str, u8)] = &[
    ("rbuild-model", 0),
    ("rbuild-confined", 0),
    ("rbuild-store", 1),
    ("rbuild-image", 1),
    ("rbuild-frontend", 1),
    ("rbuild-solver", 1),
    ("rbuild-snapshotter", 2),
    ("rbuild-cache", 2),
    ("rbuild-sandbox", 2),
    ("rbuild-network", 2),
    ("rbuild-devices", 3),
    ("rbuild-images", 3),
    ("rbuild-monitor", 3),
    ("rbuild-engine", 4),
    ("rbuild-worker", 4),
    ("rbuild-api", 5),
    ("rbuild", 6),
];

/// Crates of development: others take them for tests only, and they take none of ours.
const TOOLS: &[&str] = &["rbuild-testkit", "xtask"];

/// Who may wait for something without a thread. In the first two a module of theirs alone: see `source`.
const ASYNC: &[&str] = &[
    "rbuild-image",
    "rbuild-cache",
    "rbuild-images",
    "rbuild-engine",
    "rbuild-worker",
    "rbuild-api",
    "rbuild",
];
const ASYNC_CRATES: &[&str] =
    &["tokio", "tokio-util", "futures-util", "reqwest", "hyper", "axum", "tonic", "rtnetlink"];

/// What cargo says about the workspace.
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
    path: Option<String>,
}

/// Asks cargo about the workspace.
pub(super) fn metadata(root: &Path) -> Result<Metadata> {
    let output = Command::new("cargo")
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root)
        .output()
        .context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("cargo metadata wrote something else than its format")
}

pub(super) fn check(metadata: &Metadata) -> Vec<Finding> {
    let floor = |name: &str| FLOORS.iter().find(|entry| entry.0 == name).map(|entry| entry.1);
    let mut findings = Vec::new();
    for package in &metadata.packages {
        let mut report = |message: String| {
            findings.push(Finding {
                path: format!("{}/Cargo.toml", folder(&package.name)),
                line: 1,
                message,
            });
        };
        let tool = TOOLS.contains(&package.name.as_str());
        let own = floor(&package.name);
        if own.is_none() && !tool {
            report(format!("`{}` is on no floor: give it one in xtask/src/tidy/floors.rs", package.name));
        }
        for dependency in &package.dependencies {
            let name = dependency.name.as_str();
            let for_tests = dependency.kind.as_deref() == Some("dev");
            if ASYNC_CRATES.contains(&name) && !for_tests && !ASYNC.contains(&package.name.as_str()) {
                report(format!("`{}` is synchronous: it may not depend on `{name}`", package.name));
            }
            if dependency.path.is_none() {
                continue;
            }
            match (own, floor(name)) {
                _ if TOOLS.contains(&name) && (for_tests || tool) => {}
                _ if TOOLS.contains(&name) => report(format!("`{name}` is for tests only: a dev-dependency")),
                (None, _) => report(format!("`{}` is a tool: it takes none of our crates", package.name)),
                (Some(own), Some(other)) if other < own => {}
                (Some(own), Some(other)) => {
                    report(format!("imports go down: floor {own} may not import `{name}` of floor {other}"));
                }
                (Some(_), None) => report(format!("`{name}` is on no floor")),
            }
        }
    }
    findings
}

/// Foreign crates that have no line in the document that says why they were taken.
pub(super) fn undocumented(metadata: &Metadata, document: &File) -> Vec<Finding> {
    let foreign = metadata.packages.iter().flat_map(|package| &package.dependencies);
    let names: BTreeSet<&str> =
        foreign.filter(|entry| entry.path.is_none()).map(|entry| entry.name.as_str()).collect();
    let missing =
        names.into_iter().filter(|name| !document.text.lines().any(|line| code::has_word(line, name)));
    missing
        .map(|name| Finding::new(document, 1, format!("the dependency `{name}` has no line here")))
        .collect()
}

fn folder(package: &str) -> &str {
    match package {
        "rbuild" => ".",
        package => package.strip_prefix("rbuild-").unwrap_or(package),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(package: &str, dependencies: &[(&str, Option<&str>, bool)]) -> Vec<String> {
        let dependencies = dependencies
            .iter()
            .map(|(name, kind, ours)| Dependency {
                name: (*name).to_owned(),
                kind: kind.map(str::to_owned),
                path: ours.then(String::new),
            })
            .collect();
        let package = Package { name: package.to_owned(), dependencies };
        check(&Metadata { packages: vec![package] }).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn imports_go_down() {
        assert_eq!(
            messages("rbuild-worker", &[("rbuild-model", None, true), ("rbuild-images", None, true)]),
            [""; 0]
        );
        for (package, import) in [
            ("rbuild-worker", "rbuild-engine"),
            ("rbuild-model", "rbuild-store"),
            ("rbuild-sandbox", "rbuild-network"),
            ("rbuild-network", "rbuild"),
        ] {
            assert_eq!(messages(package, &[(import, None, true)]).len(), 1, "{package} -> {import}");
        }
    }

    #[test]
    fn tools_are_for_tests() {
        assert_eq!(messages("rbuild-store", &[("rbuild-testkit", Some("dev"), true)]), [""; 0]);
        assert_eq!(messages("rbuild-store", &[("rbuild-testkit", None, true)]).len(), 1);
        assert_eq!(messages("rbuild-testkit", &[("rbuild-model", None, true)]).len(), 1);
    }

    #[test]
    fn tokio_keeps_to_its_floors() {
        assert_eq!(messages("rbuild-images", &[("tokio", None, false)]), [""; 0]);
        assert_eq!(messages("rbuild-monitor", &[("tokio", None, false)]).len(), 1);
        assert_eq!(messages("rbuild-new", &[]).len(), 1, "a crate without a floor");
    }
}
