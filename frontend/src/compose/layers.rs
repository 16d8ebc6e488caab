//! File over file: reading documents, what they include and extend, and laying each over what was read before.
//!
//! For each document, in this order: fill in variables, take in what it includes, complete the services that extend
//! others, lay it over the model, drop what counts as the same, check it against the tables, spell out short forms,
//! drop again. Once all are read: put in defaults, check single values, resolve paths, give bare variables their values.

mod extends;
mod include;

use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use rbuild_model::span::{Diagnostic, Location, Source};

use super::bounds::Bounds;
use super::discover;
use super::elsewhere::Elsewhere;
use super::environment::Environment;
use super::fault::{Checked, fault, hinted, remark};
use super::interpolate::{Interpolation, Use};
use super::long::{Speller, Strictness};
use super::merge::{Marks, merge};
use super::normalise::{Unresolved, resolve};
use super::path::Path;
use super::paths::{self, Base};
use super::request::{Answer, Files, Loads, Question, Request, Stop};
use super::schema::PROJECT;
use super::yaml::{Map, Node, Value, compose};
use super::{defaults, unique, validate};

/// What is needed to read files, and what is gathered on the way.
pub(crate) struct Layers<'a> {
    /// What was asked for.
    pub(crate) request: &'a Request,
    /// The files.
    pub(crate) files: Files<'a>,
    /// What people should know.
    pub(crate) warnings: Vec<Diagnostic>,
    /// Where variables stood.
    pub(crate) uses: Vec<Use>,
    /// What others wrote.
    pub(crate) elsewhere: Elsewhere,
    /// How much it comes to.
    pub(crate) bounds: Bounds,
}

/// Where a set of files stands.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    /// The folder that its relative paths begin at, absolute.
    pub(crate) directory: PathBuf,
    /// The same, as the including project names it.
    pub(crate) relative: PathBuf,
    /// The variables.
    pub(crate) environment: Environment,
    /// The files that led here, for cycles.
    pub(crate) chain: Vec<PathBuf>,
    /// Whether paths are resolved at the end.
    pub(crate) resolve_paths: bool,
}

impl Layers<'_> {
    /// Reads the files of one project into one model.
    pub(crate) fn load(&mut self, list: &[PathBuf], scope: &Scope) -> Loads<Node> {
        let is_stdin = |path: &PathBuf| path.as_os_str() == "-";
        self.files.want(
            list.iter().map(
                |path| {
                    if is_stdin(path) { Question::Stdin } else { Question::File(path.clone()) }
                },
            ),
        )?;
        let mut model = Node::new(Value::Map(Map::default()), None);
        for path in list {
            let source = if is_stdin(path) {
                match self.files.ask(Question::Stdin)? {
                    Answer::Text(source) => Arc::clone(source),
                    _ => return Err(fault(None, "standard input cannot be read").into()),
                }
            } else {
                self.files.read(path)?
            };
            for document in compose(&source)? {
                self.check_top(&document)?;
                model = self.lay(model, document, path, &source, scope)?;
            }
        }
        if model.as_map().is_some_and(Map::is_empty) {
            let files: Vec<String> = list.iter().map(|path| format!("`{}`", path.display())).collect();
            let help =
                format!("{} says nothing: write `services:`, and below it what is to run", files.join(", "));
            return Err(Box::new(fault(None, "empty compose file").with_help(help)).into());
        }
        defaults::fill(&mut model);
        defaults::check(&model)?;
        if scope.resolve_paths {
            self.resolve_paths(&mut model, scope)?;
        }
        if !self.request.skip.interpolation {
            let services = model.as_map_mut().and_then(|map| map.get_mut("services"));
            for (name, service) in services.and_then(Node::as_map_mut).into_iter().flat_map(Map::iter_mut) {
                if let Some(variables) = service.as_map_mut().and_then(|map| map.get_mut("environment")) {
                    let path = Path::default().key("services").key(name).key("environment");
                    resolve(variables, &path, &scope.environment, Unresolved::Keep, &mut self.uses);
                }
            }
        }
        Ok(model)
    }

    fn check_top(&self, document: &Node) -> Checked<()> {
        let Some(map) = document.as_map() else {
            let help = "a file begins with `services:`, and has below it what is to run";
            return Err(hinted(document.at.as_ref(), "top-level object must be a mapping", help));
        };
        let Some(services) = map.get("services") else { return Ok(()) };
        let at = |node: &Node, map: &Map, key: &str| node.at.clone().or_else(|| map.key_at(key).cloned());
        match services.as_map() {
            Some(services) => {
                for (name, service) in services.iter() {
                    // Nothing leaves what earlier files say of a service; where they say nothing, its kind is wrong.
                    let is_fine = service.as_map().is_some() || service.is_null();
                    if !is_fine && service.mark == super::yaml::Mark::Merge {
                        let message = format!("services.{name} must be a mapping");
                        return Err(hinted(
                            at(service, services, name).as_ref(),
                            message,
                            "write `KEY: VALUE` lines below it",
                        ));
                    }
                }
                Ok(())
            }
            None if services.mark == super::yaml::Mark::Merge => {
                let help = "write the names of services below it, and below each what it is";
                Err(hinted(at(services, map, "services").as_ref(), "services must be a mapping", help))
            }
            None => Ok(()),
        }
    }

    fn lay(
        &mut self,
        model: Node,
        mut document: Node,
        path: &FilePath,
        source: &Arc<Source>,
        scope: &Scope,
    ) -> Loads<Node> {
        let top = Path::default();
        self.interpolate(&mut document, &scope.environment)?;
        let mut chain = scope.chain.clone();
        chain.push(path.to_owned());
        self.include(&mut document, &Scope { chain, ..scope.clone() })?;
        self.extend_services(&mut document, path, scope)?;
        let mut model = merge(model, document, &PROJECT, &top, Marks::Settle)?;
        unique::enforce(&mut model, Some(&PROJECT), &top)?;
        validate::validate(&model, &PROJECT)?;
        if let Some(map) = model.as_map_mut()
            && let Some(version) = map.remove("version")
        {
            let message = format!(
                "{}: the attribute `version` is obsolete, it will be ignored, please remove it to avoid potential \
                 confusion",
                source.name()
            );
            self.warnings.push(remark(version.at.as_ref(), message));
        }
        self.spell(&mut model)?;
        for service in defaults::entries(&mut model, "services") {
            if let Some(Value::List(servers)) = service.get_mut("dns").map(|node| &mut node.value) {
                servers.retain(|server| server.as_str() != Some(""));
            }
        }
        unique::enforce(&mut model, Some(&PROJECT), &top)?;
        Ok(model)
    }

    fn interpolate(&mut self, node: &mut Node, environment: &Environment) -> Checked<()> {
        if self.request.skip.interpolation {
            return Ok(());
        }
        let mut interpolation = Interpolation {
            environment,
            uses: &mut self.uses,
            warnings: &mut self.warnings,
            bounds: &mut self.bounds,
        };
        interpolation.fill(node, Some(&PROJECT), &Path::default())
    }

    fn spell(&mut self, model: &mut Node) -> Checked<()> {
        let strictness =
            if self.request.skip.interpolation { Strictness::Lenient } else { Strictness::Strict };
        Speller { strictness, warnings: &mut self.warnings, bounds: &mut self.bounds }.spell(
            model,
            &PROJECT,
            &Path::default(),
        )
    }

    /// Returns where a file lies that is named somewhere; what others name is theirs.
    fn located(&mut self, name: &str, at: Option<&Location>, scope: &Scope) -> Loads<PathBuf> {
        let path = discover::located(&scope.directory, name, self.files)?;
        if self.elsewhere.wrote(at) {
            self.elsewhere.add(&path, self.files);
        }
        Ok(path)
    }

    fn resolve_paths(&mut self, model: &mut Node, scope: &Scope) -> Loads<()> {
        let followed = self.followed(model, scope)?;
        let home = self.request.home.as_deref();
        paths::resolve(model, Some(&PROJECT), &Base { folder: &scope.relative, home, followed: &followed });
        Ok(())
    }

    /// Finds out where the links of watched paths lead.
    fn followed(&self, model: &mut Node, scope: &Scope) -> Loads<BTreeMap<PathBuf, PathBuf>> {
        let none = BTreeMap::new();
        let home = self.request.home.as_deref();
        let base = Base { folder: &scope.relative, home, followed: &none };
        let mut watched = Vec::new();
        for service in defaults::entries(model, "services") {
            let rules =
                service.get("develop").and_then(|develop| develop.get("watch")).and_then(Node::as_list);
            for path in rules.unwrap_or_default().iter().filter_map(|rule| rule.get("path")?.as_str()) {
                watched.push(PathBuf::from(base.absolute(path)));
            }
        }
        let full = |path: &PathBuf| discover::absolute(&scope.directory, path);
        self.files.want(watched.iter().map(|path| Question::Followed(full(path))))?;
        let mut followed = BTreeMap::new();
        for path in watched {
            if !path.is_absolute() {
                continue;
            }
            if let Answer::Path(target) = self.files.ask(Question::Followed(full(&path)))? {
                followed.insert(path, target.clone());
            }
        }
        Ok(followed)
    }
}

