//! `ADD`: brings files in from the context, from the web, or from a git repository; unpacks local archives.

use rbuild_model::span::Diagnostic;

use super::{Args, FlagSpec, Heredocs, Instruction, InstructionKind, InstructionSpec, Transfer, Word};
use crate::lower::{StageState, transfer};

/// `ADD`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Add {
    /// Sources, destination and flags shared with COPY.
    pub transfer: Transfer,
    /// `--checksum`
    pub checksum: Option<Word>,
    /// `--keep-git-dir`, if given.
    pub keep_git_dir: Option<bool>,
    /// `--unpack`, if given.
    pub unpack: Option<bool>,
}

pub(super) const SPEC: InstructionSpec = InstructionSpec {
    name: "ADD",
    summary: "add local or remote files, and unpack local archives",
    flags: &[
        FlagSpec::text("chown"),
        FlagSpec::text("chmod"),
        FlagSpec::flag("link"),
        FlagSpec::list("exclude"),
        FlagSpec::text("checksum"),
        FlagSpec::flag("keep-git-dir"),
        FlagSpec::flag("unpack"),
    ],
    ignores_flags: false,
    leaves_out_mistakes: false,
    heredocs: Heredocs::Yes,
    parse,
};

fn parse(args: &mut Args<'_>) -> Option<InstructionKind> {
    let transfer = Transfer::parse(args)?;
    Some(InstructionKind::Add(Add {
        transfer,
        checksum: args.flags.text("checksum"),
        keep_git_dir: args.flags.bool("keep-git-dir"),
        unpack: args.flags.bool("unpack"),
    }))
}

impl Add {
    pub(super) fn apply(&self, at: &Instruction, stage: &mut StageState<'_, '_>) -> Result<(), Diagnostic> {
        transfer::add(self, at, stage)
    }
}
