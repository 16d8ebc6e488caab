//! `ReservedStageName`: stages should not be named scratch or context.

use crate::dockerfile::Dockerfile;
use crate::lint::{Check, Report, Rule};

pub(super) const RULE: Rule = Rule {
    id: "ReservedStageName",
    summary: "Reserved words should not be used as stage names",
    docs: "`scratch` is the empty image and `context` the build context; below a stage of that name the word means the stage.",
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
