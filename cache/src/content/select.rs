//! Selections: what a [`PathSource`] means in a tree, and the hash of it.
//!
//! | Of a selection | Hashed |
//! |---|---|
//! | nothing there, and that may be | a constant |
//! | each match, in walk order | its last name if wildcards or `--parents` chose it, then kind, content, mode, owner |
//! | a match that is the root of a client's tree, or the base of `--parents` | no mode and owner: they are never copied |
//! | hard links | for each match the groups of paths below it that name the same file |
//!
//! The name of a literal source is not here: it is a field of the operation, where it matters.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rbuild_confined::Kind;
use rbuild_model::glob::{BadPattern, DeepGlob, has_wildcard, unescape};
use rbuild_model::key::ContentHash;
use rbuild_model::step::PathSource;

use super::error::{Error, Result, absolute};
use super::node::{Permissions, TREE_VERSION, TreeEntry, encode_bytes};
use super::pattern::Narrowing;
use super::resolve::{Hit, Links, Missing, components};
use super::scan::{ContextScan, Target};
use super::view::{Ownership, View, encode_links, link_groups};

/// What a selection holds, and the hash of that.
#[derive(Clone, Debug)]
pub struct SelectionHash {
    hash: ContentHash,
    /// What `hash` is the hash of.
    encoded: Arc<[u8]>,
    matches: Vec<Matched>,
    files: u64,
    bytes: u64,
}

/// One thing that a selection selects.
#[derive(Clone, Debug)]
pub struct Matched {
    path: PathBuf,
    entry: TreeEntry,
    links: Vec<Vec<PathBuf>>,
}

impl SelectionHash {
    /// Returns the hash that stands for the selection in a content key.
    pub fn hash(&self) -> ContentHash {
        self.hash
    }

    /// Returns the bytes that [`SelectionHash::hash`] is the hash of; [`HashedNode`](super::HashedNode) reads them.
    pub fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// Returns what was selected, in the order in which it is to be copied; empty where nothing matched or an
    /// optional path is missing.
    pub fn matches(&self) -> &[Matched] {
        &self.matches
    }

    /// Returns how many regular files were selected.
    pub fn files(&self) -> u64 {
        self.files
    }

    /// Returns how many bytes the selected files hold.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Matched {
    /// Returns where it is in the tree, links resolved, relative to the root; empty for the root itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the last name of the path that selected it, before links were followed: what a file is called below a
    /// destination that is a directory.
    pub fn name(&self) -> &OsStr {
        self.entry.name()
    }

    /// Returns the kind it counts as.
    pub fn kind(&self) -> Kind {
        self.entry.kind()
    }

    /// Returns all that was hashed of it; a directory has a [`TreeNode`](super::TreeNode) of what is below. With `--parents` this is
    /// the directory that the kept paths are relative to.
    pub fn entry(&self) -> &TreeEntry {
        &self.entry
    }

    /// Returns the paths below it that are names of one file, group by group.
    pub fn links(&self) -> &[Vec<PathBuf>] {
        &self.links
    }
}

/// A selection whose paths are known and whose content is not.
struct Plan<'a> {
    hits: Vec<Hit<'a>>,
    narrowings: Vec<Option<Narrowing>>,
    ownership: Ownership,
    names: Names,
}

/// What the names of matches are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    /// The path is literal.
    Ignore,
    /// Wildcards found them.
    Count,
    /// The matches are only what kept paths are relative to.
    Base,
}

impl ContextScan {
    /// Hashes what `path` selects.
    pub fn hash_selection(&self, path: &PathSource) -> Result<SelectionHash> {
        match self.plan(path)? {
            Some(plan) => {
                self.fill(plan.targets())?;
                self.finish(path, &plan)
            }
            None => Ok(absent()),
        }
    }

