//! What all builds of one process share: the store's parts, the launcher, the network of steps.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rbuild_cache::records::Records;
use rbuild_confined::Root;
use rbuild_images::Images;
use rbuild_model::snapshot::Chain;
use rbuild_model::step::Limits;
use rbuild_sandbox::cgroup::{Cgroup, CgroupRequest, Devices, Layout as CgroupLayout};
use rbuild_sandbox::mounts::mount_detached;
use rbuild_sandbox::{LaunchError, Launcher, LauncherConfig};
use rbuild_snapshotter::Snapshotter;
use rbuild_store::{FileError, Lease, Store};

use crate::error::StepError;
use crate::network::StepNetworks;

/// The parts that a worker is put together from.
pub struct Parts {
    /// The store.
    pub store: Store,
    /// The records of the store.
    pub records: Arc<Records>,
    /// The snapshots of the store; its folder for unfinished work is `work`.
    pub snapshotter: Arc<dyn Snapshotter>,
    /// The images of the store.
    pub images: Arc<Images>,
    /// How processes are launched.
    pub launcher: LauncherConfig,
    /// The network of steps.
    pub networks: StepNetworks,
    /// The folder that the cgroups of this store are in.
    pub cgroup_prefix: String,
    /// The folder of this process's unfinished work.
    pub work: PathBuf,
    /// The folders that say which devices there are; a later one counts more.
    pub device_folders: Vec<PathBuf>,
}

/// The length of a period that a quota of processor time is for, unless another is asked for.
const DEFAULT_CPU_PERIOD_US: u64 = 100_000;

fn nano_cpus(quota_us: u64, period_us: u64) -> u64 {
    (u128::from(quota_us) * 1_000_000_000 / u128::from(period_us.max(1))) as u64
}

/// Builds images.
pub struct Worker {
    pub(crate) store: Store,
    pub(crate) records: Arc<Records>,
    pub(crate) snapshotter: Arc<dyn Snapshotter>,
    pub(crate) images: Arc<Images>,
    pub(crate) networks: StepNetworks,
    pub(crate) web: crate::sources::http::Network,
    launcher_config: LauncherConfig,
    launcher: OnceLock<Launcher>,
    launching: Mutex<()>,
    cgroup_prefix: String,
    /// Holds what this process uses of images, for life.
    lease: OnceLock<Lease>,
    work: PathBuf,
    pub(crate) device_folders: Vec<PathBuf>,
    /// Names this process's builds among all that the store has seen.
    name: OnceLock<String>,
}

impl Worker {
    /// Puts a worker together; nothing is started yet.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            store,
            records,
            snapshotter,
            images,
            launcher,
            networks,
            cgroup_prefix,
            work,
            device_folders,
        } = parts;
        Self {
            store,
            records,
            snapshotter,
            images,
            networks,
            web: crate::sources::http::Network::default(),
            launcher_config: launcher,
            launcher: OnceLock::new(),
            launching: Mutex::new(()),
            cgroup_prefix,
            work,
            device_folders,
            name: OnceLock::new(),
            lease: OnceLock::new(),
        }
    }

    /// Returns the launcher, started at first use.
    pub(crate) fn launcher(&self) -> Result<&Launcher, LaunchError> {
        if self.launcher.get().is_none() {
            let _launching = self.launching.lock().unwrap_or_else(PoisonError::into_inner);
            if self.launcher.get().is_none() {
                let launcher = Launcher::new(&self.launcher_config)?;
                return Ok(self.launcher.get_or_init(|| launcher));
            }
        }
        Ok(self.launcher.get().expect("it was made just now or before"))
    }

    /// Makes the cgroup of a step; `None` where nothing is limited and none can be made.
    pub(crate) fn cgroup(
        &self,
        name: &str,
        limits: &Limits,
        devices: Devices,
    ) -> Result<Option<Cgroup>, LaunchError> {
        let Limits { memory, memory_swap, cpu_shares, cpu_period, cpu_quota, cpuset_cpus, cpuset_mems } =
            limits;
        let quota = cpu_quota.and_then(|quota| u64::try_from(quota).ok());
        let limits = rbuild_sandbox::cgroup::Limits {
            memory: *memory,
            memory_and_swap: memory_swap.and_then(|swap| u64::try_from(swap).ok()),
            nano_cpus: quota.map(|quota| nano_cpus(quota, cpu_period.unwrap_or(DEFAULT_CPU_PERIOD_US))),
            cpu_period_us: *cpu_period,
            cpu_shares: *cpu_shares,
            cpuset_cpus: cpuset_cpus.clone(),
            cpuset_mems: cpuset_mems.clone(),
            ..rbuild_sandbox::cgroup::Limits::default()
        };
        let request =
            CgroupRequest { prefix: self.cgroup_prefix.clone(), name: name.to_owned(), limits, devices };
        Ok(Cgroup::create(CgroupLayout::shared(), &request)?)
    }

    /// Returns the lease on what this process uses of images.
    pub(crate) fn lease(&self) -> Result<&Lease, FileError> {
        if let Some(lease) = self.lease.get() {
            return Ok(lease);
        }
        let lease = self.store.lease("build")?;
        Ok(self.lease.get_or_init(|| lease))
    }

    /// Mounts a chain for reading, attached nowhere.
    pub(crate) fn view(&self, chain: &Chain) -> Result<Root, StepError> {
        let plan = self.snapshotter.view(chain).map_err(StepError::Snapshot)?;
        Root::from_fd(mount_detached(&plan)?).map_err(|error| StepError::Snapshot(error.into()))
    }

    pub(crate) fn work(&self) -> &Path {
        &self.work
    }

    pub(crate) fn build_name(&self) -> &str {
        self.name.get_or_init(|| {
            self.store.process_id().map_or_else(|_| std::process::id().to_string(), |id| id.to_string())
        })
    }
}
