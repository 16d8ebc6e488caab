//! The images of services: which have to be had before anything is made, and how each is had.
//!
//! | Policy | Image is here | It is not |
//! |---|---|---|
//! | `missing` (or nothing said) | used | pulled; built where that fails and the service says how |
//! | `always` | pulled | pulled |
//! | `never` | used | built where the service says how, else an error |
//! | `build` | built | built; an error where the service does not say how |
//! | `--build` | built | built; without a way to build as by the policy |
//! | `daily`, `weekly`, `every_N` | pulled if it was last named so long ago | pulled |
//!
//! A service that says how it is built and names no image is built where it has none. The images that a service mounts
//! are had by the same policies; what another service builds is not pulled.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rbuild_engine::projects::image_name;
use rbuild_images::ImagesError;
use rbuild_model::digest::ImageId;
use rbuild_model::platform::Platform;
use rbuild_model::project::{MountKind, Project as Model, PullPolicy, Service, ServiceName};
use rbuild_model::reference::Reference;

use super::board::{Board, Stage};
use super::places;
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

/// Where a service names an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Use {
    /// The service.
    pub(super) service: ServiceName,
    /// What else of it has the image; none where its containers do.
    pub(super) beside: Option<Beside>,
}

/// What of a service names an image besides its containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Beside {
    /// The mount in this place.
    Mount(usize),
    /// What runs before it starts, in this place.
    PreStart(usize),
}

impl Use {
    /// The keys and positions that lead there from the top of the project.
    fn path(&self) -> Vec<String> {
        let below = match self.beside {
            None => vec!["image".to_owned()],
            Some(Beside::Mount(number)) => {
                vec!["volumes".to_owned(), number.to_string(), "source".to_owned()]
            }
            Some(Beside::PreStart(number)) => {
                vec!["pre_start".to_owned(), number.to_string(), "image".to_owned()]
            }
        };
        ["services".to_owned(), self.service.to_string()].into_iter().chain(below).collect()
    }

    /// Says what is wrong with the image, with its place.
    pub(super) fn blame(&self, handle: &Handle, error: impl Into<anyhow::Error>) -> anyhow::Error {
        let error = error.into().context(self.path().join("."));
        places::placed(&handle.meant, &self.path(), error)
    }
}

