//! Names of images that nobody knows: what may have been meant.

use rbuild_engine::containers::ContainerError;
use rbuild_images::ImagesError;
use rbuild_model::reference::Reference;

use super::Home;
use crate::report::{self, Hints};
use crate::settings::Settings;

/// How many names are told.
const TOLD: usize = 3;

/// Adds to an error about an image that is not there what is here under a name like it, and how to look further.
pub(crate) fn hinted(error: anyhow::Error, settings: &Settings) -> anyhow::Error {
    let Some(unknown) = unknown(&error) else { return error };
    let near = Home::open(settings, "rbuild").ok().and_then(|home| home.images.near(&unknown.name).ok());
    let mut near = near.unwrap_or_default();
    // Who names what is here, and is told no by its registry, meant no other.
    if near.iter().any(|name| is_same(name, &unknown.name)) {
        near.clear();
    }
    let hints: Vec<String> = meant(&near).into_iter().chain(unknown.search()).collect();
    if hints.is_empty() { error } else { error.context(Hints(hints)) }
}

fn is_same(one: &str, other: &str) -> bool {
    let full = |name: &str| name.parse::<Reference>().ok().map(Reference::with_default_tag);
    full(one).is_some_and(|one| full(other) == Some(one))
}

fn meant(near: &[String]) -> Option<String> {
    let told: Vec<_> = near.iter().take(TOLD).map(|name| format!("`{}`", short(name))).collect();
    let more = if near.len() > TOLD { ", and others of that name" } else { "" };
    (!told.is_empty()).then(|| format!("did you mean {}{more}? It is here", told.join(" or ")))
}

/// Leaves out the tag that is meant where there is none.
pub(crate) fn short(name: &str) -> &str {
    name.strip_suffix(":latest").unwrap_or(name)
}

/// An image that is not there.
struct Unknown {
    name: String,
    /// Whether its registry was asked, and has no such image that we may see.
    is_refused: bool,
}

impl Unknown {
    /// Says how to look for names where this one leads, as far as that can be searched.
    fn search(&self) -> Option<String> {
        let reference: Reference = self.name.parse().ok()?;
        let name = reference.familiar_name();
        let is_searched =
            self.is_refused && reference.registry() == rbuild_model::reference::DEFAULT_REGISTRY;
        is_searched.then(|| format!("`rbuild search {name}` looks for names at the registry"))
    }
}

fn unknown(error: &anyhow::Error) -> Option<Unknown> {
    let of_container = || match report::cause::<ContainerError>(error)? {
        ContainerError::Image(error) => Some(&**error),
        _ => None,
    };
    match report::cause::<ImagesError>(error).or_else(of_container)? {
        ImagesError::NotFound(name) | ImagesError::PullIsOff(name) => {
            Some(Unknown { name: name.clone(), is_refused: false })
        }
        ImagesError::Registry { what, source } => {
            let is_refused = source.is_not_found() || source.is_denied();
            Some(Unknown { name: what.clone(), is_refused })
        }
        _ => None,
    }
}
