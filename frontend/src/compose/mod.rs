//! Compose files to projects.
//!
//! [`load`] does no I/O. What it has to know (what is in a file, where a link leads) it asks: it returns
//! [`Loading::Needs`] with every question it can already ask, the caller answers and calls again. Loading takes
//! milliseconds, so starting over costs less than keeping its state would.
//!
//! ```text
//! discover ── files, folder, variables, name
//!     │
//! layers ──── for each document: interpolate, include, extends, merge, unique, validate, long, unique
//!     │       at the end: defaults, paths
//! normalise ─ implicit network, names, implied dependencies
//!     │
//! select ──── profiles, asked for ── consistency ── env_files ── prune
//!     │
//! settle ──── final types and spelling ── print (YAML, JSON, hash), typed (Project)
//! ```
//!
//! Everything that is known of a key stands in the tables of `schema`; the steps walk a tree and its table side by side.
//! Every node knows where it was written, so that an error of the last step still points at the line.

mod bounds;
mod consistency;
mod defaults;
mod discover;
mod dotenv;
mod elsewhere;
mod env_files;
mod environment;
mod explain;
mod fault;
mod images;
mod interpolate;
mod layers;
mod long;
mod merge;
mod normalise;
mod path;
mod paths;
mod print;
mod remarks;
mod request;
pub(crate) mod schema;
mod select;
mod settle;
mod template;
#[cfg(test)]
mod tests;
mod typed;
mod unique;
mod validate;
mod values;
mod variables;
mod yaml;

use std::collections::BTreeMap;
use std::path::PathBuf;

use bounds::Bounds;
use rbuild_model::project::{Project, ProjectName};
use rbuild_model::span::{Diagnostic, Location, Source};

pub use discover::{NAMES as FILE_NAMES, is_on};
pub use elsewhere::Elsewhere;
pub use environment::{Environment, Origin, Variable};
pub use images::{ImageAt, ImagePlace};
pub use interpolate::Use;
pub use request::{Answer, Answers, Question, Request, Skip};
pub use variables::Mention;

use discover::{Found, name_fault, with_name};
use fault::remark;
use layers::{Layers, Scope};
use request::{Files, Loads, Stop};
use select::Parted;
use yaml::{Map, Node, Value};

/// What became of loading.
#[derive(Debug)]
pub enum Loading {
    /// Something has to be known first.
    Needs(Vec<Question>),
    /// All is known.
    Ready(Box<Loaded>),
}

/// Why a project cannot be loaded.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{diagnostic}")]
pub struct LoadError {
    /// What is wrong.
    pub diagnostic: Box<Diagnostic>,
    /// What people should know, up to there.
    pub warnings: Vec<Diagnostic>,
}

/// A project, loaded.
#[derive(Debug)]
pub struct Loaded {
    /// The project's name.
    pub name: ProjectName,
    /// Its folder.
    pub directory: PathBuf,
    /// The files it was read from.
    pub files: Vec<PathBuf>,
    /// The repository or artifact that it comes from: where its first file was brought from, if it was.
    pub remote: Option<String>,
    /// What of it others wrote.
    pub elsewhere: Elsewhere,
    /// The variables it was read with.
    pub environment: Environment,
    /// Where variables stood, and what came of them.
    pub uses: Vec<Use>,
    /// What people should know.
    pub warnings: Vec<Diagnostic>,
    env_files: Vec<PathBuf>,
    /// The top level, the enabled and selected services in it.
    top: Map,
    disabled: Map,
}

/// Loads a project.
pub fn load(request: &Request, answers: &Answers) -> Result<Loading, LoadError> {
    let files = Files { answers };
    let elsewhere = Elsewhere::of(answers);
    let mut layers = Layers {
        request,
        files,
        warnings: Vec::new(),
        uses: Vec::new(),
        elsewhere,
        bounds: Bounds::default(),
    };
    match load_all(&mut layers) {
        Ok(loaded) => Ok(Loading::Ready(Box::new(loaded))),
        Err(Stop::Needs(questions)) => Ok(Loading::Needs(questions)),
        Err(Stop::Wrong(diagnostic)) => Err(LoadError { diagnostic, warnings: layers.warnings }),
    }
}

