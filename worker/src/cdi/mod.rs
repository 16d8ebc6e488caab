//! Devices that steps are given (`RUN --device`), by the names that [`rbuild_devices`] knows.
//!
//! A request says `vendor/class=device`, `vendor/class` for the first one, `vendor/class=*` for all, or in the place of the
//! device a class that devices are annotated with.
//!
//! Which devices a step gets, and whether it may, is decided once, before anything runs: also for steps whose results are
//! known. What is in the key of a step is the request as it was written, and not what it came to on this machine.

mod grants;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;

use rbuild_devices::{DeviceError, Given, Registry, doubts};
use rbuild_model::graph::{Graph, StepId};
use rbuild_model::step::Operation;

pub use self::grants::DeviceGrants;
use crate::wanted::Wanted;

/// Why a step cannot have a device.
#[derive(Debug, thiserror::Error)]
pub enum StepDeviceError {
    /// It cannot be had at all.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// There is no such device, and the step cannot do without.
    #[error("required device {name:?} is not registered{}", doubts(.problems))]
    Missing {
        /// The name.
        name: String,
        /// What is wrong with files that may have it.
        problems: Vec<String>,
    },
    /// Nobody said that steps may have it.
    #[error(
        "device {} is requested by the build but not allowed; allow it with {}",
        .names.join(", "),
        .names.iter().map(|name| format!("`--allow device={name}`")).collect::<Vec<_>>().join(" ")
    )]
    Forbidden {
        /// The devices.
        names: Vec<String>,
    },
}

/// What every step of a build that asks for devices gets.
#[derive(Default)]
pub(crate) struct StepDevices {
    registry: Registry,
    /// By step, the full names of its devices.
    by: HashMap<StepId, Vec<String>>,
    /// What people should know, though it stops nothing.
    pub(crate) notes: Vec<String>,
}

/// A step that cannot have what it asks for, for one of the targets that want it.
pub(crate) struct Refused {
    pub(crate) step: StepId,
    pub(crate) target: usize,
    pub(crate) error: StepDeviceError,
}

impl StepDevices {
    /// Finds the devices of all steps that are wanted. Nothing is read if no step asks for one.
    ///
    /// `grants` are what each target lets its steps have: a step that several want needs the leave of each.
    pub(crate) fn find(
        folders: &[PathBuf],
        graph: &Graph,
        wanted: &Wanted<'_>,
        grants: &[&DeviceGrants],
    ) -> Result<Self, Refused> {
        let asking = || {
            graph.steps().filter_map(|(id, step)| match &step.operation {
                Operation::Exec(exec) if !exec.devices.is_empty() && wanted.is_wanted(id) => Some((id, exec)),
                _ => None,
            })
        };
        if asking().next().is_none() {
            return Ok(Self::default());
        }
        let registry = Registry::load(folders);
        let (mut by, mut notes) = (HashMap::new(), Vec::new());
        for (step, exec) in asking() {
            let mut names: Option<Vec<String>> = None;
            for target in wanted.targets(step) {
                let found = grants[target].resolve(&registry, &exec.devices, &mut notes);
                let found = found.map_err(|error| Refused { step, target, error })?;
                names.get_or_insert(found);
            }
            by.insert(step, names.unwrap_or_default());
        }
        notes.extend(registry.problems().iter().cloned());
        notes.dedup();
        Ok(Self { registry, by, notes })
    }

    /// Returns what a step is given. Its user gets the nodes that no owner is named for.
    pub(crate) fn given(&self, step: StepId) -> Result<Given, StepDeviceError> {
        match self.by.get(&step) {
            None => Ok(Given::default()),
            Some(names) => Ok(self.registry.given(names)?),
        }
    }
}
