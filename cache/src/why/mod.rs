//! Why a step ran: what its key was made of, beside what the key of the same step was made of before.
//!
//! The latest build of a project is laid beside earlier ones, line by line ([`align`]). Where a step ran, its
//! pre-image is compared with that of the step it is the successor of, field by field ([`fields`]), and where contents
//! differ the folders that were hashed are followed down to the files ([`files`]). Of the step that a build failed at only the
//! keys are kept, so it is compared with when it last succeeded, but where its files differ they are named only if
//! some record keeps the same folders. Comparing is pure; only [`Records::why`] reads.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use rbuild_model::key::{CacheKey, ContentHash, Guarded};
use rbuild_solver::RecordId;
pub use rbuild_solver::{Miss, Origin};

use crate::records::builds::{Build, Failure, LineageLine};
use crate::records::{RecordDetails, RecordError, Records};

pub mod align;
pub mod fields;
pub mod files;
#[cfg(test)]
mod tests;

pub use fields::Difference;
pub use files::{FileChange, FileDifference};

/// What is told of one step of a build.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The step's line in the build.
    pub line: LineageLine,
    /// How long it ran, if it came to a record.
    pub took: Option<Duration>,
    /// The reasons; empty for a step that did not run.
    pub reasons: Vec<Reason>,
}

/// Why a step ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Earlier results were to be ignored.
    Ignored,
    /// It had been done, but its tree is no longer here.
    TreeGone,
    /// It brings something in from outside, which is looked at in each build.
    Source,
    /// No earlier build that is remembered has such a step.
    New,
    /// Its predecessor came to no result, or its result was forgotten since.
    NothingBefore,
    /// It came to no result, and nothing is known of its key.
    NoResult,
    /// What its key is made of is not known.
    Unknown,
    /// The instruction is written differently.
    Text {
        /// How it was written before.
        before: String,
    },
    /// Something of its definition is another.
    Field(Difference),
    /// A file that it takes is another.
    File(FileDifference),
    /// Files that it takes are others, but which ones is not known.
    Files {
        /// Where they are.
        path: String,
    },
    /// It stands on, or takes from, a step whose result is another.
    Input {
        /// What that step is called, if it is one of this build.
        step: Option<String>,
    },
    /// Nothing of what its key is made of differs: the earlier result was not found all the same.
    Same,
}

/// What a step is found by, or was to be found by when it failed.
#[derive(Clone, Copy)]
struct Keys {
    record: Option<RecordId>,
    definition: Option<CacheKey>,
    content: Option<CacheKey>,
}

impl Keys {
    fn of(known: &RecordDetails) -> Self {
        Self { record: Some(known.id), definition: known.definition, content: known.content }
    }

    fn tried(Failure { line: _, definition, content }: Failure) -> Self {
        Self { record: None, definition, content }
    }
}

/// A build with its steps.
struct Laid {
    lines: Vec<LineageLine>,
}

impl Records {
    /// Says of each step of a build why it ran, or that it did not. `builds` are those of its project, latest first.
    pub fn why(&self, build: &Build, builds: &[Build]) -> Result<Vec<Explained>, RecordError> {
        let lines = self.lineage(build.id)?;
        let mut earlier = Earlier {
            records: self,
            builds: builds.iter().filter(|other| other.id < build.id).collect(),
            laid: Vec::new(),
        };
        let failure = self.failure(build.id)?;
        let mut names = HashMap::new();
        let mut details = Vec::with_capacity(lines.len());
        for line in &lines {
            let known = line.record.map(|record| self.details(record)).transpose()?.flatten();
            if let Some(known) = &known {
                names.insert(known.canonical, line.note.clone());
            }
            details.push(known);
        }
        let mut explained = Vec::with_capacity(lines.len());
        for (at, line) in lines.iter().enumerate() {
            let reasons = match line.origin {
                None | Some(Origin::Found(_)) => Vec::new(),
                Some(Origin::Ran(Miss::Ignored)) => vec![Reason::Ignored],
                Some(Origin::Ran(Miss::TreeGone)) => vec![Reason::TreeGone],
                Some(Origin::Ran(Miss::Source)) => vec![Reason::Source],
                Some(Origin::Ran(Miss::Unknown)) => {
                    let failed = failure.filter(|failure| failure.line == at);
                    match details[at].as_ref().map(Keys::of).or(failed.map(Keys::tried)) {
                        None => vec![Reason::NoResult],
                        Some(keys) => self.compared(&lines, at, keys, &mut earlier, &names)?,
                    }
                }
            };
            let took = details[at].as_ref().map(|known| known.took);
            explained.push(Explained { line: line.clone(), took, reasons });
        }
        Ok(explained)
    }

