//! What of a tree is seen at all.

/// What a filter says about one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Decision {
    /// It is there.
    Include,
    /// It is not there, and nothing below it is.
    Exclude,
    /// It is a directory that is there only if something below it is.
    ExcludeButDescend,
}

impl Decision {
    /// Combines what two filters say: both must agree that a path is there.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Exclude, _) | (_, Self::Exclude) => Self::Exclude,
            (Self::Include, Self::Include) => Self::Include,
            _ => Self::ExcludeButDescend,
        }
    }
}

/// Decides which paths of a local context are seen: an ignore file.
///
/// A path is asked about after its parents, and only when none of them was [`Decision::Exclude`]. The answer takes
/// the parents into account: a path below an excluded directory is excluded unless a rule includes it again.
pub trait Filter: Send + Sync {
    /// Decides about a path relative to the root: without a slash in front or at the end, never empty.
    fn decision(&self, path: &[u8], is_dir: bool) -> Decision;
}

impl<F: Fn(&[u8], bool) -> Decision + Send + Sync> Filter for F {
    fn decision(&self, path: &[u8], is_dir: bool) -> Decision {
        self(path, is_dir)
    }
}
