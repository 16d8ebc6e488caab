//! What `network inspect` shows, in the form of Docker's API. Pure.

use rbuild_model::network::{AddressPool, NetworkDefinition};
use rbuild_network::names::{EndpointRecord, NetworkState, Presence};
use serde_json::{Map, Value, json};

/// The document of a network; its containers are those that run.
pub(super) fn network(definition: &NetworkDefinition, state: Option<&NetworkState>) -> Value {
    let mut pools = definition.ipam.config.clone();
    if pools.is_empty()
        && let Some(state) = state
    {
        let (four, six) = state.families.as_ref().parts();
        let four = four.map(|four| (four.subnet.to_string(), four.gateway.to_string()));
        let six = six.map(|six| (six.subnet.to_string(), six.gateway.to_string()));
        let pool = |(subnet, gateway)| AddressPool { subnet, gateway, ..AddressPool::default() };
        pools.extend(four.into_iter().chain(six).map(pool));
    }
    let containers: Map<String, Value> = state
        .iter()
        .flat_map(|state| state.endpoints.iter().map(move |record| (*state, record)))
        .filter(|(_, record)| record.presence == Presence::Running)
        .map(|(state, record)| (record.id.to_string(), container(state, record)))
        .collect();
    let own = definition.is_predefined();
    let driver = if definition.ipam.driver.is_empty() { "default" } else { &definition.ipam.driver };
    json!({
        "Name": definition.name,
        "Id": definition.id,
        "Created": definition.created,
        "Scope": "local",
        "Driver": definition.driver.word(),
        "EnableIPv4": definition.ipv4,
        "EnableIPv6": definition.ipv6,
        "IPAM": {
            "Driver": driver,
            "Options": if own { Value::Null } else { json!(definition.ipam.options.clone().unwrap_or_default()) },
            "Config": if own && pools.is_empty() { Value::Null } else { json!(pools) },
        },
        "Internal": definition.internal,
        "Attachable": definition.attachable,
        "Ingress": false,
        "ConfigFrom": { "Network": "" },
        "ConfigOnly": false,
        "Containers": containers,
        "Options": definition.options,
        "Labels": definition.labels,
    })
}

fn container(state: &NetworkState, record: &EndpointRecord) -> Value {
    let (four, six) = state.place(record).map_or((None, None), |address| address.families.parts());
    let four = four.map(|four| format!("{}/{}", four.address, four.prefix));
    let six = six.map(|six| format!("{}/{}", six.address, six.prefix));
    json!({
        "Name": record.names.first().map_or(record.id.as_str(), String::as_str),
        "EndpointID": endpoint_id(state.id.as_str(), record.id.as_str()),
        "MacAddress": record.mac.to_string(),
        "IPv4Address": four.unwrap_or_default(),
        "IPv6Address": six.unwrap_or_default(),
    })
}

/// The id of an endpoint: its own for each pair of network and container, as long as both are there.
pub(super) fn endpoint_id(network: &str, container: &str) -> String {
    let half = |salt: &str| {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        (salt, network, container).hash(&mut hasher);
        hasher.finish()
    };
    ["a", "b", "c", "d"].iter().map(|salt| format!("{:016x}", half(salt))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_keeps_its_id() {
        let id = endpoint_id("net", "container");
        assert_eq!((id.len(), &id), (64, &endpoint_id("net", "container")));
        assert_ne!(id, endpoint_id("net2", "container"));
    }
}
