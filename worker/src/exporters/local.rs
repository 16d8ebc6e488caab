//! `type=local`: the root file system as a folder.

use std::path::Path;

use rbuild_confined::{Kind, Root};
use rbuild_snapshotter::copier::{Copier, CopyRules, Sockets, Verdict};

use super::{ExportError, beside};
use crate::attest::files;
use crate::cancel::Cancel;
use crate::describe::Finished;
use crate::request::Export;
use crate::worker::Worker;

/// Copies the root of a result into a folder, which is made if it is missing and then appears complete or not at all.
/// Links in the folder are never followed out of it. What is said about the result lies beside its files. Files get the caller's ownership; devices are left out, and their
/// number is returned.
pub(super) fn export(
    worker: &Worker,
    export: &Export,
    result: &Finished,
    dest: &Path,
    cancel: &Cancel,
) -> Result<u64, ExportError> {
    let io = |act| move |source| ExportError::Io { act, path: dest.to_owned(), source };
    if dest.exists() {
        return copy(worker, export, result, dest, cancel);
    }
    if let Some(parent) = dest.parent() {
        std::fs::create_dir_all(parent).map_err(io("make"))?;
    }
    let fresh = beside(dest)?;
    std::fs::create_dir(&fresh).map_err(io("make"))?;
    let copied = copy(worker, export, result, &fresh, cancel).and_then(|skipped| {
        std::fs::rename(&fresh, dest).map_err(io("make"))?;
        Ok(skipped)
    });
    if copied.is_err() {
        // The first error is the one to tell.
        let _ = std::fs::remove_dir_all(&fresh);
    }
    copied
}

fn copy(
    worker: &Worker,
    export: &Export,
    result: &Finished,
    dest: &Path,
    cancel: &Cancel,
) -> Result<u64, ExportError> {
    let target = Root::open(dest).map_err(ExportError::tree)?.resolve("/").map_err(ExportError::tree)?;
    let view = worker.view(&result.chain)?;
    let facts = files::written(&view, &result.facts, export.files_of(&result.platform.to_string()), cancel)?;
    let source = view.resolve("/").map_err(ExportError::tree)?;
    let owner = target.metadata().map_err(ExportError::tree)?.owner;
    let mut skipped = 0;
    let mut filter = |_: &Path, kind: Kind| match kind {
        Kind::CharDevice | Kind::BlockDevice => {
            skipped += 1;
            Verdict::Skip
        }
        _ => Verdict::Take,
    };
    let rules = CopyRules { owner: Some(owner), sockets: Sockets::Skip, ..CopyRules::default() };
    let stop = || cancel.is_cancelled();
    Copier::new(rules)
        .with_filter(&mut filter)
        .until(&stop)
        .copy_dir(&source, target)
        .map_err(|error| ExportError::Tree(error.into()))?;
    files::write_into(dest, &facts)?;
    Ok(skipped)
}
