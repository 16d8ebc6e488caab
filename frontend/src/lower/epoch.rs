//! `SOURCE_DATE_EPOCH`: Unix seconds, or the name of something that has a time.
//!
//! Names are `context` (the main context), a named context, and a stage that only stands for one remote source: `FROM scratch`,
//! ARGs, and one ADD from a repository or a server. The time is that of the commit, that of the file, or that of the newest file of
//! an archive. What has none (a folder, an image) leaves the epoch unset.

use rbuild_model::span::{Diagnostic, Location, Span};
use rbuild_model::step::Source;

use super::options::{Answer, Answers, Asked, LowerOptions, Question};
use super::scope::{self, GlobalScope};
use super::{exec, remote};
use crate::dockerfile::Dockerfile;
use crate::dockerfile::expand::{self, Mode};
use crate::dockerfile::instruction::add::Add;
use crate::dockerfile::instruction::{InstructionKind, Word};
use crate::dockerfile::stage::Stage;

/// The build argument.
pub(super) const NAME: &str = "SOURCE_DATE_EPOCH";

/// What the build argument came to.
pub(super) enum Settled {
    /// What was written stands: a number, nothing, or what is no name of anything.
    AsWritten,
    /// These options have the time in the place of the name.
    Replaced(Box<LowerOptions>),
    /// This has to be known first.
    Needs(Box<Asked>),
}

/// Looks up what the epoch names, if it names something.
pub(super) fn settle(
    dockerfile: &Dockerfile,
    options: &LowerOptions,
    answers: &Answers,
) -> Result<Settled, Box<Diagnostic>> {
    let Some(platform) = options.platforms.first() else { return Ok(Settled::AsWritten) };
    // What is wrong with the global ARGs is told where they are planned with.
    let predefined = scope::predefined(options, platform, "");
    let (mut scope, errors) = scope::global(dockerfile, options, predefined, &mut |_, _, _| {});
    if !errors.is_empty() {
        return Ok(Settled::AsWritten);
    }
    let given = options.build_args.get(NAME).or_else(|| scope.values.get(NAME)).cloned();
    let Some(name) = given.filter(|text| !text.is_empty() && text.parse::<i64>().is_err()) else {
        return Ok(Settled::AsWritten);
    };
    let place = place(dockerfile);
    let ask = |question: Question| {
        let location = Location { source: std::sync::Arc::clone(&dockerfile.source), span: place };
        Ok(Settled::Needs(Box::new(Asked { question, location, near: None })))
    };
    let source = if name == "context" {
        match options.context_time {
            Some(time) => return Ok(replaced(options, Some(time))),
            None => Some(options.context.clone()),
        }
    } else if let Some(context) = options.named_context(&name, platform) {
        let question = Question::Context { name: context.to_owned(), platform: platform.clone() };
        match answers.get(&question) {
            None => return ask(question),
            Some(Answer::Tree(source)) => Some(source.clone()),
            Some(_) => None,
        }
    } else {
        let stages = dockerfile.stages();
        match stages.iter().find(|stage| stage.name().is_some_and(|known| known.eq_ignore_ascii_case(&name)))
        {
            None => return Ok(Settled::AsWritten),
            Some(stage) => {
                scope.values.remove(NAME);
                Some(only_source(dockerfile, options, stage, scope)?)
            }
        }
    };
    match source {
        Some(source @ (Source::Git(_) | Source::Http(_))) => {
            let question = Question::Time { source };
            match answers.get(&question) {
                None => ask(question),
                Some(Answer::Time(time)) => Ok(replaced(options, *time)),
                Some(_) => Ok(replaced(options, None)),
            }
        }
        _ => Ok(replaced(options, None)),
    }
}

/// The place of the declaration, for what is wrong with the value.
pub(super) fn place(dockerfile: &Dockerfile) -> Span {
    dockerfile
        .global_args()
        .flat_map(|(_, arg)| &arg.declarations)
        .find(|declaration| declaration.name.value == NAME)
        .map_or(Span::default(), |declaration| declaration.name.span)
}

