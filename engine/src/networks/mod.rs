//! Networks: rows of what people asked for, and what stands behind them on this host.
//!
//! A definition outlives a reboot, its bridge does not: the first container that connects makes the bridge again, with the
//! subnet that was chosen when the network was made. So the row is written last, when the bridge is there, and a process
//! killed in between leaves a bridge that nobody knows, which is taken away like any other leftover.
//!
//! ```text
//! ipam, spec     what people write -> what the crate below is asked for (pure)
//! rows           the definitions
//! connect        a container that starts: its namespace, endpoints, ports, duties
//! files          the files by which its programs know names
//! links          what the links of a container are called inside (pure)
//! live           a container that runs: networks that come and go
//! members        containers that are connected and disconnected by name
//! document       what `inspect` shows
//! ```

mod connect;
mod document;
mod error;
mod files;
pub mod ipam;
pub(crate) mod links;
mod live;
mod members;
mod ports;
mod rows;
mod spec;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use jiff::Timestamp;
use rbuild_model::network::{AddressPool, Driver, Ipam, NetworkDefinition, Switch};
use rbuild_network::driver::{DriverKind, GatewayMode, Network, NetworkDriver, NetworkSpec};
use rbuild_network::error::Error as LinkError;
use rbuild_network::names::{self, NetworkFile, NetworkId, NetworkState};
use rbuild_network::site::{Site, SiteConfig};
use rbuild_store::{Store, UniqueId};

pub(crate) use connect::OwnNames;
pub use connect::{ConnectRequest, Connected, Joined};
pub use error::NetworksError;
pub(crate) use files::KnownChange;
pub use files::{NameFiles, Naming};
pub use live::LiveChange;
pub(crate) use members::guard;
pub use members::{Leaving, MemberError};
pub use rows::SCHEMA;
pub(crate) use spec::gateways_of;

/// What the host says about names.
#[derive(Clone, Debug, Default)]
pub struct HostNames {
    /// Where the host's servers are named: `/etc/resolv.conf`.
    pub resolv_path: PathBuf,
    /// What that file says.
    pub resolv_conf: Option<String>,
    /// systemd-resolved's list of real servers.
    pub resolved_upstream: Option<String>,
    /// `/etc/hosts`.
    pub hosts: String,
}

/// The networks of a store.
#[derive(Clone)]
pub struct Networks {
    store: Store,
    site: SiteConfig,
    host: HostNames,
}

/// A network that is wanted.
#[derive(Clone, Debug)]
pub struct NetworkRequest {
    /// Its name.
    pub name: String,
    /// Its kind, as it was asked for.
    pub driver: String,
    /// Whether it has IPv4 addresses.
    pub ipv4: Switch,
    /// Whether it has IPv6 addresses.
    pub ipv6: Switch,
    /// Whether it leads nowhere.
    pub internal: Switch,
    /// Whether containers may be attached by hand; every network here lets them.
    pub attachable: Switch,
    /// Who gives out its addresses, and out of what.
    pub ipam: Ipam,
    /// Options of its driver.
    pub options: BTreeMap<String, String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl NetworkRequest {
    /// Means an ordinary network.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            driver: String::new(),
            ipv4: Switch::On,
            ipv6: Switch::Off,
            internal: Switch::Off,
            attachable: Switch::Off,
            ipam: Ipam::default(),
            options: BTreeMap::new(),
            labels: BTreeMap::new(),
        }
    }
}

/// A network that was made.
#[derive(Clone, Debug)]
pub struct Created {
    /// What it came to.
    pub definition: NetworkDefinition,
    /// Why it may not work as expected.
    pub notes: Vec<String>,
}

impl Networks {
    /// Looks after the networks of a store; nothing is made yet.
    pub fn new(store: &Store, site: SiteConfig, host: HostNames) -> Self {
        Self { store: store.clone(), site, host }
    }

