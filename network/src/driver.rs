//! What a kind of network can do, and the values it is asked with.
//!
//! The life of a network: `ensure` makes it or finds it whole (cheap when it is), `attach` gives a namespace an endpoint
//! in it, `route` and `publish` change what leads out of and to it, `detach` takes the endpoint's address and rules back,
//! `remove` takes the network away. A namespace that is closed takes its links along by itself; `detach` may then come
//! late, or be left to `reclaim`. All of them may be repeated.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::address::{AddressRange, Mac, Pool, Subnet, default_pools, step_pools};
use crate::address6::Subnet6;
use crate::error::Error;
use crate::families::Families;
use crate::firewall::Warning;
use crate::link::LinkName;
use crate::names::{EndpointId, NetworkId, PrivateName};
use crate::namespace::Namespace;
use crate::namespace::setting::LinkSetting;
use crate::ports::Published;
use crate::site::Site;

/// Which kind of network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DriverKind {
    /// A bridge of its own, addresses from a pool, a way out by masquerading.
    Bridge,
    /// The host's own network namespace.
    Host,
    /// Only a loopback link.
    None,
}

impl DriverKind {
    /// Its name, as people write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::None => "none",
        }
    }
}

impl fmt::Display for DriverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Where the endpoints of a network get to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// Everywhere the host gets to.
    Outside,
    /// Only each other: no default route, nothing is forwarded, nothing new reaches the host.
    Internal,
}

/// Whether the endpoints of a network get to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortIsolation {
    /// They do: containers of a project.
    Shared,
    /// They do not: steps of builds.
    Isolated,
}

/// Whether the endpoints of a network are hidden behind the host's addresses when they get out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Masquerade {
    /// They are.
    #[default]
    On,
    /// They are not: somebody routes answers to them.
    Off,
}

/// Whether the endpoints of a network are known to each other by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NameScope {
    /// They are.
    #[default]
    Network,
    /// They are not: the default network.
    Nowhere,
}

/// How packets of one family of addresses get from outside to the endpoints of a network, and back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GatewayMode {
    /// Ports of the host lead to them; nothing else does.
    #[default]
    Nat,
    /// Ports of the host lead to them; who is outside of all networks and knows a route to their addresses reaches them as
    /// well.
    NatUnprotected,
    /// They are reached by their own addresses, at the ports that are published; no port of the host leads to them, and
    /// they are not hidden behind its addresses.
    Routed,
    /// The bridge has no address, so that not even the host reaches them: for internal networks.
    Isolated,
}

/// The gateway modes of a network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayModes {
    /// That of IPv4.
    pub four: GatewayMode,
    /// That of IPv6.
    pub six: GatewayMode,
}

impl GatewayModes {
    /// That of the family of an address.
    pub fn of(self, address: IpAddr) -> GatewayMode {
        if address.is_ipv4() { self.four } else { self.six }
    }
}

/// What the packets of an endpoint are checked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Guard {
    /// They carry the addresses it was given, or are dropped.
    Strict,
    /// Nothing: for containers that are allowed to administer their own addresses (`NET_ADMIN`).
    Off,
}

/// A network that is wanted.
#[derive(Clone, Debug)]
pub struct NetworkSpec {
    /// Its id.
    pub id: NetworkId,
    /// Its addresses of each family that it is to have.
    pub families: Families<FourSpec, SixSpec>,
    /// What people call it.
    pub name: String,
    /// What its bridge is called on the host; a name of ours when nothing is said.
    pub bridge: Option<LinkName>,
    /// Whether its endpoints are hidden behind the host's addresses when they get out.
    pub masquerade: Masquerade,
    /// How its endpoints are reached from outside.
    pub gateways: GatewayModes,
    /// Whether its endpoints are known to each other by name.
    pub names: NameScope,
    /// Ranges that others have who are not set up now.
    pub taken: Vec<AddressRange>,
    /// Where its endpoints get to.
    pub reach: Reach,
    /// Whether its endpoints get to each other.
    pub isolation: PortIsolation,
    /// Largest packet.
    pub mtu: u32,
    /// Where subnets are chosen from.
    pub pools: Vec<Pool>,
}

