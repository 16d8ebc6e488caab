//! What documents are in Docker's own words: structures with their fields in an order, lists, maps, and what may be
//! missing. Docker's templates work on these; the JSON of a document leaves out what is empty.

use serde_json::Value;

/// What a value is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A text.
    Text,
    /// A number.
    Number,
    /// True or false.
    Truth,
    /// A span of time, in nanoseconds.
    Span,
    /// Fields in an order, as `{a b}` is printed.
    Struct(&'static [Field]),
    /// A thing that may be missing, as `<nil>` is printed.
    Optional(&'static Shape),
    /// A list of one kind.
    List(&'static Shape),
    /// A map of texts to one kind.
    Map(&'static Shape),
    /// What its JSON is.
    Json,
}

/// A field of a structure.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// Its name in templates.
    name: &'static str,
    /// Its name in JSON.
    json: &'static str,
    shape: Shape,
}

impl Field {
    /// A field that has one name.
    pub(crate) const fn new(name: &'static str, shape: Shape) -> Self {
        Self { name, json: name, shape }
    }

    /// A field that JSON calls otherwise.
    pub(crate) const fn called(name: &'static str, json: &'static str, shape: Shape) -> Self {
        Self { name, json, shape }
    }
}

/// Which names of fields there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// Those of templates.
    Own,
    /// Those of JSON as well.
    Both,
}

impl Shape {
    /// Returns a field of a value of this shape, with its own.
    pub(super) fn field(
        &'static self,
        value: &Value,
        name: &str,
        names: Names,
    ) -> Option<(Value, &'static Self)> {
        match self {
            Self::Optional(_) if value.is_null() => None,
            Self::Optional(shape) => shape.field(value, name, names),
            Self::Struct(fields) => {
                let field = fields
                    .iter()
                    .find(|field| field.name == name || (names == Names::Both && field.json == name))?;
                Some((field.of(value), &field.shape))
            }
            _ => None,
        }
    }

    /// Returns the shape of what is in a list or map of this shape.
    pub(super) const fn inside(&'static self) -> Option<&'static Self> {
        match self {
            Self::List(shape) | Self::Map(shape) => Some(shape),
            _ => None,
        }
    }

    /// Returns what stands for a value that JSON leaves out.
    fn empty(&self) -> Value {
        match self {
            Self::Text => Value::from(""),
            Self::Number | Self::Span => Value::from(0),
            Self::Truth => Value::from(false),
            Self::Struct(_) => Value::Object(serde_json::Map::new()),
            Self::Optional(_) | Self::List(_) | Self::Map(_) | Self::Json => Value::Null,
        }
    }

    /// Returns a value of this shape as Go prints it; what is behind a pointer stands in its place.
    pub(super) fn print(&self, value: &Value) -> String {
        match (self, value) {
            (Self::Optional(shape), value) if !value.is_null() => shape.print(value),
            (Self::Struct(fields), value) => {
                let fields: Vec<_> = fields.iter().map(|field| field.shape.print(&field.of(value))).collect();
                format!("{{{}}}", fields.join(" "))
            }
            (Self::List(_), Value::Null) => "[]".to_owned(),
            (Self::List(shape), Value::Array(items)) => {
                format!("[{}]", items.iter().map(|item| shape.print(item)).collect::<Vec<_>>().join(" "))
            }
            (Self::Map(_), Value::Null) => "map[]".to_owned(),
            (Self::Map(shape), Value::Object(map)) => super::eval::map_of(map, |value| shape.print(value)),
            (Self::Span, Value::Number(nanos)) => {
                rbuild_frontend::go_duration(nanos.as_i64().unwrap_or_default())
            }
            (_, value) => super::eval::print(value),
        }
    }
}

impl Field {
    /// Returns what a structure has in this field.
    fn of(&self, value: &Value) -> Value {
        value.get(self.json).cloned().unwrap_or_else(|| self.shape.empty())
    }
}
