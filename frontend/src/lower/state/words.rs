//! The words of instructions: what they come to with the variables of a stage.

use rbuild_model::span::{Diagnostic, Span};

use super::{MAX_VALUES, StageState};
use crate::dockerfile::expand::{self, ExpandError, Expanded, Mode};
use crate::dockerfile::instruction::{KeyValues, Word};
use crate::lower::plan::compared;
use crate::lower::scope::undefined_variables;

impl StageState<'_, '_> {
    pub(super) fn mode(&self) -> Mode {
        let escape = if self.trigger.is_some() { '\\' } else { self.shared.dockerfile.directives.escape() };
        Mode::argument(escape)
    }

    fn expand_with(&mut self, text: &str, span: Span, mode: Mode) -> Result<Expanded, Diagnostic> {
        let expanded = match expand::expand(text, mode, &self.env) {
            Ok(expanded) => expanded,
            Err(error) => {
                // The work has been done, whatever came of it.
                if error == ExpandError::TooLong {
                    self.shared.spent += expand::MAX_TEXT;
                }
                return Err(self.unexpanded(text, span, &error));
            }
        };
        self.is_doubtful |= self.is_guess && !expanded.unset.is_empty();
        if self.is_guess {
            self.spend(expanded.text.len(), span)?;
            return Ok(expanded);
        }
        let unset: Vec<String> =
            expanded.unset.iter().filter(|name| self.args.get(name).is_none()).cloned().collect();
        let span = self.place(span);
        let known = self.env.names().chain(self.args.iter().map(|(name, _)| &**name));
        let found = undefined_variables(
            "UndefinedVar",
            &self.shared.dockerfile.source,
            span,
            &unset,
            known.take(compared(self.shared.warnings)),
        );
        self.shared.warnings.extend(found);
        self.spend(expanded.text.len(), span)?;
        Ok(expanded)
    }

    fn unexpanded(&mut self, text: &str, span: Span, error: &ExpandError) -> Diagnostic {
        self.is_doubtful |= self.is_guess && matches!(error, ExpandError::Required { .. });
        self.error(span, expand::failure(text, error))
    }

    /// Counts memory that values take; a file that makes them grow without end is stopped.
    pub(crate) fn spend(&mut self, bytes: usize, span: Span) -> Result<(), Diagnostic> {
        self.shared.spent += bytes;
        if self.shared.spent > MAX_VALUES {
            let message = format!("the values of this file come to more than {MAX_VALUES} bytes");
            let help = "a step gets every variable of the stages that its own stands on: set fewer, or split the file";
            return Err(self.error(span, message).with_help(help));
        }
        Ok(())
    }

    /// Keeps what is wrong with a part of an instruction while the parts behind it are looked at: the last error is the
    /// instruction's own, those before it are noted. Without room for values, the rest is left.
    pub(crate) fn also(
        &mut self,
        failed: &mut Option<Diagnostic>,
        error: Diagnostic,
    ) -> Result<(), Diagnostic> {
        let before = failed.take().filter(|_| !self.is_doubtful);
        before.into_iter().for_each(|error| self.shared.errors.push(error));
        if self.shared.spent > MAX_VALUES {
            return Err(error);
        }
        *failed = Some(error);
        Ok(())
    }

    /// Replaces the variables of a word.
    pub(crate) fn expand(&mut self, word: &Word) -> Result<String, Diagnostic> {
        let mode = self.mode();
        Ok(self.expand_with(&word.value, word.span, mode)?.text)
    }

    /// Replaces the variables of a word and splits the result.
    pub(crate) fn expand_words(&mut self, word: &Word) -> Result<Vec<String>, Diagnostic> {
        let mode = self.mode();
        // As other builders have it, words that are split (those of EXPOSE) are not searched for unset variables.
        let (expanded, words) = expand::split(&word.value, mode, &self.env)
            .map_err(|error| self.unexpanded(&word.value, word.span, &error))?;
        self.is_doubtful |= self.is_guess && !expanded.unset.is_empty();
        self.spend(expanded.text.len(), word.span)?;
        Ok(words)
    }

    /// Replaces the variables of a heredoc's body.
    pub(crate) fn expand_body(&mut self, body: &str, span: Span) -> Result<String, Diagnostic> {
        Ok(self.expand_with(body, span, Mode::heredoc())?.text)
    }

    /// Replaces the variables of names and values, all by the environment before the instruction.
    pub(crate) fn expand_pairs(&mut self, values: &KeyValues) -> Result<Vec<(String, String)>, Diagnostic> {
        let mut pairs = Vec::with_capacity(values.pairs.len());
        let mut failed = None;
        for pair in &values.pairs {
            match self.expand(&pair.key).and_then(|key| Ok((key, self.expand(&pair.value)?))) {
                Ok(pair) => pairs.push(pair),
                Err(error) => self.also(&mut failed, error)?,
            }
        }
        failed.map_or(Ok(pairs), Err)
    }
}
