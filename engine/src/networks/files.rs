//! The files by which a container's programs know names: at its start, and as its networks change.

use std::net::{IpAddr, Ipv4Addr};

use rbuild_model::step::ExtraHost;
use rbuild_monitor::NameServing;
use rbuild_network::driver::NameScope;
use rbuild_network::hosts::{HostEntry, LineChange, own_lines, render, render_on_host};
use rbuild_network::resolver::{Resolver, ResolverChoice, for_host_namespace, for_private_namespace};
use rbuild_network::service::{ADDRESS as NAME_SERVICE, Upstreams};

use super::connect::{Connected, Joined};
use super::{HostNames, Networks, NetworksError};

/// What the programs of a container are told of names.
#[derive(Clone, Copy, Debug)]
pub struct Naming<'a> {
    /// What it is called inside.
    pub hostname: &'a str,
    /// Its domain.
    pub domainname: Option<&'a str>,
    /// What it asks for names.
    pub resolver: &'a ResolverChoice,
    /// Host names that it is given addresses of.
    pub extra_hosts: &'a [ExtraHost],
}

/// The files by which programs know names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameFiles {
    /// `/etc/hosts`.
    pub hosts: String,
    /// `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// `/etc/hostname`.
    pub hostname: String,
}

/// What a container's networks come to in those files.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// Its own lines of `/etc/hosts`.
    lines: Vec<String>,
    /// Whether one of its networks has names.
    has_names: bool,
}

/// What became of that.
#[derive(Clone, Debug)]
pub(crate) struct KnownChange {
    pub(crate) hosts: LineChange,
    /// Who answers questions from now on, and what `/etc/resolv.conf` said before.
    pub(crate) serving: Option<(NameServing, String)>,
}

impl Networks {
    /// What the programs of a container know by the networks that it is in now.
    pub(crate) fn known_to(&self, container: &str, naming: &Naming<'_>) -> Result<Known, NetworksError> {
        let mut now = self.of_container(container)?;
        // The first link is that of the main network.
        now.sort_by(|(_, one), (_, other)| one.link.cmp(&other.link));
        let joined: Vec<Joined> = now.iter().map(|(state, record)| Joined::now(state, record)).collect();
        Ok(Known {
            lines: own_lines(&own_names(&joined, naming)?),
            has_names: now.iter().any(|(state, _)| state.names == NameScope::Network),
        })
    }

    /// What has become of it. Who once had a name service keeps it.
    pub(crate) fn compare(&self, before: &Known, after: &Known, naming: &Naming<'_>) -> KnownChange {
        let serving = (after.has_names && !before.has_names).then(|| {
            let resolver = self.resolver(naming.resolver);
            let former = resolver.conf.render();
            let serving = NameServing {
                resolv_conf: by_name_service(resolver).conf.render(),
                upstreams: self.upstreams(naming.resolver),
            };
            (serving, former)
        });
        KnownChange { hosts: LineChange::between(&before.lines, &after.lines), serving }
    }

    pub(super) fn upstreams(&self, choice: &ResolverChoice) -> Upstreams {
        match choice.servers.as_slice() {
            [] => Upstreams::Host(self.host.resolv_path.clone()),
            servers => Upstreams::Named(servers.to_vec()),
        }
    }

    pub(super) fn host_files(
        &self,
        naming: &Naming<'_>,
        connected: &mut Connected,
    ) -> Result<(), NetworksError> {
        // Here it is the host itself that asks.
        let extra = extra_hosts(naming, Some(Ipv4Addr::LOCALHOST.into()))?;
        connected.files.hosts = render_on_host(&self.host.hosts, &extra);
        connected.files.resolv_conf = for_host_namespace(self.host.resolv_conf.as_deref(), naming.resolver);
        Ok(())
    }

    pub(super) fn private_files(
        &self,
        naming: &Naming<'_>,
        connected: &mut Connected,
        gateway: Option<IpAddr>,
    ) -> Result<(), NetworksError> {
        let extra = extra_hosts(naming, gateway)?;
        connected.files.hosts = render(&extra, &own_names(&connected.endpoints, naming)?);
        let mut resolver = self.resolver(naming.resolver);
        if connected.duties.names.is_some() {
            resolver = by_name_service(resolver);
        } else if let (false, Some(warning)) = (connected.endpoints.is_empty(), &resolver.warning) {
            connected.notes.push(warning.to_string());
        }
        connected.files.resolv_conf = resolver.conf.render();
        Ok(())
    }

    fn resolver(&self, choice: &ResolverChoice) -> Resolver {
        let HostNames { resolv_conf, resolved_upstream, .. } = &self.host;
        for_private_namespace(resolv_conf.as_deref(), resolved_upstream.as_deref(), choice)
    }
}

/// Has the name service asked, which asks the servers from the host's own network.
fn by_name_service(mut resolver: Resolver) -> Resolver {
    resolver.conf.servers = vec![NAME_SERVICE.into()];
    if !resolver.conf.options.iter().any(|option| option.starts_with("ndots:")) {
        resolver.conf.options.push("ndots:0".to_owned());
    }
    resolver
}

/// The container's own names in the networks that it is in.
fn own_names(endpoints: &[Joined], naming: &Naming<'_>) -> Result<Vec<HostEntry>, NetworksError> {
    let mut own = Vec::new();
    for address in endpoints.iter().filter_map(|joined| joined.address) {
        for address in address.addresses() {
            if let Some(domain) = naming.domainname {
                own.push(HostEntry::new(address, &format!("{}.{domain}", naming.hostname))?);
            }
            own.push(HostEntry::new(address, naming.hostname)?);
        }
    }
    Ok(own)
}

fn extra_hosts(naming: &Naming<'_>, gateway: Option<IpAddr>) -> Result<Vec<HostEntry>, NetworksError> {
    let mut entries = Vec::new();
    for ExtraHost { name, address } in naming.extra_hosts {
        let address = match address.as_str() {
            "host-gateway" => gateway,
            text => text.parse().ok(),
        };
        if let Some(address) = address {
            entries.push(HostEntry::new(address, name)?);
        }
    }
    Ok(entries)
}
