//! `ARG`: a variable of the build, with an optional default that `--build-arg` overrides.

use rbuild_model::span::Diagnostic;

use super::{Args, Heredocs, Instruction, InstructionKind, InstructionSpec, Word};
use crate::dockerfile::flags::quoted_words;
use crate::lower::StageState;

/// `ARG`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arg {
    /// What is declared, in order.
    pub declarations: Vec<Declaration>,
}

/// One variable that an ARG declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// Its name.
    pub name: Word,
    /// Its default as written.
    pub default: Option<Word>,
}

pub(super) const SPEC: InstructionSpec = InstructionSpec {
    name: "ARG",
    summary: "declare variables of the build",
    flags: &[],
    ignores_flags: true,
    leaves_out_mistakes: false,
    heredocs: Heredocs::No,
    parse,
};

fn parse(args: &mut Args<'_>) -> Option<InstructionKind> {
    let words = quoted_words(args.rest, args.escape);
    if words.is_empty() {
        return args.fail("ARG requires at least one argument");
    }
    let mut declarations = Vec::with_capacity(words.len());
    for word in words {
        match word.text().split_once('=') {
            Some(("", _)) => args.error(word.span(), "ARG names can not be blank"),
            Some((name, _)) => declarations.push(Declaration {
                name: word.part(0..name.len()).word(),
                default: Some(word.from(name.len() + 1).word()),
            }),
            None => declarations.push(Declaration { name: word.word(), default: None }),
        }
    }
    Some(InstructionKind::Arg(Arg { declarations }))
}

impl Arg {
    pub(super) fn apply(&self, at: &Instruction, stage: &mut StageState<'_, '_>) -> Result<(), Diagnostic> {
        let mut texts = Vec::with_capacity(self.declarations.len());
        for declaration in &self.declarations {
            let name = &declaration.name.value;
            let value = stage.declare(declaration, at)?;
            texts.push(value.map_or_else(|| name.clone(), |value| format!("{name}={value}")));
        }
        stage.commit(format!("ARG {}", texts.join(" ")), None);
        Ok(())
    }
}
