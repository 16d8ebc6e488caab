//! The stages of a file: what stands between one FROM and the next.

use super::Dockerfile;
use super::instruction::arg::Arg;
use super::instruction::from::From;
use super::instruction::{Instruction, InstructionKind};

/// One stage.
#[derive(Clone, Copy, Debug)]
pub struct Stage<'a> {
    /// Its position among the stages, from 0.
    pub index: usize,
    /// The FROM.
    pub from: &'a From,
    /// The instruction that the FROM is.
    pub head: &'a Instruction,
    /// What follows the FROM.
    pub body: &'a [Instruction],
}

impl Stage<'_> {
    /// Returns the name, in lower case.
    pub fn name(&self) -> Option<String> {
        self.from.name.as_ref().map(|name| name.value.to_lowercase())
    }

    /// Returns the name, or `stage-N` for a stage without one.
    pub fn display_name(&self) -> String {
        self.name().unwrap_or_else(|| format!("stage-{}", self.index))
    }
}

impl Dockerfile {
    /// Returns the stages in order.
    pub fn stages(&self) -> Vec<Stage<'_>> {
        let starts: Vec<usize> = self
            .instructions
            .iter()
            .enumerate()
            .filter(|(_, instruction)| matches!(instruction.kind, InstructionKind::From(_)))
            .map(|(at, _)| at)
            .collect();
        let ends = starts.iter().skip(1).copied().chain([self.instructions.len()]);
        starts
            .iter()
            .zip(ends)
            .enumerate()
            .filter_map(|(index, (&start, end))| {
                let head = &self.instructions[start];
                let InstructionKind::From(from) = &head.kind else { return None };
                Some(Stage { index, from, head, body: &self.instructions[start + 1..end] })
            })
            .collect()
    }

    /// Returns the ARG instructions before the first FROM.
    pub fn global_args(&self) -> impl Iterator<Item = (&Instruction, &Arg)> {
        self.instructions.iter().map_while(|instruction| match &instruction.kind {
            InstructionKind::Arg(arg) => Some((instruction, arg)),
            _ => None,
        })
    }
}
