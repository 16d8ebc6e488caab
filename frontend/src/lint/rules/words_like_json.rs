//! `WordsLikeJson`: sources that begin as a JSON array and are none.

use crate::dockerfile::Dockerfile;
use crate::dockerfile::instruction::InstructionKind;
use crate::lint::{Check, Report, Rule};

pub(super) const RULE: Rule = Rule {
    id: "WordsLikeJson",
    summary: "sources that begin as a JSON array and are none",
    docs: "An array holds all arguments, the destination too. What is not JSON as a whole is read as words, and `[` begins a pattern there.",
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
        if let Some(word) = transfer.paths().next().filter(|word| word.value.starts_with("[\"")) {
            let message = "the arguments begin as a JSON array and are read as words";
            report.find_with_help(
                word.span,
                message,
                "put all of them into the array: `[\"source\", \"/dest/\"]`",
            );
        }
    }
}
