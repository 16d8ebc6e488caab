//! How many errors of one file are told.

use rbuild_model::span::{Diagnostic, Severity};

/// The most errors of a file that are kept. Who has made so many mends a few and looks again; a file of ten megabytes can have
/// millions, which nobody reads.
pub const MAX_ERRORS: usize = 100;

/// The first errors of a file, and how many there are besides.
#[derive(Debug, Default)]
pub(crate) struct Errors {
    pub(crate) list: Vec<Diagnostic>,
    pub(crate) more: usize,
}

impl Errors {
    pub(crate) fn push(&mut self, error: Diagnostic) {
        if self.list.len() < MAX_ERRORS {
            self.list.push(error);
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// Returns what is told of errors when there are so many more: the first ones, and then one that counts the others.
pub fn told(mut errors: Vec<Diagnostic>, more: usize) -> Vec<Diagnostic> {
    let more = more + errors.len().saturating_sub(MAX_ERRORS);
    errors.truncate(MAX_ERRORS);
    if more > 0 {
        let (noun, verb) = if more == 1 { ("error", "is") } else { ("errors", "are") };
        errors.push(Diagnostic {
            severity: Severity::Error,
            rule: None,
            message: format!("{more} more {noun} {verb} not shown"),
            source: None,
            labels: Vec::new(),
            help: None,
        });
    }
    errors
}
