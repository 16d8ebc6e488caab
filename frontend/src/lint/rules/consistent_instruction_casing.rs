//! `ConsistentInstructionCasing`: keywords should all be written in the same case.

use crate::dockerfile::Dockerfile;
use crate::lint::{Check, Report, Rule};

pub(super) const RULE: Rule = Rule {
    id: "ConsistentInstructionCasing",
    summary: "All commands within the Dockerfile should use the same casing (either upper or lower)",
    docs: "A file whose keywords are now in capitals and now not is harder to read. The majority decides; capitals win a tie.",
    experimental: false,
    advisory: false,
    check: Check::Text(check),
};

fn check(dockerfile: &Dockerfile, report: &mut Report<'_>) {
    let is_upper = |text: &str| text.chars().all(|ch| ch.is_ascii_uppercase());
    let is_lower = |text: &str| text.chars().all(|ch| ch.is_ascii_lowercase());
    let count = |test: &dyn Fn(&str) -> bool| {
        dockerfile.instructions.iter().filter(|instruction| test(&instruction.keyword.value)).count()
    };
    let lower = count(&is_lower) > count(&is_upper);
    for instruction in &dockerfile.instructions {
        let keyword = &instruction.keyword;
        let fits = if lower { is_lower(&keyword.value) } else { is_upper(&keyword.value) };
        if !fits {
            let (name, right) = if lower {
                ("lowercase", keyword.value.to_lowercase())
            } else {
                ("uppercase", keyword.value.to_uppercase())
            };
            let message =
                format!("command '{}' should match the case of the command majority ({name})", keyword.value);
            report.find_with_help(keyword.span, message, format!("write `{right}`"));
        }
    }
}
