//! What everything here is done with: the store, its images and snapshots, networks, monitors.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rbuild_images::{Images, Progress, Resolved};
use rbuild_model::platform::Platform;
use rbuild_model::reference::Reference;
use rbuild_monitor::Program;
use rbuild_network::site::{Place, SiteConfig};
use rbuild_snapshotter::Snapshotter;
use rbuild_store::Store;

use crate::containers::Prepared;
use crate::error::RunError;
use crate::networks::{HostNames, Networks};

/// The parts that an engine is put together from.
pub struct Parts {
    /// The store.
    pub store: Store,
    /// The images of the store.
    pub images: Arc<Images>,
    /// The snapshots of the store.
    pub snapshotter: Arc<dyn Snapshotter>,
    /// Opens the snapshots with another folder as the place of those that are being written.
    pub snapshots_in: OpenSnapshots,
    /// What monitors are made of.
    pub monitor: Program,
    /// The arguments of this program that remove an ended container, but for its id.
    pub reap: Vec<String>,
    /// Where networks are made.
    pub site: SiteConfig,
    /// The folder that the cgroups of this store are in.
    pub cgroup_prefix: String,
    /// The folders that say which devices there are; a later one counts more.
    pub device_folders: Vec<PathBuf>,
    /// What the host says about names.
    pub host: HostNames,
}

/// Opens the snapshots of a store with another folder as the place of those that are being written.
pub type OpenSnapshots =
    Box<dyn Fn(&Path) -> Result<Arc<dyn Snapshotter>, rbuild_snapshotter::Error> + Send + Sync>;

/// Makes, runs and removes containers, networks and volumes.
pub struct Engine {
    pub(crate) parts: Parts,
    /// What was begun ahead of a start.
    pub(crate) prepared: Mutex<Prepared>,
}

impl Parts {
    /// Opens the namespace that networks are made in, if it is not our own.
    pub(crate) fn place(&self) -> Result<Option<OwnedFd>, RunError> {
        match &self.site.place {
            Place::Here => Ok(None),
            Place::Elsewhere(place) => Ok(Some(place.find().map_err(|source| RunError::Place { source })?)),
        }
    }
}

impl Engine {
    /// Puts an engine together; nothing is started yet.
    pub fn new(parts: Parts) -> Self {
        Self { parts, prepared: Mutex::default() }
    }

    /// Returns the networks of the store.
    pub fn networks(&self) -> Networks {
        Networks::new(&self.parts.store, self.parts.site.clone(), self.parts.host.clone())
    }

    /// Finds an image for a platform, and pulls it as the policy says.
    pub(crate) fn resolve(
        &self,
        image: &str,
        pull: rbuild_images::PullPolicy,
        platform: &Platform,
        lease: &rbuild_store::Lease,
        progress: &dyn Progress,
    ) -> Result<Resolved, RunError> {
        let images = &self.parts.images;
        let fail = |source| RunError::Image { name: image.to_owned(), source: Box::new(source) };
        let reference = image.parse::<Reference>();
        let is_name = reference
            .as_ref()
            .is_ok_and(|reference| images.find_reference(reference).is_ok_and(|found| found.is_some()));
        // An id, or the beginning of one, is no name that a registry knows.
        if !is_name
            && pull != rbuild_images::PullPolicy::Always
            && let Ok(id) = images.find_id(image)
        {
            let resolved = images.ready(id, None, lease, progress).map_err(fail)?;
            let found = resolved.config.platform();
            if !platform.can_run(&found) {
                return Err(RunError::Invalid {
                    what: "platform",
                    why: format!(
                        "image with reference {image} was found but its platform ({found}) does not match the specified \
                         platform ({platform})"
                    ),
                });
            }
            return Ok(resolved);
        }
        let reference =
            reference.map_err(|error| RunError::Invalid { what: "image name", why: format!("{error}") })?;
        images.resolve(&reference, platform, pull, lease, progress).map_err(fail)
    }
}

/// Gives an error of a file operation its act and its path.
pub(crate) fn io(act: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> RunError {
    let path = path.into();
    move |source| RunError::Io { act, path, source }
}
