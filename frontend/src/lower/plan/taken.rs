//! Which stages and images instructions take files from: `COPY --from`, and mounts with a `from`.

use super::{Base, Failure, FileSource, Planner, SCRATCH};
use crate::dockerfile::instruction::{Instruction, InstructionKind, Word};
use crate::dockerfile::mount;

impl Planner<'_> {
    /// Takes in what a `--from` or mount `from` names.
    pub(super) fn take_source(&mut self, index: usize, from: &Word, at: &Instruction, work: &mut Vec<usize>) {
        let found = self.file_source(index, from, at, work);
        if self.note(found).is_none() {
            self.sources.entry(from.value.clone()).or_insert(FileSource::Base(Base::Unknown));
        }
    }

    /// Finds the stage at the position that a `--from` or mount `from` names.
    fn stage_at(&self, from: &Word) -> Result<usize, Failure> {
        let name = &from.value;
        let found = name.parse().ok().filter(|at| *at < self.stages.len());
        found.ok_or_else(|| self.error(from.span, format!("invalid stage index {name}")))
    }

    /// Finds where a `--from` or mount `from` takes its files.
    fn file_source(
        &mut self,
        index: usize,
        from: &Word,
        at: &Instruction,
        work: &mut Vec<usize>,
    ) -> Result<(), Failure> {
        let name = &from.value;
        if is_index(name) {
            let found = self.stage_at(from)?;
            return self.stage_source(index, found, from, at, work);
        }
        // A context stands for a stage of its name, so a stage is asked for only where there is none.
        if self.options.named_context(name, self.platform).is_none()
            && let Some(found) = self.last_stage(name)
        {
            return self.stage_source(index, found, from, at, work);
        }
        if self.sources.contains_key(name) {
            return Ok(());
        }
        let platform = self.platform.clone();
        let base = if name == SCRATCH {
            Some(Base::Scratch)
        } else if let Some(context) = self.options.named_context(name, &platform).map(str::to_owned) {
            self.context(&context, &platform, from.span)
        } else {
            self.image(name, &platform, !self.options.platforms_chosen, from.span)?
        };
        if let Some(base) = base {
            self.sources.insert(name.clone(), FileSource::Base(base));
        }
        Ok(())
    }

    fn stage_source(
        &mut self,
        index: usize,
        found: usize,
        from: &Word,
        at: &Instruction,
        work: &mut Vec<usize>,
    ) -> Result<(), Failure> {
        if found >= index {
            self.refuse_cycle(index, found, from)?;
            let name = self.stages[index].display_name();
            let written = &from.value;
            let message = match &at.kind {
                InstructionKind::Run(run) => {
                    let mount = run.mounts.iter().find(|mount| mount.span == from.span);
                    let request = mount
                        .and_then(|mount| mount::parse(&mount.value, &mut |value| Ok(value.to_owned())).ok());
                    let target = request.and_then(|request| request.target).unwrap_or_default();
                    format!(
                        "cannot mount from stage {written:?} to {target:?}, stage needs to be defined before current command"
                    )
                }
                _ => format!(
                    "cannot copy from stage {written:?}, it needs to be defined before current stage {name:?}"
                ),
            };
            return Err(self.error(from.span, message));
        }
        self.sources.insert(from.value.clone(), FileSource::Stage(found));
        work.push(found);
        Ok(())
    }

    /// Refuses that a stage takes files from one that is not above it, if that one depends on it.
    fn refuse_cycle(&mut self, index: usize, found: usize, from: &Word) -> Result<(), Failure> {
        // Looking for a cycle is work: a file that names so many stages too early is told of each more shortly.
        let Some(left) = self.cycles_left.checked_sub(1) else { return Ok(()) };
        self.cycles_left = left;
        if !self.reaches(found, index) {
            return Ok(());
        }
        let message = format!("circular dependency detected on stage: {}", self.stages[index].display_name());
        let mut error = *self.error(self.stages[index].head.span, message);
        error = error.with_label(from.span, "");
        if found != index {
            error = error.with_label(self.stages[found].head.span, "");
        }
        Err(Box::new(error))
    }

    /// Tells whether a stage depends on another, by what is written in the file.
    fn reaches(&self, from: usize, to: usize) -> bool {
        // Below stages that nobody needs other builders do not look at bases.
        let through_bases = self.visited[to];
        let mut seen = vec![false; self.stages.len()];
        let mut work = vec![from];
        while let Some(index) = work.pop() {
            if index == to {
                return true;
            }
            if std::mem::replace(&mut seen[index], true) {
                continue;
            }
            let stage = self.stages[index];
            if through_bases {
                work.extend(self.earlier_stage(index, &stage.from.image.value));
            }
            for from in stage.body.iter().flat_map(Instruction::sources) {
                let by_index = from.value.parse::<usize>().ok().filter(|at| *at < self.stages.len());
                work.extend(by_index.or_else(|| self.last_stage(&from.value)));
            }
        }
        false
    }

    /// Looks at what one names in a stage that nobody needs.
    pub(super) fn skim_source(&mut self, index: usize, from: &Word) -> Result<(), Failure> {
        let name = &from.value;
        let found = if is_index(name) {
            self.stage_at(from)?
        } else if self.is_context(name, self.platform) {
            return Ok(());
        } else if let Some(found) = self.last_stage(name) {
            found
        } else {
            return self.reference(name, from.span).map(drop);
        };
        if found >= index { self.refuse_cycle(index, found, from) } else { Ok(()) }
    }
}

/// Tells whether a `--from` is a position and no name.
fn is_index(name: &str) -> bool {
    let digits = name.strip_prefix(['-', '+']).unwrap_or(name);
    digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.is_empty()
}
