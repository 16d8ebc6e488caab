//! The network of the steps of one build: made at the first step that wants it.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Mutex, OnceLock, PoisonError};

use rbuild_model::step::{ExtraHost, NetworkMode};
use rbuild_network::driver::{DriverKind, EndpointSpec, LinkEnd, Network, NetworkSpec};
use rbuild_network::drivers::driver;
use rbuild_network::error::Error;
use rbuild_network::hosts::{HostEntry, render_for_step, render_on_host};
use rbuild_network::names::{EndpointId, NetworkId};
use rbuild_network::namespace::{Namespace, is_at_rest};
use rbuild_network::resolver::{ResolverChoice, for_host_namespace, for_private_namespace};
use rbuild_network::site::{Site, SiteConfig};

use crate::error::StepError;

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

/// How often a network is made that others take away.
const MOST_ATTEMPTS: usize = 16;

/// Removes the network of steps if no step uses it; the next build makes it again.
pub fn remove_unused(config: SiteConfig) -> Result<(), Error> {
    let site = Site::open(config)?;
    match driver(DriverKind::Bridge).remove(&site, &NetworkId::new(STEPS)?) {
        Err(Error::InUse { .. }) => Ok(()),
        removed => removed,
    }
}

/// The network of steps.
const STEPS: &str = "steps";

/// Makes endpoints for steps.
#[derive(Debug)]
pub struct StepNetworks {
    config: SiteConfig,
    files: HostFiles,
    /// What steps get that ask for nothing.
    ordinary: NetworkMode,
    /// What they ask for names, if it is not what the host asks.
    choice: ResolverChoice,
    site: OnceLock<Site>,
    /// Held while the network is made, so that it is made once.
    network: Mutex<Option<Network>>,
}

/// The network of one step; its address is given back when the step has ended.
#[derive(Debug)]
pub(crate) struct StepNetwork {
    /// What it came to.
    pub(crate) mode: NetworkMode,
    pub(crate) namespace: Option<OwnedFd>,
    endpoint: Option<(NetworkId, EndpointId)>,
    gateway: Option<std::net::IpAddr>,
}

impl StepNetworks {
    /// Prepares to make networks at a place; nothing is made yet.
    pub fn new(config: SiteConfig, files: HostFiles) -> Self {
        let ordinary = NetworkMode::Default;
        let choice = ResolverChoice::default();
        Self { config, files, ordinary, choice, site: OnceLock::new(), network: Mutex::new(None) }
    }

    /// Lets ordinary steps ask other servers for names than the host does.
    pub fn asking(self, choice: ResolverChoice) -> Self {
        Self { choice, ..self }
    }

    /// Gives ordinary steps the caller's own network: for users for whom there is no other that leads anywhere.
    pub fn on_host(self) -> Self {
        Self { ordinary: NetworkMode::Host, ..self }
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
        let id = NetworkId::new(STEPS)?;
        let network = driver(DriverKind::Bridge).ensure(self.site()?, &NetworkSpec::for_steps(id))?;
        Ok(made.insert(network).clone())
    }

