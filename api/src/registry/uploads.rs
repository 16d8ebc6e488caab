//! Blobs that come: at once, in pieces, or from another repository.
//!
//! An upload has one of so many places from its beginning to its end, whether somebody writes to it or not. What it brings
//! goes to the disk piece by piece, apart from connections; the blob's writer reserves room just ahead of that, and none is
//! taken of what is to stay free on the disk.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_RANGE, LOCATION, RANGE};
use hyper::{Method, Request, Response, StatusCode};
use rbuild_cache::blobs::{BlobError, BlobWriter, Expected};
use rbuild_images::ImagesError;
use rbuild_model::digest::BlobDigest;
use rbuild_model::reference::Reference;
use rbuild_store::{RoomError, UniqueId};
use tokio::sync::Notify;

use super::answer::{Body, Refused, empty};
use super::lists::parameter;
use super::patience::{Arriving, BrokenOff};
use super::serve::{Bounds, Shared};

/// How much is gathered before it is written.
const PIECE: usize = 256 << 10;

/// The uploads that have begun and not ended.
pub(super) struct Uploads {
    bounds: Bounds,
    all: Mutex<HashMap<String, Upload>>,
    /// There is another one that rests.
    rests: Notify,
}

/// An upload.
enum Upload {
    /// Nobody writes to it at the moment.
    Resting(Box<Resting>),
    /// It is in the hands of a request, and nobody else goes on with it.
    UnderWay,
}

struct Resting {
    repository: String,
    writer: BlobWriter,
    life: Life,
}

/// How long an upload has been kept.
#[derive(Clone, Copy)]
struct Life {
    /// When it last brought something worth waiting for.
    since: Instant,
    /// How much it had by then.
    bytes: u64,
}

/// An upload in the hands of a request. It rests when that lets go of it, however that comes.
struct Held {
    uploads: Arc<Uploads>,
    id: String,
    repository: String,
    writer: Option<BlobWriter>,
    life: Life,
    afterwards: Afterwards,
}

/// What becomes of an upload that a request lets go of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Afterwards {
    /// It rests.
    Rests,
    /// It is given up.
    Goes,
}

impl Uploads {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, all: Mutex::default(), rests: Notify::new() }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Upload>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place for a new one.
    fn begin(self: &Arc<Self>, repository: &str, afterwards: Afterwards) -> Result<Held, Refused> {
        let id = UniqueId::random().map_err(|_| Refused::failed())?.to_string();
        let mut all = self.all();
        if all.len() >= self.bounds.uploads {
            let message = "too many uploads have begun and not ended";
            return Err(Refused::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", message));
        }
        all.insert(id.clone(), Upload::UnderWay);
        let life = Life { since: Instant::now(), bytes: 0 };
        let (uploads, repository) = (Arc::clone(self), repository.to_owned());
        Ok(Held { uploads, id, repository, writer: None, life, afterwards })
    }

    /// Takes one that rests into the hands of a request.
    fn take(self: &Arc<Self>, id: &str, repository: &str) -> Result<Held, Refused> {
        let mut all = self.all();
        let entry = all.get_mut(id).ok_or_else(Refused::no_upload)?;
        match std::mem::replace(entry, Upload::UnderWay) {
            Upload::Resting(resting) if resting.repository == repository => {
                let Resting { repository, writer, life } = *resting;
                let (uploads, id, writer) = (Arc::clone(self), id.to_owned(), Some(writer));
                Ok(Held { uploads, id, repository, writer, life, afterwards: Afterwards::Rests })
            }
            other => {
                *entry = other;
                Err(Refused::no_upload())
            }
        }
    }

    /// Takes those out that nobody went on with for too long; tells when the next one is due.
    fn expired(&self) -> (Vec<BlobWriter>, Option<Instant>) {
        let mut all = self.all();
        let now = Instant::now();
        let due = |upload: &Upload| match upload {
            Upload::Resting(resting) => resting.life.since.checked_add(self.bounds.upload_kept),
            Upload::UnderWay => None,
        };
        let gone = all.extract_if(|_, upload| due(upload).is_some_and(|due| due <= now));
        let gone = gone.filter_map(|(_, upload)| match upload {
            Upload::Resting(resting) => Some(resting.writer),
            Upload::UnderWay => None,
        });
        (gone.collect(), all.values().filter_map(due).min())
    }
}

