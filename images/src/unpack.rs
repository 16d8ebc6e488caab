//! From blobs to trees: layers are decompressed and written in order, while they come.
//!
//! A layer and the next ones are decompressed at the same time, each by a thread of its own that is a few pieces ahead of
//! whoever writes; what comes before its turn waits in the file of its blob. Nothing gets its name before the digest of
//! the blob and the DiffId of what came out of it are known to be right.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::mpsc;
use std::thread;

use rbuild_image::compress::{Compression, Decoder};
use rbuild_image::hash::HashingReader;
use rbuild_image::manifest::{Descriptor, LayerFormat, MAX_LAYERS, Manifest};
use rbuild_model::digest::{ChainId, DiffId};
use rbuild_model::snapshot::{Chain, SnapshotId};
use rbuild_store::{Flight, Lease, LockClass, LockName, ObjectKind, Wait};

use crate::arrivals::{Arrivals, Settled};
use crate::error::ImagesError;
use crate::images::Images;
use crate::layers::chain_with;
use crate::progress::{LayerState, Progress};
use crate::rows::{self, LayerRow, PackedRow};

/// A layer that is to be unpacked.
#[derive(Clone, Debug)]
pub(crate) struct PendingLayer {
    pub(crate) descriptor: Descriptor,
    pub(crate) format: LayerFormat,
    pub(crate) diff_id: DiffId,
    /// The repository that the blob comes from, if it comes from one.
    pub(crate) origin: Option<String>,
}

impl PendingLayer {
    /// Lists the layers of an image, lowest first.
    pub(crate) fn of_image(
        what: &str,
        manifest: &Manifest,
        diff_ids: &[DiffId],
        origin: Option<&str>,
    ) -> Result<Vec<Self>, ImagesError> {
        let wrong = |why: String| ImagesError::Inconsistent { what: what.to_owned(), why };
        let (named, here) = (diff_ids.len(), manifest.layers.len());
        if named != here {
            return Err(wrong(format!("its config names {named} layers and its manifest {here}")));
        }
        if here > MAX_LAYERS {
            return Err(wrong(format!(
                "it has {here} layers, and {MAX_LAYERS} can be mounted over one another"
            )));
        }
        let mut layers = Vec::with_capacity(here);
        for (descriptor, diff_id) in manifest.layers.iter().zip(diff_ids) {
            let Some(format) = descriptor.media_type.layer_format() else {
                return Err(wrong(format!("a layer of the unknown type `{}`", descriptor.media_type)));
            };
            let (descriptor, origin) = (descriptor.clone(), origin.map(str::to_owned));
            layers.push(Self { descriptor, format, diff_id: *diff_id, origin });
        }
        Ok(layers)
    }

    fn packed_row(&self) -> PackedRow {
        PackedRow {
            media_type: self.descriptor.media_type.as_str().to_owned(),
            digest: self.descriptor.digest,
            size: self.descriptor.size,
            origin: self.origin.clone(),
            encoding: None,
        }
    }
}

/// Bytes of a layer on their way from the thread that decompresses to the one that writes.
struct Piped {
    pieces: mpsc::Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    at: usize,
}

/// A layer that is being decompressed, and which attempt to fetch it that is.
struct Begun {
    attempt: u32,
    piped: Piped,
}

/// The size of a piece, and how many wait at most: 8 MiB a layer.
const PIECE: usize = 256 << 10;
const PIECES: usize = 32;
/// How many layers are decompressed ahead of the one that is written.
const AHEAD: usize = 2;

