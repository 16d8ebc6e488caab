//! Nodes and a value to text.

use std::collections::BTreeMap;

use rbuild_model::span::{Span, nearest};
use serde_json::Value;

use super::Fault;
use super::functions::{self, Use};
use super::parser::{Base, Binding, Command, Node, Operand, Parsed, Pipe};
use super::printf;
use super::shape::{Field, Names, Shape};

/// A value on its way; `None` is what Go prints as `<no value>`.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) value: Option<Value>,
    /// The field it was taken from.
    pub(super) field: Option<String>,
    /// What it is, in a document whose fields are known.
    pub(super) shape: Option<&'static Shape>,
}

impl From<Value> for Item {
    fn from(value: Value) -> Self {
        Self { value: Some(value), field: None, shape: None }
    }
}

/// What a template is rendered for.
pub(super) struct Subject<'v> {
    pub(super) value: &'v Value,
    /// What has labels has them beside it.
    pub(super) labels: &'v Value,
    /// What is known of it, and which names its fields have.
    pub(super) shape: Option<(&'static Shape, Names)>,
}

/// Objects with keys of the user's choice: a key that is not there is not a mistake.
const FREE_FORM: &[&str] = &[
    "Labels",
    "Annotations",
    "Options",
    "DriverOpts",
    "Data",
    "ExposedPorts",
    "Volumes",
    "Ports",
    "Sysctls",
    "Containers",
    "Attributes",
];

/// Fields that documents leave out while they are empty: the object has the field before it at any time.
const OMITTED: &[(&str, &str, Empty)] = &[
    ("ConfigFrom", "Peers", Empty::Null),
    ("ConfigFrom", "Services", Empty::Null),
    ("Subnet", "IPRange", Empty::Text),
    ("Subnet", "Gateway", Empty::Text),
    ("Subnet", "AuxAddress", Empty::Null),
    ("RW", "Name", Empty::Text),
    ("RW", "Driver", Empty::Text),
    ("VolumesFrom", "Mounts", Empty::Null),
    ("VolumesFrom", "Tmpfs", Empty::Null),
    ("Target", "Source", Empty::Text),
    ("Target", "ReadOnly", Empty::False),
    ("Target", "BindOptions", Empty::Null),
    ("Target", "VolumeOptions", Empty::Null),
    ("Target", "TmpfsOptions", Empty::Null),
    ("Target", "ImageOptions", Empty::Null),
];

/// What a field is while it is empty.
#[derive(Clone, Copy)]
enum Empty {
    /// No list or map.
    Null,
    /// A text without letters.
    Text,
    /// What does not hold.
    False,
}

/// Fields of networks that documents call otherwise than templates.
const OTHERWISE: &[(&str, &str, &str)] =
    &[("ConfigFrom", "ID", "Id"), ("Subnet", "AuxAddress", "AuxiliaryAddresses")];

/// Fields that are maps in Docker, so that null prints as an empty map.
const MAPS: &[&str] =
    &["Labels", "ExposedPorts", "Volumes", "Annotations", "Options", "Ports", "Services", "AuxAddress"];

/// Fields that are sets in Docker, kept as maps to nothing: nothing prints as an empty structure.
const SETS: &[&str] = &["ExposedPorts", "Volumes"];

/// Fields of rows that are more than texts and numbers in Docker, and what they are.
const STRUCTURES: &[(&str, Shape)] = &[("Publishers", Shape::List(&PUBLISHER))];

/// A port of `compose ps`.
static PUBLISHER: Shape = Shape::Struct(&[
    Field::new("URL", Shape::Text),
    Field::new("TargetPort", Shape::Number),
    Field::new("PublishedPort", Shape::Number),
    Field::new("Protocol", Shape::Text),
]);

/// How long a text may get.
const LENGTH: usize = 64 << 20;

/// How deep templates may call each other, with the blocks in them.
const DEPTH: usize = 192;

/// To which number one may count.
const COUNT: u64 = 1_000_000;

/// Returns a template's text.
pub(super) fn render(parsed: &Parsed, subject: &Subject<'_>, purpose: Use) -> Result<String, Fault> {
    let Subject { value, labels, shape } = subject;
    let (shape, names) = shape.map_or((None, Names::Own), |(shape, names)| (Some(shape), names));
    let all = Item { shape, ..Item::from((*value).clone()) };
    let variables = vec![(String::new(), all.clone())];
    let named = &parsed.named;
    let mut scope = Scope { text: String::new(), variables, labels, names, purpose, named, depth: 0 };
    scope.nodes(&parsed.nodes, &all)?;
    Ok(scope.text)
}

