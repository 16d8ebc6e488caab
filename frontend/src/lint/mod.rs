//! Checks: what is allowed in a Dockerfile and still a mistake, or will be one.
//!
//! A rule is a value in [`RULES`], in a file of its own. Rules about the text look at the instructions alone;
//! the findings of the others come up while the file is lowered, where variables have values and bases are known.
//! [`Checks`] says which rules are applied: by the file's `check` directive, by a build argument that replaces it, and by
//! comments directly above an instruction (`# check=skip=RULE`).

mod rules;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use rbuild_model::span::Diagnostic;

use crate::dockerfile::Dockerfile;
use crate::dockerfile::directive::{CheckConfig, CheckConfigError};

pub use rules::{RULES, is_secret};

/// A rule.
pub struct Rule {
    /// The name that findings carry, and that configurations use.
    pub id: &'static str,
    /// What is wrong with what it finds, in one line. Rules that other builders know have the line that these print: tools
    /// compare it.
    pub summary: &'static str,
    /// Why that is so, and what to write instead.
    pub docs: &'static str,
    /// Whether it is applied only if asked for.
    pub experimental: bool,
    /// Whether its findings never fail a build: rules that other builders do not know.
    pub advisory: bool,
    pub(crate) check: Check,
}

/// Where BuildKit's rules are described.
const PAGES: &str = "https://docs.docker.com/go/dockerfile/rule/";

impl Rule {
    /// Finds a rule by its name, in any case.
    pub fn named(name: &str) -> Option<&'static Self> {
        RULES.iter().find(|rule| rule.id.eq_ignore_ascii_case(name))
    }

    /// Returns the page that describes the rule, where it is one that other builders know and describe.
    pub fn url(&self) -> Option<String> {
        (!self.advisory && self.id != "InvalidBaseImagePlatform")
            .then(|| format!("{PAGES}{}/", kebab(self.id)))
    }
}

/// Writes `JSONArgsRecommended` as `json-args-recommended`.
fn kebab(id: &str) -> String {
    let letters: Vec<char> = id.chars().collect();
    let mut text = String::with_capacity(id.len() + 4);
    for (at, letter) in letters.iter().enumerate() {
        let begins = letter.is_ascii_uppercase()
            && (letters.get(at.wrapping_sub(1)).is_some_and(char::is_ascii_lowercase)
                || letters.get(at + 1).is_some_and(char::is_ascii_lowercase));
        if at > 0 && begins {
            text.push('-');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}

/// Where the findings of a rule come from.
pub(crate) enum Check {
    /// From the text alone.
    Text(fn(&Dockerfile, &mut Report<'_>)),
    /// From lowering.
    Lowering,
}

/// Collects the findings of one rule.
pub(crate) struct Report<'a> {
    rule: &'static str,
    dockerfile: &'a Dockerfile,
    findings: &'a mut Vec<Diagnostic>,
}

impl Report<'_> {
    pub(crate) fn find(&mut self, span: rbuild_model::span::Span, message: impl Into<String>) {
        self.findings.push(Diagnostic::warning(self.rule, &self.dockerfile.source, span, message));
    }

    pub(crate) fn find_with_help(
        &mut self,
        span: rbuild_model::span::Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let finding = Diagnostic::warning(self.rule, &self.dockerfile.source, span, message);
        self.findings.push(finding.with_help(help));
    }
}

/// Which rules are applied to a file.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    config: CheckConfig,
}

/// What the rules found.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// The findings, in the order of the text.
    pub warnings: Vec<Diagnostic>,
    /// The rules whose findings fail the build, by name; empty unless the configuration says `error=true`.
    pub violated: Vec<&'static str>,
}

impl Findings {
    /// Returns the error of a build that findings fail.
    pub fn error(&self) -> Option<String> {
        (!self.violated.is_empty())
            .then(|| format!("lint violation found for rules: {}", self.violated.join(", ")))
    }
}

impl Checks {
    /// Takes the configuration of a build argument (`BUILDKIT_DOCKERFILE_CHECK`) if there is one, else the file's.
    pub fn new(dockerfile: &Dockerfile, build_arg: Option<&str>) -> Result<Self, CheckConfigError> {
        let config = match build_arg {
            Some(text) => CheckConfig::parse(text)?,
            None => dockerfile.directives.check.as_ref().map(|check| check.value.clone()).unwrap_or_default(),
        };
        Ok(Self { config })
    }

    /// Applies the rules about the text, adds what lowering found, and drops what is not to be reported.
    pub fn apply(&self, dockerfile: &Dockerfile, lowering: &[Diagnostic]) -> Findings {
        let mut warnings = lowering.to_vec();
        for rule in RULES {
            if let Check::Text(check) = rule.check {
                check(dockerfile, &mut Report { rule: rule.id, dockerfile, findings: &mut warnings });
            }
        }
        let exceptions = exceptions(dockerfile);
        warnings.retain(|finding| finding.rule.is_none_or(|rule| self.reports(rule, finding, &exceptions)));
        warnings.sort_by_key(|finding| finding.labels.first().map_or(0, |label| label.span.start));
        let fails = |rule: &&'static str| !RULES.iter().any(|known| known.id == *rule && known.advisory);
        let violated: BTreeSet<&'static str> = match self.config.error {
            true => warnings.iter().filter_map(|finding| finding.rule).filter(fails).collect(),
            false => BTreeSet::new(),
        };
        Findings { warnings, violated: violated.into_iter().collect() }
    }

    /// Does the same beside errors, which fail the build already.
    pub fn beside_errors(&self, dockerfile: &Dockerfile, lowering: &[Diagnostic]) -> Findings {
        Findings { violated: Vec::new(), ..self.apply(dockerfile, lowering) }
    }

    fn reports(
        &self,
        rule: &str,
        finding: &Diagnostic,
        exceptions: &[(std::ops::Range<usize>, CheckConfig)],
    ) -> bool {
        let experimental = RULES.iter().any(|known| known.id == rule && known.experimental);
        let at = finding.labels.first().map_or(0, |label| label.span.start);
        let here = || exceptions.iter().filter(|(range, _)| range.contains(&at)).map(|(_, config)| config);
        // A rule that has to be asked for is not skipped with the others.
        if experimental {
            return self.config.experimental.contains(rule)
                || here().any(|config| config.experimental.contains(rule));
        }
        !self.config.skip.contains(rule) && !here().any(|config| config.skip.contains(rule))
    }
}

/// Reads the `# check=…` comments directly above instructions.
fn exceptions(dockerfile: &Dockerfile) -> Vec<(std::ops::Range<usize>, CheckConfig)> {
    let mut found = Vec::new();
    for instruction in &dockerfile.instructions {
        for comment in &instruction.comments {
            let Some(text) = comment.value.strip_prefix("check=") else { continue };
            // What does not read as a configuration is a comment like any other.
            if let Ok(config) = CheckConfig::parse(text) {
                found.push((instruction.span.range(), config));
            }
        }
    }
    found
}
