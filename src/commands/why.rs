//! `rbuild why`: what made the steps of the last build run.

use std::fmt::Write as _;

use rbuild_cache::records::builds::{Build, BuildResult};
use rbuild_cache::why::fields::Value as FieldValue;
use rbuild_cache::why::{Difference, Explained, FileChange, Miss, Origin, Reason};
use rbuild_model::event::Hit;
use serde_json::{Value, json};

use super::{Context, Outcome};
use crate::cli::why::Why;
use crate::human;
use crate::report::{Findings, Mistake, Status};
use crate::template::{self, Column};
use crate::text::one_line;
use crate::wiring::Home;

/// How many files of one step are listed; `--format json` lists all.
const LISTED: usize = 10;
/// How much of a value is shown.
const SHOWN: usize = 60;

const COLUMNS: &[Column] = &[
    Column { field: "Step", title: "STEP" },
    Column { field: "Status", title: "STATUS" },
    Column { field: "Why", title: "WHY" },
];
const STANDARD: &str = "{{.Step}}\t{{.Status}}\t{{.Why}}";

pub(super) fn run(arguments: &Why, context: &Context) -> Outcome {
    let home = Home::open(&context.settings, "rbuild why")?;
    let Subject { builds, steps, name } = subject(arguments, &home)?;
    if arguments.last && !steps.is_empty() {
        return Err(Mistake::usage("`--last` cannot be used with steps").into());
    }
    let records = home.records();
    let Some(last) = builds.first() else { return Err(nothing(&name, &records.projects()?).into()) };
    let explained = records.why(last, &builds)?;
    let named: Vec<&Explained> = explained.iter().filter(|step| !step.line.note.is_empty()).collect();
    let chosen = chosen(steps, arguments.last, &named)?;
    let text = match arguments.format.as_deref() {
        Some(format) => {
            let rows: Vec<Value> = chosen.iter().map(|step| document(step)).collect();
            template::list(Some(format), STANDARD, COLUMNS, &rows).map_err(Findings::from)?
        }
        None => plain(last, &named, &chosen),
    };
    context.terminal.print(&text)?;
    Ok(Status::Done)
}

/// What is asked about.
struct Subject<'a> {
    /// Its builds, the latest first.
    builds: Vec<Build>,
    /// The steps.
    steps: &'a [String],
    /// What it was called.
    name: String,
}

/// Finds out what is asked about: what the flag names, else what the first word names, else the folder here.
fn subject<'a>(arguments: &'a Why, home: &Home) -> anyhow::Result<Subject<'a>> {
    let (words, here) = (&arguments.words[..], ".".to_owned());
    if let Some(name) = &arguments.context {
        return Ok(Subject { builds: builds_of(name, home)?, steps: words, name: name.clone() });
    }
    if let Some((name, steps)) = words.split_first() {
        let builds = builds_of(name, home)?;
        if !builds.is_empty() {
            return Ok(Subject { builds, steps, name: name.clone() });
        }
    }
    Ok(Subject { builds: builds_of(&here, home)?, steps: words, name: here })
}

/// Finds the builds of a folder, of an address as it was given, or those that an image came from.
fn builds_of(name: &str, home: &Home) -> anyhow::Result<Vec<Build>> {
    let records = home.records();
    let folder = std::path::absolute(name).ok();
    let folder = folder.as_ref().and_then(|folder| folder.components().as_path().to_str());
    for project in [folder, Some(name)].into_iter().flatten() {
        let builds = records.builds(project)?;
        if !builds.is_empty() {
            return Ok(builds);
        }
    }
    let Ok(reference) = name.parse() else { return Ok(Vec::new()) };
    let Some(image) = home.images.find_reference(&reference)? else { return Ok(Vec::new()) };
    let project = home.images.top(image)?.map(|top| records.project_of(top)).transpose()?.flatten();
    Ok(project.map(|project| records.builds(&project)).transpose()?.unwrap_or_default())
}

fn nothing(name: &str, known: &[String]) -> Mistake {
    let name = if name == "." { "this folder" } else { name };
    Mistake::new(format!("no build of {name} is remembered")).hint(match known {
        [] => "nothing was built with this store yet".to_owned(),
        known => format!("`rbuild why FOLDER` knows of: {}", known.join(", ")),
    })
}

/// Returns the steps that are asked about.
fn chosen<'a>(steps: &[String], all: bool, named: &[&'a Explained]) -> anyhow::Result<Vec<&'a Explained>> {
    if all && steps.is_empty() {
        return Ok(named.to_vec());
    }
    if steps.is_empty() {
        let ran =
            |step: &&&Explained| matches!(step.line.origin, Some(Origin::Ran(miss)) if miss != Miss::Source);
        return Ok(named.iter().filter(ran).copied().collect());
    }
    let mut chosen = Vec::new();
    for wanted in steps {
        let fits: Vec<&Explained> =
            named.iter().copied().filter(|step| is_meant(&step.line.note, wanted)).collect();
        if fits.is_empty() {
            let steps: Vec<String> = named.iter().map(|step| one_line(&step.line.note)).collect();
            let what = format!("the last build has no step like `{}`", one_line(wanted));
            return Err(Mistake::new(what).hint(format!("its steps are: {}", steps.join("; "))).into());
        }
        chosen.extend(fits);
    }
    Ok(chosen)
}

