//! `InvalidDefinitionDescription`: a comment above ARG or FROM should begin with the name it describes.

use crate::dockerfile::Dockerfile;
use crate::dockerfile::instruction::InstructionKind;
use crate::lint::{Check, Report, Rule};

pub(super) const RULE: Rule = Rule {
    id: "InvalidDefinitionDescription",
    summary: "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment.",
    docs: "Comments directly above ARG and FROM that begin with the name are shown as its description. Put a blank line between if the comment is about something else.",
    experimental: true,
    advisory: false,
    check: Check::Text(check),
};

fn check(dockerfile: &Dockerfile, report: &mut Report<'_>) {
    for instruction in &dockerfile.instructions {
        let names: Vec<&str> = match &instruction.kind {
            InstructionKind::Arg(arg) => arg.declarations.iter().map(|one| one.name.value.as_str()).collect(),
            InstructionKind::From(from) => from.name.iter().map(|name| name.value.as_str()).collect(),
            _ => continue,
        };
        let Some(comment) =
            instruction.comments.iter().rev().find(|comment| !comment.value.starts_with("check="))
        else {
            continue;
        };
        // A lone `#` ends a block of comments: what is above it describes nothing.
        let block = instruction.comments.split(|comment| comment.value.is_empty()).next_back();
        let first = block.and_then(|block| block.first()).unwrap_or(comment);
        let described = names.iter().any(|name| {
            first
                .value
                .strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t']))
        });
        if !names.is_empty() && !described && !comment.value.is_empty() {
            let message = format!(
                "comment for {} should follow the format: `# {} <description>`",
                instruction.keyword.value, names[0]
            );
            report.find(instruction.line_span, message);
        }
    }
}
