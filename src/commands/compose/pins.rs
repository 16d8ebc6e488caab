//! Images of a project pinned to what their names stand for at their registries.

use rbuild_frontend::compose::Loaded;
use rbuild_images::Remote;
use rbuild_model::reference::Reference;

use crate::report::Mistake;
use crate::settings::Settings;

/// Pins the images of all services that name one.
pub(super) fn pin(loaded: &mut Loaded, settings: &Settings) -> anyhow::Result<()> {
    let remote = crate::wiring::logins::remote(settings)?;
    let mut pinned = loaded.named_images();
    for image in pinned.values_mut() {
        *image = digest(&remote, image)?;
    }
    loaded.rename_images(&pinned);
    Ok(())
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
