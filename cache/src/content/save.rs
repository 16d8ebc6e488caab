//! Writing down what a scan has hashed, for the next build.

use std::sync::atomic::Ordering;

use super::index::{IndexError, IndexWriter, Known, StatIndex};
use super::node::Trust;
use super::scan::{ContextScan, Entry, Found, HashedFile};
use super::source::Origin;

/// What became of a stat index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndexSaved {
    /// It says something new.
    Written,
    /// There was nothing new to say, or no index is kept.
    Unchanged,
}

impl ContextScan {
    /// Writes the stat index, if it has anything new to say; this can be done beside other work, once the selections
    /// of a build have been hashed.
    pub fn save_index(&self) -> std::result::Result<IndexSaved, IndexError> {
        let Origin::Client { index: Some(path), .. } = &self.source.origin else {
            return Ok(IndexSaved::Unchanged);
        };
        let Some(mark) = self.clocks.latest().filter(|_| self.settled.load(Ordering::Relaxed) > 0) else {
            return Ok(IndexSaved::Unchanged);
        };
        let empty = StatIndex::default();
        let old = self.index().unwrap_or(&empty);
        let mut writer = IndexWriter::default();
        let mut visited = vec![&self.top];
        while let Some(dir) = visited.pop() {
            let Some(listing) = dir.known_listing() else {
                continue;
            };
            let before = old.directory(&dir.path);
            let mut entries = Vec::new();
            for entry in &listing.entries {
                let remembered = || before.binary_search_by(|known| known.name.cmp(&entry.name)).ok();
                match entry.known() {
                    Some(Found::Directory(child)) => visited.push(child),
                    Some(Found::File { hashed, .. }) => match hashed.get() {
                        Some(Some(HashedFile { facts, .. })) if facts.trust == Trust::Settled => entries
                            .push(Known { name: &entry.name, stamp: facts.stamp, digest: facts.digest }),
                        Some(_) => {}
                        None => entries.extend(remembered().map(|at| before[at])),
                    },
                    Some(_) => {}
                    None => entries.extend(remembered().map(|at| before[at])),
                }
            }
            writer.add(&dir.path, entries);
        }
        for path in old.directories() {
            if !writer.has(path) && self.may_still_hold(path) {
                writer.add(path, old.directory(path));
            }
        }
        writer.write(path, mark.max(old.mark()))?;
        Ok(IndexSaved::Written)
    }

    /// Whether a directory that was not listed this time may be there still, as far as was looked.
    fn may_still_hold(&self, path: &[u8]) -> bool {
        let mut dir = &self.top;
        if path.is_empty() {
            return dir.listing.get().is_none();
        }
        for name in path.split(|&byte| byte == b'/') {
            match dir.listing.get() {
                None => return true,
                Some(None) => return false,
                Some(Some(listing)) => match listing.entry(name).and_then(Entry::known) {
                    Some(Found::Directory(child)) => dir = child,
                    _ => return false,
                },
            }
        }
        dir.listing.get().is_none()
    }
}
