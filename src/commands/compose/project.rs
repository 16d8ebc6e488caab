//! A project that verbs work with: its model where there is a file, else what its containers' labels say of it.
//!
//! | Command line | What is read |
//! |---|---|
//! | files, or none and no name | the files: a mistake in them ends the verb |
//! | `-p NAME` and no `-f`, for verbs about what is there | no file |
//! | files that cannot be read, `COMPOSE_PROJECT_NAME` set, for verbs about what is there | no file |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rbuild_engine::Engine;
use rbuild_engine::projects::labels::{self, key};
use rbuild_engine::projects::{Activity, Halt, Member, ReplicaKind};
use rbuild_frontend::compose::{Loaded, Skip};
use rbuild_model::project::{Project as Model, ProjectName, ServiceName};
use rbuild_worker::Cancel;

use super::loading;
use crate::cli::compose::Project as Flags;
use crate::commands::Context;
use crate::report::{Findings, Mistake};
use crate::wiring::{Home, Workshop};

/// The version that labels tell.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Whether a verb needs the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// It makes what they say.
    Files,
    /// It is about what is there already.
    WhatIsThere,
}

/// A project as it is meant.
pub(crate) struct Meant {
    /// Its name.
    pub(crate) name: ProjectName,
    /// What was read; nothing where it is only known by its labels.
    pub(crate) loaded: Option<Loaded>,
    /// The same in types; without services where it is only known by its labels.
    pub(crate) model: Model,
    /// The variables that services were given by those that provide what they depend on.
    pub(crate) provided: BTreeMap<ServiceName, BTreeMap<String, String>>,
}

/// A project that is worked with.
pub(crate) struct Handle {
    /// What it is meant to be.
    pub(crate) meant: Meant,
    /// What runs its containers.
    pub(crate) engine: Engine,
    /// The wish to stop what takes long: the first signal makes it.
    pub(crate) halt: Arc<Halt>,
    /// The same wish, for builds.
    pub(crate) cancel: Cancel,
    /// The open store; goes last.
    pub(crate) home: Home,
}

/// Which containers a verb is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    /// The services; all if empty.
    pub(crate) services: BTreeSet<String>,
    /// Those of `run` too.
    pub(crate) one_offs: bool,
    /// Those that do not run too.
    pub(crate) stopped: bool,
}

/// Reads a project. `services` are those that were named: they have to be there, and are turned on with what they need.
pub(crate) fn meant(
    flags: &Flags,
    services: &[String],
    source: Source,
    context: &Context,
) -> anyhow::Result<Meant> {
    let environment = &context.settings.environment;
    if source == Source::WhatIsThere
        && flags.files.is_empty()
        && let Some(name) = &flags.project_name
    {
        return by_labels(name);
    }
    let read = || -> anyhow::Result<Meant> {
        let request = loading::request(flags, services, Skip::default(), environment)?;
        let loaded = loading::loaded(&request, &|| Ok(context.settings.clone()), context.terminal)?;
        let mut model = loaded.project().map_err(Findings::from)?;
        if let Some(platform) = &context.settings.platform {
            for service in model.services.values_mut() {
                service.platform.get_or_insert_with(|| platform.to_string());
            }
        }
        // They are no part of what the files say: containers do not come anew when they change.
        for proxy in context.settings.docker_proxies()? {
            for service in model.services.values_mut() {
                let known = service.environment.entry(proxy.name.clone());
                known.or_insert_with(|| Some(proxy.value.clone()));
            }
        }
        if loading::is_compatible(flags, &loaded) {
            model.separator = '_';
        }
        Ok(Meant { name: loaded.name.clone(), loaded: Some(loaded), model, provided: BTreeMap::new() })
    };
    let named = environment.text("COMPOSE_PROJECT_NAME").filter(|name| !name.is_empty());
    match (read(), named) {
        (Err(_), Some(name)) if source == Source::WhatIsThere && flags.files.is_empty() => by_labels(&name),
        (read, _) => read,
    }
}

fn by_labels(name: &str) -> anyhow::Result<Meant> {
    let name = ProjectName::new(name).map_err(|error| Mistake::new(error.to_string()))?;
    Ok(Meant { model: Model::named(name.clone()), name, loaded: None, provided: BTreeMap::new() })
}

