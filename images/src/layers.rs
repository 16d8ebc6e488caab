//! Stacks of layers: their snapshots, their tars, their packed forms.

use std::fs::File;
use std::io::{self, Read, Write};
use std::time::Instant;

use rbuild_cache::blobs::{BlobError, Blobs, Expected};
use rbuild_image::compress::{Compression, Decoder, Encoding, compress};
use rbuild_image::hash::HashingWriter;
use rbuild_image::manifest::{Descriptor, LayerFormat, MediaType};
use rbuild_image::tar;
use rbuild_model::digest::{ChainId, DiffId, ImageId};
use rbuild_model::snapshot::{Chain, SnapshotId};
use rbuild_snapshotter::{Tree, write_layer};
use rbuild_store::{Lease, ObjectKind, RoomError, Stoppable};
use rusqlite::Transaction;

use crate::departures::{Departures, Followed};
use crate::error::ImagesError;
use crate::images::Images;
use crate::packing::{format_of, name_of};
use crate::rows::{self, PackedRow};

/// What stands for "times are not clamped" where an epoch is remembered.
pub const EPOCH_NONE: i64 = i64::MIN;

/// The canonical tar of a layer, as it was hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerTar {
    /// Its digest.
    pub diff_id: DiffId,
    /// How many bytes it has.
    pub bytes: u64,
}

fn options(epoch: i64) -> tar::Options {
    tar::Options { epoch: (epoch != EPOCH_NONE).then_some(epoch) }
}

impl Images {
    /// Returns the DiffId of the topmost layer of a stack, whose canonical tar is streamed into a hash and kept
    /// nowhere; remembered by snapshot, version of the tar form and epoch. `None` for the empty stack.
    pub fn diff_id(&self, chain: &Chain, epoch: Option<i64>) -> Result<Option<LayerTar>, ImagesError> {
        let Some(top) = chain.top() else { return Ok(None) };
        let epoch = epoch.unwrap_or(EPOCH_NONE);
        if let Some((diff_id, bytes)) = self.store.read(|tx| rows::diff_id(tx, top, epoch))? {
            return Ok(Some(LayerTar { diff_id, bytes }));
        }
        let writer = HashingWriter::new(io::sink());
        let writer = write_layer(&*self.snapshotter, Tree::Committed(chain), writer, options(epoch))
            .map_err(|error| ImagesError::Tree(top.to_string(), error))?;
        let summary = writer.summary();
        let (diff_id, bytes) = (summary.diff_id(), summary.size);
        self.store.write(|tx| rows::add_diff_id(tx, top, epoch, diff_id, bytes))?;
        Ok(Some(LayerTar { diff_id, bytes }))
    }

    /// Returns the DiffIds of all layers of a stack, lowest first, those of an image that it stands on being
    /// given.
    pub fn diff_ids(
        &self,
        chain: &Chain,
        known: &[DiffId],
        epoch: Option<i64>,
    ) -> Result<Vec<DiffId>, ImagesError> {
        let heights = known.len()..chain.len();
        let stacks: Vec<_> = heights.map(|height| Chain::new(chain.layers()[..=height].to_vec())).collect();
        let mut diff_ids = known.to_vec();
        diff_ids.extend(self.top_diff_ids(&stacks, epoch)?);
        Ok(diff_ids)
    }

    /// Returns the DiffIds of the topmost layers of stacks, as [`Images::diff_id`] does of one: what is remembered is read
    /// at once.
    pub fn top_diff_ids(&self, stacks: &[Chain], epoch: Option<i64>) -> Result<Vec<DiffId>, ImagesError> {
        let mut remembered = Vec::with_capacity(stacks.len());
        self.store.read(|tx| -> Result<(), ImagesError> {
            for top in stacks.iter().filter_map(Chain::top) {
                remembered.push(rows::diff_id(tx, top, epoch.unwrap_or(EPOCH_NONE))?);
            }
            Ok(())
        })?;
        let mut diff_ids = Vec::with_capacity(stacks.len());
        for (stack, remembered) in stacks.iter().filter(|stack| stack.top().is_some()).zip(remembered) {
            match remembered {
                Some((diff_id, _)) => diff_ids.push(diff_id),
                None => diff_ids.extend(self.diff_id(stack, epoch)?.map(|tar| tar.diff_id)),
            }
        }
        Ok(diff_ids)
    }

