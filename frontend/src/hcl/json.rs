//! The form of HCL in JSON: an object is a body, and texts are templates.

use std::sync::Arc;

use rbuild_model::span::{Diagnostic, Source, Spanned};

use super::parse::Parser;
use super::syntax::{Attribute, Block, Body, Expression, ExpressionKind, Key, Part};

/// The blocks of a body: what they are called, how many labels they have, and the blocks in them.
pub struct BlockForm {
    /// The type.
    pub kind: &'static str,
    /// How many labels it has.
    pub labels: usize,
    /// The blocks in it.
    pub inner: &'static [BlockForm],
}

/// Reads a text in JSON; `forms` says which names are blocks.
pub fn parse_json(source: &Arc<Source>, forms: &[BlockForm]) -> (Body, Vec<Diagnostic>) {
    let read = Parser::json(source).and_then(|mut parser| parser.document());
    match read.and_then(|expression| body(&expression, forms)) {
        Ok(body) => (body, Vec::new()),
        Err(error) => (Body::default(), vec![*error]),
    }
}

type Failure = Box<Diagnostic>;

fn wrong(at: &Expression, message: &str) -> Failure {
    Box::new(Diagnostic::error(&at.source, at.span, message))
}

/// Returns the objects that a value is: one, or a list of them.
fn objects(value: &Expression) -> Result<Vec<&Expression>, Failure> {
    match &*value.kind {
        ExpressionKind::Object(_) => Ok(vec![value]),
        ExpressionKind::Tuple(items) => {
            Ok(items.iter().map(objects).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
        }
        _ => Err(wrong(value, "an object is needed here")),
    }
}

fn entries(object: &Expression) -> Result<Vec<(Spanned<String>, &Expression)>, Failure> {
    let ExpressionKind::Object(entries) = &*object.kind else {
        return Err(wrong(object, "an object is needed here"));
    };
    let name = |key: &Key| match key {
        Key::Name(name) => Ok(name.clone()),
        Key::Expression(key) => match &*key.kind {
            ExpressionKind::Template(parts) => match &parts[..] {
                [] => Ok(Spanned::new(String::new(), key.span)),
                [Part::Text(text)] => Ok(Spanned::new(text.clone(), key.span)),
                _ => Err(wrong(key, "`${...}` cannot stand in a name")),
            },
            _ => Err(wrong(key, "a name is a text")),
        },
    };
    entries.iter().map(|(key, value)| Ok((name(key)?, value))).collect()
}

fn body(object: &Expression, forms: &[BlockForm]) -> Result<Body, Failure> {
    let mut body = Body::default();
    for object in objects(object)? {
        for (name, value) in entries(object)? {
            // What is called so is a comment.
            if name.value == "//" {
                continue;
            }
            match forms.iter().find(|form| form.kind == name.value) {
                Some(form) => blocks(&name, Vec::new(), value, form, &mut body.blocks)?,
                None => body.attributes.push(Attribute { name, value: value.clone() }),
            }
        }
    }
    Ok(body)
}

fn blocks(
    kind: &Spanned<String>,
    labels: Vec<Spanned<String>>,
    value: &Expression,
    form: &BlockForm,
    out: &mut Vec<Block>,
) -> Result<(), Failure> {
    for object in objects(value)? {
        if labels.len() == form.labels {
            let (kind, labels) = (kind.clone(), labels.clone());
            let source = Arc::clone(&object.source);
            out.push(Block { kind, labels, body: body(object, form.inner)?, source });
            continue;
        }
        for (label, value) in entries(object)? {
            let labels = labels.iter().cloned().chain([label]).collect();
            blocks(kind, labels, value, form, out)?;
        }
    }
    Ok(())
}
