//! Parser directives: `# syntax=`, `# escape=`, `# check=` at the very top of a file.

use std::collections::BTreeSet;
use std::sync::Arc;

use rbuild_model::span::{Diagnostic, Source, Span, Spanned};
use rbuild_model::truth::parse_bool;

use super::lexer::trim_line_end;

/// What the top of a file says about how to read it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directives {
    /// The frontend image named by `syntax`, with the rest of the line.
    pub syntax: Option<Spanned<String>>,
    /// The escape character, if one is chosen.
    pub escape: Option<Spanned<char>>,
    /// The configuration of the check rules.
    pub check: Option<Spanned<CheckConfig>>,
}

impl Directives {
    /// Returns the escape character in force.
    pub fn escape(&self) -> char {
        self.escape.as_ref().map_or('\\', |escape| escape.value)
    }
}

/// A choice of check rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RuleSet {
    /// No rule.
    #[default]
    None,
    /// Every rule.
    All,
    /// The rules of these names, in lower case.
    Named(BTreeSet<String>),
}

impl RuleSet {
    fn parse(text: &str) -> Self {
        let names: BTreeSet<String> =
            text.split(',').map(|name| name.trim().to_lowercase()).filter(|name| !name.is_empty()).collect();
        if names.contains("all") {
            Self::All
        } else if names.is_empty() {
            Self::None
        } else {
            Self::Named(names)
        }
    }

    /// Tells whether a rule is chosen; names are compared without case.
    pub fn contains(&self, rule: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Named(names) => names.contains(&rule.to_lowercase()),
        }
    }
}

/// How the check rules are applied: `skip=A,B;error=true;experimental=all`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckConfig {
    /// Rules that are not applied.
    pub skip: RuleSet,
    /// Rules that are applied although they are experimental.
    pub experimental: RuleSet,
    /// Whether a finding fails the build.
    pub error: bool,
}

/// What is wrong with a check configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckConfigError {
    /// An option that does not exist, or a part that is no `key=value`.
    #[error("invalid check option {option:?}")]
    Option {
        /// The text of the part.
        option: String,
    },
    /// `error=` with something else than a boolean.
    #[error("invalid check option {value:?}: `error` takes true or false")]
    Boolean {
        /// The value.
        value: String,
    },
}

impl CheckConfig {
    /// Parses a configuration; text behind the first blank is a remark.
    pub fn parse(text: &str) -> Result<Self, CheckConfigError> {
        let mut config = Self::default();
        let text = text.split_whitespace().next().unwrap_or("");
        for part in text.split(';').filter(|part| !part.trim().is_empty()) {
            let Some((key, value)) = part.split_once('=') else {
                return Err(CheckConfigError::Option { option: part.to_owned() });
            };
            match key.trim() {
                "skip" => config.skip = RuleSet::parse(value),
                "experimental" => config.experimental = RuleSet::parse(value),
                "error" => {
                    config.error = parse_bool(value.trim())
                        .ok_or_else(|| CheckConfigError::Boolean { value: value.to_owned() })?;
                }
                other => return Err(CheckConfigError::Option { option: other.to_owned() }),
            }
        }
        Ok(config)
    }
}

/// Tells whether a `syntax` value names what is built in: an image called `docker/dockerfile…`.
pub(crate) fn is_builtin_syntax(value: &str) -> bool {
    let image = value.split_whitespace().next().unwrap_or("");
    image.strip_prefix("docker.io/").unwrap_or(image).starts_with("docker/dockerfile")
}

/// Reads the directives at the top of a text, which starts at an offset behind a byte order mark, and says where they end.
pub(crate) fn parse(source: &Arc<Source>, start: usize, report: &mut Vec<Diagnostic>) -> (Directives, usize) {
    let mut directives = Directives::default();
    let mut at = start;
    for line in source.text()[start..].split_inclusive('\n') {
        let text = trim_line_end(line);
        let span = Span::new(at, at + text.len());
        let Some((key, value)) = key_value(text) else { break };
        let duplicate = |seen: bool| {
            seen.then(|| {
                Diagnostic::error(source, span, format!("only one {key} parser directive can be used"))
            })
        };
        let doubled = match key.as_str() {
            "syntax" => {
                let doubled = duplicate(directives.syntax.is_some());
                directives.syntax = Some(Spanned::new(value.to_owned(), span));
                doubled
            }
            "escape" => {
                let doubled = duplicate(directives.escape.is_some());
                match value {
                    "\\" | "`" => {
                        directives.escape = value.chars().next().map(|escape| Spanned::new(escape, span));
                    }
                    _ => report.push(
                        Diagnostic::error(
                            source,
                            span,
                            format!("invalid escape token '{value}' does not match ` or \\"),
                        )
                        .with_help("write `# escape=\\` or `# escape=``"),
                    ),
                }
                doubled
            }
            "check" => {
                let doubled = duplicate(directives.check.is_some());
                match CheckConfig::parse(value) {
                    Ok(config) => directives.check = Some(Spanned::new(config, span)),
                    Err(error) => report.push(Diagnostic::error(source, span, error.to_string()).with_help(
                        "the options are skip=RULE,…, error=true and experimental=RULE,…, separated by `;`",
                    )),
                }
                doubled
            }
            _ => break,
        };
        report.extend(doubled);
        at += line.len();
    }
    (directives, at)
}

/// Reads `# key=value`; the key comes back in lower case.
fn key_value(line: &str) -> Option<(String, &str)> {
    let (key, value) = line.trim_start().strip_prefix('#')?.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    let valid = key.starts_with(|ch: char| ch.is_ascii_alphabetic())
        && key.chars().all(|ch| ch.is_ascii_alphanumeric());
    (valid && !value.is_empty()).then(|| (key.to_lowercase(), value))
}
