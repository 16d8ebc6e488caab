//! No network: a namespace whose only link is the loopback.

use crate::driver::{
    DriverKind, Endpoint, EndpointSpec, LinkEnd, NamespaceNeed, Network, NetworkDriver, NetworkSpec,
};
use crate::error::Error;
use crate::names::{EndpointId, NetworkId};
use crate::namespace::Namespace;
use crate::ports::Published;
use crate::site::Site;

/// The driver `none`.
#[derive(Clone, Copy, Debug)]
pub struct None;

impl NetworkDriver for None {
    fn kind(&self) -> DriverKind {
        DriverKind::None
    }

    fn namespace(&self) -> NamespaceNeed {
        NamespaceNeed::Private
    }

    fn ensure(&self, _: &Site, spec: &NetworkSpec) -> Result<Network, Error> {
        if spec.subnet.is_some() || spec.gateway.is_some() || spec.six.is_some() {
            return Err(Error::Unsupported { driver: DriverKind::None, act: "have a subnet" });
        }
        Ok(Network {
            id: spec.id.clone(),
            driver: DriverKind::None,
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
                driver: DriverKind::None,
                act: "have addresses or published ports: it leads nowhere",
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
        Err(Error::Unsupported { driver: DriverKind::None, act: "publish ports" })
    }

    fn detach(&self, _: &Site, _: &NetworkId, _: &EndpointId, _: LinkEnd) -> Result<(), Error> {
        Ok(())
    }

    fn remove(&self, _: &Site, _: &NetworkId) -> Result<(), Error> {
        Ok(())
    }
}
