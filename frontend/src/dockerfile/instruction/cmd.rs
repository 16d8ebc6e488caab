//! `CMD`: the default command of a container, or the default arguments of its entrypoint.

use rbuild_model::span::Diagnostic;

use super::{Args, Command, Heredocs, Instruction, InstructionKind, InstructionSpec};
use crate::go;
use crate::lower::StageState;

/// `CMD`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cmd {
    /// The command.
    pub command: Command,
}

pub(super) const SPEC: InstructionSpec = InstructionSpec {
    name: "CMD",
    summary: "set the default command",
    flags: &[],
    ignores_flags: false,
    leaves_out_mistakes: false,
    heredocs: Heredocs::No,
    parse,
};

fn parse(args: &mut Args<'_>) -> Option<InstructionKind> {
    Some(InstructionKind::Cmd(Cmd { command: Command::parse(args)? }))
}

impl Cmd {
    pub(super) fn apply(&self, at: &Instruction, stage: &mut StageState<'_, '_>) -> Result<(), Diagnostic> {
        stage.recommend_json(at, &self.command);
        let argv = self.command.argv(&stage.shell());
        let text = format!("CMD {}", go::quoted_list(&argv));
        stage.config_mut().config.cmd = Some(argv);
        stage.config_mut().config.args_escaped = true;
        stage.cmd_set = true;
        stage.commit(text, None);
        Ok(())
    }
}
