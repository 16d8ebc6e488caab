//! How much room everything takes, counted on the disk: every byte belongs to one part.
//!
//! What rows say of sizes is what was known when they were written; this is what `du -s` finds, cut into what people
//! know by name. A file with several names counts once.

use std::collections::HashSet;
use std::path::Path;

use rbuild_confined::{Kind, Metadata, Root, Walk};
use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::Store;
use crate::error::{Context, FileError};

/// Folders of the root whose entries are told one by one; of the others the sum is.
const TOLD: &[&str] = &[
    "blobs/sha256",
    "blobs/partial",
    "snapshots/*",
    "volumes",
    "containers",
    "mounts",
    "logs",
    "index",
    "index/git",
    "index/http",
];

/// A part of the store and its room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its path below the root; of what is not told one by one, that of the folder.
    pub path: String,
    /// The bytes of its blocks.
    pub bytes: u64,
}

impl Part {
    /// Returns the first folder of its path, or the file's name.
    pub fn area(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }

    /// Returns the last name of its path.
    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

/// Files with several names that were counted.
type Linked = HashSet<(u64, u64)>;

impl Store {
    /// Counts everything below the root.
    pub fn parts(&self) -> Result<Vec<Part>, FileError> {
        let mut parts = Vec::new();
        let mut linked = Linked::new();
        let root = self.layout().root();
        tell(root, "", &mut parts, &mut linked)?;
        let stat = std::fs::symlink_metadata(root).at("inspect", root)?;
        let own = std::os::unix::fs::MetadataExt::blocks(&stat) * 512;
        parts.push(Part { path: ".".to_owned(), bytes: own });
        Ok(parts)
    }
}

/// Whether the entries of a folder are told one by one.
fn is_told(path: &str) -> bool {
    let like = |pattern: &&str| match pattern.strip_suffix("/*") {
        Some(folder) => path.rsplit_once('/').is_some_and(|(above, _)| above == folder),
        None => *pattern == path,
    };
    TOLD.iter().any(like)
}

/// Whether something below a folder is told.
fn leads_to_told(path: &str) -> bool {
    let below = format!("{path}/");
    TOLD.iter().any(|pattern| pattern.starts_with(&below))
}

fn tell(root: &Path, path: &str, parts: &mut Vec<Part>, linked: &mut Linked) -> Result<(), FileError> {
    let folder = root.join(path);
    for entry in std::fs::read_dir(&folder).at("list", &folder)? {
        let name = entry.at("list", &folder)?.file_name().to_string_lossy().into_owned();
        let below = if path.is_empty() { name } else { format!("{path}/{name}") };
        let place = root.join(&below);
        if is_told(&below) || leads_to_told(&below) {
            // What was removed meanwhile takes no room.
            let Ok(stat) = std::fs::symlink_metadata(&place) else { continue };
            if stat.is_dir() {
                let bytes = std::os::unix::fs::MetadataExt::blocks(&stat) * 512;
                parts.push(Part { path: below.clone(), bytes });
                tell(root, &below, parts, linked)?;
                continue;
            }
        }
        let bytes = count(&place, linked)?;
        parts.push(Part { path: below, bytes });
    }
    Ok(())
}

/// Returns the bytes of the blocks of a file or tree; none of what is not there.
pub fn bytes_of(path: &Path) -> Result<u64, FileError> {
    count(path, &mut Linked::new())
}

fn count(path: &Path, linked: &mut Linked) -> Result<u64, FileError> {
    let failed = |error: std::io::Error| FileError::new("count the room of", path, error);
    let stat = match rustix::fs::statat(rustix::fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Metadata::from_stat(&stat),
        Err(Errno::NOENT) => return Ok(0),
        Err(errno) => return Err(failed(errno.into())),
    };
    let mut own =
        |meta: &Metadata| match meta.nlink < 2 || meta.is_dir() || linked.insert((meta.dev, meta.ino)) {
            true => meta.blocks * 512,
            false => 0,
        };
    let mut bytes = own(&stat);
    if stat.kind != Kind::Directory {
        return Ok(bytes);
    }
    let gone = |error: &rbuild_confined::Error| error.is_not_found();
    let walked = (|| {
        let mut walk = Walk::within_mount(Root::open(path)?.resolve("/")?.open_dir()?)?;
        while let Some(step) = walk.next()? {
            if step == rbuild_confined::Step::Leave {
                continue;
            }
            // Others work meanwhile: what is gone by now takes no room.
            let meta = match walk.metadata() {
                Err(error) if gone(&error) => continue,
                meta => meta?,
            };
            bytes += own(&meta);
            if meta.kind == Kind::Directory {
                match walk.enter() {
                    // What others mount (a volume in use) takes room elsewhere.
                    Err(error) if gone(&error) || error.errno() == Some(Errno::XDEV) => {}
                    entered => entered?,
                }
            }
        }
        Ok(())
    })();
    match walked {
        Err(error) if !gone(&error) => Err(failed(std::io::Error::other(error))),
        _ => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_belongs_to_one_part() {
        let folder = tempfile::tempdir().unwrap();
        let options =
            crate::StoreOptions::new(folder.path().join("root"), folder.path().join("run"), "rbuild test");
        let store = Store::open(crate::StoreOptions { reserve: 1 << 20, ..options }).unwrap();
        let layout = store.layout();
        let write = |path: std::path::PathBuf, bytes: usize| {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, vec![1; bytes]).unwrap();
            path
        };
        let snapshot = layout.snapshots("test1").join("abc");
        let file = write(snapshot.join("fs/a/b"), 100_000);
        std::fs::hard_link(&file, snapshot.join("fs/same")).unwrap();
        write(layout.blobs().join("123"), 70_000);
        write(layout.mounts().join("m/x"), 9000);
        write(layout.index().join("git/addr/sha1/pack"), 30_000);
        write(layout.index().join("0123"), 10);
        let parts = store.parts().unwrap();
        let du =
            std::process::Command::new("du").args(["-s", "--block-size=512"]).arg(layout.root()).output();
        let du = String::from_utf8(du.unwrap().stdout).unwrap();
        let all: u64 = du.split_whitespace().next().unwrap().parse().unwrap();
        assert_eq!(parts.iter().map(|part| part.bytes).sum::<u64>(), all * 512);
        let of = |path: &str| parts.iter().find(|part| part.path == path).map(|part| part.bytes);
        assert!(
            of("snapshots/test1/abc").unwrap() >= 100_000 && of("snapshots/test1/abc").unwrap() < 200_000
        );
        assert!(of("index/git/addr").unwrap() >= 30_000);
        assert!(of("blobs/sha256/123").is_some() && of("mounts/m").is_some() && of("index/0123").is_some());
        assert!(of("reserve").unwrap() >= 1 << 20);
        assert_eq!(bytes_of(&layout.root().join("gone")).unwrap(), 0);
    }
}
