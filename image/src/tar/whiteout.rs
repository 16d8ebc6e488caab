//! Names by which a layer takes things away.

use super::EntryPath;
use super::error::EntryProblem;

const PREFIX: &[u8] = b".wh.";
const META: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What the name of a layer's entry takes away (OCI image-spec, "Whiteouts").
///
/// A whiteout acts on the layers below only, wherever in the layer it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whiteout {
    /// The thing at this path is gone.
    Remove(EntryPath),
    /// All that the layers below have in this folder is gone.
    Opaque(EntryPath),
    /// Book-keeping of a storage driver of old: without meaning, to be skipped.
    Bookkeeping,
}

impl Whiteout {
    /// Reads the path of an entry; `None` if it is no whiteout.
    ///
    /// What begins as a whiteout and names nothing, itself or the folder above, is refused, and so is an entry
    /// *below* a name that begins so.
    pub fn classify(path: &EntryPath) -> Result<Option<Self>, EntryProblem> {
        // Almost no path has the prefix anywhere: one pass over the bytes decides.
        if !path.as_bytes().windows(PREFIX.len()).any(|window| window == PREFIX) {
            return Ok(None);
        }
        let Some((parent, name)) = path.split_last() else { return Ok(None) };
        for component in parent.components() {
            if component.starts_with(META) && component != OPAQUE {
                return Ok(Some(Self::Bookkeeping));
            }
            if component.starts_with(PREFIX) {
                return Err(EntryProblem::Whiteout);
            }
        }
        let Some(removed) = name.strip_prefix(PREFIX) else { return Ok(None) };
        if name == OPAQUE {
            return Ok(Some(Self::Opaque(parent)));
        }
        if name.starts_with(META) {
            return Ok(Some(Self::Bookkeeping));
        }
        if matches!(removed, b"" | b"." | b"..") {
            return Err(EntryProblem::Whiteout);
        }
        parent.join(removed).map(|path| Some(Self::Remove(path))).map_err(EntryProblem::Path)
    }

    /// Returns the path of the entry that takes `path` away; `None` for the root and for names that cannot be
    /// said so.
    pub fn path_for(path: &EntryPath) -> Option<EntryPath> {
        let (parent, name) = path.split_last()?;
        if name.starts_with(PREFIX) {
            return None;
        }
        parent.join([PREFIX, name].concat()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> EntryPath {
        EntryPath::new(text).unwrap()
    }

    #[test]
    fn names_are_told_apart() {
        for (name, wanted) in [
            ("a/b", Ok(None)),
            ("", Ok(None)),
            ("a.wh.b", Ok(None)),
            ("a/.wh.b", Ok(Some(Whiteout::Remove(path("a/b"))))),
            (".wh.b", Ok(Some(Whiteout::Remove(path("b"))))),
            (".wh...b", Ok(Some(Whiteout::Remove(path("..b"))))),
            (".wh..wh..opq", Ok(Some(Whiteout::Opaque(EntryPath::root())))),
            ("a/.wh..wh..opq", Ok(Some(Whiteout::Opaque(path("a"))))),
            (".wh..wh.plnk", Ok(Some(Whiteout::Bookkeeping))),
            (".wh..wh.plnk/12.34", Ok(Some(Whiteout::Bookkeeping))),
            (".wh..wh.aufs", Ok(Some(Whiteout::Bookkeeping))),
            (".wh.", Err(EntryProblem::Whiteout)),
            (".wh..", Err(EntryProblem::Whiteout)),
            ("x/.wh...", Err(EntryProblem::Whiteout)),
            (".wh.a/b", Err(EntryProblem::Whiteout)),
            (".wh..wh..opq/b", Err(EntryProblem::Whiteout)),
        ] {
            assert_eq!(Whiteout::classify(&path(name)), wanted, "{name}");
        }
    }

    #[test]
    fn the_name_that_removes_is_read_as_removing() {
        let gone = path("usr/share/doc");
        let whiteout = Whiteout::path_for(&gone).unwrap();
        assert_eq!(whiteout, path("usr/share/.wh.doc"));
        assert_eq!(Whiteout::classify(&whiteout), Ok(Some(Whiteout::Remove(gone))));
        assert_eq!(Whiteout::path_for(&EntryPath::root()), None);
        assert_eq!(Whiteout::path_for(&path(".wh.x")), None);
    }
}
