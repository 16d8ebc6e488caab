//! What names mean in a bake file: variables, attributes at the top, functions, attributes of targets. Each is evaluated when it
//! is first wanted, so that their order in the files does not matter.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};

use rbuild_model::span::{Location, nearest};
use rbuild_model::truth::parse_bool;

use super::read::{ATTRIBUTES, GROUP_ATTRIBUTES};
use crate::hcl::functions::{self, World};
use crate::hcl::{
    Attribute, Block, Expression, ExpressionKind, Failure, Scope, Type, Value, bool_of, evaluate,
    evaluate_with, fault, text_of,
};

/// How deep functions of the files may call each other.
const MAX_CALLS: usize = 64;

/// What an environment holds.
pub type Environment<'e> = dyn Fn(&str) -> Option<String> + 'e;

/// A variable as it is declared, all declarations together.
#[derive(Default)]
struct Declaration<'b> {
    default: Option<&'b Attribute>,
    kind: Option<&'b Attribute>,
    description: Option<&'b Attribute>,
    validations: Vec<&'b Block>,
    place: Option<Location>,
}

/// A function of the files.
struct Defined<'b> {
    params: Vec<String>,
    rest: Option<String>,
    result: &'b Expression,
}

enum State {
    /// It is being evaluated.
    Begun,
    Known(Value),
}

/// What names mean.
pub(super) struct Globals<'b> {
    variables: BTreeMap<&'b str, Declaration<'b>>,
    attributes: BTreeMap<&'b str, &'b Attribute>,
    functions: HashMap<&'b str, Defined<'b>>,
    targets: HashMap<&'b str, Vec<&'b Block>>,
    groups: HashMap<&'b str, Vec<&'b Block>>,
    builtins: BTreeMap<&'static str, Value>,
    environment: &'b Environment<'b>,
    world: &'b World,
    values: RefCell<HashMap<String, State>>,
    calls: Cell<usize>,
}

/// A variable, for whoever lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its type, if one is written.
    pub kind: Option<String>,
    /// Its value as text, lists and maps as JSON; `None` for `null`.
    pub value: Option<String>,
    /// What it is for.
    pub description: Option<String>,
}

impl<'b> Globals<'b> {
    /// Takes in what stands at the top of files.
    pub(super) fn new(
        blocks: impl Iterator<Item = &'b Block>,
        attributes: impl Iterator<Item = &'b Attribute>,
        builtins: BTreeMap<&'static str, Value>,
        environment: &'b Environment<'b>,
        world: &'b World,
    ) -> Result<Self, Vec<Failure>> {
        let mut globals = Self {
            variables: BTreeMap::new(),
            attributes: attributes.map(|attribute| (&*attribute.name.value, attribute)).collect(),
            functions: HashMap::new(),
            targets: HashMap::new(),
            groups: HashMap::new(),
            builtins,
            environment,
            world,
            values: RefCell::default(),
            calls: Cell::new(0),
        };
        let mut errors = Vec::new();
        for block in blocks {
            let Some(label) = block.labels.first() else { continue };
            match &*block.kind.value {
                "variable" => globals.declare(&label.value, block),
                "function" => match defined(block) {
                    Ok(function) => {
                        globals.functions.insert(&label.value, function);
                    }
                    Err(error) => errors.push(error),
                },
                "target" => globals.targets.entry(&label.value).or_default().push(block),
                "group" => globals.groups.entry(&label.value).or_default().push(block),
                _ => {}
            }
        }
        if errors.is_empty() { Ok(globals) } else { Err(errors) }
    }

    fn declare(&mut self, name: &'b str, block: &'b Block) {
        let declaration = self.variables.entry(name).or_default();
        let body = &block.body;
        declaration.default = body.attribute("default").or(declaration.default);
        declaration.kind = body.attribute("type").or(declaration.kind);
        declaration.description = body.attribute("description").or(declaration.description);
        declaration.validations.extend(body.blocks.iter().filter(|block| block.kind.value == "validation"));
        declaration.place = Some(place(block));
    }

    /// Checks every variable against its conditions.
    pub(super) fn validate(&self) -> Vec<Failure> {
        let mut errors = Vec::new();
        for (name, declaration) in &self.variables {
            let at = declaration.place.clone().expect("it is declared somewhere");
            if let Err(error) = self.variable(name, &at) {
                errors.push(error);
                continue;
            }
            for validation in &declaration.validations {
                errors.extend(self.violated(validation));
            }
        }
        errors
    }

