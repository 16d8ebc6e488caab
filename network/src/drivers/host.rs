//! The host's own network: nothing to make, nothing to attach, and no isolation.

use crate::driver::{
    DriverKind, Endpoint, EndpointSpec, LinkEnd, NamespaceNeed, Network, NetworkDriver, NetworkSpec,
};
use crate::error::Error;
use crate::names::{EndpointId, NetworkId};
use crate::namespace::Namespace;
use crate::ports::Published;
use crate::site::Site;

/// The driver `host`.
#[derive(Clone, Copy, Debug)]
pub struct Host;

impl NetworkDriver for Host {
    fn kind(&self) -> DriverKind {
        DriverKind::Host
    }

    fn namespace(&self) -> NamespaceNeed {
        NamespaceNeed::Host
    }

    fn ensure(&self, _: &Site, spec: &NetworkSpec) -> Result<Network, Error> {
        if spec.subnet.is_some() || spec.gateway.is_some() || spec.six.is_some() {
            return Err(Error::Unsupported { driver: DriverKind::Host, act: "have a subnet" });
        }
        Ok(Network {
            id: spec.id.clone(),
            driver: DriverKind::Host,
            addressing: Option::None,
            warnings: Vec::new(),
        })
    }

    fn attach(
        &self,
        _: &Site,
        _: &Network,
        _: &mut Namespace,
        spec: &EndpointSpec,
    ) -> Result<Endpoint, Error> {
        if spec.address.is_some()
            || spec.address6.is_some()
            || spec.mac.is_some()
            || !spec.published.is_empty()
        {
            return Err(Error::Unsupported {
                driver: DriverKind::Host,
                act: "have addresses or published ports: its processes use those of the host",
            });
        }
        Ok(Endpoint { id: spec.id.clone(), address: Option::None })
    }

    fn route(&self, _: &Site, _: &NetworkId, _: &mut Namespace, _: &EndpointId) -> Result<(), Error> {
        Ok(())
    }

    fn publish(&self, _: &Site, _: &NetworkId, _: &EndpointId, published: &[Published]) -> Result<(), Error> {
        if published.is_empty() {
            return Ok(());
        }
        Err(Error::Unsupported { driver: DriverKind::Host, act: "publish ports" })
    }

    fn detach(&self, _: &Site, _: &NetworkId, _: &EndpointId, _: LinkEnd) -> Result<(), Error> {
        Ok(())
    }

    fn remove(&self, _: &Site, _: &NetworkId) -> Result<(), Error> {
        Ok(())
    }
}
