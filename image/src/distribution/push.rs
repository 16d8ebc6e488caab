//! Pushing blobs.
//!
//! A blob is asked for first, and taken over from another repository of the registry where one is known to have it. Else it
//! goes up in one request, which is the least that can be asked. If that breaks, the registry is asked how far it got and
//! the upload goes on from there; a registry that has forgotten it gets the blob anew, from then on in pieces, so that the
//! next break costs no more than one of them. Who sends a blob may remember where its upload stands: then the next process
//! goes on with what this one was killed in.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use rbuild_model::digest::BlobDigest;
use rbuild_model::reference::Reference;
use reqwest::header::{AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, LOCATION, RANGE};
use reqwest::{Method, Response, StatusCode, Url};

use super::Pending;
use super::auth::Scope;
use super::client::{Client, url};
use super::error::ClientError;
use super::http::{Failure, Request, location};
use super::registries::{Endpoint, same_origin};
use crate::manifest::Descriptor;

/// How a blob came to be at the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Present,
    /// The registry took it over from another of its repositories.
    Mounted,
    /// It was sent.
    Sent,
}

/// An upload that was begun and not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Where it is gone on with.
    pub url: String,
    /// How many bytes the registry has said to have taken; else it is asked.
    pub taken: Option<u64>,
}

/// Gives the bytes of a blob out.
pub trait Sender: Sync {
    /// Opens the blob from an offset on; called once a request.
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>>;

    /// Hears how many of its bytes have left; fewer than before if it has to go again.
    fn sent(&self, bytes: u64) {
        let _ = bytes;
    }

    /// Returns an upload that somebody began and did not end.
    fn unfinished(&self) -> Option<Unfinished> {
        None
    }

    /// Hears at which URL its upload is gone on with if this process does not end it.
    fn begun(&self, url: &str) {
        let _ = url;
    }
}

/// A blob at hand.
impl Sender for &[u8] {
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let rest = usize::try_from(from).ok().and_then(|from| self.get(from..)).unwrap_or_default();
        Ok(Box::new(io::Cursor::new(rest.to_vec())))
    }
}

/// A blob that is to be at a registry.
#[derive(Clone, Copy)]
pub struct Upload<'a> {
    /// Its digest and size.
    pub descriptor: &'a Descriptor,
    /// Its bytes.
    pub sender: &'a dyn Sender,
    /// A repository of the same registry that is known to have it.
    pub mount_from: Option<&'a str>,
}

/// How much of a body is read at a time.
const READ: usize = 128 << 10;
/// The size of a piece after a break.
const PIECE: u64 = 16 << 20;
/// What an attempt has to bring for the attempts to be counted anew.
const WORTH_MORE: u64 = 1 << 20;
/// What a registry calls the least size of a piece.
const LEAST_PIECE: &str = "oci-chunk-min-length";

/// A blob on its way.
struct Job<'a> {
    endpoint: Endpoint,
    scope: Scope,
    reference: &'a Reference,
    upload: Upload<'a>,
    /// The upload that is gone on with.
    begun: Option<Begun>,
    /// The size of pieces, if the blob goes in pieces.
    piece: Option<u64>,
    /// Whether the registry has said that it takes no pieces.
    whole: bool,
    /// Whether the registry has been given a new key since it last took something.
    renewed: bool,
    /// How many bytes the registry says it has.
    reached: u64,
}

/// An upload that did not come to its end.
enum Begun {
    /// It broke; the registry may know how far it got.
    Broken(Url),
    /// The registry has said where it goes on, and from which byte.
    Standing(Url, u64),
}

impl Job<'_> {
    fn digest(&self) -> BlobDigest {
        self.upload.descriptor.digest
    }

    fn what(&self) -> String {
        format!("{} of {}", self.digest(), self.reference.familiar())
    }

    fn size(&self) -> u64 {
        self.upload.descriptor.size
    }

    /// Remembers an upload that broke, so that the next attempt takes it up.
    fn broke(&mut self, at: Url) {
        self.begun = Some(Begun::Broken(at));
        self.piece.get_or_insert(PIECE);
    }
}

impl Client {
    /// Returns whether a repository has a blob.
    pub fn has_blob<'a>(&'a self, reference: &'a Reference, digest: BlobDigest) -> Pending<'a, bool> {
        Box::pin(async move {
            let endpoint = self.upstream(reference)?;
            let scope = Scope::push(reference.registry(), reference.repository(), &[]);
            self.transport.retry(|| self.head(&endpoint, &scope, reference, digest)).await
        })
    }

