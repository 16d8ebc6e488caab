//! The tree of a container, seen from outside: `diff`, `export`, sizes, and the root that `cp` works in.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use rbuild_confined::Root;
use rbuild_model::container::{Definition, Removal, Run};
use rbuild_model::rootfs::{OverlayUpper, RootPlan};
use rbuild_sandbox::mounts::mount_detached;
use rbuild_sandbox::process::is_alive;
use rbuild_snapshotter::diff::{Change, ChangeKind, Novelty};
use rbuild_snapshotter::{Tree, Writes};

use super::error::ContainerError;
use super::lend::NAME_FILES;
use crate::engine::{Engine, io};

/// A path that a container changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The path, absolute.
    pub path: PathBuf,
    /// How.
    pub how: How,
}

/// How a path was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It is another.
    Modified,
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
}

impl How {
    /// Returns Docker's letter for it.
    pub fn letter(self) -> char {
        match self {
            Self::Modified => 'C',
            Self::Added => 'A',
            Self::Deleted => 'D',
        }
    }
}

impl Engine {
    /// Tells what a container changed of its image, ordered by path.
    pub fn changes(&self, definition: &Definition) -> Result<Vec<Changed>, ContainerError> {
        let snapshots = self.snapshots_in(&self.folder(definition.id))?;
        let active = self.writes(definition);
        let view = self.parts.snapshotter.view(&definition.image.chain)?;
        let image = Root::from_fd(mount_detached(&view)?)?;
        let mut changed = Vec::new();
        snapshots.changes(Tree::Active(&active), &mut |change: Change, _: Option<File>| {
            let is_root = change.path.as_os_str().is_empty();
            let how = match &change.kind {
                ChangeKind::Whiteout => How::Deleted,
                _ if is_root => return Ok(()),
                ChangeKind::Directory { novelty: Novelty::Carrier, .. } => How::Modified,
                _ => match image.find_nofollow(&change.path) {
                    Ok(None) => How::Added,
                    _ => How::Modified,
                },
            };
            changed.push(Changed { path: std::path::Path::new("/").join(&change.path), how });
            Ok(())
        })?;
        changed.sort_by(|a, b| a.path.cmp(&b.path));
        // The places of the files of names were made for them to be mounted on; nobody wrote there.
        changed.retain(|change| {
            change.how != How::Added || !NAME_FILES.iter().any(|file| change.path == Path::new(file))
        });
        if !changed.iter().any(|change| change.path != Path::new("/etc") && change.path.starts_with("/etc")) {
            changed.retain(|change| change.path != Path::new("/etc") || change.how != How::Modified);
        }
        Ok(changed)
    }

    /// Returns the bytes that a container wrote, and those of all that it sees.
    pub(super) fn sizes(&self, definition: &Definition) -> Result<(u64, u64), ContainerError> {
        // Whoever removes it waits: what is opened here is made where it is not there.
        let _held = self.hold_still(definition)?;
        let folder = self.folder(definition.id);
        if !folder.is_dir() {
            return Err(ContainerError::NotFound(definition.id.to_string()));
        }
        let snapshots = self.snapshots_in(&folder)?;
        let active = self.writes(definition);
        let writes = rbuild_snapshotter::size_of(&snapshots.open_active(&active)?)?;
        let mut below = 0;
        for layer in definition.image.chain.layers() {
            below += self.parts.snapshotter.usage(*layer)?.bytes;
        }
        if snapshots.writes_in_place(&active) {
            // The whole tree is its own.
            return Ok((writes.saturating_sub(below), writes));
        }
        Ok((writes, writes + below))
    }

    /// Opens the tree of a container as it is now, for reading.
    pub(super) fn tree(&self, definition: &Definition) -> Result<Root, ContainerError> {
        if let Some(root) = self.running_root(definition)? {
            return Ok(root);
        }
        self.files(definition)
    }

    /// Opens the files of a container, for reading, without anything that is mounted on them.
    pub(super) fn files(&self, definition: &Definition) -> Result<Root, ContainerError> {
        Ok(Root::from_fd(mount_detached(&for_reading(self.root_plan(definition)?))?)?)
    }

