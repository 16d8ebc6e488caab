//! A whole tree, or a part of one, as a tar.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Write, empty};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rbuild_confined::{Handle, Kind, Metadata, Root, Step, Walk};
use rbuild_image::tar::{Options, Writer};
use rustix::fs::{Mode, OFlags};

use crate::diff::{Change, ChangeKind, Novelty};
use crate::error::Result;
use crate::layer::entry_of;

/// Writes what is at `path` in a tree as a tar whose entries are named from `name` on: an empty one leaves a folder
/// itself out, with `.` each entry is named from `./` on. Numeric owners and hard links are kept, sockets are left out. A
/// link at the end of `path` is not followed.
pub fn write_tree<W: Write>(root: &Root, path: impl AsRef<Path>, name: &Path, out: W) -> Result<W> {
    write_tree_without(root, path, name, &[], out)
}

/// As [`write_tree`], but of the folders `closed` only themselves, not what they hold; their paths begin at `path`.
pub fn write_tree_without<W: Write>(
    root: &Root,
    path: impl AsRef<Path>,
    name: &Path,
    closed: &[PathBuf],
    out: W,
) -> Result<W> {
    let mut writer = Writer::new(out, Options::default());
    if name == Path::new(".") {
        writer = writer.from_here();
    }
    write_handle(&root.resolve_nofollow(path)?, name, closed, &mut writer)?;
    Ok(writer.finish()?)
}

fn write_handle<W: Write>(
    top: &Handle,
    name: &Path,
    closed: &[PathBuf],
    writer: &mut Writer<W>,
) -> Result<()> {
    let meta = top.metadata()?;
    if meta.kind != Kind::Directory {
        return match meta.kind {
            Kind::Socket => Ok(()),
            Kind::File => {
                let kind = ChangeKind::File { meta, capability: None };
                append(writer, name.to_owned(), kind, Some(top.open_file()?))
            }
            Kind::Symlink => {
                let target = top.read_link()?;
                append(writer, name.to_owned(), ChangeKind::Symlink { meta, target }, None)
            }
            _ => append(writer, name.to_owned(), ChangeKind::Special { meta }, None),
        };
    }
    if !name.as_os_str().is_empty() {
        let kind = ChangeKind::Directory { meta, novelty: Novelty::Changed };
        append(writer, name.to_owned(), kind, None)?;
    }
    let mut links: HashMap<(u64, u64), PathBuf> = HashMap::new();
    let mut walk = Walk::new(top.open_dir()?)?;
    while let Some(step) = walk.next()? {
        let Step::Entry(_) = step else { continue };
        let meta = walk.metadata()?;
        let path = name.join(walk.path());
        let mut content = None;
        let kind = match meta.kind {
            Kind::Socket => continue,
            Kind::Directory => {
                if !closed.iter().any(|folder| folder == walk.path()) {
                    walk.enter()?;
                }
                ChangeKind::Directory { meta, novelty: Novelty::Changed }
            }
            Kind::Symlink => ChangeKind::Symlink { meta, target: link(&walk)? },
            Kind::File => match links.get(&(meta.dev, meta.ino)) {
                Some(first) if meta.nlink > 1 => ChangeKind::Hardlink { target: first.clone(), meta },
                _ => {
                    if meta.nlink > 1 {
                        links.insert((meta.dev, meta.ino), path.clone());
                    }
                    let file = open(&walk)?;
                    // What it is now: it may have grown since.
                    let size = file.metadata().map_or(meta.size, |now| now.len());
                    content = Some(file);
                    ChangeKind::File { meta: Metadata { size, ..meta }, capability: None }
                }
            },
            Kind::Fifo | Kind::CharDevice | Kind::BlockDevice => ChangeKind::Special { meta },
        };
        append(writer, path, kind, content)?;
    }
    Ok(())
}

fn append<W: Write>(
    writer: &mut Writer<W>,
    path: PathBuf,
    kind: ChangeKind,
    content: Option<File>,
) -> Result<()> {
    let entry = entry_of(&Change { path, kind })?;
    match content {
        Some(mut file) => writer.append(&entry, &mut file)?,
        None => writer.append(&entry, &mut empty())?,
    }
    Ok(())
}

fn name_of(walk: &Walk) -> &std::ffi::OsStr {
    walk.path().file_name().unwrap_or_default()
}

fn link(walk: &Walk) -> Result<PathBuf> {
    use std::os::unix::ffi::OsStringExt as _;
    let text = rustix::fs::readlinkat(walk.dir(), name_of(walk), Vec::new())
        .map_err(|errno| rbuild_confined::Error::io("read link", walk.path(), errno))?;
    Ok(PathBuf::from(std::ffi::OsString::from_vec(text.into_bytes())))
}

fn open(walk: &Walk) -> Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file: OwnedFd = rustix::fs::openat(walk.dir(), name_of(walk), flags, Mode::empty())
        .map_err(|errno| rbuild_confined::Error::io("open", walk.path(), errno))?;
    Ok(file.into())
}
