//! `LegacyKeyValueFormat`: ENV and LABEL should be written with an equals sign.

use crate::dockerfile::Dockerfile;
use crate::dockerfile::instruction::InstructionKind;
use crate::lint::{Check, Report, Rule};

pub(super) const RULE: Rule = Rule {
    id: "LegacyKeyValueFormat",
    summary: "Legacy key/value format with whitespace separator should not be used",
    docs: "`ENV name value` takes the rest of the line, quotes and further names included. Write `ENV name=value`.",
    experimental: false,
    advisory: false,
    check: Check::Text(check),
};

fn check(dockerfile: &Dockerfile, report: &mut Report<'_>) {
    for instruction in &dockerfile.instructions {
        let (name, legacy) = match &instruction.kind {
            InstructionKind::Env(env) => ("ENV", env.values.legacy),
            InstructionKind::Label(label) => ("LABEL", label.values.legacy),
            _ => continue,
        };
        if legacy.is_some() {
            let message =
                format!("\"{name} key=value\" should be used instead of legacy \"{name} key value\" format");
            report.find(instruction.line_span, message);
        }
    }
}
