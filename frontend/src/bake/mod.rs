//! Bake files: many targets, with what they share written once.
//!
//! ```text
//! files ── hcl / JSON ─┐
//!                      ├─ globals: variables, functions ── read: targets, groups ─┐
//! compose projects ────┼──────────────────────────────────────────────────────────┤
//!                      │                                     select: names, inherits, --set, links ── Plan
//! command line ────────┘
//! ```
//!
//! Nothing here reads a file or the environment: [`Request`] brings both along.

mod compose;
mod globals;
mod list;
pub mod options;
mod print;
mod read;
mod select;
mod set;
mod target;

use std::collections::BTreeMap;
use std::sync::Arc;

use rbuild_model::span::{Diagnostic, Source};

use crate::hcl::functions::World;
use crate::hcl::{BlockForm, Body, Value, parse, parse_json};
pub use compose::project;
use globals::Globals;
pub use globals::{Environment, Variable};
pub use list::list;
pub use print::{document, json};
pub use select::{HERE, clean, is_address};
pub use set::Override;
pub use target::Target;

/// The blocks of a bake file.
const FORMS: &[BlockForm] = &[
    BlockForm { kind: "target", labels: 1, inner: &[] },
    BlockForm { kind: "group", labels: 1, inner: &[] },
    BlockForm {
        kind: "variable",
        labels: 1,
        inner: &[BlockForm { kind: "validation", labels: 0, inner: &[] }],
    },
    BlockForm { kind: "function", labels: 1, inner: &[] },
];

/// A file that targets are read from.
pub enum File {
    /// HCL.
    Hcl(Arc<Source>),
    /// JSON.
    Json(Arc<Source>),
    /// A compose project that was loaded, as [`project`] writes it.
    Compose(serde_json::Value),
}

/// What is to be read.
pub struct Request<'r> {
    /// The files, in the order in which they win over each other.
    pub files: Vec<File>,
    /// The names of targets and groups, also with `*`; none for the default.
    pub names: Vec<String>,
    /// `--set`
    pub overrides: Vec<Override>,
    /// Variables of the environment.
    pub environment: &'r Environment<'r>,
    /// What functions know.
    pub world: World,
    /// The platform of this machine.
    pub platform: String,
    /// The context that the command line names: `cwd://`, or an address.
    pub command_context: String,
    /// Where a context is that is no path here: files that came from elsewhere mean places there.
    pub located: &'r dyn Fn(&str) -> String,
}

/// A group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The targets and groups in it.
    pub targets: Vec<String>,
    /// What it is for.
    pub description: Option<String>,
}

/// All that files define.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The targets, each once.
    pub targets: Vec<Target>,
    /// The groups, each once.
    pub groups: Vec<(String, Group)>,
}

impl Config {
    fn target(&self, name: &str) -> Option<&Target> {
        self.targets.iter().find(|target| target.name == name)
    }

    fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|(known, _)| known == name).map(|(_, group)| group)
    }

    /// Adds a target; what is known of one of its name already stays where the new one says nothing.
    fn add(&mut self, target: Target) {
        match self.targets.iter_mut().find(|known| known.name == target.name) {
            Some(known) => known.merge(&target),
            None => self.targets.push(target),
        }
    }

    fn merge(&mut self, over: Self) {
        for target in over.targets {
            self.add(target);
        }
        for (name, group) in over.groups {
            self.groups.retain(|(known, _)| *known != name);
            self.groups.push((name, group));
        }
    }
}

/// The targets that are built.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The groups that were named, directly or not.
    pub groups: BTreeMap<String, Group>,
    /// The targets, complete.
    pub targets: BTreeMap<String, Target>,
    /// The names of the targets in the order in which they came up.
    pub order: Vec<String>,
}

/// What was read.
#[derive(Debug)]
pub struct Bake {
    /// All that files define.
    pub config: Config,
    /// The variables.
    pub variables: Vec<Variable>,
    /// What people should know.
    pub warnings: Vec<Diagnostic>,
}

/// Reads the files.
pub fn read(request: &Request<'_>) -> Result<Bake, Vec<Diagnostic>> {
    let mut bodies: Vec<Body> = Vec::new();
    let mut config = Config::default();
    let mut errors = Vec::new();
    for file in &request.files {
        match file {
            File::Hcl(source) | File::Json(source) => {
                let (body, mut wrong) = match file {
                    File::Json(_) => parse_json(source, FORMS),
                    _ => parse(source),
                };
                errors.append(&mut wrong);
                bodies.push(body);
            }
            File::Compose(project) => match compose::read(project) {
                Ok(found) => config.merge(found),
                Err(error) => errors.push(read::unplaced(error)),
            },
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let plain = |errors: Vec<crate::hcl::Failure>| errors.into_iter().map(|error| *error).collect::<Vec<_>>();
    let builtins = [
        ("BAKE_CMD_CONTEXT", Value::string(&*request.command_context)),
        ("BAKE_LOCAL_PLATFORM", Value::string(&*request.platform)),
    ];
    let globals = Globals::new(
        bodies.iter().flat_map(|body| &body.blocks),
        bodies.iter().flat_map(|body| &body.attributes),
        builtins.into(),
        request.environment,
        &request.world,
    )
    .map_err(plain)?;
    let mut warnings = Vec::new();
    let mut errors = globals.validate();
    let read = if errors.is_empty() {
        read::read(bodies.iter().flat_map(|body| &body.blocks), &globals, &mut warnings)
    } else {
        Ok(Config::default())
    };
    match read {
        Ok(found) => config.merge(found),
        Err(mut wrong) => errors.append(&mut wrong),
    }
    let variables = globals.list();
    match variables {
        Ok(variables) if errors.is_empty() => Ok(Bake { config, variables, warnings }),
        Err(error) if errors.is_empty() => Err(vec![*error]),
        _ => Err(plain(errors)),
    }
}

/// Chooses the targets that are built.
pub fn plan(bake: &Bake, request: &Request<'_>) -> Result<Plan, Diagnostic> {
    let selection = select::Selection {
        config: &bake.config,
        overrides: &request.overrides,
        environment: request.environment,
        located: request.located,
    };
    selection.plan(&request.names).map_err(|error| *error)
}
