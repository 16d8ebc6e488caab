//! What was hashed, read back: the bytes that a content hash stands for, as entries that people can be shown.
//!
//! A record keeps the very bytes of each directory and of each selection (see `node` and `select` for what is in
//! them), so that a hash can be followed down to the file that differs, and what is kept can be checked against it.

use rbuild_confined::Owner;
use rbuild_model::key::ContentHash;

use super::node::{FileDigest, TREE_MAGIC, TREE_VERSION};
use super::select::SELECTION_MAGIC;

/// A directory, or a selection, as it was hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashedNode {
    /// What is in it: of a directory sorted by name, of a selection in the order of its matches.
    pub entries: Vec<HashedEntry>,
    /// Of a selection, for each match the paths below it that were names of one file, group by group.
    pub links: Vec<Vec<Vec<Vec<u8>>>>,
}

/// One entry as it was hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashedEntry {
    /// Its name; empty for a match whose name does not count.
    pub name: Vec<u8>,
    /// Permission bits and owner, where they count.
    pub permissions: Option<(u32, Owner)>,
    /// What it is.
    pub content: HashedContent,
}

/// What an entry was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashedContent {
    /// A regular file.
    File {
        /// Its size in bytes.
        size: u64,
        /// The hash of its bytes.
        digest: FileDigest,
        /// The value of `security.capability`.
        capability: Option<Vec<u8>>,
    },
    /// A directory, by the hash of its node.
    Directory(ContentHash),
    /// A symbolic link to this target.
    Symlink(Vec<u8>),
    /// A device, a pipe or a socket: the kind as it is encoded, and the device number.
    Special(u8, u64),
}

impl HashedNode {
    /// Reads the bytes of a directory or of a selection; `None` if they are neither, or of another version.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (mut reader, is_selection) = match bytes.strip_prefix(TREE_MAGIC) {
            Some(rest) => (Reader(rest), false),
            None => (Reader(bytes.strip_prefix(SELECTION_MAGIC)?), true),
        };
        if reader.number::<4>()? != u64::from(TREE_VERSION) {
            return None;
        }
        if is_selection {
            reader.byte()?;
        }
        let count = reader.number::<8>()?;
        let mut node = Self { entries: Vec::new(), links: Vec::new() };
        for _ in 0..count {
            let name = reader.text()?;
            node.entries.push(reader.entry(name)?);
            if is_selection {
                node.links.push(reader.groups()?);
            }
        }
        reader.0.is_empty().then_some(node)
    }

    /// Returns the directories in it.
    pub fn directories(&self) -> impl Iterator<Item = ContentHash> + '_ {
        self.entries.iter().filter_map(|entry| match entry.content {
            HashedContent::Directory(hash) => Some(hash),
            _ => None,
        })
    }
}

