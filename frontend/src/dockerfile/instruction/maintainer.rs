//! `MAINTAINER`: who answers for the image. Deprecated in favour of a label.

use rbuild_model::span::Diagnostic;

use super::{Args, Heredocs, Instruction, InstructionKind, InstructionSpec, Word};
use crate::lower::StageState;

/// `MAINTAINER`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maintainer {
    /// The rest of the line, never expanded.
    pub name: Word,
}

pub(super) const SPEC: InstructionSpec = InstructionSpec {
    name: "MAINTAINER",
    summary: "name the author (deprecated: use LABEL)",
    flags: &[],
    ignores_flags: false,
    leaves_out_mistakes: false,
    heredocs: Heredocs::No,
    parse,
};

fn parse(args: &mut Args<'_>) -> Option<InstructionKind> {
    Some(InstructionKind::Maintainer(Maintainer { name: args.one()? }))
}

impl Maintainer {
    pub(super) fn apply(&self, _: &Instruction, stage: &mut StageState<'_, '_>) -> Result<(), Diagnostic> {
        stage.config_mut().author = Some(self.name.value.clone());
        stage.commit(format!("MAINTAINER {}", self.name.value), None);
        Ok(())
    }
}