struct Scope<'l> {
    text: String,
    variables: Vec<(String, Item)>,
    labels: &'l Value,
    names: Names,
    purpose: Use,
    named: &'l BTreeMap<String, Vec<Node>>,
    depth: usize,
}

/// How a list of nodes ended.
enum Flow {
    Through,
    Break(Span),
    Continue(Span),
}

impl Scope<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Item) -> Result<(), Fault> {
        match self.block(nodes, dot)? {
            Flow::Through => Ok(()),
            Flow::Break(span) => Err(Fault::new(span, "`break` outside of `range`")),
            Flow::Continue(span) => Err(Fault::new(span, "`continue` outside of `range`")),
        }
    }

    fn block(&mut self, nodes: &[Node], dot: &Item) -> Result<Flow, Fault> {
        let kept = self.variables.len();
        let mut flow = Flow::Through;
        self.depth += 1;
        for node in nodes {
            flow = self.node(node, dot)?;
            if !matches!(flow, Flow::Through) {
                break;
            }
        }
        self.depth -= 1;
        self.variables.truncate(kept);
        Ok(flow)
    }

    fn node(&mut self, node: &Node, dot: &Item) -> Result<Flow, Fault> {
        match node {
            Node::Text(text) => self.text.push_str(text),
            Node::Action(pipe) => {
                let item = self.pipe(pipe, dot)?;
                self.text.push_str(&print_item(&item));
                if self.text.len() > LENGTH {
                    return Err(Fault::new(pipe.span, "the text gets too long"));
                }
            }
            Node::Set { name, new, pipe, span } => {
                let item = self.pipe(pipe, dot)?;
                match new {
                    Binding::Declared => self.variables.push((name.clone(), item)),
                    Binding::Assigned => {
                        match self.variables.iter_mut().rev().find(|(known, _)| known == name) {
                            Some((_, slot)) => *slot = item,
                            None => {
                                return Err(Fault::new(*span, format!("variable `${name}` is not declared")));
                            }
                        }
                    }
                }
            }
            Node::If { branches, otherwise } => {
                for (condition, body) in branches {
                    if truth(&self.pipe(condition, dot)?) {
                        return self.block(body, dot);
                    }
                }
                return self.block(otherwise, dot);
            }
            Node::With { name, pipe, body, otherwise } => {
                let item = self.pipe(pipe, dot)?;
                if !truth(&item) {
                    return self.block(otherwise, dot);
                }
                let kept = self.variables.len();
                if let Some(name) = name {
                    self.variables.push((name.clone(), item.clone()));
                }
                let flow = self.block(body, &item);
                self.variables.truncate(kept);
                return flow;
            }
            Node::Range { names, pipe, body, otherwise } => {
                return self.range(names, pipe, body, otherwise, dot);
            }
            Node::Template { name, pipe, span } => self.template(name, pipe.as_ref(), *span, dot)?,
            Node::Break(span) => return Ok(Flow::Break(*span)),
            Node::Continue(span) => return Ok(Flow::Continue(*span)),
        }
        Ok(Flow::Through)
    }

    /// Renders what a name stands for: it knows its value, and none of the variables around.
    fn template(&mut self, name: &str, pipe: Option<&Pipe>, span: Span, dot: &Item) -> Result<(), Fault> {
        let Some(nodes) = self.named.get(name) else {
            return Err(Fault::new(span, format!("template \"{name}\" is not defined")));
        };
        if self.depth > DEPTH {
            return Err(Fault::new(span, format!("template \"{name}\" is used in itself too deeply")));
        }
        let value = match pipe {
            Some(pipe) => self.pipe(pipe, dot)?,
            None => Item { value: None, field: None, shape: None },
        };
        let around = std::mem::replace(&mut self.variables, vec![(String::new(), value.clone())]);
        let done = self.nodes(nodes, &value);
        self.variables = around;
        done
    }

    fn range(
        &mut self,
        names: &[String],
        pipe: &Pipe,
        body: &[Node],
        otherwise: &[Node],
        dot: &Item,
    ) -> Result<Flow, Fault> {
        let Item { value, shape, .. } = self.pipe(pipe, dot)?;
        let shape = shape.and_then(Shape::inside);
        let entries: Vec<(Value, Value)> = match value {
            Some(Value::Array(items)) => {
                items.into_iter().enumerate().map(|(i, v)| (Value::from(i), v)).collect()
            }
            Some(Value::Object(map)) => {
                let mut entries: Vec<_> = map.into_iter().collect();
                entries.sort_by(|a, b| a.0.cmp(&b.0));
                entries.into_iter().map(|(key, value)| (Value::from(key), value)).collect()
            }
            Some(Value::Null) | None => Vec::new(),
            Some(Value::Number(number)) if number.is_i64() => match number.as_u64().unwrap_or(0) {
                count if count <= COUNT => (0..count).map(|at| (Value::from(at), Value::from(at))).collect(),
                count => {
                    let why = format!("`range` counts to {COUNT} at most: {count}");
                    return Err(Fault::new(pipe.span, why));
                }
            },
            Some(_) => return Err(Fault::new(pipe.span, "`range` needs a list, a map or a number")),
        };
        if entries.is_empty() {
            return self.block(otherwise, dot);
        }
        for (key, value) in entries {
            let kept = self.variables.len();
            let item = Item { shape, ..Item::from(value) };
            match names {
                [one] => self.variables.push((one.clone(), item.clone())),
                [one, two] => {
                    self.variables.push((one.clone(), Item::from(key)));
                    self.variables.push((two.clone(), item.clone()));
                }
                _ => {}
            }
            let flow = self.block(body, &item)?;
            self.variables.truncate(kept);
            if matches!(flow, Flow::Break(_)) {
                break;
            }
        }
        Ok(Flow::Through)
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Item) -> Result<Item, Fault> {
        let mut last = None;
        for command in &pipe.commands {
            last = Some(self.command(command, dot, last)?);
        }
        Ok(last.unwrap_or(Item { value: None, field: None, shape: None }))
    }

    fn command(&mut self, command: &Command, dot: &Item, last: Option<Item>) -> Result<Item, Fault> {
        let Base::Function(name) = &command.head.base else {
            return match command.arguments.first() {
                None => self.operand(&command.head, dot),
                Some(key) => {
                    let key = self.operand(key, dot)?;
                    Ok(self.label(&key))
                }
            };
        };
        // `and` and `or` stop at the argument that decides.
        if let "and" | "or" = name.as_str() {
            let mut result = None;
            for argument in &command.arguments {
                let item = self.operand(argument, dot)?;
                let decided = truth(&item) == (name == "or");
                result = Some(item);
                if decided {
                    return Ok(result.expect("just set"));
                }
            }
            return last
                .or(result)
                .ok_or_else(|| Fault::new(command.span, format!("`{name}` needs arguments")));
        }
        let mut arguments = Vec::with_capacity(command.arguments.len() + 1);
        for argument in &command.arguments {
            arguments.push(self.operand(argument, dot)?);
        }
        arguments.extend(last);
        // What is taken out of something known is known.
        let known = arguments.first().filter(|_| name == "index").and_then(|first| first.shape);
        let shape = (1..arguments.len())
            .fold(known, |shape: Option<&'static Shape>, _| shape.and_then(Shape::inside));
        Ok(Item { shape, ..functions::call(name, arguments, self.purpose, command.span)? })
    }

    /// `.Label "key"`: the label's value, nothing if there is none; its title is the last part of the key.
    fn label(&self, key: &Item) -> Item {
        let key = key.value.as_ref().map(print).unwrap_or_default();
        if self.purpose == Use::Titles {
            let last = key.rsplit('.').next().unwrap_or_default();
            return Item::from(Value::from(last.replace(['-', '_'], " ")));
        }
        Item::from(self.labels.get(&key).cloned().unwrap_or_else(|| "".into()))
    }

    fn operand(&mut self, operand: &Operand, dot: &Item) -> Result<Item, Fault> {
        let mut item = match &operand.base {
            Base::Dot => dot.clone(),
            Base::Variable(name) => match self.variables.iter().rev().find(|(known, _)| known == name) {
                Some((_, item)) => item.clone(),
                None => return Err(Fault::new(operand.span, format!("variable `${name}` is not declared"))),
            },
            Base::Literal(value) => Item::from(value.clone()),
            Base::Nested(pipe) => self.pipe(pipe, dot)?,
            Base::Function(name) => functions::call(name, Vec::new(), self.purpose, operand.span)?,
        };
        for (name, span) in &operand.fields {
            item = field(&item, name, self.names, *span)?;
        }
        Ok(item)
    }
}

