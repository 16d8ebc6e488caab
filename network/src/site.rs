//! Where networks are made: the store they belong to, its runtime folder, and the kernel's sockets.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

use crate::error::{Error, FileError};
use crate::link::StorePrefix;
use crate::lock::Lock;
use crate::names;
use crate::netlink::socket::{Family, Socket};

/// What the caller says about its place. Nothing here is looked up elsewhere.
#[derive(Clone, Debug)]
pub struct SiteConfig {
    /// The eight characters of the store.
    pub store: StorePrefix,
    /// The store's runtime folder, which exists and is ours.
    pub runtime: PathBuf,
    /// The lock under which all stores of the host choose subnets.
    pub host_lock: PathBuf,
    /// The program that makes the packet filter's table; found in the usual places when nothing is said.
    pub nft: Option<PathBuf>,
}

/// The place where networks are made: a network namespace, seen from the thread that opened it.
#[derive(Debug)]
pub struct Site {
    config: SiteConfig,
    namespace: u64,
    route: Mutex<Socket>,
    netfilter: Mutex<Option<Socket>>,
}

impl Site {
    /// Opens the place in the network namespace of the calling thread, in which all threads that use it must be.
    pub fn open(config: SiteConfig) -> Result<Self, Error> {
        let folder = names::folder(&config.runtime);
        std::fs::create_dir_all(&folder)
            .map_err(|source| FileError::new("make the folder", &folder, source))?;
        let own = PathBuf::from("/proc/thread-self/ns/net");
        let namespace =
            std::fs::metadata(&own).map_err(|source| FileError::new("look at", &own, source))?.ino();
        let route = Socket::open(Family::Route).map_err(Error::kernel("set up networks"))?;
        Ok(Self { config, namespace, route: Mutex::new(route), netfilter: Mutex::new(None) })
    }

    /// The store.
    pub fn store(&self) -> StorePrefix {
        self.config.store
    }

    /// What the caller said about the place.
    pub fn config(&self) -> &SiteConfig {
        &self.config
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
    pub(crate) fn netfilter<T>(
        &self,
        work: impl FnOnce(&mut Socket) -> Result<T, crate::netlink::socket::NetlinkError>,
    ) -> Result<T, crate::netlink::socket::NetlinkError> {
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
