//! `ForeignSyntax`: the syntax directive names a frontend that is not built in.

use crate::dockerfile::Dockerfile;
use crate::dockerfile::directive::is_builtin_syntax;
use crate::lint::{Check, Report, Rule};

pub(super) const RULE: Rule = Rule {
    id: "ForeignSyntax",
    summary: "the syntax directive names a frontend that is not built in",
    docs: "The file is read by the built-in frontend, whatever image `syntax` names. Images named docker/dockerfile are what is built in; others may give instructions another meaning.",
    experimental: false,
    advisory: true,
    check: Check::Text(check),
};

fn check(dockerfile: &Dockerfile, report: &mut Report<'_>) {
    let Some(syntax) = &dockerfile.directives.syntax else { return };
    if !is_builtin_syntax(&syntax.value) {
        let image = syntax.value.split_whitespace().next().unwrap_or("");
        report.find(
            syntax.span,
            format!("syntax {image:?} is ignored: the file is read as an ordinary Dockerfile"),
        );
    }
}
