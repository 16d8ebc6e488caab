//! Networks of containers and steps.
//!
//! A network is one of [`drivers::DRIVERS`]; [`driver::NetworkDriver`] tells its life. A [`namespace::Namespace`] is made empty,
//! gets its endpoints, and goes as a descriptor to the process that will live in it. [`site::Site`] is the place
//! where all this happens: a store's prefix and runtime folder, and the kernel's sockets. [`names`] is what each
//! network has given out, [`firewall`] the rules, [`ports`] the ports of the host, [`forward`] what reaches them from the host itself, [`service`] what answers questions for names in a container, [`resolver`] and [`hosts`] the
//! two files that programs in a container read, [`duty`] what is done for a container as long as it runs, [`mod@reclaim`] what takes leftovers away.
//!
//! ```no_run
//! # fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use rbuild_network::driver::{DriverKind, EndpointSpec, LinkEnd, NetworkSpec};
//! use rbuild_network::link::StorePrefix;
//! use rbuild_network::names::{EndpointId, NetworkId};
//! use rbuild_network::namespace::Namespace;
//! use rbuild_network::site::{Site, SiteConfig};
//!
//! let site = Site::open(SiteConfig {
//!     store: StorePrefix::new("0a1b2c3d")?,
//!     runtime: "/run/rbuild/0a1b2c3d".into(),
//!     is_abandoned: |_| false,
//!     host_lock: "/run/rbuild/host.lock".into(),
//!     nft: None,
//!     passage: Default::default(),
//!     pools: Vec::new(),
//!     place: Default::default(),
//! })?;
//! let bridge = rbuild_network::drivers::driver(DriverKind::Bridge);
//! let network = bridge.ensure(&site, &NetworkSpec::for_steps(NetworkId::new("steps")?))?;
//! let mut namespace = Namespace::create()?;
//! let endpoint = bridge.attach(&site, &network, &mut namespace, &EndpointSpec::new(EndpointId::new("step-1")?))?;
//! let descriptor = namespace.into_fd(); // for the process
//! bridge.detach(&site, &network.id, &endpoint.id, LinkEnd::WithNamespace)?;
//! # Ok(())
//! # }
//! ```
//!
//! All of it is synchronous, and the hot path (an endpoint for a step) is about ten messages to the kernel.

pub mod address;
pub mod address6;
pub mod driver;
pub mod drivers;
pub mod duty;
pub mod error;
pub mod families;
pub mod firewall;
pub mod forward;
mod holder;
pub mod hosts;
pub mod link;
mod lock;
pub mod names;
pub mod namespace;
pub mod netlink;
pub mod ports;
pub mod reclaim;
pub mod resolver;
pub mod service;
pub mod site;
pub mod volatile;
