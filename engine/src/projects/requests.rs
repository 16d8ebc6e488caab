//! Networks and volumes of a project, as the engine is asked for them. Pure.

use rbuild_model::network::{AddressPool, Ipam, Switch};
use rbuild_model::project::{NetworkKey, Project, VolumeKey};

use super::labels::{key, of_resource};
use crate::networks::NetworkRequest;
use crate::volumes::VolumeRequest;

/// Returns what the engine is asked for to make one of the project's own networks.
pub(super) fn network(project: &Project, at: &NetworkKey, hash: &str, version: &str) -> NetworkRequest {
    let network = project.networks.get(at).expect("plans are made of the project's own networks");
    let driver = network.driver.as_deref().filter(|driver| *driver != "default").unwrap_or_default();
    let pools = network.ipam.pools.iter().map(|pool| AddressPool {
        subnet: pool.subnet.clone().unwrap_or_default(),
        range: pool.ip_range.clone().unwrap_or_default(),
        gateway: pool.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
        auxiliary: pool.aux_addresses.clone(),
    });
    NetworkRequest {
        driver: driver.to_owned(),
        ipv4: Switch::from(network.enable_ipv4 != Some(false)),
        ipv6: Switch::from(network.enable_ipv6 == Some(true)),
        internal: Switch::from(network.internal),
        attachable: Switch::from(network.attachable),
        options: network.driver_opts.clone(),
        labels: of_resource(project, &network.labels, key::NETWORK, at.as_str(), hash, version),
        ipam: Ipam {
            driver: network.ipam.driver.clone().unwrap_or_default(),
            options: None,
            config: pools.collect(),
        },
        ..NetworkRequest::new(&network.name)
    }
}

/// Returns what the engine is asked for to make one of the project's own volumes.
pub(super) fn volume(project: &Project, at: &VolumeKey, hash: &str, version: &str) -> VolumeRequest {
    let volume = project.volumes.get(at).expect("plans are made of the project's own volumes");
    VolumeRequest {
        name: Some(volume.name.clone()),
        driver: volume.driver.clone().unwrap_or_default(),
        options: volume.driver_opts.clone(),
        labels: of_resource(project, &volume.labels, key::VOLUME, at.as_str(), hash, version),
    }
}
