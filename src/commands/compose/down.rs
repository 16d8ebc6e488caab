//! `rbuild compose down` and `rbuild down`.

use std::collections::BTreeSet;

use rbuild_engine::projects::labels::key;
use rbuild_engine::projects::{
    self, AfterFailure, Down as Wish, Haste, Member, Orphans, VolumesToo, image_name,
};
use rbuild_frontend::compose::is_on;
use rbuild_images::ImagesError;
use rbuild_model::project::Project as Model;

use super::board::{Board, Stage};
use super::doubts;
use super::making::{self, Prepared};
use super::project::{Handle, Meant, Source, dependencies};
use super::providers;
use crate::cli::compose::Project;
use crate::cli::compose::up::Down;
use crate::commands::{Context, Outcome};
use crate::report::{self, Mistake, Status};

/// By which name a verb was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// `rbuild compose ...`: as docker compose does it.
    Compose,
    /// `rbuild up`, `rbuild down`.
    Short,
}

impl Manner {
    /// Whether those are waited for that cannot hear that they should stop.
    pub(super) const fn haste(self) -> Haste {
        match self {
            Self::Compose => Haste::None,
            Self::Short => Haste::WhereDeaf,
        }
    }
}

/// Runs the verb.
pub(super) fn run(project: &Project, down: &Down, manner: Manner, context: &Context) -> Outcome {
    let handle = Handle::of(project, &[], Source::WhatIsThere, "down", context)?;
    for name in &down.services {
        if !handle.has_service(name) {
            return Err(Mistake::new(format!("no such service: {name}")).into());
        }
    }
    let all = handle.members()?;
    if all.is_empty() {
        doubts::tell_other_name(&handle.meant, &handle.engine, context.terminal)?;
    }
    let mut members = all.clone();
    handle.keep_enabled(&mut members, &down.services);
    let is_kept = |member: &&Member| !members.iter().any(|own| own.replica.id == member.replica.id);
    let kept: BTreeSet<&str> =
        all.iter().filter(is_kept).flat_map(|member| &member.replica.networks).map(String::as_str).collect();
    let model = &handle.meant.model;
    let by_labels = handle.meant.loaded.is_none();
    let owned = handle.engine.owned(model.name.as_str())?;
    let graph = dependencies(&handle.meant, &members);
    let wish = Wish {
        replicas: members.iter().map(|member| member.replica.clone()).collect(),
        dependencies: graph,
        targets: down.services.iter().cloned().collect(),
        networks: networks(model, &owned.networks, &kept, by_labels),
        named_volumes: volumes(model, &owned.volumes, by_labels, &down.services),
        volumes: if down.volumes { VolumesToo::Remove } else { VolumesToo::Keep },
        orphans: orphans(down, &handle.meant, context),
    };
    let mut plan = projects::down(&wish)?;
    // What is not there is neither removed nor told of.
    plan.keep_existing(&handle.engine)?;
    if plan.operations.is_empty() && by_labels {
        context
            .terminal
            .tell(&format!("Warning: No resource found to remove for project {:?}.\n", model.name.as_str()));
    }
    if project.dry_run {
        making::print(&plan, context)?;
        providers::withdraw(&handle.meant, &down.services, project, &Board::new(project, context), context)?;
        return Ok(Status::Done);
    }
    let board = Board::new(project, context);
    for warning in &plan.warnings {
        board.note(&format!("warning: {warning}"));
    }
    let left = if down.services.is_empty() { left(model, &all, &members) } else { None };
    if let Some(left) = left {
        board.note(&left);
    }
    let wanted = projects::Wanted { timeout: making::timeout(down.timeout), ..projects::Wanted::default() };
    let prepared = Prepared { plan, wanted, members, profiles: Default::default(), hold: None };
    let how = making::Manner { haste: manner.haste(), ..making::Manner::plain() };
    let halt = &handle.halt;
    let carried =
        making::carry_out(&handle, project, &prepared, how, AfterFailure::GoOn, halt, &board, context)?;
    making::failed(&handle.meant, &prepared, carried, context)?;
    if handle.halt.is_made() {
        return Ok(Status::Interrupted);
    }
    providers::withdraw(&handle.meant, &down.services, project, &board, context)?;
    match &down.rmi {
        Some(which) => remove_images(&handle, &prepared, which == "all", down, &board, context),
        None => Ok(Status::Done),
    }
}

