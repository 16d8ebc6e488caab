//! `FROM`: begins a stage.

use rbuild_model::span::Diagnostic;

use super::{Args, FlagSpec, Heredocs, InstructionKind, InstructionSpec, Word};
use crate::dockerfile::text::Slice;

/// `FROM`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct From {
    /// The image, stage or named context, as written.
    pub image: Word,
    /// `--platform`
    pub platform: Option<Word>,
    /// The `AS` as written.
    pub as_keyword: Option<Word>,
    /// The stage's name as written; stages are known by it in lower case.
    pub name: Option<Word>,
}

pub(super) const SPEC: InstructionSpec = InstructionSpec {
    name: "FROM",
    summary: "begin a stage from an image, a stage, or nothing",
    flags: &[FlagSpec::text("platform")],
    ignores_flags: false,
    leaves_out_mistakes: true,
    heredocs: Heredocs::No,
    parse,
};

fn parse(args: &mut Args<'_>) -> Option<InstructionKind> {
    let words: Vec<Word> = args.rest.fields().iter().map(Slice::word).collect();
    let (image, as_keyword, name) = match words.as_slice() {
        [image] => (image, None, None),
        [image, keyword, name] if keyword.value.eq_ignore_ascii_case("as") => {
            (image, Some(keyword.clone()), Some(name.clone()))
        }
        _ => {
            args.report.push(
                Diagnostic::error(args.source, args.line, "FROM requires either one or three arguments")
                    .with_help("write `FROM image` or `FROM image AS name`"),
            );
            // The stage is there all the same: what stands below it belongs to no other one.
            let image = words.first().cloned().unwrap_or_else(|| Word::new(String::new(), args.line));
            return Some(InstructionKind::From(From { image, platform: None, as_keyword: None, name: None }));
        }
    };
    let mut name = name;
    if let Some(wrong) = name.take_if(|name| !is_stage_name(&name.value.to_lowercase())) {
        args.report.push(
            Diagnostic::error(
                args.source,
                wrong.span,
                format!(
                    "invalid name for build stage: {:?}, name can't start with a number or contain symbols",
                    wrong.value
                ),
            )
            .with_help("a name begins with a letter and holds letters, digits, `-`, `_` and `.`"),
        );
    }
    let from = From { image: image.clone(), platform: args.flags.text("platform"), as_keyword, name };
    Some(InstructionKind::From(from))
}

fn is_stage_name(name: &str) -> bool {
    name.starts_with(|ch: char| ch.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'))
}
