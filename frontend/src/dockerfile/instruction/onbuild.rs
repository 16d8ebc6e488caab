//! `ONBUILD`: an instruction that runs in builds on top of the image.

use rbuild_model::span::Diagnostic;

use super::{Args, Heredocs, Instruction, InstructionKind, InstructionSpec};
use crate::lower::StageState;

/// `ONBUILD`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Onbuild {
    /// The text of the trigger, heredoc bodies included. Only its keyword has been looked at.
    pub trigger: String,
}

pub(super) const SPEC: InstructionSpec = InstructionSpec {
    name: "ONBUILD",
    summary: "store an instruction for builds on top of the image",
    flags: &[],
    ignores_flags: false,
    leaves_out_mistakes: false,
    heredocs: Heredocs::Nested,
    parse,
};

fn parse(args: &mut Args<'_>) -> Option<InstructionKind> {
    let keyword = args.rest.split_field().0;
    match keyword.text().to_ascii_uppercase().as_str() {
        "" => return args.fail("ONBUILD requires at least one argument"),
        "ONBUILD" => {
            args.error(keyword.span(), "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed");
            return None;
        }
        name @ ("FROM" | "MAINTAINER") => {
            args.error(keyword.span(), format!("{name} isn't allowed as an ONBUILD trigger"));
            return None;
        }
        _ => {}
    }
    // The text is kept as it stands in the file, with the blanks at its end.
    let original = args.original.trim_start();
    let mut trigger = original[args.spec.name.len()..].trim_start().to_owned();
    for heredoc in &args.heredocs {
        trigger.push('\n');
        trigger.push_str(&heredoc.body);
        trigger.push_str(&heredoc.name);
    }
    Some(InstructionKind::Onbuild(Onbuild { trigger }))
}

impl Onbuild {
    pub(super) fn apply(&self, _: &Instruction, stage: &mut StageState<'_, '_>) -> Result<(), Diagnostic> {
        stage.store_trigger(&self.trigger);
        Ok(())
    }
}
