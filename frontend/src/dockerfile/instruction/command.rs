//! Commands in exec form or shell form, as RUN, CMD, ENTRYPOINT, SHELL and HEALTHCHECK take them.

use rbuild_model::span::Span;

use super::Args;
use crate::dockerfile::json::{self, JsonForm};
use crate::dockerfile::text::Slice;

/// A command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// How it is written.
    pub form: Form,
    /// Where it stands.
    pub span: Span,
}

/// The two ways to write a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// A JSON array: the program and its arguments.
    Exec(Vec<String>),
    /// A text for the shell.
    Shell(String),
}

impl Command {
    /// Reads all that is left of the arguments.
    pub(crate) fn parse(args: &mut Args<'_>) -> Option<Self> {
        let rest = args.rest;
        Self::parse_slice(args, rest)
    }

    pub(crate) fn parse_slice(args: &mut Args<'_>, text: Slice<'_>) -> Option<Self> {
        let form = match json::parse(text.text()) {
            JsonForm::Strings(strings) => Form::Exec(strings),
            JsonForm::NotStrings => {
                args.error(text.span(), super::NOT_STRINGS);
                return None;
            }
            JsonForm::Other => Form::Shell(text.text().to_owned()),
        };
        Some(Self { form, span: text.span() })
    }

    /// Returns the program and its arguments, through the given shell if need be.
    pub fn argv(&self, shell: &[String]) -> Vec<String> {
        match &self.form {
            Form::Exec(argv) => argv.clone(),
            Form::Shell(text) => shell.iter().cloned().chain([text.clone()]).collect(),
        }
    }

    /// Returns whether a shell runs it.
    pub fn is_shell(&self) -> bool {
        matches!(self.form, Form::Shell(_))
    }
}
