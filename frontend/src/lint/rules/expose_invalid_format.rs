//! `ExposeInvalidFormat`: EXPOSE should name ports of the container only.

use crate::dockerfile::Dockerfile;
use crate::dockerfile::instruction::InstructionKind;
use crate::dockerfile::instruction::expose::parse_port;
use crate::lint::{Check, Report, Rule};

pub(super) const RULE: Rule = Rule {
    id: "ExposeInvalidFormat",
    summary: "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release",
    docs: "An address or a port of the host has no effect here: publish ports when the container is run.",
    experimental: false,
    advisory: false,
    check: Check::Text(check),
};

fn check(dockerfile: &Dockerfile, report: &mut Report<'_>) {
    for instruction in &dockerfile.instructions {
        let InstructionKind::Expose(expose) = &instruction.kind else { continue };
        for port in &expose.ports {
            if parse_port(&port.value).is_ok_and(|range| range.has_host_part) {
                let message = format!(
                    "EXPOSE instruction should not define an IP address or host-port mapping, found '{}'",
                    port.value
                );
                report.find(port.span, message);
            }
        }
    }
}
