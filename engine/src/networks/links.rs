//! What the links of a container are called inside.

use std::collections::BTreeMap;

use rbuild_model::network::{EndpointSettings, NetworkDefinition};
use rbuild_network::link::LinkName;
use rbuild_network::namespace::setting::LinkSetting;

use super::{NetworksError, spec};

/// The option of an endpoint that says what its link is called.
pub(crate) const OPTION: &str = "com.docker.network.endpoint.ifname";

/// The option of an endpoint that tells the kernel of its link.
const SETTINGS: &str = "com.docker.network.endpoint.sysctls";

/// What all options begin with that change what packets do.
const OURS: &str = "com.docker.network.";

/// The link by which a namespace reaches itself.
const LOOPBACK: &str = "lo";

/// The name that somebody chose for a link.
pub(crate) fn chosen(settings: &EndpointSettings) -> Result<Option<LinkName>, NetworksError> {
    match settings.driver_options.get(OPTION) {
        Some(name) if name == LOOPBACK => {
            let why = format!("`{name}` is the name of each container's own loopback: choose another name");
            Err(NetworksError::Config(vec![why]))
        }
        name => name.map(|name| named(name)).transpose(),
    }
}

/// What the kernel is to be told of a link, or all that is wrong with it.
pub(crate) fn settings(settings: &EndpointSettings) -> Result<Vec<LinkSetting>, Vec<String>> {
    let text = settings.driver_options.get(SETTINGS);
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for setting in text.into_iter().flat_map(|text| LinkSetting::list(text)) {
        match setting {
            Ok(setting) => good.push(setting),
            Err(error) => bad.push(error.to_string()),
        }
    }
    if bad.is_empty() { Ok(good) } else { Err(bad) }
}

/// An option that would change what packets do, and is not known; others are kept like labels, as by Docker.
pub(crate) fn unknown(settings: &EndpointSettings) -> Option<&str> {
    let mut options = settings.driver_options.keys().map(String::as_str);
    options.find(|option| option.starts_with(OURS) && !matches!(*option, OPTION | SETTINGS))
}

/// The names that were chosen for the links of a container, in the order of its networks; no two are the same.
pub(super) fn all_chosen<'a>(
    ends: impl Iterator<Item = (&'a NetworkDefinition, &'a EndpointSettings)>,
) -> Result<Vec<Option<LinkName>>, NetworksError> {
    let mut names = Vec::new();
    let mut networks = BTreeMap::new();
    for (definition, settings) in ends {
        let name = chosen(settings)?;
        if let Some(name) = &name
            && let Some(other) = networks.insert(name.clone(), definition)
            && other.id != definition.id
        {
            return Err(conflict(name, &other.name, &definition.name));
        }
        names.push(name);
    }
    Ok(names)
}

/// A name is meant for the links of one container to two networks.
fn conflict(name: &LinkName, one: &str, other: &str) -> NetworksError {
    NetworksError::Conflict(format!(
        "the links to the networks {one} and {other} cannot both be called `{name}`: choose another name for one of them"
    ))
}

/// The names of the links of a new container: those that were chosen, and each network's first free one.
pub(super) fn names<'a>(
    ends: impl Iterator<Item = (&'a NetworkDefinition, &'a EndpointSettings)> + Clone,
) -> Result<Vec<LinkName>, NetworksError> {
    let chosen = all_chosen(ends.clone())?;
    let mut taken: Vec<LinkName> = chosen.iter().flatten().cloned().collect();
    let mut names = Vec::new();
    for ((definition, _), chosen) in ends.zip(chosen) {
        let name = match chosen {
            Some(name) => name,
            None => {
                taken.push(free(definition, &taken)?);
                taken[taken.len() - 1].clone()
            }
        };
        names.push(name);
    }
    Ok(names)
}

/// The name of one more link of a container that has `others`, each with its network.
pub(super) fn another(
    definition: &NetworkDefinition,
    settings: &EndpointSettings,
    others: &[(&str, LinkName)],
) -> Result<LinkName, NetworksError> {
    let Some(name) = chosen(settings)? else {
        return free(definition, &others.iter().map(|(_, name)| name.clone()).collect::<Vec<_>>());
    };
    match others.iter().find(|(_, other)| *other == name) {
        Some((network, _)) => Err(conflict(&name, network, &definition.name)),
        None => Ok(name),
    }
}

/// The first name of a network's links that no link of the container has.
fn free(definition: &NetworkDefinition, taken: &[LinkName]) -> Result<LinkName, NetworksError> {
    let name = |number: usize| named(&format!("{}{number}", spec::link_prefix(definition)));
    let is_free = |name: &Result<LinkName, _>| name.as_ref().is_ok_and(|name| !taken.contains(name));
    // Among one more name than there are links one is free.
    (0..taken.len()).map(name).find(is_free).unwrap_or_else(|| name(taken.len()))
}

fn named(name: &str) -> Result<LinkName, NetworksError> {
    LinkName::new(name).map_err(|error| NetworksError::Config(vec![error.to_string()]))
}