    fn violated(&self, validation: &Block) -> Option<Failure> {
        let Some(condition) = validation.body.attribute("condition") else {
            return Some(fault(&place(validation), "a validation needs a `condition`"));
        };
        match bool_of(&condition.value, self) {
            Ok(true) => None,
            Ok(false) => {
                let message =
                    validation.body.attribute("error_message").map(|message| text_of(&message.value, self));
                match message {
                    Some(Err(error)) => Some(error),
                    Some(Ok(message)) => Some(fault(&condition.value.location(), message)),
                    None => {
                        Some(fault(&condition.value.location(), "the value of the variable is not valid"))
                    }
                }
            }
            Err(error) => Some(error),
        }
    }

    /// Lists the variables.
    pub(super) fn list(&self) -> Result<Vec<Variable>, Failure> {
        let one = |(name, declaration): (&&str, &Declaration<'_>)| {
            let at = declaration.place.clone().expect("it is declared somewhere");
            let value = match self.variable(name, &at)? {
                Value::Null => None,
                value => Some(value.to_text().unwrap_or_else(|| value.to_json().to_string())),
            };
            let description = declaration.description.map(|text| text_of(&text.value, self)).transpose()?;
            let kind = self.kind(name, declaration)?.map(|kind| kind.name());
            Ok(Variable { name: (*name).to_owned(), kind, value, description })
        };
        self.variables.iter().map(one).collect()
    }

    fn kind(&self, _: &str, declaration: &Declaration<'_>) -> Result<Option<Type>, Failure> {
        let read =
            |kind: &Attribute| Type::read(&kind.value).map_err(|error| fault(&kind.value.location(), error));
        declaration.kind.map(read).transpose()
    }

    fn declared(&self, name: &str, declaration: &Declaration<'_>) -> Result<Value, Failure> {
        let place = || declaration.place.clone().expect("it is declared somewhere");
        let kind = self.kind(name, declaration)?;
        let default = declaration.default.map(|default| evaluate(&default.value, self)).transpose()?;
        let given = (self.environment)(name);
        if let Some(kind) = kind {
            if let Some(json) = (self.environment)(&format!("{name}_JSON")) {
                let value = serde_json::from_str(&json).map_err(|error| error.to_string());
                let value = value.and_then(|json| kind.convert(Value::from_json(&json)));
                return value
                    .map_err(|error| fault(&place(), format!("failed to read {name}_JSON: {error}")));
            }
            if let Some(text) = given {
                return kind.parse(&text).map_err(|error| {
                    fault(
                        &place(),
                        format!("failed to read {name} of the environment as {}: {error}", kind.name()),
                    )
                });
            }
            let at = declaration.default.map_or_else(place, |default| default.value.location());
            return kind.convert(default.unwrap_or(Value::Null)).map_err(|error| {
                fault(&at, format!("the default of variable {name} is no {}: {error}", kind.name()))
            });
        }
        let Some(text) = given else { return Ok(default.unwrap_or(Value::string(""))) };
        let wrong = |what: &str| {
            fault(&place(), format!("failed to read {name} of the environment as {what}: {text:?} is none"))
        };
        match default {
            None | Some(Value::String(_) | Value::Null) => Ok(Value::String(text)),
            Some(Value::Bool(_)) => parse_bool(&text).map(Value::Bool).ok_or_else(|| wrong("bool")),
            Some(Value::Number(_)) => {
                Value::string(&*text).to_number().map(Value::Number).ok_or_else(|| wrong("number"))
            }
            Some(other) => {
                let error =
                    *fault(&place(), format!("{name} of the environment cannot replace a {}", other.kind()));
                Err(Box::new(error.with_help("say what it is with `type = list(string)`")))
            }
        }
    }

    fn resolve(&self, name: &str) -> Option<Result<Value, Failure>> {
        if let Some(attribute) = self.attributes.get(name) {
            return Some(evaluate(&attribute.value, self));
        }
        if let Some(value) = self.builtins.get(name) {
            return Some(Ok(value.clone()));
        }
        self.variables.get(name).map(|declaration| self.declared(name, declaration))
    }

