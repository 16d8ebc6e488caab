//! `--format`: Go templates as Docker's commands have them, on JSON values.
//!
//! Known: fields (`.Config.Env`), variables, pipelines, `if`/`else if`/`else`, `range`, `with`, `break`, `continue`,
//! `define`, `template`, `block`, comments, trim marks, and the functions in [`functions::NAMES`]. What Go has beyond that
//! (methods, `call`, imaginary numbers) is an error that says so. An error points into the template.
//!
//! ```text
//! text --lexer--> tokens --parser--> Vec<Node> --eval(value)--> text
//! ```

mod check;
pub(crate) mod container;
mod eval;
mod functions;
mod lexer;
mod parser;
mod printf;
pub(crate) mod shape;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use rbuild_model::span::{Diagnostic, Source, Span};
use serde_json::Value;

use self::shape::{Names, Shape};
use crate::report::{Findings, Unreadable};
use crate::table::Table;

/// A template that was read.
#[derive(Debug)]
pub(crate) struct Template {
    source: Arc<Source>,
    parsed: parser::Parsed,
}

/// Something in a template is wrong.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Fault {
    fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), help: None }
    }

    fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl Template {
    /// Reads a template.
    pub(crate) fn parse(text: &str) -> Result<Self, Box<Diagnostic>> {
        let source = Source::new("--format", text);
        match parser::parse(text).and_then(|parsed| check::check(&parsed).map(|()| parsed)) {
            Ok(parsed) => Ok(Self { source, parsed }),
            Err(fault) => Err(diagnostic(&source, fault)),
        }
    }

    /// Returns the template's text for a value.
    pub(crate) fn render(&self, value: &Value) -> Result<String, Box<Diagnostic>> {
        self.text(value, None, functions::Use::Values)
    }

    /// Returns the template's text for a document. As with docker, a template that does not fit what is known of the fields is
    /// taken for one about the JSON; and then, for names of both.
    pub(crate) fn render_document(&self, document: &Document) -> Result<String, Box<Diagnostic>> {
        let Document { value, shape } = document;
        let known = |names| self.text(value, shape.map(|shape| (shape, names)), functions::Use::Values);
        match shape {
            None => self.render(value),
            Some(_) => known(Names::Own)
                .or_else(|_| self.render(value).or_else(|error| known(Names::Both).map_err(|_| error))),
        }
    }

    /// Returns the template's text for a value; `json` writes it a line a field.
    pub(crate) fn render_indented(&self, value: &Value) -> Result<String, Box<Diagnostic>> {
        self.text(value, None, functions::Use::Indented)
    }

    /// Returns the template's text for a row of a list, and its labels.
    fn render_row(&self, (row, labels): &(Value, Value)) -> Result<String, Box<Diagnostic>> {
        let subject = eval::Subject { value: row, labels, shape: None };
        eval::render(&self.parsed, &subject, functions::Use::Values)
            .map_err(|fault| diagnostic(&self.source, fault))
    }

    /// Returns the template's text for the titles of columns: functions leave them as they are.
    fn render_titles(&self, value: &Value) -> Result<String, Box<Diagnostic>> {
        self.text(value, None, functions::Use::Titles)
    }

    fn text(
        &self,
        value: &Value,
        shape: Option<(&'static Shape, Names)>,
        purpose: functions::Use,
    ) -> Result<String, Box<Diagnostic>> {
        let subject = eval::Subject { value, labels: &Value::Null, shape };
        eval::render(&self.parsed, &subject, purpose).map_err(|fault| diagnostic(&self.source, fault))
    }
}

/// A document, and what is known of it.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    /// Its JSON.
    pub(crate) value: Value,
    /// What its fields are.
    pub(crate) shape: Option<&'static Shape>,
}

impl From<Value> for Document {
    fn from(value: Value) -> Self {
        Self { value, shape: None }
    }
}

