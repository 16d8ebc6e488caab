//! `UnknownSignal`: the number of a signal is one that exists.

use crate::dockerfile::Dockerfile;
use crate::dockerfile::instruction::InstructionKind;
use crate::dockerfile::instruction::stopsignal::LAST_SIGNAL;
use crate::lint::{Check, Report, Rule};

pub(super) const RULE: Rule = Rule {
    id: "UnknownSignal",
    summary: "the number of a signal is one that exists",
    docs: "Linux has the signals 1 to 64. A container whose image names another one is asked to end with SIGTERM.",
    experimental: false,
    advisory: true,
    check: Check::Text(check),
};

fn check(dockerfile: &Dockerfile, report: &mut Report<'_>) {
    for instruction in &dockerfile.instructions {
        let InstructionKind::Stopsignal(stop) = &instruction.kind else { continue };
        if stop.signal.value.parse::<i64>().is_ok_and(|number| !(0..=LAST_SIGNAL).contains(&number)) {
            let message = format!("there is no signal {}", stop.signal.value);
            report.find_with_help(stop.signal.span, message, "write a name like SIGTERM");
        }
    }
}
