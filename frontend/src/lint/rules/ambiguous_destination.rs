//! `AmbiguousDestination`: the destination of several sources should end with a slash.

use crate::dockerfile::Dockerfile;
use crate::dockerfile::instruction::InstructionKind;
use crate::lint::{Check, Report, Rule};

pub(super) const RULE: Rule = Rule {
    id: "AmbiguousDestination",
    summary: "the destination of several sources should end with a slash",
    docs: "Without the slash, and if there is no such folder, each source is written over the one before it.",
    experimental: false,
    advisory: true,
    check: Check::Text(check),
};

fn check(dockerfile: &Dockerfile, report: &mut Report<'_>) {
    for instruction in &dockerfile.instructions {
        let (transfer, parents) = match &instruction.kind {
            InstructionKind::Copy(copy) => (&copy.transfer, copy.parents),
            InstructionKind::Add(add) => (&add.transfer, false),
            _ => continue,
        };
        let dest = &transfer.dest;
        let folder = dest.value.ends_with('/') || matches!(dest.value.rsplit('/').next(), Some("." | ".."));
        if transfer.sources.len() > 1 && !folder && !parents && !dest.value.contains('$') {
            let message =
                format!("several sources are copied to {:?}, which does not end with a slash", dest.value);
            report.find_with_help(dest.span, message, format!("write `{}/`", dest.value));
        }
    }
}