fn diagnostic(source: &Arc<Source>, fault: Fault) -> Box<Diagnostic> {
    let diagnostic = Diagnostic::error(source, fault.span, fault.message);
    Box::new(match fault.help {
        Some(help) => diagnostic.with_help(help),
        None => diagnostic,
    })
}

/// A column of a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    /// The field's name in templates and JSON.
    pub(crate) field: &'static str,
    /// The column's title.
    pub(crate) title: &'static str,
}

/// The field of a row with its labels, for `.Label "key"`. It is no field for templates, and not in JSON.
pub(crate) const LABEL: &str = "Label";

/// Returns a row as templates and JSON have it, and its labels.
pub(crate) fn apart(mut row: Value) -> (Value, Value) {
    let labels = row.as_object_mut().and_then(|fields| fields.shift_remove(LABEL));
    (row, labels.unwrap_or_default())
}

/// Returns the text of a list in the form that `--format` asks for.
///
/// `standard` is the template of the plain table. Each row is an object with at least the fields of `columns`.
pub(crate) fn list(
    format: Option<&str>,
    standard: &str,
    columns: &[Column],
    rows: &[Value],
) -> Result<String, Box<Diagnostic>> {
    let format = format.unwrap_or("table").trim_matches(' ');
    let rows = rows.iter().cloned().map(apart);
    if format == "json" {
        return Ok(rows.map(|(row, _)| format!("{row}\n")).collect());
    }
    let table =
        format.strip_prefix("table").filter(|rest| rest.is_empty() || rest.starts_with([' ', '\\', '\t']));
    let body = match table {
        Some(rest) if rest.trim().is_empty() => standard,
        Some(rest) => rest.trim_matches(' '),
        None => format,
    };
    let template = Template::parse(&body.replace("\\t", "\t").replace("\\n", "\n"))?;
    let lines = rows.map(|row| template.render_row(&row)).collect::<Result<Vec<_>, _>>()?;
    if table.is_none() {
        return Ok(lines.into_iter().map(|line| line + "\n").collect());
    }
    let titles = columns
        .iter()
        .map(|column| (column.field.to_owned(), Value::from(column.title)))
        .collect::<serde_json::Map<_, _>>();
    let mut table = Table::new();
    table.line(&template.render_titles(&Value::Object(titles))?);
    for line in lines {
        table.line(&line);
    }
    Ok(table.render())
}

/// Returns the text of documents in the form that `--format` asks for: indented JSON, one line of JSON each, or a
/// template's text a line.
pub(crate) fn documents(format: Option<&str>, documents: &[Value]) -> anyhow::Result<String> {
    match format {
        None => Ok(indented(&Value::Array(documents.to_vec())) + "\n"),
        Some("json") => Ok(documents.iter().map(|document| format!("{document}\n")).collect()),
        Some(format) => {
            let template = Template::parse(format).map_err(Unreadable::of)?;
            let text = |document| Ok(template.render(document).map_err(Findings::from)? + "\n");
            documents.iter().map(text).collect()
        }
    }
}

/// Returns the text of what is inspected, in the form that `--format` asks for: indented JSON, JSON in a line, or a
/// template's text a line each.
pub(crate) fn inspected(format: Option<&str>, documents: &[Document]) -> anyhow::Result<String> {
    let all = || Value::Array(documents.iter().map(|document| document.value.clone()).collect());
    match format {
        None => Ok(indented(&all()) + "\n"),
        Some("json") => Ok(format!("{}\n", all())),
        Some(format) => {
            let template = Template::parse(format).map_err(Unreadable::of)?;
            let text = |document| Ok(template.render_document(document).map_err(Findings::from)? + "\n");
            documents.iter().map(text).collect()
        }
    }
}

/// Returns JSON indented by four, as Docker's `inspect` prints it.
pub(crate) fn indented(value: &Value) -> String {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    serde::Serialize::serialize(value, &mut serializer).expect("a JSON value can be written to memory");
    String::from_utf8(text).expect("JSON is UTF-8")
}