    /// Returns why the network of steps may not work as expected; nothing if no step wanted it.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let made = self.network.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(network) = &*made else { return Vec::new() };
        let HostFiles { resolv_conf, resolved_upstream, hosts: _ } = &self.files;
        let resolver =
            for_private_namespace(resolv_conf.as_deref(), resolved_upstream.as_deref(), &self.choice);
        let names = resolver.warning.map(|warning| warning.to_string());
        network.warnings.iter().map(ToString::to_string).chain(names).collect()
    }

    /// Makes what a step with this mode needs; `id` names it among all steps that run.
    pub(crate) fn attach(&self, mode: NetworkMode, id: &str) -> Result<StepNetwork, Error> {
        let mode = if mode == NetworkMode::Default { self.ordinary } else { mode };
        let none = StepNetwork { mode, namespace: None, endpoint: None, gateway: None };
        match mode {
            NetworkMode::None | NetworkMode::Host => Ok(none),
            NetworkMode::Default => {
                let site = self.site()?;
                let mut namespace = Namespace::create()?;
                let spec = EndpointSpec::new(EndpointId::new(id)?);
                let mut attempts = 0;
                let (network, endpoint) = loop {
                    let network = self.network()?;
                    match driver(DriverKind::Bridge).attach(site, &network, &mut namespace, &spec) {
                        // A build that ended took the unused network away.
                        Err(Error::NotSetUp { .. } | Error::BridgeGone { .. })
                            if attempts < MOST_ATTEMPTS =>
                        {
                            attempts += 1;
                            *self.network.lock().unwrap_or_else(PoisonError::into_inner) = None;
                        }
                        attached => break (network, attached?),
                    }
                };
                Ok(StepNetwork {
                    mode,
                    namespace: Some(namespace.into_fd()),
                    endpoint: Some((network.id, endpoint.id)),
                    gateway: endpoint.address.map(|address| address.gateway()),
                })
            }
        }
    }

    /// Says whether another step can have the network of one that has ended: it left nothing there.
    pub(crate) fn is_as_new(&self, network: &StepNetwork) -> bool {
        // Where that cannot be told, the next one gets another.
        let at_rest = |namespace: &OwnedFd| is_at_rest(namespace.as_fd()).unwrap_or(false);
        network.namespace.as_ref().is_some_and(at_rest)
    }

    /// Gives the address of a step back.
    pub(crate) fn detach(&self, network: &StepNetwork) -> Result<(), Error> {
        let Some((id, endpoint)) = &network.endpoint else { return Ok(()) };
        driver(DriverKind::Bridge).detach(self.site()?, id, endpoint, LinkEnd::WithNamespace)
    }

    /// Returns the text of a step's `/etc/resolv.conf`.
    pub(crate) fn resolv_conf(&self, network: &StepNetwork) -> String {
        let HostFiles { resolv_conf, resolved_upstream, hosts: _ } = &self.files;
        match network.mode {
            NetworkMode::Host => for_host_namespace(resolv_conf.as_deref(), &ResolverChoice::default()),
            NetworkMode::Default | NetworkMode::None => {
                for_private_namespace(resolv_conf.as_deref(), resolved_upstream.as_deref(), &self.choice)
                    .conf
                    .render()
            }
        }
    }

    /// Returns the text of a step's `/etc/hosts`.
    pub(crate) fn hosts(
        &self,
        network: &StepNetwork,
        hostname: &str,
        extra: &[ExtraHost],
    ) -> Result<String, StepError> {
        let mut entries = Vec::new();
        for ExtraHost { name, address } in extra {
            let address = match address.as_str() {
                "host-gateway" => network.gateway.ok_or_else(|| StepError::NoGateway {
                    name: name.clone(),
                    network: match network.mode {
                        NetworkMode::None => "none",
                        NetworkMode::Host => "host",
                        NetworkMode::Default => "default",
                    },
                })?,
                text => text.parse().map_err(|_| StepError::Unsupported {
                    what: format!("the address `{text}` of the host name {name}"),
                })?,
            };
            entries.push(HostEntry::new(address, name)?);
        }
        if network.mode == NetworkMode::Host {
            return Ok(render_on_host(&self.files.hosts, &entries));
        }
        Ok(render_for_step(hostname, &entries)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_for_the_gateway_needs_one() {
        let folder = std::path::Path::new("/nonexistent");
        let config = SiteConfig {
            store: rbuild_network::link::StorePrefix::new("0123abcd").unwrap(),
            runtime: folder.to_owned(),
            is_abandoned: |_| false,
            host_lock: folder.join("lock"),
            nft: None,
            passage: Default::default(),
            pools: Vec::new(),
            place: Default::default(),
        };
        let networks = StepNetworks::new(config, HostFiles::default());
        let extra = [ExtraHost { name: "up".to_owned(), address: "host-gateway".to_owned() }];
        let with = |mode, gateway: Option<&str>| {
            let gateway = gateway.map(|text| text.parse().unwrap());
            let network = StepNetwork { mode, namespace: None, endpoint: None, gateway };
            networks.hosts(&network, "step", &extra).map_err(|error| error.to_string())
        };
        assert!(with(NetworkMode::Default, Some("10.0.0.1")).unwrap().contains("10.0.0.1\tup"));
        for (mode, name) in [(NetworkMode::None, "none"), (NetworkMode::Host, "host")] {
            let error = format!("up: host-gateway has no address here: the step's network is `{name}`");
            assert_eq!(with(mode, None), Err(error));
        }
    }
}
