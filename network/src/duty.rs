//! What is to be done for the networks of a container as long as it runs, and by whom: the process beside it.
//!
//! [`Duties`] are values, so that they can be handed to that process and kept for one that takes its place. From them
//! and a few descriptors [`Service::start`] makes the name service and what carries published ports; both find out by
//! themselves when a network was connected or disconnected meanwhile, from the files of networks.

mod own;

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use self::own::{OwnElements, Tables};
use crate::driver::{DriverKind, LinkEnd, Reach};
use crate::drivers::{bridge, driver};
use crate::error::Error;
use crate::families::Families;
use crate::firewall;
pub use crate::firewall::Found;
use crate::firewall::passage::Passage;
use crate::firewall::watch::{Elements, Heard, Watch};
use crate::forward::{Destination, ForwardError, Forwarder};
use crate::link::StorePrefix;
use crate::names::{
    self, EndpointId, NetworkFile, NetworkId, NetworkState, Presence, Records, Settled, Watched,
};
use crate::ports::{PortError, Published, Reservation};
use crate::service::{NameService, Sockets, Sources, Upstreams};
use crate::site::{FindPlace, Place, Site, SiteConfig};

/// How long changes of rules come together. The first one is heard at once: while many containers start, each of them would
/// wake all others otherwise.
const REST: Duration = Duration::from_millis(100);

/// What is to be done for the networks of one container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duties {
    /// The eight characters of the store.
    pub store: StorePrefix,
    /// The store's runtime folder.
    pub runtime: PathBuf,
    /// The lock under which all stores of the host choose subnets.
    pub host_lock: PathBuf,
    /// The program that makes the packet filter's table.
    pub nft: Option<PathBuf>,
    /// Whether our links are taken out of what Docker drops.
    #[serde(default)]
    pub passage: Passage,
    /// The container, as networks know it.
    pub endpoint: EndpointId,
    /// Who is asked for names that its networks do not know; nothing if it has no name service.
    pub names: Option<Upstreams>,
    /// The ports of the host that lead to it, with their numbers.
    pub ports: Vec<Published>,
}

/// Why a duty could not be taken up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DutyError {
    /// The network could not be reached.
    #[error(transparent)]
    Network(#[from] Error),
    /// A port is somebody else's now.
    #[error(transparent)]
    Port(#[from] PortError),
    /// A port could not be carried.
    #[error(transparent)]
    Forward(#[from] ForwardError),
}

impl From<names::NamesError> for DutyError {
    fn from(error: names::NamesError) -> Self {
        Self::Network(error.into())
    }
}

/// A network namespace that somebody holds for us.
#[derive(Debug)]
struct Held(OwnedFd);

impl FindPlace for Held {
    fn find(&self) -> Result<OwnedFd, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.try_clone()?)
    }
}

/// The service of one container's networks.
#[derive(Debug)]
pub struct Service {
    duties: Duties,
    place: Option<OwnedFd>,
    names: Option<NameService>,
    rules: Option<Watch>,
    own: OwnElements,
    /// Until when changes of rules are not heard of, so that many come together.
    rests_until: Option<Instant>,
    forwarders: Vec<Forwarder>,
}

impl Service {
    /// Takes up the duties.
    ///
    /// `namespace` is the container's, if it has one of its own; `place` is the one that networks are made in, unless it is
    /// that of the calling thread; `ports` are the reserved sockets in the order of [`Duties::ports`], or none: then the
    /// ports are bound anew. A port that somebody else has by now is an error of its own in the list that is
    /// returned, and no reason to give up the others.
    pub fn start(
        duties: Duties,
        namespace: Option<BorrowedFd<'_>>,
        place: Option<OwnedFd>,
        ports: Vec<OwnedFd>,
    ) -> Result<(Self, Vec<DutyError>), DutyError> {
        let names = match (&duties.names, namespace) {
            (Some(upstreams), Some(namespace)) => Some(answer_names(&duties, upstreams.clone(), namespace)?),
            _ => None,
        };
        let mut failures = Vec::new();
        let rules = match watch(duties.store, place.as_ref()) {
            Ok(rules) => Some(rules),
            // Who is in no network has no rules, and no right to hear of any where it needs none to run.
            Err(_) if names::of_endpoint(&duties.runtime, &duties.endpoint)?.is_empty() => None,
            Err(error) => {
                failures.push(error.into());
                None
            }
        };
        let own = OwnElements::default();
        let mut service =
            Self { place, names, rules, own, rests_until: None, forwarders: Vec::new(), duties };
        let mut sockets = ports.into_iter();
        for published in service.duties.ports.clone() {
            let reservation = match sockets.next() {
                Some(socket) => Ok(Reservation::of_socket(published, socket)),
                None => Reservation::bind(published).map_err(DutyError::from),
            };
            match reservation.and_then(|reservation| service.carry(reservation)) {
                Ok(forwarder) => service.forwarders.push(forwarder),
                Err(error) => failures.push(error),
            }
        }
        Ok((service, failures))
    }

