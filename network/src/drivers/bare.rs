//! What networks without addresses have in common: there is nothing to make, to attach or to take back.

use crate::driver::{
    DefaultRoute, DriverKind, Endpoint, EndpointSpec, LinkEnd, NamespaceNeed, Network, NetworkDriver,
    NetworkSpec,
};
use crate::error::Error;
use crate::families::Families;
use crate::names::{EndpointId, NetworkId};
use crate::namespace::Namespace;
use crate::ports::Published;
use crate::site::Site;

/// The driver of a network without addresses.
#[derive(Clone, Copy, Debug)]
pub struct Bare {
    /// Which kind it is.
    pub(super) kind: DriverKind,
    /// Which namespace its processes run in.
    pub(super) namespace: NamespaceNeed,
    /// Completes the sentence "the network driver cannot …" for addresses and ports, with the reason.
    pub(super) no_addresses: &'static str,
}

impl Bare {
    fn refuse(&self, act: &'static str) -> Error {
        Error::Unsupported { driver: self.kind, act }
    }
}

impl NetworkDriver for Bare {
    fn kind(&self) -> DriverKind {
        self.kind
    }

    fn namespace(&self) -> NamespaceNeed {
        self.namespace
    }

    fn ensure(&self, _: &Site, spec: &NetworkSpec) -> Result<Network, Error> {
        let is_unspoken =
            matches!(&spec.families, Families::Four(four) if four.subnet.is_none() && four.gateway.is_none());
        if !is_unspoken {
            return Err(self.refuse("have a subnet"));
        }
        Ok(Network { id: spec.id.clone(), driver: self.kind, addressing: None, warnings: Vec::new() })
    }

    fn attach(
        &self,
        _: &Site,
        _: &Network,
        _: &mut Namespace,
        spec: &EndpointSpec,
    ) -> Result<Endpoint, Error> {
        let has_addresses = spec.address.is_some() || spec.address6.is_some() || spec.mac.is_some();
        if has_addresses || !spec.published.is_empty() {
            return Err(self.refuse(self.no_addresses));
        }
        Ok(Endpoint { id: spec.id.clone(), address: None })
    }

    fn route(
        &self,
        _: &Site,
        _: &NetworkId,
        _: &mut Namespace,
        _: &EndpointId,
        _: DefaultRoute,
    ) -> Result<(), Error> {
        Ok(())
    }

    fn publish(&self, _: &Site, _: &NetworkId, _: &EndpointId, published: &[Published]) -> Result<(), Error> {
        if published.is_empty() { Ok(()) } else { Err(self.refuse("publish ports")) }
    }

    fn detach(&self, _: &Site, _: &NetworkId, _: &EndpointId, _: LinkEnd) -> Result<(), Error> {
        Ok(())
    }

    fn remove(&self, _: &Site, _: &NetworkId) -> Result<(), Error> {
        Ok(())
    }
}
