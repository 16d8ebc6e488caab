//! Lines of a source text with the guilty ones marked.

use std::fmt::Write as _;

use rbuild_model::span::{Diagnostic, Location, Source};

use crate::terminal::{Colour, Paint};
use crate::text;

/// How many lines are shown before and behind the marked ones.
const CONTEXT: usize = 2;
/// How many marked lines are shown of a longer piece.
const MARKED: usize = 20;
/// How much of a line is shown, in characters.
const WIDTH: usize = 240;
const RULE: &str = "--------------------";

/// Returns `NAME:LINE` and the lines of a place.
pub(super) fn of_location(location: &Location, colour: Colour) -> String {
    let (first, last) = location.lines();
    excerpt(&location.source, first, last, &[], colour)
}

/// Returns the lines of a finding's places, with carets below a part of a line.
pub(super) fn of_diagnostic(diagnostic: &Diagnostic, colour: Colour) -> String {
    let Some(location) = diagnostic.location() else { return String::new() };
    let (first, last) = location.lines();
    let source = &location.source;
    let mut carets = Vec::new();
    for label in &diagnostic.labels {
        let at = source.position(label.span.start);
        let end = source.position(label.span.end.max(label.span.start));
        let line = source.line(at.line).unwrap_or_default();
        let length = if end.line == at.line {
            end.column.saturating_sub(at.column).max(1)
        } else {
            line.chars().count().saturating_sub(at.column - 1).max(1)
        };
        let begins = line.chars().take_while(|c| c.is_whitespace()).count() + 1;
        let whole = at.column <= begins && length + at.column > line.trim_end().chars().count();
        if !label.text.is_empty() || !whole {
            carets.push(Caret { line: at.line, column: at.column, length, text: &label.text });
        }
    }
    excerpt(source, first, last, &carets, colour)
}

struct Caret<'a> {
    line: usize,
    column: usize,
    length: usize,
    text: &'a str,
}

fn excerpt(source: &Source, first: usize, last: usize, carets: &[Caret<'_>], colour: Colour) -> String {
    let far = carets.iter().map(|caret| caret.line).max().unwrap_or(last).min(last.max(first) + 2 * MARKED);
    let near = carets.iter().map(|caret| caret.line).min().unwrap_or(first);
    let from = first.min(near).max(first.saturating_sub(2 * MARKED)).saturating_sub(CONTEXT).max(1);
    let to = (last.max(far) + CONTEXT).min(source.line_count().max(last));
    let width = to.to_string().len().max(4);
    let mut text = format!("{}:{first}\n{RULE}\n", text::one_line(source.name()));
    for number in from..=to {
        if number == first + MARKED && last > number {
            let _ = writeln!(text, "{:>width$} | ...", "");
        }
        if number >= first + MARKED && number < last {
            continue;
        }
        let marked = (first..=last).contains(&number);
        let line = shown(source.line(number).unwrap_or_default());
        let row = format!("{number:>width$} | {} {line}", if marked { ">>>" } else { "   " });
        let row = row.trim_end();
        let row = if marked { colour.paint(Paint::Red, row) } else { row.to_owned() };
        let _ = writeln!(text, "{row}");
        for caret in carets.iter().filter(|caret| caret.line == number && caret.column <= WIDTH) {
            let original = source.line(number).unwrap_or_default();
            let before = shown(&original.chars().take(caret.column - 1).collect::<String>());
            let indent = console::measure_text_width(&before);
            let under: String = original.chars().skip(caret.column - 1).take(caret.length).collect();
            let under = console::measure_text_width(&shown(&under)).max(1);
            let marks = format!("{} {}", "^".repeat(under.min(WIDTH)), text::one_line(caret.text));
            let row = format!("{:>width$} |     {:indent$}{}", "", "", marks.trim_end());
            let _ = writeln!(text, "{}", colour.paint(Paint::Red, &row));
        }
    }
    text.push_str(RULE);
    text.push('\n');
    text
}

/// Returns a line fit to be shown: tabs as spaces, control characters escaped, not too long.
fn shown(line: &str) -> String {
    let line = line.replace('\t', "    ");
    let mut shown: String = line.chars().take(WIDTH).collect();
    if shown.len() < line.len() {
        shown.push('…');
    }
    text::one_line(&shown)
}