/// Whether somebody who says `wanted` means a step: by the place before its text, or by a part of it.
fn is_meant(note: &str, wanted: &str) -> bool {
    let place = note.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or("", |(place, _)| place);
    let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    let (note, place, wanted) = (squeezed(note), squeezed(place), squeezed(wanted.trim_matches(['[', ']'])));
    if wanted.contains('/') && wanted.chars().all(|c| c.is_ascii_digit() || c == '/') {
        return place == wanted || place.ends_with(&format!(" {wanted}"));
    }
    !wanted.is_empty() && (place == wanted || note.contains(&wanted))
}

/// What became of a step, in a word.
fn status(step: &Explained) -> &'static str {
    match step.line.origin {
        Some(Origin::Found(_)) => "cached",
        Some(Origin::Ran(_)) if step.line.record.is_some() => "ran",
        Some(Origin::Ran(Miss::Source)) => "fetched",
        Some(Origin::Ran(_)) => "failed",
        None => "not reached",
    }
}

fn plain(build: &Build, named: &[&Explained], chosen: &[&Explained]) -> String {
    let mut text = String::new();
    for step in chosen {
        let took = step.took.filter(|_| status(step) == "ran").map(human::seconds).unwrap_or_default();
        let _ = writeln!(text, "{}: {} {took}", one_line(&step.line.note), status(step));
        text.truncate(text.trim_end().len());
        text.push('\n');
        for line in sentences(step) {
            let _ = writeln!(text, "  {line}");
        }
    }
    let count = |wanted: &str| named.iter().filter(|step| status(step) == wanted).count();
    let how = match build.result {
        BuildResult::Succeeded => "",
        BuildResult::Failed => ", and the build failed",
        BuildResult::Cancelled => ", and the build was stopped",
    };
    let ran = count("ran");
    let steps = if ran == 1 { "step" } else { "steps" };
    let cached = count("cached");
    let were = if cached == 1 { "was" } else { "were" };
    let _ = writeln!(text, "{ran} {steps} ran, {cached} {were} cached{how}");
    text
}

/// Says why, in one line a reason.
fn sentences(step: &Explained) -> Vec<String> {
    match step.line.origin {
        Some(Origin::Found(Hit::Definition)) => return vec!["it was done before, exactly so".to_owned()],
        Some(Origin::Found(Hit::Content)) => {
            return vec!["it was done before with the same files".to_owned()];
        }
        Some(Origin::Found(Hit::InFlight)) => return vec!["an equal step ran at the same time".to_owned()],
        _ => {}
    }
    let files = step.reasons.iter().filter(|reason| matches!(reason, Reason::File(_))).count();
    let mut lines = Vec::new();
    let mut listed = 0;
    for reason in &step.reasons {
        if matches!(reason, Reason::File(_)) {
            listed += 1;
            if listed > LISTED {
                continue;
            }
        }
        lines.push(sentence(reason));
    }
    if files > LISTED {
        lines.push(format!("and {} files more", files - LISTED));
    }
    lines
}

fn sentence(reason: &Reason) -> String {
    match reason {
        Reason::Ignored => "earlier results were to be ignored".to_owned(),
        Reason::TreeGone => "its result is known, but its files were removed".to_owned(),
        Reason::Source => "it is looked at in each build".to_owned(),
        Reason::New => "no earlier build has this step".to_owned(),
        Reason::NothingBefore => "it has the result of before, or nothing to compare with is kept".to_owned(),
        Reason::NoResult => "it came to no result, and nothing is known of its key".to_owned(),
        Reason::Unknown => "what its key is made of is not kept".to_owned(),
        Reason::Text { before } => format!("it was written `{}`", shortened(before)),
        Reason::Field(difference) => difference_of(difference),
        Reason::File(file) => {
            let path = one_line(&file.path);
            match &file.change {
                FileChange::Added => format!("{path} is new"),
                FileChange::Removed => format!("{path} is gone"),
                FileChange::Bytes { before, after } if before == after => format!("{path} changed"),
                FileChange::Bytes { before, after } => {
                    format!("{path} changed ({} -> {})", human::size(*before), human::size(*after))
                }
                FileChange::Kind => format!("{path} is something else now"),
                FileChange::Target => format!("{path} leads elsewhere"),
                FileChange::Mode { before, after } => {
                    format!("{path} has another mode ({before:04o} -> {after:04o})")
                }
                FileChange::Owner { before, after } => format!(
                    "{path} has another owner ({}:{} -> {}:{})",
                    before.uid, before.gid, after.uid, after.gid
                ),
                FileChange::Capability => format!("{path} has other capabilities"),
                FileChange::Links => format!("{path} has other hard links"),
                FileChange::Unknown => format!("files in {path} changed"),
            }
        }
        Reason::Files { path } => {
            format!("files in {} changed; which ones is not kept", one_line(path))
        }
        Reason::Input { step: Some(step) } => format!("the result of `{}` is another", one_line(step)),
        Reason::Input { step: None } => "what it stands on is another".to_owned(),
        Reason::Same => "nothing differs: the earlier result was not kept".to_owned(),
    }
}