impl NetworkSpec {
    /// An ordinary network with the default settings: of IPv4 alone.
    pub fn new(id: NetworkId) -> Self {
        Self {
            name: id.to_string(),
            id,
            bridge: None,
            families: Families::Four(FourSpec::default()),
            masquerade: Masquerade::On,
            gateways: GatewayModes::default(),
            names: NameScope::Network,
            taken: Vec::new(),
            reach: Reach::Outside,
            isolation: PortIsolation::Shared,
            mtu: 1500,
            pools: default_pools(),
        }
    }

    /// The network of the steps of builds: out, but not to each other.
    pub fn for_steps(id: NetworkId) -> Self {
        Self { isolation: PortIsolation::Isolated, pools: step_pools(), ..Self::new(id) }
    }
}

/// The IPv4 addresses of a network that is wanted.
#[derive(Clone, Debug, Default)]
pub struct FourSpec {
    /// All of them; chosen from the pools when nothing is said.
    pub subnet: Option<Subnet>,
    /// The address of its gateway; the first of the subnet when nothing is said.
    pub gateway: Option<Ipv4Addr>,
    /// What addresses are given out of; all of the subnet when nothing is said.
    pub range: Option<Subnet>,
    /// Addresses that are never given out.
    pub reserved: Vec<Ipv4Addr>,
}

/// The IPv6 addresses of a network that is wanted.
#[derive(Clone, Debug, Default)]
pub struct SixSpec {
    /// All of them; a range of its own when nothing is said.
    pub subnet: Option<Subnet6>,
    /// The address of its gateway; the first of the subnet when nothing is said.
    pub gateway: Option<Ipv6Addr>,
    /// What addresses are given out of; all of the subnet when nothing is said.
    pub range: Option<Subnet6>,
    /// Addresses that are never given out.
    pub reserved: Vec<Ipv6Addr>,
}

/// A network that is there.
#[derive(Clone, Debug)]
pub struct Network {
    /// Its id.
    pub id: NetworkId,
    /// Its kind.
    pub driver: DriverKind,
    /// What it gives addresses from, if it has any.
    pub addressing: Option<Addressing>,
    /// Why it may not work as expected.
    pub warnings: Vec<Warning>,
}

/// The addresses of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addressing {
    /// Its bridge.
    pub bridge: LinkName,
    /// Its addresses of each family, and the bridge's own.
    pub families: Families<(Subnet, Ipv4Addr), (Subnet6, Ipv6Addr)>,
}

/// An endpoint that is wanted.
#[derive(Clone, Debug)]
pub struct EndpointSpec {
    /// Whose it is.
    pub id: EndpointId,
    /// The name of the link inside; `eth0` for the first.
    pub link: LinkName,
    /// Its address, if it must be a certain one.
    pub address: Option<Ipv4Addr>,
    /// Its IPv6 address, if it must be a certain one.
    pub address6: Option<Ipv6Addr>,
    /// Further addresses that hold on its link only.
    pub link_local: Vec<IpAddr>,
    /// Its hardware address, if it must be a certain one.
    pub mac: Option<Mac>,
    /// What the kernel is told of its link.
    pub settings: Vec<LinkSetting>,
    /// What its packets are checked for.
    pub guard: Guard,
    /// Which of the namespace's default routes go through this network.
    pub default_route: DefaultRoute,
    /// The names that lead to it in this network.
    pub names: Vec<String>,
    /// The names that it alone knows for others.
    pub private_names: Vec<PrivateName>,
    /// The ports of the host that lead to it; the caller holds their reservations.
    pub published: Vec<Published>,
}