/// Gives up what nobody goes on with, for as long as the server runs.
pub(super) async fn give_up(shared: Arc<Shared>) {
    loop {
        let (gone, next) = shared.uploads.expired();
        if !gone.is_empty() {
            let _ = tokio::task::spawn_blocking(move || drop(gone)).await;
            shared.freed.notify_one();
        }
        match next {
            None => shared.uploads.rests.notified().await,
            Some(due) => tokio::select! {
                () = tokio::time::sleep_until(due.into()) => {}
                () = shared.uploads.rests.notified() => {}
            },
        }
    }
}

impl Held {
    fn written(&self) -> u64 {
        self.writer.as_ref().map_or(0, BlobWriter::written)
    }

    /// Ends the upload: what came, if anything did.
    fn end(mut self) -> Option<BlobWriter> {
        self.writer.take()
    }

    /// Writes pieces of a body where there is room for them; blocks.
    fn write(&mut self, pieces: &[Bytes]) -> Result<(), Refused> {
        let Some(writer) = &mut self.writer else { return Err(Refused::failed()) };
        let more: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        let written = fits(writer, more, &self.uploads.bounds).and_then(|()| {
            pieces.iter().try_for_each(|piece| writer.write_all(piece)).map_err(|_| no_room())
        });
        if written.is_err() {
            // What cannot be brought to its end does not keep the room of others.
            self.afterwards = Afterwards::Goes;
        }
        written
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut all = self.uploads.all();
        match self.writer.take() {
            Some(writer) if self.afterwards == Afterwards::Rests => {
                // Drips do not make it young again.
                let written = writer.written();
                if written >= self.life.bytes.saturating_add(self.uploads.bounds.rate.bytes) {
                    self.life = Life { since: Instant::now(), bytes: written };
                }
                let repository = std::mem::take(&mut self.repository);
                let resting = Resting { repository, writer, life: self.life };
                all.insert(std::mem::take(&mut self.id), Upload::Resting(Box::new(resting)));
                drop(all);
                self.uploads.rests.notify_one();
            }
            writer => {
                all.remove(&self.id);
                drop((all, writer));
            }
        }
    }
}

fn no_room() -> Refused {
    Refused::new(StatusCode::INSUFFICIENT_STORAGE, "BLOB_UPLOAD_INVALID", "the store has no room for it")
}

/// Refuses what would fill the disk.
fn fits(writer: &BlobWriter, more: u64, bounds: &Bounds) -> Result<(), Refused> {
    let free = writer.free().map_err(|_| Refused::failed())?;
    if free < bounds.keep_free.saturating_add(more) { Err(no_room()) } else { Ok(()) }
}

/// Begins an upload; does it at once where the digest is given, or takes the blob over from another repository.
pub(super) async fn begin(
    shared: &Arc<Shared>,
    repository: Reference,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    if request.method() != Method::POST {
        return Err(Refused::no_method());
    }
    let query = request.uri().query().unwrap_or_default().to_owned();
    let path = request.uri().path().to_owned();
    if let Some(mount) = parameter(&query, "mount") {
        let digest = digest(&mount)?;
        let name = repository.name();
        if shared.with_images(&path, move |images| images.shelve_known(&name, digest)).await? {
            return Ok(stored(&repository, digest));
        }
    }
    let wanted = parameter(&query, "digest").map(|wanted| digest(&wanted)).transpose()?;
    let afterwards = if wanted.is_some() { Afterwards::Goes } else { Afterwards::Rests };
    let mut held = shared.uploads.begin(&repository.name(), afterwards)?;
    let writer = shared.with_images(&path, |images| match images.blobs().ingest(Expected::default()) {
        Ok(writer) => Ok(Some(writer)),
        Err(BlobError::Room(RoomError::Full { .. })) => Ok(None),
        Err(error) => Err(error.into()),
    });
    held.writer = Some(writer.await?.ok_or_else(no_room)?);
    match wanted {
        Some(wanted) => {
            let held = receive(shared, held, request).await?;
            close(shared, &repository, &path, held, wanted).await
        }
        None => Ok(accepted(StatusCode::ACCEPTED, &repository, &held.id, 0)),
    }
}