fn replaced(options: &LowerOptions, time: Option<i64>) -> Settled {
    Settled::Replaced(Box::new(with_time(options, time)))
}

/// Returns the options with a time in the place of the name, or with none.
pub(super) fn with_time(options: &LowerOptions, time: Option<i64>) -> LowerOptions {
    let mut options = options.clone();
    options.build_args.insert(NAME.to_owned(), time.map_or_else(String::new, |time| time.to_string()));
    options
}

/// The source that a stage consists of.
fn only_source(
    dockerfile: &Dockerfile,
    options: &LowerOptions,
    stage: &Stage<'_>,
    mut scope: GlobalScope,
) -> Result<Source, Box<Diagnostic>> {
    let wrong = |span: Span, message: &str| {
        let error = Diagnostic::error(&dockerfile.source, span, format!("{NAME} stage {message}"));
        Box::new(
            error.with_help("such a stage is `FROM scratch`, ARGs, and one ADD of a URL or a repository"),
        )
    };
    let mode = Mode::argument(dockerfile.directives.escape());
    let text = |word: &Word, scope: &GlobalScope| {
        expand::expand(&word.value, mode, scope)
            .map(|expanded| expanded.text)
            .map_err(|error| wrong(word.span, &format!("cannot be read: {error}")))
    };
    if text(&stage.from.image, &scope)? != "scratch" {
        return Err(wrong(stage.from.image.span, "must use FROM scratch"));
    }
    let mut found = None;
    for instruction in stage.body {
        match &instruction.kind {
            InstructionKind::Arg(arg) => {
                for declaration in &arg.declarations {
                    let name = &declaration.name.value;
                    let value = match (options.build_args.get(name), &declaration.default) {
                        (Some(given), _) => given.clone(),
                        (None, Some(default)) => text(default, &scope)?,
                        (None, None) => continue,
                    };
                    scope.values.insert(name.clone(), value);
                }
            }
            InstructionKind::Add(add) if found.is_none() => {
                found = Some(remote_source(add, instruction.span, &|word| text(word, &scope), &wrong)?);
            }
            InstructionKind::Add(_) => {
                return Err(wrong(instruction.span, "must contain exactly one remote ADD"));
            }
            _ => return Err(wrong(instruction.span, "may hold nothing but ARGs and one ADD")),
        }
    }
    found.ok_or_else(|| wrong(stage.head.span, "must contain exactly one remote ADD"))
}

fn remote_source(
    add: &Add,
    span: Span,
    text: &dyn Fn(&Word) -> Result<String, Box<Diagnostic>>,
    wrong: &dyn Fn(Span, &str) -> Box<Diagnostic>,
) -> Result<Source, Box<Diagnostic>> {
    let mut paths = add.transfer.paths();
    let (Some(word), None, 1) = (paths.next(), paths.next(), add.transfer.sources.len()) else {
        return Err(wrong(span, "must contain exactly one remote ADD source"));
    };
    let place = text(word)?;
    let checksum = add.checksum.as_ref().map(text).transpose()?.filter(|sum| !sum.is_empty());
    if !exec::is_remote(&place) {
        return Err(wrong(word.span, "must ADD from a URL or a repository"));
    }
    if remote::is_git_url(&place) {
        let mut git = remote::parse_git_url(&place)
            .map_err(|error| wrong(word.span, &format!("cannot be read: {error}")))?;
        git.checksum = checksum.or(git.checksum);
        return Ok(Source::Git(git));
    }
    let mut file = remote::http_source(&place);
    if let Some(checksum) = checksum {
        let digest = checksum.parse();
        file.checksum = Some(digest.map_err(|error| wrong(word.span, &format!("cannot be read: {error}")))?);
    }
    Ok(Source::Http(file))
}
