//! A container that starts: what it gets of networks before its program runs.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use rbuild_model::network::{
    AddressPool, Driver, EndpointSettings, EndpointWish, Mac, NetworkDefinition, NetworkMode, PortBinding,
    Switch,
};
use rbuild_network::driver::{DefaultRoute, Endpoint, EndpointAddress, EndpointSpec, Guard, LinkEnd};
use rbuild_network::duty::Duties;
use rbuild_network::families::Families;
use rbuild_network::link::LinkName;
use rbuild_network::names::{self, EndpointId, NetworkId, PrivateName};
use rbuild_network::namespace::Namespace;
use rbuild_network::ports::{Published, Reservation};
use rbuild_network::site::Site;

use super::document::endpoint_id;
use super::files::{NameFiles, Naming};
use super::ports::Ports;
use super::{Networks, NetworksError, bridge, find_in, ipam, links, short, spec};

/// What a container wants of networks.
#[derive(Debug)]
pub struct ConnectRequest<'a> {
    /// Its id: 64 hexadecimal digits.
    pub container: &'a str,
    /// Its name.
    pub name: &'a str,
    /// What its programs are told of names.
    pub naming: Naming<'a>,
    /// Which network it is in.
    pub mode: &'a NetworkMode,
    /// What it wants of each network.
    pub endpoints: &'a [EndpointWish],
    /// Ports of the host that lead to it.
    pub ports: &'a [PortBinding],
    /// What its packets are checked for; `Off` where it may administer its own addresses.
    pub guard: Guard,
    /// The namespace of the other container, for [`NetworkMode::Container`].
    pub shared: Option<OwnedFd>,
    /// The namespace for the other modes, if one was made ahead.
    pub ahead: Option<Namespace>,
}

impl ConnectRequest<'_> {
    fn own_names(&self) -> OwnNames<'_> {
        OwnNames { container: self.container, name: self.name, hostname: self.naming.hostname }
    }

    fn namespace(&mut self) -> Result<Namespace, NetworksError> {
        Ok(self.ahead.take().map_or_else(Namespace::create, Ok)?)
    }
}

/// What a container has of networks.
#[derive(Debug)]
pub struct Connected {
    /// Its namespace; the host's if there is none.
    pub namespace: Option<OwnedFd>,
    /// The files by which its programs know names.
    pub files: NameFiles,
    /// The ports of the host, in the order of [`Duties::ports`]: for whoever takes up the duties.
    pub reservations: Vec<Reservation>,
    /// All its published ports; those that are reached by its own address have no port of the host.
    pub published: Vec<Published>,
    /// What is to be done for it as long as it runs.
    pub duties: Duties,
    /// What it has of each network.
    pub endpoints: Vec<Joined>,
    /// What people should know.
    pub notes: Vec<String>,
}

/// What a container has of one network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The network's name.
    pub network: String,
    /// The network's id.
    pub network_id: String,
    /// The endpoint's id.
    pub endpoint_id: String,
    /// Its addresses; none in the networks `host` and `none`.
    pub address: Option<EndpointAddress>,
    /// Its hardware address.
    pub mac: Option<Mac>,
    /// The names that lead to it there.
    pub dns_names: Vec<String>,
}

/// A network that a container is to be in.
struct Wanted<'a> {
    definition: NetworkDefinition,
    settings: &'a EndpointSettings,
}

