//! The steps that a stage adds to the graph, and what displays call them.

use std::fmt::Write as _;

use rbuild_model::graph::StepId;
use rbuild_model::step::{EnvVar, Operation, Step, StepNote};

use super::{BuildEnv, StageState};
use crate::dockerfile::expand::{self, Environment, Mode};
use crate::dockerfile::instruction::Instruction;
use crate::lower::options::NoCache;
use crate::lower::remote::without_credentials;

/// What a step is called.
#[derive(Clone, Debug)]
pub(crate) struct Title {
    /// For displays: variables are replaced by their values.
    pub(crate) shown: String,
    /// For what is kept: as it is written.
    pub(crate) written: String,
}

impl Title {
    /// A title in which no variable stands.
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        let shown = text.into();
        Self { written: shown.clone(), shown }
    }

    /// Puts something before both.
    pub(crate) fn after(mut self, before: &str) -> Self {
        self.shown.insert_str(0, before);
        self.written.insert_str(0, before);
        self
    }

    /// Puts something behind both.
    pub(crate) fn before(mut self, behind: &str) -> Self {
        self.shown.push_str(behind);
        self.written.push_str(behind);
        self
    }
}

impl StageState<'_, '_> {
    /// Puts the stage and the position before a step's name.
    pub(super) fn prefixed(&mut self, title: Title) -> Title {
        if self.total == 0 {
            return title;
        }
        let mut place = String::from("[");
        if self.shared.options.platforms.len() > 1 {
            let _ = write!(place, "{}{} ", self.platform, self.cross_target());
        }
        if self.shared.plan.name_stages {
            place.push_str(&self.plan.stage.display_name());
            place.push(' ');
        }
        self.position += 1;
        let width = self.total.ilog10() as usize + 1;
        let _ = write!(place, "{:width$}/{}] ", self.position, self.total);
        title.after(&place)
    }

    /// Names the target's platform when the stage asks for it and runs on another.
    fn cross_target(&self) -> String {
        if self.env.get("TARGETPLATFORM").is_none() && self.env.get("TARGETARCH").is_none() {
            return String::new();
        }
        let target = &self.shared.plan.platform;
        if *target == self.platform {
            return String::new();
        }
        if target.os != self.platform.os {
            return format!("->{target}");
        }
        let variant = if target.variant.is_empty() { String::new() } else { format!("/{}", target.variant) };
        format!("->{}{variant}", target.architecture)
    }

    /// Returns an instruction's text: keyword in upper case, for displays with variables replaced where they have values.
    pub(crate) fn title(&self, at: &Instruction, masked: &[EnvVar]) -> Title {
        struct Masked<'e>(&'e [EnvVar], &'e BuildEnv);
        impl Environment for Masked<'_> {
            fn get(&self, name: &str) -> Option<&str> {
                let masked = self.0.iter().find(|variable| variable.name == name);
                masked.map(|variable| variable.value.as_str()).or_else(|| self.1.get(name))
            }
        }
        let rest = at.text.get(at.keyword.value.len()..).unwrap_or("").trim_end();
        let text = format!("{}{rest}", at.keyword.value.to_uppercase());
        let onbuild = if self.trigger.is_some() { "ONBUILD " } else { "" };
        let mode = Mode::display(self.mode().escape);
        let shown = expand::expand(&text, mode, &Masked(masked, &self.env))
            .map_or_else(|_| text.clone(), |shown| shown.text);
        let title = if at.keyword.value.eq_ignore_ascii_case("ADD") {
            let open = |text: &str| text.split(' ').map(without_credentials).collect::<Vec<_>>().join(" ");
            Title { shown: open(&shown), written: open(&text) }
        } else {
            Title { shown, written: text }
        };
        title.after(onbuild)
    }

    fn ignores_cache(&self) -> bool {
        match &self.shared.options.no_cache {
            NoCache::None => false,
            NoCache::All => true,
            NoCache::Stages(names) => {
                let name = self.plan.stage.name();
                names.iter().any(|wanted| Some(wanted.to_lowercase()) == name)
            }
        }
    }

    /// Adds a step of an instruction.
    pub(crate) fn add_step(&mut self, operation: Operation, inputs: Vec<StepId>, at: &Instruction) -> StepId {
        let title = self.title(at, &[]);
        self.add_named_step(operation, inputs, title)
    }

    pub(crate) fn add_named_step(
        &mut self,
        operation: Operation,
        inputs: Vec<StepId>,
        title: Title,
    ) -> StepId {
        let title = self.prefixed(title);
        self.add_noted(operation, inputs, title)
    }

    /// Adds a step that does not count in `[stage i/n]`.
    pub(crate) fn add_noted(&mut self, operation: Operation, inputs: Vec<StepId>, title: Title) -> StepId {
        let Title { shown, written } = title;
        let note = StepNote {
            name: shown,
            written,
            stage: Some(self.plan.stage.display_name()),
            location: Some(self.shared.location(self.current)),
            ignore_cache: self.ignores_cache(),
            limits: self.shared.options.limits.clone(),
        };
        self.shared.builder.add(Step { operation, inputs }, note)
    }
}
