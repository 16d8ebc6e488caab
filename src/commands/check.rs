//! `rbuild check` and `rbuild build --call`: what can be said of a Dockerfile without building it.
//!
//! The texts and documents are those of `docker buildx build --call`, so that what reads them can read these.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rbuild_frontend::lint::{RULES, Rule};
use rbuild_frontend::lower::{Outline, OutlineGrant, TargetLine};
use rbuild_model::span::{Diagnostic, Severity, Source, Span, nearest};
use serde_json::{Map, Value, json};

use super::build::{BuildPlan, plan_of};
use super::{Context, Outcome};
use crate::cli::build::{Call, CallForm, Method};
use crate::cli::check::Check;
use crate::report::{self, Findings, Mistake, Status};
use crate::terminal::Colour;
use crate::text;
use crate::wiring::{self, Looked};

pub(super) fn run(arguments: Check, context: &Context) -> Outcome {
    if let Some(name) = &arguments.explain {
        context.terminal.print(&explain(name)?)?;
        return Ok(Status::Done);
    }
    let mut plan = plan_of(arguments.what, &context.settings)?;
    plan.call = Call { form: arguments.format, ..Call::of(Method::Check) };
    call(&plan, context)
}

/// Answers what was asked of a Dockerfile, and tells it.
pub(super) fn call(plan: &BuildPlan, context: &Context) -> Outcome {
    let Answer { said, status, failure } = answer(plan, context)?;
    let text = match said {
        Said::Text(text) => text,
        Said::Document(value) => document(&value),
    };
    context.terminal.print(&text)?;
    failure.map_or(Ok(status), Err)
}

/// What was asked of a Dockerfile.
pub(super) struct Answer {
    pub(super) said: Said,
    pub(super) status: Status,
    /// What kept it from being looked at in full.
    pub(super) failure: Option<anyhow::Error>,
}

/// An answer in its form.
pub(super) enum Said {
    /// For people.
    Text(String),
    /// For programs.
    Document(Value),
}

impl From<Said> for Answer {
    fn from(said: Said) -> Self {
        Self { said, status: Status::Done, failure: None }
    }
}

/// Answers what was asked of a Dockerfile.
pub(super) fn answer(plan: &BuildPlan, context: &Context) -> anyhow::Result<Answer> {
    match plan.call.method {
        Method::Targets => targets(plan),
        Method::Outline => outline(plan, context),
        Method::Check | Method::Build => check(plan, context),
    }
}

/// Says what a rule is about.
fn explain(name: &str) -> anyhow::Result<String> {
    if name.eq_ignore_ascii_case("all") {
        let width = RULES.iter().map(|rule| rule.id.len()).max().unwrap_or(0);
        return Ok(RULES.iter().map(|rule| format!("{:width$}   {}\n", rule.id, rule.summary)).collect());
    }
    let Some(rule) = Rule::named(name) else {
        let near = nearest(name, RULES.iter().map(|rule| rule.id));
        let mistake = Mistake::usage(format!("there is no rule `{name}`"));
        return Err(match near {
            Some(near) => mistake.hint(format!("did you mean `{near}`?")),
            None => mistake.hint("`rbuild check --explain all` lists the rules"),
        }
        .into());
    };
    let mut text = format!("{}: {}\n\n{}\n", rule.id, rule.summary, rule.docs);
    if rule.experimental {
        let _ = writeln!(text, "\nApplied only where it is asked for: # check=experimental={}", rule.id);
    }
    if rule.advisory {
        text.push_str("\nA rule of rbuild's own: it never fails a build.\n");
    }
    let _ = writeln!(text, "\nLeave it out with a comment above the instruction: # check=skip={}", rule.id);
    if let Some(url) = rule.url() {
        let _ = writeln!(text, "More: {url}");
    }
    Ok(text)
}

fn check(plan: &BuildPlan, context: &Context) -> anyhow::Result<Answer> {
    let looked = wiring::check(plan, context)?;
    let said = match plan.call.form {
        CallForm::Text => Said::Text(findings(&looked, context.terminal.out().colour)),
        CallForm::Json => Said::Document(report_of(&looked)),
    };
    // Rules that other builders do not have are told and change nothing.
    let counts = |finding: &Diagnostic| {
        finding.rule.and_then(Rule::named).is_none_or(|rule| !rule.advisory) && !plan.call.ignore_status
    };
    let clean = looked.errors.is_empty() && !looked.findings.warnings.iter().any(counts);
    let status = if clean { Status::Done } else { Status::Failed };
    Ok(Answer { said, status, failure: looked.failure })
}