    /// Makes a network.
    pub fn create(&self, request: &NetworkRequest) -> Result<Created, NetworksError> {
        let site = self.open_site()?;
        loop {
            let known = self.list()?;
            let (mut definition, spec) = defined(request, &known)?;
            apart(&definition, &known)?;
            let network = bridge().ensure(&site, &spec).map_err(NetworksError::link(&definition.name))?;
            fill_in(&mut definition, &network);
            let added = self.store.write_synced(|rows| rows::insert(rows, &definition));
            if !matches!(added, Ok(true)) {
                // What is told is why there is no row; a bridge that stays is reclaimed.
                let _ = bridge().remove(&site, &network.id);
            }
            if !added? {
                return Err(NetworksError::Exists(definition.name));
            }
            if !NetworkFile::new(&self.site.runtime, network.id.clone()).is_set_up()? {
                // Somebody who removes what is not used saw the bridge before the row. Its subnet is free for others since.
                self.store.write_synced(|rows| rows::remove(rows, &definition.id))?;
                continue;
            }
            self.tell("create", &definition, &[]);
            let notes = network.warnings.iter().map(ToString::to_string).collect();
            return Ok(Created { definition, notes });
        }
    }

    /// Lists all networks, the predefined ones first.
    pub fn list(&self) -> Result<Vec<NetworkDefinition>, NetworksError> {
        let known: Vec<NetworkDefinition> = self.store.read(rows::all)?;
        if known.iter().filter(|definition| definition.is_predefined()).count()
            == NetworkDefinition::PREDEFINED.len()
        {
            return Ok(known);
        }
        let fresh = predefined()?;
        Ok(self.store.write(|tables| {
            for definition in &fresh {
                rows::insert(tables, definition)?;
            }
            rows::all(tables)
        })?)
    }

    /// Finds a network by its id, its name, or the beginning of its id, in this order.
    pub fn find(&self, text: &str) -> Result<NetworkDefinition, NetworksError> {
        find_in(&self.list()?, text)
    }

    /// What a network has given out on this host; nothing if it is not set up.
    pub fn state(&self, definition: &NetworkDefinition) -> Result<Option<NetworkState>, NetworksError> {
        Ok(NetworkFile::new(&self.site.runtime, NetworkId::new(&definition.id)?).read()?)
    }

    /// Returns what `inspect` shows.
    pub fn inspect(&self, definition: &NetworkDefinition) -> Result<serde_json::Value, NetworksError> {
        Ok(document::network(definition, self.state(definition)?.as_ref()))
    }

    /// Removes a network that no running container is in.
    pub fn remove(&self, definition: &NetworkDefinition) -> Result<(), NetworksError> {
        if definition.is_predefined() {
            let name = definition.name.clone();
            return Err(NetworksError::Predefined { name, act: "removed" });
        }
        let id = NetworkId::new(&definition.id)?;
        let state = self.state(definition)?;
        if state.is_some() {
            match bridge().remove(&self.open_site()?, &id) {
                Err(LinkError::InUse { endpoints, .. }) => {
                    let records = state.iter().flat_map(|state| &state.endpoints);
                    let endpoints = endpoints.iter().map(|id| {
                        let record = records.clone().find(|record| record.id.as_str() == id);
                        let name = record.and_then(|record| record.names.first()).unwrap_or(id);
                        format!("name:{name:?} id:{:?}", short(id))
                    });
                    let name = definition.name.clone();
                    return Err(NetworksError::InUse { name, endpoints: endpoints.collect() });
                }
                removed => removed.map_err(NetworksError::link(&definition.name))?,
            }
        }
        self.store.write_synced(|tables| rows::remove(tables, &definition.id))?;
        self.tell("destroy", definition, &[]);
        Ok(())
    }

    /// Removes the networks that fit and that no running container is in; returns their names. What fails does not keep
    /// the others from being tried.
    pub fn prune(
        &self,
        fits: impl Fn(&NetworkDefinition) -> bool,
    ) -> Result<(Vec<String>, Vec<NetworksError>), NetworksError> {
        let mut removed = Vec::new();
        let mut failures = Vec::new();
        for definition in self.list()? {
            if definition.is_predefined() || !fits(&definition) {
                continue;
            }
            match self.remove(&definition) {
                Ok(()) => removed.push(definition.name),
                Err(NetworksError::InUse { .. }) => {}
                Err(error) => failures.push(error),
            }
        }
        // Links that nobody knows, and the bridges of predefined networks that nobody is in.
        let site = self.open_site()?;
        // Looked up when it is its turn: others make networks meanwhile. Who cannot tell keeps it.
        let keep = |id: &NetworkId| {
            let known = self.store.read(rows::all);
            known.map_or(true, |known| known.iter().any(|one| !one.is_predefined() && one.id == id.as_str()))
        };
        let reclaimed = rbuild_network::reclaim::remove_unused_but(&site, &keep)?;
        let errors = reclaimed.errors.into_iter().chain(reclaimed.elsewhere);
        failures.extend(errors.map(NetworksError::from));
        Ok((removed, failures))
    }

