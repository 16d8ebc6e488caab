//! Files and folders whose changes are heard of, however deep.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rbuild_engine::projects::Halt;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::notices::{Happened, Notices, Wanted};

/// What is wanted of a folder: files that were written, and names that came and went.
const WANTED: Wanted = Wanted::CLOSE_WRITE
    .union(Wanted::CREATE)
    .union(Wanted::DELETE)
    .union(Wanted::MOVED_FROM)
    .union(Wanted::MOVED_TO)
    .union(Wanted::ATTRIB)
    .union(Wanted::EXCL_UNLINK);

/// Changes are one batch until nothing has changed for so long.
const QUIET: Duration = Duration::from_millis(200);
/// A batch is not older than this, however much goes on.
const LONGEST: Duration = Duration::from_secs(2);

/// Files and folders that are watched.
pub(super) struct Tree<'a> {
    notices: Notices,
    folders: HashMap<i32, PathBuf>,
    /// What is watched with all that is below it, or a file.
    tops: Vec<PathBuf>,
    skips: Box<dyn Fn(&Path) -> bool + 'a>,
}

impl<'a> Tree<'a> {
    /// Begins to watch paths; folders that `skips` names are left out.
    pub(super) fn new(tops: Vec<PathBuf>, skips: impl Fn(&Path) -> bool + 'a) -> io::Result<Self> {
        let mut tree = Self {
            notices: Notices::new()?,
            folders: HashMap::new(),
            tops: tops.clone(),
            skips: Box::new(skips),
        };
        for top in tops {
            if top.is_dir() {
                tree.add(&top, &mut |_| {})?;
            }
            // A file is often replaced by another of its name, and what is not there may come.
            if let Some(parent) = top.parent().filter(|parent| parent.is_dir()) {
                tree.add_one(parent)?;
            }
        }
        Ok(tree)
    }

