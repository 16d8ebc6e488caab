//! What COPY and ADD have in common: sources, a destination, and what becomes of owners and modes.

use rbuild_model::span::Diagnostic;

use super::{Args, Word};
use crate::dockerfile::heredoc::{self, Heredoc};
use crate::dockerfile::json::JsonForm;

/// Files to bring in, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// What is brought in, in order.
    pub sources: Vec<TransferSource>,
    /// Where to.
    pub dest: Word,
    /// `--chown`
    pub chown: Option<Word>,
    /// `--chmod`
    pub chmod: Option<Word>,
    /// `--link`
    pub link: bool,
    /// `--exclude`, in order.
    pub exclude: Vec<Word>,
}

/// One thing to bring in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransferSource {
    /// A path, or for ADD also a URL or a git reference.
    Path(Word),
    /// A file whose content stands in the Dockerfile.
    Heredoc(Heredoc),
}

impl Transfer {
    pub(crate) fn parse(args: &mut Args<'_>) -> Option<Self> {
        let name = args.spec.name;
        let is_json = matches!(args.json()?, JsonForm::Strings(_));
        let mut words = args.list()?;
        if words.len() < 2 {
            if words.is_empty() {
                return args.fail(format!("{name} requires at least two arguments, but none were provided"));
            }
            args.report.push(
                Diagnostic::error(
                    args.source,
                    args.line,
                    format!(
                        "{name} requires at least two arguments, but only one was provided. Destination could not be determined"
                    ),
                )
                .with_help("the last argument is where the files go"),
            );
            return None;
        }
        let dest = words.pop()?;
        let is_heredoc = |word: &Word| {
            if is_json {
                return Ok(None);
            }
            heredoc::opening(&word.value)
        };
        if let Ok(Some(_)) = is_heredoc(&dest) {
            args.error(dest.span, format!("{name} cannot accept a heredoc as a destination"));
            return None;
        }
        let mut bodies = args.heredocs.clone();
        let count = words.len();
        let mut sources = Vec::with_capacity(count);
        for word in words {
            match is_heredoc(&word) {
                Ok(None) => {}
                Ok(Some(opening)) => {
                    // The same words were found by the shell's rules; those that quotes made one word are not here.
                    if let Some(at) = bodies.iter().position(|body| body.name == opening.name) {
                        let mut heredoc = bodies.remove(at);
                        heredoc.word = word;
                        sources.push(TransferSource::Heredoc(heredoc));
                        continue;
                    }
                }
                Err(error) => {
                    args.error(word.span, error.to_string());
                    continue;
                }
            }
            sources.push(TransferSource::Path(word));
        }
        if sources.len() < count {
            return None;
        }
        Some(Self {
            sources,
            dest,
            chown: args.flags.text("chown"),
            chmod: args.flags.text("chmod"),
            link: args.flags.is_set("link"),
            exclude: args.flags.list("exclude"),
        })
    }

    /// Returns the heredocs among the sources.
    pub fn heredocs(&self) -> impl Iterator<Item = &Heredoc> {
        self.sources.iter().filter_map(|source| match source {
            TransferSource::Heredoc(heredoc) => Some(heredoc),
            TransferSource::Path(_) => None,
        })
    }

    /// Returns the paths among the sources.
    pub fn paths(&self) -> impl Iterator<Item = &Word> {
        self.sources.iter().filter_map(|source| match source {
            TransferSource::Path(path) => Some(path),
            TransferSource::Heredoc(_) => None,
        })
    }
}
