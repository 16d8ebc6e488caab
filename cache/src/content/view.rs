//! Putting Merkle nodes together from what a scan has found.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;

use rbuild_confined::{Kind, Metadata, Owner};

use super::filter::Decision;
use super::node::{Content, FileDigest, FileFacts, Name, Stamp, TreeEntry, TreeNode, Trust, encode_bytes};
use super::pattern::Narrowing;
use super::scan::{Dir, Entry, Found, HashedFile, Listing, Presence};

/// Whose tree it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// A snapshot's: all of it counts.
    Snapshot,
    /// A client's: owners are 0:0, sockets are files, capabilities are lost.
    Client,
}

/// How one selection sees a tree.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) ownership: Ownership,
    pub(crate) narrowing: Option<&'a Narrowing>,
}

impl View<'_> {
    /// Describes a directory, whose content the scan has filled in; `None` if it is not there after all.
    pub(crate) fn directory(
        &self,
        dir: &Dir,
        name: Name,
        presence: Presence,
        scratch: &mut Vec<u8>,
    ) -> Option<TreeEntry> {
        let listing = dir.known_listing()?;
        let node = match self.narrowing {
            None => Arc::clone(self.whole_node(dir, listing, scratch)),
            Some(_) => Arc::new(self.node(dir, &listing.entries, scratch)),
        };
        if presence == Presence::IfFilled && node.entries.is_empty() {
            return None;
        }
        let Metadata { mode, owner, .. } = listing.metadata;
        Some(self.describe(name, mode, owner, Content::Directory(node)))
    }

    /// Returns the node of all that is in a directory, made at the first call.
    pub(crate) fn whole_node<'d>(
        &self,
        dir: &'d Dir,
        listing: &Listing,
        scratch: &mut Vec<u8>,
    ) -> &'d Arc<TreeNode> {
        let node = &dir.nodes[self.ownership as usize];
        node.get_or_init(|| Arc::new(self.node(dir, &listing.entries, scratch)))
    }

    fn node(&self, dir: &Dir, entries: &[Entry], scratch: &mut Vec<u8>) -> TreeNode {
        let mut found = Vec::with_capacity(entries.len());
        let mut linked = false;
        for entry in entries {
            let child = match entry.known() {
                Some(Found::Directory(child)) => Some(child),
                _ => None,
            };
            let decision = match self.narrowing {
                Some(narrowing) => narrowing.decision(&dir.join(&entry.name), child.is_some()),
                None => Decision::Include,
            };
            let name = || entry.name.clone();
            let described = match (decision, child) {
                (Decision::Exclude, _) | (Decision::ExcludeButDescend, None) => None,
                (Decision::Include, Some(child)) => self.directory(child, name(), child.presence, scratch),
                (Decision::ExcludeButDescend, Some(child)) => {
                    self.directory(child, name(), Presence::IfFilled, scratch)
                }
                (Decision::Include, None) => self.entry(entry, name()),
            };
            let Some(described) = described else { continue };
            linked |= match &described.content {
                Content::File(facts) => facts.linked,
                Content::Directory(node) => node.linked,
                Content::Symlink(_) | Content::Special(..) => false,
            };
            found.push(described);
        }
        TreeNode::new(found, linked, scratch)
    }

    /// Describes an entry that is no directory; `None` if it is gone.
    pub(crate) fn entry(&self, entry: &Entry, name: Name) -> Option<TreeEntry> {
        let client = self.ownership == Ownership::Client;
        let (mode, owner, content) = match entry.known()? {
            Found::Gone | Found::Directory(_) => return None,
            Found::File { hashed, .. } => {
                let HashedFile { mode, owner, facts } = hashed.get()?.as_ref()?;
                let facts = match facts.capability {
                    Some(_) if client => Arc::new(FileFacts { capability: None, ..FileFacts::clone(facts) }),
                    _ => Arc::clone(facts),
                };
                (*mode, *owner, Content::File(facts))
            }
            Found::Symlink { metadata, target } => {
                (metadata.mode, metadata.owner, Content::Symlink(Arc::clone(target)))
            }
            Found::Special(metadata) if client && metadata.kind == Kind::Socket => {
                (metadata.mode, metadata.owner, Content::File(Arc::new(socket_as_file(metadata))))
            }
            Found::Special(metadata) => {
                (metadata.mode, metadata.owner, Content::Special(metadata.kind, metadata.rdev))
            }
        };
        Some(self.describe(name, mode, owner, content))
    }

    fn describe(&self, name: Name, mode: u32, owner: Owner, content: Content) -> TreeEntry {
        let owner = match self.ownership {
            Ownership::Client => Owner::ROOT,
            Ownership::Snapshot => owner,
        };
        TreeEntry { name, mode, owner, content }
    }
}

fn socket_as_file(metadata: &Metadata) -> FileFacts {
    FileFacts {
        digest: FileDigest::of(b""),
        stamp: Stamp { size: 0, ..Stamp::of(metadata) },
        trust: Trust::Young,
        capability: None,
        linked: false,
    }
}

/// Finds the paths below a directory that are names of one file: groups of two and more, sorted, as are their paths.
pub(crate) fn link_groups(entry: &TreeEntry) -> Vec<Vec<PathBuf>> {
    let mut groups: BTreeMap<(u64, u64), Vec<PathBuf>> = BTreeMap::new();
    collect_links(entry, &mut Vec::new(), &mut groups);
    let mut groups: Vec<_> = groups.into_values().filter(|paths| paths.len() > 1).collect();
    groups.iter_mut().for_each(|paths| paths.sort_unstable());
    groups.sort_unstable();
    groups
}

fn collect_links(entry: &TreeEntry, path: &mut Vec<u8>, groups: &mut BTreeMap<(u64, u64), Vec<PathBuf>>) {
    match &entry.content {
        Content::File(facts) if facts.linked && !path.is_empty() => {
            let inode = (facts.stamp.dev, facts.stamp.ino);
            groups.entry(inode).or_default().push(OsString::from_vec(path.clone()).into());
        }
        Content::Directory(node) if node.linked => {
            let length = path.len();
            for child in &node.entries {
                if length > 0 {
                    path.push(b'/');
                }
                path.extend_from_slice(&child.name);
                collect_links(child, path, groups);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

/// Encodes groups of hard links.
pub(crate) fn encode_links(out: &mut Vec<u8>, groups: &[Vec<PathBuf>]) {
    use std::os::unix::ffi::OsStrExt;
    out.extend_from_slice(&(groups.len() as u64).to_le_bytes());
    for group in groups {
        out.extend_from_slice(&(group.len() as u64).to_le_bytes());
        for path in group {
            encode_bytes(out, path.as_os_str().as_bytes());
        }
    }
}