    fn add_one(&mut self, folder: &Path) -> io::Result<bool> {
        match self.notices.add(folder, WANTED.union(Wanted::ONLYDIR)) {
            Ok(number) => {
                self.folders.insert(number, folder.to_owned());
                Ok(true)
            }
            // It went again, or is a link or a file by now.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(false)
            }
            Err(error) if error.raw_os_error() == Some(Errno::NOSPC.raw_os_error()) => {
                let why = "too many folders are watched on this machine: raise fs.inotify.max_user_watches";
                Err(io::Error::other(why))
            }
            Err(error) => Err(error),
        }
    }

    /// Watches a folder and all below it; hands over what is in them.
    fn add(&mut self, folder: &Path, found: &mut dyn FnMut(PathBuf)) -> io::Result<()> {
        let mut open = vec![folder.to_owned()];
        while let Some(folder) = open.pop() {
            if (self.skips)(&folder) || !self.add_one(&folder)? {
                continue;
            }
            // Watched before it is listed: what comes between the two is heard of.
            let Ok(entries) = std::fs::read_dir(&folder) else { continue };
            for entry in entries.flatten() {
                let path = entry.path();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    open.push(path.clone());
                }
                found(path);
            }
        }
        Ok(())
    }

    /// Waits for changes, and returns them once it is quiet; `None` once somebody wishes to stop.
    pub(super) fn batch(&mut self, halt: &Halt) -> io::Result<Option<BTreeSet<PathBuf>>> {
        let mut changed = BTreeSet::new();
        let mut first: Option<Instant> = None;
        loop {
            let patience = first.map(|first| QUIET.min(LONGEST.saturating_sub(first.elapsed())));
            let heard = self.wait(patience, halt)?;
            if halt.is_made() {
                return Ok(None);
            }
            if !heard {
                return Ok(Some(changed));
            }
            self.take(&mut changed)?;
            if !changed.is_empty() {
                let first = *first.get_or_insert_with(Instant::now);
                if first.elapsed() >= LONGEST {
                    return Ok(Some(changed));
                }
            }
        }
    }

    fn wait(&self, patience: Option<Duration>, halt: &Halt) -> io::Result<bool> {
        let patience = patience.map(|time| Timespec {
            tv_sec: time.as_secs().cast_signed(),
            tv_nsec: time.subsec_nanos().into(),
        });
        let mut fds = [
            PollFd::from_borrowed_fd(self.notices.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(halt.as_fd(), PollFlags::IN),
        ];
        loop {
            match poll(&mut fds, patience.as_ref()) {
                Ok(count) => return Ok(count > 0),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn take(&mut self, changed: &mut BTreeSet<PathBuf>) -> io::Result<()> {
        for notice in self.notices.take()? {
            if notice.what.contains(Happened::QUEUE_OVERFLOW) {
                // Nobody knows what was lost: everything may have changed.
                for top in self.tops.clone() {
                    self.add(&top, &mut |path| changed.extend([path]))?;
                }
                continue;
            }
            if notice.what.contains(Happened::IGNORED) {
                self.folders.remove(&notice.folder);
                continue;
            }
            let (Some(folder), Some(name)) = (self.folders.get(&notice.folder), notice.name) else {
                continue;
            };
            let path = folder.join(name);
            if !self.tops.iter().any(|top| path.starts_with(top)) || (self.skips)(&path) {
                continue;
            }
            let came = notice.what.intersects(Happened::CREATE | Happened::MOVED_TO);
            if notice.what.contains(Happened::ISDIR) && came {
                self.add(&path, &mut |path| changed.extend([path]))?;
            }
            changed.insert(path);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn changes_are_heard_of_in_folders_that_come_later_too() {
        let place = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(place.path()).unwrap();
        fs::create_dir_all(top.join("src/skipped")).unwrap();
        std::os::unix::fs::symlink(&top, top.join("src/circle")).unwrap();
        fs::write(top.join("one.conf"), "").unwrap();
        let skipped = top.join("src/skipped");
        let tops = vec![top.join("src"), top.join("one.conf")];
        let mut tree = Tree::new(tops, |folder| folder == skipped).unwrap();
        fs::create_dir_all(top.join("src/new/deep")).unwrap();
        fs::write(top.join("src/new/deep/file"), "x").unwrap();
        fs::write(top.join("src/skipped/file"), "x").unwrap();
        fs::write(top.join("elsewhere"), "x").unwrap();
        fs::rename(top.join("elsewhere"), top.join("one.conf")).unwrap();
        let halt = Halt::new().unwrap();
        let batch = tree.batch(&halt).unwrap().unwrap();
        let relative: Vec<_> =
            batch.iter().map(|path| path.strip_prefix(&top).unwrap().to_str().unwrap()).collect();
        assert_eq!(relative, ["one.conf", "src/new", "src/new/deep", "src/new/deep/file"]);
        fs::write(top.join("src/new/deep/file"), "y").unwrap();
        assert_eq!(tree.batch(&halt).unwrap().unwrap(), [top.join("src/new/deep/file")].into());
        fs::remove_dir_all(top.join("src/new")).unwrap();
        assert!(tree.batch(&halt).unwrap().unwrap().contains(&top.join("src/new")));
        halt.now();
        assert_eq!(tree.batch(&halt).unwrap(), None);
    }

    #[test]
    fn files_without_number_and_a_storm_of_them_cost_no_watches_and_lose_nothing() {
        let place = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(place.path()).unwrap();
        fs::create_dir_all(top.join("src/deep")).unwrap();
        for number in 0..2000 {
            fs::write(top.join(format!("src/deep/{number}")), "").unwrap();
        }
        let mut tree = Tree::new(vec![top.join("src")], |_| false).unwrap();
        assert_eq!(tree.folders.len(), 3, "folders are watched, not files: {:?}", tree.folders);

        // More than the kernel remembers: everything may have changed, also what is written after it gave up.
        let most: usize =
            fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
        for _ in 0..=most / 4 {
            fs::rename(top.join("src/deep/0"), top.join("src/deep/storm")).unwrap();
            fs::rename(top.join("src/deep/storm"), top.join("src/deep/0")).unwrap();
        }
        fs::create_dir(top.join("src/late")).unwrap();
        fs::write(top.join("src/late/file"), "").unwrap();
        let halt = Halt::new().unwrap();
        let batch = tree.batch(&halt).unwrap().unwrap();
        assert!(batch.contains(&top.join("src/late/file")) && batch.contains(&top.join("src/deep/1999")));
        // And it is watched from now on.
        fs::write(top.join("src/late/file"), "x").unwrap();
        assert_eq!(tree.batch(&halt).unwrap().unwrap(), [top.join("src/late/file")].into());
    }
}
