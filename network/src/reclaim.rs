//! What is left when a process was killed: found by name and taken away.
//!
//! Links of a namespace go with it, so what can remain are addresses and rules of endpoints that are gone, bridges of
//! networks that nobody knows, and ports that lead nowhere. All of it begins with the store's prefix or stands in
//! its files; each step may be repeated, and one that fails does not keep the others from being tried.
//!
//! Stores are given up by removing their folders, and nobody comes back to take the bridges of their networks away, each
//! with a subnet. Any other store does, when it looks for leftovers or makes a network. One that comes back, with the
//! disk that it lies on, has the files of its networks still and makes the bridges again.

use std::collections::{BTreeSet, HashSet};

use crate::drivers::bridge;
use crate::error::Error;
use crate::firewall;
use crate::link::{LinkName, StorePrefix};
use crate::names::{self, NetworkFile, NetworkId};
use crate::netlink::route::Link;
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
    /// What of stores that are no more could not be taken away: nothing of this store waits for it.
    pub elsewhere: Vec<Error>,
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
    names::remove_lone_locks(&site.config().runtime)?;
    // A port without a record may be another process's endpoint in the making: its namespace's end takes it away, and it
    // is left alone.
    let _host = site.lock_host()?;
    let names = strays(site, &links, &known)?;
    reclaimed.links += delete(site, &names, &mut reclaimed.errors);
    let (links, errors) = reclaim_abandoned(site);
    reclaimed.links += links;
    reclaimed.elsewhere = errors;
    Ok(reclaimed)
}

/// The bridges of the store among its links that no network has but those that are known. The caller holds `host.lock`, under
/// which bridges are made: so one without a file is nobody's. The way past Docker's filter of those that people named goes when
/// rules are looked at next.
fn strays(site: &Site, links: &HashSet<String>, known: &[String]) -> Result<Vec<LinkName>, Error> {
    let bridges = site.store().links() + "b";
    let states = names::all(&site.config().runtime)?;
    let current: Vec<String> = states.iter().map(|state| state.bridge.to_string()).collect();
    let strays = links.iter().filter(|name| name.starts_with(&bridges));
    let strays = strays.filter(|name| !known.contains(*name) && !current.contains(*name));
    let strays = strays.filter_map(|name| LinkName::new(name).ok());
    // One that people named says itself whose it is.
    let named = bridge::named_bridges(site)?.into_iter();
    let named = named.filter(|(_, network)| !states.iter().any(|state| state.id.as_str() == network));
    let named: Vec<LinkName> = named.map(|(name, _)| name).collect();
    if !named.is_empty() {
        firewall::forget(site)?;
    }
    Ok(strays.chain(named).collect())
}

/// Takes the bridges of the store away that no network has: those that another process is about to take away are gone when
/// this returns. The caller holds `host.lock`.
pub(crate) fn remove_strays(site: &Site) -> Result<(), Error> {
    strays(site, &bridge::links(site)?, &[])?.iter().try_for_each(|name| bridge::delete_link(site, name))
}

/// Deletes links, and counts those that are gone.
fn delete(site: &Site, links: &[LinkName], errors: &mut Vec<Error>) -> usize {
    let gone = |name: &&LinkName| bridge::delete_link(site, name).map_err(|error| errors.push(error)).is_ok();
    links.iter().filter(gone).count()
}

/// Takes the bridges away of stores that are no more, and their tables of the packet filter. A bridge that has a port
/// stays, and the tables that guard it. The caller holds `host.lock`. Returns how many bridges are gone, and what went wrong.
pub(crate) fn reclaim_abandoned(site: &Site) -> (usize, Vec<Error>) {
    let mut errors = Vec::new();
    let gone = match abandoned_bridges(site) {
        Ok(names) => delete(site, &names, &mut errors),
        Err(error) => {
            errors.push(error);
            0
        }
    };
    (gone, errors)
}

/// Finds the bridges of stores that are no more, and takes the tables away that guarded nothing else.
fn abandoned_bridges(site: &Site) -> Result<Vec<LinkName>, Error> {
    let links = bridge::all_links(site)?;
    let mut stores: BTreeSet<StorePrefix> = links.iter().filter_map(store_of).collect();
    // The last network of a store leaves the tables for the next one, which may never come.
    stores.extend(firewall::stores(site)?);
    let others = stores.into_iter().filter(|store| *store != site.store());
    let abandoned: Vec<StorePrefix> = others.filter(|store| site.is_abandoned(*store)).collect();
    let has_port = |bridge: &Link| links.iter().any(|link| link.master == Some(bridge.index));
    let goes =
        |link: &Link| store_of(link).is_some_and(|store| abandoned.contains(&store)) && !has_port(link);
    let (go, stay): (Vec<&Link>, Vec<&Link>) = links.iter().partition(|link| goes(link));
    let lives =
        |store: StorePrefix| stay.iter().any(|link| store.owns(&link.name) || store_of(link) == Some(store));
    let without: Vec<StorePrefix> = abandoned.iter().copied().filter(|store| !lives(*store)).collect();
    // Tables first: whoever is killed in between leaves the bridges, by which both are found again.
    firewall::remove_abandoned(site, &without)?;
    Ok(go.iter().filter_map(|link| LinkName::new(&link.name).ok()).collect())
}

/// The store of a bridge: by its name, or by what it says of itself where people named it.
fn store_of(link: &Link) -> Option<StorePrefix> {
    StorePrefix::of_bridge(&link.name).or_else(|| Some(bridge::named_for(link)?.0))
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
        match bridge::remove_unless(site, &state.id, keep) {
            Ok(true) => reclaimed.links += 1,
            Ok(false) | Err(Error::InUse { .. }) => {}
            Err(error) => reclaimed.errors.push(error),
        }
    }
    if names::all(&site.config().runtime)?.is_empty() {
        firewall::remove(site)?;
    }
    Ok(reclaimed)
}
