//! What targets need to be allowed on the command line: bake files may be somebody else's.
//!
//! | Right | What needs it |
//! |---|---|
//! | `network.host`, `security.insecure` | `entitlements` of a target |
//! | `fs.read=PATH` | contexts, OCI layouts, Dockerfiles, secrets and caches outside of this folder |
//! | `fs.write=PATH` | outputs and caches outside of this folder |
//! | `fs=PATH` | both; `*` for any path |
//! | `ssh` | agents and keys other than the default one |

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rbuild_frontend::bake::options::Entry;
use rbuild_frontend::bake::{Plan, Target};

use super::plan::{dockerfile, read_from};
use crate::report::Mistake;
use crate::settings::Environment;

/// Checks that everything that targets need is allowed.
pub(super) fn check(plan: &Plan, allowed: &[String], environment: &Environment) -> anyhow::Result<()> {
    let here = std::env::current_dir()?;
    let mut missing = BTreeSet::new();
    for target in plan.targets.values() {
        for right in needed(target, environment) {
            if !right.is_given(allowed, &here) {
                missing.insert(right);
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let told: Vec<String> = missing.iter().map(|right| right.describe()).collect();
    let flags: Vec<String> = missing.iter().map(|right| format!("--allow={}", right.flag())).collect();
    Err(Mistake::new(format!("additional privileges requested: {}", told.join(", ")))
        .hint(format!("if that is meant, add {}", flags.join(" ")))
        .into())
}

/// A right that a target needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Right {
    Named(String),
    Read(PathBuf),
    Write(PathBuf),
    Ssh,
}

impl Right {
    fn is_given(&self, allowed: &[String], here: &Path) -> bool {
        let given = |kinds: &[&str], path: &Path| {
            let path = real(path, here);
            path.starts_with(real(here, here))
                || allowed.iter().any(|right| {
                    right.split_once('=').is_some_and(|(kind, root)| {
                        kinds.contains(&kind)
                            && (root == "*" || path.starts_with(real(Path::new(root), here)))
                    })
                })
        };
        match self {
            Self::Named(name) => {
                // A right to all devices is one to each.
                allowed.contains(name)
                    || name.starts_with("device=") && allowed.iter().any(|right| right == "device")
            }
            Self::Read(path) => given(&["fs", "fs.read"], path),
            Self::Write(path) => given(&["fs", "fs.write"], path),
            Self::Ssh => allowed.iter().any(|right| right == "ssh"),
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Named(name) if name == "network.host" => {
                "running steps in the network of this machine".to_owned()
            }
            Self::Named(name) if name == "security.insecure" => "running steps with all rights".to_owned(),
            Self::Named(name) => format!("the right `{name}`"),
            Self::Read(path) => format!("reading `{}`", path.display()),
            Self::Write(path) => format!("writing to `{}`", path.display()),
            Self::Ssh => "use of ssh keys".to_owned(),
        }
    }

    fn flag(&self) -> String {
        match self {
            Self::Named(name) => name.clone(),
            Self::Read(path) => format!("fs.read={}", path.display()),
            Self::Write(path) => format!("fs.write={}", path.display()),
            Self::Ssh => "ssh".to_owned(),
        }
    }
}

/// Brings a path into the form that paths are compared in; what is not there yet is judged by what it is in.
fn real(path: &Path, here: &Path) -> PathBuf {
    let full = here.join(path);
    if let Ok(real) = full.canonicalize() {
        return real;
    }
    let mut clean = PathBuf::new();
    for part in full.components() {
        match part {
            std::path::Component::ParentDir => {
                clean.pop();
            }
            std::path::Component::CurDir => {}
            part => clean.push(part),
        }
    }
    match (clean.parent(), clean.file_name()) {
        (Some(parent), Some(name)) => real(parent, here).join(name),
        _ => clean,
    }
}

fn needed(target: &Target, environment: &Environment) -> Vec<Right> {
    let mut rights: Vec<Right> = target.entitlements.iter().cloned().map(Right::Named).collect();
    let places = target.context.iter().chain(target.contexts.values());
    rights.extend(places.filter_map(|place| read_from(place)).map(Right::Read));
    rights.extend(dockerfile(target).map(Right::Read));
    let at = |entry: &Entry, key: &str| entry.get(key).map(PathBuf::from);
    rights.extend(target.secret.iter().filter_map(|entry| secret_file(entry, environment)).map(Right::Read));
    rights.extend(target.cache_from.iter().filter_map(|entry| at(entry, "src")).map(Right::Read));
    let written = target.output.iter().chain(&target.cache_to).filter_map(|entry| at(entry, "dest"));
    rights.extend(written.filter(|path| path != Path::new("-")).map(Right::Write));
    if target.ssh.iter().any(|agent| agent.contains_key("paths")) {
        rights.push(Right::Ssh);
    }
    rights
}

/// The file that a secret is read from: without a word on where it is, it is the file of its name, unless a variable has
/// that name.
fn secret_file(entry: &Entry, environment: &Environment) -> Option<PathBuf> {
    if entry.contains_key("env") {
        return None;
    }
    if let Some(path) = entry.get("src") {
        return Some(path.into());
    }
    entry.get("id").filter(|id| environment.text(id).is_none()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_without_a_place_is_the_file_of_its_name() {
        let secret = |pairs: &[(&str, &str)]| -> Entry {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let environment: Environment = [("TOKEN".into(), "t".into())].into_iter().collect();
        let mut target = Target::new("app");
        target.secret = vec![
            secret(&[("id", "/home/u/.ssh/id_rsa")]),
            secret(&[("id", "TOKEN")]),
            secret(&[("id", "a"), ("env", "/home/u/b")]),
            secret(&[("id", "c"), ("src", "/home/u/d")]),
        ];
        let read = |path: &str| Right::Read(path.into());
        assert_eq!(needed(&target, &environment), [read("/home/u/.ssh/id_rsa"), read("/home/u/d")]);
    }

    #[test]
    fn layouts_are_read_as_folders_are() {
        let mut target = Target::new("app");
        target.context = Some("oci-layout:///context:1".to_owned());
        target.contexts = [
            ("a", "oci-layout:///elsewhere:tag"),
            ("b", "../folder"),
            ("c", "docker-image://busybox"),
            ("d", "oci-layout:///odd@sha256:x"),
        ]
        .map(|(name, place)| (name.to_owned(), place.to_owned()))
        .into();
        let expected = ["/context", "/elsewhere", "../folder", "/odd@sha256:x"];
        let expected = expected.map(|path| Right::Read(path.into()));
        assert_eq!(needed(&target, &Environment::default()), expected);
    }

    #[test]
    fn what_lies_outside_has_to_be_allowed() {
        let root = tempfile::tempdir().unwrap();
        let here = root.path().join("project");
        std::fs::create_dir_all(here.join("sub")).unwrap();
        std::os::unix::fs::symlink("/etc", here.join("link")).unwrap();
        for (path, right, given) in [
            ("sub", "", true),
            ("sub/../new/file", "", true),
            ("..", "", false),
            ("sub/../../other", "", false),
            ("link", "", false),
            ("/etc", "fs.read=/etc", true),
            ("/etc/passwd", "fs=/etc", true),
            ("/etc", "fs.write=/etc", false),
            ("/etcetera", "fs=/etc", false),
            ("/etc", "fs=*", true),
        ] {
            let allowed = [right.to_owned()];
            assert_eq!(Right::Read(path.into()).is_given(&allowed, &here), given, "{path} {right}");
        }
        let device = Right::Named("device=vendor/class".to_owned());
        assert!(device.is_given(&["device".to_owned()], &here) && !device.is_given(&[], &here));
        assert!(!Right::Named("network.host".to_owned()).is_given(&[], &here));
        assert!(Right::Named("network.host".to_owned()).is_given(&["network.host".to_owned()], &here));
    }
}