impl Read for Piped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.piece.len() {
            match self.pieces.recv() {
                Ok(piece) => (self.piece, self.at) = (piece?, 0),
                Err(mpsc::RecvError) => return Ok(0),
            }
        }
        let count = buffer.len().min(self.piece.len() - self.at);
        buffer[..count].copy_from_slice(&self.piece[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

impl Images {
    /// Unpacks layers on top of a stack while they arrive.
    ///
    /// Returns the whole stack, or nothing if a layer never arrived: whoever fetches it has failed, and its own error tells
    /// why. After an error here nothing more is taken.
    pub(crate) fn unpack(
        &self,
        base: Chain,
        base_id: Option<ChainId>,
        layers: &[PendingLayer],
        arrivals: &Arrivals,
        lease: &Lease,
        progress: &dyn Progress,
    ) -> Result<Option<Chain>, ImagesError> {
        thread::scope(|scope| {
            let begin = |place: usize| {
                let layer = &layers[place];
                let digest = layer.descriptor.digest;
                let reader = arrivals.get(place).read(move || {
                    let file = self.blobs.open(digest).map_err(io::Error::other)?;
                    file.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
                });
                let attempt = reader.attempt();
                let (sender, pieces) = mpsc::sync_channel(PIECES);
                scope.spawn(move || self.decompress(layer, reader, &sender));
                Begun { attempt, piped: Piped { pieces, piece: Vec::new(), at: 0 } }
            };
            let mut begun: VecDeque<Begun> = VecDeque::with_capacity(AHEAD + 1);
            let (mut chain, mut chain_id) = (base, base_id);
            for (place, layer) in layers.iter().enumerate() {
                let arrival = arrivals.get(place);
                let next = chain_with(chain_id, layer.diff_id);
                progress.layer(layer.descriptor.digest, LayerState::Unpacking);
                let snapshot = loop {
                    for ahead in begun.len()..(AHEAD + 1).min(layers.len() - place) {
                        begun.push_back(begin(place + ahead));
                    }
                    let Begun { attempt, piped } = begun.pop_front().unwrap_or_else(|| begin(place));
                    let error = match self.unpack_one(&chain, next, layer, piped, lease) {
                        Ok(snapshot) => break snapshot,
                        Err(error) => error,
                    };
                    // What came may have been wrong, or not all of it: then the layer is not to blame.
                    let is_of_bytes =
                        matches!(error, ImagesError::Tree(..) | ImagesError::WrongDiffId { .. });
                    match if is_of_bytes { arrival.settled(attempt) } else { Settled::Right } {
                        Settled::Right => {
                            arrivals.refuse();
                            return Err(error);
                        }
                        Settled::Anew => begun.push_front(begin(place)),
                        Settled::Failed => return Ok(None),
                    }
                };
                chain = chain.with(snapshot);
                chain_id = Some(next);
                progress.layer(layer.descriptor.digest, LayerState::Complete);
            }
            Ok(Some(chain))
        })
    }

    /// Decompresses a layer piece by piece; ends early if nobody reads.
    fn decompress(
        &self,
        layer: &PendingLayer,
        packed: impl Read,
        sender: &mpsc::SyncSender<io::Result<Vec<u8>>>,
    ) {
        let decoder = Decoder::new(Compression::from(layer.format), packed, self.options.compression);
        let mut decoder = match decoder {
            Ok(decoder) => decoder,
            Err(error) => {
                let _ = sender.send(Err(error));
                return;
            }
        };
        loop {
            let mut piece = vec![0; PIECE];
            let mut filled = 0;
            let failure = loop {
                match decoder.read(&mut piece[filled..]) {
                    Ok(0) => break None,
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => break Some(error),
                }
                if filled == piece.len() {
                    break None;
                }
            };
            piece.truncate(filled);
            let ended = filled < PIECE;
            if filled > 0 && sender.send(Ok(piece)).is_err() {
                return;
            }
            if let Some(error) = failure {
                let _ = sender.send(Err(error));
                return;
            }
            if ended {
                return;
            }
        }
    }

    /// Writes the tree of one layer, unless somebody else does so at this moment.
    fn unpack_one(
        &self,
        below: &Chain,
        chain: ChainId,
        layer: &PendingLayer,
        piped: Piped,
        lease: &Lease,
    ) -> Result<SnapshotId, ImagesError> {
        let scope = self.store.locks().scope();
        let name = LockName::new(LockClass::Unpack, chain);
        let look = || -> Result<_, ImagesError> {
            let found = self.store.write(|tx| -> Result<_, ImagesError> {
                let Some(found) = rows::layer(tx, chain)? else { return Ok(None) };
                lease.protect(tx, &[(ObjectKind::SNAPSHOT, found.snapshot.as_bytes())])?;
                Ok(Some(found.snapshot))
            })?;
            Ok(found.filter(|snapshot| self.snapshotter.contains(*snapshot)))
        };
        let made = scope.single_flight(&name, &Wait::until(&self.options.cancel), look, |_| {
            let digest = layer.descriptor.digest;
            let room = self.room(format!("layer {digest}"))?;
            let mut tar = HashingReader::new(room.reader(self.stoppable(piped)));
            let (active, _extracted) = self
                .snapshotter
                .apply(below, &mut tar, self.options.tar)
                .map_err(|error| room.refusal().unwrap_or(ImagesError::Tree(digest.to_string(), error)))?;
            let summary = tar.summary();
            if summary.diff_id() != layer.diff_id {
                self.discard(active);
                return Err(ImagesError::WrongDiffId {
                    layer: digest,
                    expected: layer.diff_id,
                    found: summary.diff_id(),
                });
            }
            room.commit(active, lease, &|tx, snapshot| {
                // A row whose tree is gone gives way.
                if let Some(lost) = rows::layer(tx, chain)? {
                    rows::forget_layer(tx, chain, lost.snapshot)?;
                }
                let row = LayerRow { snapshot, bytes: summary.size };
                rows::add_layer(tx, chain, row, Some(self.store.stamp()))?;
                // What was just hashed to its DiffId is a packed form of it, and may leave as such.
                Ok(rows::add_packed(tx, layer.diff_id, layer.format, &layer.packed_row())?)
            })
        })?;
        let (Flight::Found(snapshot) | Flight::Made(snapshot)) = made;
        Ok(snapshot)
    }

    /// Checks the blobs of layers whose trees were there without them, or were made by others, and records them as packed
    /// forms; blobs that are not here are left out.
    ///
    /// That a manifest lists a blob beside a DiffId proves nothing: only what was hashed may leave as that layer.
    pub(crate) fn record_forms(&self, layers: &[PendingLayer]) -> Result<(), ImagesError> {
        for layer in layers {
            let digest = layer.descriptor.digest;
            if self.store.read(|tx| rows::is_packed(tx, layer.diff_id, digest))? {
                continue;
            }
            let Some(file) = self.blobs.open(digest)? else { continue };
            let tar = self.decoder(layer.format, file, &layer.descriptor)?;
            let mut tar = HashingReader::new(self.stoppable(tar));
            io::copy(&mut tar, &mut io::sink())
                .map_err(|error| ImagesError::Layer(digest.to_string(), error))?;
            let found = tar.summary().diff_id();
            if found != layer.diff_id {
                return Err(ImagesError::WrongDiffId { layer: digest, expected: layer.diff_id, found });
            }
            self.store.write(|tx| rows::add_packed(tx, layer.diff_id, layer.format, &layer.packed_row()))?;
        }
        Ok(())
    }

    /// Throws away what is not wanted; what cannot be thrown away is found by the store's own sweep.
    pub(crate) fn discard(&self, active: rbuild_snapshotter::Active) {
        let _ = self.snapshotter.discard(active);
    }
}

#[cfg(test)]
mod tests {
    use rbuild_image::manifest::MediaType;

    use super::*;

    #[test]
    fn layers_that_cannot_all_be_mounted_or_read_are_refused() {
        let config = Descriptor::of(MediaType::OCI_CONFIG, b"{}");
        let diff_id = DiffId::from_bytes([7; 32]);
        let listed = |kind: &str, layers: usize, named: usize| {
            let manifest = Manifest::new(config.clone(), vec![Descriptor::of(kind, b"x"); layers]);
            let made = PendingLayer::of_image("x", &manifest, &vec![diff_id; named], None);
            made.map(|layers| layers.len()).map_err(|error| error.to_string())
        };
        assert_eq!(listed(MediaType::OCI_LAYER, 500, 500), Ok(500));
        for (kind, layers, named, why) in [
            (MediaType::OCI_LAYER, 501, 501, "it has 501 layers, and 500 can be mounted over one another"),
            (MediaType::OCI_LAYER, 1, 2, "its config names 2 layers and its manifest 1"),
            ("text/plain", 1, 1, "a layer of the unknown type `text/plain`"),
        ] {
            let refused = listed(kind, layers, named).unwrap_err();
            assert!(refused.ends_with(why), "{refused}");
        }
    }
}
