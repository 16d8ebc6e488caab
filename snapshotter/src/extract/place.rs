//! Finding the directory of an entry in the merged view.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rbuild_confined::{Kind, Metadata, Time};
use rustix::fs::{AtFlags, Mode};
use rustix::io::Errno;

use super::node::Attributes;
use super::{ExtractError, Extractor, ImpliedThroughLinks, Result, Whiteouts, io};
use crate::merged::Found;

/// How many links one path may pass through, as in the kernel.
const MAX_LINKS: usize = 40;

/// A directory of the merged view.
#[derive(Debug)]
pub(super) struct Level {
    name: OsString,
    /// The layers that have it, the topmost first; number 0 is the tree that is written.
    pub(super) layers: Vec<usize>,
}

/// What happens where a directory is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// It is made.
    Make,
    /// The walk stops and says so.
    Stop,
}

impl Extractor {
    /// Returns where the trail leads, relative to the root and free of links.
    pub(super) fn trail_path(&self) -> PathBuf {
        self.trail.iter().map(|level| level.name.as_os_str()).collect()
    }

    /// Returns the layers that have the directory at the trail's end.
    pub(super) fn layers(&self) -> &[usize] {
        self.trail.last().map_or(&self.root_layers, |level| &level.layers)
    }

    /// Returns the layers below the tree that is written which have that directory.
    pub(super) fn lower_layers(&self) -> Vec<usize> {
        match self.layers() {
            // A plain tree has no layers below it.
            _ if self.marks.is_none() => Vec::new(),
            [0, lowers @ ..] => lowers.to_vec(),
            lowers => lowers.to_vec(),
        }
    }

    /// Says that nothing of the layers below is seen any more in the directory at the trail's end.
    pub(super) fn forget_lower_layers(&mut self) {
        if let Some(level) = self.trail.last_mut() {
            level.layers.truncate(1);
        }
    }

    /// Makes the trail lead to the directory `path` of the archive; says whether it is there.
    ///
    /// Neighbours in an archive mostly share their directory, so what two paths have in common is not looked up again:
    /// each level of the trail is known to be a directory and no link.
    pub(super) fn enter(&mut self, path: &[u8], missing: Missing) -> Result<bool> {
        let mut todo: VecDeque<(OsString, bool)> = VecDeque::new();
        push_front(&mut todo, path, false);
        let shared =
            self.trail.iter().zip(&todo).take_while(|(level, (name, _))| level.name == *name).count();
        self.retreat(shared);
        todo.drain(..shared);
        let mut links = 0;
        while let Some((name, from_link)) = todo.pop_front() {
            if name == ".." {
                self.retreat(self.trail.len().saturating_sub(1));
                continue;
            }
            let dir = self.trail_path();
            match self.merged.lookup(&dir, self.layers(), &name)? {
                Found::Directory { layers, meta } => {
                    if self.rules.whiteouts == Whiteouts::Remove {
                        // An overlay gets such a directory by copying it up, attributes included.
                        let path = dir.join(&name);
                        self.dirs.entry(path).or_insert_with(|| Attributes::of(&meta));
                    }
                    self.advance(Level { name, layers });
                }
                Found::Other { layer, meta } if meta.kind == Kind::Symlink => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(broken_link(path, Errno::LOOP));
                    }
                    let target = self.merged.read_link(layer, &dir.join(&name))?;
                    if target.has_root() {
                        self.retreat(0);
                    }
                    push_front(&mut todo, target.as_os_str().as_bytes(), true);
                }
                Found::Other { .. } if missing == Missing::Stop => return Ok(false),
                Found::Other { .. } => {
                    return Err(ExtractError::BelowFile { path: PathBuf::from(OsStr::from_bytes(path)) });
                }
                Found::Absent if missing == Missing::Stop => return Ok(false),
                Found::Absent
                    if from_link && self.rules.implied_through_links == ImpliedThroughLinks::Refuse =>
                {
                    return Err(broken_link(path, Errno::NOENT));
                }
                Found::Absent => {
                    let time = (self.rules.whiteouts != Whiteouts::Literal).then(Time::default);
                    self.make_dir(&name, Attributes::implied(time))?;
                    self.advance(Level { name, layers: vec![0] });
                }
            }
        }
        Ok(true)
    }

    fn advance(&mut self, level: Level) {
        self.trail.push(level);
        self.here = None;
    }

    fn retreat(&mut self, length: usize) {
        if length < self.trail.len() {
            self.trail.truncate(length);
            self.here = None;
        }
    }

    /// Opens the directory at the trail's end in the tree that is written, and makes it there first if only lower
    /// layers have it; it then has their attributes.
    pub(super) fn here(&mut self) -> Result<BorrowedFd<'_>> {
        if self.here.is_none() {
            self.copy_up_dirs()?;
            let path = self.trail_path();
            self.here = Some(self.upper.resolve_nofollow(&path)?.into());
        }
        Ok(self.here.as_ref().expect("just opened").as_fd())
    }

    fn copy_up_dirs(&mut self) -> Result<()> {
        let mut path = PathBuf::new();
        for level in &mut self.trail {
            let parent = path.clone();
            path.push(&level.name);
            if level.layers.first() == Some(&0) {
                continue;
            }
            let lower = level.layers[0];
            let stat = rustix::fs::statat(self.merged.layer(lower), &path, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|errno| io("inspect", &path, errno))?;
            let dir = self.upper.resolve_nofollow(&parent)?;
            rustix::fs::mkdirat(&dir, &level.name, Mode::RWXU)
                .map_err(|errno| io("make directory", &path, errno))?;
            self.dirs.insert(path.clone(), Attributes::carrier(&Metadata::from_stat(&stat)));
            level.layers.insert(0, 0);
        }
        Ok(())
    }

    /// Removes what the tree that is written has under `name`, to make room for something else.
    pub(super) fn clear(&mut self, name: &OsStr) -> Result<()> {
        let path = self.trail_path().join(name);
        let dir = self.here()?;
        rbuild_confined::remove_tree(dir, name)?;
        // What comes in the place of a directory may be a link, through which the old ones are not to be found again.
        let below = self.dirs.range(path.clone()..).map(|(other, _)| other);
        for gone in below.take_while(|other| other.starts_with(&path)).cloned().collect::<Vec<_>>() {
            self.dirs.remove(&gone);
        }
        Ok(())
    }

    /// Inspects `name` in the tree that is written.
    pub(super) fn written(&mut self, name: &OsStr) -> Result<Option<Metadata>> {
        let path = self.trail_path().join(name);
        match rustix::fs::statat(self.here()?, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Metadata::from_stat(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(io("inspect", &path, errno)),
        }
    }

    /// Looks `name` up in the layers below the tree that is written.
    pub(super) fn below(&self, name: &OsStr) -> Result<Found> {
        Ok(self.merged.lookup(&self.trail_path(), &self.lower_layers(), name)?)
    }
}

fn push_front(todo: &mut VecDeque<(OsString, bool)>, path: &[u8], from_link: bool) {
    for part in path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".").rev() {
        todo.push_front((OsStr::from_bytes(part).to_owned(), from_link));
    }
}

fn broken_link(path: &[u8], errno: Errno) -> ExtractError {
    ExtractError::Link { path: Path::new(OsStr::from_bytes(path)).to_owned(), source: errno.into() }
}
