//! `ReservedStageName`: stages should not be named scratch or context.

use crate::dockerfile::Dockerfile;
use crate::lint::{Check, Report, Rule};

pub(super) const RULE: Rule = Rule {
    id: "ReservedStageName",
    summary: "stages should not be named scratch or context",
    docs: "`scratch` is the empty image and `context` the build context; a stage of that name cannot be referred to.",
    experimental: false,
    advisory: false,
    check: Check::Text(check),
};

fn check(dockerfile: &Dockerfile, report: &mut Report<'_>) {
    for stage in dockerfile.stages() {
        let (Some(name), Some(word)) = (stage.name(), &stage.from.name) else { continue };
        if matches!(name.as_str(), "scratch" | "context") {
            let message = format!("stage name should not use the same name as reserved stage {name:?}");
            report.find(word.span, message);
        }
    }
}