    /// Resolves the paths of a selection; `None` if it is missing and may be.
    fn plan(&self, path: &PathSource) -> Result<Option<Plan<'_>>> {
        let planned = if path.parents { self.plan_parents(path) } else { self.plan_plain(path) };
        match planned {
            Ok(plan) => Ok(Some(plan)),
            Err(Error::NotFound { .. } | Error::NoDirectory { .. }) if path.optional => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn plan_plain(&self, path: &PathSource) -> Result<Plan<'_>> {
        let hits = self.select_paths(path.path.as_bytes(), path.wildcard)?;
        let narrowing = |hit: &Hit<'_>| match hit.place.entry {
            Some(_) => Ok(None),
            None => Narrowing::new(&hit.place.dir().path, None, &path.exclude),
        };
        // The patterns are checked even where there is nothing to try them on.
        Narrowing::new(b"", None, &path.exclude)?;
        let narrowings = hits.iter().map(narrowing).collect::<Result<_>>()?;
        let wild = path.wildcard && has_wildcard(path.path.as_bytes());
        let names = if wild { Names::Count } else { Names::Ignore };
        Ok(Plan { hits, narrowings, ownership: self.ownership(path), names })
    }

    fn plan_parents(&self, path: &PathSource) -> Result<Plan<'_>> {
        let (base, kept) = path.path.split_once("/./").unwrap_or(("", &path.path));
        let kept = components(kept.as_bytes()).collect::<Vec<_>>().join(&b'/');
        let wild = path.wildcard && has_wildcard(&kept);
        let bad = |_| Error::Pattern { pattern: path.path.clone(), reason: BadPattern::REASON };
        let literal = if path.wildcard { unescape(&kept) } else { kept.clone() };
        let include = match (kept.is_empty(), wild) {
            (true, _) => None,
            (false, true) => Some(DeepGlob::new(&kept).map_err(bad)?),
            (false, false) => Some(DeepGlob::literal(&literal)),
        };
        let hits = self.select_paths(base.as_bytes(), path.wildcard)?;
        for hit in &hits {
            if !wild && !kept.is_empty() {
                let place = match hit.place.entry {
                    Some(_) => Err(Missing { hidden: false }),
                    None => self.resolve(&hit.place, &literal, Links::Keep)?,
                };
                if let Err(Missing { hidden }) = place {
                    let path = absolute(&hit.place.dir().join(&literal));
                    return Err(Error::NotFound { path, ignored: hidden });
                }
            }
        }
        let narrowing = |hit: &Hit<'_>| Narrowing::new(&hit.place.dir().path, include.clone(), &path.exclude);
        let narrowings = hits.iter().map(narrowing).collect::<Result<_>>()?;
        Ok(Plan { hits, narrowings, ownership: self.ownership(path), names: Names::Base })
    }

    /// Puts a selection together from what the scan now knows.
    fn finish(&self, path: &PathSource, plan: &Plan<'_>) -> Result<SelectionHash> {
        let mut scratch = Vec::new();
        let mut matches = Vec::with_capacity(plan.hits.len());
        let mut encoded = Vec::new();
        let mut count = 0_u64;
        let (mut files, mut bytes) = (0, 0);
        for (hit, narrowing) in plan.hits.iter().zip(&plan.narrowings) {
            let view = View { ownership: plan.ownership, narrowing: narrowing.as_ref() };
            let dir = hit.place.dir();
            let name = hit.name.as_slice().into();
            let entry = match hit.place.entry {
                Some(entry) => view.entry(entry, name),
                None => view.directory(dir, name, dir.presence, &mut scratch),
            };
            let Some(entry) = entry else {
                if plan.names == Names::Ignore && !path.optional {
                    return Err(Error::NotFound { path: absolute(path.path.as_bytes()), ignored: true });
                }
                continue;
            };
            let root =
                hit.place.entry.is_none() && dir.path.is_empty() && plan.ownership == Ownership::Client;
            let permissions = match root || plan.names == Names::Base {
                true => Permissions::Ignore,
                false => Permissions::Count,
            };
            let links = link_groups(&entry);
            match plan.names {
                Names::Count => encode_bytes(&mut encoded, &hit.name),
                Names::Ignore | Names::Base => encode_bytes(&mut encoded, b""),
            }
            entry.encode(&mut encoded, permissions);
            encode_links(&mut encoded, &links);
            count += 1;
            let size = entry.size();
            files += size.0;
            bytes += size.1;
            let path = match hit.place.entry {
                Some(entry) => dir.join(&entry.name),
                None => dir.path.to_vec(),
            };
            matches.push(Matched { path: OsString::from_vec(path).into(), entry, links });
        }
        if matches.is_empty() && path.optional && plan.names == Names::Ignore {
            return Ok(absent());
        }
        let shape = match plan.names {
            Names::Ignore => 1,
            Names::Count => 2,
            Names::Base => 3,
        };
        Ok(SelectionHash::new(shape, count, &encoded, matches, (files, bytes)))
    }

    fn ownership(&self, path: &PathSource) -> Ownership {
        match self.is_client() || path.from_client {
            true => Ownership::Client,
            false => Ownership::Snapshot,
        }
    }
}

impl<'a> Plan<'a> {
    fn targets(&'a self) -> impl Iterator<Item = Target<'a>> {
        self.hits.iter().zip(&self.narrowings).map(|(hit, narrowing)| match hit.place.entry {
            Some(entry) => Target::File(hit.place.dir(), entry),
            None => Target::Directory(hit.place.dir(), narrowing.as_ref()),
        })
    }
}

/// The selection of an optional path that is missing.
fn absent() -> SelectionHash {
    SelectionHash::new(0, 0, &[], Vec::new(), (0, 0))
}

/// What the bytes of a selection begin with.
pub(crate) const SELECTION_MAGIC: &[u8] = b"rbuild selection\0";

impl SelectionHash {
    fn new(shape: u8, count: u64, matched: &[u8], matches: Vec<Matched>, (files, bytes): (u64, u64)) -> Self {
        let parts: [&[u8]; 5] =
            [SELECTION_MAGIC, &TREE_VERSION.to_le_bytes(), &[shape], &count.to_le_bytes(), matched];
        let encoded = parts.concat();
        let hash = ContentHash::from_bytes(*blake3::hash(&encoded).as_bytes());
        Self { hash, encoded: encoded.into(), matches, files, bytes }
    }
}
