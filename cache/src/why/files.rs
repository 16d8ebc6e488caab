//! Two contents, down to the files that differ.

use rbuild_confined::Owner;
use rbuild_model::key::ContentHash;

use crate::content::{HashedContent, HashedEntry, HashedNode};

/// A file that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDifference {
    /// Its path in the tree it is taken from.
    pub path: String,
    /// What of it is another.
    pub change: FileChange,
}

/// What of a file is another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileChange {
    /// It was not there.
    Added,
    /// It is not there any more.
    Removed,
    /// Its bytes.
    Bytes {
        /// How many there were.
        before: u64,
        /// How many there are.
        after: u64,
    },
    /// What it is: a file, a directory, a link.
    Kind,
    /// Where the link leads.
    Target,
    /// Its permission bits.
    Mode {
        /// What they were.
        before: u32,
        /// What they are.
        after: u32,
    },
    /// Its owner.
    Owner {
        /// Who it was.
        before: Owner,
        /// Who it is.
        after: Owner,
    },
    /// Its capabilities.
    Capability,
    /// Which names are names of one file.
    Links,
    /// It is not known: what was hashed before is no longer kept.
    Unknown,
}

/// Finds what differs of two contents that are known by their hashes. `look` returns what was hashed.
pub fn compare<E>(
    before: ContentHash,
    after: ContentHash,
    path: &str,
    look: &mut dyn FnMut(ContentHash) -> Result<Option<Vec<u8>>, E>,
) -> Result<Vec<FileDifference>, E> {
    let mut found = Vec::new();
    nodes(before, after, &prefix(path), look, &mut found)?;
    Ok(found)
}

/// Returns a path as it is shown; the root of a tree is a dot.
pub(super) fn shown(path: &str) -> String {
    match prefix(path) {
        path if path.is_empty() => ".".to_owned(),
        path => path,
    }
}

fn prefix(path: &str) -> String {
    let path = path.replace("/./", "/");
    let path = path.trim_matches('/');
    if path == "." { String::new() } else { path.to_owned() }
}

fn nodes<E>(
    before: ContentHash,
    after: ContentHash,
    path: &str,
    look: &mut dyn FnMut(ContentHash) -> Result<Option<Vec<u8>>, E>,
    found: &mut Vec<FileDifference>,
) -> Result<(), E> {
    if before == after {
        return Ok(());
    }
    let mut read = |hash| look(hash).map(|body| body.as_deref().and_then(HashedNode::decode));
    let (Some(before), Some(after)) = (read(before)?, read(after)?) else {
        found.push(FileDifference { path: shown(path), change: FileChange::Unknown });
        return Ok(());
    };
    let count = found.len();
    for entry in &after.entries {
        let path = below(path, &entry.name);
        match before.entries.iter().find(|former| former.name == entry.name) {
            Some(former) => entries(former, entry, &path, look, found)?,
            None => found.push(told(&path, entry, FileChange::Added)),
        }
    }
    for former in &before.entries {
        if !after.entries.iter().any(|entry| entry.name == former.name) {
            found.push(told(&below(path, &former.name), former, FileChange::Removed));
        }
    }
    if found.len() == count && before.links != after.links {
        found.push(FileDifference { path: shown(path), change: FileChange::Links });
    }
    Ok(())
}

/// The path of an entry; the only match of a literal path has no name of its own, and those of wildcards stand for the
/// last part of the pattern.
fn below(path: &str, name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    let folder = match path.rsplit_once('/') {
        Some((folder, last)) if last.contains(['*', '?', '[']) => folder,
        None if path.contains(['*', '?', '[']) => "",
        _ => path,
    };
    match (folder, &*name) {
        (_, "") => path.to_owned(),
        ("", name) => name.to_owned(),
        (folder, name) => format!("{folder}/{name}"),
    }
}

fn told(path: &str, entry: &HashedEntry, change: FileChange) -> FileDifference {
    let slash = if matches!(entry.content, HashedContent::Directory(_)) { "/" } else { "" };
    FileDifference { path: format!("{}{slash}", shown(path)), change }
}

fn entries<E>(
    before: &HashedEntry,
    after: &HashedEntry,
    path: &str,
    look: &mut dyn FnMut(ContentHash) -> Result<Option<Vec<u8>>, E>,
    found: &mut Vec<FileDifference>,
) -> Result<(), E> {
    if let (Some((old_mode, old_owner)), Some((new_mode, new_owner))) =
        (before.permissions, after.permissions)
    {
        if old_mode != new_mode {
            let change = FileChange::Mode { before: old_mode & 0o7777, after: new_mode & 0o7777 };
            found.push(told(path, after, change));
        }
        if old_owner != new_owner {
            found.push(told(path, after, FileChange::Owner { before: old_owner, after: new_owner }));
        }
    }
    use HashedContent::{Directory, File, Special, Symlink};
    let change = match (&before.content, &after.content) {
        (before, after) if before == after => return Ok(()),
        (Directory(before), Directory(after)) => return nodes(*before, *after, path, look, found),
        (
            File { size: old_size, digest: old_digest, capability: _ },
            File { size, digest, capability: _ },
        ) => match (old_size, old_digest) == (size, digest) {
            true => FileChange::Capability,
            false => FileChange::Bytes { before: *old_size, after: *size },
        },
        (Symlink(_), Symlink(_)) => FileChange::Target,
        (Special(..) | File { .. } | Directory(_) | Symlink(_), _) => FileChange::Kind,
    };
    found.push(told(path, after, change));
    Ok(())
}
