//! `LABEL`: free-form facts about the image.

use rbuild_model::span::Diagnostic;

use super::{Args, Heredocs, Instruction, InstructionKind, InstructionSpec, KeyValues};
use crate::lower::StageState;

/// `LABEL`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Names and values, both expanded.
    pub values: KeyValues,
}

pub(super) const SPEC: InstructionSpec = InstructionSpec {
    name: "LABEL",
    summary: "add facts about the image",
    flags: &[],
    ignores_flags: false,
    leaves_out_mistakes: false,
    heredocs: Heredocs::No,
    parse,
};

fn parse(args: &mut Args<'_>) -> Option<InstructionKind> {
    Some(InstructionKind::Label(Label { values: KeyValues::parse(args)? }))
}

impl Label {
    pub(super) fn apply(&self, _: &Instruction, stage: &mut StageState<'_, '_>) -> Result<(), Diagnostic> {
        let pairs = stage.expand_pairs(&self.values)?;
        let mut text = String::from("LABEL");
        for (name, value) in pairs {
            text.push_str(&format!(" {name}={value}"));
            stage.config_mut().config.labels.insert(name, value);
        }
        stage.commit(text, None);
        Ok(())
    }
}
