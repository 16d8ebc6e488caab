//! `--ssh default|ID[=SOCKET|KEY[,KEY]]`.

use std::path::PathBuf;

use super::{Invalid, Read};

/// An agent, or keys, that the build may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ssh {
    /// The name it is asked for by (`default`).
    pub(crate) id: String,
    /// A socket or keys; none for the caller's own agent.
    pub(crate) paths: Vec<PathBuf>,
}

/// Reads an agent.
pub(crate) fn ssh(text: &str) -> Read<Ssh> {
    let (id, paths) = match text.split_once('=') {
        Some((_, "")) => return Err(Invalid::new("no path behind `=`: leave it out for your own agent")),
        Some((id, paths)) => (id, paths.split(',').map(PathBuf::from).collect()),
        None => (text, Vec::new()),
    };
    if id.is_empty() {
        return Err(Invalid::new("no id: write `default` or `ID=PATH`"));
    }
    Ok(Ssh { id: id.to_owned(), paths })
}
