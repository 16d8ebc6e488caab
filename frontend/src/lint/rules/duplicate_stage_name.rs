//! `DuplicateStageName`: stage names should be unique.

use crate::dockerfile::Dockerfile;
use crate::lint::{Check, Report, Rule};

pub(super) const RULE: Rule = Rule {
    id: "DuplicateStageName",
    summary: "Stage names should be unique",
    docs: "Of two stages of one name, FROM sees the nearest above and COPY the last of the file.",
    experimental: false,
    advisory: false,
    check: Check::Text(check),
};

fn check(dockerfile: &Dockerfile, report: &mut Report<'_>) {
    let mut seen: Vec<String> = Vec::new();
    for stage in dockerfile.stages() {
        let (Some(name), Some(word)) = (stage.name(), &stage.from.name) else { continue };
        if seen.contains(&name) {
            report.find(word.span, format!("duplicate stage name {name:?}, stage names should be unique"));
        }
        seen.push(name);
    }
}
