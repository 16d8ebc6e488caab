//! The images of services: which have to be had before anything is made, and how each is had.
//!
//! | Policy | Image is here | It is not |
//! |---|---|---|
//! | `missing` (or nothing said) | used | pulled; built where that fails and the service says how |
//! | `always` | pulled | pulled |
//! | `never` | used | an error |
//! | `build`, and `--build` | built | built |
//! | `daily`, `weekly`, `every_N` | pulled if it was last named so long ago | pulled |
//!
//! A service that says how it is built and names no image is built where it has none.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rbuild_engine::projects::image_name;
use rbuild_images::{ImagesError, LayerState, Progress};
use rbuild_model::digest::{BlobDigest, ImageId};
use rbuild_model::platform::Platform;
use rbuild_model::project::{Project as Model, PullPolicy, Service, ServiceName};
use rbuild_model::reference::Reference;

use super::board::{Board, Stage};
use super::project::Handle;
use crate::cli::compose::up::Pull;
use crate::commands::Context;
use crate::report::{self, Mistake};

/// What a person says about images, besides what services say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wishes {
    /// Which policy counts instead of the services' own.
    pub(super) pull: Option<Pull>,
    /// Whether all is built that can be (`--build`).
    pub(super) build: bool,
    /// Whether nothing is built (`--no-build`).
    pub(super) no_build: bool,
    /// Whether what was built here is built again, which costs nothing where nothing has changed.
    pub(super) evaluate: bool,
}

/// How an image is had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// It is here.
    Here(ImageId),
    /// From a registry; where that fails it may be built.
    Pull {
        /// Whether it is built where that fails.
        else_build: bool,
    },
    /// From its Dockerfile.
    Build,
}

/// An image that services need.
#[derive(Clone, Debug)]
pub(super) struct Needed {
    /// Its name.
    pub(super) name: String,
    /// For which platform.
    pub(super) platform: Platform,
    /// How it is had.
    pub(super) way: Way,
    /// Why.
    pub(super) cause: &'static str,
}

/// Finds out how the image of a service is had. Pure.
pub(super) fn way(
    service: &Service,
    here: Option<(ImageId, Option<i64>)>,
    was_built_here: bool,
    wishes: Wishes,
    now: i64,
) -> Result<(Way, &'static str), Mistake> {
    let can_build = service.build.is_some() && !wishes.no_build;
    let has_name = service.image.as_ref().is_some_and(|image| !image.is_empty());
    let policy = match wishes.pull {
        Some(Pull::Always) => PullPolicy::Always,
        Some(Pull::Missing) => PullPolicy::Missing,
        Some(Pull::Never) => PullPolicy::Never,
        Some(Pull::Build) => PullPolicy::Build,
        None => service.pull_policy.unwrap_or(PullPolicy::Missing),
    };
    if can_build && wishes.build {
        return Ok((Way::Build, "asked for"));
    }
    if can_build && policy == PullPolicy::Build {
        return Ok((Way::Build, "its policy is to build"));
    }
    let pull = |cause| Ok((Way::Pull { else_build: can_build }, cause));
    match (policy, here) {
        (PullPolicy::Always, _) if has_name => pull("its policy is to pull always"),
        (PullPolicy::Every(age), Some((_, named))) if has_name && is_older(named, age, now) => {
            pull("it was pulled too long ago")
        }
        (_, Some(_)) if can_build && was_built_here && wishes.evaluate => {
            Ok((Way::Build, "it was built here"))
        }
        (_, Some((image, _))) => Ok((Way::Here(image), "it is here")),
        (PullPolicy::Never, None) if !can_build || has_name => Err(Mistake::new(format!(
            "service {}: no such image: {}",
            service.name,
            service.image.as_deref().unwrap_or_default()
        ))
        .hint("its policy is never to pull: load or build the image, or leave the policy out")),
        (_, None) if has_name => pull("it is missing"),
        (_, None) if can_build => Ok((Way::Build, "it is missing")),
        (_, None) => Err(Mistake::new(format!("service {}: its image was not built yet", service.name))
            .hint("leave `--no-build` out, or build it with `rbuild compose build`")),
    }
}

fn is_older(named: Option<i64>, age: Duration, now: i64) -> bool {
    let age = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
    named.is_none_or(|named| now.saturating_sub(named) >= age)
}

/// The platform of a service's image.
pub(super) fn platform(service: &Service, context: &Context) -> anyhow::Result<Platform> {
    match &service.platform {
        Some(text) if !text.is_empty() => text
            .parse()
            .map_err(|error| Mistake::new(format!("services.{}.platform: {error}", service.name)).into()),
        _ => Ok(context.settings.platform.clone().unwrap_or_else(Platform::host)),
    }
}

/// Looks up which images services need, and how each is had.
pub(super) fn needed(
    handle: &Handle,
    services: &BTreeSet<ServiceName>,
    wishes: Wishes,
    was_built_here: &dyn Fn(&ServiceName, ImageId) -> bool,
    context: &Context,
) -> anyhow::Result<BTreeMap<ServiceName, Needed>> {
    let model = &handle.meant.model;
    let mut needed = BTreeMap::new();
    for name in services {
        let Some(service) = model.services.get(name).filter(|service| service.provider.is_none()) else {
            continue;
        };
        let image = image_name(model, service);
        let platform = platform(service, context)?;
        let here = here(handle, &image, &platform)?;
        let built = here.is_some_and(|(id, _)| was_built_here(name, id));
        let (way, cause) = way(service, here, built, wishes, Timestamp::now().as_second())?;
        needed.insert(name.clone(), Needed { name: image, platform, way, cause });
    }
    Ok(needed)
}

