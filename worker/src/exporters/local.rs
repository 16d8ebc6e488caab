//! `type=local`: the root file system as a folder.

use std::path::Path;

use rbuild_confined::{Kind, Root};
use rbuild_snapshotter::copier::{Copier, CopyRules, Sockets, Verdict};

use super::ExportError;
use crate::build::Finished;
use crate::worker::Worker;

/// Copies the root of a result into a folder, which is made if it is missing. Links in the folder are never followed
/// out of it. Files get the caller's ownership; devices are left out, and their number is returned.
pub(super) fn export(
    worker: &Worker,
    result: &Finished,
    dest: &Path,
    mirror: bool,
) -> Result<u64, ExportError> {
    if mirror {
        return Err(ExportError::Unsupported { what: "mode=delete" });
    }
    std::fs::create_dir_all(dest).map_err(|source| ExportError::Io {
        act: "make",
        path: dest.to_owned(),
        source,
    })?;
    let target = Root::open(dest).map_err(ExportError::tree)?.resolve("/").map_err(ExportError::tree)?;
    let view = worker.view(&result.chain)?;
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
    Copier::new(rules)
        .with_filter(&mut filter)
        .copy_dir(&source, target)
        .map_err(|error| ExportError::Tree(error.into()))?;
    Ok(skipped)
}
