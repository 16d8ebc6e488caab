//! What a selection holds, as a Merkle tree: one node a directory, shared wherever the same directory is selected.
//!
//! # What is hashed
//! | Of an entry | Hashed | Not hashed |
//! |---|---|---|
//! | any | name, kind, mode (with set-id and sticky bits), owner | times, inode, device it lies on, number of names |
//! | of a client's tree | owner as 0:0, a socket as an empty file | `security.capability` |
//! | file | size, blake3 of the bytes, `security.capability` | other extended attributes |
//! | directory | the hash of its node | size |
//! | link | target | |
//! | device | device number | |
//!
//! Every variable part carries its length and every entry its kind, so that two different trees never encode alike.
//! Which files share an inode is not in the nodes but beside the root of a selection (see
//! `select`): the same directory can then be shared by selections that see different names of a
//! file.

use std::ffi::OsStr;
use std::fmt;
use std::ops::{Deref, Range};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rbuild_confined::{Kind, Metadata, Owner, Time};
use rbuild_model::key::ContentHash;

/// The version of the encoding; a part of each hash.
pub const TREE_VERSION: u32 = 1;

/// One directory of a selection.
#[derive(Debug)]
pub struct TreeNode {
    pub(crate) hash: ContentHash,
    pub(crate) entries: Box<[TreeEntry]>,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Whether a file somewhere in it has another name somewhere.
    pub(crate) linked: bool,
}

impl TreeNode {
    /// Returns the hash of the names and of everything below.
    pub fn hash(&self) -> ContentHash {
        self.hash
    }

    /// Returns the entries, sorted by the bytes of their names.
    pub fn entries(&self) -> &[TreeEntry] {
        &self.entries
    }

    /// Finds an entry by name.
    pub fn entry(&self, name: &OsStr) -> Option<&TreeEntry> {
        let found = self.entries.binary_search_by(|entry| (*entry.name).cmp(name.as_bytes()));
        found.ok().map(|at| &self.entries[at])
    }

    /// Returns how many regular files there are below.
    pub fn files(&self) -> u64 {
        self.files
    }

    /// Returns how many bytes the regular files below hold.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// The bytes of a name, in one piece of memory with the other names of its directory.
#[derive(Clone)]
pub(crate) struct Name {
    all: Arc<[u8]>,
    start: u32,
    end: u32,
}

impl Name {
    /// Cuts a name out of the names of a directory.
    pub(crate) fn within(all: &Arc<[u8]>, range: Range<u32>) -> Self {
        Self { all: Arc::clone(all), start: range.start, end: range.end }
    }
}

impl From<&[u8]> for Name {
    fn from(name: &[u8]) -> Self {
        let end = u32::try_from(name.len()).expect("a name is far shorter");
        Self { all: name.into(), start: 0, end }
    }
}

impl Deref for Name {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.all[self.start as usize..self.end as usize]
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        OsStr::from_bytes(self).fmt(f)
    }
}

/// One name of a directory.
#[derive(Clone, Debug)]
pub struct TreeEntry {
    pub(crate) name: Name,
    pub(crate) mode: u32,
    pub(crate) owner: Owner,
    pub(crate) content: Content,
}

/// What an entry is.
#[derive(Clone, Debug)]
pub enum Content {
    /// A regular file; of a client's tree, a socket too.
    File(Arc<FileFacts>),
    /// A directory.
    Directory(Arc<TreeNode>),
    /// A symbolic link to this target.
    Symlink(Arc<[u8]>),
    /// A device of this number, or a pipe or socket with none.
    Special(Kind, u64),
}

impl TreeEntry {
    /// Returns the name.
    pub fn name(&self) -> &OsStr {
        OsStr::from_bytes(&self.name)
    }

    /// Returns the permission bits (`& 0o7777`).
    pub fn mode(&self) -> u32 {
        self.mode
    }

    /// Returns the owner; 0:0 in a client's tree.
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// Returns what the entry is.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// Returns the kind that the entry counts as.
    pub fn kind(&self) -> Kind {
        match &self.content {
            Content::File(_) => Kind::File,
            Content::Directory(_) => Kind::Directory,
            Content::Symlink(_) => Kind::Symlink,
            Content::Special(kind, _) => *kind,
        }
    }

    pub(crate) fn size(&self) -> (u64, u64) {
        match &self.content {
            Content::File(file) => (1, file.size()),
            Content::Directory(node) => (node.files, node.bytes),
            Content::Symlink(_) | Content::Special(..) => (0, 0),
        }
    }

