//! One entry of an archive as a value.

use super::EntryPath;

/// A point in time, as archives have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds since 1970, negative before.
    pub seconds: i64,
    /// Nanoseconds after the second, below 10⁹.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// Makes the time of a whole second.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self { seconds, nanoseconds: 0 }
    }
}

/// The number of a device node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    /// The number of the driver.
    pub major: u32,
    /// The number that the driver gave it.
    pub minor: u32,
}

/// What an entry is, with what only this kind has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A file with contents.
    File {
        /// How many bytes the contents have, holes included.
        size: u64,
    },
    /// A folder.
    Directory,
    /// A symbolic link.
    Symlink {
        /// The text of the link, never empty and free of NUL; it may name anything.
        target: Vec<u8>,
    },
    /// Another name for a file of the tree.
    Hardlink {
        /// The name that the file has already.
        target: EntryPath,
    },
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
}

/// An extended attribute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Xattr {
    /// The full name, as `user.comment`.
    pub name: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

/// One entry of an archive, without its contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it goes.
    pub path: EntryPath,
    /// What it is.
    pub kind: EntryKind,
    /// The permission bits and set-id and sticky bits: never more than `0o7777`.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// When its contents last changed.
    pub mtime: Timestamp,
    /// Its extended attributes, ordered by name, each name once.
    pub xattrs: Vec<Xattr>,
}

impl Entry {
    /// Makes an entry of root's, without attributes, of the beginning of 1970.
    pub fn new(path: EntryPath, kind: EntryKind, mode: u32) -> Self {
        Self { path, kind, mode, uid: 0, gid: 0, mtime: Timestamp::default(), xattrs: Vec::new() }
    }

    /// Returns how many bytes of contents belong to the entry.
    pub fn size(&self) -> u64 {
        match self.kind {
            EntryKind::File { size } => size,
            _ => 0,
        }
    }
}
