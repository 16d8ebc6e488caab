//! `ENV`: environment variables of the image and of the steps that follow.

use rbuild_model::span::Diagnostic;

use super::{Args, Heredocs, Instruction, InstructionKind, InstructionSpec, KeyValues};
use crate::lower::StageState;

/// `ENV`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Env {
    /// Names and values, both expanded with the environment before the instruction.
    pub values: KeyValues,
}

pub(super) const SPEC: InstructionSpec = InstructionSpec {
    name: "ENV",
    summary: "set environment variables",
    flags: &[],
    ignores_flags: false,
    leaves_out_mistakes: false,
    heredocs: Heredocs::No,
    parse,
};

fn parse(args: &mut Args<'_>) -> Option<InstructionKind> {
    Some(InstructionKind::Env(Env { values: KeyValues::parse(args)? }))
}

impl Env {
    pub(super) fn apply(&self, _: &Instruction, stage: &mut StageState<'_, '_>) -> Result<(), Diagnostic> {
        let pairs = stage.expand_pairs(&self.values)?;
        let mut text = String::from("ENV");
        for (name, value) in &pairs {
            text.push_str(&format!(" {name}={value}"));
        }
        for (name, value) in &pairs {
            stage.set_env(name, value);
        }
        stage.commit(text, None);
        Ok(())
    }
}