    /// Encodes the kind, the content and, unless they do not matter, mode and owner.
    pub(crate) fn encode(&self, out: &mut Vec<u8>, permissions: Permissions) {
        let kind: u8 = match &self.content {
            Content::File(_) => 1,
            Content::Directory(_) => 2,
            Content::Symlink(_) => 3,
            Content::Special(Kind::CharDevice, _) => 4,
            Content::Special(Kind::BlockDevice, _) => 5,
            Content::Special(Kind::Fifo, _) => 6,
            Content::Special(..) => 7,
        };
        match permissions {
            Permissions::Count => {
                out.push(kind);
                out.extend_from_slice(&self.mode.to_le_bytes());
                out.extend_from_slice(&self.owner.uid.to_le_bytes());
                out.extend_from_slice(&self.owner.gid.to_le_bytes());
            }
            Permissions::Ignore => out.push(kind | 0x80),
        }
        match &self.content {
            Content::File(file) => {
                out.extend_from_slice(&file.size().to_le_bytes());
                out.extend_from_slice(&file.digest.0);
                match &file.capability {
                    None => out.push(0),
                    Some(value) => {
                        out.push(1);
                        encode_bytes(out, value);
                    }
                }
            }
            Content::Directory(node) => out.extend_from_slice(node.hash.as_bytes()),
            Content::Symlink(target) => encode_bytes(out, target),
            Content::Special(_, number) => out.extend_from_slice(&number.to_le_bytes()),
        }
    }
}

/// Whether mode and owner of an entry count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permissions {
    Count,
    Ignore,
}

/// Encodes bytes behind their length.
pub(crate) fn encode_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    out.extend_from_slice(bytes);
}

impl TreeNode {
    /// Makes the node of a directory from its entries, sorted by name; `scratch` is reused from node to node.
    pub(crate) fn new(entries: Vec<TreeEntry>, linked: bool, scratch: &mut Vec<u8>) -> Self {
        scratch.clear();
        encode_entries(&entries, scratch);
        let sizes = entries.iter().map(TreeEntry::size);
        let (files, bytes) = sizes.fold((0, 0), |sum, size| (sum.0 + size.0, sum.1 + size.1));
        let hash = ContentHash::from_bytes(*blake3::hash(scratch).as_bytes());
        Self { hash, entries: entries.into(), files, bytes, linked }
    }

    /// Returns the bytes that [`TreeNode::hash`] is the hash of; [`HashedNode`](super::HashedNode) reads them.
    pub fn encoded(&self) -> Vec<u8> {
        let mut out = Vec::new();
        encode_entries(&self.entries, &mut out);
        out
    }
}

/// What the bytes of a directory's node begin with.
pub(crate) const TREE_MAGIC: &[u8] = b"rbuild tree\0";

fn encode_entries(entries: &[TreeEntry], out: &mut Vec<u8>) {
    out.extend_from_slice(TREE_MAGIC);
    out.extend_from_slice(&TREE_VERSION.to_le_bytes());
    out.extend_from_slice(&(entries.len() as u64).to_le_bytes());
    for entry in entries {
        encode_bytes(out, &entry.name);
        entry.encode(out, Permissions::Count);
    }
}

/// The blake3 hash of a file's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileDigest(pub(crate) [u8; 32]);

impl FileDigest {
    /// Hashes the bytes of a whole file.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// Returns the 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for FileDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileDigest({})", blake3::Hash::from_bytes(self.0))
    }
}

/// What tells, without reading, that a file is still the one that was hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) size: u64,
    pub(crate) mtime: Time,
    pub(crate) ctime: Time,
    pub(crate) dev: u64,
    pub(crate) ino: u64,
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let Metadata { size, mtime, ctime, dev, ino, .. } = *metadata;
        Self { size, mtime, ctime, dev, ino }
    }
}

/// Whether a stamp proves anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// Any later change of the file gives it another stamp.
    Settled,
    /// The file could change once more within the same tick of its file system's clock.
    Young,
}

/// What is known of a regular file.
#[derive(Clone, Debug)]
pub struct FileFacts {
    pub(crate) digest: FileDigest,
    pub(crate) stamp: Stamp,
    pub(crate) trust: Trust,
    /// The value of `security.capability`; never of a client's file.
    pub(crate) capability: Option<Box<[u8]>>,
    /// Whether the file has more than one name.
    pub(crate) linked: bool,
}

impl FileFacts {
    /// Returns the hash of the bytes.
    pub fn digest(&self) -> FileDigest {
        self.digest
    }

    /// Returns the number of bytes.
    pub fn size(&self) -> u64 {
        self.stamp.size
    }

    /// Returns the value of `security.capability`; always `None` for a client's file.
    pub fn capability(&self) -> Option<&[u8]> {
        self.capability.as_deref()
    }
}
