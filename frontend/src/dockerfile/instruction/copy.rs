//! `COPY`: brings files in from the context, another stage, an image or a named context.

use rbuild_model::span::Diagnostic;

use super::{Args, FlagSpec, Heredocs, Instruction, InstructionKind, InstructionSpec, Transfer, Word};
use crate::lower::{StageState, transfer};

/// `COPY`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// Sources, destination and flags shared with ADD.
    pub transfer: Transfer,
    /// `--from`
    pub from: Option<Word>,
    /// `--parents`
    pub parents: bool,
}

pub(super) const SPEC: InstructionSpec = InstructionSpec {
    name: "COPY",
    summary: "copy files and folders",
    flags: &[
        FlagSpec::text("from"),
        FlagSpec::text("chown"),
        FlagSpec::text("chmod"),
        FlagSpec::flag("link"),
        FlagSpec::flag("parents"),
        FlagSpec::list("exclude"),
    ],
    ignores_flags: false,
    leaves_out_mistakes: true,
    heredocs: Heredocs::Yes,
    parse,
};

fn parse(args: &mut Args<'_>) -> Option<InstructionKind> {
    let mut from = args.flags.text("from");
    if let Some(from) = from.take_if(|from| from.value.contains('$')) {
        let message = "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround";
        args.error(from.span, message);
    }
    let transfer = Transfer::parse(args)?;
    Some(InstructionKind::Copy(Copy { transfer, from, parents: args.flags.is_set("parents") }))
}

impl Copy {
    pub(super) fn apply(&self, at: &Instruction, stage: &mut StageState<'_, '_>) -> Result<(), Diagnostic> {
        transfer::copy(self, at, stage)
    }
}
