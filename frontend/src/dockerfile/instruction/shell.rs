//! `SHELL`: the program that shell-form commands are given to.

use rbuild_model::span::Diagnostic;

use super::{Args, Command, Form, Heredocs, Instruction, InstructionKind, InstructionSpec};
use crate::lower::StageState;

/// `SHELL`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shell {
    /// The program and the arguments before the text.
    pub argv: Vec<String>,
}

pub(super) const SPEC: InstructionSpec = InstructionSpec {
    name: "SHELL",
    summary: "set the shell of shell-form commands",
    flags: &[],
    ignores_flags: false,
    leaves_out_mistakes: false,
    heredocs: Heredocs::No,
    parse,
};

fn parse(args: &mut Args<'_>) -> Option<InstructionKind> {
    match Command::parse(args)?.form {
        Form::Exec(argv) if argv.is_empty() => args.fail("SHELL requires at least one argument"),
        Form::Exec(argv) => Some(InstructionKind::Shell(Shell { argv })),
        Form::Shell(text) if text.is_empty() => args.fail("SHELL requires at least one argument"),
        Form::Shell(_) => {
            args.report.push(
                Diagnostic::error(args.source, args.line, "SHELL requires the arguments to be in JSON form")
                    .with_help("write `SHELL [\"/bin/bash\", \"-c\"]`"),
            );
            None
        }
    }
}

impl Shell {
    pub(super) fn apply(&self, _: &Instruction, stage: &mut StageState<'_, '_>) -> Result<(), Diagnostic> {
        stage.config_mut().config.shell = Some(self.argv.clone());
        stage.commit(format!("SHELL [{}]", self.argv.join(" ")), None);
        Ok(())
    }
}