/// Returns where a service names images, each with what says how that one is had: the service, for an image that it mounts
/// or runs before it starts as if its containers were made from that. What another service builds is left out.
pub(super) fn uses<'a>(
    model: &'a Model,
    service: &'a Service,
) -> impl Iterator<Item = (Use, Cow<'a, Service>)> {
    let is_built = |source: &str| {
        model.services.values().any(|other| other.build.is_some() && image_name(model, other) == source)
    };
    let mounts = service.volumes.iter().enumerate().filter_map(|(number, mount)| match &mount.kind {
        MountKind::Image { source, .. } => Some((Beside::Mount(number), source)),
        _ => None,
    });
    let steps = service.pre_start.iter().enumerate();
    let steps = steps.filter_map(|(number, step)| Some((Beside::PreStart(number), step.image.as_ref()?)));
    let beside = mounts.chain(steps).filter(move |(_, image)| !is_built(image)).map(|(beside, image)| {
        let at = Use { service: service.name.clone(), beside: Some(beside) };
        // Only the service itself can be built.
        let pull_policy = service.pull_policy.filter(|policy| *policy != PullPolicy::Build);
        let image = Some(image.clone());
        (at, Cow::Owned(Service { image, build: None, pull_policy, ..service.clone() }))
    });
    let own = Use { service: service.name.clone(), beside: None };
    std::iter::once((own, Cow::Borrowed(service))).chain(beside)
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
        (PullPolicy::Never, None) if can_build => Ok((Way::Build, "it is missing")),
        (PullPolicy::Never | PullPolicy::Build, None) if has_name => {
            let what = format!("no such image: {}", service.image.as_deref().unwrap_or_default());
            Err(Mistake::new(what).hint(match policy {
                PullPolicy::Build => {
                    "its policy is to build, never to pull: load or build the image, or leave the policy out"
                }
                _ => "its policy is never to pull: load or build the image, or leave the policy out",
            }))
        }
        (_, None) if has_name => pull("it is missing"),
        (_, None) if can_build => Ok((Way::Build, "it is missing")),
        (_, None) => Err(Mistake::new("the image was not built yet")
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
) -> anyhow::Result<BTreeMap<Use, Needed>> {
    let model = &handle.meant.model;
    let mut needed = BTreeMap::new();
    for name in services {
        let Some(service) = model.services.get(name).filter(|service| service.provider.is_none()) else {
            continue;
        };
        let platform = platform(service, context)?;
        for (at, service) in uses(model, service) {
            let image = image_name(model, &service);
            let here = here(handle, &image, &platform)?;
            let built = at.beside.is_none() && here.is_some_and(|(id, _)| was_built_here(name, id));
            let (way, cause) = way(&service, here, built, wishes, Timestamp::now().as_second())
                .map_err(|error| at.blame(handle, error))?;
            needed.insert(at, Needed { name: image, platform: platform.clone(), way, cause });
        }
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

/// Returns the images that a service mounts, by target; nothing if one is not here.
pub(super) fn mounted(
    handle: &Handle,
    service: &Service,
    context: &Context,
) -> anyhow::Result<Option<BTreeMap<String, String>>> {
    let platform = platform(service, context)?;
    let mut images = BTreeMap::new();
    for mount in &service.volumes {
        if let MountKind::Image { source, .. } = &mount.kind {
            let Some((image, _)) = here(handle, source, &platform)? else { return Ok(None) };
            images.insert(mount.target.clone(), image.to_string());
        }
    }
    Ok(Some(images))
}

/// What pulling came to.
#[derive(Debug, Default)]
pub(super) struct Pulled {
    /// The images of services that are here now.
    pub(super) here: BTreeMap<ServiceName, ImageId>,
    /// The services whose images have to be built.
    pub(super) builds: BTreeSet<ServiceName>,
}

impl Pulled {
    fn has(&mut self, at: &Use, image: ImageId) {
        if at.beside.is_none() {
            self.here.insert(at.service.clone(), image);
        }
    }
}

/// Pulls what has to be pulled, all at once, each image once. Failures are told when all are done: the first is returned.
pub(super) fn pull(
    handle: &Handle,
    needed: &BTreeMap<Use, Needed>,
    parallel: Option<NonZeroUsize>,
    board: &Board,
    context: &Context,
) -> anyhow::Result<Pulled> {
    let mut pulled = Pulled::default();
    let mut jobs: BTreeMap<(String, String), (&Needed, Vec<&Use>)> = BTreeMap::new();
    for (at, need) in needed {
        match &need.way {
            Way::Here(image) => pulled.has(at, *image),
            Way::Build => drop(pulled.builds.insert(at.service.clone())),
            Way::Pull { .. } => {
                let key = (need.name.clone(), need.platform.to_string());
                jobs.entry(key).or_insert_with(|| (need, Vec::new())).1.push(at);
            }
        }
    }
    if jobs.is_empty() {
        return Ok(pulled);
    }
    let lease = handle.home.lease("rbuild compose pull")?;
    let results = Mutex::new(Vec::new());
    let jobs: Vec<_> = jobs.into_values().collect();
    at_once(&jobs, parallel, |(need, uses)| {
        let result = pull_one(handle, need, &lease, board);
        results.lock().unwrap_or_else(PoisonError::into_inner).push((uses, *need, result));
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(_, need, _)| (&need.name, need.platform.to_string()));
    let mut failures = Vec::new();
    for (uses, need, result) in results {
        match result {
            Ok(image) => uses.iter().for_each(|at| pulled.has(at, image)),
            Err(error) => {
                // Who can be built is.
                let (build, not): (Vec<&Use>, Vec<&Use>) =
                    uses.iter().partition(|at| matches!(needed[**at].way, Way::Pull { else_build: true }));
                pulled.builds.extend(build.into_iter().map(|at| at.service.clone()));
                if let Some(first) = not.first() {
                    let error = error.context(format!("failed to pull {}", need.name));
                    failures.push(first.blame(handle, error));
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
    match handle.home.images.pull(&reference.with_default_tag(), &need.platform, lease, board) {
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

/// Returns the names of a project's services.
pub(super) fn names(model: &Model, names: &[String]) -> BTreeSet<ServiceName> {
    let known = names.iter().filter_map(|name| model.services.get_key_value(name.as_str()));
    known.map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests;
