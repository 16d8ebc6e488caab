//! Trees in temporary folders, and what is hashed of them.

mod changes;
mod copying;
mod remembering;
mod selecting;

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rbuild_confined::{Root, Time};
use rbuild_model::key::ContentHash;
use rbuild_model::step::PathSource;
use tempfile::TempDir;

use super::{ContextScan, Result, SelectionHash, TreeSource};

/// A tree in a folder of its own, with room beside it.
struct Tree {
    folder: TempDir,
}

impl Tree {
    fn new() -> Self {
        let tree = Self { folder: tempfile::tempdir().unwrap() };
        std::fs::create_dir(tree.path("")).unwrap();
        tree
    }

    /// Makes a tree of lines: `dir/`, `file=content`, `link>target`.
    fn of(lines: &[&str]) -> Self {
        let tree = Self::new();
        for line in lines {
            if let Some((name, target)) = line.split_once('>') {
                tree.parent(name);
                symlink(target, tree.path(name)).unwrap();
            } else if let Some((name, content)) = line.split_once('=') {
                tree.write(name, content);
            } else {
                std::fs::create_dir_all(tree.path(line)).unwrap();
            }
        }
        tree
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("tree").join(name)
    }

    fn index(&self) -> PathBuf {
        self.folder.path().join("index")
    }

    fn parent(&self, name: &str) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
    }

    fn write(&self, name: &str, content: &str) {
        self.parent(name);
        std::fs::write(self.path(name), content).unwrap();
    }

    fn chmod(&self, name: &str, mode: u32) {
        std::fs::set_permissions(self.path(name), PermissionsExt::from_mode(mode)).unwrap();
    }

    fn root(&self) -> Root {
        Root::open(self.path("")).unwrap()
    }

    fn client(&self) -> ContextScan {
        ContextScan::new(TreeSource::client(self.root()))
    }

    fn indexed(&self) -> ContextScan {
        ContextScan::new(TreeSource::client(self.root()).with_index(self.index()))
    }

    fn snapshot(&self) -> ContextScan {
        ContextScan::new(TreeSource::snapshot(self.root()))
    }

    /// Makes all that was done so far older than the next tick of the file system's clock.
    fn settle(&self) {
        let probe = self.folder.path().join("probe");
        let time = || {
            std::fs::write(&probe, "x").unwrap();
            let found = std::fs::metadata(&probe).unwrap();
            Time { seconds: found.ctime(), nanos: found.ctime_nsec().try_into().unwrap() }
        };
        let start = time();
        while time() <= start {}
    }
}

fn literal(path: &str) -> PathSource {
    PathSource::literal(path)
}

fn wild(path: &str) -> PathSource {
    PathSource { wildcard: true, ..PathSource::literal(path) }
}

fn kept(path: &str) -> PathSource {
    PathSource { parents: true, ..wild(path) }
}

fn without(path: PathSource, exclude: &[&str]) -> PathSource {
    PathSource { exclude: exclude.iter().map(|&text| text.to_owned()).collect(), ..path }
}

/// Tells what a selection holds: each match as `name=path`, then the paths below it.
fn told(selection: &SelectionHash) -> String {
    fn below(entry: &super::TreeEntry, path: &Path, out: &mut String) {
        if let super::Content::Directory(node) = entry.content() {
            for child in node.entries() {
                let path = path.join(child.name());
                out.push(' ');
                out.push_str(path.to_str().unwrap());
                below(child, &path, out);
            }
        }
    }
    let mut lines = Vec::new();
    for found in selection.matches() {
        let mut line = format!("{}={}:", found.name().display(), found.path().display());
        below(found.entry(), Path::new(""), &mut line);
        lines.push(line);
    }
    lines.join("\n")
}

fn whole(scan: &ContextScan) -> ContentHash {
    scan.hash_selection(&literal("/")).unwrap().hash()
}

fn failure(result: Result<SelectionHash>) -> String {
    result.unwrap_err().to_string()
}
