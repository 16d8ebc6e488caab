//! What services take from files: variables by `env_file`, labels by `label_file`.

use std::cell::RefCell;
use std::path::{Path as FilePath, PathBuf};

use rbuild_model::span::{Diagnostic, Location};

use super::discover::{absolute, warn_of_unset};
use super::dotenv;
use super::elsewhere::Elsewhere;
use super::environment::Environment;
use super::fault::{fault, hinted};
use super::interpolate::Use;
use super::request::{Answer, Files, Loads, Question};
use super::yaml::{Map, Node, Value};

/// What files are read with, and what is gathered on the way.
pub(crate) struct Reading<'a> {
    /// The project's folder.
    pub(crate) directory: &'a FilePath,
    /// The project's variables.
    pub(crate) environment: &'a Environment,
    /// The files.
    pub(crate) files: Files<'a>,
    /// What others wrote.
    pub(crate) elsewhere: &'a mut Elsewhere,
    /// Where variables stood.
    pub(crate) uses: &'a mut Vec<Use>,
    /// What people should know.
    pub(crate) warnings: &'a mut Vec<Diagnostic>,
}

struct EnvFile {
    path: PathBuf,
    at: Option<Location>,
    is_required: bool,
    format: Option<String>,
}

impl Reading<'_> {
    /// Puts the variables and labels of their files into services.
    pub(crate) fn resolve(mut self, services: &mut Map) -> Loads<()> {
        let mut named = Vec::new();
        for (_, service) in services.iter() {
            named.extend(self.env_files(service).into_iter().map(|file| (file.path, file.at)));
            named.extend(self.label_files(service));
        }
        self.files.want(named.iter().map(|(path, _)| Question::File(path.clone())))?;
        for (path, at) in named {
            if self.elsewhere.wrote(at.as_ref()) {
                self.elsewhere.add(&path, self.files);
            }
        }
        for (name, service) in services.iter_mut() {
            self.variables(name, service)?;
            self.labels(service)?;
        }
        Ok(())
    }

    /// Notes the variables of the project that a file took.
    fn note(&mut self, taken: RefCell<Vec<(String, String)>>, path: String, at: Option<&Location>) {
        for (name, value) in taken.into_inner() {
            let (path, at) = (path.clone(), at.cloned());
            self.uses.push(Use { name, path, at, value: Some(value.clone()), result: value.into() });
        }
    }

    /// Returns a variable of the project, and notes it among those that were taken.
    fn lookup(&self, name: &str, taken: &RefCell<Vec<(String, String)>>) -> Option<String> {
        let value = self.environment.get(name)?.to_owned();
        taken.borrow_mut().push((name.to_owned(), value.clone()));
        Some(value)
    }

    fn env_files(&self, service: &Node) -> Vec<EnvFile> {
        let list = service.get("env_file").and_then(Node::as_list).unwrap_or_default();
        list.iter()
            .filter_map(|entry| {
                let path = entry.get("path")?;
                Some(EnvFile {
                    path: absolute(self.directory, FilePath::new(path.as_str()?)),
                    at: path.at.clone(),
                    is_required: entry.get("required").is_none_or(|node| node.value != Value::Bool(false)),
                    format: entry.get("format").and_then(Node::scalar),
                })
            })
            .collect()
    }

    fn label_files(&self, service: &Node) -> Vec<(PathBuf, Option<Location>)> {
        let list = service.get("label_file").and_then(Node::as_list).unwrap_or_default();
        let paths = list.iter().filter_map(|node| Some((node.as_str()?, node.at.clone())));
        paths.map(|(path, at)| (absolute(self.directory, FilePath::new(path)), at)).collect()
    }

    fn variables(&mut self, name: &str, service: &mut Node) -> Loads<()> {
        let files = self.env_files(service);
        let at = service.get("env_file").and_then(|node| node.at.clone());
        let Some(map) = service.as_map_mut() else { return Ok(()) };
        map.remove("env_file");
        if files.is_empty() {
            return Ok(());
        }
        let own = variables_of(map.get("environment"));
        let own_value = |name: &str| {
            own.iter().rev().find(|(known, _)| known == name).and_then(|(_, node)| node.scalar())
        };
        let mut all = Environment::default();
        for file in files {
            let shown = file.path.display();
            let source = match self.files.look(&file.path)? {
                Answer::Text(source) => source,
                Answer::Missing if !file.is_required => continue,
                Answer::Missing => {
                    let message =
                        format!("env file {shown} not found: stat {shown}: no such file or directory");
                    return Err(Box::new(
                        fault(at.as_ref(), message).with_help("`required: false` makes it optional"),
                    )
                    .into());
                }
                Answer::Unreadable(why) => {
                    return Err(fault(at.as_ref(), format!("failed to read {shown}: {why}")).into());
                }
                Answer::Directory | Answer::Path(_) => {
                    let message = format!("failed to read {shown}: read {shown}: is a directory");
                    return Err(fault(at.as_ref(), message).into());
                }
            };
            let taken = RefCell::default();
            let lookup = |name: &str| self.lookup(name, &taken).or_else(|| own_value(name));
            let read = match file.format.as_deref() {
                None | Some("") => dotenv::parse(source, &lookup, &all),
                Some("raw") => dotenv::parse_raw(source, &lookup),
                Some(other) => {
                    let message = format!("unsupported env_file format {other:?}");
                    return Err(hinted(at.as_ref(), message, "write `raw`, or leave the key out").into());
                }
            };
            let read = read.map_err(|mut error| {
                let act = if file.format.as_deref() == Some("raw") { "parse env_file" } else { "read" };
                error.message = format!("failed to {act} {shown}: {}", error.message);
                error
            })?;
            self.note(taken, format!("services.{name}.env_file"), file.at.as_ref());
            warn_of_unset(&read.unset, self.warnings);
            all.overlay(read.variables);
        }
        let mut merged = Map::default();
        for (name, variable) in all.iter() {
            let place = match &variable.origin {
                super::environment::Origin::EnvFile(location) => Some(location.clone()),
                _ => None,
            };
            merged.put(name, Node::new(Value::String(variable.value.clone()), place));
        }
        for (name, node) in own {
            merged.put(&name, node);
        }
        map.put("environment", Node::new(Value::Map(merged), at));
        Ok(())
    }

    fn labels(&mut self, service: &mut Node) -> Loads<()> {
        let files = self.label_files(service);
        let at = service.get("label_file").and_then(|node| node.at.clone());
        let Some(map) = service.as_map_mut() else { return Ok(()) };
        map.remove("label_file");
        if files.is_empty() {
            return Ok(());
        }
        let mut merged = Map::default();
        for (path, _) in files {
            let shown = path.display();
            let Answer::Text(source) = self.files.look(&path)? else {
                return Err(fault(
                    at.as_ref(),
                    format!("label file {shown} not found: stat {shown}: no such file or directory"),
                )
                .into());
            };
            // Labels know what stands above them in their file, and no variables.
            let lookup = |_: &str| None;
            let read = dotenv::parse(source, &lookup, &Environment::default()).map_err(|mut error| {
                error.message = format!("failed to read {shown}: {}", error.message);
                error
            })?;
            warn_of_unset(&read.unset, self.warnings);
            for (name, variable) in read.variables.iter() {
                merged.put(name, Node::new(Value::String(variable.value.clone()), at.clone()));
            }
        }
        for (name, node) in variables_of(map.get("labels")) {
            let value = node.scalar().unwrap_or_default();
            merged.put(&name, Node::text(value, &node));
        }
        map.put("labels", Node::new(Value::Map(merged), at));
        Ok(())
    }
}

/// Returns variables or labels with their values, those without one with nothing.
fn variables_of(node: Option<&Node>) -> Vec<(String, Node)> {
    match node.map(|node| &node.value) {
        Some(Value::Map(map)) => map.iter().map(|(name, node)| (name.to_owned(), node.clone())).collect(),
        Some(Value::List(list)) => list
            .iter()
            .map(|node| {
                let text = node.scalar().unwrap_or_default();
                match text.split_once('=') {
                    Some((name, value)) => (name.to_owned(), Node::text(value, node)),
                    None => (text, Node::new(Value::Null, node.at.clone())),
                }
            })
            .collect(),
        _ => Vec::new(),
    }
}
