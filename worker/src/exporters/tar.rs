//! `type=tar`: the root file system as one tar, with all extended attributes.

use std::collections::HashMap;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rbuild_confined::{Kind, Step, Walk};
use rbuild_image::tar::{Options, Writer, Xattr};
use rbuild_snapshotter::diff::{Change, ChangeKind, Novelty};
use rbuild_snapshotter::layer::entry_of;
use rbuild_snapshotter::xattrs_of;

use super::ExportError;
use crate::build::Finished;
use crate::worker::Worker;

/// Writes the root of a result as a tar with numeric owners and hard links kept.
pub(super) fn export(worker: &Worker, result: &Finished, out: impl Write) -> Result<(), ExportError> {
    let view = worker.view(&result.chain)?;
    let top = view.resolve("/").and_then(|top| top.open_dir()).map_err(ExportError::tree)?;
    let mut walk = Walk::new(top).map_err(ExportError::tree)?;
    let mut writer = Writer::new(out, Options { epoch: result.epoch });
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
                Some(first) if meta.nlink > 1 => ChangeKind::Hardlink { target: first.clone(), meta },
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
        let mut entry = entry_of(&Change { path, kind }).map_err(|error| ExportError::Tree(error.into()))?;
        entry.xattrs = xattrs;
        let written = match &mut contents {
            Some(file) => writer.append(&entry, file),
            None => writer.append(&entry, &mut std::io::empty()),
        };
        written.map_err(|error| ExportError::Tree(error.into()))?;
    }
    writer.finish().map_err(|error| ExportError::Tree(error.into()))?;
    Ok(())
}

fn attributes(file: impl AsFd, path: &Path) -> Result<Vec<Xattr>, ExportError> {
    xattrs_of(file)
        .map_err(|errno| ExportError::tree(rbuild_confined::Error::io("read the attributes of", path, errno)))
}
