//! Names that nobody chose: tags that only a build's `FROM` gave, when it fetched what it stands on.
//!
//! Such an image is part of the cache: it goes where room is short, and is fetched again by the next build. Whoever pulls,
//! tags or runs by the name chooses it, and it stays.

use rusqlite::Transaction;

use crate::rows::Result;

/// Who asks for an image by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// Somebody who chose the name for its own sake.
    Person,
    /// A build, for what it stands on.
    Build,
}

impl Asker {
    /// Tells, before a name is given, whether it is going to be that of a base alone.
    pub(crate) fn names_base(self, transaction: &Transaction<'_>, name: &str) -> Result<bool> {
        Ok(self == Self::Build
            && (crate::rows::named(transaction, name)?.is_none() || is_base(transaction, name)?))
    }
}

/// Tells whether nobody chose a name.
pub(crate) fn is_base(transaction: &Transaction<'_>, name: &str) -> Result<bool> {
    Ok(transaction.prepare_cached("SELECT 1 FROM base_names WHERE name = ?1")?.exists([name])?)
}

/// Remembers that nobody chose a name.
pub(crate) fn add(transaction: &Transaction<'_>, name: &str) -> Result<()> {
    transaction.prepare_cached("INSERT OR IGNORE INTO base_names (name) VALUES (?1)")?.execute([name])?;
    Ok(())
}

/// Somebody has chosen a name.
pub(crate) fn choose(transaction: &Transaction<'_>, name: &str) -> Result<()> {
    transaction.prepare_cached("DELETE FROM base_names WHERE name = ?1")?.execute([name])?;
    Ok(())
}