/// Goes on with an upload, ends it, gives it up, or says how far it is.
pub(super) async fn go_on(
    shared: &Arc<Shared>,
    repository: Reference,
    id: &str,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    if !matches!(method, Method::GET | Method::PATCH | Method::PUT | Method::DELETE) {
        return Err(Refused::no_method());
    }
    let held = shared.uploads.take(id, &repository.name())?;
    let written = held.written();
    if method == Method::DELETE {
        let given_up = held.end();
        let _ = tokio::task::spawn_blocking(move || drop(given_up)).await;
        return Ok(empty(StatusCode::NO_CONTENT, []));
    }
    if method == Method::GET {
        return Ok(accepted(StatusCode::NO_CONTENT, &repository, id, written));
    }
    let wanted = if method == Method::PUT {
        let missing = || Refused::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "a digest is missing");
        let text = parameter(request.uri().query().unwrap_or_default(), "digest").ok_or_else(missing)?;
        Some(digest(&text)?)
    } else {
        None
    };
    let range = request.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    if range.is_some_and(|range| start_of(range) != Some(written)) {
        let refused = Refused::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "RANGE_INVALID",
            "the piece does not follow what is here",
        );
        return Err(refused.with(LOCATION, location(&repository, id)).with(RANGE, range_of(written)));
    }
    let held = receive(shared, held, request).await?;
    match wanted {
        Some(wanted) => close(shared, &repository, &path, held, wanted).await,
        None => Ok(accepted(StatusCode::ACCEPTED, &repository, id, held.written())),
    }
}

/// Writes a body to the disk as it comes. What came of one that breaks off is not lost, unless there is no room for it.
async fn receive(shared: &Shared, mut held: Held, request: Request<Incoming>) -> Result<Held, Refused> {
    let body = request.into_body();
    if let (Some(length), Some(writer)) = (body.size_hint().exact(), &held.writer) {
        fits(writer, length, &shared.bounds).inspect_err(|_| held.afterwards = Afterwards::Goes)?;
    }
    let mut body = Arriving::new(body, &shared.bounds);
    loop {
        let (mut pieces, mut size) = (Vec::new(), 0);
        let ended = loop {
            match body.next().await {
                Ok(Some(piece)) => {
                    size += piece.len();
                    pieces.push(piece);
                    if size >= PIECE {
                        break None;
                    }
                }
                Ok(None) => break Some(Ok(())),
                Err(BrokenOff) => break Some(Err(BrokenOff)),
            }
        };
        let written = tokio::task::spawn_blocking(move || held.write(&pieces).map(|()| held));
        held = written.await.map_err(|_| Refused::failed())??;
        match ended {
            None => {}
            Some(Ok(())) => return Ok(held),
            Some(Err(BrokenOff)) => {
                let message = "the body broke off";
                return Err(Refused::new(StatusCode::REQUEST_TIMEOUT, "BLOB_UPLOAD_INVALID", message));
            }
        }
    }
}

/// Gives what came its name, if it is what was promised.
async fn close(
    shared: &Arc<Shared>,
    repository: &Reference,
    path: &str,
    held: Held,
    wanted: BlobDigest,
) -> Result<Response<Body>, Refused> {
    let name = repository.name();
    let stored_as = shared
        .with_images(path, move |images| {
            // Its place is kept until it is stored.
            let mut held = held;
            let Some(mut writer) = held.writer.take() else { return Ok(None) };
            writer.expect(wanted);
            match images.shelve_blob(&name, writer) {
                Ok(blob) => Ok(Some(blob.digest)),
                Err(ImagesError::Blob(BlobError::WrongDigest { .. })) => Ok(None),
                Err(error) => Err(error),
            }
        })
        .await?;
    match stored_as {
        Some(digest) => Ok(stored(repository, digest)),
        None => {
            let message = "what came has another digest";
            Err(Refused::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", message))
        }
    }
}

fn digest(text: &str) -> Result<BlobDigest, Refused> {
    let invalid = |_| Refused::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "invalid digest");
    text.parse().map_err(invalid)
}

fn location(repository: &Reference, id: &str) -> String {
    format!("/v2/{}/blobs/uploads/{id}", repository.familiar_name())
}

/// How far an upload is, in the words of the protocol, which has none for nothing.
fn range_of(written: u64) -> String {
    format!("0-{}", written.saturating_sub(1))
}

fn accepted(status: StatusCode, repository: &Reference, id: &str, written: u64) -> Response<Body> {
    empty(
        status,
        [
            ("location", location(repository, id)),
            ("range", range_of(written)),
            ("docker-upload-uuid", id.to_owned()),
        ],
    )
}

fn stored(repository: &Reference, digest: BlobDigest) -> Response<Body> {
    let location = format!("/v2/{}/blobs/{digest}", repository.familiar_name());
    empty(StatusCode::CREATED, [("location", location), ("docker-content-digest", digest.to_string())])
}

/// Reads where a piece begins.
fn start_of(range: &str) -> Option<u64> {
    let range = range.strip_prefix("bytes ").or_else(|| range.strip_prefix("bytes=")).unwrap_or(range);
    range.split(['-', '/']).next()?.trim().parse().ok()
}
