//! Images from registries.

use std::io::{self, Write as _};
use std::thread;
use std::time::Duration;

use futures_util::StreamExt as _;
use rbuild_cache::blobs::{Blob, Blobs, PartialBlob};
use rbuild_image::distribution::{Client, ClientError, Fetched, Receiver};
use rbuild_image::manifest::{Descriptor, Document, Manifest, parse_strict};
use rbuild_model::digest::{BlobDigest, ChainId, DiffId, ImageId};
use rbuild_model::image_config::ImageConfig;
use rbuild_model::platform::Platform;
use rbuild_model::reference::Reference;
use rbuild_model::snapshot::Chain;
use rbuild_store::{Cancel, Lease, LockMode, Wait};

use crate::arrivals::{Arrival, Arrivals};
use crate::bases::{self, Asker};
use crate::error::ImagesError;
use crate::images::Images;
use crate::platforms::{self, Member};
use crate::progress::{LayerState, Progress};
use crate::rows::{self, ImageRow};
use crate::unpack::PendingLayer;

/// How many layers are fetched at a time.
const PARALLEL: usize = 4;
/// How long what came of a layer is kept for a pull that goes on with it.
const KEEP_PARTS: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How many indexes may stand in one another.
const MAX_INDEX_DEPTH: usize = 4;

/// When a registry is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// If the image is not here.
    Missing,
    /// In any case.
    Always,
    /// Not at all.
    Never,
}

/// An image that was pulled.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// The image.
    pub image: ImageId,
    /// The digest of the manifest or index that the reference names.
    pub digest: BlobDigest,
    /// Whether the name pointed to this image before.
    pub up_to_date: bool,
}

/// An image that is ready to be built on or run.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The image.
    pub image: ImageId,
    /// The digest of the manifest or index that the reference names, where it is known: what a build is pinned to.
    pub digest: Option<BlobDigest>,
    /// The config.
    pub config: ImageConfig,
    /// The snapshots of its layers.
    pub chain: Chain,
}

/// An image as its registry describes it, before any layer is fetched.
struct Remote {
    top: Fetched,
    /// The manifest, if the reference names an index.
    chosen: Option<Fetched>,
    manifest: Manifest,
    config_bytes: Vec<u8>,
    config: ImageConfig,
}

impl Remote {
    fn manifest_document(&self) -> &Fetched {
        self.chosen.as_ref().unwrap_or(&self.top)
    }
}

impl Images {
    /// Finds an image for a platform and makes its layers ready, pulling as the policy says.
    ///
    /// An image that is here under the name but for another platform is taken for missing.
    pub fn resolve(
        &self,
        reference: &Reference,
        platform: &Platform,
        policy: PullPolicy,
        lease: &Lease,
        progress: &dyn Progress,
    ) -> Result<Resolved, ImagesError> {
        self.resolve_for(Asker::Person, reference, platform, policy, lease, progress)
    }

    /// As [`Images::resolve`], for a build that stands on the image: what is pulled for that alone goes again when room is
    /// short, though it has a tag.
    pub fn resolve_base(
        &self,
        reference: &Reference,
        platform: &Platform,
        policy: PullPolicy,
        lease: &Lease,
        progress: &dyn Progress,
    ) -> Result<Resolved, ImagesError> {
        self.resolve_for(Asker::Build, reference, platform, policy, lease, progress)
    }

    fn resolve_for(
        &self,
        asker: Asker,
        reference: &Reference,
        platform: &Platform,
        policy: PullPolicy,
        lease: &Lease,
        progress: &dyn Progress,
    ) -> Result<Resolved, ImagesError> {
        let reference = reference.clone().with_default_tag();
        if policy != PullPolicy::Always
            && let Some(found) = self.resolve_here(&reference, platform, policy, lease, progress)?
        {
            self.chosen_by(asker, &reference)?;
            return Ok(found);
        }
        if policy == PullPolicy::Never {
            return Err(ImagesError::PullIsOff(reference.familiar()));
        }
        let pulled = self.pull_for(asker, &reference, platform, lease, progress)?;
        self.ready(pulled.image, Some(pulled.digest), lease, progress)
    }