    fn call_defined(
        &self,
        name: &str,
        function: &Defined<'_>,
        arguments: Vec<Value>,
        at: &Location,
    ) -> Result<Value, Failure> {
        let Defined { params, rest, result } = function;
        let fits =
            if rest.is_some() { arguments.len() >= params.len() } else { arguments.len() == params.len() };
        if !fits {
            let least = if rest.is_some() { "at least " } else { "" };
            let message = format!(
                "function {name} takes {least}{} arguments, and got {}",
                params.len(),
                arguments.len()
            );
            return Err(fault(at, message));
        }
        if self.calls.get() >= MAX_CALLS {
            return Err(fault(
                at,
                format!("functions call each other without end: function cycle at {name}"),
            ));
        }
        let mut arguments = arguments.into_iter();
        let mut names: Vec<(String, Value)> = params.iter().cloned().zip(arguments.by_ref()).collect();
        names.extend(rest.clone().map(|rest| (rest, Value::List(arguments.collect()))));
        self.calls.set(self.calls.get() + 1);
        let value = evaluate_with(result, names, self);
        self.calls.set(self.calls.get() - 1);
        value
    }
}

impl Scope for Globals<'_> {
    fn variable(&self, name: &str, at: &Location) -> Result<Value, Failure> {
        match self.values.borrow().get(name) {
            Some(State::Known(value)) => return Ok(value.clone()),
            Some(State::Begun) => return Err(fault(at, format!("variable cycle not allowed for {name}"))),
            None => {}
        }
        self.values.borrow_mut().insert(name.to_owned(), State::Begun);
        let value = self.resolve(name);
        match value {
            Some(Ok(value)) => {
                self.values.borrow_mut().insert(name.to_owned(), State::Known(value.clone()));
                Ok(value)
            }
            other => {
                self.values.borrow_mut().remove(name);
                Err(match other {
                    Some(Err(error)) => error,
                    _ => {
                        let known = self.variables.keys().chain(self.attributes.keys()).copied();
                        let near = nearest(name, known.chain(self.builtins.keys().copied()));
                        let hint = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
                        fault(at, format!("there is no variable named {name:?}{hint}"))
                    }
                })
            }
        }
    }

    fn call(&self, name: &str, arguments: Vec<Value>, at: &Location) -> Result<Value, Failure> {
        if let Some(function) = self.functions.get(name)
            && !functions::names().any(|known| known == name)
        {
            return self.call_defined(name, function, arguments, at);
        }
        functions::call(name, &arguments, self.world).map_err(|error| fault(at, error))
    }

    fn block(&self, kind: &str, label: &str, attribute: &str) -> Option<Result<Value, Failure>> {
        let (blocks, known) = match kind {
            "target" => (&self.targets, ATTRIBUTES),
            "group" => (&self.groups, GROUP_ATTRIBUTES),
            _ => return None,
        };
        let found = blocks.get(label)?.iter().rev().find_map(|block| block.body.attribute(attribute));
        let Some(found) = found else {
            // What could be said there and is not is null; what targets inherit is not looked at.
            return known.contains(&attribute).then_some(Ok(Value::Null));
        };
        let key = format!("{kind}.{label}.{attribute}");
        if matches!(self.values.borrow().get(&key), Some(State::Begun)) {
            return Some(Err(fault(&found.value.location(), format!("{key} is made of itself"))));
        }
        self.values.borrow_mut().insert(key.clone(), State::Begun);
        let value = evaluate(&found.value, self);
        self.values.borrow_mut().remove(&key);
        Some(value)
    }
}

/// The place of a block: its type and labels.
pub(super) fn place(block: &Block) -> Location {
    let span = block.labels.last().map_or(block.kind.span, |label| block.kind.span.to(label.span));
    Location { source: std::sync::Arc::clone(&block.source), span }
}

fn defined(block: &Block) -> Result<Defined<'_>, Failure> {
    let name = |expression: &Expression| match &*expression.kind {
        ExpressionKind::Variable(name) => Ok(name.clone()),
        ExpressionKind::Template(parts) => match &parts[..] {
            [crate::hcl::Part::Text(text)] => Ok(text.clone()),
            _ => Err(fault(&expression.location(), "a parameter is a name")),
        },
        _ => Err(fault(&expression.location(), "a parameter is a name")),
    };
    let params = match block.body.attribute("params") {
        None => Vec::new(),
        Some(params) => match &*params.value.kind {
            ExpressionKind::Tuple(items) => items.iter().map(name).collect::<Result<_, _>>()?,
            _ => return Err(fault(&params.value.location(), "`params` is a list of names")),
        },
    };
    let rest = block.body.attribute("variadic_params").map(|rest| name(&rest.value)).transpose()?;
    let result = block.body.attribute("result");
    let result = result.ok_or_else(|| fault(&place(block), "a function needs a `result`"))?;
    Ok(Defined { params, rest, result: &result.value })
}
