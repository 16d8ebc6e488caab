//! What the links of a container are called inside.

use rbuild_model::network::{EndpointSettings, NetworkDefinition};
use rbuild_network::link::LinkName;

use super::{NetworksError, spec};

/// The option of an endpoint that says what its link is called.
pub(crate) const OPTION: &str = "com.docker.network.endpoint.ifname";

/// The name that somebody chose for a link.
pub(super) fn chosen(settings: &EndpointSettings) -> Result<Option<LinkName>, NetworksError> {
    settings.driver_options.get(OPTION).map(|name| named(name)).transpose()
}

/// The names of the links of a new container: those that were chosen, and each network's first free one.
pub(super) fn names<'a>(
    ends: impl Iterator<Item = (&'a NetworkDefinition, &'a EndpointSettings)> + Clone,
) -> Result<Vec<LinkName>, NetworksError> {
    let chosen = ends.clone().map(|(_, settings)| chosen(settings)).collect::<Result<Vec<_>, _>>()?;
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

/// The first name of a network's links that no link of the container has.
pub(super) fn free(definition: &NetworkDefinition, taken: &[LinkName]) -> Result<LinkName, NetworksError> {
    let name = |number: usize| named(&format!("{}{number}", spec::link_prefix(definition)));
    let is_free = |name: &Result<LinkName, _>| name.as_ref().is_ok_and(|name| !taken.contains(name));
    // Among one more name than there are links one is free.
    (0..taken.len()).map(name).find(is_free).unwrap_or_else(|| name(taken.len()))
}

fn named(name: &str) -> Result<LinkName, NetworksError> {
    LinkName::new(name).map_err(|error| NetworksError::Config(vec![error.to_string()]))
}
