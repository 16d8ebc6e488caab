//! `UnusualOwner`: an owner is a user and a group, by name or by number.

use crate::dockerfile::Dockerfile;
use crate::dockerfile::instruction::InstructionKind;
use crate::lint::{Check, Report, Rule};

pub(super) const RULE: Rule = Rule {
    id: "UnusualOwner",
    summary: "an owner is a user and a group, by name or by number",
    docs: "Whatever `--chown` cannot read as a number counts as a name, and files of a user that nobody knows are root's: `1:2:3` is user 1 and the group `2:3`, `-1` is root.",
    experimental: false,
    advisory: true,
    check: Check::Text(check),
};

fn check(dockerfile: &Dockerfile, report: &mut Report<'_>) {
    for instruction in &dockerfile.instructions {
        let transfer = match &instruction.kind {
            InstructionKind::Copy(copy) => &copy.transfer,
            InstructionKind::Add(add) => &add.transfer,
            _ => continue,
        };
        let Some(owner) = &transfer.chown else { continue };
        if !owner.value.contains('$') && !owner.value.splitn(2, ':').all(is_usual) {
            let message = format!("{:?} is no user and group", owner.value);
            report.find_with_help(owner.span, message, "write USER, or USER:GROUP");
        }
    }
}

/// Tells whether a part is a number that an owner can have, or may be a name.
fn is_usual(part: &str) -> bool {
    let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match is_number {
        true => part.parse::<i32>().is_ok(),
        false => !part.starts_with(['-', '+']) && !part.contains([':', ' ']),
    }
}
