//! `type=tar`: the root file system as one tar, with all extended attributes.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rbuild_confined::{Kind, Root, Step, Walk};
use rbuild_image::tar::{Entry, EntryKind, EntryPath, Options, Timestamp, Writer, Xattr};
use rbuild_snapshotter::diff::{Change, ChangeKind, Novelty};
use rbuild_snapshotter::layer::entry_of;
use rbuild_snapshotter::xattrs_of;

use super::ExportError;
use crate::attest::files::{self, Written};
use crate::cancel::Cancel;
use crate::describe::Finished;
use crate::request::Export;
use crate::worker::Worker;

/// Writes the roots of results as one tar with numeric owners and hard links kept, each in its folder if it has one, and
/// behind each what is said about it. With an epoch everything has its time, older or newer as it may be.
pub(super) fn export(
    worker: &Worker,
    export: &Export,
    results: &[(Option<String>, &Finished)],
    cancel: &Cancel,
    out: impl Write,
) -> Result<(), ExportError> {
    let mut writer = Writer::new(out, Options::default());
    for (folder, result) in results {
        let folder = folder.as_deref().map(Path::new);
        let view = worker.view(&result.chain)?;
        let facts =
            files::written(&view, &result.facts, export.files_of(&result.platform.to_string()), cancel)?;
        root(&view, folder, result.epoch, &mut writer)?;
        for fact in &facts {
            append(fact, folder, result.epoch, &mut writer)?;
        }
    }
    writer.finish().map_err(|error| ExportError::Tree(error.into()))?;
    Ok(())
}

/// Writes a file of what is said about the result.
fn append(
    fact: &Written,
    folder: Option<&Path>,
    epoch: Option<i64>,
    writer: &mut Writer<impl Write>,
) -> Result<(), ExportError> {
    let path = folder.map_or_else(|| PathBuf::from(&fact.name), |folder| folder.join(&fact.name));
    let path = EntryPath::new(path.as_os_str().as_bytes());
    let path = path.map_err(|error| ExportError::Tree(error.into()))?;
    let mut entry = Entry::new(path, EntryKind::File { size: fact.bytes.len() as u64 }, 0o600);
    entry.mtime = Timestamp::from_seconds(epoch.unwrap_or_else(|| jiff::Timestamp::now().as_second()));
    writer.append(&entry, &mut &fact.bytes[..]).map_err(|error| ExportError::Tree(error.into()))
}

fn root(
    view: &Root,
    folder: Option<&Path>,
    epoch: Option<i64>,
    writer: &mut Writer<impl Write>,
) -> Result<(), ExportError> {
    let top = view.resolve("/").map_err(ExportError::tree)?;
    let within = |path: PathBuf| folder.map_or_else(|| path.clone(), |folder| folder.join(&path));
    let mut append = |path: PathBuf, kind: ChangeKind, contents: Option<File>, xattrs: Vec<Xattr>| {
        let mut entry = entry_of(&Change { path, kind }).map_err(|error| ExportError::Tree(error.into()))?;
        entry.xattrs = xattrs;
        entry.mtime = epoch.map_or(entry.mtime, Timestamp::from_seconds);
        let written = match contents {
            Some(mut file) => writer.append(&entry, &mut file),
            None => writer.append(&entry, &mut std::io::empty()),
        };
        written.map_err(|error| ExportError::Tree(error.into()))
    };
    if let Some(folder) = folder {
        let meta = top.metadata().map_err(ExportError::tree)?;
        append(
            folder.to_owned(),
            ChangeKind::Directory { meta, novelty: Novelty::Changed },
            None,
            Vec::new(),
        )?;
    }
    let mut walk = Walk::new(top.open_dir().map_err(ExportError::tree)?).map_err(ExportError::tree)?;
    let mut links: HashMap<(u64, u64), PathBuf> = HashMap::new();
    while let Some(step) = walk.next().map_err(ExportError::tree)? {
        let Step::Entry(_) = step else { continue };
        let meta = walk.metadata().map_err(ExportError::tree)?;
        let path = walk.path().to_owned();
        let mut contents = None;
        let mut xattrs = Vec::new();
        let kind = match meta.kind {
            Kind::Socket => continue,
            Kind::Directory => {
                walk.enter().map_err(ExportError::tree)?;
                xattrs = attributes(walk.dir(), &path)?;
                ChangeKind::Directory { meta, novelty: Novelty::Changed }
            }
            Kind::Symlink => {
                let target = view.read_link(&path).map_err(ExportError::tree)?;
                ChangeKind::Symlink { meta, target }
            }
            Kind::File => match links.get(&(meta.dev, meta.ino)) {
                Some(first) if meta.nlink > 1 => ChangeKind::Hardlink { target: within(first.clone()), meta },
                _ => {
                    if meta.nlink > 1 {
                        links.insert((meta.dev, meta.ino), path.clone());
                    }
                    let file = view.open_file(&path).map_err(ExportError::tree)?;
                    xattrs = attributes(&file, &path)?;
                    contents = Some(file);
                    ChangeKind::File { meta, capability: None }
                }
            },
            Kind::Fifo | Kind::CharDevice | Kind::BlockDevice => ChangeKind::Special { meta },
        };
        append(within(path), kind, contents, xattrs)?;
    }
    Ok(())
}

fn attributes(file: impl AsFd, path: &Path) -> Result<Vec<Xattr>, ExportError> {
    xattrs_of(file)
        .map_err(|errno| ExportError::tree(rbuild_confined::Error::io("read the attributes of", path, errno)))
}