fn load_all(layers: &mut Layers<'_>) -> Loads<Loaded> {
    let request = layers.request;
    let mut warnings = Vec::new();
    let found = discover::discover(request, layers.files, &mut warnings)?;
    layers.warnings = warnings;
    let (name, environment) = named(layers, &found)?;
    let scope = Scope {
        directory: found.directory.clone(),
        relative: found.directory.clone(),
        environment: environment.clone(),
        chain: Vec::new(),
        resolve_paths: !request.skip.path_resolution,
    };
    let mut model = layers.load(&found.files, &scope)?;
    if !request.skip.normalisation {
        // Where variables stay as they are written, none is looked up.
        let nobodys = Environment::default();
        let known = if request.skip.interpolation { &nobodys } else { &environment };
        normalise::normalise(&mut model, name.as_str(), known, &mut layers.uses);
    }
    let mut top = match model.value {
        Value::Map(top) => top,
        _ => Map::default(),
    };
    if request.skip.normalisation && !request.skip.interpolation {
        normalise::spell_out_nothing(&mut top);
    }
    if !(request.skip.interpolation && request.skip.normalisation) {
        top.put("name", Node::new(Value::String(name.as_str().to_owned()), None));
    }
    let mut disabled = Map::default();
    if !request.skip.interpolation {
        // What cannot be read is wrong, whoever is asked for and whatever is shown.
        settle::check(&top)?;
        let parted = select_services(layers, &mut top, &found, &environment)?;
        top.put("services", Node::new(Value::Map(parted.services), None));
        disabled = parted.disabled;
    }
    let env_files = request
        .env_files
        .iter()
        .map(|file| discover::absolute(&request.current_dir, std::path::Path::new(file)))
        .collect();
    Ok(Loaded {
        name,
        directory: found.directory,
        files: found.files,
        remote: found.remote,
        elsewhere: std::mem::take(&mut layers.elsewhere),
        environment,
        uses: std::mem::take(&mut layers.uses),
        warnings: std::mem::take(&mut layers.warnings),
        env_files,
        top,
        disabled,
    })
}

/// Finds the project's name: asked for, written in a file, or that of the folder.
fn named(layers: &mut Layers<'_>, found: &Found) -> Loads<(ProjectName, Environment)> {
    let written = match &found.name {
        Some(_) => None,
        None => layers.written_name(found)?,
    };
    let name = match (&found.name, written) {
        (Some(name), _) => name.clone(),
        (None, Some(written)) => ProjectName::normalised(&written).map_err(|error| name_fault(&error))?,
        (None, None) => {
            let folder = found.home.file_name().map(|name| name.to_string_lossy().into_owned());
            let name =
                ProjectName::normalised(&folder.unwrap_or_default()).map_err(|error| name_fault(&error))?;
            let here = &found.home;
            if let request::Answer::Path(real) = layers.files.ask(Question::Followed(here.clone()))?
                && real != here
                && real.file_name() != here.file_name()
            {
                let message = format!(
                    "project has been loaded without an explicit name from a symlink. Using name {:?}",
                    name.as_str()
                );
                layers.warnings.push(remark(None, message));
            }
            name
        }
    };
    let environment = with_name(found.environment.clone(), &name);
    Ok((name, environment))
}

fn select_services(
    layers: &mut Layers<'_>,
    top: &mut Map,
    found: &Found,
    environment: &Environment,
) -> Loads<Parted> {
    let request = layers.request;
    let services = match top.remove("services").map(|node| node.value) {
        Some(Value::Map(services)) => services,
        _ => Map::default(),
    };
    let mut parted = select::by_profiles(services, &found.profiles, &request.services);
    if !request.skip.consistency {
        let (services, disabled) = (&parted.services, &parted.disabled);
        consistency::check(&consistency::Model { services, disabled, top })?;
        consistency::align_replicas(&mut parted.services);
    }
    if !request.skip.env_resolution {
        let reading = env_files::Reading {
            directory: &found.directory,
            environment,
            files: layers.files,
            elsewhere: &mut layers.elsewhere,
            uses: &mut layers.uses,
            warnings: &mut layers.warnings,
        };
        reading.resolve(&mut parted.services)?;
    }
    select::by_names(&mut parted, &request.services)?;
    remarks::commands(&parted.services, &mut layers.warnings);
    if !request.skip.pruning {
        select::prune(top, &parted.services);
    }
    Ok(parted)
}

/// Writes a text as a YAML scalar.
pub fn yaml_text(text: &str) -> String {
    yaml::emit(&yaml::Document::Scalar(Value::String(text.to_owned()))).trim().to_owned()
}

/// Reads one YAML document of whatever form; JSON is one.
pub fn yaml_value(source: &std::sync::Arc<Source>) -> Result<serde_json::Value, Box<Diagnostic>> {
    let mut documents = yaml::compose(source)?;
    Ok(if documents.is_empty() { serde_json::Value::Null } else { documents.swap_remove(0).plain() })
}

/// Splits a command line as a shell splits words, up to the first operator of one.
pub fn words(line: &str) -> Result<Vec<String>, String> {
    Ok(values::words::split(line)?.words)
}

