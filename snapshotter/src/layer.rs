//! The difference of a snapshot as an OCI layer tar.
//!
//! Entries come in the order of [`crate::diff`]. Of the extended attributes only `security.capability` is recorded. A
//! name that begins as a whiteout does (`.wh.`) cannot be said in a layer and is an error.

use std::fs::File;
use std::io::{Write, empty};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rbuild_confined::{Kind, Metadata};
use rbuild_image::tar::{Device, Entry, EntryKind, EntryPath, Options, Timestamp, Whiteout, Writer, Xattr};

use crate::diff::{Change, ChangeKind};
use crate::error::{Error, Result};
use crate::snapshotter::{Snapshotter, Tree};
use crate::xattr::CAPABILITY;

/// Writes the canonical tar of what `tree` changes, and gives the writer back.
pub fn write_layer<W: Write>(
    snapshotter: &dyn Snapshotter,
    tree: Tree<'_>,
    writer: W,
    options: Options,
) -> Result<W> {
    write_layer_without(snapshotter, tree, writer, options, &|_| false)
}

/// As [`write_layer`], without what `is_left_out` says.
pub fn write_layer_without<W: Write>(
    snapshotter: &dyn Snapshotter,
    tree: Tree<'_>,
    writer: W,
    options: Options,
    is_left_out: &dyn Fn(&Change) -> bool,
) -> Result<W> {
    let mut tar = Writer::new(writer, options);
    snapshotter.changes(tree, &mut |change, content| {
        if is_left_out(&change) { Ok(()) } else { append(&mut tar, &change, content) }
    })?;
    Ok(tar.finish()?)
}

fn append<W: Write>(tar: &mut Writer<W>, change: &Change, content: Option<File>) -> Result<()> {
    let entry = entry_of(change)?;
    match content {
        Some(mut file) => tar.append(&entry, &mut file)?,
        None => tar.append(&entry, &mut empty())?,
    }
    Ok(())
}

/// Returns the entry by which a layer says `change`.
pub fn entry_of(change: &Change) -> Result<Entry> {
    let path = entry_path(&change.path)?;
    let (kind, meta, capability) = match &change.kind {
        ChangeKind::Whiteout => {
            let path = Whiteout::path_for(&path).ok_or_else(|| unrepresentable(&change.path))?;
            return Ok(Entry::new(path, EntryKind::File { size: 0 }, 0));
        }
        ChangeKind::Directory { meta, .. } => (EntryKind::Directory, meta, None),
        ChangeKind::File { meta, capability } => {
            (EntryKind::File { size: meta.size }, meta, capability.as_ref())
        }
        ChangeKind::Hardlink { target, meta } => {
            (EntryKind::Hardlink { target: entry_path(target)? }, meta, None)
        }
        ChangeKind::Symlink { meta, target } => {
            (EntryKind::Symlink { target: target.as_os_str().as_bytes().to_vec() }, meta, None)
        }
        ChangeKind::Special { meta } => (special(meta), meta, None),
    };
    // Linux gives every link the same mode, whatever was asked for.
    let mode = meta.mode;
    let xattrs = capability
        .map(|value| Xattr { name: CAPABILITY.as_bytes().to_vec(), value: value.clone() })
        .into_iter()
        .collect();
    Ok(Entry {
        path,
        kind,
        mode,
        uid: meta.owner.uid,
        gid: meta.owner.gid,
        mtime: Timestamp { seconds: meta.mtime.seconds, nanoseconds: meta.mtime.nanos },
        xattrs,
    })
}

fn special(meta: &Metadata) -> EntryKind {
    let device = Device { major: rustix::fs::major(meta.rdev), minor: rustix::fs::minor(meta.rdev) };
    match meta.kind {
        Kind::CharDevice => EntryKind::CharDevice(device),
        Kind::BlockDevice => EntryKind::BlockDevice(device),
        _ => EntryKind::Fifo,
    }
}

fn entry_path(path: &Path) -> Result<EntryPath> {
    let parsed = EntryPath::new(path.as_os_str().as_bytes())
        .map_err(|problem| Error::Unrepresentable { path: path.to_owned(), source: Some(problem) })?;
    match Whiteout::classify(&parsed) {
        Ok(None) => Ok(parsed),
        _ => Err(unrepresentable(path)),
    }
}

fn unrepresentable(path: &Path) -> Error {
    Error::Unrepresentable { path: path.to_owned(), source: None }
}
