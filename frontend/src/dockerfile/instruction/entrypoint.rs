//! `ENTRYPOINT`: the program that a container always runs. It drops a CMD that the base brought along.

use rbuild_model::span::Diagnostic;

use super::{Args, Command, Heredocs, Instruction, InstructionKind, InstructionSpec};
use crate::go;
use crate::lower::StageState;

/// `ENTRYPOINT`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entrypoint {
    /// The command.
    pub command: Command,
}

pub(super) const SPEC: InstructionSpec = InstructionSpec {
    name: "ENTRYPOINT",
    summary: "set the program that always runs",
    flags: &[],
    ignores_flags: false,
    leaves_out_mistakes: false,
    heredocs: Heredocs::No,
    parse,
};

fn parse(args: &mut Args<'_>) -> Option<InstructionKind> {
    Some(InstructionKind::Entrypoint(Entrypoint { command: Command::parse(args)? }))
}

impl Entrypoint {
    pub(super) fn apply(&self, at: &Instruction, stage: &mut StageState<'_, '_>) -> Result<(), Diagnostic> {
        stage.recommend_json(at, &self.command);
        let argv = self.command.argv(&stage.shell());
        let text = format!("ENTRYPOINT {}", go::quoted_list(&argv));
        stage.config_mut().config.entrypoint = (!argv.is_empty()).then_some(argv);
        if !stage.cmd_set {
            stage.config_mut().config.cmd = None;
        }
        stage.commit(text, None);
        Ok(())
    }
}
