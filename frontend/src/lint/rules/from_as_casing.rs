//! `FromAsCasing`: the AS keyword should match the case of FROM.

use crate::dockerfile::Dockerfile;
use crate::lint::{Check, Report, Rule};

pub(super) const RULE: Rule = Rule {
    id: "FromAsCasing",
    summary: "The 'as' keyword should match the case of the 'from' keyword",
    docs: "`FROM x as y` mixes two styles of keywords in one line: write both in capitals, or neither.",
    experimental: false,
    advisory: false,
    check: Check::Text(check),
};

fn check(dockerfile: &Dockerfile, report: &mut Report<'_>) {
    for stage in dockerfile.stages() {
        let Some(keyword) = &stage.from.as_keyword else { continue };
        let from = &stage.head.keyword.value;
        let upper = from.chars().all(|ch| ch.is_ascii_uppercase());
        let lower = from.chars().all(|ch| ch.is_ascii_lowercase());
        let wanted = match (upper, lower) {
            (true, _) => "AS",
            (_, true) => "as",
            _ => continue,
        };
        if keyword.value != wanted {
            let message = format!("'{}' and '{from}' keywords' casing do not match", keyword.value);
            report.find_with_help(keyword.span, message, format!("write `{wanted}`"));
        }
    }
}