    fn resolve_here(
        &self,
        reference: &Reference,
        platform: &Platform,
        policy: PullPolicy,
        lease: &Lease,
        progress: &dyn Progress,
    ) -> Result<Option<Resolved>, ImagesError> {
        let found = self.store.read(|tx| -> Result<_, ImagesError> {
            let name = platforms::stored(reference);
            let Some(image) = rows::named(tx, &name)? else { return Ok(None) };
            let members = platforms::members(tx, &name)?;
            let names = rows::names_of(tx, image)?;
            let digest =
                names.iter().filter(|other| other.name() == reference.name()).find_map(Reference::digest);
            Ok(Some((platforms::select(&members, platform).unwrap_or(image), reference.digest().or(digest))))
        })?;
        let Some((image, digest)) = found else { return Ok(None) };
        if !platform.can_run(&self.config(image)?.platform()) {
            return Ok(None);
        }
        match self.ready(image, digest, lease, progress) {
            Err(ImagesError::Incomplete(_) | ImagesError::NotFound(_)) if policy == PullPolicy::Missing => {
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// Makes the layers of an image that is here ready: those that lost their trees are unpacked again, and
    /// fetched again if it is known where from.
    pub fn ready(
        &self,
        image: ImageId,
        digest: Option<BlobDigest>,
        lease: &Lease,
        progress: &dyn Progress,
    ) -> Result<Resolved, ImagesError> {
        let config = self.config(image)?;
        let diff_ids = &config.rootfs.diff_ids;
        let mut chain = self.find_chain(Some(image), diff_ids, lease)?;
        if chain.len() < diff_ids.len() {
            chain = self.restore(image, diff_ids, chain, lease, progress)?;
        }
        Ok(Resolved { image, digest, config, chain })
    }

    fn restore(
        &self,
        image: ImageId,
        diff_ids: &[DiffId],
        chain: Chain,
        lease: &Lease,
        progress: &dyn Progress,
    ) -> Result<Chain, ImagesError> {
        let mut layers = Vec::new();
        let mut origin = None;
        for diff_id in &diff_ids[chain.len()..] {
            let packed = self.store.read(|tx| rows::packed(tx, *diff_id))?;
            let row = packed.into_iter().next().ok_or(ImagesError::Incomplete(image))?;
            let descriptor = Descriptor::new(row.media_type, row.digest, row.size);
            let format = descriptor.media_type.layer_format().ok_or(ImagesError::Incomplete(image))?;
            origin = origin.or_else(|| row.origin.clone());
            layers.push(PendingLayer { descriptor, format, diff_id: *diff_id, origin: row.origin });
        }
        let source = origin.and_then(|origin| origin.parse::<Reference>().ok());
        let chain_id = ChainId::of(&diff_ids[..chain.len()]);
        let restored = self.fetch_and_unpack(source.as_ref(), chain, chain_id, &layers, lease, progress);
        restored.map_err(|error| match error {
            ImagesError::Registry { source, .. } if source.is_not_found() => ImagesError::Incomplete(image),
            other => other,
        })
    }

    /// Fetches an image for a platform and points its names to it.
    pub fn pull(
        &self,
        reference: &Reference,
        platform: &Platform,
        lease: &Lease,
        progress: &dyn Progress,
    ) -> Result<Pulled, ImagesError> {
        let pulled = self.pull_for(Asker::Person, reference, platform, lease, progress)?;
        self.tell_moved("pull", reference);
        Ok(pulled)
    }

    fn pull_for(
        &self,
        asker: Asker,
        reference: &Reference,
        platform: &Platform,
        lease: &Lease,
        progress: &dyn Progress,
    ) -> Result<Pulled, ImagesError> {
        let reference = reference.clone().with_default_tag();
        if let Some(pulled) = self.remembered(&reference, platform, lease, progress)? {
            self.chosen_by(asker, &reference)?;
            return Ok(pulled);
        }
        let network = self.network()?;
        let remote = network.runtime.wait(describe(&network.client, &reference, platform))?;
        let what = reference.familiar();
        let diff_ids = remote.config.rootfs.diff_ids.clone();
        let layers = PendingLayer::of_image(&what, &remote.manifest, &diff_ids, Some(&reference.name()))?;
        if !platform.can_run(&remote.config.platform()) {
            progress.note(&format!(
                "image with reference {what} was found but its platform ({}) does not match the specified platform ({platform})",
                remote.config.platform()
            ));
        }
        let chain = self.find_chain(None, &diff_ids, lease)?;
        let present = chain.len();
        for layer in &layers[..present] {
            progress.layer(layer.descriptor.digest, LayerState::AlreadyExists);
        }
        let chain_id = ChainId::of(&diff_ids[..present]);
        self.fetch_and_unpack(Some(&reference), chain, chain_id, &layers[present..], lease, progress)?;
        self.record_forms(&layers)?;
        self.record_pulled(asker, &reference, &remote, lease)
    }

    /// A name that only builds used stays from now on if a person asks for it.
    fn chosen_by(&self, asker: Asker, reference: &Reference) -> Result<(), ImagesError> {
        let name = platforms::stored(reference);
        if asker == Asker::Person && self.store.read(|tx| bases::is_base(tx, &name))? {
            self.store.write(|tx| bases::choose(tx, &name))?;
        }
        Ok(())
    }

    /// Takes what a tag named a while ago for what it names, if all of that is here.
    fn remembered(
        &self,
        reference: &Reference,
        platform: &Platform,
        lease: &Lease,
        progress: &dyn Progress,
    ) -> Result<Option<Pulled>, ImagesError> {
        let Some(lifetime) = self.options.remember_tags else { return Ok(None) };
        if reference.digest().is_some() {
            return Ok(None);
        }
        let name = reference.to_string();
        let (known, means) = self
            .store
            .read(|tx| Ok::<_, ImagesError>((rows::remembered(tx, &name)?, rows::named(tx, &name)?)))?;
        let Some((digest, asked_at)) = known else { return Ok(None) };
        // A clock that was set back makes nothing younger.
        let age = u64::try_from(rows::now_s() - asked_at).unwrap_or(u64::MAX);
        if age >= lifetime.as_secs() || means.is_none() {
            return Ok(None);
        }
        let by_digest = reference.clone().with_digest(digest);
        let found = self.resolve_here(&by_digest, platform, PullPolicy::Missing, lease, progress)?;
        // Whoever gave the name to something else here wants the registry's again.
        let named = self.store.read(|tx| rows::named(tx, &platforms::stored(&by_digest)))?;
        Ok(found.filter(|_| named == means).map(|found| Pulled {
            image: found.image,
            digest,
            up_to_date: true,
        }))
    }

    fn record_pulled(
        &self,
        asker: Asker,
        reference: &Reference,
        remote: &Remote,
        lease: &Lease,
    ) -> Result<Pulled, ImagesError> {
        let image = ImageId::of_config(remote.manifest.config.digest);
        let row = ImageRow {
            id: image,
            config: remote.config_bytes.clone(),
            parent: None,
            added_at: rows::now_s(),
            origin: Some(reference.name()),
        };
        let top = remote.top.digest;
        let manifest = remote.manifest_document();
        let stamp = || Some(self.store.stamp());
        let up_to_date = self.store.write(|tx| -> Result<_, ImagesError> {
            rows::add_image(tx, &row, &remote.config.rootfs.diff_ids, stamp())?;
            rows::use_image(tx, image, lease)?;
            rows::add_manifest(tx, image, manifest.digest, manifest.media_type.as_str(), &manifest.bytes)?;
            let by_digest = Reference::clone(reference).without_digest();
            let by_digest = format!("{}@{top}", by_digest.name());
            // Platforms of the same index that came before are not lost; of an image that is in none there is one.
            let mut members = platforms::members(tx, &by_digest)?;
            if members.is_empty()
                && let Some(only) = rows::named(tx, &by_digest)?
                && let Some(row) = rows::image(tx, only)?
            {
                let platform = parse_config(&by_digest, &row.config)?.platform();
                members.push(Member { platform, image: only });
            }
            let known = members.iter().any(|member| member.image == image);
            let platform = remote.config.platform();
            members.retain(|member| member.platform != platform && member.image != image);
            members.push(Member { platform, image });
            members.sort_by_key(|member| member.platform.to_string());
            let meant = platforms::primary(&members).unwrap_or(image);
            let mut before = None;
            let tag = (reference.tag().is_some() && reference.digest().is_none()).then(|| reference.clone());
            for name in by_digest.parse().ok().into_iter().chain(tag) {
                let stored = platforms::stored(&name);
                let is_base = asker.names_base(tx, &stored)?;
                before = rows::set_name(tx, &name, meant, stamp())?;
                platforms::set(tx, &stored, &members, stamp())?;
                if is_base {
                    bases::add(tx, &stored)?;
                }
            }
            if reference.digest().is_none() {
                rows::remember(tx, &reference.to_string(), top)?;
            }
            Ok(before == Some(meant) && known)
        })?;
        Ok(Pulled { image, digest: top, up_to_date })
    }

    /// Fetches the layers that are not here as blobs, and unpacks all of them on top of a stack.
    fn fetch_and_unpack(
        &self,
        source: Option<&Reference>,
        base: Chain,
        base_id: Option<ChainId>,
        layers: &[PendingLayer],
        lease: &Lease,
        progress: &dyn Progress,
    ) -> Result<Chain, ImagesError> {
        if layers.is_empty() {
            return Ok(base);
        }
        let arrivals = &Arrivals::of(layers.len());
        let (fetched, unpacked) = thread::scope(|scope| {
            let unpacking =
                scope.spawn(move || self.unpack(base, base_id, layers, arrivals, lease, progress));
            let fetched = self.fetch_layers(source, layers, arrivals, lease, progress);
            let unpacked = match unpacking.join() {
                Ok(unpacked) => unpacked,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            (fetched, unpacked)
        });
        // An error of unpacking stops the fetching, so it goes first.
        let chain = unpacked?;
        fetched?;
        chain.ok_or_else(|| ImagesError::Archive("layers are missing".to_owned()))
    }

    fn fetch_layers(
        &self,
        source: Option<&Reference>,
        layers: &[PendingLayer],
        arrivals: &Arrivals,
        lease: &Lease,
        progress: &dyn Progress,
    ) -> Result<(), ImagesError> {
        // However this ends, the other side does not wait for layers that will not come.
        let _source = arrivals.source();
        let digests: Vec<_> = layers.iter().map(|layer| layer.descriptor.digest).collect();
        let here = self.blobs.find(&digests, lease)?;
        let mut missing = Vec::new();
        for (index, (found, layer)) in here.iter().zip(layers).enumerate() {
            // The row of a blob that was lost is a miss.
            if found.is_some() && self.blobs.open(layer.descriptor.digest)?.is_some() {
                progress.layer(layer.descriptor.digest, LayerState::Transferred);
                arrivals.get(index).complete();
            } else {
                progress.layer(layer.descriptor.digest, LayerState::Waiting);
                missing.push(index);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let Some(source) = source else {
            return Err(ImagesError::Archive(
                "a layer is not here and it is not known where to fetch it".to_owned(),
            ));
        };
        // What nobody went on with does not stay for ever; if it cannot be removed now, it stays for a sweep.
        let _ = self.blobs.forget_parts(KEEP_PARTS);
        let network = self.network()?;
        network.runtime.wait(async {
            let mut transfers = futures_util::stream::iter(missing)
                .map(|index| {
                    let wanted = Wanted { descriptor: &layers[index].descriptor, place: index, arrivals };
                    self.fetch_layer(&network.client, source, wanted, lease, progress)
                })
                .buffer_unordered(PARALLEL);
            while let Some(done) = transfers.next().await {
                // The other side has failed: what it has to say matters more.
                done?;
                if arrivals.is_refused() {
                    break;
                }
            }
            Ok(())
        })
    }

    async fn fetch_layer(
        &self,
        client: &Client,
        source: &Reference,
        wanted: Wanted<'_>,
        lease: &Lease,
        progress: &dyn Progress,
    ) -> Result<(), ImagesError> {
        let descriptor = wanted.descriptor;
        let name = Blobs::download(descriptor.digest);
        let scope = self.store.locks().scope();
        let cancel = self.options.cancel.clone();
        // Waiting for another process must not hold up the other transfers of this thread.
        let lock =
            elsewhere(move || scope.acquire(&name, LockMode::Exclusive, &Wait::until(&cancel))).await?;
        if self.blobs.find(&[descriptor.digest], lease)?.first().is_some_and(Option::is_some)
            && self.blobs.open(descriptor.digest)?.is_some()
        {
            progress.layer(descriptor.digest, LayerState::Transferred);
            wanted.arrival().complete();
            return Ok(());
        }
        let blobs = self.blobs.clone();
        let expected = Blob { digest: descriptor.digest, size: descriptor.size };
        // Nor must the reading of what is here already.
        let part = elsewhere(move || blobs.resume(expected, lock)).await?;
        let mut incoming = Incoming { cancel: &self.options.cancel, wanted, part, progress };
        client.blob(source, descriptor, &mut incoming).await.map_err(|error| registry(source, error))?;
        incoming.part.finish(lease)?;
        progress.layer(descriptor.digest, LayerState::Transferred);
        wanted.arrival().complete();
        Ok(())
    }
}

/// Does on another thread what would hold up this one.
pub(crate) async fn elsewhere<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

/// A layer that is fetched, and who waits for it.
#[derive(Clone, Copy)]
struct Wanted<'a> {
    descriptor: &'a Descriptor,
    place: usize,
    arrivals: &'a Arrivals,
}

impl<'a> Wanted<'a> {
    fn arrival(self) -> &'a Arrival {
        self.arrivals.get(self.place)
    }
}

/// A layer on its way: into the part of its blob, from which it is unpacked at the same time.
struct Incoming<'a> {
    cancel: &'a Cancel,
    wanted: Wanted<'a>,
    part: PartialBlob,
    progress: &'a dyn Progress,
}

impl Receiver for Incoming<'_> {
    fn resume(&mut self) -> io::Result<u64> {
        self.wanted.arrival().begin(self.part.as_file().try_clone()?, self.part.written());
        Ok(self.part.written())
    }

    fn digest(&self) -> Option<BlobDigest> {
        Some(self.part.digest())
    }

    fn receive(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("it was cancelled"));
        }
        if self.wanted.arrivals.is_refused() {
            // What the other side has to say matters more.
            return Err(io::Error::other("it is not wanted any more"));
        }
        self.part.write_all(bytes)?;
        let current = self.part.written();
        self.wanted.arrival().advance(current);
        let Descriptor { digest, size, .. } = *self.wanted.descriptor;
        self.progress.layer(digest, LayerState::Transferring { current, total: size });
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        self.wanted.arrival().restart();
        self.part.restart()
    }
}