/// Returns what a check found, for people.
fn findings(looked: &Looked, colour: Colour) -> String {
    let warnings = &looked.findings.warnings;
    let mut text = match warnings.len() {
        0 if looked.errors.is_empty() && looked.failure.is_none() => {
            "Check complete, no warnings found.\n".to_owned()
        }
        0 => String::new(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        count => format!("Check complete, {count} warnings have been found!\n"),
    };
    for warning in warnings {
        let rule = warning.rule.unwrap_or_default();
        let url = Rule::named(rule).and_then(Rule::url).map(|url| format!(" - {url}")).unwrap_or_default();
        let _ = write!(text, "\nWARNING: {rule}{url}\n{}\n", text::escape(&report::sentence(warning)));
        text.push_str(&report::lines(warning, colour));
    }
    for error in &looked.errors {
        let _ = write!(text, "\nERROR: {}\n", text::escape(&error.message));
        text.push_str(&report::lines(error, colour));
        if let Some(help) = &error.help {
            let _ = writeln!(text, "hint: {}", text::escape(help));
        }
    }
    text
}

/// Returns what a check found, for programs.
fn report_of(looked: &Looked) -> Value {
    let warning = |warning: &Diagnostic| {
        let rule = warning.rule.and_then(Rule::named);
        let mut fields = Map::new();
        fields.insert("ruleName".to_owned(), json!(warning.rule.unwrap_or_default()));
        fields.insert("description".to_owned(), json!(rule.map_or("", |rule| rule.summary)));
        if let Some(url) = rule.and_then(Rule::url) {
            fields.insert("url".to_owned(), json!(url));
        }
        fields.insert("detail".to_owned(), json!(report::sentence(warning)));
        fields.extend(place(warning));
        Value::Object(fields)
    };
    let warnings: Vec<Value> = looked.findings.warnings.iter().map(warning).collect();
    let source = &looked.source;
    let mut fields = Map::new();
    // Other builders say `null` for none.
    let warnings = if warnings.is_empty() { Value::Null } else { json!(warnings) };
    fields.insert("warnings".to_owned(), warnings);
    let data = STANDARD.encode(source.text());
    let sources = json!([{ "filename": source.name(), "data": data, "language": "Dockerfile" }]);
    fields.insert("sources".to_owned(), sources);
    let failure = looked.failure.as_ref().map(report::chain);
    let messages: Vec<&str> = looked.errors.iter().map(|error| error.message.as_str()).collect();
    let message = failure.or_else(|| (!messages.is_empty()).then(|| messages.join("; ")));
    if let Some(message) = message {
        let mut error = Map::from_iter([("message".to_owned(), json!(message))]);
        error.extend(looked.errors.first().and_then(place));
        fields.insert("buildError".to_owned(), Value::Object(error));
    }
    Value::Object(fields)
}

fn place(finding: &Diagnostic) -> Option<(String, Value)> {
    let location = finding.location()?;
    Some(("location".to_owned(), ranges(&location.source, location.span)))
}

fn ranges(source: &Source, span: Span) -> Value {
    let first = source.position(span.start).line;
    let last = source.position(span.end.saturating_sub(1).max(span.start)).line;
    json!({ "ranges": [{ "start": { "line": first }, "end": { "line": last } }] })
}

/// Writes an answer for programs.
pub(super) fn document(value: &Value) -> String {
    format!("{value:#}\n")
}

fn targets(plan: &BuildPlan) -> anyhow::Result<Answer> {
    let source = wiring::source(plan)?;
    let parsed = rbuild_frontend::dockerfile::parse(&source);
    if parsed.has_errors() {
        let errors = parsed.diagnostics.into_iter().filter(|finding| finding.severity == Severity::Error);
        let told = rbuild_frontend::errors::told(errors.collect(), parsed.more_errors);
        return Err(Findings(told).into());
    }
    let targets = rbuild_frontend::lower::targets(&parsed.dockerfile);
    let said = match plan.call.form {
        CallForm::Text => Said::Text(target_table(&targets)),
        CallForm::Json => {
            let rows: Vec<Value> = targets.iter().map(|target| target_document(target, &source)).collect();
            Said::Document(json!({ "targets": rows, "sources": [STANDARD.encode(source.text())] }))
        }
    };
    Ok(said.into())
}

fn target_table(targets: &[TargetLine]) -> String {
    let mut rows = vec![["TARGET".to_owned(), "DESCRIPTION".to_owned()]];
    for target in targets {
        let name = target.name.clone().unwrap_or_default();
        let name = match (name.is_empty(), target.default) {
            (true, true) => "(default)".to_owned(),
            (false, true) => format!("{name} (default)"),
            (_, false) => name,
        };
        rows.push([name, target.description.clone().unwrap_or_default()]);
    }
    columns(&rows, 1)
}

fn target_document(target: &TargetLine, source: &Source) -> Value {
    let mut fields = Map::new();
    fields.extend(target.name.as_ref().map(|name| ("name".to_owned(), json!(name))));
    if target.default {
        fields.insert("default".to_owned(), json!(true));
    }
    fields.extend(target.description.as_ref().map(|text| ("description".to_owned(), json!(text))));
    fields.insert("base".to_owned(), json!(target.base));
    fields.extend(target.platform.as_ref().map(|platform| ("platform".to_owned(), json!(platform))));
    fields.insert("location".to_owned(), ranges(source, target.span));
    Value::Object(fields)
}

fn outline(plan: &BuildPlan, context: &Context) -> anyhow::Result<Answer> {
    let looked = wiring::check(plan, context)?;
    if let Some(failure) = looked.failure {
        return Err(failure);
    }
    let Some(lowered) = &looked.lowered else {
        return Err(Findings(looked.errors).into());
    };
    let said = match plan.call.form {
        CallForm::Text => Said::Text(outline_text(&lowered.outline)),
        CallForm::Json => Said::Document(outline_document(&lowered.outline, &looked.source)),
    };
    Ok(said.into())
}

fn outline_text(outline: &Outline) -> String {
    let mut text = String::new();
    if outline.name.is_some() || outline.description.is_some() {
        let mut rows = Vec::new();
        rows.extend(outline.name.iter().map(|name| ["TARGET:".to_owned(), name.clone()]));
        rows.extend(outline.description.iter().map(|text| ["DESCRIPTION:".to_owned(), text.clone()]));
        text.push_str(&columns(&rows, 1));
        text.push('\n');
    }
    if !outline.args.is_empty() {
        let mut rows = vec![["BUILD ARG", "VALUE", "DESCRIPTION"].map(str::to_owned)];
        rows.extend(outline.args.iter().map(|arg| {
            [
                arg.name.clone(),
                arg.value.clone().unwrap_or_default(),
                arg.description.clone().unwrap_or_default(),
            ]
        }));
        text.push_str(&columns(&rows, 3));
        text.push('\n');
    }
    for (title, grants) in [("SECRET", &outline.secrets), ("SSH", &outline.ssh)] {
        if !grants.is_empty() {
            let mut rows = vec![[title, "REQUIRED"].map(str::to_owned)];
            let required = |grant: &OutlineGrant| if grant.required { "true" } else { "" }.to_owned();
            rows.extend(grants.iter().map(|grant| [grant.name.clone(), required(grant)]));
            text.push_str(&columns(&rows, 3));
            text.push('\n');
        }
    }
    text
}

fn outline_document(outline: &Outline, source: &Source) -> Value {
    let mut fields = Map::new();
    fields.extend(outline.name.as_ref().map(|name| ("name".to_owned(), json!(name))));
    fields.extend(outline.description.as_ref().map(|text| ("description".to_owned(), json!(text))));
    let args = outline.args.iter().map(|arg| {
        let mut fields = Map::from_iter([("name".to_owned(), json!(arg.name))]);
        fields.extend(arg.description.as_ref().map(|text| ("description".to_owned(), json!(text))));
        let value = arg.value.as_ref().filter(|value| !value.is_empty());
        fields.extend(value.map(|value| ("value".to_owned(), json!(value))));
        fields.insert("location".to_owned(), ranges(source, arg.span));
        Value::Object(fields)
    });
    let args: Vec<Value> = args.collect();
    if !args.is_empty() {
        fields.insert("args".to_owned(), json!(args));
    }
    for (key, grants) in [("secrets", &outline.secrets), ("ssh", &outline.ssh)] {
        let grants: Vec<Value> = grants.iter().map(|grant| grant_document(grant, source)).collect();
        if !grants.is_empty() {
            fields.insert(key.to_owned(), json!(grants));
        }
    }
    fields.insert("sources".to_owned(), json!([STANDARD.encode(source.text())]));
    Value::Object(fields)
}

fn grant_document(grant: &OutlineGrant, source: &Source) -> Value {
    let mut fields = Map::from_iter([("name".to_owned(), json!(grant.name))]);
    if grant.required {
        fields.insert("required".to_owned(), json!(true));
    }
    fields.insert("location".to_owned(), ranges(source, grant.span));
    Value::Object(fields)
}

/// Aligns rows: every cell but the last is as wide as the widest of its column and the padding.
fn columns<const N: usize>(rows: &[[String; N]], padding: usize) -> String {
    let width = |column: usize| {
        rows.iter().map(|row| console::measure_text_width(&row[column])).max().unwrap_or(0) + padding
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let cell = text::one_line(cell);
            let pad = if column + 1 < N {
                widths[column].saturating_sub(console::measure_text_width(&cell))
            } else {
                0
            };
            let _ = write!(text, "{cell}{:pad$}", "");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_explained() {
        for rule in RULES {
            let text = explain(rule.id).unwrap();
            assert!(text.starts_with(rule.id) && text.contains(rule.docs), "{text}");
        }
        assert_eq!(explain("all").unwrap().lines().count(), RULES.len());
        assert!(format!("{:?}", explain("StageNameCasings").unwrap_err()).contains("StageNameCasing"));
    }

    #[test]
    fn tables_are_aligned_as_other_builders_align_them() {
        let target = |name: &str, description: Option<&str>, default| TargetLine {
            name: (!name.is_empty()).then(|| name.to_owned()),
            description: description.map(str::to_owned),
            base: "x".to_owned(),
            platform: None,
            default,
            span: Span::default(),
        };
        let text = target_table(&[target("base", Some("is the base"), false), target("final", None, true)]);
        assert_eq!(text, "TARGET          DESCRIPTION\nbase            is the base\nfinal (default) \n");
        assert_eq!(target_table(&[target("", None, true)]), "TARGET    DESCRIPTION\n(default) \n");
    }
}
