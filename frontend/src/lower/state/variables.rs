//! The variables of a stage: those of its image, and its build arguments.

use rbuild_model::span::Diagnostic;

use super::{BuildArg, StageState};
use crate::dockerfile::expand::Environment as _;
use crate::dockerfile::instruction::Instruction;
use crate::dockerfile::instruction::arg::Declaration;
use crate::lower::outline::{OutlineArg, description};
use crate::lower::scope::NOT_VARIABLES;

impl StageState<'_, '_> {
    /// Sets a variable of the image and of the steps that follow.
    pub(crate) fn set_env(&mut self, name: &str, value: &str) {
        self.env.set_listed(name, value);
    }

    /// Returns the build arguments in scope, each where it was first declared, with its last value.
    pub(crate) fn args(&self) -> Vec<(&str, &str)> {
        let mut args: Vec<_> = self.args.iter().collect();
        args.sort_unstable_by_key(|(_, arg)| arg.first);
        args.into_iter()
            .map(|(name, arg)| (&**name, self.env.get(name).or(arg.value.as_deref()).unwrap_or_default()))
            .collect()
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
        if value.is_some() && self.env.is_listed(&name) && self.trigger.is_none() {
            let message = format!("ARG {name} hides the ENV of the same name from the steps that follow");
            self.warn("ArgOverridesEnv", declaration.name.span, message);
        }
        if let Some(value) = &value
            && !NOT_VARIABLES.contains(&name.as_str())
        {
            self.env.set(&name, value);
        }
        if inherits && self.shared.plan.scope.values.contains_key(&name) {
            self.outline.global(&name);
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
        let first = self.args.get(&name).map_or(self.args.len(), |known| known.first);
        self.args.insert(name.into(), BuildArg { first, value: value.as_deref().map(Into::into) });
        Ok(value)
    }
}
