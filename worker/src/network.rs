//! The network of the steps of one build: made at the first step that wants it.

use std::os::fd::OwnedFd;
use std::sync::{Mutex, OnceLock, PoisonError};

use rbuild_model::step::{ExtraHost, NetworkMode};
use rbuild_network::driver::{DriverKind, EndpointSpec, LinkEnd, Network, NetworkSpec};
use rbuild_network::drivers::driver;
use rbuild_network::error::Error;
use rbuild_network::hosts::{HostEntry, HostNameError, render, render_on_host};
use rbuild_network::names::{EndpointId, NetworkId};
use rbuild_network::namespace::Namespace;
use rbuild_network::resolver::{ResolverChoice, for_host_namespace, for_private_namespace};
use rbuild_network::site::{Site, SiteConfig};

/// What the host says about names, read by the caller.
#[derive(Clone, Debug, Default)]
pub struct HostFiles {
    /// `/etc/resolv.conf`.
    pub resolv_conf: Option<String>,
    /// systemd-resolved's list of real servers.
    pub resolved_upstream: Option<String>,
    /// `/etc/hosts`.
    pub hosts: String,
}

/// Makes endpoints for steps.
#[derive(Debug)]
pub struct StepNetworks {
    config: SiteConfig,
    files: HostFiles,
    site: OnceLock<Site>,
    /// Held while the network is made, so that it is made once.
    network: Mutex<Option<Network>>,
}

/// The network of one step; its address is given back when the step has ended.
#[derive(Debug)]
pub(crate) struct StepNetwork {
    pub(crate) namespace: Option<OwnedFd>,
    endpoint: Option<(NetworkId, EndpointId)>,
    /// The addresses of the step itself, for its hosts file.
    own: Vec<std::net::IpAddr>,
    gateway: Option<std::net::IpAddr>,
}

impl StepNetworks {
    /// Prepares to make networks at a place; nothing is made yet.
    pub fn new(config: SiteConfig, files: HostFiles) -> Self {
        Self { config, files, site: OnceLock::new(), network: Mutex::new(None) }
    }

    fn site(&self) -> Result<&Site, Error> {
        if let Some(site) = self.site.get() {
            return Ok(site);
        }
        let site = Site::open(self.config.clone())?;
        Ok(self.site.get_or_init(|| site))
    }

    fn network(&self) -> Result<Network, Error> {
        let mut made = self.network.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(network) = &*made {
            return Ok(network.clone());
        }
        let id = NetworkId::new("steps")?;
        let network = driver(DriverKind::Bridge).ensure(self.site()?, &NetworkSpec::for_steps(id))?;
        Ok(made.insert(network).clone())
    }

    /// Makes what a step with this mode needs; `id` names it among all steps that run.
    pub(crate) fn attach(&self, mode: NetworkMode, id: &str) -> Result<StepNetwork, Error> {
        let none = StepNetwork { namespace: None, endpoint: None, own: Vec::new(), gateway: None };
        match mode {
            NetworkMode::None | NetworkMode::Host => Ok(none),
            NetworkMode::Default => {
                let site = self.site()?;
                let network = self.network()?;
                let mut namespace = Namespace::create()?;
                let spec = EndpointSpec::new(EndpointId::new(id)?);
                let endpoint = driver(DriverKind::Bridge).attach(site, &network, &mut namespace, &spec)?;
                Ok(StepNetwork {
                    namespace: Some(namespace.into_fd()),
                    endpoint: Some((network.id, endpoint.id)),
                    own: endpoint.address.iter().map(|address| address.address.into()).collect(),
                    gateway: endpoint.address.map(|address| address.gateway.into()),
                })
            }
        }
    }

    /// Gives the address of a step back.
    pub(crate) fn detach(&self, network: &StepNetwork) -> Result<(), Error> {
        let Some((id, endpoint)) = &network.endpoint else { return Ok(()) };
        driver(DriverKind::Bridge).detach(self.site()?, id, endpoint, LinkEnd::WithNamespace)
    }

    /// Returns the text of a step's `/etc/resolv.conf`.
    pub(crate) fn resolv_conf(&self, mode: NetworkMode) -> String {
        let choice = ResolverChoice::default();
        let HostFiles { resolv_conf, resolved_upstream, hosts: _ } = &self.files;
        match mode {
            NetworkMode::Host => for_host_namespace(resolv_conf.as_deref(), &choice),
            NetworkMode::Default | NetworkMode::None => {
                for_private_namespace(resolv_conf.as_deref(), resolved_upstream.as_deref(), &choice)
                    .conf
                    .render()
            }
        }
    }

    /// Returns the text of a step's `/etc/hosts`.
    pub(crate) fn hosts(
        &self,
        mode: NetworkMode,
        network: &StepNetwork,
        hostname: &str,
        extra: &[ExtraHost],
    ) -> Result<String, HostNameError> {
        let mut entries = Vec::new();
        for ExtraHost { name, address } in extra {
            let address = match address.as_str() {
                "host-gateway" => network.gateway,
                text => text.parse().ok(),
            };
            if let Some(address) = address {
                entries.push(HostEntry::new(address, name)?);
            }
        }
        if mode == NetworkMode::Host {
            return Ok(render_on_host(&self.files.hosts, &entries));
        }
        let own: Result<Vec<HostEntry>, HostNameError> =
            network.own.iter().map(|address| HostEntry::new(*address, hostname)).collect();
        Ok(render(&entries, &own?))
    }
}
