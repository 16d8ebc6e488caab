//! A project's canonical form, in the parts that containers, networks and volumes are recognised by.

use std::collections::BTreeMap;

use rbuild_frontend::compose::Loaded;
use rbuild_model::digest::BlobDigest;
use rbuild_model::project::{NetworkKey, Project, ServiceName, VolumeKey};
use serde_json::{Map, Value};

use crate::report::Findings;

/// What is left out of what a container was made of: it does not make the container different.
const UNKEPT: [&str; 5] = ["build", "pull_policy", "scale", "depends_on", "profiles"];

/// A project's parts.
#[derive(Debug, Default)]
pub(super) struct Canonical {
    /// What each service's containers are made of.
    pub(super) services: BTreeMap<ServiceName, Value>,
    /// The hashes of networks.
    pub(super) networks: BTreeMap<NetworkKey, String>,
    /// The hashes of volumes.
    pub(super) volumes: BTreeMap<VolumeKey, String>,
    /// How each service's image is built.
    pub(super) builds: BTreeMap<ServiceName, String>,
}

impl Canonical {
    /// Takes a project apart.
    pub(super) fn of(loaded: &Loaded, model: &Project) -> anyhow::Result<Self> {
        let document: Value = serde_json::from_str(&loaded.json().map_err(Findings::from)?)?;
        let part = |section: &str, key: &str| document[section].get(key).cloned().unwrap_or_default();
        let hash = |value: &Value| BlobDigest::of(value.to_string().as_bytes()).hex();
        let mut canonical = Self::default();
        for name in model.services.keys() {
            let mut service = part("services", name.as_str());
            if let Some(service) = service.as_object_mut() {
                if let Some(build) = service.get("build") {
                    canonical.builds.insert(name.clone(), hash(build));
                }
                service.retain(|key, _| !UNKEPT.contains(&key.as_str()));
            }
            canonical.services.insert(name.clone(), service);
        }
        for key in model.networks.keys() {
            canonical.networks.insert(key.clone(), hash(&part("networks", key.as_str())));
        }
        for key in model.volumes.keys() {
            let mut volume = part("volumes", key.as_str());
            if let Some(volume) = volume.as_object_mut() {
                volume.entry("driver").or_insert_with(|| "local".into());
            }
            canonical.volumes.insert(key.clone(), hash(&volume));
        }
        Ok(canonical)
    }

    /// Adds variables that services are given besides those that the files say.
    pub(super) fn add_variables(&mut self, variables: &BTreeMap<ServiceName, BTreeMap<String, String>>) {
        // What nobody says is no change of what is said.
        for (name, variables) in variables.iter().filter(|(_, variables)| !variables.is_empty()) {
            let service = self.services.get_mut(name).and_then(Value::as_object_mut);
            let Some(service) = service else { continue };
            let environment = service.entry("environment").or_insert_with(|| Value::Object(Map::new()));
            for (variable, value) in variables {
                environment[variable] = value.clone().into();
            }
        }
    }
}