    async fn head(
        &self,
        endpoint: &Endpoint,
        scope: &Scope,
        reference: &Reference,
        digest: BlobDigest,
    ) -> Result<bool, Failure> {
        let path = format!("v2/{}/blobs/{digest}", reference.repository());
        let response =
            self.authorized(endpoint, scope, Request::new(Method::HEAD, url(endpoint, &path)?)).await?;
        match response.status() {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            _ => {
                Err(self.transport.refused(response, &format!("{digest} of {}", reference.familiar())).await)
            }
        }
    }

    /// Brings blobs to a repository, so many at a time; those that are there stay there. The answers are in order.
    pub fn push_blobs<'a>(
        &'a self,
        reference: &'a Reference,
        uploads: &'a [Upload<'a>],
        parallel: usize,
    ) -> Pending<'a, Vec<Pushed>> {
        Box::pin(async move {
            futures_util::stream::iter(uploads)
                .map(|upload| self.push_blob(reference, *upload))
                .buffered(parallel.max(1))
                .try_collect()
                .await
        })
    }

    /// Brings a blob to a repository, unless it is there.
    pub fn push_blob<'a>(&'a self, reference: &'a Reference, upload: Upload<'a>) -> Pending<'a, Pushed> {
        Box::pin(async move {
            let endpoint = self.upstream(reference)?;
            let mounts: Vec<_> = upload.mount_from.into_iter().collect();
            let scope = Scope::push(reference.registry(), reference.repository(), &mounts);
            let mut job = Job {
                endpoint,
                scope,
                reference,
                upload,
                begun: None,
                piece: None,
                whole: false,
                renewed: false,
                reached: 0,
            };
            let mut patience = self.transport.patience();
            let mut counted = 0;
            self.take_up(&mut job).await;
            loop {
                let failure = match self.attempt(&mut job).await {
                    Ok(pushed) => return Ok(pushed),
                    Err(failure) => failure,
                };
                if job.reached >= counted + WORTH_MORE {
                    counted = job.reached;
                    patience.renew();
                }
                patience.after(failure).await?;
            }
        })
    }

    /// Has a blob be in a repository without its bytes: finds it there, or has it taken over from elsewhere. Nothing if
    /// neither is so.
    pub fn adopt_blob<'a>(
        &'a self,
        reference: &'a Reference,
        descriptor: &'a Descriptor,
        mount_from: Option<&'a str>,
    ) -> Pending<'a, Option<Pushed>> {
        Box::pin(async move {
            if self.has_blob(reference, descriptor.digest).await? {
                return Ok(Some(Pushed::Present));
            }
            let Some(other) = mount_from else { return Ok(None) };
            let endpoint = self.upstream(reference)?;
            let scope = Scope::push(reference.registry(), reference.repository(), &[other]);
            let mut start = url(&endpoint, &format!("v2/{}/blobs/uploads/", reference.repository()))?;
            let digest = descriptor.digest.to_string();
            start.query_pairs_mut().append_pair("mount", &digest).append_pair("from", other);
            self.transport
                .retry(|| async {
                    let request = Request::new(Method::POST, start.clone());
                    let response = self.authorized(&endpoint, &scope, request).await?;
                    match response.status() {
                        StatusCode::CREATED => Ok(Some(Pushed::Mounted)),
                        StatusCode::ACCEPTED => {
                            self.give_up(&endpoint, &scope, &response).await;
                            Ok(None)
                        }
                        status if status.is_client_error() && !super::http::is_passing(status) => Ok(None),
                        _ => Err(self
                            .transport
                            .refused(response, &format!("{digest} of {}", reference.familiar()))
                            .await),
                    }
                })
                .await
        })
    }

    /// Ends an upload that nobody asked for; a registry that does not let us ends it by itself some day.
    async fn give_up(&self, endpoint: &Endpoint, scope: &Scope, begun: &Response) {
        if let Ok(target) = location(begun)
            && same_origin(&target, endpoint.url())
        {
            let _ = self.authorized(endpoint, scope, Request::new(Method::DELETE, target)).await;
        }
    }

    async fn attempt(&self, job: &mut Job<'_>) -> Result<Pushed, Failure> {
        let standing = match job.begun.take() {
            Some(Begun::Broken(broken)) => self.standing(job, broken).await?,
            Some(Begun::Standing(target, from)) => Some((target, from)),
            None => None,
        };
        if let Some((target, from)) = standing {
            job.reached = job.reached.max(from);
            return self.send(job, target, from).await;
        }
        if self.head(&job.endpoint, &job.scope, job.reference, job.digest()).await? {
            return Ok(Pushed::Present);
        }
        let response = self.begin(job).await?;
        match response.status() {
            StatusCode::CREATED => return Ok(Pushed::Mounted),
            StatusCode::ACCEPTED => {}
            _ => return Err(self.transport.refused(response, &job.what()).await),
        }
        let least = response.headers().get(LEAST_PIECE).and_then(|value| value.to_str().ok()?.parse().ok());
        if let (Some(piece), Some(least)) = (&mut job.piece, least) {
            *piece = (*piece).max(least);
        }
        let target = location(&response)?;
        self.send(job, target, 0).await
    }

    /// Begins an upload, or has the blob taken over from elsewhere.
    async fn begin(&self, job: &mut Job<'_>) -> Result<Response, Failure> {
        let plain = url(&job.endpoint, &format!("v2/{}/blobs/uploads/", job.reference.repository()))?;
        if let Some(other) = job.upload.mount_from.take() {
            let mut start = plain.clone();
            start
                .query_pairs_mut()
                .append_pair("mount", &job.digest().to_string())
                .append_pair("from", other);
            let asked = self.authorized(&job.endpoint, &job.scope, Request::new(Method::POST, start)).await;
            match asked {
                Ok(response) if !response.status().is_client_error() => return Ok(response),
                // Who may not read the other repository may still write to this one.
                Ok(_) => {}
                Err(error) if error.is_denied() => {}
                Err(error) => return Err(error.into()),
            }
            job.scope = Scope::push(job.reference.registry(), job.reference.repository(), &[]);
        }
        Ok(self.authorized(&job.endpoint, &job.scope, Request::new(Method::POST, plain)).await?)
    }

    /// Takes up what somebody began before, unless the registry knows nothing of it.
    async fn take_up(&self, job: &mut Job<'_>) {
        let Some(Unfinished { url, taken }) = job.upload.sender.unfinished() else { return };
        let Ok(unfinished) = Url::parse(&url) else { return };
        if let Some(taken) = taken.filter(|taken| *taken == job.size()) {
            job.begun = Some(Begun::Standing(unfinished, taken));
            return;
        }
        job.piece = Some(PIECE);
        // What cannot be asked there is asked as if nothing had been begun.
        let standing = self.standing(job, unfinished).await.ok().flatten();
        job.begun = standing.map(|(target, from)| Begun::Standing(target, from));
    }

    /// Asks how far an upload got that broke; nothing if the registry does not know it any more.
    async fn standing(&self, job: &mut Job<'_>, at: Url) -> Result<Option<(Url, u64)>, Failure> {
        let request = Request::get(at.clone());
        let answer = if same_origin(&at, job.endpoint.url()) {
            self.authorized(&job.endpoint, &job.scope, request).await
        } else {
            self.transport.send(request).await
        };
        let response = match answer {
            Ok(response) => response,
            Err(error) => {
                job.begun = Some(Begun::Broken(at));
                return Err(error.into());
            }
        };
        if !matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::ACCEPTED | StatusCode::OK) {
            return Ok(None);
        }
        let target = if response.headers().contains_key(LOCATION) { location(&response)? } else { at };
        Ok(taken(&response).filter(|from| *from <= job.size()).map(|from| (target, from)))
    }

    /// Sends the bytes from an offset on, and closes the upload.
    async fn send(&self, job: &mut Job<'_>, mut target: Url, mut from: u64) -> Result<Pushed, Failure> {
        let size = job.size();
        let piece = match job.piece {
            piece if from == 0 && (job.whole || piece.is_none()) => {
                let response = self.send_part(job, Method::PUT, target, 0..size).await?;
                return self.closed(job, response).await;
            }
            piece => piece.unwrap_or(PIECE),
        };
        while from < size {
            let part = from..size.min(from.saturating_add(piece));
            let end = part.end;
            let response = self.send_part(job, Method::PATCH, target.clone(), part).await?;
            if !is_taken(&response) {
                return Err(self.transport.refused(response, &job.what()).await);
            }
            target = location(&response)?;
            let now = taken(&response).unwrap_or(end);
            if now <= from || now > end {
                let why = "it took another part of an upload than it was sent".to_owned();
                let error = ClientError::Protocol { origin: job.endpoint.origin(), why };
                return Err(Failure::Passing(error, None));
            }
            (from, job.reached, job.renewed) = (now, job.reached.max(now), false);
        }
        let response = self.send_part(job, Method::PUT, target, size..size).await?;
        self.closed(job, response).await
    }

    async fn closed(&self, job: &Job<'_>, response: Response) -> Result<Pushed, Failure> {
        match response.status() {
            StatusCode::CREATED | StatusCode::NO_CONTENT => Ok(Pushed::Sent),
            _ => Err(self.transport.refused(response, &job.what()).await),
        }
    }

    /// Makes a request with a part of a blob. An upload may be taken elsewhere; the key to this registry is not.
    pub(super) fn part(&self, method: Method, target: Url, endpoint: &Endpoint, scope: &Scope) -> Request {
        let mut request = Request::new(method, target);
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        if same_origin(&request.url, endpoint.url())
            && let Some(header) = self.keyring.get(endpoint, scope)
        {
            request.headers.insert(AUTHORIZATION, header);
        }
        request
    }

    /// Sends a part of a blob. What says that another attempt may do better is a passing failure by now.
    async fn send_part(
        &self,
        job: &mut Job<'_>,
        method: Method,
        target: Url,
        part: Range<u64>,
    ) -> Result<Response, Failure> {
        let length = part.end - part.start;
        let is_piece = method == Method::PATCH;
        let mut request = self.part(method, target.clone(), &job.endpoint, &job.scope);
        if request.method == Method::PUT {
            request.url.query_pairs_mut().append_pair("digest", &job.digest().to_string());
        } else {
            let range = format!("{}-{}", part.start, part.end.saturating_sub(1));
            let range =
                HeaderValue::from_str(&range).map_err(|error| ClientError::Setup(error.to_string()))?;
            request.headers.insert(CONTENT_RANGE, range);
        }
        if length >= WORTH_MORE {
            job.upload.sender.begun(target.as_str());
        }
        let own = same_origin(&target, job.endpoint.url());
        let gone = Arc::new(AtomicU64::new(0));
        let body = body(job.upload, part.clone(), Arc::clone(&gone))?;
        let sender = job.upload.sender;
        let told = |bytes: u64| sender.sent(part.start + bytes);
        let answer = self.transport.send_body(request, Some(length), body, &gone, &told).await;
        let response = match answer {
            Ok(response) => response,
            Err(error) => {
                job.broke(target);
                return Err(error.into());
            }
        };
        match response.status() {
            // The key has expired under way: the next attempt gets another one.
            StatusCode::UNAUTHORIZED if own && !job.renewed => {
                job.renewed = true;
                job.broke(target);
                self.keyring.drop_one(&job.endpoint, &job.scope);
                Err(at_once(self.transport.refused(response, &job.what()).await))
            }
            StatusCode::METHOD_NOT_ALLOWED if is_piece && part.start == 0 => {
                job.whole = true;
                Err(at_once(self.transport.refused(response, &job.what()).await))
            }
            StatusCode::PAYLOAD_TOO_LARGE if job.piece.is_none() => {
                job.piece = Some(PIECE);
                Err(at_once(self.transport.refused(response, &job.what()).await))
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                job.broke(location(&response).unwrap_or(target));
                Err(passing(self.transport.refused(response, &job.what()).await))
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                job.piece.get_or_insert(PIECE);
                Err(passing(self.transport.refused(response, &job.what()).await))
            }
            status if super::http::is_passing(status) => {
                job.broke(target);
                Err(self.transport.refused(response, &job.what()).await)
            }
            _ => Ok(response),
        }
    }
}

