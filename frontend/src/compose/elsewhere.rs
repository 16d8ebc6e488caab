//! What of a project others wrote: files that repositories and registries have, and all that those lead to.
//!
//! | Theirs | Because |
//! |---|---|
//! | a file of a repository or a registry | it was brought |
//! | a file that an `include`, an `extends`, an `env_file` or a `label_file` of theirs names | they chose it |
//! | `.env` in the folder of what is theirs and included | it lies there |

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rbuild_model::span::{Location, Source};

use super::request::{Answer, Answers, Files, Question};
use super::yaml::{Node, Value};

/// What of a project others wrote.
#[derive(Clone, Debug, Default)]
pub struct Elsewhere {
    /// Where the files lie here that were brought, by the names of repositories and registries.
    pub brought: BTreeMap<String, PathBuf>,
    files: BTreeMap<PathBuf, Arc<Source>>,
}

impl Elsewhere {
    /// Begins with what was brought.
    pub(crate) fn of(answers: &Answers) -> Self {
        let brought = answers.iter().filter_map(|answer| match answer {
            (Question::Remote(name), Answer::Path(path)) => Some((name.clone(), path.clone())),
            _ => None,
        });
        let mut elsewhere = Self { brought: brought.collect(), files: BTreeMap::new() };
        let paths: Vec<PathBuf> = elsewhere.brought.values().cloned().collect();
        paths.iter().for_each(|path| elsewhere.add(path, Files { answers }));
        elsewhere
    }

    /// Whether all of it was written here.
    pub fn is_empty(&self) -> bool {
        self.brought.is_empty()
    }

    /// Returns the files that others wrote, or had read.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.keys().map(PathBuf::as_path)
    }

    /// Whether others wrote what stands somewhere. What stands nowhere may be theirs.
    pub fn wrote(&self, at: Option<&Location>) -> bool {
        let is_theirs = |at: &Location| self.files.values().any(|source| Arc::ptr_eq(source, &at.source));
        !self.is_empty() && at.is_none_or(is_theirs)
    }

    /// Notes a file that is read because others say so, if it is there.
    pub(crate) fn add(&mut self, path: &Path, files: Files<'_>) {
        if let Some(Answer::Text(source)) = files.answers.get(&Question::File(path.to_owned())) {
            self.files.insert(path.to_owned(), Arc::clone(source));
        }
    }

    /// Whether a file is among theirs.
    pub(crate) fn has(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }

    /// Whether others wrote anything in a tree.
    pub(crate) fn touched(&self, node: &Node) -> bool {
        let here = node.at.is_some() && self.wrote(node.at.as_ref());
        here || match &node.value {
            Value::Map(map) => map.iter().any(|(_, node)| self.touched(node)),
            Value::List(list) => list.iter().any(|node| self.touched(node)),
            _ => false,
        }
    }
}
