//! How images are packed on their way out.

use std::time::Instant;

use rbuild_image::compress::Encoding;
use rbuild_image::manifest::{Descriptor, Family, LayerFormat, Manifest, MediaType};
use rbuild_model::digest::DiffId;
use rbuild_model::snapshot::Chain;
use rbuild_store::Lease;

use crate::departures::Departures;
use crate::error::ImagesError;
use crate::images::Images;
use crate::rows;

/// How the layers and the manifest of an image are made.
///
/// What leaves depends on this and on the image, not on what was packed before: a layer that was made here has exactly the
/// form that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packing {
    /// The form of layers that were made here.
    pub encoding: Encoding,
    /// What becomes of layers that came packed.
    pub existing: Existing,
    /// Whose media types are used; `None` for those that the image came with, OCI's if it came with none.
    pub family: Option<Family>,
}

/// What becomes of layers that were pulled or loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// They leave as they came, whatever form is asked for.
    #[default]
    Keep,
    /// They get the form that is asked for.
    Recompress,
}

impl Default for Packing {
    fn default() -> Self {
        Encoding::GZIP.into()
    }
}

impl From<Encoding> for Packing {
    fn from(encoding: Encoding) -> Self {
        Self { encoding, existing: Existing::Keep, family: None }
    }
}

/// The name under which a form is remembered.
pub(crate) fn name_of(encoding: Encoding) -> String {
    match encoding {
        Encoding::Plain => "tar".to_owned(),
        Encoding::Gzip { level } => format!("gzip:{level}"),
        Encoding::Zstd { level } => format!("zstd:{level}"),
    }
}

pub(crate) const fn format_of(encoding: Encoding) -> LayerFormat {
    match encoding {
        Encoding::Plain => LayerFormat::Tar,
        Encoding::Gzip { .. } => LayerFormat::Gzip,
        Encoding::Zstd { .. } => LayerFormat::Zstd,
    }
}

impl Images {
    /// Packs the layer on top of a stack, by a deadline if there is one, or finds it packed. What is packed is told of while it
    /// grows.
    pub(crate) fn packed_layer(
        &self,
        stack: &Chain,
        diff_id: DiffId,
        packing: Packing,
        lease: &Lease,
        deadline: Option<Instant>,
        departures: &dyn Departures,
    ) -> Result<Descriptor, ImagesError> {
        let made_here = match stack.top() {
            Some(top) => self.store.read(|tx| rows::is_made_here(tx, top, diff_id))?,
            None => false,
        };
        if packing.existing == Existing::Keep && !made_here {
            let format = format_of(packing.encoding);
            let mut came = self.store.read(|tx| rows::packed(tx, diff_id))?;
            came.retain(|row| row.encoding.is_none());
            // The sort is stable: among others of the same standing, the order of the rows.
            came.sort_by_key(|row| MediaType::new(row.media_type.clone()).layer_format() != Some(format));
            if let Some(found) = self.first_here(came, lease)? {
                return Ok(found);
            }
        }
        self.pack_layer(stack, diff_id, packing.encoding, lease, deadline, departures)
    }
}

/// Makes the manifest of an image; the bytes of its parts are the same under the types of either family, but readers
/// refuse a manifest that mixes them.
pub(crate) fn manifest_of(config: &[u8], mut layers: Vec<Descriptor>, family: Family) -> Manifest {
    for layer in &mut layers {
        if let Some(format) = layer.media_type.layer_format() {
            layer.media_type = MediaType::of_layer_in(family, format);
        }
    }
    let types = match family {
        Family::Oci => (MediaType::OCI_CONFIG, MediaType::OCI_MANIFEST),
        Family::Docker => (MediaType::DOCKER_CONFIG, MediaType::DOCKER_MANIFEST),
    };
    let mut manifest = Manifest::new(Descriptor::of(types.0, config), layers);
    manifest.media_type = Some(MediaType::new(types.1));
    manifest
}
