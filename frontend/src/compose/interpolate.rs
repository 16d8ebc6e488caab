//! Filling in the variables of a file, and giving texts the type that their key has.

use std::sync::Arc;

use std::collections::HashSet;

use rbuild_model::span::{Diagnostic, Location};

use super::bounds::Bounds;
use super::dotenv::required;
use super::environment::Environment;
use super::fault::{Checked, fault, hinted, remark};
use super::path::Path;
use super::schema::{Cast, Field};
use super::template::{self, TemplateError, Variables};
use super::yaml::{Node, Value};

/// A place where a variable stood, and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Use {
    /// The variable.
    pub name: String,
    /// The path of the value in its file.
    pub path: String,
    /// Where it stands.
    pub at: Option<Location>,
    /// The variable's value there, `None` if it had none.
    pub value: Option<String>,
    /// What the whole value became.
    pub result: Arc<str>,
}

/// What variables are filled in with, and what is heard of them.
pub(crate) struct Interpolation<'a> {
    /// The variables.
    pub(crate) environment: &'a Environment,
    /// Where variables stood.
    pub(crate) uses: &'a mut Vec<Use>,
    /// What people should know.
    pub(crate) warnings: &'a mut Vec<Diagnostic>,
    /// How much they come to.
    pub(crate) bounds: &'a mut Bounds,
}

impl Interpolation<'_> {
    /// Fills in all values of a tree.
    pub(crate) fn fill(
        &mut self,
        node: &mut Node,
        field: Option<&'static Field>,
        path: &Path,
    ) -> Checked<()> {
        if let Value::String(text) = &node.value {
            if text.contains('$') {
                node.value = Value::String(self.substitute(text, path, node.at.as_ref())?);
            }
            if let (Value::String(text), Some(field)) = (&node.value, field) {
                node.value = self.cast(text, field.cast, path, node.at.as_ref())?;
            }
            return Ok(());
        }
        // The shape of children depends on what kind of node the parent is.
        let kind = match &node.value {
            Value::Map(_) => Node::new(Value::Map(super::yaml::Map::default()), None),
            _ => Node::new(Value::List(Vec::new()), None),
        };
        let child = |key: &str| field.and_then(|field| field.shape.child(&kind, key));
        match &mut node.value {
            Value::Map(map) => {
                for (key, value) in map.iter_mut() {
                    self.fill(value, child(key), &path.key(key))?;
                }
            }
            Value::List(list) => {
                for (at, item) in list.iter_mut().enumerate() {
                    self.fill(item, child(""), &path.item(at))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn substitute(&mut self, text: &str, path: &Path, at: Option<&Location>) -> Checked<String> {
        let mut lookup = Lookup {
            environment: self.environment,
            found: Vec::new(),
            seen: HashSet::new(),
            unset: Vec::new(),
        };
        let filled = template::substitute(text, &mut lookup);
        let Lookup { found, unset, .. } = lookup;
        for name in unset {
            let message = format!("The {name:?} variable is not set. Defaulting to a blank string.");
            if !self.warnings.iter().any(|known| known.message == message) {
                self.warnings.push(remark(at, message));
            }
        }
        match filled {
            Ok(result) => {
                self.bounds.value(result.len(), at)?;
                let shared: Arc<str> = result.as_str().into();
                for (name, value) in found {
                    let (path, at, result) = (path.pattern(), at.cloned(), Arc::clone(&shared));
                    self.uses.push(Use { name, path, at, value, result });
                }
                Ok(result)
            }
            Err(TemplateError::Invalid) => Err(fault(
                at,
                format!(
                    "invalid interpolation format for {}.\nYou may need to escape any $ with another $.\n{text}",
                    path.pattern()
                ),
            )),
            Err(TemplateError::Long) => Err(fault(at, format!("{path}: {}", template::too_long()))),
            Err(TemplateError::Required { name, message }) => Err(hinted(
                at,
                format!("error while interpolating {}: {}", path.pattern(), required(&name, &message)),
                format!("set `{name}` in the environment, in `.env`, or in a file given with `--env-file`"),
            )),
        }
    }

    fn cast(&mut self, text: &str, cast: Cast, path: &Path, at: Option<&Location>) -> Checked<Value> {
        let failed = |why: String| {
            let path = path.pattern();
            let message = format!("error while interpolating {path}: failed to cast to expected type: {why}");
            let wanted = match cast {
                Cast::No => "a text",
                Cast::Int => "a whole number, in decimal",
                Cast::Float => "a number, in decimal",
                Cast::Bool => "`true` or `false`",
            };
            hinted(at, message, format!("what comes of it has to be {wanted}"))
        };
        match cast {
            Cast::No => Ok(Value::String(text.to_owned())),
            Cast::Int => match text.strip_prefix('+').unwrap_or(text).parse() {
                Ok(number) => Ok(Value::Int(number)),
                Err(_) => Err(failed(format!("strconv.Atoi: parsing {text:?}: invalid syntax"))),
            },
            Cast::Float => match text.parse() {
                Ok(number) if !text.contains('_') => Ok(Value::Float(number)),
                _ => Err(failed(format!("strconv.ParseFloat: parsing {text:?}: invalid syntax"))),
            },
            Cast::Bool => {
                let (value, instead) = match text.to_lowercase().as_str() {
                    "true" => return Ok(Value::Bool(true)),
                    "false" => return Ok(Value::Bool(false)),
                    "y" | "yes" | "on" => (true, "true"),
                    "n" | "no" | "off" => (false, "false"),
                    _ => return Err(failed(format!("invalid boolean: {text}"))),
                };
                let message =
                    format!("{text:?} for boolean is not supported by YAML 1.2, please use `{instead}`");
                self.warnings.push(remark(at, message));
                Ok(Value::Bool(value))
            }
        }
    }
}

struct Lookup<'a> {
    environment: &'a Environment,
    found: Vec<(String, Option<String>)>,
    seen: HashSet<String>,
    unset: Vec<String>,
}

impl Variables for Lookup<'_> {
    fn get(&mut self, name: &str) -> Option<String> {
        let value = self.environment.get(name).map(str::to_owned);
        // Once is enough, however often it stands there.
        if self.seen.insert(name.to_owned()) {
            self.found.push((name.to_owned(), value.clone()));
        }
        value
    }

    fn unset(&mut self, name: &str) {
        self.unset.push(name.to_owned());
    }
}