    /// Finds the snapshots of a stack of layers, as far up as there are some, and leases them; so is the image whose stack
    /// it is. Where there is none yet, the blobs that it will need are leased with the snapshots, and a layer without
    /// its own is not here.
    pub(crate) fn find_chain(
        &self,
        image: Option<ImageId>,
        diff_ids: &[DiffId],
        lease: &Lease,
    ) -> Result<Chain, ImagesError> {
        let mut layers = Vec::with_capacity(diff_ids.len());
        self.store.write(|tx| -> Result<(), ImagesError> {
            layers.clear();
            if let Some(image) = image
                && !rows::use_image(tx, image, lease)?
            {
                return Err(ImagesError::NotFound(image.to_string()));
            }
            let mut chain: Option<ChainId> = None;
            for diff_id in diff_ids {
                let next = chain_with(chain, *diff_id);
                let Some(layer) = rows::layer(tx, next)? else { break };
                if image.is_none() && !lease_packed(tx, layer.snapshot, *diff_id, lease)? {
                    break;
                }
                lease.protect(tx, &[(ObjectKind::SNAPSHOT, layer.snapshot.as_bytes())])?;
                layers.push(layer.snapshot);
                chain = Some(next);
            }
            Ok(())
        })?;
        // A row without its tree is a miss.
        if let Some(lost) = layers.iter().position(|snapshot| !self.snapshotter.contains(*snapshot)) {
            let snapshot = layers[lost];
            layers.truncate(lost);
            let chain = ChainId::of(&diff_ids[..=lost]);
            if let Some(chain) = chain {
                self.store.write(|tx| rows::forget_layer(tx, chain, snapshot))?;
            }
        }
        Ok(Chain::new(layers))
    }

    /// Returns the first of some packed forms that is here as a blob.
    pub(crate) fn first_here(
        &self,
        rows: Vec<PackedRow>,
        lease: &Lease,
    ) -> Result<Option<Descriptor>, ImagesError> {
        for row in rows {
            if self.blobs.find(&[row.digest], lease)?.first().is_some_and(Option::is_some) {
                return Ok(Some(Descriptor::new(row.media_type, row.digest, row.size)));
            }
        }
        Ok(None)
    }