/// Finds an image that is here for a platform, and when it was last named.
fn here(handle: &Handle, name: &str, platform: &Platform) -> anyhow::Result<Option<(ImageId, Option<i64>)>> {
    let images = &handle.home.images;
    let id = match images.find_for(name, Some(platform)) {
        Ok(id) => id,
        Err(ImagesError::NotFound(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // One of another platform is as good as missing.
    if !platform.can_run(&images.config(id)?.platform()) {
        return Ok(None);
    }
    Ok(images.get(id)?.map(|image| (id, image.last_named)))
}

/// What pulling came to.
#[derive(Debug, Default)]
pub(super) struct Pulled {
    /// The images that are here now.
    pub(super) here: BTreeMap<ServiceName, ImageId>,
    /// The services whose images have to be built.
    pub(super) builds: BTreeSet<ServiceName>,
}

/// Pulls what has to be pulled, all at once, each image once. Failures are told when all are done: the first is returned.
pub(super) fn pull(
    handle: &Handle,
    needed: &BTreeMap<ServiceName, Needed>,
    parallel: Option<NonZeroUsize>,
    board: &Board,
    context: &Context,
) -> anyhow::Result<Pulled> {
    let mut pulled = Pulled::default();
    let mut jobs: BTreeMap<(String, String), (&Needed, Vec<ServiceName>)> = BTreeMap::new();
    for (service, need) in needed {
        match &need.way {
            Way::Here(image) => drop(pulled.here.insert(service.clone(), *image)),
            Way::Build => drop(pulled.builds.insert(service.clone())),
            Way::Pull { .. } => {
                let key = (need.name.clone(), need.platform.to_string());
                jobs.entry(key).or_insert_with(|| (need, Vec::new())).1.push(service.clone());
            }
        }
    }
    if jobs.is_empty() {
        return Ok(pulled);
    }
    let lease = handle.home.lease("rbuild compose pull")?;
    let results = Mutex::new(Vec::new());
    let jobs: Vec<_> = jobs.into_values().collect();
    at_once(&jobs, parallel, |(need, services)| {
        let result = pull_one(handle, need, &lease, board);
        results.lock().unwrap_or_else(PoisonError::into_inner).push((services, *need, result));
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(_, need, _)| (&need.name, need.platform.to_string()));
    let mut failures = Vec::new();
    for (services, need, result) in results {
        match result {
            Ok(image) => pulled.here.extend(services.iter().map(|service| (service.clone(), image))),
            Err(error) => {
                // Who can be built is.
                let (build, not): (Vec<_>, Vec<_>) = services
                    .iter()
                    .partition(|service| matches!(needed[*service].way, Way::Pull { else_build: true }));
                pulled.builds.extend(build.into_iter().cloned());
                if !not.is_empty() {
                    failures.push(error.context(format!("failed to pull {}", need.name)));
                }
            }
        }
    }
    let mut failures = failures.into_iter();
    let Some(first) = failures.next() else { return Ok(pulled) };
    board.leave();
    for other in failures {
        report::tell(&other, context.terminal);
    }
    Err(first)
}

/// Does jobs at once, as many as may be.
pub(super) fn at_once<'a, T: Sync>(
    jobs: &'a [T],
    parallel: Option<NonZeroUsize>,
    work: impl Fn(&'a T) + Sync,
) {
    let next = AtomicUsize::new(0);
    let workers = parallel.map_or(jobs.len(), |limit| limit.get().min(jobs.len()));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(job);
                }
            });
        }
    });
}

/// Pulls an image, and tells of it.
pub(super) fn pull_one(
    handle: &Handle,
    need: &Needed,
    lease: &rbuild_store::Lease,
    board: &Board,
) -> anyhow::Result<ImageId> {
    let id = format!("Image {}", need.name);
    let reference: Reference =
        need.name.parse().map_err(|error| Mistake::new(format!("{}: {error}", need.name)))?;
    board.tell(&id, "Pulling", Stage::Working);
    let notes = Notes { board };
    match handle.home.images.pull(&reference.with_default_tag(), &need.platform, lease, &notes) {
        Ok(pulled) => {
            board.tell(&id, "Pulled", Stage::Done);
            Ok(pulled.image)
        }
        Err(error) => {
            let buildable = matches!(need.way, Way::Pull { else_build: true });
            let error = anyhow::Error::from(error);
            if buildable {
                board.tell(&id, "Warning", Stage::Warned);
                board.note(&format!("warning: {}: {}", need.name, report::chain(&error)));
            } else {
                board.tell(&id, "Error", Stage::Failed);
            }
            Err(error)
        }
    }
}

/// Passes remarks on; layers are not shown one by one.
struct Notes<'a> {
    board: &'a Board,
}

impl Progress for Notes<'_> {
    fn layer(&self, _layer: BlobDigest, _state: LayerState) {}

    fn note(&self, text: &str) {
        self.board.note(text);
    }
}

/// Returns the names of a project's services.
pub(super) fn names(model: &Model, names: &[String]) -> BTreeSet<ServiceName> {
    let known = names.iter().filter_map(|name| model.services.get_key_value(name.as_str()));
    known.map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests;
