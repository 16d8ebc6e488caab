//! The variables before the first FROM: platform arguments, build arguments, global ARGs; and what is found where one is not set.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rbuild_model::platform::Platform;
use rbuild_model::span::{Diagnostic, Source, Span, nearest};

use super::options::LowerOptions;
use super::outline::{OutlineArg, Recorder, description};
use crate::dockerfile::Dockerfile;
use crate::dockerfile::expand::{self, Environment, Mode};

/// Arguments that steer the build and are never variables.
pub(super) const NOT_VARIABLES: [&str; 2] = ["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// Build arguments that RUN sees without a declaration, in both cases.
pub(super) const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// Tells whether a build argument means something without being declared.
pub(super) fn is_predefined(name: &str) -> bool {
    let platform = ["TARGET", "BUILD"].iter().any(|prefix| {
        name.strip_prefix(prefix).is_some_and(|rest| {
            matches!(rest, "PLATFORM" | "OS" | "ARCH" | "VARIANT" | "OSVERSION" | "STAGE")
        })
    });
    platform
        || name.starts_with("BUILDKIT_")
        || name == "SOURCE_DATE_EPOCH"
        || PROXIES.contains(&name.to_uppercase().as_str())
}

/// The variables that FROM lines see.
#[derive(Clone, Debug, Default)]
pub(super) struct GlobalScope {
    pub(super) values: BTreeMap<String, String>,
    /// The names that ARGs declare, with or without a value.
    pub(super) declared: BTreeSet<String>,
    /// The last declaration of each, with the names that its default refers to.
    pub(super) declarations: BTreeMap<String, (OutlineArg, BTreeSet<String>)>,
}

impl GlobalScope {
    /// Calls for a declared name and for all that its default is made of, each once.
    pub(super) fn used(&self, name: &str, seen: &mut BTreeSet<String>, found: &mut dyn FnMut(&OutlineArg)) {
        let mut work = vec![name.to_owned()];
        while let Some(name) = work.pop() {
            if let Some((arg, parts)) = self.declarations.get(&name)
                && seen.insert(name)
            {
                found(arg);
                work.extend(parts.iter().cloned());
            }
        }
    }
}

impl Environment for GlobalScope {
    fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }
}

/// Returns the variables that describe the platforms and the target.
pub(super) fn predefined(
    options: &LowerOptions,
    platform: &Platform,
    target: &str,
) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for (prefix, platform) in [("TARGET", platform), ("BUILD", &options.build_platform)] {
        for (suffix, value) in [
            ("PLATFORM", platform.to_string()),
            ("OS", platform.os.clone()),
            ("ARCH", platform.architecture.clone()),
            ("VARIANT", platform.variant.clone()),
            ("OSVERSION", String::new()),
        ] {
            values.insert(format!("{prefix}{suffix}"), value);
        }
    }
    values.insert("TARGETSTAGE".to_owned(), target.to_owned());
    values
}

/// Evaluates the ARGs before the first FROM; what is wrong with some of them is returned beside the others.
pub(super) fn global(
    dockerfile: &Dockerfile,
    options: &LowerOptions,
    mut values: BTreeMap<String, String>,
    report_unset: &mut dyn FnMut(Span, &[String], &GlobalScope),
) -> (GlobalScope, Vec<Diagnostic>) {
    let mut errors = Vec::new();
    for (name, value) in &options.build_args {
        if values.contains_key(name) {
            values.insert(name.clone(), value.clone());
        }
    }
    let mut scope = GlobalScope { values, ..GlobalScope::default() };
    let mode = Mode::argument(dockerfile.directives.escape());
    for (instruction, arg) in dockerfile.global_args() {
        for declaration in &arg.declarations {
            let name = &declaration.name.value;
            let mut parts = BTreeSet::new();
            let value = match (options.build_args.get(name), &declaration.default) {
                (Some(given), _) => Some(given.clone()),
                (None, Some(default)) => {
                    let recorder = Recorder::new(&scope);
                    let expanded = expand::expand(&default.value, mode, &recorder);
                    parts = recorder.names();
                    match expanded {
                        Ok(expanded) => {
                            report_unset(default.span, &expanded.unset, &scope);
                            Some(expanded.text)
                        }
                        Err(error) => {
                            let message = expand::failure(&default.value, &error);
                            errors.push(Diagnostic::error(&dockerfile.source, default.span, message));
                            None
                        }
                    }
                }
                (None, None) => None,
            };
            scope.declared.insert(name.clone());
            let known = OutlineArg {
                name: name.clone(),
                description: description(instruction, name),
                value: value.clone(),
                span: instruction.line_span,
                word: declaration.name.span,
            };
            scope.declarations.insert(name.clone(), (known, parts));
            if let Some(value) = value {
                scope.values.insert(name.clone(), value);
            }
        }
    }
    (scope, errors)
}

/// Makes the findings about variables that are used and not set.
pub(super) fn undefined_variables<'n>(
    rule: &'static str,
    source: &Arc<Source>,
    span: Span,
    unset: &[String],
    known: impl IntoIterator<Item = &'n str>,
) -> Vec<Diagnostic> {
    if unset.is_empty() {
        return Vec::new();
    }
    let known: Vec<&str> = known.into_iter().collect();
    unset
        .iter()
        .map(|name| {
            let (what, sign) = match rule {
                "UndefinedArgInFrom" => (format!("FROM argument '{name}' is not declared"), ""),
                _ => (format!("usage of undefined variable '${name}'"), "$"),
            };
            let near = nearest(name, known.iter().copied());
            let hint = near.map(|near| format!(" (did you mean {sign}{near}?)")).unwrap_or_default();
            let message = what + &hint;
            Diagnostic::warning(rule, source, span, message)
        })
        .collect()
}