impl Networks {
    /// Whether what a container wants of networks makes sense; nothing is made. A network that is not there is none of
    /// the mistakes: it may come until the container starts.
    pub fn check(
        &self,
        mode: &NetworkMode,
        endpoints: &[EndpointWish],
        ports: &[PortBinding],
    ) -> Result<(), NetworksError> {
        let known = self.list()?;
        let mut seen = Vec::new();
        for wish in endpoints {
            match find_in(&known, &wish.network) {
                Ok(definition) => {
                    check_settings(&definition, &wish.settings)?;
                    seen.push((definition, &wish.settings));
                }
                Err(NetworksError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let conflict = |text: &str| Err(NetworksError::Conflict(text.to_owned()));
        if matches!(mode, NetworkMode::Container(_)) && !ports.is_empty() {
            return conflict("conflicting options: port publishing and the container type network mode");
        }
        if matches!(mode, NetworkMode::Container(_)) && !endpoints.is_empty() {
            return conflict(
                "container sharing network namespace with another container or host cannot be connected to any other network",
            );
        }
        links::all_chosen(seen.iter().map(|(definition, settings)| (definition, *settings)))?;
        alone(mode, &seen.into_iter().map(|(definition, _)| definition).collect::<Vec<_>>())
    }

    /// Connects a container that is about to start. What was made is taken back if anything fails.
    pub fn connect(&self, mut request: ConnectRequest<'_>) -> Result<Connected, NetworksError> {
        let endpoint = EndpointId::new(request.container)?;
        let mut connected = Connected {
            namespace: None,
            files: NameFiles { hostname: format!("{}\n", request.naming.hostname), ..NameFiles::default() },
            reservations: Vec::new(),
            published: Vec::new(),
            duties: self.duties(&endpoint),
            endpoints: Vec::new(),
            notes: Vec::new(),
        };
        match request.mode {
            NetworkMode::Host => {
                if !request.ports.is_empty() {
                    connected
                        .notes
                        .push("published ports are discarded when using host network mode".to_owned());
                }
                self.host_files(&request.naming, &mut connected)?;
                connected.endpoints = self.unlinked("host", request.container)?;
            }
            NetworkMode::Container(_) => {
                connected.namespace = request.shared;
            }
            NetworkMode::None => {
                connected.namespace = Some(request.namespace()?.into_fd());
                // It leads nowhere from there; but who looks the name up finds what it always is.
                let bridge = self.state(&self.find(NetworkDefinition::DEFAULT)?)?;
                let gateway = bridge.and_then(|state| Some(state.families.four()?.gateway.into()));
                self.private_files(&request.naming, &mut connected, gateway)?;
                connected.endpoints = self.unlinked("none", request.container)?;
            }
            NetworkMode::Default | NetworkMode::Bridge | NetworkMode::Named(_) => {
                // Named ones may turn out to be `host` or `none` by their ids.
                if let Some(mode) = self.plain(request.mode)? {
                    return self.connect(ConnectRequest { mode: &mode, ..request });
                }
                let made = self.join(&mut request, &mut connected);
                if let Err(error) = made {
                    // The error that is told is the first; what remains is found by the next command.
                    drop(connected);
                    let _ = self.disconnect_all(request.container);
                    return Err(error);
                }
            }
        }
        Ok(connected)
    }

    /// The mode that a name of the network `host` or `none` means.
    fn plain(&self, mode: &NetworkMode) -> Result<Option<NetworkMode>, NetworksError> {
        let NetworkMode::Named(name) = mode else { return Ok(None) };
        Ok(match self.find(name)?.driver {
            Driver::Host => Some(NetworkMode::Host),
            Driver::Null => Some(NetworkMode::None),
            Driver::Bridge => None,
        })
    }

    /// What a container has of a network without addresses.
    fn unlinked(&self, name: &str, container: &str) -> Result<Vec<Joined>, NetworksError> {
        let definition = self.find(name)?;
        Ok(vec![Joined {
            endpoint_id: endpoint_id(&definition.id, container),
            network: definition.name,
            network_id: definition.id,
            address: None,
            mac: None,
            dns_names: Vec::new(),
        }])
    }

    fn duties(&self, endpoint: &EndpointId) -> Duties {
        Duties {
            store: self.site.store,
            runtime: self.site.runtime.clone(),
            host_lock: self.site.host_lock.clone(),
            nft: self.site.nft.clone(),
            passage: self.site.passage,
            endpoint: endpoint.clone(),
            names: None,
            ports: Vec::new(),
        }
    }

    /// Makes the namespace of a container and its endpoints.
    fn join(&self, request: &mut ConnectRequest<'_>, connected: &mut Connected) -> Result<(), NetworksError> {
        let known = self.list()?;
        let main = request.mode.network().unwrap_or(NetworkDefinition::DEFAULT);
        let unspoken = EndpointSettings::default();
        let wanted = wanted(&known, main, request.endpoints, &unspoken)?;
        alone(request.mode, &wanted.iter().map(|one| one.definition.clone()).collect::<Vec<_>>())?;
        let way_out = way_out(wanted.iter().map(|one| (&one.definition, one.settings)));
        let published_by = outlets(way_out, &wanted[0].definition);

        let mut ports = Ports::default();
        request.ports.iter().try_for_each(|port| ports.take(port, published_by))?;
        connected.notes.append(&mut ports.notes);
        let published = ports.published;
        if way_out.is_none() && !published.is_empty() {
            let why = "no port is published as long as the container is in internal networks alone";
            connected.notes.push(why.to_owned());
        }
        connected.published.clone_from(&published);
        connected.duties.ports = ports.reservations.iter().map(Reservation::published).collect();
        connected.reservations = ports.reservations;

        let site = self.open_site()?;
        let mut namespace = request.namespace()?;
        let request = &*request;
        let ends = wanted.iter().map(|one| (&one.definition, one.settings));
        let names = links::names(ends)?;
        for (one, link) in wanted.iter().zip(names) {
            let definition = &one.definition;
            let ports = through(definition, published_by, &published);
            let plan = Plan { request, link, default_route: default_route(definition, way_out), ports };
            let (endpoint, names, warnings) = self.attach(&site, &known, one, &mut namespace, plan)?;
            connected.notes.extend(warnings);
            if is_user_defined(definition) {
                connected.duties.names = Some(self.upstreams(request.naming.resolver));
                connected.notes.extend(hiding(definition, &names));
            }
            connected.endpoints.push(joined(definition, request.container, &endpoint, names));
            self.tell("connect", definition, &[("container", request.container)]);
        }
        connected.namespace = Some(namespace.into_fd());
        let leads = |joined: &&Joined| default_gateway(way_out).is_none_or(|one| one.id == joined.network_id);
        let joined = connected.endpoints.iter().find(leads);
        let gateway = joined.and_then(|joined| Some(joined.address?.gateway()));
        self.private_files(&request.naming, connected, gateway)
    }

    fn attach(
        &self,
        site: &Site,
        known: &[NetworkDefinition],
        one: &Wanted<'_>,
        namespace: &mut Namespace,
        plan: Plan<'_>,
    ) -> Result<(Endpoint, Vec<String>, Vec<String>), NetworksError> {
        let Wanted { definition, settings } = one;
        check_settings(definition, settings)?;
        let network = self.ensure(site, known, definition)?;
        let names = dns_names(&plan.request.own_names(), settings);
        let spec = EndpointSpec {
            link: plan.link,
            address: settings.ipv4,
            address6: settings.ipv6,
            link_local: settings.link_local.clone(),
            mac: settings.mac,
            settings: links::settings(settings).map_err(NetworksError::Config)?,
            guard: plan.request.guard,
            default_route: plan.default_route,
            names: names.clone(),
            private_names: private_names(settings),
            published: plan.ports,
            ..EndpointSpec::new(EndpointId::new(plan.request.container)?)
        };
        let endpoint = bridge()
            .attach(site, &network, namespace, &spec)
            .map_err(NetworksError::link(&definition.name))?;
        Ok((endpoint, names, network.warnings.iter().map(ToString::to_string).collect()))
    }

    /// Takes a container out of all networks, at its end or after it. May be repeated.
    pub fn disconnect_all(&self, container: &str) -> Result<(), NetworksError> {
        let endpoint = EndpointId::new(container)?;
        let found = names::of_endpoint(&self.site.runtime, &endpoint)?;
        if found.is_empty() {
            return Ok(());
        }
        let site = self.open_site()?;
        let mut first = Ok(());
        for (state, _) in found {
            let done = bridge().detach(&site, &state.id, &endpoint, LinkEnd::WithNamespace);
            first = first.and(done.map_err(NetworksError::link(&state.name)));
        }
        first
    }
}

/// How one endpoint of several is made.
struct Plan<'a> {
    request: &'a ConnectRequest<'a>,
    link: LinkName,
    default_route: DefaultRoute,
    ports: Vec<Published>,
}

/// The networks of a container: the main one, then the others by name.
fn wanted<'a>(
    known: &[NetworkDefinition],
    main: &str,
    wishes: &'a [EndpointWish],
    unspoken: &'a EndpointSettings,
) -> Result<Vec<Wanted<'a>>, NetworksError> {
    let main = find_in(known, main)?;
    let mut wanted = vec![Wanted { definition: main, settings: unspoken }];
    let mut others: Vec<Wanted<'a>> = Vec::new();
    for wish in wishes {
        let definition = find_in(known, &wish.network)?;
        if definition.id == wanted[0].definition.id {
            wanted[0].settings = &wish.settings;
        } else if !others.iter().any(|other| other.definition.id == definition.id) {
            others.push(Wanted { definition, settings: &wish.settings });
        }
    }
    others.sort_by(|one, other| one.definition.name.cmp(&other.definition.name));
    wanted.extend(others);
    Ok(wanted)
}

