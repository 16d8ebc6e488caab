//! Walking a directory and making its like.

use std::ffi::{OsStr, OsString};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, Scope};

use rbuild_confined::{DirStack, Error as TreeError, Handle, Kind, Metadata, Step, Walk, open_subdir};
use rustix::fs::Mode;
use rustix::io::Errno;

use super::crew::{Batch, Crew, Ends, Folder, Job};
use super::hand::{Hand, Place, io};
use super::{Below, CopyError, Filter, Result, Verdict};

/// Copies the content of the directory `source` into the directory `dest`, whose time becomes the source's.
pub(super) fn copy(
    hand: &Hand<'_>,
    filter: Option<&mut Filter<'_>>,
    below: Option<&Below>,
    buffer: &mut Vec<u8>,
    source: &Handle,
    dest: Handle,
) -> Result<()> {
    let source_meta = source.metadata()?;
    if let Some(watch) = hand.watch {
        watch.entry(Path::new(""), &source_meta, None);
    }
    let mut walk = Walk::new(source.open_dir()?)?;
    let top = dest.open_dir()?;
    let mut levels = Levels {
        inherits: vec![dest.metadata()?.mode & 0o2000 != 0],
        below: vec![below.is_some()],
        dirs: DirStack::new(dest.open_dir()?),
        names: Vec::new(),
        folders: vec![Folder::new(PathBuf::new(), None)],
    };
    let tree = dest.into_root()?;
    let crew = Crew::new(hand, &tree);
    let walked = thread::scope(|scope| {
        let mut course = Course { hand, filter, below, crew: &crew, ends: None, batch: Batch::default() };
        let walked = course.all(scope, &mut walk, &mut levels, buffer);
        crew.finish(course.batch, buffer);
        walked
    });
    // What failed in a file came earlier in the walk than what stopped the walk.
    crew.result()?;
    walked?;
    rustix::fs::futimens(&top, &hand.times(&source_meta))
        .map_err(|errno| io("set the time of", Path::new("."), errno))
}

/// A walk, and what it hands on.
struct Course<'a, 'f> {
    hand: &'a Hand<'a>,
    filter: Option<&'a mut Filter<'f>>,
    below: Option<&'a Below>,
    crew: &'a Crew<'a>,
    /// The directory that the walk is in, if a file was found there since it came to it.
    ends: Option<Arc<Ends>>,
    batch: Batch,
}

