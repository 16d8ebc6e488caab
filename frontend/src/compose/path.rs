//! The place of a node in its tree.

use std::fmt;

/// Keys and positions, from the top.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Path(Vec<Step>);

/// One step down.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Item(usize),
}

impl Path {
    /// Returns the path with a key behind it.
    pub(crate) fn key(&self, key: &str) -> Self {
        let mut path = self.clone();
        path.0.push(Step::Key(key.to_owned()));
        path
    }

    /// Returns the path with a position behind it.
    pub(crate) fn item(&self, at: usize) -> Self {
        let mut path = self.clone();
        path.0.push(Step::Item(at));
        path
    }

    /// Returns how many steps it has.
    pub(crate) fn depth(&self) -> usize {
        self.0.len()
    }

    /// Writes it with every item as `[]`, as messages about templates do.
    pub(crate) fn pattern(&self) -> String {
        self.joined(|_| "[]".to_owned())
    }

    /// Writes it with positions in brackets, `services.a.volumes.[1]`.
    pub(crate) fn bracketed(&self) -> String {
        self.joined(|at| format!("[{at}]"))
    }

    fn joined(&self, item: impl Fn(usize) -> String) -> String {
        let parts: Vec<String> = self
            .0
            .iter()
            .map(|step| match step {
                Step::Key(key) => key.clone(),
                Step::Item(at) => item(*at),
            })
            .collect();
        parts.join(".")
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.joined(|at| at.to_string()))
    }
}