/// What there is of networks for each family of addresses.
pub(super) type ByFamily<'d> = Families<&'d NetworkDefinition, &'d NetworkDefinition>;

/// The networks that the default routes go through, if any does: of those that lead out and have the family, the one with
/// the highest priority, then one that has both, then the first by name.
pub(super) fn way_out<'d, 's>(
    networks: impl Iterator<Item = (&'d NetworkDefinition, &'s EndpointSettings)>,
) -> Option<ByFamily<'d>> {
    let leads_out = |(definition, _): &(&NetworkDefinition, _)| !definition.internal.is_on();
    let networks: Vec<_> = networks.filter(leads_out).collect();
    let first = |has: fn(&NetworkDefinition) -> Switch| {
        let having = networks.iter().filter(|(definition, _)| has(definition).is_on());
        let best = having.min_by_key(|(definition, settings)| {
            let has_both = definition.ipv4.is_on() && definition.ipv6.is_on();
            (Reverse(settings.gateway_priority), !has_both, &definition.name)
        });
        best.map(|(definition, _)| *definition)
    };
    Families::of(first(|one| one.ipv4), first(|one| one.ipv6))
}

/// The networks that ports of the host lead through: those of the default routes; where there are none they are kept for
/// later as the first one would have them. Ports of IPv6 lead to an endpoint without it all the same, those of IPv4 do not.
pub(super) fn outlets<'d>(way_out: Option<ByFamily<'d>>, first: &'d NetworkDefinition) -> ByFamily<'d> {
    match way_out {
        Some(Families::Four(one)) => Families::Both(one, one),
        Some(networks) => networks,
        None if first.ipv4.is_on() => Families::Both(first, first),
        None => Families::Six(first),
    }
}

