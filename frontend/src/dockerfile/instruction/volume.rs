//! `VOLUME`: paths whose content outlives a container.

use rbuild_model::image_config::Empty;
use rbuild_model::span::Diagnostic;

use super::{Args, Heredocs, Instruction, InstructionKind, InstructionSpec, Word};
use crate::lower::StageState;

/// `VOLUME`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// The paths as written, variables included.
    pub paths: Vec<Word>,
}

pub(super) const SPEC: InstructionSpec = InstructionSpec {
    name: "VOLUME",
    summary: "name paths whose content outlives a container",
    flags: &[],
    ignores_flags: false,
    leaves_out_mistakes: false,
    heredocs: Heredocs::No,
    parse,
};

fn parse(args: &mut Args<'_>) -> Option<InstructionKind> {
    let paths = args.list()?;
    if paths.is_empty() {
        return args.fail("VOLUME requires at least one argument");
    }
    for path in paths.iter().filter(|path| path.value.trim().is_empty()) {
        args.error(path.span, "VOLUME specified can not be an empty string");
    }
    Some(InstructionKind::Volume(Volume { paths }))
}

impl Volume {
    pub(super) fn apply(&self, _: &Instruction, stage: &mut StageState<'_, '_>) -> Result<(), Diagnostic> {
        let mut paths = Vec::with_capacity(self.paths.len());
        for word in &self.paths {
            let path = stage.expand(word)?.trim().to_owned();
            if path.is_empty() {
                return Err(stage.error(word.span, "VOLUME specified can not be an empty string"));
            }
            paths.push(path);
        }
        let text = format!("VOLUME [{}]", paths.join(" "));
        stage.config_mut().config.volumes.extend(paths.into_iter().map(|path| (path, Empty {})));
        stage.commit(text, None);
        Ok(())
    }
}
