//! `WORKDIR`: the folder that programs start in; it is made if it does not exist.

use rbuild_model::span::Diagnostic;
use rbuild_model::step::{FileAction, MakeDir, Operation};

use super::{Args, Heredocs, Instruction, InstructionKind, InstructionSpec, Word};
use crate::lower::StageState;
use crate::path;

/// `WORKDIR`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workdir {
    /// The path as written, variables and quotes included.
    pub path: Word,
}

pub(super) const SPEC: InstructionSpec = InstructionSpec {
    name: "WORKDIR",
    summary: "set the folder that programs start in",
    flags: &[],
    ignores_flags: false,
    leaves_out_mistakes: false,
    heredocs: Heredocs::No,
    parse,
};

fn parse(args: &mut Args<'_>) -> Option<InstructionKind> {
    Some(InstructionKind::Workdir(Workdir { path: args.one()? }))
}

impl Workdir {
    pub(super) fn apply(&self, at: &Instruction, stage: &mut StageState<'_, '_>) -> Result<(), Diagnostic> {
        let written = stage.expand(&self.path)?;
        let current = stage.config.config.working_dir.clone();
        // An absolute path is kept as written; only a joined one is cleaned.
        let folder = if written.starts_with('/') {
            written.clone()
        } else if written.is_empty() {
            if current.is_empty() { "/".to_owned() } else { current }
        } else {
            path::join(&current, &written)
        };
        if !stage.workdir_set && !written.starts_with('/') {
            stage.warn(
                "WorkdirRelativePath",
                at.line_span,
                format!("relative workdir {written:?} can have unexpected results if the base image changes"),
            );
        }
        stage.workdir_set = true;
        stage.config_mut().config.working_dir = folder.clone();
        let mut layer = None;
        // As other builders have it: `/..` is the root as well, and has a layer.
        if folder != "/" {
            let clean = path::clean(&folder);
            let owner = stage.config.config.user.clone();
            let make = MakeDir { path: clean, owner, epoch: stage.epoch() };
            let root = stage.root;
            let step = stage.add_step(Operation::File(vec![FileAction::MakeDir(make)]), vec![root], at);
            stage.root = step;
            layer = Some(step);
        }
        stage.commit(format!("WORKDIR {folder}"), layer);
        Ok(())
    }
}
