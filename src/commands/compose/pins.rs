//! Images of a project pinned to what their names stand for at their registries.

use std::collections::BTreeMap;

use rbuild_frontend::compose::{ImageAt, Loaded};
use rbuild_images::Remote;
use rbuild_model::reference::Reference;

use crate::report::Mistake;
use crate::settings::Settings;
use crate::terminal::{Paint, Terminal};

/// Pins all images that are named; a registry is asked once for each.
pub(super) fn pin(loaded: &mut Loaded, separator: char, settings: &Settings) -> anyhow::Result<()> {
    let remote = crate::wiring::logins::remote(settings)?;
    let mut images = loaded.named_images(separator);
    let mut known = BTreeMap::new();
    for image in images.values_mut() {
        if !known.contains_key(image) {
            known.insert(image.clone(), digest(&remote, image)?);
        }
        image.clone_from(&known[image]);
    }
    loaded.rename_images(&images);
    Ok(())
}

/// Leaves the pinned images and nothing else, and tells which ones a file that lies over others cannot pin.
pub(super) fn lock(loaded: &mut Loaded, terminal: Terminal) {
    for place in loaded.keep_images() {
        let ImageAt::PreStart(number) = place.at else { continue };
        let title = terminal.err().colour.paint(Paint::Yellow, "warning:");
        terminal.tell(&format!(
            "{title} services.{}.pre_start[{number}].image: not pinned, as lists of `pre_start` grow from file to file; \
             `--resolve-image-digests` pins it in the whole project\n",
            place.service
        ));
    }
}

/// Returns the name of an image with the digest that it stands for now.
pub(super) fn digest(remote: &Remote, image: &str) -> anyhow::Result<String> {
    let name: Reference = image.parse().map_err(|error| Mistake::new(format!("`{image}`: {error}")))?;
    if name.digest().is_some() {
        return Ok(name.to_string());
    }
    let name = name.with_default_tag();
    let found = remote.document(&name);
    let found = found.map_err(|error| {
        anyhow::Error::from(error).context(format!("failed to resolve digest for {name}"))
    })?;
    Ok(name.with_digest(found.digest).to_string())
}
