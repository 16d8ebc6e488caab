//! `rbuild compose pull` and `push`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use rbuild_images::{Existing, ImagesError, Packing};
use rbuild_model::project::{PullPolicy as Policy, Service, ServiceName};
use rbuild_model::reference::Reference;

use super::board::{Board, Stage};
use super::images_needed::{self, Needed, Use, Way};
use super::making;
use super::project::{Handle, Source};
use crate::cli::compose::Project;
use crate::cli::compose::carry::{Pull, PullPolicy, Push};
use crate::commands::{Context, Outcome};
use crate::flags;
use crate::report::{self, Mistake, Status};

/// What becomes of the image of a service that is to be pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Pulled,
    /// It is not, for this reason.
    Skipped(&'static str),
}

/// Decides about the image of a service. Pure.
fn fate(service: &Service, is_here: bool, arguments: &Pull) -> Fate {
    if service.provider.is_some() || service.image.as_ref().is_none_or(String::is_empty) {
        return Fate::Skipped("Skipped - No image to be pulled");
    }
    if arguments.ignore_buildable && service.build.is_some() {
        return Fate::Skipped("Skipped - Image can be built");
    }
    let policy = match arguments.policy {
        Some(PullPolicy::Always) => Some(Policy::Always),
        Some(PullPolicy::Missing) => Some(Policy::Missing),
        None => service.pull_policy,
    };
    match policy {
        Some(Policy::Never) => Fate::Skipped("Skipped - Its policy is never to pull"),
        Some(Policy::Build) => Fate::Skipped("Skipped - Its policy is to build"),
        Some(Policy::Missing) if is_here && !is_latest(service) => {
            Fate::Skipped("Skipped - Image is already present locally")
        }
        _ => Fate::Pulled,
    }
}

/// Whether the name of a service's image means whatever is newest: such a one is asked for although it is here.
fn is_latest(service: &Service) -> bool {
    let reference = service.image.as_deref().and_then(|image| image.parse::<Reference>().ok());
    reference.is_some_and(|name| name.digest().is_none() && name.tag().is_none_or(|tag| tag == "latest"))
}

/// Returns the services that are meant: those that are named, or all; with what they depend on if that is asked for.
fn services(handle: &Handle, named: &[String], with_dependencies: bool) -> Vec<Service> {
    let model = &handle.meant.model;
    let wanted: BTreeSet<&str> = named.iter().map(String::as_str).collect();
    let is_wanted =
        |name: &ServiceName| wanted.is_empty() || with_dependencies || wanted.contains(name.as_str());
    model.services.values().filter(|service| is_wanted(&service.name)).cloned().collect()
}

pub(super) fn pull(project: &Project, arguments: &Pull, context: &Context) -> Outcome {
    let handle = Handle::of(project, &arguments.services, Source::Files, "pull", context)?;
    let outcome = pull_all(&handle, project, arguments, context);
    handle.home.ended(outcome)
}

fn pull_all(handle: &Handle, project: &Project, arguments: &Pull, context: &Context) -> Outcome {
    let board = Board::new(project, context).quiet(arguments.quiet);
    // Each image once, whoever has it.
    let mut jobs: BTreeMap<(String, String), (Needed, Vec<Use>)> = BTreeMap::new();
    let services = services(handle, &arguments.services, arguments.include_deps);
    for (at, service) in services.iter().flat_map(|service| images_needed::uses(&handle.meant.model, service))
    {
        let platform = images_needed::platform(&service, context)?;
        let name = service.image.clone().unwrap_or_default();
        let is_here = handle.home.images.find_for(&name, Some(&platform)).is_ok();
        match fate(&service, is_here, arguments) {
            Fate::Skipped(why) => board.tell(service.name.as_str(), why, Stage::Done),
            Fate::Pulled => {
                let way = Way::Pull { else_build: service.build.is_some() };
                let key = (name.clone(), platform.to_string());
                let needed = Needed { name, platform, way, cause: "asked for" };
                jobs.entry(key).or_insert_with(|| (needed, Vec::new())).1.push(at);
            }
        }
    }
    if project.dry_run {
        for (needed, _) in jobs.values() {
            board.tell(&format!("DRY-RUN MODE - Image {}", needed.name), "Pulled", Stage::Done);
        }
        return Ok(Status::Done);
    }
    let lease = handle.home.lease("rbuild compose pull")?;
    let failures = Mutex::new(Vec::new());
    let jobs: Vec<_> = jobs.into_values().collect();
    images_needed::at_once(&jobs, making::parallel(project, &handle.meant, context)?, |(needed, uses)| {
        if let Err(error) = images_needed::pull_one(handle, needed, &lease, &board) {
            failures.lock().unwrap_or_else(PoisonError::into_inner).push((needed, uses, error));
        }
    });
    let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    let buildable: Vec<&str> = failures
        .iter()
        .flat_map(|(_, uses, _)| uses.iter())
        .filter(|at| at.beside.is_none() && handle.meant.model.services[&at.service].build.is_some())
        .map(|at| at.service.as_str())
        .collect();
    if !buildable.is_empty() {
        context.terminal.tell(&format!(
            "warning: some service images must be built: `rbuild compose build {}`\n",
            buildable.join(" ")
        ));
    }
    let mut status = Status::Done;
    for (needed, uses, error) in failures {
        if !arguments.ignore_pull_failures {
            let error = error.context(format!("failed to pull {}", needed.name));
            status = report::tell(&uses[0].blame(handle, error), context.terminal);
        }
    }
    Ok(status)
}

