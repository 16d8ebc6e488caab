//! Disk space of trees.

use std::collections::HashSet;
use std::ops::AddAssign;

use rbuild_confined::{Kind, Root, Step, Walk};

use crate::error::Result;

/// The disk space that a tree takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes in blocks that are really there.
    pub bytes: u64,
    /// Files, folders and everything else that has an inode.
    pub inodes: u64,
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.inodes += other.inodes;
    }
}

/// Adds up the sizes of what is in a tree, folders apart, as Docker counts what a container wrote; a file with several names
/// counts once.
pub fn size_of(root: &Root) -> Result<u64> {
    let mut size = 0;
    let mut linked = HashSet::new();
    let mut walk = Walk::within_mount(root.resolve("/")?.open_dir()?)?;
    while let Some(step) = walk.next()? {
        if step == Step::Leave {
            continue;
        }
        let meta = walk.metadata()?;
        if meta.is_dir() {
            walk.enter()?;
        } else if meta.nlink < 2 || linked.insert((meta.dev, meta.ino)) {
            size += meta.size;
        }
    }
    Ok(size)
}

/// Counts the disk space of a tree; a file with several names counts once.
pub fn usage_of(root: &Root) -> Result<Usage> {
    let top = root.resolve("/")?;
    let mut usage = Usage { bytes: top.metadata()?.blocks * 512, inodes: 1 };
    let mut linked = HashSet::new();
    let mut walk = Walk::within_mount(top.open_dir()?)?;
    while let Some(step) = walk.next()? {
        if step == Step::Leave {
            continue;
        }
        let meta = walk.metadata()?;
        if meta.nlink < 2 || meta.is_dir() || linked.insert((meta.dev, meta.ino)) {
            usage += Usage { bytes: meta.blocks * 512, inodes: 1 };
        }
        if meta.kind == Kind::Directory {
            walk.enter()?;
        }
    }
    Ok(usage)
}
