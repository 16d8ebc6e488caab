//! The network of one container: its endpoint, the ports of the host that lead to it, what carries them.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rbuild_network::driver::{DriverKind, EndpointSpec, LinkEnd, NetworkSpec};
use rbuild_network::drivers::driver;
use rbuild_network::forward::Forwarder;
use rbuild_network::hosts::{HostEntry, HostNameError, render, render_on_host};
use rbuild_network::names::{EndpointId, NetworkId};
use rbuild_network::namespace::Namespace;
use rbuild_network::ports::{Published, Reservation};
use rbuild_network::resolver::{for_host_namespace, for_private_namespace};
use rbuild_network::site::Site;
use rbuild_sandbox::{Access, FileContent, Mount, MountSource, Restrictions};
use rbuild_store::UniqueId;

use super::{Attendant, Engine, Parts};
use crate::error::RunError;
use crate::request::{NetworkRequest, RunRequest};

/// The network that containers have unless another is asked for.
const DEFAULT_NETWORK: &str = "bridge";

/// What a container has of networks for as long as it runs.
#[derive(Default)]
pub(super) struct Networked {
    /// The namespace of its own, if it has one.
    pub(super) namespace: Option<OwnedFd>,
    endpoint: Option<(Site, NetworkId, EndpointId)>,
    own: Option<Ipv4Addr>,
    gateway: Option<Ipv4Addr>,
    /// They own the published ports, and carry what comes from this host itself.
    forwarders: Vec<Forwarder>,
}

impl Engine {
    /// Connects a container that is about to be made.
    pub(super) fn connect(
        &self,
        request: &RunRequest,
        id: &UniqueId,
        attendant: &mut dyn Attendant,
    ) -> Result<Networked, RunError> {
        if request.network != NetworkRequest::Bridge {
            if !request.published.is_empty() {
                return Err(RunError::Invalid {
                    what: "port publication",
                    why: "published ports need the bridge network".to_owned(),
                });
            }
            return Ok(Networked::default());
        }
        let reservations = reserve(request)?;
        let site = Site::open(self.parts.site.clone())?;
        let bridge = driver(DriverKind::Bridge);
        let network_id = NetworkId::new(DEFAULT_NETWORK).map_err(rbuild_network::error::Error::from)?;
        let network = bridge.ensure(&site, &NetworkSpec::new(network_id))?;
        for warning in &network.warnings {
            attendant.note(&warning.to_string());
        }
        let mut namespace = Namespace::create()?;
        let endpoint_id = EndpointId::new(&id.to_string()).map_err(rbuild_network::error::Error::from)?;
        let published = reservations.iter().map(Reservation::published).collect();
        let spec = EndpointSpec { published, ..EndpointSpec::new(endpoint_id) };
        let endpoint = bridge.attach(&site, &network, &mut namespace, &spec)?;
        let mut networked = Networked {
            namespace: Some(namespace.into_fd()),
            own: endpoint.address.map(|address| address.address),
            gateway: endpoint.address.map(|address| address.gateway),
            endpoint: Some((site, network.id, endpoint.id)),
            forwarders: Vec::new(),
        };
        if let Err(error) = networked.carry(reservations) {
            // The error that is told is the first; what remains is reclaimed by the next command.
            let _ = networked.disconnect();
            return Err(error);
        }
        Ok(networked)
    }

    /// Makes the files by which a container knows names.
    pub(super) fn name_files(
        &self,
        request: &RunRequest,
        network: &Networked,
        hostname: &str,
        attendant: &mut dyn Attendant,
    ) -> Result<Vec<Mount>, RunError> {
        let invalid = |error: HostNameError| RunError::Invalid { what: "host name", why: error.to_string() };
        let mut extra = Vec::new();
        for host in &request.extra_hosts {
            let address = match host.address.as_str() {
                "host-gateway" => network.gateway.map(Into::into),
                text => text.parse().ok(),
            };
            let Some(address) = address else {
                let why = format!(
                    "{} stands for `{}`, which has no address in this network",
                    host.name, host.address
                );
                return Err(RunError::Invalid { what: "host name", why });
            };
            extra.push(HostEntry::new(address, &host.name).map_err(invalid)?);
        }
        let Parts { resolv_conf, resolved_upstream, hosts, .. } = &self.parts;
        let (hosts, resolv) = if request.network == NetworkRequest::Host {
            (render_on_host(hosts, &extra), for_host_namespace(resolv_conf.as_deref(), &request.dns))
        } else {
            let own: Result<Vec<_>, _> =
                network.own.iter().map(|own| HostEntry::new((*own).into(), hostname)).collect();
            let resolver =
                for_private_namespace(resolv_conf.as_deref(), resolved_upstream.as_deref(), &request.dns);
            if let (NetworkRequest::Bridge, Some(warning)) = (request.network, &resolver.warning) {
                attendant.note(&warning.to_string());
            }
            (render(&extra, &own.map_err(invalid)?), resolver.conf.render())
        };
        let file = |target: &str, text: String| Mount {
            target: target.into(),
            source: MountSource::File(FileContent { bytes: text.into_bytes(), mode: 0o644, uid: 0, gid: 0 }),
            access: Access::ReadWrite,
            restrictions: Restrictions::default(),
        };
        Ok(vec![
            file("/etc/hosts", hosts),
            file("/etc/resolv.conf", resolv),
            file("/etc/hostname", format!("{hostname}\n")),
        ])
    }
}

/// Takes the ports of the host, all or none.
fn reserve(request: &RunRequest) -> Result<Vec<Reservation>, RunError> {
    let mut reservations = Vec::with_capacity(request.published.len());
    for port in &request.published {
        let host = port.address().map_err(|address| RunError::Unsupported {
            what: format!("publishing on the IPv6 address {address}"),
        })?;
        let wanted = Published {
            protocol: port.protocol,
            host: host.into(),
            port: port.host_port.unwrap_or(0),
            target: port.port,
        };
        reservations.push(Reservation::bind(wanted)?);
    }
    Ok(reservations)
}

impl Networked {
    fn carry(&mut self, reservations: Vec<Reservation>) -> Result<(), RunError> {
        let (Some(own), Some((site, ..))) = (self.own, &self.endpoint) else { return Ok(()) };
        for reservation in reservations {
            let target = SocketAddr::from((own, reservation.published().target));
            // It connects from where the network is; the reserved port is the host's wherever that may be.
            self.forwarders.push(site.inside(|| Ok(Forwarder::start(reservation, target)))??);
        }
        Ok(())
    }

    /// Gives everything back, after the end of the container.
    pub(super) fn disconnect(self) -> Result<(), RunError> {
        let Self { namespace, endpoint, own: _, gateway: _, forwarders } = self;
        drop(forwarders);
        drop(namespace);
        let Some((site, network, endpoint)) = endpoint else { return Ok(()) };
        Ok(driver(DriverKind::Bridge).detach(&site, &network, &endpoint, LinkEnd::WithNamespace)?)
    }
}
