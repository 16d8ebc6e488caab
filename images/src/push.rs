//! Images to registries.
//!
//! Layers leave as they get packed, large ones already while they are, several at a time; then configs, then manifests, the
//! one that has the name last: whoever pulls the name meanwhile gets what it named before. Where the upload of a layer stands
//! is remembered as soon as it is packed, so that the next push goes on with what a killed one began.

use std::io::{self, Read, Seek as _};
use std::sync::OnceLock;
use std::thread;

use futures_util::future::join;
use futures_util::{StreamExt as _, TryStreamExt as _};
use rbuild_image::archive::OutgoingImage;
use rbuild_image::distribution::{Client, ClientError, Pushed, Sender, Unfinished, Upload};
use rbuild_image::manifest::{Descriptor, MediaType};
use rbuild_model::digest::{BlobDigest, ImageId};
use rbuild_model::platform::Platform;
use rbuild_model::reference::Reference;
use rbuild_store::{Lease, LockClass, LockMode, LockName, Wait};
use tokio::sync::{mpsc, oneshot};

use crate::add::BuiltImage;
use crate::annotations::{self, Annotation};
use crate::departures::{Departure, Departures, GrowingLayer, HandedOn};
use crate::error::ImagesError;
use crate::images::Images;
use crate::packing::Packing;
use crate::platforms::{self, Member};
use crate::progress::{LayerState, Progress};
use crate::pull::elsewhere;
use crate::rows;

/// How many layers are sent at a time.
const PARALLEL: usize = 5;

/// What is at the registry under the pushed name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PushedImage {
    /// The digest of its manifest or index.
    pub digest: BlobDigest,
    /// How many bytes that has.
    pub size: u64,
}

/// What a pushed image is found by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Naming {
    /// Its tag.
    #[default]
    Tag,
    /// Its digest alone: no tag is moved.
    Digest,
}

/// Images that are packed for a registry.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The images, one a platform.
    pub images: Vec<OutgoingImage>,
    /// The index that lists them, if there is one.
    pub index: Option<Vec<u8>>,
}

impl Outgoing {
    /// Annotates packed images and lists several in an index.
    pub(crate) fn new(mut images: Vec<OutgoingImage>, annotations: &[Annotation]) -> Self {
        for image in &mut images {
            annotations::annotate(image, annotations);
        }
        let several = images.len() > 1;
        let outgoing = Self { images, index: None };
        if several { outgoing.listed(annotations) } else { outgoing }
    }

    /// The bytes and the type of the document that gets the name.
    pub(crate) fn top(&self) -> Option<(&[u8], &str)> {
        match (&self.index, self.images.first()) {
            (Some(index), _) => Some((index, MediaType::OCI_INDEX)),
            (None, Some(image)) => Some((&image.manifest_bytes, image.manifest.media_type())),
            (None, None) => None,
        }
    }
}

impl Images {
    /// Pushes what a name or an id means under a name: all platforms of it, or the one that is asked for; with what its
    /// build said about it.
    pub fn push(
        &self,
        text: &str,
        platform: Option<&Platform>,
        reference: &Reference,
        packing: Packing,
        lease: &Lease,
        progress: &dyn Progress,
    ) -> Result<PushedImage, ImagesError> {
        let members = match self.index(text)? {
            Some(index) if platform.is_none() => index.members,
            _ => {
                let image = self.find_for(text, platform)?;
                vec![Member { platform: self.config(image)?.platform(), image }]
            }
        };
        let ids: Vec<_> = members.iter().map(|member| member.image).collect();
        let pushed = self.push_packed(reference, Naming::Tag, lease, progress, |departures| {
            let outgoing = self.pack_for_registry(&ids, packing, &[], lease, departures)?;
            self.with_stated(&ids, &reference.clone().with_default_tag(), outgoing, lease, departures)
        })?;
        self.record_pushed(reference, &members, pushed.digest)?;
        self.tell_moved("push", reference);
        Ok(pushed)
    }

    /// Packs images of the store, telling of each layer; several become an index.
    pub fn pack_for_registry(
        &self,
        ids: &[ImageId],
        packing: Packing,
        annotations: &[Annotation],
        lease: &Lease,
        departures: &dyn Departures,
    ) -> Result<Outgoing, ImagesError> {
        let pack = |id: &ImageId| self.pack_telling(*id, packing, lease, departures);
        let images = ids.iter().map(pack).collect::<Result<Vec<_>, _>>()?;
        Ok(Outgoing::new(images, annotations))
    }