fn with_small_initial(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or_else(String::new, |first| first.to_ascii_lowercase().to_string() + chars.as_str())
}

/// A field that templates know of an object and documents do not have under this name.
fn unwritten(map: &serde_json::Map<String, Value>, name: &str) -> Option<Value> {
    let called = OTHERWISE.iter().find(|(beside, known, _)| *known == name && map.contains_key(*beside));
    if let Some(value) = called.and_then(|(_, _, called)| map.get(*called)) {
        return Some(value.clone());
    }
    let omitted = OMITTED.iter().find(|(beside, known, _)| *known == name && map.contains_key(*beside));
    omitted.map(|(_, _, empty)| match empty {
        Empty::Null => Value::Null,
        Empty::Text => Value::from(""),
        Empty::False => Value::Bool(false),
    })
}

fn field(item: &Item, name: &str, names: Names, span: Span) -> Result<Item, Fault> {
    let field = Some(name.to_owned());
    if let (Some(shape), Some(value)) = (item.shape, &item.value) {
        if let Shape::Map(inside) = shape {
            return Ok(Item { value: value.get(name).cloned(), field, shape: Some(inside) });
        }
        if *shape != Shape::Json {
            let (value, shape) = shape
                .field(value, name, names)
                .ok_or_else(|| Fault::new(span, format!("there is no field `{name}`")))?;
            return Ok(Item { value: Some(value), field, shape: Some(shape) });
        }
    }
    let shape = None;
    match &item.value {
        Some(Value::Object(map)) => {
            if let Some(value) = map.get(name) {
                let known = STRUCTURES.iter().find(|(known, _)| *known == name);
                return Ok(Item { value: Some(value.clone()), field, shape: known.map(|(_, shape)| shape) });
            }
            // What documents of registries call `mediaType` is `.MediaType` in templates.
            if let Some(value) = map.get(&with_small_initial(name)) {
                return Ok(Item { value: Some(value.clone()), field, shape });
            }
            if let Some(value) = unwritten(map, name) {
                return Ok(Item { value: Some(value), field, shape });
            }
            if item.field.as_deref().is_some_and(|owner| FREE_FORM.contains(&owner)) {
                return Ok(Item { value: None, field, shape });
            }
            let fault = Fault::new(span, format!("there is no field `{name}`"));
            let names: Vec<&str> = map.keys().map(String::as_str).collect();
            Err(match nearest(name, names.iter().copied()) {
                Some(near) => fault.help(format!("did you mean `.{near}`?")),
                None if names.is_empty() => fault,
                None => fault.help(format!("there are [{}]", names.join(", "))),
            })
        }
        None | Some(Value::Null) => Ok(Item { value: None, field, shape }),
        Some(other) => {
            Err(Fault::new(span, format!("there is no field `{name}` in {}", functions::kind(other))))
        }
    }
}