pub(super) fn push(project: &Project, arguments: &Push, context: &Context) -> Outcome {
    let handle = Handle::of(project, &arguments.services, Source::Files, "push", context)?;
    let outcome = push_all(&handle, project, arguments, context);
    handle.home.ended(outcome)
}

/// Pushes the images of services, and tells how that went.
pub(super) fn push_all(handle: &Handle, project: &Project, arguments: &Push, context: &Context) -> Outcome {
    let board = Board::new(project, context).quiet(arguments.quiet);
    let packing = Packing {
        encoding: flags::encoding(None, None).map_err(|error| Mistake::usage(error.to_string()))?,
        existing: Existing::Keep,
        family: None,
    };
    let lease = handle.home.lease("rbuild compose push")?;
    let mut status = Status::Done;
    for service in services(handle, &arguments.services, arguments.include_deps) {
        let image = service.image.as_deref().filter(|image| !image.is_empty());
        let (Some(build), Some(image)) = (&service.build, image) else {
            board.tell(service.name.as_str(), "Skipped", Stage::Done);
            continue;
        };
        let mut failed = None;
        for name in std::iter::once(image).chain(build.tags.iter().map(String::as_str)) {
            let id = format!("Image {name}");
            if project.dry_run {
                board.tell(&format!("DRY-RUN MODE - {id}"), "Pushed", Stage::Done);
                continue;
            }
            let reference: Reference =
                name.parse().map_err(|error| Mistake::new(format!("`{name}`: {error}")))?;
            board.tell(&id, "Pushing", Stage::Working);
            match push_one(handle, &reference.with_default_tag(), packing, &lease, &board) {
                Ok(()) => board.tell(&id, "Pushed", Stage::Done),
                Err(error) => {
                    board.tell(&id, "Error", Stage::Failed);
                    let error = anyhow::Error::from(error).context(format!("failed to push {name}"));
                    failed = failed.or(Some(error));
                }
            }
        }
        if let Some(error) = failed {
            let told = report::tell(&error, context.terminal);
            if !arguments.ignore_push_failures {
                status = told;
            }
        }
    }
    Ok(status)
}

fn push_one(
    handle: &Handle,
    name: &Reference,
    packing: Packing,
    lease: &rbuild_store::Lease,
    board: &Board,
) -> Result<(), ImagesError> {
    handle.home.images.push(&name.to_string(), None, name, packing, lease, board).map(drop)
}

#[cfg(test)]
mod tests {
    use rbuild_model::project::Build;

    use super::*;

    fn told(image: Option<&str>, builds: bool, policy: Option<Policy>, arguments: &Pull) -> Fate {
        let mut service = Service::named(ServiceName::new("web").expect("a name"));
        service.image = image.map(str::to_owned);
        service.build = builds.then(Build::default);
        service.pull_policy = policy;
        fate(&service, true, arguments)
    }

    #[test]
    fn what_is_pulled_follows_policies() {
        let plain = Pull::default();
        assert_eq!(told(Some("x:1"), false, None, &plain), Fate::Pulled);
        assert_eq!(told(Some("x"), true, None, &plain), Fate::Pulled);
        assert_eq!(told(None, true, None, &plain), Fate::Skipped("Skipped - No image to be pulled"));
        let skips =
            |image, policy| matches!(told(Some(image), false, Some(policy), &plain), Fate::Skipped(_));
        assert!(skips("x", Policy::Never) && skips("x", Policy::Build) && skips("x:1", Policy::Missing));
        // What is newest today may be another one tomorrow.
        assert!(!skips("x", Policy::Missing) && !skips("host:5000/x:latest", Policy::Missing));
        let always = Pull { policy: Some(PullPolicy::Always), ..Pull::default() };
        assert_eq!(told(Some("x"), false, Some(Policy::Never), &always), Fate::Pulled);
        let ignoring = Pull { ignore_buildable: true, ..Pull::default() };
        assert_eq!(told(Some("x"), true, None, &ignoring), Fate::Skipped("Skipped - Image can be built"));
    }
}