impl Meant {
    /// Returns a variable that says how a verb works: the caller's own, else that of the env files beside the project.
    pub(crate) fn variable(&self, name: &str, context: &Context) -> Option<String> {
        let own = || context.settings.environment.text(name);
        match &self.loaded {
            Some(loaded) => loaded.environment.get(name).map(ToString::to_string).or_else(own),
            None => own(),
        }
    }

    /// Whether a verb is about a service: the project has it and it is turned on, or it was named. All that is only known by
    /// labels may be one.
    pub(crate) fn is_about(&self, service: &str, named: &[String]) -> bool {
        self.loaded.is_none()
            || self.model.services.contains_key(service)
            || named.iter().any(|name| name == service)
    }
}

impl Handle {
    /// Opens the store for a project. Must be called before any thread is begun.
    pub(crate) fn open(meant: Meant, verb: &str, context: &Context) -> anyhow::Result<Self> {
        Ok(Self::with(meant, crate::wiring::project(context, &format!("rbuild compose {verb}"))?))
    }

    /// Puts a project and what works on it together.
    pub(crate) fn with(meant: Meant, workshop: Workshop) -> Self {
        let Workshop { engine, halt, cancel, home } = workshop;
        Self { meant, engine, halt, cancel, home }
    }

    /// Reads a project and opens the store for it.
    pub(crate) fn of(
        flags: &Flags,
        services: &[String],
        source: Source,
        verb: &str,
        context: &Context,
    ) -> anyhow::Result<Self> {
        Self::open(meant(flags, services, source, context)?, verb, context)
    }

    /// Returns all containers of the project.
    pub(crate) fn members(&self) -> anyhow::Result<Vec<Member>> {
        Ok(self.engine.members(self.meant.name.as_str())?)
    }

    /// Returns the containers of the project that a verb is about, by service and number.
    pub(crate) fn selected(&self, selection: &Selection) -> anyhow::Result<Vec<Member>> {
        let mut members = self.members()?;
        members.retain(|member| selection.fits(member));
        Ok(members)
    }

    /// Leaves out what belongs to services whose profiles are off, unless they were named.
    pub(crate) fn keep_enabled(&self, members: &mut Vec<Member>, named: &[String]) {
        let model = &self.meant.model;
        members.retain(|member| {
            let service = member.replica.service.as_str();
            let is_off = model.disabled.contains_key(service) && !model.services.contains_key(service);
            !is_off || named.iter().any(|name| name == service)
        });
    }

    /// Leaves out what belongs to services that the project does not have any more, or has turned off, unless they were
    /// named.
    pub(crate) fn keep_own(&self, members: &mut Vec<Member>, named: &[String]) {
        members.retain(|member| self.meant.is_about(&member.replica.service, named));
    }

    /// Whether the project has a service, turned on or not. All that is only known by labels may be one.
    pub(crate) fn has_service(&self, name: &str) -> bool {
        let model = &self.meant.model;
        self.meant.loaded.is_none() || model.services.contains_key(name) || model.disabled.contains_key(name)
    }
}

impl Selection {
    /// Means services; all of them if none is named.
    pub(crate) fn of(services: &[String]) -> Self {
        Self { services: services.iter().cloned().collect(), ..Self::default() }
    }

    /// Means those too that do not run.
    pub(crate) fn with_stopped(mut self) -> Self {
        self.stopped = true;
        self
    }

    /// Means those of `run` too.
    pub(crate) fn with_one_offs(mut self) -> Self {
        self.one_offs = true;
        self
    }

    fn fits(&self, member: &Member) -> bool {
        let replica = &member.replica;
        (self.services.is_empty() || self.services.contains(&replica.service))
            && (self.one_offs || replica.kind == ReplicaKind::Numbered)
            && (self.stopped || replica.activity.is_up() || replica.activity == Activity::Restarting)
    }
}

/// Returns what each service depends on: as the project says, else as labels do.
pub(crate) fn dependencies(meant: &Meant, members: &[Member]) -> BTreeMap<String, BTreeSet<String>> {
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let services = meant.model.services.values().chain(meant.model.disabled.values());
    for service in services {
        let needs = service.depends_on.keys().map(ToString::to_string).collect();
        graph.insert(service.name.to_string(), needs);
    }
    for member in members {
        if meant.loaded.is_none() {
            let label = member.definition.labels.get(key::DEPENDS_ON).map(String::as_str).unwrap_or_default();
            let needs = graph.entry(member.replica.service.clone()).or_default();
            needs.extend(labels::dependencies(label).map(str::to_owned));
        }
    }
    graph
}
