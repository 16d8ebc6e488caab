//! The choice of a manifest for a platform.

use rbuild_model::platform::Platform;

use super::document::{Descriptor, Index};

/// An index has no manifest for the platform that is wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no match for platform in manifest: {wanted} is not among [{}]", offered.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
pub struct NoPlatform {
    /// What is wanted.
    pub wanted: Platform,
    /// What there is.
    pub offered: Vec<Platform>,
}

impl Index {
    /// Chooses the manifest for a platform: the first exact match, else the first of those that run there with
    /// the same architecture and the highest variant, else the first that runs there.
    ///
    /// Without a match, an only entry that names no platform is taken: its config will tell.
    pub fn select(&self, wanted: &Platform) -> Result<&Descriptor, NoPlatform> {
        let images = || {
            self.manifests.iter().filter(|entry| {
                let other = &entry.media_type;
                other.is_manifest() || other.is_index() || other.as_str().is_empty()
            })
        };
        let with_platform: Vec<_> =
            images().filter_map(|entry| entry.platform().map(|platform| (platform, entry))).collect();
        if let Some((_, exact)) = with_platform.iter().find(|(platform, _)| platform == wanted) {
            return Ok(exact);
        }
        let mut best: Option<&(Platform, &Descriptor)> = None;
        for candidate in with_platform.iter().filter(|(platform, _)| wanted.can_run(platform)) {
            let rank = |(platform, _): &(Platform, &Descriptor)| {
                (platform.architecture == wanted.architecture, platform.variant.clone())
            };
            if best.is_none_or(|best| rank(candidate) > rank(best)) {
                best = Some(candidate);
            }
        }
        if let Some((_, descriptor)) = best {
            return Ok(descriptor);
        }
        let mut unnamed = images().filter(|entry| entry.platform.is_none());
        match (unnamed.next(), unnamed.next(), with_platform.is_empty()) {
            (Some(only), None, true) => Ok(only),
            _ => Err(NoPlatform {
                wanted: wanted.clone(),
                // Attestations stand in indexes under a platform that is none.
                offered: with_platform
                    .into_iter()
                    .map(|(platform, _)| platform)
                    .filter(|platform| platform.os != "unknown")
                    .collect(),
            }),
        }
    }
}