/// What becomes of containers whose services the project does not have any more. As with Docker Compose, only the caller's
/// own variable has them removed here, not one beside the project.
fn orphans(down: &Down, meant: &Meant, context: &Context) -> Orphans {
    let own = context.settings.environment.text("COMPOSE_REMOVE_ORPHANS");
    if down.remove_orphans || is_on(own.as_deref()) {
        Orphans::Remove
    } else if is_on(meant.variable("COMPOSE_IGNORE_ORPHANS", context).as_deref()) {
        Orphans::Ignore
    } else {
        Orphans::Warn
    }
}

/// Tells which containers stay because the profiles of their services are off: who takes a project down may have forgotten
/// with what it came up.
fn left(model: &Model, all: &[Member], members: &[Member]) -> Option<String> {
    let stays = |member: &&Member| !members.iter().any(|own| own.replica.id == member.replica.id);
    let stay: Vec<&Member> = all.iter().filter(stays).collect();
    let profiles: BTreeSet<&str> = stay
        .iter()
        .filter_map(|member| model.disabled.get(member.replica.service.as_str()))
        .filter_map(|service| service.profiles.first().map(String::as_str))
        .collect();
    let names: BTreeSet<&str> = stay.iter().map(|member| member.replica.name.as_str()).collect();
    let names = names.into_iter().collect::<Vec<_>>().join(", ");
    let flags: String = profiles.into_iter().map(|profile| format!(" --profile {profile}")).collect();
    (!names.is_empty())
        .then(|| format!("warning: {names}: left alone, as the profile is off (`compose{flags} down`)"))
}

/// The networks that go: those that bear the project's label. Of these, those that it does not declare and that only
/// services whose profiles are off have use of are `kept`. What another project made stays, whatever it is called.
fn networks(model: &Model, owned: &[String], kept: &BTreeSet<&str>, by_labels: bool) -> Vec<String> {
    if by_labels {
        return owned.to_vec();
    }
    let declared = model.networks.values().filter(|network| !network.external);
    let declared: BTreeSet<&str> = declared.map(|network| network.name.as_str()).collect();
    let goes = |name: &str| declared.contains(name) || !kept.contains(name);
    let names: BTreeSet<&String> = owned.iter().filter(|name| goes(name)).collect();
    names.into_iter().cloned().collect()
}

/// The volumes that go.
fn volumes(model: &Model, owned: &[String], by_labels: bool, services: &[String]) -> Vec<String> {
    // Those of a service that was named may be others' too.
    if !services.is_empty() {
        return Vec::new();
    }
    if by_labels {
        return owned.to_vec();
    }
    let declared = model.volumes.values().filter(|volume| !volume.external);
    declared.map(|volume| volume.name.clone()).collect()
}

/// Removes the images of services: those that were built here, or all.
fn remove_images(
    handle: &Handle,
    prepared: &Prepared,
    all: bool,
    down: &Down,
    board: &Board,
    context: &Context,
) -> Outcome {
    let model = &handle.meant.model;
    let images = &handle.home.images;
    let wanted = |name: &str| down.services.is_empty() || down.services.iter().any(|service| service == name);
    let mut names: BTreeSet<String> = BTreeSet::new();
    for service in model.services.values().filter(|service| wanted(service.name.as_str())) {
        let name = image_name(model, service);
        let is_built = service.build.is_some() && service.image.as_ref().is_none_or(String::is_empty);
        if all || is_built || was_built_for(handle, &name, service.name.as_str()) {
            names.insert(name);
        }
    }
    for member in &prepared.members {
        let (service, name) = (&member.replica.service, &member.definition.image.reference);
        let known = model.services.contains_key(service.as_str());
        if !known && wanted(service) && (all || was_built_for(handle, name, service)) {
            names.insert(name.clone());
        }
    }
    let mut status = Status::Done;
    for name in names {
        let id = format!("Image {name}");
        if matches!(images.find_id(&name), Err(ImagesError::NotFound(_))) {
            continue;
        }
        board.tell(&id, "Removing", Stage::Working);
        match images.remove(&name, &handle.engine) {
            Ok(_) => board.tell(&id, "Removed", Stage::Done),
            Err(error @ ImagesError::InUse { .. }) => {
                board.tell(&id, "Resource is still in use", Stage::Warned);
                board.note(&format!("warning: {error}"));
            }
            Err(error) => {
                board.tell(&id, "Error", Stage::Failed);
                status = report::tell(&error.into(), context.terminal);
            }
        }
    }
    Ok(status)
}

/// Whether an image says that it was built for a service of this project.
fn was_built_for(handle: &Handle, image: &str, service: &str) -> bool {
    let Ok(image) = handle.home.images.find(image) else { return false };
    let labels = &image.config.config.labels;
    let says = |name: &str, value: &str| labels.get(name).is_some_and(|label| label == value);
    says(key::PROJECT, handle.meant.name.as_str()) && says(key::SERVICE, service)
}