/// Tells whether Go takes a value for true.
pub(super) fn truth(item: &Item) -> bool {
    match &item.value {
        None | Some(Value::Null) => false,
        Some(Value::Bool(value)) => *value,
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(map)) => !map.is_empty(),
    }
}

fn print_item(item: &Item) -> String {
    if let (Some(shape), Some(value)) = (item.shape, &item.value) {
        return shape.print(value);
    }
    match (&item.value, item.field.as_deref()) {
        (None, _) => "<no value>".to_owned(),
        (Some(Value::Null), Some(field)) if MAPS.contains(&field) => "map[]".to_owned(),
        (Some(Value::Null), Some(_)) => "[]".to_owned(),
        (Some(Value::Object(set)), Some(field)) if SETS.contains(&field) => {
            map_of(set, |member| match member.as_object() {
                Some(nothing) if nothing.is_empty() => "{}".to_owned(),
                _ => print(member),
            })
        }
        (Some(value), _) => print(value),
    }
}

/// Returns a map as Go prints it.
pub(super) fn map_of(map: &serde_json::Map<String, Value>, print: impl Fn(&Value) -> String) -> String {
    let mut entries: Vec<_> = map.iter().map(|(key, value)| format!("{key}:{}", print(value))).collect();
    entries.sort();
    format!("map[{}]", entries.join(" "))
}

/// Returns a value as Go prints it.
pub(super) fn print(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) if number.is_f64() => printf::plain(number.as_f64().unwrap_or_default()),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(print).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => map_of(map, print),
    }
}