/// Returns the path of a folder as seen from another.
fn relative_to(from: &FilePath, to: &FilePath) -> PathBuf {
    let mut from_parts = from.components().peekable();
    let mut to_parts = to.components().peekable();
    while from_parts.peek().is_some() && from_parts.peek() == to_parts.peek() {
        from_parts.next();
        to_parts.next();
    }
    let path: PathBuf = from_parts.map(|_| std::path::Component::ParentDir).chain(to_parts).collect();
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path }
}

/// Makes an error that stops loading.
fn wrong(node: &Node, message: impl Into<String>) -> Stop {
    fault(node.at.as_ref(), message).into()
}

/// Makes an error that stops loading, and tells what to do about it.
fn wrong_with(node: &Node, message: impl Into<String>, help: impl Into<String>) -> Stop {
    hinted(node.at.as_ref(), message, help).into()
}

impl Layers<'_> {
    /// Returns the name that the files give the project: that of the last one which gives one.
    pub(crate) fn written_name(&mut self, found: &discover::Found) -> Loads<Option<String>> {
        self.files.want(found.files.iter().map(|path| match path.as_os_str() {
            path if path == "-" => Question::Stdin,
            path => Question::File(PathBuf::from(path)),
        }))?;
        let mut name = None;
        for path in &found.files {
            let source = match path.as_os_str() == "-" {
                true => match self.files.ask(Question::Stdin)? {
                    Answer::Text(source) => Arc::clone(source),
                    _ => continue,
                },
                false => self.files.read(path)?,
            };
            for document in compose(&source)? {
                let Some(node) = document.get("name").filter(|node| !node.is_null()) else { continue };
                let mut node = node.clone();
                if node.as_str().is_none() {
                    return Err(wrong_with(&node, "name must be a string", "put it in quotes"));
                }
                if !self.request.skip.interpolation {
                    let mut interpolation = Interpolation {
                        environment: &found.environment,
                        uses: &mut self.uses,
                        warnings: &mut self.warnings,
                        bounds: &mut self.bounds,
                    };
                    interpolation.fill(&mut node, None, &Path::default().key("name"))?;
                }
                name = node.scalar().filter(|name| !name.is_empty()).or(name);
            }
        }
        Ok(name)
    }
}