    /// The networks that a container is in now, by their records.
    pub fn of_container(
        &self,
        container: &str,
    ) -> Result<Vec<(NetworkState, names::EndpointRecord)>, NetworksError> {
        Ok(names::of_endpoint(&self.site.runtime, &names::EndpointId::new(container)?)?)
    }

    /// Makes a network's bridge, or finds it whole. One whose subnet nobody asked for gets another if somebody else has taken
    /// it while the bridge was away: after a reboot, say.
    fn ensure(
        &self,
        site: &Site,
        known: &[NetworkDefinition],
        definition: &NetworkDefinition,
    ) -> Result<Network, NetworksError> {
        let others = known.iter().filter(|other| other.id != definition.id);
        let taken = ipam::taken(others);
        let spec = spec::network(definition, taken.clone())?;
        match bridge().ensure(site, &spec) {
            Err(LinkError::SubnetInUse { .. } | LinkError::SubnetDiffers { .. })
                if !definition.chosen_subnets.is_on() =>
            {
                let mut anew = definition.clone();
                anew.ipam.config.clear();
                let spec = spec::network(&anew, taken)?;
                let network = bridge().ensure(site, &spec).map_err(NetworksError::link(&anew.name))?;
                if !anew.is_predefined() {
                    fill_in(&mut anew, &network);
                    self.store.write_synced(|rows| rows::replace(rows, &anew))?;
                }
                Ok(network)
            }
            made => made.map_err(NetworksError::link(&definition.name)),
        }
    }

    fn open_site(&self) -> Result<Site, NetworksError> {
        Ok(Site::open(self.site.clone())?)
    }

    /// Tells of something that happened to a network.
    fn tell(&self, action: &str, definition: &NetworkDefinition, extra: &[(&str, &str)]) {
        let mut attributes = BTreeMap::from([
            ("name".to_owned(), definition.name.clone()),
            ("type".to_owned(), definition.driver.to_string()),
        ]);
        attributes.extend(extra.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        crate::event::append(&self.store, "network", action, &definition.id, &attributes);
    }
}

/// Looks whether a network can be made as it is asked for beside those that are known; nothing is made. Returns what it
/// would come to, without what is chosen for it.
pub(crate) fn check_new(
    request: &NetworkRequest,
    known: &[NetworkDefinition],
) -> Result<NetworkDefinition, NetworksError> {
    let (definition, _) = defined(request, known)?;
    apart(&definition, known)?;
    Ok(definition)
}

/// Looks whether the subnets that a network chooses are nobody else's.
fn apart(definition: &NetworkDefinition, known: &[NetworkDefinition]) -> Result<(), NetworksError> {
    match ipam::overlap(definition, known) {
        None => Ok(()),
        Some((subnet, other)) => Err(NetworksError::Conflict(format!(
            "cannot create network {}: its subnet {subnet} overlaps with that of network {}",
            definition.name, other.name
        ))),
    }
}

/// Makes a definition of what is asked for, beside the networks that there are, and what the crate below is asked for.
fn defined(
    request: &NetworkRequest,
    known: &[NetworkDefinition],
) -> Result<(NetworkDefinition, NetworkSpec), NetworksError> {
    let name = request.name.trim();
    if name.is_empty() {
        return Err(NetworksError::Config(vec!["invalid name: name is empty".to_owned()]));
    }
    let driver: Driver = request.driver.parse()?;
    if NetworkDefinition::PREDEFINED.contains(&name) {
        return Err(NetworksError::Conflict(format!(
            "operation is not permitted on predefined {name} network"
        )));
    }
    if driver != Driver::Bridge {
        return Err(NetworksError::Conflict(format!("only one instance of \"{driver}\" network is allowed")));
    }
    let mistakes: Vec<String> = request.ipam.config.iter().filter_map(ipam::unlike_its_base).collect();
    if !mistakes.is_empty() {
        return Err(NetworksError::Config(mistakes));
    }
    if known.iter().any(|other| other.name == name) {
        return Err(NetworksError::Exists(name.to_owned()));
    }
    let named = request.options.get(spec::BRIDGE);
    let has_it = |other: &&NetworkDefinition| other.options.get(spec::BRIDGE) == named;
    if let Some(other) = known.iter().find(|other| named.is_some() && has_it(other)) {
        return Err(NetworksError::Conflict(format!(
            "cannot create network {name}: conflicts with network {} ({}): networks have same bridge name",
            other.id, other.name
        )));
    }
    let mut definition = NetworkDefinition {
        id: long_id()?,
        name: name.to_owned(),
        created: Timestamp::now().to_string(),
        driver,
        ipv4: request.ipv4,
        ipv6: request.ipv6,
        internal: request.internal,
        attachable: request.attachable,
        chosen_subnets: Switch::from(!request.ipam.config.is_empty()),
        ipam: request.ipam.clone(),
        options: request.options.clone(),
        labels: request.labels.clone(),
    };
    if definition.ipam.driver.is_empty() {
        "default".clone_into(&mut definition.ipam.driver);
    }
    let spec = spec::network(&definition, ipam::taken(known.iter()))?;
    match ipam::cannot_set_aside(&definition.ipam.config, spec.gateways) {
        Some(mistake) => Err(NetworksError::Conflict(mistake)),
        None => Ok((definition, spec)),
    }
}

/// Finds a network by its id, its name, or the beginning of its id, in this order.
fn find_in(known: &[NetworkDefinition], text: &str) -> Result<NetworkDefinition, NetworksError> {
    let exact = known.iter().find(|one| one.id == text).or_else(|| known.iter().find(|one| one.name == text));
    if let Some(found) = exact {
        return Ok(found.clone());
    }
    let begin: Vec<_> = known.iter().filter(|one| !text.is_empty() && one.id.starts_with(text)).collect();
    match begin.as_slice() {
        [found] => Ok((*found).clone()),
        [] => Err(NetworksError::NotFound(text.to_owned())),
        several => Err(NetworksError::Ambiguous { name: text.to_owned(), count: several.len() }),
    }
}

fn bridge() -> &'static dyn NetworkDriver {
    rbuild_network::drivers::driver(DriverKind::Bridge)
}