    /// As [`Images::pack_for_registry`], for images that were built here and are not kept.
    pub fn pack_built_for_registry(
        &self,
        built: Vec<BuiltImage<'_>>,
        packing: Packing,
        annotations: &[Annotation],
        lease: &Lease,
        departures: &dyn Departures,
    ) -> Result<(Vec<ImageId>, Outgoing), ImagesError> {
        let pack = |built| self.pack_built_telling(built, packing, lease, departures);
        let packed = built.into_iter().map(pack).collect::<Result<Vec<_>, _>>()?;
        let (ids, images) = packed.into_iter().unzip();
        Ok((ids, Outgoing::new(images, annotations)))
    }

    /// Pushes what is being packed under a name.
    pub fn push_packed(
        &self,
        reference: &Reference,
        naming: Naming,
        lease: &Lease,
        progress: &dyn Progress,
        pack: impl FnOnce(&dyn Departures) -> Result<Outgoing, ImagesError> + Send,
    ) -> Result<PushedImage, ImagesError> {
        // The layers were found or made under it, and stay until they have left.
        let _held = lease;
        let reference = reference.clone().with_default_tag();
        let network = self.network()?;
        let (sender, departures) = mpsc::unbounded_channel();
        let (sent, outgoing) = thread::scope(|scope| {
            let packing = scope.spawn(move || pack(&HandedOn::new(sender)));
            let layers = self.push_layers(&reference, departures, progress);
            let sent = network.runtime.wait(self.unless_cancelled(layers));
            let outgoing = match packing.join() {
                Ok(outgoing) => outgoing,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            (sent, outgoing)
        });
        // Where sending failed, packing was only told to end.
        sent?;
        let outgoing = outgoing?;
        network.runtime.wait(self.unless_cancelled(push_documents(
            &network.client,
            &reference,
            naming,
            &outgoing,
        )))
    }

    /// Waits for a transfer for as long as nobody gives up.
    pub(crate) async fn unless_cancelled<T>(
        &self,
        transfer: impl Future<Output = Result<T, ImagesError>>,
    ) -> Result<T, ImagesError> {
        const TICK: std::time::Duration = std::time::Duration::from_millis(50);
        let mut transfer = std::pin::pin!(transfer);
        loop {
            match tokio::time::timeout(TICK, &mut transfer).await {
                Ok(result) => return result,
                Err(_) if self.options.cancel.is_cancelled() => {
                    return Err(ImagesError::io("go on", io::Error::other("it was cancelled")));
                }
                Err(_) => {}
            }
        }
    }

    async fn push_layers(
        &self,
        reference: &Reference,
        departures: mpsc::UnboundedReceiver<Departure>,
        progress: &dyn Progress,
    ) -> Result<(), ImagesError> {
        futures_util::stream::unfold(departures, async |mut layers| Some((layers.recv().await?, layers)))
            .map(|departure| async move {
                match departure {
                    Departure::Packed(layer) => self.push_layer(reference, &layer, None, progress).await,
                    Departure::Growing(layer, packed) => {
                        self.push_growing(reference, layer, packed, progress).await
                    }
                }
            })
            .buffer_unordered(PARALLEL)
            .try_collect::<()>()
            .await
    }

    /// Sends a layer while it is packed, and ends its upload when its digest is known: from then on, what has left of it is
    /// told and remembered, too.
    async fn push_growing(
        &self,
        reference: &Reference,
        layer: GrowingLayer,
        packed: oneshot::Receiver<Descriptor>,
        progress: &dyn Progress,
    ) -> Result<(), ImagesError> {
        let client = &self.network()?.client;
        let upload = client.begin_growing(reference).await.map_err(|error| refused(reference, error))?;
        let (repository, known) = (reference.name(), OnceLock::<Descriptor>::new());
        let leaving = |layer| Leaving { images: self, layer, sent: None, repository: &repository, progress };
        let told = |bytes| known.get().into_iter().for_each(|layer| leaving(layer).sent(bytes));
        let named = async {
            if let Ok(layer) = packed.await {
                leaving(known.get_or_init(|| layer)).begun(upload.url());
            }
        };
        let (sent, ()) = join(upload.send(layer.pieces(), &told), named).await;
        // Whoever gave it up tells why.
        let Some(layer) = known.get() else { return Ok(()) };
        self.push_layer(reference, layer, Some(sent), progress).await
    }

    async fn push_layer(
        &self,
        reference: &Reference,
        layer: &Descriptor,
        sent: Option<Unfinished>,
        progress: &dyn Progress,
    ) -> Result<(), ImagesError> {
        progress.layer(layer.digest, LayerState::Waiting);
        let repository = reference.name();
        // Two that go on with one upload would spoil it for each other; who comes second finds the layer there.
        let name = LockName::new(LockClass::Blob, format!("{} to {repository}", layer.digest));
        let (scope, cancel) = (self.store.locks().scope(), self.options.cancel.clone());
        let _lock =
            elsewhere(move || scope.acquire(&name, LockMode::Exclusive, &Wait::until(&cancel))).await?;
        let places = self.store.read(|tx| rows::places_of_blob(tx, layer.digest))?;
        let other = places.iter().filter_map(|place| place.parse::<Reference>().ok()).find(|place| {
            place.registry() == reference.registry() && place.repository() != reference.repository()
        });
        let sender = Leaving { images: self, layer, sent, repository: &repository, progress };
        let mount_from = other.as_ref().map(Reference::repository);
        let upload = Upload { descriptor: layer, sender: &sender, mount_from };
        let client = &self.network()?.client;
        let pushed = client.push_blob(reference, upload).await.map_err(|error| refused(reference, error))?;
        self.store.write(|tx| rows::add_place(tx, layer.digest, &repository))?;
        let state = match pushed {
            Pushed::Present => LayerState::AlreadyExists,
            Pushed::Mounted => LayerState::Mounted,
            Pushed::Sent => LayerState::Complete,
        };
        progress.layer(layer.digest, state);
        Ok(())
    }

    /// Remembers by which digest a registry knows images of the store.
    pub fn record_pushed(
        &self,
        reference: &Reference,
        members: &[Member],
        digest: BlobDigest,
    ) -> Result<(), ImagesError> {
        let Some(meant) = platforms::primary(members) else { return Ok(()) };
        let Ok(by_digest) = format!("{}@{digest}", reference.name()).parse::<Reference>() else {
            return Ok(());
        };
        let stamp = self.store.stamp();
        self.store.write(|tx| -> Result<(), ImagesError> {
            rows::set_name(tx, &by_digest, meant, Some(stamp))?;
            Ok(platforms::set(tx, &platforms::stored(&by_digest), members, Some(stamp))?)
        })
    }
}

/// A layer of the store on its way.
struct Leaving<'a> {
    images: &'a Images,
    layer: &'a Descriptor,
    /// What left of it while it was packed.
    sent: Option<Unfinished>,
    repository: &'a str,
    progress: &'a dyn Progress,
}

