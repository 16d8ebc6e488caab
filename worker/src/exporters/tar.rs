//! `type=tar`: the root file system as one tar.

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;

use rbuild_confined::{Kind, Step, Walk};
use rbuild_image::tar::{Options, Writer};
use rbuild_snapshotter::diff::{Change, ChangeKind, Novelty};
use rbuild_snapshotter::layer::entry_of;

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
        let kind = match meta.kind {
            Kind::Socket => continue,
            Kind::Directory => {
                walk.enter().map_err(ExportError::tree)?;
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
                    contents = Some(view.open_file(&path).map_err(ExportError::tree)?);
                    ChangeKind::File { meta, capability: None }
                }
            },
            Kind::Fifo | Kind::CharDevice | Kind::BlockDevice => ChangeKind::Special { meta },
        };
        let entry = entry_of(&Change { path, kind }).map_err(|error| ExportError::Tree(error.into()))?;
        let written = match &mut contents {
            Some(file) => writer.append(&entry, file),
            None => writer.append(&entry, &mut std::io::empty()),
        };
        written.map_err(|error| ExportError::Tree(error.into()))?;
    }
    writer.finish().map_err(|error| ExportError::Tree(error.into()))?;
    Ok(())
}
