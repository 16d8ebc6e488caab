//! What is left when a process was killed: found by name and taken away.
//!
//! Links of a namespace go with it, so what can remain are addresses and rules of endpoints that are gone, bridges of
//! networks that nobody knows, and ports that lead nowhere. All of it begins with the store's prefix or stands in
//! its files; each step may be repeated, and one that fails does not keep the others from being tried.

use crate::driver::NetworkDriver;
use crate::drivers::bridge;
use crate::error::Error;
use crate::firewall;
use crate::link::LinkName;
use crate::names::{self, NetworkFile, NetworkId};
use crate::site::Site;

/// What was found and taken away, and what could not be.
#[derive(Debug, Default)]
pub struct Reclaimed {
    /// Endpoints whose namespaces are gone.
    pub endpoints: usize,
    /// Links that belong to nothing.
    pub links: usize,
    /// What could not be taken away.
    pub errors: Vec<Error>,
}

/// Takes away what killed processes left. Networks that are set up stay, in use or not.
pub fn reclaim(site: &Site) -> Result<Reclaimed, Error> {
    site.inside(|| reclaim_here(site))
}

fn reclaim_here(site: &Site) -> Result<Reclaimed, Error> {
    let mut reclaimed = Reclaimed::default();
    // Links before files: a network that comes into being meanwhile has its links seen only with its file.
    let links = bridge::links(site)?;
    let mut known = Vec::new();
    for state in names::all(&site.config().runtime)? {
        let file = NetworkFile::new(&site.config().runtime, state.id.clone());
        let swept = file.update(|slot| {
            let Some(state) = slot else { return Ok(0) };
            // Looked at again under the lock: an endpoint writes its record after its link.
            let count = bridge::sweep(site, state, &bridge::links(site)?)?;
            known.push(state.bridge.to_string());
            known.extend(state.endpoints.iter().map(|record| record.port.to_string()));
            Ok(count)
        });
        match swept {
            Ok(count) => reclaimed.endpoints += count,
            Err(error) => reclaimed.errors.push(error),
        }
    }
    // Bridges are made under this lock, so one without a file is nobody's. A port without a record may be
    // another process's endpoint in the making: its namespace's end takes it away, and it is left alone.
    let _host = site.lock_host()?;
    let bridges = site.store().links() + "b";
    let states = names::all(&site.config().runtime)?;
    let current: Vec<String> = states.iter().map(|state| state.bridge.to_string()).collect();
    let strays = links.iter().filter(|name| name.starts_with(&bridges));
    let strays = strays.filter(|name| !known.contains(*name) && !current.contains(*name));
    let strays = strays.filter_map(|name| LinkName::new(name).ok());
    // One that people named says itself whose it is.
    let named = bridge::named_bridges(site)?.into_iter();
    let named = named.filter(|(_, network)| !states.iter().any(|state| state.id.as_str() == network));
    for name in strays.chain(named.map(|(name, _)| name)).collect::<Vec<_>>() {
        match bridge::delete_link(site, &name) {
            Ok(()) => reclaimed.links += 1,
            Err(error) => reclaimed.errors.push(error),
        }
    }
    Ok(reclaimed)
}

/// Takes away every network that nobody uses, then, if none is left, the tables of the packet filter.
pub fn remove_unused(site: &Site) -> Result<Reclaimed, Error> {
    remove_unused_but(site, &|_| false)
}

/// As [`remove_unused`], but networks that are to be kept stay: people made them, and want them to stay as they are.
pub fn remove_unused_but(
    site: &Site,
    keep: &(dyn Fn(&NetworkId) -> bool + Sync),
) -> Result<Reclaimed, Error> {
    site.inside(|| remove_unused_here(site, keep))
}

fn remove_unused_here(site: &Site, keep: &(dyn Fn(&NetworkId) -> bool + Sync)) -> Result<Reclaimed, Error> {
    let mut reclaimed = reclaim_here(site)?;
    let _host = site.lock_host()?;
    for state in names::all(&site.config().runtime)? {
        if keep(&state.id) {
            continue;
        }
        match bridge::Bridge.remove(site, &state.id) {
            Ok(()) => reclaimed.links += 1,
            Err(Error::InUse { .. }) => {}
            Err(error) => reclaimed.errors.push(error),
        }
    }
    if names::all(&site.config().runtime)?.is_empty() {
        firewall::remove(site)?;
    }
    Ok(reclaimed)
}
