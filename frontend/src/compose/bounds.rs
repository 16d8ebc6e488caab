//! How much a project may come to.
//!
//! Small files can stand for very much: variables made of variables, services that extend services, files that include
//! files, ranges of ports. Each of these is counted over the whole project, so that time and memory have an end.

use rbuild_model::span::Location;

use super::fault::{Checked, fault};

/// How many files or services may lead to one another by `include` or `extends`.
pub(crate) const CHAIN: usize = 128;
/// How many bytes a value may have once its variables are filled in.
pub(crate) const VALUE: usize = 8 << 20;
/// How many bytes all values together may have.
pub(crate) const VALUES: usize = 128 << 20;
/// How many nodes ports and extended services may come to.
const NODES: usize = 2_000_000;
/// How many files may be included.
const FILES: usize = 1000;
/// How many bytes extended files may have, each as often as it is read.
const READ: usize = 256 << 20;

/// What was counted so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bounds {
    values: usize,
    nodes: usize,
    files: usize,
    read: usize,
}

impl Bounds {
    /// Counts the bytes of a value.
    pub(crate) fn value(&mut self, bytes: usize, at: Option<&Location>) -> Checked<()> {
        add(
            &mut self.values,
            bytes,
            VALUES,
            at,
            "values come to more than",
            "bytes once variables are filled in",
        )
    }

    /// Counts nodes that stand for a shorter form.
    pub(crate) fn nodes(&mut self, count: usize, at: Option<&Location>) -> Checked<()> {
        add(&mut self.nodes, count, NODES, at, "ports and extended services come to more than", "nodes")
    }

    /// Counts included files.
    pub(crate) fn files(&mut self, count: usize, at: Option<&Location>) -> Checked<()> {
        add(&mut self.files, count, FILES, at, "more than", "files are included")
    }

    /// Counts the bytes of an extended file.
    pub(crate) fn read(&mut self, bytes: usize, at: Option<&Location>) -> Checked<()> {
        add(
            &mut self.read,
            bytes,
            READ,
            at,
            "extended files come to more than",
            "bytes, each as often as it is named",
        )
    }
}

fn add(
    count: &mut usize,
    more: usize,
    most: usize,
    at: Option<&Location>,
    before: &str,
    behind: &str,
) -> Checked<()> {
    *count = count.saturating_add(more);
    if *count > most { Err(fault(at, format!("{before} {most} {behind}"))) } else { Ok(()) }
}

/// Says that `include` or `extends` leads too far.
pub(crate) fn too_deep(what: &str) -> String {
    format!("{what}: more than {CHAIN} lead to one another")
}