    fn carry(&self, reservation: Reservation) -> Result<Forwarder, DutyError> {
        let published = reservation.published();
        let (runtime, endpoint) = (self.duties.runtime.clone(), self.duties.endpoint.clone());
        let carried = Carried { published, found: Watched::new(runtime, endpoint) };
        match &self.place {
            // It connects from where the networks are; the reserved port is the host's wherever that may be.
            Some(place) => {
                Ok(crate::namespace::inside(place.as_fd(), || Ok(Forwarder::start(reservation, carried)))??)
            }
            None => Ok(Forwarder::start(reservation, carried)?),
        }
    }

    /// Answers questions for names from now on: the container came into a network that has them.
    pub fn serve_names(&mut self, upstreams: Upstreams, namespace: BorrowedFd<'_>) -> Result<(), DutyError> {
        if self.names.is_none() {
            self.names = Some(answer_names(&self.duties, upstreams.clone(), namespace)?);
            self.duties.names = Some(upstreams);
        }
        Ok(())
    }

    /// The descriptor that can be read when there is something to do; nothing if there never is.
    pub fn poll_fd(&self) -> Option<BorrowedFd<'_>> {
        self.names.as_ref().map(NameService::poll_fd)
    }

    /// When something is to be done even if nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
        self.names.as_ref().and_then(NameService::deadline)
    }

    /// Does what is to be done now. Never waits.
    pub fn turn(&mut self) {
        if let Some(names) = &mut self.names {
            names.turn();
        }
    }

    /// The descriptor that can be read when rules of the packet filter were changed; nothing for a while after some were.
    pub fn rules_fd(&self) -> Option<BorrowedFd<'_>> {
        self.rules.as_ref().filter(|_| self.rests_until.is_none()).map(Watch::fd)
    }

    /// When [`Service::mend_rules`] is to be called even if that descriptor cannot be read or is not there: somebody else
    /// was changing a network, or changes are let come together.
    pub fn rules_deadline(&self) -> Option<Instant> {
        [self.own.deadline(), self.rests_until].into_iter().flatten().min()
    }

    /// Reads what the kernel told of its rules, and makes ours again if another program took them away or changed them;
    /// of the elements of sets those of this container and its networks. Waits for nobody who changes a network.
    pub fn mend_rules(&mut self) -> Result<Found, Error> {
        let heard = match self.rules.as_ref().map(Watch::read) {
            None => return Ok(Found::Whole),
            Some(heard) => heard,
        };
        let now = Instant::now();
        self.rests_until = (heard != Heard::Elements(Elements::default())).then(|| now + REST);
        let mut own = std::mem::take(&mut self.own);
        let found = own.tend(heard, now, &mut Live(self));
        self.own = own;
        found
    }

    /// Does something where networks are made.
    fn in_site<T: Send>(&self, act: impl FnOnce(&Site) -> Result<T, Error> + Send) -> Result<T, Error> {
        let place = self.place.as_ref().map(OwnedFd::try_clone).transpose();
        let site = open_site(&self.duties, place.map_err(|source| Error::Namespace { source })?)?;
        site.inside(|| act(&site))
    }

    /// Says whether the container's program runs: only then do its names lead to it.
    pub fn is_running(&mut self, presence: Presence) -> Result<(), Error> {
        for (state, record) in names::of_endpoint(&self.duties.runtime, &self.duties.endpoint)? {
            if record.presence == presence {
                continue;
            }
            let file = NetworkFile::new(&self.duties.runtime, state.id);
            file.update(|slot: &mut Option<NetworkState>| -> Result<(), Error> {
                let records = slot.iter_mut().flat_map(|state| &mut state.endpoints);
                for record in records.filter(|record| record.id == self.duties.endpoint) {
                    record.presence = presence;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Gives everything back at the end of the container; goes on past what fails.
    pub fn end(self) -> Withdrawn {
        let Self { duties, place, names, rules, forwarders, .. } = self;
        drop(names);
        drop(forwarders);
        let Withdrawn { errors, left, sockets } = withdraw(&duties, place);
        Withdrawn { errors, left, sockets: Spent { _rules: rules, ..sockets } }
    }
}

/// The tables of the packet filter as a service gets to them.
struct Live<'a>(&'a Service);

impl Tables for Live<'_> {
    type Error = Error;

    fn mend(&mut self) -> Result<Found, Error> {
        self.0.in_site(|site| Ok(firewall::mend(site)?))
    }

    fn networks(&mut self) -> Result<(Records, Settled), Error> {
        Ok(names::known_of_endpoint(&self.0.duties.runtime, &self.0.duties.endpoint)?)
    }

    fn restore(&mut self, network: &NetworkId) -> Result<Option<Found>, Error> {
        // Unless somebody changes the network now.
        let file = NetworkFile::new(&self.0.duties.runtime, network.clone());
        let own = &self.0.duties.endpoint;
        self.0.in_site(|site| file.try_update(|slot| bridge::restore(site, slot.as_ref(), own)))
    }
}

/// What came of giving back.
#[derive(Debug, Default)]
pub struct Withdrawn {
    /// What failed.
    pub errors: Vec<Error>,
    /// The networks that the container was in.
    pub left: Vec<Left>,
    /// What it was done with.
    pub sockets: Spent,
}

/// A network that a container was in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Which one.
    pub id: NetworkId,
    /// What it is called.
    pub name: String,
    /// What it is.
    pub driver: DriverKind,
}

impl Withdrawn {
    fn failed(error: Error) -> Self {
        Self { errors: vec![error], ..Self::default() }
    }
}

/// Sockets that nobody needs any more, to be dropped when nobody waits: the kernel closes one of the packet filter only when
/// nothing can see the elements that anybody has just removed, which takes a grace period (about 10 ms).
#[derive(Debug, Default)]
pub struct Spent {
    _site: Option<Site>,
    _rules: Option<Watch>,
}

/// Gives back what a container has of networks, whoever took up its duties: addresses, names, rules. May be repeated;
/// its links go with its namespace.
pub fn withdraw(duties: &Duties, place: Option<OwnedFd>) -> Withdrawn {
    let found = match names::of_endpoint(&duties.runtime, &duties.endpoint) {
        Ok(found) if found.is_empty() => return Withdrawn::default(),
        Ok(found) => found,
        Err(error) => return Withdrawn::failed(error.into()),
    };
    let site = match open_site(duties, place) {
        Ok(site) => site,
        Err(error) => return Withdrawn::failed(error),
    };
    let bridge = driver(DriverKind::Bridge);
    let detach = |state: &NetworkState| {
        bridge.detach(&site, &state.id, &duties.endpoint, LinkEnd::WithNamespace).err()
    };
    let errors = found.iter().filter_map(|(state, _)| detach(state)).collect();
    let left = found
        .into_iter()
        .map(|(NetworkState { id, name, .. }, _)| Left { id, name, driver: DriverKind::Bridge })
        .collect();
    Withdrawn { errors, left, sockets: Spent { _site: Some(site), _rules: None } }
}

/// Makes the name service of a container.
fn answer_names(
    duties: &Duties,
    upstreams: Upstreams,
    namespace: BorrowedFd<'_>,
) -> Result<NameService, Error> {
    let sources = Sources { runtime: duties.runtime.clone(), endpoint: duties.endpoint.clone(), upstreams };
    NameService::new(Sockets::open(namespace)?, sources)
}

/// Begins to listen to changes of rules where networks are made.
fn watch(store: StorePrefix, place: Option<&OwnedFd>) -> Result<Watch, Error> {
    let open = || Watch::open(store).map_err(Error::kernel("listen to changes of rules"));
    match place {
        Some(place) => crate::namespace::inside(place.as_fd(), open),
        None => open(),
    }
}

fn open_site(duties: &Duties, place: Option<OwnedFd>) -> Result<Site, Error> {
    Site::open(SiteConfig {
        store: duties.store,
        runtime: duties.runtime.clone(),
        // Nothing is made here, so no room is needed for it.
        is_abandoned: |_| false,
        pools: Vec::new(),
        host_lock: duties.host_lock.clone(),
        nft: duties.nft.clone(),
        passage: duties.passage,
        place: match place {
            Some(place) => Place::Elsewhere(Arc::new(Held(place))),
            None => Place::Here,
        },
    })
}

/// Where a published port leads to: the endpoint that has it, in whichever network that is now.
#[derive(Debug)]
struct Carried {
    published: Published,
    found: Watched<Option<SocketAddr>>,
}

impl Destination for Carried {
    fn now(&mut self) -> Option<SocketAddr> {
        let Self { published, found } = self;
        let find = |states: Vec<NetworkState>, endpoint: &EndpointId| {
            // What reaches an internal network comes from it: there is no port of the host that leads there.
            let leading_out = states.iter().filter(|state| state.reach == Reach::Outside);
            let records = leading_out.flat_map(|state| &state.endpoints);
            let mut own =
                records.filter(|record| record.id == *endpoint && record.published.contains(published));
            let record = own.next()?;
            // A port of IPv6 leads to an endpoint without it all the same.
            let address = match (published.host, record.families) {
                (IpAddr::V6(_), Families::Both(_, six)) => six.into(),
                (_, families) => families.first(),
            };
            Some(SocketAddr::new(address, published.target))
        };
        // A file that cannot be read now leads nowhere.
        found.current(find).ok().copied().flatten()
    }
}
