//! The names of files that have several.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

/// A file of the source: device and inode.
pub(super) type Inode = (u64, u64);

/// Where the files of the source that have several names are at the destination.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// `None` stands for a file that is being copied.
    known: Mutex<HashMap<Inode, Option<PathBuf>>>,
    changed: Condvar,
}

/// What is known of a file that has several names.
pub(super) enum Known<'a> {
    /// It is there already.
    At(PathBuf),
    /// It is the caller's to copy.
    Mine(Claim<'a>),
}

/// The duty to copy a file, for which others wait; dropped, it falls to the next who asks.
pub(super) struct Claim<'a> {
    links: &'a Links,
    inode: Inode,
}

impl Claim<'_> {
    /// Says where the file is now.
    pub(super) fn settle_at(self, path: &Path) {
        self.links.tell(self.inode, Some(path));
        std::mem::forget(self);
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.links.tell(self.inode, None);
    }
}

impl Links {
    /// Says where a file is, or makes it the caller's to copy.
    ///
    /// Waits while another thread copies it, which itself waits for nobody.
    pub(super) fn find(&self, inode: Inode) -> Known<'_> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match known.get(&inode) {
                Some(Some(path)) => return Known::At(path.clone()),
                Some(None) => known = self.changed.wait(known).unwrap_or_else(PoisonError::into_inner),
                None => {
                    known.insert(inode, None);
                    return Known::Mine(Claim { links: self, inode });
                }
            }
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.known.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn tell(&self, inode: Inode, path: Option<&Path>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match path {
            Some(path) => known.insert(inode, Some(path.to_owned())),
            None => known.remove(&inode),
        };
        self.changed.notify_all();
    }
}
