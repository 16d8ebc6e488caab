//! Layers on their way out: what is told of them while they are packed, and how one is followed that grows.
//!
//! A large layer that nobody has seen before leaves while it is packed. Who sends it reads the file that it is written to,
//! as far as that has come: a registry that is slower than the packing does not hold it up.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rbuild_cache::blobs::BlobWriter;
use rbuild_image::distribution::Growing;
use rbuild_image::manifest::Descriptor;
use rbuild_model::digest::BlobDigest;
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::ImagesError;

/// How many bytes a layer has to come to before it leaves unfinished: one that is small is soon packed, and a registry that
/// has it can be asked for it.
const LARGE: u64 = 4 << 20;
/// How much of a growing file is read at a time.
const READ: usize = 256 << 10;

/// Hears of the layers of an image while they are packed; an error stops the packing.
pub trait Departures: Sync {
    /// A layer is being packed that nobody has seen before, and is large already.
    fn growing(&self, layer: GrowingLayer) -> Result<(), ImagesError>;

    /// A layer is packed.
    fn packed(&self, layer: &Descriptor) -> Result<(), ImagesError>;
}

/// Nobody waits for layers.
pub(crate) struct Unheard;

impl Departures for Unheard {
    fn growing(&self, _: GrowingLayer) -> Result<(), ImagesError> {
        Ok(())
    }

    fn packed(&self, _: &Descriptor) -> Result<(), ImagesError> {
        Ok(())
    }
}

/// The file of a layer that is being packed, and how far it has come.
#[derive(Debug)]
pub struct GrowingLayer {
    file: File,
    written: watch::Receiver<u64>,
}

impl GrowingLayer {
    /// The bytes of the layer, to where it stands when nobody writes to it any more.
    pub(crate) fn pieces(self) -> Growing {
        let Self { file, written } = self;
        Box::pin(futures_util::stream::try_unfold((file, written, 0), async |(file, mut written, at)| {
            // An error says that its writer is gone: what is there is all that comes.
            let _ = written.wait_for(|written| *written > at).await;
            let left = *written.borrow() - at;
            let mut piece = vec![0; READ.min(usize::try_from(left).unwrap_or(READ))];
            file.read_exact_at(&mut piece, at)?;
            let next = at + piece.len() as u64;
            Ok((next > at).then_some((piece, (file, written, next))))
        }))
    }
}

/// Writes the blob of a layer, and tells of it as soon as it is large.
pub(crate) struct Followed<'a> {
    pub(crate) writer: &'a mut BlobWriter,
    pub(crate) departures: &'a dyn Departures,
    pub(crate) written: Option<watch::Sender<u64>>,
}

impl Write for Followed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.writer.write(bytes)?;
        let now = self.writer.written();
        match &self.written {
            Some(written) => drop(written.send_replace(now)),
            None if now >= LARGE => {
                let (sender, written) = watch::channel(now);
                let layer = GrowingLayer { file: self.writer.reader()?, written };
                self.departures.growing(layer).map_err(io::Error::other)?;
                self.written = Some(sender);
            }
            None => {}
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// What is to be sent.
pub(crate) enum Departure {
    /// A layer that grows, and what it has become when it does so no more; nothing comes if it was given up.
    Growing(GrowingLayer, oneshot::Receiver<Descriptor>),
    /// A layer that is packed.
    Packed(Descriptor),
}

/// Hands layers on to who sends them.
pub(crate) struct HandedOn {
    departures: mpsc::UnboundedSender<Departure>,
    told: Mutex<Told>,
}

/// What has been told of layers.
#[derive(Default)]
struct Told {
    /// Whoever follows the layer that is being packed.
    follower: Option<oneshot::Sender<Descriptor>>,
    /// Those that were handed on: no layer leaves twice.
    layers: HashSet<BlobDigest>,
}

impl HandedOn {
    pub(crate) fn new(departures: mpsc::UnboundedSender<Departure>) -> Self {
        Self { departures, told: Mutex::default() }
    }

    fn send(&self, departure: Departure) -> Result<(), ImagesError> {
        self.departures.send(departure).map_err(|_| gone())
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn gone() -> ImagesError {
    ImagesError::io("push", io::Error::other("the transfer has ended"))
}

impl Departures for HandedOn {
    fn growing(&self, layer: GrowingLayer) -> Result<(), ImagesError> {
        let (sender, packed) = oneshot::channel();
        self.told().follower = Some(sender);
        self.send(Departure::Growing(layer, packed))
    }

    fn packed(&self, layer: &Descriptor) -> Result<(), ImagesError> {
        let mut told = self.told();
        let is_new = told.layers.insert(layer.digest);
        match told.follower.take() {
            Some(follower) => follower.send(layer.clone()).map_err(|_| gone()),
            None if is_new => self.send(Departure::Packed(layer.clone())),
            None => Ok(()),
        }
    }
}
