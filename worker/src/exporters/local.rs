//! `type=local`: the root file system as a folder.

use std::io;
use std::path::Path;

use rbuild_confined::{Kind, Root, Time};
use rbuild_snapshotter::copier::{Copier, CopyRules, Sockets, Verdict};

use super::{ExportError, beside};
use crate::attest::files;
use crate::cancel::Cancel;
use crate::describe::Finished;
use crate::request::{Export, Leftovers};
use crate::worker::Worker;

/// Copies the root of a result into a folder, which is made if it is missing and then appears complete or not at all.
/// Links in the folder are never followed out of it. What is said about the result lies beside its files. Files get the
/// caller's ownership, and with an epoch its time, older or newer as they may be; devices are left out, and their number is
/// returned.
pub(super) fn export(
    worker: &Worker,
    export: &Export,
    result: &Finished,
    (dest, leftovers): (&Path, Leftovers),
    cancel: &Cancel,
) -> Result<u64, ExportError> {
    let io = |act| move |source| ExportError::Io { act, path: dest.to_owned(), source };
    let is_there = dest.exists();
    if is_there && leftovers == Leftovers::Keep {
        return copy(worker, export, result, dest, cancel);
    }
    // What takes the place of other files is made among them: a folder can be a mount of its own.
    let fresh = if is_there {
        beside(&dest.join("result"))?
    } else {
        if let Some(parent) = dest.parent() {
            std::fs::create_dir_all(parent).map_err(io("make"))?;
        }
        beside(dest)?
    };
    std::fs::create_dir(&fresh).map_err(io("make"))?;
    let copied = copy(worker, export, result, &fresh, cancel).and_then(|skipped| {
        match is_there {
            true => replace(dest, &fresh).map_err(io("replace what is in"))?,
            false => std::fs::rename(&fresh, dest).map_err(io("make"))?,
        }
        Ok(skipped)
    });
    if copied.is_err() {
        // The first error is the one to tell.
        let _ = std::fs::remove_dir_all(&fresh);
    }
    copied
}

/// Removes what is in a folder, but for one folder in it, whose files take the place.
fn replace(folder: &Path, fresh: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.path() == fresh {
            continue;
        }
        // A link is removed, and not what it leads to.
        match entry.file_type()?.is_dir() {
            true => std::fs::remove_dir_all(entry.path())?,
            false => std::fs::remove_file(entry.path())?,
        }
    }
    for entry in std::fs::read_dir(fresh)? {
        let entry = entry?;
        std::fs::rename(entry.path(), folder.join(entry.file_name()))?;
    }
    std::fs::remove_dir(fresh)
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
    let rules = CopyRules {
        owner: Some(owner),
        mtime: result.epoch.map(Time::from_seconds),
        sockets: Sockets::Skip,
        ..CopyRules::default()
    };
    let stop = || cancel.is_cancelled();
    Copier::new(rules)
        .with_filter(&mut filter)
        .until(&stop)
        .copy_dir(&source, target)
        .map_err(|error| ExportError::Tree(error.into()))?;
    files::write_into(dest, &facts, result.epoch)?;
    Ok(skipped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_in_a_folder_goes_and_what_links_lead_to_stays() {
        let root = tempfile::tempdir().unwrap();
        let [kept, dest] = ["kept", "dest"].map(|name| root.path().join(name));
        let fresh = dest.join("fresh");
        for folder in [&kept, &dest.join("old/deep"), &fresh.join("sub")] {
            std::fs::create_dir_all(folder).unwrap();
        }
        for file in [kept.join("file"), dest.join("old/deep/file"), dest.join("sub"), fresh.join("sub/file")]
        {
            std::fs::write(file, "").unwrap();
        }
        std::os::unix::fs::symlink(&kept, dest.join("link")).unwrap();
        replace(&dest, &fresh).unwrap();
        let names: Vec<_> =
            std::fs::read_dir(&dest).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["sub"]);
        assert!(dest.join("sub/file").is_file() && kept.join("file").is_file());
    }
}