    /// Compares a step with the same step of the latest earlier build that brought it to a result.
    fn compared(
        &self,
        lines: &[LineageLine],
        at: usize,
        keys: Keys,
        earlier: &mut Earlier<'_>,
        names: &HashMap<CacheKey, String>,
    ) -> Result<Vec<Reason>, RecordError> {
        let mut seen = false;
        for back in 0.. {
            let Some(laid) = earlier.laid(back)? else { break };
            let Some(partner) = align::partner(&laid.lines, lines, at) else { continue };
            let before = &laid.lines[partner];
            seen = true;
            let Some(record) = before.record.filter(|record| Some(*record) != keys.record) else { continue };
            let Some(old) = self.details(record)? else { continue };
            let mut reasons = Vec::new();
            let (text, former) = (align::text(&lines[at].note), align::text(&before.note));
            if text != former {
                reasons.push(Reason::Text { before: former.to_owned() });
            }
            self.differences(Keys::of(&old), keys, names, &mut reasons)?;
            return Ok(reasons);
        }
        Ok(vec![if seen { Reason::NothingBefore } else { Reason::New }])
    }

    /// Compares what the keys of two steps are made of.
    fn differences(
        &self,
        old: Keys,
        new: Keys,
        names: &HashMap<CacheKey, String>,
        reasons: &mut Vec<Reason>,
    ) -> Result<(), RecordError> {
        // The content key says more than the definition key: it has the files in place of where they came from.
        let pair = match (old.content, new.content) {
            (Some(old), Some(new)) => Some((old, new)),
            _ => old.definition.zip(new.definition),
        };
        let read = |key| self.pre_image(key);
        let images = match pair {
            Some((old, new)) => read(old)?.zip(read(new)?),
            None => None,
        };
        let (Some((old_key, new_key)), Some((before, after))) = (pair, images) else {
            reasons.push(Reason::Unknown);
            return Ok(());
        };
        let mut found = fields::compare(&before, &after);
        for difference in &mut found.differences {
            for value in [&mut difference.before, &mut difference.after] {
                if let fields::Value::Guarded(guarded) = value {
                    *value = self.text_of(guarded)?;
                }
            }
        }
        reasons.extend(found.differences.into_iter().map(Reason::Field));
        let (old_paths, new_paths) = (self.selected_paths(old_key)?, self.selected_paths(new_key)?);
        for (place, (before, after)) in found.contents {
            let path = new_paths.get(place).or_else(|| old_paths.get(place)).map_or("", String::as_str);
            self.files(before, after, path, reasons)?;
        }
        let mut told = HashSet::new();
        for key in found.inputs {
            let step = names.get(&key).cloned();
            if told.insert(step.clone()) {
                reasons.push(Reason::Input { step });
            }
        }
        if reasons.is_empty() {
            reasons.push(Reason::Same);
        }
        Ok(())
    }

    fn text_of(&self, guarded: &Guarded) -> Result<fields::Value, RecordError> {
        Ok(self.value(guarded)?.map_or(fields::Value::Forgotten, fields::Value::Text))
    }

    fn files(
        &self,
        before: Option<ContentHash>,
        after: Option<ContentHash>,
        path: &str,
        reasons: &mut Vec<Reason>,
    ) -> Result<(), RecordError> {
        let unknown = || Reason::Files { path: files::shown(path) };
        let (Some(before), Some(after)) = (before, after) else {
            reasons.push(unknown());
            return Ok(());
        };
        let found = files::compare(before, after, path, &mut |hash| self.node(hash))?;
        let nothing = found.is_empty();
        reasons.extend(found.into_iter().map(|found| match found.change {
            FileChange::Unknown => Reason::Files { path: found.path },
            _ => Reason::File(found),
        }));
        if nothing {
            reasons.push(unknown());
        }
        Ok(())
    }
}

/// Earlier builds, the latest first, read when they are asked for.
struct Earlier<'a> {
    records: &'a Records,
    builds: Vec<&'a Build>,
    laid: Vec<Laid>,
}

impl Earlier<'_> {
    fn laid(&mut self, back: usize) -> Result<Option<&Laid>, RecordError> {
        while self.laid.len() <= back {
            let Some(build) = self.builds.get(self.laid.len()) else { return Ok(None) };
            self.laid.push(Laid { lines: self.records.lineage(build.id)? });
        }
        Ok(self.laid.get(back))
    }
}