/// Writes down what was chosen, so that it stays over a reboot.
fn fill_in(definition: &mut NetworkDefinition, network: &Network) {
    let Some(addressing) = &network.addressing else { return };
    let modes = spec::gateways(definition);
    let told = |mode, gateway: IpAddr| {
        if mode == GatewayMode::Isolated { String::new() } else { gateway.to_string() }
    };
    let mut add = |subnet: String, gateway: String| {
        let pools = &mut definition.ipam.config;
        if !pools.iter().any(|pool| pool.subnet.contains(':') == subnet.contains(':')) {
            pools.push(AddressPool { subnet, gateway, ..AddressPool::default() });
        }
    };
    let (four, six) = addressing.families.parts();
    if let Some((subnet, gateway)) = four {
        add(subnet.to_string(), told(modes.four, gateway.into()));
    }
    if let Some((subnet, gateway)) = six {
        add(subnet.to_string(), told(modes.six, gateway.into()));
    }
}

/// The networks that are there without being made. Their addresses are chosen when they are first used.
fn predefined() -> Result<Vec<NetworkDefinition>, NetworksError> {
    let make = |(name, driver): (&str, Driver)| {
        Ok(NetworkDefinition {
            id: long_id()?,
            name: name.to_owned(),
            created: Timestamp::now().to_string(),
            driver,
            ipv4: Switch::On,
            ipv6: Switch::Off,
            internal: Switch::Off,
            attachable: Switch::Off,
            ipam: Ipam { driver: "default".to_owned(), ..Ipam::default() },
            chosen_subnets: Switch::Off,
            options: BTreeMap::new(),
            labels: BTreeMap::new(),
        })
    };
    let drivers = [Driver::Bridge, Driver::Host, Driver::Null];
    NetworkDefinition::PREDEFINED.into_iter().zip(drivers).map(make).collect()
}

/// 64 hexadecimal digits that nobody has.
fn long_id() -> Result<String, NetworksError> {
    Ok(format!("{}{}", UniqueId::random()?, UniqueId::random()?))
}

/// The first twelve digits of an id.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