/// The ports that lead through a network.
pub(super) fn through(
    definition: &NetworkDefinition,
    outlets: ByFamily<'_>,
    published: &[Published],
) -> Vec<Published> {
    let is_own = |one: &&Published| outlets.at(one.host).is_some_and(|outlet| outlet.id == definition.id);
    published.iter().filter(is_own).copied().collect()
}

/// The default routes that go through a network.
pub(super) fn default_route(definition: &NetworkDefinition, way_out: Option<ByFamily<'_>>) -> DefaultRoute {
    let (four, six) = way_out.map_or((None, None), Families::parts);
    let is_own = |one: Option<&NetworkDefinition>| one.is_some_and(|one| one.id == definition.id);
    match (is_own(four), is_own(six)) {
        (true, true) => DefaultRoute::Both,
        (true, false) => DefaultRoute::Four,
        (false, true) => DefaultRoute::Six,
        (false, false) => DefaultRoute::Neither,
    }
}

/// The network by whose gateway a container reaches the host.
fn default_gateway(way_out: Option<ByFamily<'_>>) -> Option<&NetworkDefinition> {
    let (four, six) = way_out?.parts();
    four.or(six)
}

/// A network without a namespace of its own, or without others, cannot be one of several.
fn alone(mode: &NetworkMode, networks: &[NetworkDefinition]) -> Result<(), NetworksError> {
    let others = |driver: Driver| networks.iter().any(|one| one.driver != driver);
    let has = |driver: Driver| networks.iter().any(|one| one.driver == driver);
    let of_host = *mode == NetworkMode::Host || has(Driver::Host);
    let of_none = *mode == NetworkMode::None || has(Driver::Null);
    if of_host && others(Driver::Host) {
        return Err(NetworksError::Conflict("container sharing network namespace with another container or host cannot be connected to any other network".to_owned()));
    }
    if of_none && others(Driver::Null) {
        return Err(NetworksError::Conflict("container cannot be connected to multiple networks with one of the networks in private (none) mode".to_owned()));
    }
    Ok(())
}

pub(super) fn is_user_defined(definition: &NetworkDefinition) -> bool {
    !definition.is_predefined()
}

