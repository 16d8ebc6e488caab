//! Findings about nodes of a tree.

use rbuild_model::span::{Diagnostic, Location, Severity};

/// A result whose error points at a place.
pub(crate) type Checked<T> = Result<T, Box<Diagnostic>>;

/// Makes an error about a place, or about none.
pub(crate) fn fault(at: Option<&Location>, message: impl Into<String>) -> Box<Diagnostic> {
    Box::new(match at {
        Some(at) => Diagnostic::error(&at.source, at.span, message),
        None => Diagnostic {
            severity: Severity::Error,
            rule: None,
            message: message.into(),
            source: None,
            labels: Vec::new(),
            help: None,
        },
    })
}

/// Makes an error that tells what to do about it.
pub(crate) fn hinted(
    at: Option<&Location>,
    message: impl Into<String>,
    help: impl Into<String>,
) -> Box<Diagnostic> {
    let mut error = fault(at, message);
    error.help = Some(help.into());
    error
}

/// Makes a warning about a place, or about none.
pub(crate) fn remark(at: Option<&Location>, message: impl Into<String>) -> Diagnostic {
    let mut remark = *fault(at, message);
    remark.severity = Severity::Warning;
    remark
}
