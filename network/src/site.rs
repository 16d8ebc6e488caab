//! Where networks are made: the store they belong to, its runtime folder, and the kernel's sockets.

use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::address::Pool;
use crate::error::{Error, FileError};
use crate::firewall::passage::Passage;
use crate::link::StorePrefix;
use crate::lock::Lock;
use crate::names;
use crate::netlink::socket::{Family, NetlinkError, Socket};

/// What the caller says about its place. Nothing here is looked up elsewhere.
#[derive(Clone, Debug)]
pub struct SiteConfig {
    /// The eight characters of the store.
    pub store: StorePrefix,
    /// The store's runtime folder, which exists and is ours. Those of other stores lie beside it, each called by the
    /// eight characters of its store.
    pub runtime: PathBuf,
    /// Whether the store that a runtime folder was made for is no more, so that what it left in the kernel is nobody's.
    pub is_abandoned: fn(&Path) -> bool,
    /// The lock under which all stores of the host choose subnets.
    pub host_lock: PathBuf,
    /// The program that makes the packet filter's table; found in the usual places when nothing is said.
    pub nft: Option<PathBuf>,
    /// Whether our links are taken out of what Docker drops.
    pub passage: Passage,
    /// What subnets are taken from where none is asked for, in place of what each network would take them from; those if there
    /// is none.
    pub pools: Vec<Pool>,
    /// The network namespace that the networks are made in.
    pub place: Place,
}

/// The network namespace that networks are made in.
#[derive(Clone, Debug, Default)]
pub enum Place {
    /// That of the thread that opens the site, in which all threads that use it must be.
    #[default]
    Here,
    /// Another one, found when the site is opened. Whoever may not change the host's network has one of their own.
    Elsewhere(Arc<dyn FindPlace>),
}

/// What knows the network namespace of a site.
pub trait FindPlace: fmt::Debug + Send + Sync {
    /// Returns the namespace; makes it if it has to.
    fn find(&self) -> Result<OwnedFd, Box<dyn std::error::Error + Send + Sync>>;
}

/// The place where networks are made: a network namespace, seen from the thread that opened it.
#[derive(Debug)]
pub struct Site {
    config: SiteConfig,
    elsewhere: Option<OwnedFd>,
    namespace: u64,
    route: Mutex<Socket>,
    netfilter: Mutex<Option<Socket>>,
}

impl Site {
    /// Opens the place.
    pub fn open(config: SiteConfig) -> Result<Self, Error> {
        let folder = names::folder(&config.runtime);
        std::fs::create_dir_all(&folder)
            .map_err(|source| FileError::new("make the folder", &folder, source))?;
        let elsewhere = match &config.place {
            Place::Here => None,
            Place::Elsewhere(place) => Some(place.find().map_err(|source| Error::Place { source })?),
        };
        let (namespace, route) = inside(elsewhere.as_ref(), || {
            let own = PathBuf::from("/proc/thread-self/ns/net");
            let namespace =
                std::fs::metadata(&own).map_err(|source| FileError::new("look at", &own, source))?.ino();
            let route = Socket::open(Family::Route).map_err(Error::kernel("set up networks"))?;
            Ok((namespace, route))
        })?;
        Ok(Self { config, elsewhere, namespace, route: Mutex::new(route), netfilter: Mutex::new(None) })
    }

    /// Does something in the network namespace of the site: sockets, programs and settings of the kernel are those
    /// of the thread that asks for them.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
        inside(self.elsewhere.as_ref(), work)
    }

    /// The store.
    pub fn store(&self) -> StorePrefix {
        self.config.store
    }

    /// What the caller said about the place.
    pub fn config(&self) -> &SiteConfig {
        &self.config
    }

    /// Whether another store is no more.
    pub(crate) fn is_abandoned(&self, other: StorePrefix) -> bool {
        let Self { config: SiteConfig { runtime, is_abandoned, .. }, .. } = self;
        is_abandoned(&runtime.with_file_name(other.as_str()))
    }

    /// The number of the network namespace.
    pub(crate) fn namespace(&self) -> u64 {
        self.namespace
    }

    /// The socket for links, addresses and routes.
    pub(crate) fn route(&self) -> MutexGuard<'_, Socket> {
        // Every request of ours is read to its end before the next, so a poisoned socket is only one with a
        // stale answer in it, and those are told apart by their numbers.
        self.route.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Works with the socket of the packet filter.
    pub(crate) fn netfilter<T, E: From<NetlinkError>>(
        &self,
        work: impl FnOnce(&mut Socket) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut socket = self.netfilter.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match &mut *socket {
            Some(socket) => work(socket),
            none => work(none.insert(Socket::open(Family::Netfilter)?)),
        }
    }

    /// Takes the lock under which all stores of the host choose subnets.
    pub(crate) fn lock_host(&self) -> Result<Lock, FileError> {
        Lock::take(&self.config.host_lock)
    }
}

/// Does something in another network namespace, if there is one.
fn inside<T: Send>(
    namespace: Option<&OwnedFd>,
    work: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, Error> {
    match namespace {
        Some(namespace) => crate::namespace::inside(namespace.as_fd(), work),
        None => work(),
    }
}
