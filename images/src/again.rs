//! Layers whose bytes are not here: those that made room for others and come again from a registry that has them, and
//! those that there is no room for.
//!
//! Who has to have the bytes here fetches them again ([`Images::bring`]). Who only sends or writes them takes such a layer
//! by its digest alone; what is read then is packed, or fetched, once more while it is read, and compared with the digest
//! at its end. A registry that has the layer is not sent it, so then it is not made either.

use std::collections::HashMap;
use std::io::{self, BufWriter, PipeReader, PipeWriter, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rbuild_image::compress::{Encoding, compress};
use rbuild_image::distribution::Receiver;
use rbuild_image::hash::HashingWriter;
use rbuild_image::manifest::Descriptor;
use rbuild_model::digest::{BlobDigest, DiffId};
use rbuild_model::reference::Reference;
use rbuild_model::snapshot::Chain;
use rbuild_store::Lease;

use crate::arrivals::Arrivals;
use crate::error::ImagesError;
use crate::images::Images;
use crate::progress::Quiet;
use crate::pull::registry;
use crate::rows::{self, PackedRow};
use crate::unpack::PendingLayer;

/// How the bytes of a packed layer are come by that are not here.
#[derive(Clone, Debug)]
enum Recipe {
    /// The layer on top of a stack is packed.
    Packed { stack: Chain, diff_id: DiffId, encoding: Encoding },
    /// They are fetched from the first of these that has them.
    Fetched { layer: Descriptor, places: Vec<Reference> },
}

/// The layers that leave without being here.
#[derive(Debug, Default)]
pub(crate) struct Unkept(Mutex<HashMap<BlobDigest, Recipe>>);

impl Unkept {
    fn add(&self, digest: BlobDigest, recipe: Recipe) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(digest, recipe);
    }

    fn get(&self, digest: BlobDigest) -> Option<Recipe> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&digest).cloned()
    }
}

/// A layer that is made while it is read.
struct Made {
    pipe: PipeReader,
    /// Whoever makes it; until its end was seen.
    making: Option<JoinHandle<Result<(), ImagesError>>>,
}

impl Read for Made {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.pipe.read(buffer)?;
        if count == 0
            && !buffer.is_empty()
            && let Some(making) = self.making.take()
        {
            // The end of the pipe is that of the layer only if its maker says so.
            making
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                .map_err(io::Error::other)?;
        }
        Ok(count)
    }
}

/// Writes what comes into a pipe, which takes nothing back.
struct Piped {
    pipe: BufWriter<PipeWriter>,
    is_begun: bool,
}

impl Receiver for Piped {
    fn receive(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.is_begun = true;
        self.pipe.write_all(bytes)
    }

    fn restart(&mut self) -> io::Result<()> {
        if self.is_begun { Err(io::Error::other("its transfer began anew")) } else { Ok(()) }
    }
}

