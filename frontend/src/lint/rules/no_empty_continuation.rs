//! `NoEmptyContinuation`: blank lines should not stand between continued lines.

use crate::dockerfile::Dockerfile;
use crate::lint::{Check, Report, Rule};

pub(super) const RULE: Rule = Rule {
    id: "NoEmptyContinuation",
    summary: "blank lines should not stand between continued lines",
    docs: "A blank line looks like the end of an instruction and is not. Remove it, or put a comment there.",
    experimental: false,
    advisory: false,
    check: Check::Text(check),
};

fn check(dockerfile: &Dockerfile, report: &mut Report<'_>) {
    for instruction in &dockerfile.instructions {
        if let Some(first) = instruction.blank_lines.first() {
            report.find(*first, "empty continuation line");
        }
    }
}
