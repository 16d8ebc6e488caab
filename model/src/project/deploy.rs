//! How a service is deployed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::resources::{Bytes, Cpus};

/// The `deploy` section of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deploy {
    /// `replicated`, `global` and so on.
    pub mode: Option<String>,
    /// How many containers.
    pub replicas: Option<u64>,
    /// Labels of the service, not of its containers.
    pub labels: BTreeMap<String, String>,
    /// How an update goes.
    pub update_config: Option<UpdateConfig>,
    /// How an update is taken back.
    pub rollback_config: Option<UpdateConfig>,
    /// What a container may use at most.
    pub limits: Option<ResourceLimits>,
    /// What is kept for a container.
    pub reservations: Option<Reservations>,
    /// When a container is started again.
    pub restart_policy: Option<RestartPolicy>,
    /// Where it may run.
    pub placement: Placement,
    /// `vip` or `dnsrr`.
    pub endpoint_mode: Option<String>,
}

/// How an update goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpdateConfig {
    /// How many containers at a time, all with 0.
    pub parallelism: Option<u64>,
    /// How long to wait between groups.
    pub delay: Duration,
    /// `continue`, `pause` or `rollback`.
    pub failure_action: Option<String>,
    /// How long a container is watched.
    pub monitor: Duration,
    /// How many failures are put up with, in millionths.
    pub max_failure_ratio: u32,
    /// Which goes first.
    pub order: Option<Order>,
}

/// Which goes first in an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// The new container starts before the old one stops.
    StartFirst,
    /// The old container stops before the new one starts.
    StopFirst,
}

/// What a container may use at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceLimits {
    /// Processors.
    pub cpus: Option<Cpus>,
    /// Memory.
    pub memory: Option<Bytes>,
    /// Processes.
    pub pids: Option<i64>,
}

/// What is kept for a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reservations {
    /// Processors.
    pub cpus: Option<Cpus>,
    /// Memory.
    pub memory: Option<Bytes>,
    /// Devices.
    pub devices: Vec<DeviceRequest>,
    /// What else the user counts.
    pub generic_resources: Vec<GenericResource>,
}

/// Devices asked for by what they can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceRequest {
    /// What they can do.
    pub capabilities: Vec<String>,
    /// The driver.
    pub driver: Option<String>,
    /// How many; with ids, exactly those.
    pub count: Option<DeviceCount>,
    /// Which ones.
    pub device_ids: Vec<String>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
}

/// A number of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeviceCount {
    /// All there are.
    All,
    /// So many.
    Exactly(u64),
}

/// A resource that the user counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenericResource {
    /// What it is.
    pub kind: String,
    /// How much.
    pub value: i64,
}

/// When a container is started again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestartPolicy {
    /// `none`, `on-failure` or `any`.
    pub condition: Option<String>,
    /// How long to wait before.
    pub delay: Option<Duration>,
    /// How often at most.
    pub max_attempts: Option<u64>,
    /// How long a start counts.
    pub window: Option<Duration>,
}

/// Where containers may run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Conditions on machines.
    pub constraints: Vec<String>,
    /// What to spread over.
    pub preferences: Vec<String>,
    /// How many on one machine, any with 0.
    pub max_replicas_per_node: u64,
}