impl EndpointSpec {
    /// The only endpoint of a step or container.
    pub fn new(id: EndpointId) -> Self {
        Self {
            id,
            link: LinkName::eth(0),
            address: None,
            address6: None,
            link_local: Vec::new(),
            mac: None,
            settings: Vec::new(),
            guard: Guard::Strict,
            default_route: DefaultRoute::Both,
            names: Vec::new(),
            private_names: Vec::new(),
            published: Vec::new(),
        }
    }
}

/// Which default routes of a namespace go through a network, if that has the family and leads anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultRoute {
    /// Those of both families.
    Both,
    /// That of IPv4.
    Four,
    /// That of IPv6.
    Six,
    /// None.
    Neither,
}

impl DefaultRoute {
    /// Whether that of the family of an address does.
    pub fn is_of(self, address: IpAddr) -> bool {
        match self {
            Self::Both => true,
            Self::Four => address.is_ipv4(),
            Self::Six => address.is_ipv6(),
            Self::Neither => false,
        }
    }
}

/// An endpoint that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Whose it is.
    pub id: EndpointId,
    /// Its addresses, if its network has any.
    pub address: Option<EndpointAddress>,
}

/// The addresses of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointAddress {
    /// Its address of each family that its network has.
    pub families: Families<Placed<Ipv4Addr>, Placed<Ipv6Addr>>,
    /// Where its network leads.
    pub reach: Reach,
    /// Its hardware address.
    pub mac: Mac,
}

impl EndpointAddress {
    /// Its addresses, that of IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        self.families.map(|four| four.address, |six| six.address).addresses()
    }

    /// The address of its network on the host: that of IPv4, if there is one.
    pub fn gateway(&self) -> IpAddr {
        self.families.map(|four| four.gateway, |six| six.gateway).first()
    }
}

/// An address in its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed<A> {
    /// It.
    pub address: A,
    /// The prefix of its network.
    pub prefix: u8,
    /// Its network's gateway.
    pub gateway: A,
}

/// What becomes of the links of an endpoint that is detached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEnd {
    /// They go with their namespace, which is closed or about to be: nothing waits for the kernel (removing a link
    /// costs 10 to 30 ms, most of it the kernel's own waiting).
    WithNamespace,
    /// They go now: the namespace lives on.
    Now,
}

/// Which network namespace the processes of a network run in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceNeed {
    /// One of their own.
    Private,
    /// The host's.
    Host,
}

/// A kind of network.
pub trait NetworkDriver: Send + Sync + fmt::Debug {
    /// Which kind it is.
    fn kind(&self) -> DriverKind;

    /// Which namespace its processes run in.
    fn namespace(&self) -> NamespaceNeed;

    /// Makes the network, or finds it whole, or repairs it.
    fn ensure(&self, site: &Site, spec: &NetworkSpec) -> Result<Network, Error>;

    /// Gives a namespace an endpoint in the network.
    fn attach(
        &self,
        site: &Site,
        network: &Network,
        namespace: &mut Namespace,
        spec: &EndpointSpec,
    ) -> Result<Endpoint, Error>;

    /// Sends whatever of some family has no other way through this network, in the namespace of an endpoint of it.
    fn route(
        &self,
        site: &Site,
        network: &NetworkId,
        namespace: &mut Namespace,
        endpoint: &EndpointId,
        routes: DefaultRoute,
    ) -> Result<(), Error>;

    /// Changes the ports of the host that lead to an endpoint; the caller holds their reservations.
    fn publish(
        &self,
        site: &Site,
        network: &NetworkId,
        endpoint: &EndpointId,
        published: &[Published],
    ) -> Result<(), Error>;

    /// Takes an endpoint's address and rules back, and its link. One that is gone already is no error.
    fn detach(
        &self,
        site: &Site,
        network: &NetworkId,
        endpoint: &EndpointId,
        link: LinkEnd,
    ) -> Result<(), Error>;

    /// Takes the network away. One that is gone already is no error; one that is in use is.
    fn remove(&self, site: &Site, network: &NetworkId) -> Result<(), Error>;
}
