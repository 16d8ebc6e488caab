//! The trees that a stage stands on and takes files from.

use rbuild_model::graph::StepId;
use rbuild_model::span::Span;
use rbuild_model::step::{self, ImageSource, Operation, Step, StepNote};

use super::{Shared, StageState, Title, Tree};
use crate::lower::options::ImageAnswer;
use crate::lower::plan::{Base, FileSource};

impl Shared<'_> {
    fn source_step(&mut self, source: step::Source, title: Title, span: Option<Span>) -> StepId {
        let Title { shown: name, written } = title;
        let location = span.map(|span| self.location(span));
        let note = StepNote { name, written, location, ..StepNote::default() };
        self.builder.add(Step { operation: Operation::Source(source), inputs: Vec::new() }, note)
    }

    pub(super) fn base_step(&mut self, base: &Base, title: Title, span: Span) -> StepId {
        match base {
            Base::Scratch | Base::Unknown => {
                self.source_step(step::Source::Scratch, Title::plain("scratch"), None)
            }
            Base::Stage(index) => self.done.get(index).expect("stages are built in order").root,
            Base::Target(target) => target.root,
            Base::Image(image) => {
                let ImageAnswer { name: image_name, pin, platform, config: _ } = &**image;
                let source =
                    ImageSource { name: image_name.clone(), pin: pin.clone(), platform: platform.clone() };
                self.source_step(step::Source::Image(source), title, Some(span))
            }
            Base::Tree(source) => self.source_step(step::Source::clone(source), title, Some(span)),
        }
    }
}

impl StageState<'_, '_> {
    /// Returns the step of the empty root.
    pub(crate) fn scratch(&mut self) -> StepId {
        self.shared.base_step(&Base::Scratch, Title::plain(""), self.current)
    }

    /// Adds the step of a remote source.
    pub(crate) fn remote(&mut self, source: step::Source, title: Title) -> StepId {
        self.shared.source_step(source, title, Some(self.current))
    }

    /// Returns whether the stage's root is still empty.
    pub(crate) fn is_scratch(&self) -> bool {
        let is_empty =
            matches!(self.shared.builder.step(self.root).operation, Operation::Source(step::Source::Scratch));
        is_empty && !self.is_guess
    }

    /// Returns the tree of the main context.
    pub(crate) fn context(&mut self) -> Tree {
        let source = self.shared.options.context.clone();
        let from_client = matches!(source, step::Source::Local(_));
        let step = self.shared.source_step(source, Title::plain("[internal] load build context"), None);
        Tree { step, from_client }
    }

    /// Returns the tree of a `--from` or mount `from`.
    pub(crate) fn tree(&mut self, from: &str) -> Tree {
        let source =
            self.shared.plan.sources.get(from).expect("the plan has every source that instructions name");
        match source {
            FileSource::Stage(index) => {
                self.takes_from.insert(*index);
                // One that comes too late has been told of.
                let root = self.shared.done.get(index).map(|done| done.root);
                Tree { step: root.unwrap_or_else(|| self.scratch()), from_client: false }
            }
            FileSource::Base(base) => {
                let from_client =
                    matches!(base, Base::Tree(source) if matches!(**source, step::Source::Local(_)));
                let title = match base {
                    // A name with variables in it is no stage: it stands here as it is written.
                    Base::Image(image) => {
                        Title { shown: format!("FROM {}", image.name), written: format!("FROM {from}") }
                    }
                    _ => Title::plain(format!("[context {from}]")),
                };
                let step = self.shared.base_step(base, title, self.current);
                Tree { step, from_client }
            }
        }
    }
}