impl Images {
    /// Names the repositories that a blob can be had from: where it came from, and where else it was seen.
    pub(crate) fn places_of(
        &self,
        digest: BlobDigest,
        origin: Option<&str>,
    ) -> Result<Vec<Reference>, ImagesError> {
        let mut names: Vec<String> = origin.map(str::to_owned).into_iter().collect();
        for place in self.store.read(|tx| rows::places_of_blob(tx, digest))? {
            if !names.contains(&place) {
                names.push(place);
            }
        }
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Fetches a layer again that made room for others.
    pub(crate) fn bring(
        &self,
        diff_id: DiffId,
        row: &PackedRow,
        lease: &Lease,
    ) -> Result<Descriptor, ImagesError> {
        let layer = row.descriptor();
        let unknown = || ImagesError::Inconsistent {
            what: format!("layer {}", layer.digest),
            why: format!("it is of the unknown type `{}`", layer.media_type),
        };
        let format = layer.media_type.layer_format().ok_or_else(unknown)?;
        let pending = PendingLayer { descriptor: layer.clone(), format, diff_id, origin: row.origin.clone() };
        let fetched = self.fetch_layers(None, &[pending], &Arrivals::of(1), lease, &Quiet);
        fetched.map_err(|error| match error {
            full if full.is_of_room() => full,
            error => ImagesError::Again { layer: layer.digest, source: Box::new(error) },
        })?;
        Ok(layer)
    }

    /// Takes a layer that a registry has for one that is there to be read.
    pub(crate) fn fetched_when_read(&self, row: &PackedRow) -> Result<Descriptor, ImagesError> {
        let layer = row.descriptor();
        let places = self.places_of(layer.digest, row.origin.as_deref())?;
        self.unkept.add(layer.digest, Recipe::Fetched { layer: layer.clone(), places });
        Ok(layer)
    }

    /// Takes a layer that has just been packed, and was not kept, for one that is there to be read.
    pub(crate) fn packed_when_read(
        &self,
        digest: BlobDigest,
        stack: &Chain,
        diff_id: DiffId,
        encoding: Encoding,
    ) {
        self.unkept.add(digest, Recipe::Packed { stack: stack.clone(), diff_id, encoding });
    }

    /// Opens a packed layer from some place on: its blob, or what is made of it once more. Its tree is leased by the caller.
    pub(crate) fn open_packed(
        &self,
        digest: BlobDigest,
        from: u64,
    ) -> Result<Option<Box<dyn Read + Send>>, ImagesError> {
        use io::Seek as _;
        let read = |error| ImagesError::io("read a layer", error);
        if let Some(mut file) = self.blobs.open(digest)? {
            file.seek(io::SeekFrom::Start(from)).map_err(read)?;
            return Ok(Some(Box::new(file)));
        }
        let Some(recipe) = self.unkept.get(digest) else { return Ok(None) };
        let (pipe, writer) = io::pipe().map_err(|error| ImagesError::io("make a pipe for a layer", error))?;
        // With a client of its own: who reads may be one who is waited for, and must not wait for this.
        let apart = Self::new(&self.store, Arc::clone(&self.snapshotter), self.options.clone());
        let making = thread::spawn(move || apart.make(digest, recipe, writer));
        let mut made = Made { pipe, making: Some(making) };
        io::copy(&mut (&mut made).take(from), &mut io::sink()).map_err(read)?;
        Ok(Some(Box::new(made)))
    }

    fn make(&self, digest: BlobDigest, recipe: Recipe, out: PipeWriter) -> Result<(), ImagesError> {
        let layer_failed = |error| ImagesError::Layer(digest.to_string(), error);
        match recipe {
            Recipe::Packed { stack, diff_id, encoding } => {
                let mut out = HashingWriter::new(BufWriter::new(out));
                let lease = self.store.lease("a layer that leaves")?;
                self.with_layer_tar(&stack, diff_id, &lease, |tar| {
                    compress(tar, &mut out, encoding, self.options.threads).map_err(layer_failed)
                })?;
                out.flush().map_err(layer_failed)?;
                let found = out.summary().blob();
                if found != digest {
                    let what = format!("layer {diff_id}");
                    return Err(ImagesError::Inconsistent {
                        what,
                        why: format!("it is now packed to {found}"),
                    });
                }
                Ok(())
            }
            Recipe::Fetched { layer, places } => {
                let network = self.network()?;
                let mut out = Piped { pipe: BufWriter::new(out), is_begun: false };
                let mut failure = None;
                for place in &places {
                    let fetched = network.runtime.wait(self.unless_cancelled(async {
                        let blob = network.client.blob(place, &layer, &mut out).await;
                        blob.map_err(|error| registry(place, error))
                    }));
                    match fetched {
                        Ok(()) => return out.pipe.flush().map_err(layer_failed),
                        Err(error) => failure = failure.or(Some(error)),
                    }
                }
                let nowhere = || ImagesError::Archive("it is not known where to fetch a layer".to_owned());
                let source = Box::new(failure.unwrap_or_else(nowhere));
                Err(ImagesError::Again { layer: digest, source })
            }
        }
    }
}
