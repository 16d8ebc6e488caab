//! Images into archives.

use std::io::{self, Read, Write};

use rbuild_cache::blobs::Blobs;
use rbuild_image::archive::{BlobSource, OutgoingImage, Plan};
use rbuild_image::compress::Encoding;
use rbuild_image::manifest::{Descriptor, Document, Manifest, MediaType};
use rbuild_model::digest::{BlobDigest, DiffId, ImageId};
use rbuild_model::image_config::ImageConfig;
use rbuild_model::reference::Reference;
use rbuild_model::snapshot::Chain;
use rbuild_store::Lease;

use crate::add::BuiltImage;
use crate::error::ImagesError;
use crate::images::Images;
use crate::rows;

/// Opens blobs of the store for an archive.
struct Outgoing<'a>(&'a Blobs);

impl BlobSource for Outgoing<'_> {
    fn open(&self, digest: BlobDigest) -> io::Result<Box<dyn Read + '_>> {
        let file = self.0.open(digest).map_err(io::Error::other)?;
        Ok(Box::new(file.ok_or(io::ErrorKind::NotFound)?))
    }
}

impl Images {
    /// Packs all layers of an image and makes its manifest; each layer is packed once for each encoding, ever.
    ///
    /// A layer that is here in another packed form (as it was pulled) is taken as it is. If nothing had to be packed and the
    /// image came with a manifest of its own, that one is used: its digest is known elsewhere.
    pub fn pack(
        &self,
        image: ImageId,
        encoding: Encoding,
        lease: &Lease,
    ) -> Result<OutgoingImage, ImagesError> {
        let found = self.get(image)?.ok_or_else(|| ImagesError::NotFound(image.to_string()))?;
        let chain = self.ready(image, None, lease, &crate::progress::Quiet)?.chain;
        let described = (found.config, found.config_bytes);
        let packed = self.pack_stack(image, described, &chain, encoding, lease)?;
        Ok(OutgoingImage { names: found.tags, ..packed })
    }

    /// Packs an image that was built here and is not kept: nothing of it is left in the list of images.
    pub fn pack_built(
        &self,
        built: BuiltImage<'_>,
        encoding: Encoding,
        lease: &Lease,
    ) -> Result<(ImageId, OutgoingImage), ImagesError> {
        let chain = built.chain;
        let described = self.complete(built)?;
        let id = ImageId::of_config(BlobDigest::of(&described.1));
        Ok((id, self.pack_stack(id, described, chain, encoding, lease)?))
    }

    /// Packs an image, without names, whose stack is here.
    fn pack_stack(
        &self,
        image: ImageId,
        (config, config_bytes): (ImageConfig, Vec<u8>),
        chain: &Chain,
        encoding: Encoding,
        lease: &Lease,
    ) -> Result<OutgoingImage, ImagesError> {
        let platform = config.platform();
        let came = self.store.read(|tx| rows::manifests(tx, image))?;
        for bytes in came {
            let Ok(Document::Manifest(manifest)) = Document::parse(&bytes, None) else { continue };
            if self.holds_all(&manifest, &config.rootfs.diff_ids, lease)? {
                return Ok(OutgoingImage {
                    manifest,
                    manifest_bytes: bytes,
                    config: config_bytes,
                    platform,
                    names: Vec::new(),
                });
            }
        }
        let mut layers = Vec::new();
        for (height, diff_id) in config.rootfs.diff_ids.iter().enumerate() {
            let layer = match self.find_packed(*diff_id, None, lease)? {
                Some(layer) => layer,
                None => {
                    let stack = Chain::new(chain.layers()[..=height].to_vec());
                    self.pack_layer(&stack, *diff_id, encoding, lease)?
                }
            };
            layers.push(layer);
        }
        // The bytes are the same under Docker's types, but readers refuse a manifest that mixes the two families.
        for layer in &mut layers {
            if let Some(format) = layer.media_type.layer_format() {
                layer.media_type = MediaType::of_layer(format);
            }
        }
        let manifest = Manifest::new(Descriptor::of(MediaType::OCI_CONFIG, &config_bytes), layers);
        Ok(OutgoingImage {
            manifest_bytes: manifest.to_bytes(),
            manifest,
            config: config_bytes,
            platform,
            names: Vec::new(),
        })
    }

    /// Tells whether the layers that a manifest lists are here, and are the layers of a config: the config that a
    /// manifest names may be that of an image with other contents.
    fn holds_all(
        &self,
        manifest: &Manifest,
        diff_ids: &[DiffId],
        lease: &Lease,
    ) -> Result<bool, ImagesError> {
        if manifest.layers.len() != diff_ids.len() {
            return Ok(false);
        }
        let digests: Vec<_> = manifest.layers.iter().map(|layer| layer.digest).collect();
        let known = self.store.read(|tx| -> rows::Result<bool> {
            let mut pairs = diff_ids.iter().zip(&digests);
            pairs.try_fold(true, |all, (diff_id, digest)| Ok(all && rows::is_packed(tx, *diff_id, *digest)?))
        })?;
        Ok(known && self.blobs.find(&digests, lease)?.iter().all(Option::is_some))
    }

    /// Writes images, named by names or ids, into one archive that is an OCI layout and that `docker load` reads.
    ///
    /// An image named by its id goes without names, one named by a name with that name only.
    pub fn save<W: Write>(&self, wanted: &[&str], out: W, lease: &Lease) -> Result<W, ImagesError> {
        let mut images: Vec<(ImageId, OutgoingImage)> = Vec::new();
        for text in wanted {
            let id = self.find_id(text)?;
            let name = text.parse::<Reference>().ok().map(Reference::with_default_tag);
            let name = match name {
                Some(name) if name.digest().is_none() && self.find_reference(&name)? == Some(id) => {
                    Some(name)
                }
                _ => None,
            };
            let at = match images.iter().position(|(other, _)| *other == id) {
                Some(at) => at,
                None => {
                    let mut packed = self.pack(id, Encoding::GZIP, lease)?;
                    packed.names = Vec::new();
                    images.push((id, packed));
                    images.len() - 1
                }
            };
            let names = &mut images[at].1.names;
            names.extend(name.filter(|name| !names.contains(name)).into_iter().collect::<Vec<_>>());
        }
        let images: Vec<_> = images.into_iter().map(|(_, image)| image).collect();
        self.write_archive(&Plan::docker(&images), out)
    }

    /// Writes a planned archive with blobs of the store.
    pub fn write_archive<W: Write>(&self, plan: &Plan, out: W) -> Result<W, ImagesError> {
        plan.write_tar(out, &Outgoing(&self.blobs))
            .map_err(|error| ImagesError::io("write the archive", io::Error::other(error)))
    }
}
