//! `USER`: whom programs run as.

use rbuild_model::span::Diagnostic;

use super::{Args, Heredocs, Instruction, InstructionKind, InstructionSpec, Word};
use crate::lower::StageState;

/// `USER`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// `user[:group]` as written, variables included.
    pub user: Word,
}

pub(super) const SPEC: InstructionSpec = InstructionSpec {
    name: "USER",
    summary: "set whom programs run as",
    flags: &[],
    ignores_flags: false,
    leaves_out_mistakes: false,
    heredocs: Heredocs::No,
    parse,
};

fn parse(args: &mut Args<'_>) -> Option<InstructionKind> {
    Some(InstructionKind::User(User { user: args.one()? }))
}

impl User {
    pub(super) fn apply(&self, _: &Instruction, stage: &mut StageState<'_, '_>) -> Result<(), Diagnostic> {
        let user = stage.expand(&self.user)?;
        let text = format!("USER {user}");
        stage.config_mut().config.user = user;
        stage.commit(text, None);
        Ok(())
    }
}
