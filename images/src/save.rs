//! Images into archives.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::Path;

use rbuild_cache::blobs::Blobs;
use rbuild_image::archive::{BlobSource, OutgoingImage, OutgoingIndex, Plan};
use rbuild_image::compress::Encoding;
use rbuild_image::manifest::{Descriptor, Document, Family, Manifest, MediaType};
use rbuild_model::digest::{BlobDigest, ImageId};
use rbuild_model::image_config::ImageConfig;
use rbuild_model::platform::Platform;
use rbuild_model::reference::Reference;
use rbuild_model::snapshot::Chain;
use rbuild_store::{Lease, Stoppable};

use crate::add::BuiltImage;
use crate::departures::{Departures, Unheard};
use crate::error::ImagesError;
use crate::images::Images;
use crate::packing::{Packing, manifest_of};
use crate::platforms::Member;
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
    /// If the image came with a manifest that lists the very same layers, that one is used: its digest is known elsewhere.
    pub fn pack(
        &self,
        image: ImageId,
        packing: impl Into<Packing>,
        lease: &Lease,
    ) -> Result<OutgoingImage, ImagesError> {
        self.pack_telling(image, packing.into(), lease, &Unheard)
    }

    pub(crate) fn pack_telling(
        &self,
        image: ImageId,
        packing: Packing,
        lease: &Lease,
        departures: &dyn Departures,
    ) -> Result<OutgoingImage, ImagesError> {
        let found = self.get(image)?.ok_or_else(|| ImagesError::NotFound(image.to_string()))?;
        let chain = self.ready(image, None, lease, &crate::progress::Quiet)?.chain;
        let described = (found.config, found.config_bytes);
        let packed = self.pack_stack(image, described, &chain, packing, lease, departures)?;
        Ok(OutgoingImage { names: found.tags, ..packed })
    }

    /// Packs an image that was built here and is not kept: nothing of it is left in the list of images.
    pub fn pack_built(
        &self,
        built: BuiltImage<'_>,
        packing: impl Into<Packing>,
        lease: &Lease,
    ) -> Result<(ImageId, OutgoingImage), ImagesError> {
        self.pack_built_telling(built, packing.into(), lease, &Unheard)
    }

    pub(crate) fn pack_built_telling(
        &self,
        built: BuiltImage<'_>,
        packing: Packing,
        lease: &Lease,
        departures: &dyn Departures,
    ) -> Result<(ImageId, OutgoingImage), ImagesError> {
        let chain = built.chain;
        let described = self.complete(built)?;
        let id = ImageId::of_config(BlobDigest::of(&described.1));
        Ok((id, self.pack_stack(id, described, chain, packing, lease, departures)?))
    }

    /// Packs an image, without names, whose stack is here.
    fn pack_stack(
        &self,
        image: ImageId,
        (config, config_bytes): (ImageConfig, Vec<u8>),
        chain: &Chain,
        packing: Packing,
        lease: &Lease,
        departures: &dyn Departures,
    ) -> Result<OutgoingImage, ImagesError> {
        let mut layers = Vec::new();
        for (height, diff_id) in config.rootfs.diff_ids.iter().enumerate() {
            let stack = Chain::new(chain.layers()[..=height].to_vec());
            let layer = self.packed_layer(&stack, *diff_id, packing, lease, None, departures)?;
            departures.packed(&layer)?;
            layers.push(layer);
        }
        let (manifest, manifest_bytes) = match self.manifest_it_came_with(image, &layers, packing.family)? {
            Some(came) => came,
            None => {
                let family = packing.family.unwrap_or(Family::Oci);
                let manifest = manifest_of(&config_bytes, layers, family);
                let bytes = manifest.to_bytes();
                (manifest, bytes)
            }
        };
        let platform = config.platform();
        Ok(OutgoingImage {
            manifest,
            manifest_bytes,
            config: config_bytes,
            platform,
            names: Vec::new(),
            entry_annotations: BTreeMap::new(),
        })
    }

    /// Finds the manifest of an image that lists certain layers.
    fn manifest_it_came_with(
        &self,
        image: ImageId,
        layers: &[Descriptor],
        family: Option<Family>,
    ) -> Result<Option<(Manifest, Vec<u8>)>, ImagesError> {
        for bytes in self.store.read(|tx| rows::manifests(tx, image))? {
            let Ok(Document::Manifest(manifest)) = Document::parse(&bytes, None) else { continue };
            let same =
                manifest.layers.iter().map(|layer| layer.digest).eq(layers.iter().map(|layer| layer.digest));
            let own = match manifest.media_type() {
                MediaType::DOCKER_MANIFEST => Family::Docker,
                _ => Family::Oci,
            };
            if same && family.is_none_or(|family| family == own) {
                return Ok(Some((manifest, bytes)));
            }
        }
        Ok(None)
    }

    /// Writes images, named by names or ids, into one archive that is an OCI layout and that `docker load` reads.
    ///
    /// An image named by its id goes without names, one named by a name with that name only. What is said about images goes
    /// with them, in an index.
    pub fn save<W: Write>(&self, wanted: &[&str], out: W, lease: &Lease) -> Result<W, ImagesError> {
        self.save_for(wanted, None, out, lease)
    }

    /// As [`Images::save`], and of names that mean several images only those for one platform.
    pub fn save_for<W: Write>(
        &self,
        wanted: &[&str],
        platform: Option<&Platform>,
        out: W,
        lease: &Lease,
    ) -> Result<W, ImagesError> {
        let mut images: Vec<(ImageId, OutgoingImage)> = Vec::new();
        let mut indexes: Vec<OutgoingIndex> = Vec::new();
        let mut saved: Vec<ImageId> = Vec::new();
        for text in wanted {
            if platform.is_none()
                && let Some(index) = self.index(text)?
            {
                let pack = |member: &Member| self.pack(member.image, Encoding::GZIP, lease);
                let mut packed = index.members.iter().map(pack).collect::<Result<Vec<_>, _>>()?;
                let ids: Vec<_> = index.members.iter().map(|member| member.image).collect();
                saved.extend(&ids);
                let names = vec![index.name];
                packed.extend(self.attested(&packed, &ids, &names, lease)?);
                indexes.push(OutgoingIndex::new(packed, names));
                continue;
            }
            let id = self.find_for(text, platform)?;
            let name = text.parse::<Reference>().ok().map(Reference::with_default_tag);
            let name = match name {
                Some(name) if name.digest().is_none() && self.find_reference(&name)?.is_some() => Some(name),
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
        saved.extend(images.iter().map(|(id, _)| *id));
        let mut alone = Vec::new();
        for (id, image) in images {
            let about = self.attested(std::slice::from_ref(&image), &[id], &image.names, lease)?;
            if about.is_empty() {
                alone.push(image);
            } else {
                let names = image.names.clone();
                indexes.push(OutgoingIndex::new(std::iter::once(image).chain(about).collect(), names));
            }
        }
        let out = self.write_archive(&Plan::docker_with(&alone, &indexes), out)?;
        for image in saved {
            self.tell("save", image, &image.to_string());
        }
        Ok(out)
    }

    /// Writes a planned archive with blobs of the store.
    pub fn write_archive<W: Write>(&self, plan: &Plan, out: W) -> Result<W, ImagesError> {
        plan.write_tar(self.stoppable(out), &Outgoing(&self.blobs))
            .map(Stoppable::into_inner)
            .map_err(|error| ImagesError::io("write the archive", io::Error::other(error)))
    }

    /// Writes a planned archive as a folder, with blobs of the store.
    pub fn write_folder(&self, plan: &Plan, folder: &Path) -> Result<(), ImagesError> {
        plan.write_folder(folder, &Outgoing(&self.blobs))
            .map_err(|error| ImagesError::io("write the layout", io::Error::other(error)))
    }
}