pub(crate) fn registry(reference: &Reference, source: ClientError) -> ImagesError {
    ImagesError::Registry { what: reference.familiar(), source }
}

/// Reads a config, strictly.
pub(crate) fn parse_config(what: &str, bytes: &[u8]) -> Result<ImageConfig, ImagesError> {
    let value = parse_strict(bytes).map_err(|error| ImagesError::Config(what.to_owned(), error))?;
    serde_json::from_value(value).map_err(|error| {
        ImagesError::Config(what.to_owned(), rbuild_image::manifest::JsonError::Syntax(error))
    })
}

/// Asks a registry what an image is for a platform: index, manifest, config.
async fn describe(
    client: &Client,
    reference: &Reference,
    platform: &Platform,
) -> Result<Remote, ImagesError> {
    let top = client.manifest(reference).await.map_err(|error| registry(reference, error))?;
    let mut chosen: Option<Fetched> = None;
    let mut depth = 0;
    let manifest = loop {
        let document = &chosen.as_ref().unwrap_or(&top).document;
        match document {
            Document::Manifest(manifest) => break manifest.clone(),
            Document::Index(index) => {
                depth += 1;
                if depth > MAX_INDEX_DEPTH {
                    return Err(ImagesError::Inconsistent {
                        what: reference.familiar(),
                        why: format!("more than {MAX_INDEX_DEPTH} indexes in one another"),
                    });
                }
                let entry = index
                    .select(platform)
                    .map_err(|source| ImagesError::Platform { what: reference.familiar(), source })?;
                let by_digest = reference.clone().with_digest(entry.digest);
                let fetched =
                    client.manifest(&by_digest).await.map_err(|error| registry(reference, error))?;
                if fetched.bytes.len() as u64 != entry.size {
                    return Err(ImagesError::Inconsistent {
                        what: reference.familiar(),
                        why: format!("the manifest {} has not the size that the index says", entry.digest),
                    });
                }
                chosen = Some(fetched);
            }
        }
    };
    let config_bytes =
        client.small_blob(reference, &manifest.config).await.map_err(|error| registry(reference, error))?;
    let config = parse_config(&reference.familiar(), &config_bytes)?;
    Ok(Remote { top, chosen, manifest, config_bytes, config })
}
