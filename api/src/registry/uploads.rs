//! Blobs that come: at once, in pieces, or from another repository.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::header::{CONTENT_RANGE, LOCATION, RANGE};
use hyper::{Method, Request, Response, StatusCode};
use rbuild_cache::blobs::{BlobError, BlobWriter, Expected};
use rbuild_images::ImagesError;
use rbuild_model::digest::BlobDigest;
use rbuild_model::reference::Reference;
use rbuild_store::UniqueId;

use super::answer::{Body, Refused, empty};
use super::lists::parameter;
use super::serve::{Bounds, Shared};

/// An upload that nobody writes to at the moment.
struct Resting {
    repository: String,
    writer: BlobWriter,
    since: Instant,
}

/// The uploads that have begun and not ended. One that is being written to is not among them: nobody else goes on with it.
pub(super) struct Uploads {
    bounds: Bounds,
    all: Mutex<HashMap<String, Resting>>,
}

impl Uploads {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, all: Mutex::default() }
    }

    fn all(&self) -> std::sync::MutexGuard<'_, HashMap<String, Resting>> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, upload| upload.since.elapsed() < self.bounds.upload_kept);
        all
    }

    fn rest(&self, id: &str, repository: &str, writer: BlobWriter) -> Result<(), Refused> {
        let mut all = self.all();
        if all.len() >= self.bounds.uploads {
            let message = "too many uploads have begun and not ended";
            return Err(Refused::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", message));
        }
        let resting = Resting { repository: repository.to_owned(), writer, since: Instant::now() };
        all.insert(id.to_owned(), resting);
        Ok(())
    }

    fn take(&self, id: &str, repository: &str) -> Result<BlobWriter, Refused> {
        let mut all = self.all();
        match all.remove(id) {
            Some(found) if found.repository == repository => Ok(found.writer),
            Some(other) => {
                all.insert(id.to_owned(), other);
                Err(Refused::no_upload())
            }
            None => Err(Refused::no_upload()),
        }
    }
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
    let writer = shared.with_images(&path, |images| Ok(images.blobs().ingest(Expected::default())?)).await?;
    if let Some(wanted) = parameter(&query, "digest") {
        let wanted = digest(&wanted)?;
        let (writer, came) = receive(shared, writer, request).await;
        came?;
        return close(shared, &repository, &path, writer, wanted).await;
    }
    let id = UniqueId::random().map_err(|_| Refused::failed())?.to_string();
    shared.uploads.rest(&id, &repository.name(), writer)?;
    Ok(accepted(StatusCode::ACCEPTED, &repository, &id, 0))
}

/// Goes on with an upload, ends it, gives it up, or says how far it is.
pub(super) async fn go_on(
    shared: &Arc<Shared>,
    repository: Reference,
    id: &str,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    let name = repository.name();
    let path = request.uri().path().to_owned();
    let method = request.method().clone();
    if !matches!(method, Method::GET | Method::PATCH | Method::PUT | Method::DELETE) {
        return Err(Refused::no_method());
    }
    let writer = shared.uploads.take(id, &name)?;
    let written = writer.written();
    if method == Method::DELETE {
        return Ok(empty(StatusCode::NO_CONTENT, []));
    }
    if method == Method::GET {
        shared.uploads.rest(id, &name, writer)?;
        return Ok(accepted(StatusCode::NO_CONTENT, &repository, id, written));
    }
    let wanted = if method == Method::PUT {
        let query = request.uri().query().unwrap_or_default();
        match parameter(query, "digest").map(|text| digest(&text)) {
            Some(Ok(wanted)) => Some(wanted),
            other => {
                shared.uploads.rest(id, &name, writer)?;
                let missing =
                    || Refused::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "a digest is missing");
                return Err(other.map_or_else(missing, |result| result.err().unwrap_or_else(missing)));
            }
        }
    } else {
        None
    };
    let range = request.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
    if range.is_some_and(|range| start_of(range) != Some(written)) {
        shared.uploads.rest(id, &name, writer)?;
        let refused = Refused::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "RANGE_INVALID",
            "the piece does not follow what is here",
        );
        return Err(refused.with(LOCATION, location(&repository, id)).with(RANGE, range_of(written)));
    }
    let (writer, came) = receive(shared, writer, request).await;
    if let Err(refused) = came {
        // What came so far is not lost.
        shared.uploads.rest(id, &name, writer)?;
        return Err(refused);
    }
    match wanted {
        Some(wanted) => close(shared, &repository, &path, writer, wanted).await,
        None => {
            let written = writer.written();
            shared.uploads.rest(id, &name, writer)?;
            Ok(accepted(StatusCode::ACCEPTED, &repository, id, written))
        }
    }
}

/// Writes a body to the disk as it comes.
async fn receive(
    shared: &Shared,
    mut writer: BlobWriter,
    request: Request<Incoming>,
) -> (BlobWriter, Result<(), Refused>) {
    let broken = || Refused::new(StatusCode::REQUEST_TIMEOUT, "BLOB_UPLOAD_INVALID", "the body broke off");
    let mut body = request.into_body();
    loop {
        let frame = match tokio::time::timeout(shared.bounds.idle, body.frame()).await {
            Ok(None) => return (writer, Ok(())),
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(_))) | Err(_) => return (writer, Err(broken())),
        };
        if let Ok(data) = frame.into_data()
            && writer.write_all(&data).is_err()
        {
            let message = "the store has no room for it";
            let refused = Refused::new(StatusCode::INSUFFICIENT_STORAGE, "BLOB_UPLOAD_INVALID", message);
            return (writer, Err(refused));
        }
    }
}

/// Gives what came its name, if it is what was promised.
async fn close(
    shared: &Arc<Shared>,
    repository: &Reference,
    path: &str,
    mut writer: BlobWriter,
    wanted: BlobDigest,
) -> Result<Response<Body>, Refused> {
    writer.expect(wanted);
    let name = repository.name();
    let stored_as = shared
        .with_images(path, move |images| match images.shelve_blob(&name, writer) {
            Ok(blob) => Ok(Some(blob.digest)),
            Err(ImagesError::Blob(BlobError::WrongDigest { .. })) => Ok(None),
            Err(error) => Err(error),
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
