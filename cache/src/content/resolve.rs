//! Paths and wildcards inside a scan.
//!
//! Everything is resolved over the scan's own listings: what an ignore file hides is not found through links either,
//! `..` stops at the root, and absolute links begin again there. Nothing a link says ever reaches the kernel.

use std::collections::VecDeque;
use std::sync::Arc;

use rbuild_model::glob::{BadPattern, Glob, has_wildcard, unescape};

use super::error::{Error, Result, absolute};
use super::scan::{ContextScan, Dir, Entry, Found};

/// How many links one path may pass through.
const MAX_LINKS: usize = 255;

/// Where a path leads.
#[derive(Clone)]
pub(crate) struct Place<'a> {
    /// The directories from the root to the one meant, or to the one that holds the entry meant.
    pub(crate) dirs: Vec<&'a Dir>,
    /// The entry meant, if it is no directory.
    pub(crate) entry: Option<&'a Entry>,
}

/// A place that a path or a wildcard selects.
pub(crate) struct Hit<'a> {
    /// The last component before links were followed, as the tree spells it.
    pub(crate) name: Vec<u8>,
    pub(crate) place: Place<'a>,
}

impl<'a> Place<'a> {
    pub(crate) fn dir(&self) -> &'a Dir {
        self.dirs.last().expect("a place begins with the root")
    }
}

/// What a link at the end of a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// All links are followed, the last component's too.
    Follow,
    /// A link at the end is what is meant, and one before the end leads nowhere.
    Keep,
}

/// Nothing is there; `hidden` says whether only the ignore file makes it so.
pub(crate) struct Missing {
    pub(crate) hidden: bool,
}

pub(crate) fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|name| !name.is_empty() && *name != b".")
}

/// Splits a pattern into its components; a slash in a class is one of its characters, and divides nothing.
fn pieces(pattern: &[u8]) -> Vec<&[u8]> {
    let (mut in_class, mut escaped) = (false, false);
    let divides = |byte: &u8| {
        match byte {
            _ if std::mem::take(&mut escaped) => {}
            b'\\' => escaped = true,
            b'[' => in_class = true,
            b']' => in_class = false,
            _ => {}
        }
        *byte == b'/' && !in_class
    };
    let parts = pattern.split(divides).filter(|name| !name.is_empty() && *name != b".").collect();
    // A class without an end is a mistake in its own component.
    if in_class { components(pattern).collect() } else { parts }
}

impl ContextScan {
    pub(crate) fn top_place(&self) -> Place<'_> {
        Place { dirs: vec![&self.top], entry: None }
    }

    /// Resolves `path`, beginning at `from`.
    pub(crate) fn resolve<'a>(
        &'a self,
        from: &Place<'a>,
        path: &[u8],
        links: Links,
    ) -> Result<std::result::Result<Place<'a>, Missing>> {
        let mut place = from.clone();
        let mut todo: VecDeque<Arc<[u8]>> = components(path).map(Arc::from).collect();
        let mut followed = 0;
        while let Some(name) = todo.pop_front() {
            if place.entry.is_some() {
                // A file is in the way.
                return Ok(Err(Missing { hidden: false }));
            }
            if &*name == b".." {
                if place.dirs.len() > 1 {
                    place.dirs.pop();
                }
                continue;
            }
            let dir = place.dir();
            let Some(listing) = self.listing(dir)? else { return Ok(Err(Missing { hidden: false })) };
            let Some(entry) = listing.entry(&name) else {
                return Ok(Err(Missing { hidden: self.is_hidden(dir, &name) }));
            };
            match self.find(dir, entry)? {
                Found::Gone => return Ok(Err(Missing { hidden: false })),
                Found::Directory(child) => place.dirs.push(child),
                Found::Symlink { target, .. } if links == Links::Follow => {
                    followed += 1;
                    if followed > MAX_LINKS {
                        return Err(Error::TooManyLinks { path: absolute(path) });
                    }
                    if target.first() == Some(&b'/') {
                        place.dirs.truncate(1);
                    }
                    for name in components(target).collect::<Vec<_>>().into_iter().rev() {
                        todo.push_front(name.into());
                    }
                }
                _ => place.entry = Some(entry),
            }
        }
        Ok(Ok(place))
    }

    /// Finds what `path` selects, in walk order; links are followed in front of the first wildcard and at the end.
    pub(crate) fn select_paths<'a>(&'a self, path: &[u8], wildcards: bool) -> Result<Vec<Hit<'a>>> {
        let parts: Vec<&[u8]> = if wildcards { pieces(path) } else { components(path).collect() };
        let first = parts.iter().position(|part| wildcards && has_wildcard(part)).unwrap_or(parts.len());
        let plain = |part: &&[u8]| if wildcards { unescape(part) } else { part.to_vec() };
        let prefix = parts[..first].iter().map(plain).collect::<Vec<_>>().join(&b'/');
        let start = match self.resolve(&self.top_place(), &prefix, Links::Follow)? {
            Ok(place) => place,
            Err(_) if first < parts.len() => return Err(Error::NoDirectory { path: absolute(&prefix) }),
            Err(Missing { hidden }) => {
                return Err(Error::NotFound { path: absolute(&prefix), ignored: hidden });
            }
        };
        if first == parts.len() {
            let name = parts.last().map(plain).unwrap_or_default();
            return Ok(vec![Hit { name, place: start }]);
        }
        if start.entry.is_some() {
            return Err(Error::NoDirectory { path: absolute(&prefix) });
        }
        let globs = parts[first..].iter().map(|part| {
            Glob::new(part).map_err(|_| Error::Pattern {
                pattern: String::from_utf8_lossy(path).into_owned(),
                reason: BadPattern::REASON,
            })
        });
        let globs = globs.collect::<Result<Vec<_>>>()?;
        let mut hits = Vec::new();
        self.expand(&start, &globs, &mut hits)?;
        Ok(hits)
    }

    fn expand<'a>(&'a self, place: &Place<'a>, globs: &[Glob], hits: &mut Vec<Hit<'a>>) -> Result<()> {
        let Some((glob, rest)) = globs.split_first() else { return Ok(()) };
        let dir = place.dir();
        let Some(listing) = self.listing(dir)? else { return Ok(()) };
        for entry in listing.entries.iter().filter(|entry| glob.matches(&entry.name)) {
            if !rest.is_empty() {
                if let Found::Directory(child) = self.find(dir, entry)? {
                    let mut below = place.clone();
                    below.dirs.push(child);
                    self.expand(&below, rest, hits)?;
                }
                continue;
            }
            let found = match self.find(dir, entry)? {
                Found::Gone => continue,
                Found::Symlink { .. } => {
                    let target = self.resolve(place, &entry.name, Links::Follow)?;
                    target.map_err(|Missing { hidden }| Error::NotFound {
                        path: absolute(&dir.join(&entry.name)),
                        ignored: hidden,
                    })?
                }
                Found::Directory(child) => {
                    let mut found = place.clone();
                    found.dirs.push(child);
                    found
                }
                Found::File { .. } | Found::Special(_) => {
                    Place { dirs: place.dirs.clone(), entry: Some(entry) }
                }
            };
            hits.push(Hit { name: entry.name.to_vec(), place: found });
        }
        Ok(())
    }
}
