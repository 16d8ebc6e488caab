//! `MultipleInstructionsDisallowed`: CMD, ENTRYPOINT and HEALTHCHECK should stand once in a stage.

use crate::dockerfile::Dockerfile;
use crate::lint::{Check, Report, Rule};

pub(super) const RULE: Rule = Rule {
    id: "MultipleInstructionsDisallowed",
    summary: "Multiple instructions of the same type should not be used in the same stage",
    docs: "Only the last one has an effect.",
    experimental: false,
    advisory: false,
    check: Check::Text(check),
};

fn check(dockerfile: &Dockerfile, report: &mut Report<'_>) {
    for stage in dockerfile.stages() {
        for name in ["CMD", "ENTRYPOINT", "HEALTHCHECK"] {
            let mut earlier = None;
            for instruction in stage.body.iter().filter(|at| at.keyword.value.eq_ignore_ascii_case(name)) {
                if let Some(span) = earlier.replace(instruction.line_span) {
                    let message = format!(
                        "multiple {name} instructions should not be used in the same stage because only the last one will be used"
                    );
                    report.find(span, message);
                }
            }
        }
    }
}
