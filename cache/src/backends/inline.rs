//! `type=inline`: a catalog in the config of an image, whose layers are the image's own.
//!
//! It stands under [`KEY`], where other programs do not look. Its layers have no blobs: those are what the image's
//! manifest says, once there is one. What BuildKit puts there has a key of its own and is read as far as
//! [its other caches](super::buildkit) are.

use rbuild_image::manifest::{Descriptor, parse_strict};
use rbuild_model::image_config::ImageConfig;
use serde_json::Value;

use super::buildkit::{self, Foreign};
use super::catalog::{Blob, Catalog, CatalogError};
use super::{BackendError, Contents};

/// The name under which a config has a catalog.
pub const KEY: &str = "rbuild.cache.v1";

/// Puts a catalog into a config, in place of a former one.
///
/// # Panics
///
/// Never: the form has only text keys.
pub fn embed(config: &mut ImageConfig, catalog: &Catalog) {
    let value = serde_json::to_value(catalog).expect("the form has only text keys");
    config.extra.insert(KEY.to_owned(), value);
}

/// Reads the cache of an image from its config and the layers of its manifest, if it has one.
pub(super) fn read(config: &[u8], layers: &[Descriptor]) -> Result<Option<Contents>, BackendError> {
    let unusable = |why: String| BackendError::Unusable(format!("the config of its image: {why}"));
    let value = parse_strict(config).map_err(|error| unusable(error.to_string()))?;
    let config: ImageConfig = serde_json::from_value(value).map_err(|error| unusable(error.to_string()))?;
    let Some(value @ Value::Object(_)) = config.extra.get(KEY) else {
        let Some(Value::String(records)) = config.extra.get(buildkit::INLINE_KEY) else { return Ok(None) };
        return Foreign::parse_inline(records, layers).map(Contents::BuildKit).map(Some);
    };
    let mut catalog = Catalog::parse(value.to_string().as_bytes())?;
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != layers.len() {
        return Err(unusable(format!(
            "it names {} layers, and its manifest {}",
            diff_ids.len(),
            layers.len()
        )));
    }
    for layer in &mut catalog.layers {
        let at = diff_ids.iter().position(|diff_id| *diff_id == layer.diff_id);
        let Some(at) = at else {
            return Err(CatalogError::Unsound(format!("its image has no layer {}", layer.diff_id)).into());
        };
        layer.blob = Some(Blob::from(&layers[at]));
    }
    catalog.mounts.clear();
    catalog.check()?;
    Ok(Some(Contents::Ours(Box::new(catalog))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::catalog::{Layer, Standing};
    use rbuild_image::manifest::MediaType;
    use rbuild_model::digest::DiffId;

    #[test]
    fn layers_of_the_image_are_those_of_the_catalog() {
        let diff_id = DiffId::from_bytes([1; 32]);
        let layer = Layer { diff_id, blob: None, encoding: None, standing: Standing::OnOthers };
        let catalog = Catalog { layers: vec![layer.clone()], ..Catalog::default() };
        let mut config = ImageConfig::default();
        let bytes = |config: &ImageConfig| serde_json::to_vec(config).unwrap();
        assert!(read(&bytes(&config), &[]).unwrap().is_none());
        embed(&mut config, &catalog);
        assert!(read(&bytes(&config), &[]).is_err(), "the image has no such layer");
        config.rootfs.diff_ids.push(diff_id);
        assert!(read(&bytes(&config), &[]).is_err(), "the manifest has none");
        let blob = Descriptor::of(MediaType::OCI_LAYER, b"x");
        let Some(Contents::Ours(read)) = read(&bytes(&config), std::slice::from_ref(&blob)).unwrap() else {
            panic!("it has a catalog");
        };
        assert_eq!(read.layers, [Layer { blob: Some(Blob::from(&blob)), ..layer }]);
        let again: ImageConfig = serde_json::from_slice(&bytes(&config)).unwrap();
        assert_eq!(again, config, "a config keeps its catalog");
    }
}
