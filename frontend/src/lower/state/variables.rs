//! The variables of a stage: those of its image, and its build arguments.

use rbuild_model::span::Diagnostic;

use super::{BuildArg, StageState};
use crate::dockerfile::instruction::Instruction;
use crate::dockerfile::instruction::arg::Declaration;
use crate::lower::outline::{OutlineArg, description};
use crate::lower::scope::NOT_VARIABLES;

impl StageState<'_, '_> {
    /// Sets a variable of the steps that follow.
    pub(crate) fn set_env(&mut self, name: String, value: String) {
        self.env.set(name, value);
    }

    /// Sets the variables of the image for the steps; one that is listed twice counts with its last value.
    pub(super) fn take_image_env(&mut self) {
        let entries = self.config.config.env.iter().filter_map(|entry| entry.split_once('='));
        // Most stages begin with what the one below ended with.
        if !self.env.is_exactly(entries.clone()) {
            entries.for_each(|(name, value)| self.env.set(name.to_owned(), value.to_owned()));
        }
    }

    /// Sets a variable of the image, in the place of one of the same name.
    pub(crate) fn set_image_env(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        let list = &mut self.config_mut().config.env;
        match list.iter_mut().find(|known| known.split_once('=').is_some_and(|(known, _)| known == name)) {
            Some(known) => *known = entry,
            None => list.push(entry),
        }
    }

    /// Declares a build argument, and returns its value if it has one.
    pub(crate) fn declare(
        &mut self,
        declaration: &Declaration,
        at: &Instruction,
    ) -> Result<Option<String>, Diagnostic> {
        let name = declaration.name.value.clone();
        let given = self.shared.options.build_args.get(&name).cloned();
        let inherits = given.is_none() && declaration.default.is_none();
        let value = match (given, &declaration.default) {
            (Some(given), _) => Some(given),
            (None, Some(default)) => Some(self.expand(default)?),
            (None, None) => self.shared.plan.scope.values.get(&name).cloned(),
        };
        if value.is_some() && self.config.config.env(&name).is_some() && self.trigger.is_none() {
            let message = format!("ARG {name} hides the ENV of the same name from the steps that follow");
            self.warn("ArgOverridesEnv", declaration.name.span, message);
        }
        if let Some(value) = &value
            && !NOT_VARIABLES.contains(&name.as_str())
        {
            self.env.set(name.clone(), value.clone());
        }
        if inherits && self.shared.plan.scope.values.contains_key(&name) {
            self.outline.global(&self.shared.plan.scope, &name);
        } else {
            let span = self.place(at.line_span);
            let described = description(at, &name);
            let arg = OutlineArg {
                name: name.clone(),
                description: described,
                value: value.clone(),
                span,
                word: declaration.name.span,
            };
            self.outline.arg(arg);
        }
        self.declared.insert(name.clone());
        self.args.push(BuildArg { name, value: value.clone() });
        Ok(value)
    }
}