/// Takes values from the front of bytes; every take fails on bytes that are too short.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self, length: usize) -> Option<&[u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn number<const LENGTH: usize>(&mut self) -> Option<u64> {
        let mut bytes = [0; 8];
        bytes[..LENGTH].copy_from_slice(self.take(LENGTH)?);
        Some(u64::from_le_bytes(bytes))
    }

    fn half(&mut self) -> Option<u32> {
        self.number::<4>().and_then(|number| u32::try_from(number).ok())
    }

    fn text(&mut self) -> Option<Vec<u8>> {
        let length = usize::try_from(self.number::<8>()?).ok()?;
        self.take(length).map(<[u8]>::to_vec)
    }

    fn hash(&mut self) -> Option<[u8; 32]> {
        self.take(32)?.try_into().ok()
    }

    fn entry(&mut self, name: Vec<u8>) -> Option<HashedEntry> {
        let kind = self.byte()?;
        let permissions = match kind & 0x80 {
            0 => Some((self.half()?, Owner { uid: self.half()?, gid: self.half()? })),
            _ => None,
        };
        let content = match kind & 0x7f {
            1 => HashedContent::File {
                size: self.number::<8>()?,
                digest: FileDigest(self.hash()?),
                capability: match self.byte()? {
                    0 => None,
                    _ => Some(self.text()?),
                },
            },
            2 => HashedContent::Directory(ContentHash::from_bytes(self.hash()?)),
            3 => HashedContent::Symlink(self.text()?),
            kind @ 4..=7 => HashedContent::Special(kind, self.number::<8>()?),
            _ => return None,
        };
        Some(HashedEntry { name, permissions, content })
    }

    fn groups(&mut self) -> Option<Vec<Vec<Vec<u8>>>> {
        let mut groups = Vec::new();
        for _ in 0..self.number::<8>()? {
            let mut group = Vec::new();
            for _ in 0..self.number::<8>()? {
                group.push(self.text()?);
            }
            groups.push(group);
        }
        Some(groups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{Content, ContextScan, TreeNode, TreeSource};
    use proptest::prelude::*;
    use rbuild_confined::Root;
    use rbuild_model::step::PathSource;

    fn check(node: &TreeNode) {
        let bytes = node.encoded();
        assert_eq!(blake3::hash(&bytes).as_bytes(), node.hash().as_bytes(), "the bytes are what was hashed");
        let read = HashedNode::decode(&bytes).unwrap();
        assert_eq!(read.entries.len(), node.entries().len());
        for (read, entry) in read.entries.iter().zip(node.entries()) {
            assert_eq!(read.name, entry.name().as_encoded_bytes());
            assert_eq!(read.permissions, Some((entry.mode(), entry.owner())));
            match (&read.content, entry.content()) {
                (HashedContent::File { size, digest, capability: None }, Content::File(facts)) => {
                    assert_eq!((*size, *digest), (facts.size(), facts.digest()));
                }
                (HashedContent::Directory(hash), Content::Directory(child)) => {
                    assert_eq!(*hash, child.hash());
                    check(child);
                }
                (HashedContent::Symlink(target), Content::Symlink(known)) => {
                    assert_eq!(target[..], known[..]);
                }
                pair => panic!("{pair:?}"),
            }
        }
    }

    #[test]
    fn what_was_hashed_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("src/deep")).unwrap();
        std::fs::write(at("src/main.c"), "int main;").unwrap();
        std::fs::write(at("src/deep/x"), "").unwrap();
        std::fs::hard_link(at("src/main.c"), at("src/deep/same")).unwrap();
        std::os::unix::fs::symlink("src/main.c", at("link")).unwrap();
        let scan = ContextScan::new(TreeSource::client(Root::open(folder.path()).unwrap()));
        let wild = PathSource { wildcard: true, ..PathSource::literal("*") };
        for (path, matches) in [(PathSource::literal("."), 1), (wild, 2), (PathSource::optional("gone"), 0)] {
            let selected = scan.hash_selection(&path).unwrap();
            assert_eq!(blake3::hash(selected.encoded()).as_bytes(), selected.hash().as_bytes());
            let read = HashedNode::decode(selected.encoded()).unwrap();
            assert_eq!((read.entries.len(), read.links.len()), (matches, matches));
            for matched in selected.matches() {
                if let Content::Directory(node) = matched.entry().content() {
                    check(node);
                }
            }
            let grouped: usize = read.links.iter().flatten().map(Vec::len).sum();
            assert_eq!(grouped, if matches == 0 { 0 } else { 2 }, "two names of one file");
            assert_eq!(HashedNode::decode(&selected.encoded()[1..]), None);
        }
    }

    proptest! {
        #[test]
        fn bytes_of_whatever_sort_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for magic in [TREE_MAGIC, SELECTION_MAGIC] {
                let whole = [magic, &TREE_VERSION.to_le_bytes(), &bytes].concat();
                let _ = HashedNode::decode(&whole);
            }
        }
    }
}