    /// Opens the root of a container as its program sees it, if it runs.
    pub(super) fn running_root(&self, definition: &Definition) -> Result<Option<Root>, ContainerError> {
        match self.observe(definition)?.state.run() {
            Some(run) => Ok(of_init(run, "root", Root::open)?),
            None => Ok(None),
        }
    }

    /// Describes how a container's root is mounted to be written. Nobody else has it mounted so meanwhile.
    pub(super) fn root_plan(&self, definition: &Definition) -> Result<RootPlan, ContainerError> {
        self.root_plan_in(&self.folder(definition.id), definition)
    }

    /// As [`root_plan`](Self::root_plan), for a container whose folder may not have its name yet.
    pub(super) fn root_plan_in(
        &self,
        folder: &Path,
        definition: &Definition,
    ) -> Result<RootPlan, ContainerError> {
        let writes = match definition.host.removal {
            // Its end would wait until everything on the file system is on the disk, whoever wrote it.
            Removal::Auto => Writes::Volatile,
            Removal::Keep => Writes::Durable,
        };
        let plan = self.snapshots_in(folder)?.root(&self.writes(definition), writes)?;
        if let RootPlan::Overlay { upper: Some(OverlayUpper { work, volatile: true, .. }), .. } = &plan {
            // The kernel's mark that the machine may have gone down meanwhile: then this container is gone, too.
            let mark = work.join("work/incompat");
            match std::fs::remove_dir_all(&mark) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                removed => removed.map_err(io("remove", mark))?,
            }
        }
        Ok(plan)
    }

    /// Writes all that a container sees, but what is mounted in it, as a tar.
    pub fn export(&self, definition: &Definition, out: &mut dyn Write) -> Result<(), ContainerError> {
        let _still = self.hold_still(definition)?;
        let root = self.files(definition)?;
        rbuild_snapshotter::write_tree(&root, "/", Path::new(""), &mut *out)?;
        out.flush().map_err(io("write", "the archive"))?;
        self.tell(definition, "export", &[]);
        Ok(())
    }
}

/// Makes of a root that is written one that is read: what was written is one more layer on top.
pub(super) fn for_reading(plan: RootPlan) -> RootPlan {
    match plan {
        RootPlan::Overlay { mut lowers, upper: Some(upper), xattr } => {
            lowers.insert(0, upper.upper);
            RootPlan::Overlay { lowers, upper: None, xattr }
        }
        RootPlan::Overlay { lowers, upper: None, xattr } => RootPlan::Overlay { lowers, upper: None, xattr },
        RootPlan::Directory { path, .. } => RootPlan::Directory { path, readonly: true },
    }
}

/// Opens a file of the first process of a run; `None` if that process is gone. A number alone is not trusted: it may be
/// another's by the time that the file is opened.
pub(crate) fn of_init<T, E>(
    run: &Run,
    name: &str,
    open: impl FnOnce(PathBuf) -> Result<T, E>,
) -> Result<Option<T>, ContainerError>
where
    ContainerError: From<E>,
{
    let opened = open(PathBuf::from(format!("/proc/{}/{name}", run.init.pid)));
    if !is_alive(run.init) {
        return Ok(None);
    }
    Ok(Some(opened?))
}

#[cfg(test)]
mod tests {
    use rbuild_model::container::ProcessIdentity;
    use rbuild_sandbox::process::identify;

    use super::*;

    #[test]
    fn who_has_the_number_of_one_that_ended_is_left_alone() {
        let own = identify(std::process::id() as i32).unwrap();
        let run = |init| Run { init, started: jiff::Timestamp::now(), health: None };
        let open = |path: PathBuf| std::fs::read_link(&path).map_err(io("read", path));
        let seen = of_init(&run(own), "ns/net", open).unwrap();
        assert_eq!(seen, std::fs::read_link("/proc/self/ns/net").ok());
        let former = ProcessIdentity { start_ticks: own.start_ticks + 1, ..own };
        assert_eq!(of_init(&run(former), "ns/net", open).unwrap(), None);
    }
}
