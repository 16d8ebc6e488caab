//! What a layer takes away.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rbuild_confined::{Kind, Step, Walk, open_subdir, read_dir, remove_tree};
use rbuild_image::tar::{Entry, Whiteout};
use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use super::place::Missing;
use super::{ExtractError, Extractor, Result, Whiteouts, io};
use crate::merged::{Found, is_whiteout};

impl Extractor {
    /// Does what the entry says if it is a whiteout; says whether it is one.
    pub(super) fn whiteout(&mut self, entry: &Entry) -> Result<bool> {
        if self.rules.whiteouts == Whiteouts::Literal {
            return Ok(false);
        }
        let whiteout = Whiteout::classify(&entry.path).map_err(|source| ExtractError::Whiteout {
            path: PathBuf::from(OsStr::from_bytes(entry.path.as_bytes())),
            source,
        })?;
        match whiteout {
            None => return Ok(false),
            Some(Whiteout::Bookkeeping) => {}
            Some(Whiteout::Remove(path)) => {
                let Some((parent, name)) = path.split_last() else { return Ok(true) };
                if self.enter(parent.as_bytes(), Missing::Stop)? {
                    self.take_away(OsStr::from_bytes(name))?;
                }
            }
            Some(Whiteout::Opaque(path)) => {
                if self.enter(path.as_bytes(), Missing::Stop)? {
                    self.take_all_away()?;
                }
            }
        }
        Ok(true)
    }

    /// Takes `name` of the layers below away; what this archive has added stays.
    fn take_away(&mut self, name: &OsStr) -> Result<()> {
        if self.rules.whiteouts == Whiteouts::Remove {
            return self.remove_older(name);
        }
        let below = self.below(name)?;
        if below == Found::Absent {
            return Ok(());
        }
        let path = self.trail_path().join(name);
        match self.written(name)? {
            None => {
                let mode = Mode::empty();
                rustix::fs::mknodat(self.here()?, name, FileType::CharacterDevice, mode, 0)
                    .map_err(|errno| io("make whiteout", &path, errno))
            }
            Some(meta) if meta.is_dir() && matches!(below, Found::Directory { .. }) => {
                self.make_opaque(name)?;
                self.take_empty_carrier_away(name, &path)
            }
            Some(_) => Ok(()),
        }
    }

    /// Replaces a directory by a whiteout if it was only there to hold whiteouts.
    fn take_empty_carrier_away(&mut self, name: &OsStr, path: &Path) -> Result<()> {
        if !self.dirs.get(path).is_some_and(|attributes| attributes.carrier) {
            return Ok(());
        }
        match rustix::fs::unlinkat(self.here()?, name, AtFlags::REMOVEDIR) {
            Ok(()) => {
                self.dirs.remove(path);
                self.take_away(name)
            }
            Err(Errno::NOTEMPTY) => Ok(()),
            Err(errno) => Err(io("remove", path, errno)),
        }
    }

    /// Removes the whiteouts in a directory that has become opaque, and the directories that only held them: nothing is
    /// left for them to hide, and overlayfs lists a whiteout in a directory that it does not merge.
    pub(super) fn forget_whiteouts(&mut self, dir: OwnedFd, base: &Path) -> Result<()> {
        let mut walk = Walk::within_mount(dir)?;
        while let Some(step) = walk.next()? {
            let path = base.join(walk.path());
            let name = walk.path().file_name().expect("every step has a name").to_owned();
            match step {
                Step::Leave => {
                    if !self.dirs.get(&path).is_some_and(|attributes| attributes.carrier) {
                        continue;
                    }
                    match rustix::fs::unlinkat(walk.dir(), &name, AtFlags::REMOVEDIR) {
                        Ok(()) => drop(self.dirs.remove(&path)),
                        Err(Errno::NOTEMPTY) => {}
                        Err(errno) => return Err(io("remove", &path, errno)),
                    }
                }
                Step::Entry(_) => {
                    let meta = walk.metadata()?;
                    if meta.is_dir() {
                        walk.enter()?;
                    } else if is_whiteout(&meta) {
                        rustix::fs::unlinkat(walk.dir(), &name, AtFlags::empty())
                            .map_err(|errno| io("remove whiteout", &path, errno))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes everything that the layers below have in the current directory away.
    fn take_all_away(&mut self) -> Result<()> {
        let dir = self.trail_path();
        if self.rules.whiteouts == Whiteouts::Remove {
            let here = open_subdir(self.here()?, ".").map_err(|errno| io("open", &dir, errno))?;
            for entry in read_dir(&here).map_err(|errno| io("read directory", &dir, errno))? {
                self.remove_older(&entry.name)?;
            }
            return Ok(());
        }
        let lowers = self.lower_layers();
        if lowers.is_empty() {
            return Ok(());
        }
        if dir.as_os_str().is_empty() {
            // Overlayfs does not ask whether the root itself is opaque.
            for name in self.merged.names(&dir, &lowers)? {
                self.take_away(&name)?;
            }
            return Ok(());
        }
        self.make_opaque(OsStr::new("."))?;
        self.forget_lower_layers();
        Ok(())
    }

    /// Removes `name` from a plain tree as far as this archive has not added it.
    fn remove_older(&mut self, name: &OsStr) -> Result<()> {
        let path = self.trail_path().join(name);
        let Some(meta) = self.written(name)? else { return Ok(()) };
        if !self.added.contains(&path) {
            return Ok(remove_tree(self.here()?, name)?);
        }
        if meta.is_dir() {
            let dir = open_subdir(self.here()?, name).map_err(|errno| io("open", &path, errno))?;
            remove_unless(dir, &path, &self.added)?;
        }
        Ok(())
    }
}

/// Removes what lies below `dir` and is not among those to keep; what is kept keeps all directories above it.
fn remove_unless(dir: OwnedFd, base: &Path, keep: &HashSet<PathBuf>) -> Result<()> {
    let mut walk = Walk::within_mount(dir)?;
    while let Some(step) = walk.next()? {
        let Step::Entry(entry) = step else { continue };
        let path = base.join(walk.path());
        if !keep.contains(&path) {
            remove_tree(walk.dir(), &entry.name)?;
            continue;
        }
        match rustix::fs::statat(walk.dir(), &entry.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) if walk.metadata()?.kind == Kind::Directory => walk.enter()?,
            Ok(_) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(io("inspect", &path, errno)),
        }
    }
    Ok(())
}