    /// Opens the uncompressed tar of the layer on top of a stack, from its blob or from its tree.
    pub(crate) fn with_layer_tar<T>(
        &self,
        chain: &Chain,
        diff_id: DiffId,
        lease: &Lease,
        act: impl FnOnce(&mut dyn Read) -> Result<T, ImagesError>,
    ) -> Result<T, ImagesError> {
        let packed = self.store.read(|tx| rows::packed(tx, diff_id))?;
        if let Some(descriptor) = self.first_here(packed, lease)?
            && let Some(format) = descriptor.media_type.layer_format()
            && let Some(file) = self.blobs.open(descriptor.digest)?
        {
            let tar = self.decoder(format, file, &descriptor)?;
            return act(&mut self.stoppable(tar));
        }
        let top = chain.top().ok_or_else(|| ImagesError::Archive("a layer without a tree".to_owned()))?;
        let epoch = self.store.read(|tx| rows::epoch_of(tx, top, diff_id))?;
        let Some(epoch) = epoch else {
            return Err(ImagesError::Inconsistent {
                what: format!("layer {diff_id}"),
                why: "its blob is gone and its tar cannot be made from its tree".to_owned(),
            });
        };
        let (mut reader, writer) =
            io::pipe().map_err(|error| ImagesError::io("make a pipe for a layer", error))?;
        std::thread::scope(|scope| {
            let made = scope.spawn(move || {
                let writer = HashingWriter::new(io::BufWriter::with_capacity(256 << 10, writer));
                let mut writer =
                    write_layer(&*self.snapshotter, Tree::Committed(chain), writer, options(epoch))?;
                let flushed = writer.flush();
                Ok::<_, rbuild_snapshotter::Error>((writer.summary().diff_id(), flushed))
            });
            let result = act(&mut self.stoppable(&mut reader));
            drop(reader);
            match made.join() {
                Ok(Ok((found, Ok(())))) if found == diff_id => result,
                Ok(Ok((found, Ok(())))) => {
                    result?;
                    Err(ImagesError::Inconsistent {
                        what: format!("layer {diff_id}"),
                        why: format!("its tree now gives {found}"),
                    })
                }
                Ok(Ok((_, Err(error)))) => {
                    result?;
                    Err(ImagesError::Layer(diff_id.to_string(), error))
                }
                Ok(Err(error)) => {
                    result?;
                    Err(ImagesError::Tree(diff_id.to_string(), error))
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    pub(crate) fn decoder(
        &self,
        format: LayerFormat,
        file: File,
        descriptor: &Descriptor,
    ) -> Result<Decoder<'static>, ImagesError> {
        Decoder::new(Compression::from(format), file, self.options.compression)
            .map_err(|error| ImagesError::Layer(descriptor.digest.to_string(), error))
    }

    /// Packs the topmost layer of a stack, once for each DiffId and encoding; several threads compress. What is not packed
    /// by the deadline is left off.
    pub(crate) fn pack_layer(
        &self,
        chain: &Chain,
        diff_id: DiffId,
        encoding: Encoding,
        lease: &Lease,
        deadline: Option<Instant>,
        departures: &dyn Departures,
    ) -> Result<Descriptor, ImagesError> {
        let (format, name) = (format_of(encoding), name_of(encoding));
        let packed = self.store.read(|tx| rows::packed_as(tx, diff_id, &name))?;
        if let Some(found) = self.first_here(packed, lease)? {
            return Ok(found);
        }
        let mut writer = self.blobs.ingest(Expected::default())?;
        self.with_layer_tar(chain, diff_id, lease, |tar| {
            let late = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
            let out = Followed { writer: &mut writer, departures, written: None };
            compress(Stoppable::new(tar, late), out, encoding, self.options.threads).map_err(|error| {
                match error.downcast::<RoomError>() {
                    Ok(full) => BlobError::from(full).into(),
                    Err(error) => ImagesError::Layer(diff_id.to_string(), error),
                }
            })
        })?;
        let blob = writer.finish(lease)?;
        let media_type = MediaType::of_layer(format);
        let row = PackedRow {
            media_type: media_type.as_str().to_owned(),
            digest: blob.digest,
            size: blob.size,
            origin: None,
            encoding: Some(name),
        };
        self.store.write(|tx| rows::add_packed(tx, diff_id, format, &row))?;
        Ok(Descriptor::new(media_type.as_str(), blob.digest, blob.size))
    }
}

/// Leases the packed forms of a layer that are here; tells whether it can leave: there is one, or its tar is made of its tree.
fn lease_packed(
    tx: &Transaction<'_>,
    snapshot: SnapshotId,
    diff_id: DiffId,
    lease: &Lease,
) -> Result<bool, ImagesError> {
    let mut can_leave = rows::is_made_here(tx, snapshot, diff_id)?;
    for row in rows::packed(tx, diff_id)? {
        can_leave |= Blobs::find_in(tx, row.digest, lease)?.is_some();
    }
    Ok(can_leave)
}

/// Returns the identity of a stack with one more layer.
pub(crate) fn chain_with(below: Option<ChainId>, diff_id: DiffId) -> ChainId {
    below.map_or_else(|| ChainId::from_bytes(*diff_id.as_bytes()), |below| below.with(diff_id))
}

/// Sums up the bytes of the layers of an image.
pub(crate) fn size_of(tx: &Transaction<'_>, diff_ids: &[DiffId]) -> Result<u64, rbuild_store::DatabaseError> {
    let mut chain = None;
    let mut size = 0;
    for diff_id in diff_ids {
        let next = chain_with(chain, *diff_id);
        size += rows::layer(tx, next)?.map_or(0, |layer| layer.bytes);
        chain = Some(next);
    }
    Ok(size)
}
