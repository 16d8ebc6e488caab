//! `StageNameCasing`: stage names should be lower case.

use crate::dockerfile::Dockerfile;
use crate::lint::{Check, Report, Rule};

pub(super) const RULE: Rule = Rule {
    id: "StageNameCasing",
    summary: "Stage names should be lowercase",
    docs: "Stage names are compared in lower case where a FROM looks one up; a name with capitals is found in some places and not in others.",
    experimental: false,
    advisory: false,
    check: Check::Text(check),
};

fn check(dockerfile: &Dockerfile, report: &mut Report<'_>) {
    for stage in dockerfile.stages() {
        if let Some(name) = &stage.from.name
            && name.value != name.value.to_lowercase()
        {
            let help = format!("write `{}`", name.value.to_lowercase());
            report.find_with_help(
                name.span,
                format!("stage name '{}' should be lowercase", name.value),
                help,
            );
        }
    }
}