/// Whether what is wanted of a network can be had of that network.
pub(super) fn check_settings(
    definition: &NetworkDefinition,
    settings: &EndpointSettings,
) -> Result<(), NetworksError> {
    let mut mistakes = Vec::new();
    let fixed = [settings.ipv4.map(IpAddr::from), settings.ipv6.map(IpAddr::from)].into_iter().flatten();
    let pools = &definition.ipam.config;
    if fixed.clone().next().is_some() && definition.is_predefined() {
        mistakes.push("user specified IP address is supported on user defined networks only".to_owned());
    } else {
        for address in fixed.clone() {
            let is_of_family = |pool: &&AddressPool| pool.subnet.contains(':') == address.is_ipv6();
            if !definition.chosen_subnets.is_on() || !pools.iter().any(|pool| is_of_family(&pool)) {
                mistakes.push("user specified IP address is supported only when connecting to networks with user configured subnets".to_owned());
            } else if !pools.iter().any(|pool| ipam::has(&pool.subnet, address)) {
                mistakes.push(format!("no configured subnet or ip-range contain the IP address {address}"));
            }
        }
    }
    if !settings.aliases.is_empty() && definition.is_predefined() {
        mistakes.push(
            "network-scoped alias is supported only for containers in user defined networks".to_owned(),
        );
    }
    for address in &settings.link_local {
        let is_link_local = match address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        if !is_link_local {
            mistakes.push(format!("invalid link local IP address: {address}"));
        } else if address.is_ipv6() && !definition.ipv6.is_on() {
            mistakes.push(format!("the link local IP address {address} needs a network with IPv6"));
        }
    }
    if let Err(error) = links::chosen(settings) {
        mistakes.push(error.to_string());
    }
    match links::settings(settings) {
        Err(more) => mistakes.extend(more),
        Ok(set) if definition.ipv6.is_on() => {
            mistakes.extend(set.iter().filter(|one| one.takes_ipv6_away()).map(|one| {
                format!("{one} would take the endpoint's IPv6 address away: use a network without IPv6")
            }));
        }
        Ok(_) => {}
    }
    if !mistakes.is_empty() {
        return Err(NetworksError::Endpoint { network: definition.name.clone(), mistakes });
    }
    if let Some(option) = links::unknown(settings) {
        return Err(NetworksError::Unsupported(format!("the endpoint option `{option}`")));
    }
    let modes = spec::gateways(definition);
    let kept = |address: IpAddr| Some((address, ipam::kept(pools, modes, address)?));
    if let Some((address, kept)) = fixed.filter_map(kept).next() {
        let (network, what) = (&definition.name, kept.what());
        return Err(NetworksError::Conflict(format!(
            "address already in use: {address} is {what} of network {network}"
        )));
    }
    if !settings.links.is_empty() && definition.driver != Driver::Bridge {
        return Err(NetworksError::Conflict(format!(
            "conflicting options: {} type networking can't be used with links. This would result in undefined behavior",
            definition.name
        )));
    }
    Ok(())
}

/// The names that a container has by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnNames<'a> {
    pub(crate) container: &'a str,
    pub(crate) name: &'a str,
    pub(crate) hostname: &'a str,
}

/// The names that lead to a container, its own first.
pub(super) fn dns_names(own: &OwnNames<'_>, settings: &EndpointSettings) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let aliases = settings.aliases.iter().map(String::as_str);
    for name in [own.name].into_iter().chain(aliases).chain([short(own.container), own.hostname]) {
        if !name.is_empty() && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// What people should know of names that hosts elsewhere have, too: in its network they lead to the container.
fn hiding(definition: &NetworkDefinition, names: &[String]) -> Option<String> {
    let public = |name: &&String| name.contains('.') || *name == "localhost";
    let hidden: Vec<String> = names.iter().filter(public).map(|name| format!("`{name}`")).collect();
    let network = &definition.name;
    (!hidden.is_empty()).then(|| {
        format!("hosts elsewhere that are called {} are not reached from the network {network}: the name leads to this container there", hidden.join(", "))
    })
}

/// The names that a container alone knows for others: `container` or `container:name`.
pub(super) fn private_names(settings: &EndpointSettings) -> Vec<PrivateName> {
    let link = |link: &String| {
        let (target, name) = link.split_once(':').unwrap_or((link, link));
        PrivateName { name: name.to_owned(), target: target.to_owned() }
    };
    settings.links.iter().map(link).collect()
}

pub(super) fn joined(
    definition: &NetworkDefinition,
    container: &str,
    endpoint: &Endpoint,
    dns_names: Vec<String>,
) -> Joined {
    Joined {
        network: definition.name.clone(),
        network_id: definition.id.clone(),
        endpoint_id: endpoint_id(&definition.id, container),
        address: endpoint.address,
        mac: endpoint.address.map(|address| address.mac),
        dns_names: if is_user_defined(definition) { dns_names } else { Vec::new() },
    }
}

/// Opens a namespace that lives on elsewhere.
pub(super) fn open_namespace(namespace: &OwnedFd) -> Result<Namespace, NetworksError> {
    let fd = namespace
        .as_fd()
        .try_clone_to_owned()
        .map_err(|source| NetworksError::Site(rbuild_network::error::Error::Namespace { source }))?;
    Ok(Namespace::open(fd)?)
}

/// The id of a network, as the crate below knows it.
pub(super) fn network_id(definition: &NetworkDefinition) -> Result<NetworkId, NetworksError> {
    Ok(NetworkId::new(&definition.id)?)
}

#[cfg(test)]
#[path = "connect_tests.rs"]
mod tests;