/// Reads an env file in the grammar of `.env`, with the values of bare names and `$NAME` from `known`, else from the file itself.
pub fn env_file(
    source: &std::sync::Arc<Source>,
    known: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<(String, String)>, Box<Diagnostic>> {
    let file = dotenv::parse(source, known, &Environment::default())?;
    Ok(file.variables.iter().map(|(name, variable)| (name.to_owned(), variable.value.clone())).collect())
}

/// Which of a project's names are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// The services, each behind what it depends on.
    Services,
    /// The networks.
    Networks,
    /// The volumes.
    Volumes,
    /// The models, by what they are and not by their keys.
    Models,
}

impl Loaded {
    /// Returns the project in types.
    pub fn project(&self) -> Result<Project, Box<Diagnostic>> {
        typed::project(self)
    }

    /// Writes the canonical form as YAML.
    pub fn yaml(&self) -> Result<String, Box<Diagnostic>> {
        print::yaml(&self.top)
    }

    /// Writes the canonical form as JSON.
    pub fn json(&self) -> Result<String, Box<Diagnostic>> {
        print::json(&self.top)
    }

    /// Writes the model as it was merged, values untouched, as YAML.
    pub fn raw_yaml(&self) -> String {
        print::raw_yaml(&self.raw())
    }

    /// Writes the model as it was merged, values untouched, as JSON.
    pub fn raw_json(&self) -> String {
        print::raw_json(&self.raw())
    }

    fn raw(&self) -> Node {
        Node::new(Value::Map(self.top.clone()), None)
    }

    fn services(&self) -> &Map {
        static NONE: std::sync::LazyLock<Map> = std::sync::LazyLock::new(Map::default);
        self.top.get("services").and_then(Node::as_map).unwrap_or(&NONE)
    }

    /// Returns where a key stands, given by the keys and positions that lead to it from the top; where it was not
    /// written, what it would be in.
    pub fn place(&self, path: &[impl AsRef<str>]) -> Option<&Location> {
        self.top.nearest(path)
    }

    /// Whether others wrote anything of what stands at a key of a section, in services that are off, too.
    pub fn is_theirs(&self, section: &str, key: &str) -> bool {
        let known = self.top.get(section).and_then(|section| section.get(key));
        let known = known.or_else(|| self.disabled.get(key).filter(|_| section == "services"));
        known.is_some_and(|node| self.elsewhere.touched(node))
    }

    /// Returns the names of a section.
    pub fn names(&self, section: Section) -> Vec<String> {
        let key = match section {
            Section::Services => return select::in_order(self.services()),
            Section::Networks => "networks",
            Section::Volumes => "volumes",
            Section::Models => "models",
        };
        let map = self.top.get(key).and_then(Node::as_map);
        if section == Section::Models {
            let models = map.into_iter().flat_map(Map::iter);
            return models.filter_map(|(_, model)| model.get("model").and_then(Node::scalar)).collect();
        }
        map.map(|map| map.keys().map(str::to_owned).collect()).unwrap_or_default()
    }

    /// Returns all profiles of all services, enabled or not.
    pub fn profiles(&self) -> Vec<String> {
        let services = self.services().iter().chain(self.disabled.iter());
        let listed = services.flat_map(|(_, service)| {
            let list = service.get("profiles").and_then(Node::as_list).unwrap_or_default();
            list.iter().filter_map(Node::scalar).collect::<Vec<_>>()
        });
        let sorted: std::collections::BTreeSet<String> = listed.collect();
        sorted.into_iter().collect()
    }

    /// Gives env files of services other names: `rename` is asked with the service and the number of the file in it.
    pub fn rename_env_files(&mut self, rename: impl Fn(&str, usize) -> Option<String>) {
        let services = self.top.get_mut("services").and_then(Node::as_map_mut);
        for (name, service) in services.into_iter().flat_map(Map::iter_mut) {
            let files = service.as_map_mut().and_then(|service| service.get_mut("env_file"));
            let Some(Value::List(files)) = files.map(|files| &mut files.value) else { continue };
            for (number, file) in files.iter_mut().enumerate() {
                if let (Some(name), Some(file)) = (rename(name, number), file.as_map_mut()) {
                    file.put("path", Node::new(Value::String(name), None));
                }
            }
        }
    }

    /// Returns the hash of what makes each service's containers what they are.
    pub fn hashes(&self) -> Result<BTreeMap<String, String>, Box<Diagnostic>> {
        let services = self.services().iter().filter_map(|(name, node)| Some((name, node.as_map()?)));
        services.map(|(name, service)| Ok((name.to_owned(), print::service_hash(name, service)?))).collect()
    }

    /// Returns the variables that the project mentions; loaded without interpolation, all of them are there.
    pub fn variables(&self) -> BTreeMap<String, Mention> {
        variables::mentioned(&self.raw())
    }

    /// Tells where a variable's value came from and what it does.
    pub fn explain(&self, name: &str) -> String {
        explain::explain(name, &self.environment, self.uses.iter().chain(&explain::contents(&self.top, name)))
    }
}
