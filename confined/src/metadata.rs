//! What the system knows about one object, in types of our own.

use rustix::fs::{FileType, Stat, Timespec};

/// The kind of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl Kind {
    /// Reads the kind out of a `d_type` or mode; `None` where the file system does not tell.
    pub fn from_file_type(file_type: FileType) -> Option<Self> {
        Some(match file_type {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            FileType::CharacterDevice => Self::CharDevice,
            FileType::BlockDevice => Self::BlockDevice,
            FileType::Fifo => Self::Fifo,
            FileType::Socket => Self::Socket,
            FileType::Unknown => return None,
        })
    }
}

/// The owner of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Owner {
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
}

impl Owner {
    /// User 0, group 0.
    pub const ROOT: Self = Self { uid: 0, gid: 0 };

    /// Returns the owner `uid:gid`.
    pub const fn new(uid: u32, gid: u32) -> Self {
        Self { uid, gid }
    }
}

/// A point in time as file systems keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Time {
    /// Seconds since 1970; negative before.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanos: u32,
}

impl Time {
    /// Returns a time of whole seconds.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self { seconds, nanos: 0 }
    }

    /// Returns the form that `utimensat` takes.
    pub fn timespec(self) -> Timespec {
        Timespec { tv_sec: self.seconds, tv_nsec: self.nanos.into() }
    }
}

/// What `stat` says about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// The kind of object.
    pub kind: Kind,
    /// The permission bits with set-user-id, set-group-id and sticky (`& 0o7777`).
    pub mode: u32,
    /// The owner.
    pub owner: Owner,
    /// The size in bytes.
    pub size: u64,
    /// When the content last changed.
    pub mtime: Time,
    /// When anything last changed.
    pub ctime: Time,
    /// The device that the object lies on.
    pub dev: u64,
    /// The inode number.
    pub ino: u64,
    /// The number of names.
    pub nlink: u64,
    /// The device number, for device nodes.
    pub rdev: u64,
    /// The disk space in use, in blocks of 512 bytes.
    pub blocks: u64,
}

impl Metadata {
    /// Translates the system's form.
    #[allow(clippy::unnecessary_cast, reason = "field widths differ between architectures")]
    pub fn from_stat(stat: &Stat) -> Self {
        Self {
            kind: Kind::from_file_type(FileType::from_raw_mode(stat.st_mode)).unwrap_or(Kind::File),
            mode: stat.st_mode & 0o7777,
            owner: Owner { uid: stat.st_uid, gid: stat.st_gid },
            size: stat.st_size as u64,
            mtime: Time { seconds: stat.st_mtime as i64, nanos: stat.st_mtime_nsec as u32 },
            ctime: Time { seconds: stat.st_ctime as i64, nanos: stat.st_ctime_nsec as u32 },
            dev: stat.st_dev as u64,
            ino: stat.st_ino as u64,
            nlink: stat.st_nlink as u64,
            rdev: stat.st_rdev as u64,
            blocks: stat.st_blocks as u64,
        }
    }

    /// Whether both name the same object.
    pub fn same_object(&self, other: &Self) -> bool {
        self.dev == other.dev && self.ino == other.ino
    }

    /// Whether this is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == Kind::Directory
    }

    /// Whether this is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind == Kind::File
    }
}
