//! `ExposeProtoCasing`: protocols of EXPOSE should be lower case.

use crate::dockerfile::Dockerfile;
use crate::dockerfile::instruction::InstructionKind;
use crate::lint::{Check, Report, Rule};

pub(super) const RULE: Rule = Rule {
    id: "ExposeProtoCasing",
    summary: "Protocol in EXPOSE instruction should be lowercase",
    docs: "Write `EXPOSE 80/tcp`.",
    experimental: false,
    advisory: false,
    check: Check::Text(check),
};

fn check(dockerfile: &Dockerfile, report: &mut Report<'_>) {
    for instruction in &dockerfile.instructions {
        let InstructionKind::Expose(expose) = &instruction.kind else { continue };
        for port in expose.ports.iter().filter(|port| !port.value.contains('$')) {
            if let Some((_, protocol)) = port.value.split_once('/')
                && protocol != protocol.to_lowercase()
            {
                let message =
                    format!("defined protocol '{}' in EXPOSE instruction should be lowercase", port.value);
                report.find_with_help(port.span, message, format!("write `{}`", port.value.to_lowercase()));
            }
        }
    }
}