impl<'a> Course<'a, '_> {
    fn all<'scope>(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        walk: &mut Walk,
        levels: &mut Levels,
        buffer: &mut Vec<u8>,
    ) -> Result<()>
    where
        'a: 'scope,
    {
        while let Some(step) = walk.next()? {
            if self.crew.has_failed() {
                return Ok(());
            }
            match step {
                Step::Entry(entry) => {
                    if let Some(job) = self.entry(walk, entry.kind, levels)? {
                        self.crew.add(scope, &mut self.batch, job, buffer);
                    }
                }
                Step::Leave => {
                    self.ends = None;
                    if let Some((meta, folder, dir)) = levels.leave(walk.path())?
                        && folder.leave()
                    {
                        self.hand.finish_dir(&dir, &meta, walk.path())?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Copies an entry, unless it is a regular file: that is work for whoever has time.
    fn entry(&mut self, walk: &mut Walk, kind: Option<Kind>, levels: &mut Levels) -> Result<Option<Job>> {
        self.hand.check_stop()?;
        let path = walk.path().to_owned();
        let name = path.file_name().expect("every entry has a name");
        // A regular file is inspected once it is open.
        let meta = if kind == Some(Kind::File) { None } else { Some(walk.metadata()?) };
        let kind = meta.map_or(Kind::File, |meta| meta.kind);
        let verdict = self.filter.as_mut().map_or(Verdict::Take, |filter| filter(&path, kind));
        match (verdict, &meta) {
            (Verdict::Skip, _) => return Ok(None),
            (verdict, Some(meta)) if kind == Kind::Directory => {
                walk.enter()?;
                self.ends = None;
                levels.names.push((name.to_owned(), *meta));
                if verdict == Verdict::Take {
                    if let Some(watch) = self.hand.watch {
                        watch.entry(&path, meta, None);
                    }
                    levels.make(&path, self.below)?;
                    self.hand.attributes_of_dir(walk.dir(), levels.dirs.top(), &path)?;
                }
                return Ok(None);
            }
            (Verdict::Descend, _) => return Ok(None),
            _ => {}
        }
        levels.make(path.parent().unwrap_or(Path::new("")), self.below)?;
        if levels.below.last() == Some(&true)
            && let Some(below) = self.below
            && below.kind(&path)? == Some(Kind::Directory)
        {
            return Err(CopyError::OntoDirectory { path });
        }
        let inherits = *levels.inherits.last().expect("the destination itself stays");
        let Some(meta) = meta else {
            let ends = match &self.ends {
                Some(ends) => Arc::clone(ends),
                None => {
                    let copy = |dir: BorrowedFd<'_>| {
                        dir.try_clone_to_owned().map_err(|error| TreeError::io("open", &path, error))
                    };
                    let (source, dest) = (copy(walk.dir())?, copy(levels.dirs.top())?);
                    let folder = Arc::clone(levels.folders.last().expect("the destination itself stays"));
                    Arc::clone(self.ends.insert(Arc::new(Ends { source, dest, inherits, folder })))
                }
            };
            return Ok(Some(Job { ends, name: name.to_owned() }));
        };
        let place = Place { dir: levels.dirs.top(), name, path: &path, inherits };
        match kind {
            Kind::Symlink => self.hand.link_at(walk.dir(), &meta, place)?,
            _ => self.hand.special(&meta, place, &path)?,
        }
        Ok(None)
    }
}

/// The directories at the destination, of which the deepest may still have to be made.
struct Levels {
    dirs: DirStack,
    /// For each directory that is made, whether new files get its group.
    inherits: Vec<bool>,
    /// For each directory that is made, whether a lower layer has it too.
    below: Vec<bool>,
    /// The source's directories that the walk is in.
    names: Vec<(OsString, Metadata)>,
    /// For each directory that is made, how far its files are.
    folders: Vec<Arc<Folder>>,
}

impl Levels {
    /// Makes what is missing of the directories that the walk is in; `path` is the deepest of them.
    fn make(&mut self, path: &Path, below: Option<&Below>) -> Result<()> {
        while self.dirs.depth() < self.names.len() {
            let (name, meta) = &self.names[self.dirs.depth()];
            let place: PathBuf = self.names[..=self.dirs.depth()].iter().map(|(name, _)| name).collect();
            let merges = match below {
                Some(below) if self.below.last() == Some(&true) => match below.kind(&place)? {
                    None => false,
                    Some(Kind::Directory) => true,
                    Some(_) => return Err(CopyError::OntoFile { path: place }),
                },
                _ => false,
            };
            self.below.push(merges);
            self.folders.push(Folder::new(place, Some(*meta)));
            let (dir, mode) = make_dir(self.dirs.top(), name, path)?;
            self.inherits.push(mode & 0o2000 != 0);
            self.dirs.push(dir).map_err(|errno| io("open", path, errno))?;
        }
        Ok(())
    }

    /// Leaves the deepest directory; returns it with the source's attributes if it was made.
    fn leave(&mut self, path: &Path) -> Result<Option<(Metadata, Arc<Folder>, OwnedFd)>> {
        let made = self.dirs.depth() == self.names.len();
        let (_, meta) = self.names.pop().expect("every directory that is left was entered");
        if !made {
            return Ok(None);
        }
        self.inherits.pop();
        self.below.pop();
        let folder = self.folders.pop().expect("every directory that is made has one");
        match self.dirs.pop().map_err(|errno| io("open", path, errno))? {
            Some(dir) => Ok(Some((meta, folder, dir))),
            None => Err(TreeError::Moved { path: path.to_owned() }.into()),
        }
    }
}

/// Makes or opens the directory `name`, and returns it with the mode that it has until the end.
fn make_dir(dir: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<(OwnedFd, u32)> {
    match rustix::fs::mkdirat(dir, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(io("make directory", path, errno)),
    }
    let made = match open_subdir(dir, name) {
        Ok(made) => made,
        Err(Errno::NOTDIR | Errno::LOOP) => return Err(CopyError::OntoFile { path: path.to_owned() }),
        Err(errno) => return Err(io("open", path, errno)),
    };
    let stat = rustix::fs::fstat(&made).map_err(|errno| io("inspect", path, errno))?;
    Ok((made, Metadata::from_stat(&stat).mode))
}