fn passing(failure: Failure) -> Failure {
    match failure {
        Failure::Final(error) => Failure::Passing(error, None),
        passing => passing,
    }
}

fn at_once(failure: Failure) -> Failure {
    match failure {
        Failure::Final(error) | Failure::Passing(error, _) => Failure::Passing(error, Some(Duration::ZERO)),
    }
}

/// Whether a registry has taken a part of an upload.
pub(super) fn is_taken(response: &Response) -> bool {
    matches!(response.status(), StatusCode::ACCEPTED | StatusCode::NO_CONTENT)
}

/// Reads how many bytes of an upload a registry says it has.
///
/// `0-0` would be one byte, and is what registries say of none: one byte is sent again.
pub(super) fn taken(response: &Response) -> Option<u64> {
    let range = response.headers().get(RANGE)?.to_str().ok()?;
    let range = range.strip_prefix("bytes=").unwrap_or(range);
    match range.split_once('-') {
        Some(("0", "0")) => Some(0),
        Some(("0", last)) => last.parse::<u64>().ok()?.checked_add(1),
        _ => None,
    }
}

/// Makes a body of a part of a blob, which counts what is taken of it.
fn body(upload: Upload<'_>, part: Range<u64>, gone: Arc<AtomicU64>) -> Result<reqwest::Body, Failure> {
    let digest = upload.descriptor.digest;
    let length = part.end - part.start;
    if length == 0 {
        return Ok(reqwest::Body::from(Bytes::new()));
    }
    let reader = upload.sender.open(part.start).map_err(|error| ClientError::Local(digest, error))?;
    let pieces = futures_util::stream::try_unfold(reader.take(length), move |mut reader| {
        let gone = Arc::clone(&gone);
        async move {
            let mut piece = vec![0; READ];
            let count = reader.read(&mut piece)?;
            piece.truncate(count);
            gone.fetch_add(count as u64, Ordering::Relaxed);
            Ok::<_, io::Error>((count > 0).then(|| (Bytes::from(piece), reader)))
        }
    });
    Ok(reqwest::Body::wrap_stream(pieces))
}