/// The name of a field as people know it, and whether its value may be shown.
fn field(difference: &Difference) -> (String, bool) {
    let path: Vec<&str> = difference.field.iter().map(String::as_str).collect();
    match path[..] {
        ["operation", "env", name, ..] => {
            (format!("variable {}", one_line(name)), !rbuild_frontend::lint::is_secret(name))
        }
        ["operation", "argv", ..] => ("the command".to_owned(), true),
        ["operation", "actions", ref rest @ ..] => (rest.join(" "), true),
        ["operation", ref rest @ ..] => (rest.join(" "), true),
        ref all => (all.join(" "), true),
    }
}

fn difference_of(difference: &Difference) -> String {
    let (field, open) = field(difference);
    let value = |value: &FieldValue| match value {
        FieldValue::Text(text) if open => Some(format!("`{}`", shortened(text))),
        FieldValue::Text(_) | FieldValue::Forgotten | FieldValue::Guarded(_) => None,
        FieldValue::Absent => Some("nothing".to_owned()),
    };
    match (&difference.before, &difference.after, value(&difference.before), value(&difference.after)) {
        (FieldValue::Absent, _, _, Some(after)) => format!("{field} is new: {after}"),
        (FieldValue::Absent, ..) => format!("{field} is new"),
        (_, FieldValue::Absent, ..) => format!("{field} is gone"),
        (_, _, Some(before), Some(after)) => format!("{field}: {before} -> {after}"),
        _ => format!("{field} has another value"),
    }
}

fn shortened(text: &str) -> String {
    let text = one_line(text);
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn document(step: &Explained) -> Value {
    let reasons: Vec<Value> = step.reasons.iter().map(reason_document).collect();
    let (place, text) = match step.line.note.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((place, text)) => (place, text),
        None => ("", &*step.line.note),
    };
    json!({
        "Step": step.line.note,
        "Place": place,
        "Text": text,
        "Stage": step.line.stage,
        "Status": status(step),
        "Took": step.took.map(|took| took.as_secs_f64()),
        "Why": sentences(step).join("; "),
        "Reasons": reasons,
    })
}

fn reason_document(reason: &Reason) -> Value {
    let kind = match reason {
        Reason::Ignored => "ignored",
        Reason::TreeGone => "tree-gone",
        Reason::Source => "source",
        Reason::New => "new",
        Reason::NothingBefore => "nothing-before",
        Reason::NoResult => "no-result",
        Reason::Unknown => "unknown",
        Reason::Text { .. } => "text",
        Reason::Field(_) => "field",
        Reason::File(_) => "file",
        Reason::Files { .. } => "files",
        Reason::Input { .. } => "input",
        Reason::Same => "same",
    };
    let mut document = json!({ "Kind": kind, "Says": sentence(reason) });
    match reason {
        Reason::Text { before } => document["Before"] = json!(before),
        Reason::Field(difference) => {
            let (_, open) = field(difference);
            let value = |value: &FieldValue| match value {
                FieldValue::Text(text) if open => json!(text),
                _ => Value::Null,
            };
            document["Field"] = json!(difference.field);
            document["Before"] = value(&difference.before);
            document["After"] = value(&difference.after);
        }
        Reason::File(file) => document["Path"] = json!(file.path),
        Reason::Files { path } => document["Path"] = json!(path),
        Reason::Input { step } => document["Step"] = json!(step),
        _ => {}
    }
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_meant_by_its_place_or_a_part_of_its_text() {
        let note = "[build 2/4] COPY  . .";
        for wanted in ["2/4", "[build 2/4]", "build 2/4", "copy . .", "COPY"] {
            assert!(is_meant(note, wanted), "{wanted}");
        }
        for wanted in ["2/", "12/4", "RUN", "", "[]"] {
            assert!(!is_meant(note, wanted), "{wanted}");
        }
        assert!(!is_meant("[build 12/14] RUN x", "2/14"));
    }

    #[test]
    fn values_of_secrets_are_not_shown() {
        let value = |text: &str| FieldValue::Text(text.to_owned());
        let of = |name: &str| Difference {
            field: ["operation", "env", name, "value"].map(str::to_owned).to_vec(),
            before: value("1"),
            after: value("2"),
        };
        assert_eq!(difference_of(&of("VERSION")), "variable VERSION: `1` -> `2`");
        assert_eq!(difference_of(&of("API_TOKEN")), "variable API_TOKEN has another value");
        let document = reason_document(&Reason::Field(of("API_TOKEN")));
        assert_eq!((&document["Before"], &document["After"]), (&Value::Null, &Value::Null));
    }
}
