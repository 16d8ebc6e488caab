//! Facts beside files: a statement a fact, about every file of the result by its digest.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rbuild_confined::{Kind, Root, Step, Walk};
use rbuild_image::attest::about_files;
use rbuild_model::digest::BlobDigest;

use super::Fact;
use crate::cancel::Cancel;
use crate::exporters::ExportError;
use crate::request::{Scope, Split};

/// A file that is written beside those of a result.
pub(crate) struct Written {
    /// Its name in the folder of the result.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// How the files are called.
#[derive(Clone, Copy)]
pub(crate) struct Naming<'a> {
    /// What their names begin with.
    pub(crate) prefix: &'a str,
    /// Whether a result has a folder of its own; where none ever has, the names say the platform.
    pub(crate) split: Split,
    /// The platform of the result.
    pub(crate) platform: &'a str,
}

impl Naming<'_> {
    fn of(&self, fact: &Fact) -> String {
        let (stem, extension) =
            fact.file.rsplit_once('.').map_or((&*fact.file, None), |(stem, end)| (stem, Some(end)));
        let platform = match self.split {
            Split::Never => format!(".{}", self.platform.replace('/', "_")),
            Split::Several | Split::Always => String::new(),
        };
        let extension = extension.map(|end| format!(".{end}")).unwrap_or_default();
        format!("{}{stem}{platform}{extension}", self.prefix)
    }
}

/// Makes the files; nothing where nothing is said of files.
pub(crate) fn written(
    view: &Root,
    facts: &[Fact],
    naming: Naming<'_>,
    cancel: &Cancel,
) -> Result<Vec<Written>, ExportError> {
    let facts: Vec<&Fact> = facts.iter().filter(|fact| fact.scope == Scope::Everywhere).collect();
    if facts.is_empty() {
        return Ok(Vec::new());
    }
    let subjects = digests(view, cancel)?;
    let mut all: Vec<Written> = Vec::new();
    for fact in facts {
        let name = naming.of(fact);
        let is_taken = view.find_nofollow(&name).map_err(ExportError::tree)?.is_some();
        if is_taken || all.iter().any(|other| other.name == name) {
            return Err(ExportError::Taken { name });
        }
        all.push(Written { name, bytes: about_files(&fact.predicate, &subjects) });
    }
    Ok(all)
}

fn dated(file: &std::fs::File, epoch: i64) -> std::io::Result<()> {
    let time = rbuild_confined::Time::from_seconds(epoch).timespec();
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    Ok(rustix::fs::futimens(file, &times)?)
}

/// Writes them into a folder, with the time of the epoch if there is one. What has such a name there is replaced: it is of the
/// build before, or a link that is not followed.
pub(crate) fn write_into(folder: &Path, files: &[Written], epoch: Option<i64>) -> Result<(), ExportError> {
    for file in files {
        let path = folder.join(&file.name);
        let io = |source| ExportError::Io { act: "write", path: path.clone(), source };
        let fresh = crate::exporters::beside(&path)?;
        let written = std::fs::File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh)
            .and_then(|mut out| {
                out.write_all(&file.bytes)?;
                epoch.map_or(Ok(()), |epoch| dated(&out, epoch))
            })
            .and_then(|()| std::fs::rename(&fresh, &path));
        if let Err(error) = written {
            let _ = std::fs::remove_file(&fresh);
            return Err(io(error));
        }
    }
    Ok(())
}

/// The digests of all files of a root, by path.
fn digests(view: &Root, cancel: &Cancel) -> Result<Vec<(String, BlobDigest)>, ExportError> {
    let mut all = Vec::new();
    let top = view.resolve("/").map_err(ExportError::tree)?;
    let mut walk = Walk::new(top.open_dir().map_err(ExportError::tree)?).map_err(ExportError::tree)?;
    while let Some(step) = walk.next().map_err(ExportError::tree)? {
        if cancel.is_cancelled() {
            return Err(ExportError::Cancelled);
        }
        let Step::Entry(_) = step else { continue };
        match walk.metadata().map_err(ExportError::tree)?.kind {
            Kind::Directory => walk.enter().map_err(ExportError::tree)?,
            Kind::File => {
                let path = walk.path().to_owned();
                let mut file = view.open_file(&path).map_err(ExportError::tree)?;
                let digest =
                    BlobDigest::of_reader(&mut file).map_err(|source| ExportError::Tree(source.into()))?;
                all.push((path.to_string_lossy().into_owned(), digest));
            }
            _ => {}
        }
    }
    all.sort();
    Ok(all)
}

#[cfg(test)]
mod tests {
    use rbuild_image::attest::{PROVENANCE, Predicate};
    use serde_json::{Value, json};

    use super::*;

    fn fact(file: &str, scope: Scope) -> Fact {
        let predicate = Predicate { kind: PROVENANCE.to_owned(), value: json!({"a": 1}) };
        Fact { predicate, file: file.to_owned(), scope }
    }

    fn named(split: Split, prefix: &str) -> Naming<'_> {
        Naming { prefix, split, platform: "linux/arm/v7" }
    }

    #[test]
    fn every_file_is_a_subject_and_names_say_what_no_folder_says() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("etc")).unwrap();
        std::fs::write(folder.path().join("etc/b"), "b").unwrap();
        std::fs::write(folder.path().join("a"), "a").unwrap();
        std::os::unix::fs::symlink("a", folder.path().join("link")).unwrap();
        let view = Root::open(folder.path()).unwrap();
        let facts = [fact("provenance.json", Scope::Everywhere), fact("x", Scope::Images)];
        let files = written(&view, &facts, named(Split::Several, ""), &Cancel::new()).unwrap();
        let [file] = &files[..] else { panic!("one of them goes with images only") };
        assert_eq!(file.name, "provenance.json");
        let read: Value = serde_json::from_slice(&file.bytes).unwrap();
        let subject = |name: &str, bytes: &[u8]| json!({"name": name, "digest": {"sha256": BlobDigest::of(bytes).hex()}});
        assert_eq!(read["subject"], json!([subject("a", b"a"), subject("etc/b", b"b")]));
        assert_eq!((&read["predicateType"], &read["predicate"]["a"]), (&json!(PROVENANCE), &json!(1)));

        let name = |file: &str, split, prefix| named(split, prefix).of(&fact(file, Scope::Everywhere));
        assert_eq!(name("sbom.spdx.json", Split::Never, "my-"), "my-sbom.spdx.linux_arm_v7.json");
        assert_eq!(name("sbom", Split::Never, ""), "sbom.linux_arm_v7");
        assert_eq!(name("sbom", Split::Always, ""), "sbom");
    }

    #[test]
    fn a_name_that_is_taken_is_refused_and_a_link_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let outside = folder.path().join("outside");
        let root = folder.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(&outside, "precious").unwrap();
        std::os::unix::fs::symlink(&outside, root.join("p.json")).unwrap();
        let view = Root::open(&root).unwrap();
        let facts = [fact("p.json", Scope::Everywhere)];
        let refused = written(&view, &facts, named(Split::Several, ""), &Cancel::new());
        assert!(matches!(refused, Err(ExportError::Taken { name }) if name == "p.json"));
        let files = written(&view, &facts, named(Split::Several, "my-"), &Cancel::new()).unwrap();
        assert_eq!(files[0].name, "my-p.json");

        write_into(&root, &[Written { name: "p.json".to_owned(), bytes: b"{}".to_vec() }], Some(-5)).unwrap();
        assert_eq!(std::fs::read(root.join("p.json")).unwrap(), b"{}");
        assert_eq!(std::fs::read(&outside).unwrap(), b"precious");
    }
}
