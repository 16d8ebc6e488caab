//! `NoEmptyContinuation`: blank lines should not stand between continued lines.

use rbuild_model::span::Span;

use crate::dockerfile::Dockerfile;
use crate::lint::{Check, Report, Rule};

pub(super) const RULE: Rule = Rule {
    id: "NoEmptyContinuation",
    summary: "Empty continuation lines will become errors in a future release",
    docs: "A blank line looks like the end of an instruction and is not. Remove it, or put a comment there.",
    experimental: false,
    advisory: false,
    check: Check::Text(check),
};

fn check(dockerfile: &Dockerfile, report: &mut Report<'_>) {
    for instruction in &dockerfile.instructions {
        // As other builders have it, the line at fault is the last of the instruction: there the blank one has led.
        if !instruction.blank_lines.is_empty() {
            let whole = instruction.line_span;
            let text = &dockerfile.source.text()[whole.range()];
            let last = text.rfind('\n').map_or(0, |at| at + 1);
            let last = Span::new(whole.start + last, whole.end);
            // At the end of the file nothing follows the blank line.
            let at = instruction.blank_lines.iter().copied().find(|blank| blank.start >= last.end);
            report.find(at.unwrap_or(last), "empty continuation line");
        }
    }
}