impl Sender for Leaving<'_> {
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let file = self.images.blobs.open(self.layer.digest).map_err(io::Error::other)?;
        let mut file = file.ok_or(io::ErrorKind::NotFound)?;
        file.seek(io::SeekFrom::Start(from))?;
        Ok(Box::new(file))
    }

    fn sent(&self, bytes: u64) {
        let state = LayerState::Transferring { current: bytes, total: self.layer.size };
        self.progress.layer(self.layer.digest, state);
    }

    // What is remembered saves work; a push does not fail for it.
    fn unfinished(&self) -> Option<Unfinished> {
        let known = |url| Unfinished { url, taken: None };
        let begun = || self.images.store.read(|tx| rows::upload(tx, self.layer.digest, self.repository));
        self.sent.clone().or_else(|| begun().ok().flatten().map(known))
    }

    fn begun(&self, url: &str) {
        let _ = self.images.store.write(|tx| rows::set_upload(tx, self.layer.digest, self.repository, url));
    }
}

/// Pushes configs, manifests and the index, the one with the name last.
async fn push_documents(
    client: &Client,
    reference: &Reference,
    naming: Naming,
    outgoing: &Outgoing,
) -> Result<PushedImage, ImagesError> {
    let failed = |error| refused(reference, error);
    let nameless = untagged(reference);
    let configs: Vec<_> = outgoing
        .images
        .iter()
        .map(|image| (Descriptor::of(image.manifest.config.media_type.as_str(), &image.config), image))
        .collect();
    let senders: Vec<&[u8]> = configs.iter().map(|(_, image)| &image.config[..]).collect();
    let uploads: Vec<_> = configs
        .iter()
        .zip(&senders)
        .map(|((descriptor, _), sender)| Upload { descriptor, sender, mount_from: None })
        .collect();
    client.push_blobs(reference, &uploads, PARALLEL).await.map_err(failed)?;
    let (top, media_type) =
        outgoing.top().ok_or_else(|| ImagesError::Archive("there is no image to push".to_owned()))?;
    if outgoing.index.is_some() {
        for image in &outgoing.images {
            let media_type = image.manifest.media_type();
            client.push_manifest(&nameless, &image.manifest_bytes, media_type).await.map_err(failed)?;
        }
    }
    let named = if naming == Naming::Tag { reference } else { &nameless };
    let digest = client.push_manifest(named, top, media_type).await.map_err(failed)?;
    Ok(PushedImage { digest, size: top.len() as u64 })
}

fn refused(reference: &Reference, source: ClientError) -> ImagesError {
    ImagesError::Push { what: reference.familiar(), source }
}

/// The repository of a reference, without a tag.
fn untagged(reference: &Reference) -> Reference {
    reference.name().parse().unwrap_or_else(|_| reference.clone())
}
