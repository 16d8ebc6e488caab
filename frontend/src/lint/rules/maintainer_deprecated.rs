//! `MaintainerDeprecated`: MAINTAINER is deprecated.

use crate::dockerfile::Dockerfile;
use crate::dockerfile::instruction::InstructionKind;
use crate::lint::{Check, Report, Rule};

pub(super) const RULE: Rule = Rule {
    id: "MaintainerDeprecated",
    summary: "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    docs: "Use a label, which tools can find: `LABEL org.opencontainers.image.authors=\"name\"`.",
    experimental: false,
    advisory: false,
    check: Check::Text(check),
};

fn check(dockerfile: &Dockerfile, report: &mut Report<'_>) {
    for instruction in &dockerfile.instructions {
        if let InstructionKind::Maintainer(maintainer) = &instruction.kind {
            let help = format!("write `LABEL org.opencontainers.image.authors={:?}`", maintainer.name.value);
            let message = "maintainer instruction is deprecated in favor of using label";
            report.find_with_help(instruction.line_span, message, help);
        }
    }
}
