//! `CopyIgnoredFile`: COPY and ADD should not name files that the ignore file leaves out.

use crate::lint::{Check, Rule};

pub(super) const RULE: Rule = Rule {
    id: "CopyIgnoredFile",
    summary: "Attempting to Copy file that is excluded by .dockerignore",
    docs: "The file is not in the context, so the instruction fails. Take the pattern out of the ignore file, or add an exception with `!`.",
    experimental: false,
    advisory: false,
    check: Check::Lowering,
};
