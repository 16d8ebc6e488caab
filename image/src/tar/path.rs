//! Names of entries: relative to a root that they cannot leave.

use std::fmt;

use super::Limits;

/// The place of an entry: components joined by `/`, relative to the root of the tree.
///
/// There is no leading or trailing slash, no empty component, no `.`, no `..` and no NUL, so that a path cannot
/// leave its root other than by symbolic links of the tree itself. The empty path is the root. Components are
/// bytes: names of files need not be UTF-8.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryPath(Box<[u8]>);

/// What is wrong with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathProblem {
    /// A component is `..`.
    #[error("climbs with `..`")]
    Parent,
    /// A NUL stands in the name.
    #[error("holds a NUL byte")]
    Nul,
    /// The name has too many bytes.
    #[error("is longer than {0} bytes")]
    TooLong(usize),
    /// A component has too many bytes.
    #[error("has a component of more than {0} bytes")]
    ComponentTooLong(usize),
    /// The name has too many components.
    #[error("is deeper than {0} folders")]
    TooDeep(usize),
}

impl EntryPath {
    /// Returns the path of the root.
    pub fn root() -> Self {
        Self(Box::default())
    }

    /// Reads a name as archives have it: slashes around it, doubled slashes and `.` mean nothing.
    ///
    /// A `..` is refused even where it would stay inside: to skip it silently would hide an attack, and programs
    /// differ in what it means behind a symbolic link.
    pub fn parse(name: &[u8], limits: &Limits) -> Result<Self, PathProblem> {
        if name.len() > limits.path_bytes {
            return Err(PathProblem::TooLong(limits.path_bytes));
        }
        if name.contains(&0) {
            return Err(PathProblem::Nul);
        }
        let mut path = Vec::with_capacity(name.len());
        let mut depth = 0;
        for component in name.split(|&byte| byte == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return Err(PathProblem::Parent),
                // The name of a whiteout is longer than the name that it takes away.
                _ if component.strip_prefix(b".wh.").unwrap_or(component).len() > limits.component_bytes => {
                    return Err(PathProblem::ComponentTooLong(limits.component_bytes));
                }
                _ => {}
            }
            depth += 1;
            if depth > limits.depth {
                return Err(PathProblem::TooDeep(limits.depth));
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(component);
        }
        Ok(Self(path.into_boxed_slice()))
    }

    /// Reads a name under the default [`Limits`].
    pub fn new(name: impl AsRef<[u8]>) -> Result<Self, PathProblem> {
        Self::parse(name.as_ref(), &Limits::default())
    }

    /// Returns the bytes of the path, without slashes around them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns whether this is the root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the components, the highest first.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/').filter(|component| !component.is_empty())
    }

    /// Returns the path of the folder and the name in it; `None` for the root.
    pub fn split_last(&self) -> Option<(Self, &[u8])> {
        if self.is_root() {
            return None;
        }
        Some(match self.0.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (Self(self.0[..slash].into()), &self.0[slash + 1..]),
            None => (Self::root(), &self.0),
        })
    }

    /// Returns the path of `name`, one component or more, below this one.
    pub fn join(&self, name: impl AsRef<[u8]>) -> Result<Self, PathProblem> {
        let mut path = self.0.to_vec();
        path.push(b'/');
        path.extend_from_slice(name.as_ref());
        Self::new(path)
    }
}

impl fmt::Display for EntryPath {
    /// Shows the path with everything that a terminal would act on escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() { f.write_str("./") } else { show(&self.0, f) }
    }
}

impl fmt::Debug for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryPath({self})")
    }
}

/// Shows a foreign name: text as it is, all else escaped, and not more than a few hundred bytes of it.
fn show(name: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const SHOWN: usize = 256;
    let shown = &name[..name.len().min(SHOWN)];
    for chunk in shown.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() || is_direction_mark(character) {
                write!(f, "{}", character.escape_default())?;
            } else {
                write!(f, "{character}")?;
            }
        }
        write!(f, "{}", chunk.invalid().escape_ascii())?;
    }
    if name.len() > SHOWN { f.write_str("…") } else { Ok(()) }
}

const fn is_direction_mark(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A foreign name in a message.
#[derive(Clone, PartialEq, Eq)]
pub struct ShownName(pub(super) Vec<u8>);

impl fmt::Display for ShownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show(&self.0, f)
    }
}

impl fmt::Debug for ShownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}
