//! Fetching.

use rbuild_model::digest::BlobDigest;
use rbuild_model::reference::Reference;
use reqwest::StatusCode;
use reqwest::header::{ACCEPT, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, RANGE};
use sha2::{Digest as _, Sha256};

use super::Pending;
use super::auth::Scope;
use super::client::{Client, Fetched, Receiver, url};
use super::error::ClientError;
use super::http::{Failure, Request, bounded, chunk};
use super::registries::{Endpoint, origin};
use crate::manifest::{Descriptor, Document, MAX_DOCUMENT, MediaType};

/// What an attempt has to bring for the attempts to be counted anew.
const WORTH_MORE: u64 = 1 << 20;

impl Client {
    /// Fetches the manifest or index that a reference names, by its digest if it has one, else by its tag.
    ///
    /// Mirrors are asked first; the registry itself decides if they do not know or do not answer.
    pub fn manifest<'a>(&'a self, reference: &'a Reference) -> Pending<'a, Fetched> {
        Box::pin(async move { self.manifest_at(reference, self.sources(reference)?).await })
    }

    /// As [`Client::manifest`], asking the registry itself and no mirror.
    pub fn manifest_upstream<'a>(&'a self, reference: &'a Reference) -> Pending<'a, Fetched> {
        Box::pin(async move { self.manifest_at(reference, vec![self.upstream(reference)?]).await })
    }

    async fn manifest_at(
        &self,
        reference: &Reference,
        sources: Vec<Endpoint>,
    ) -> Result<Fetched, ClientError> {
        let wanted = wanted(reference);
        let scope = Scope::pull(reference.registry(), reference.repository());
        let path = format!("v2/{}/manifests/{wanted}", reference.repository());
        let mut failure = None;
        for (index, endpoint) in sources.iter().enumerate() {
            let once = || self.manifest_from(endpoint, &scope, &path, reference);
            let last = index + 1 == sources.len();
            let fetched = if last { self.transport.retry(once).await } else { unwrapped(once().await) };
            match fetched {
                Ok(fetched) => return Ok(fetched),
                // What the registry itself says counts; a mirror's word only if the registry cannot be reached.
                Err(error @ ClientError::Transport { .. }) if sources.len() > 1 && last => {
                    failure = Some(exhausted(&sources, reference, failure.unwrap_or(error)));
                }
                Err(error @ ClientError::Transport { .. }) if failure.is_some() => {
                    failure = failure.or(Some(error))
                }
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| ClientError::Setup("there is no endpoint".to_owned())))
    }

    async fn manifest_from(
        &self,
        endpoint: &Endpoint,
        scope: &Scope,
        path: &str,
        reference: &Reference,
    ) -> Result<Fetched, Failure> {
        let mut request = Request::get(url(endpoint, path)?);
        for media_type in MediaType::DOCUMENTS {
            request.headers.append(ACCEPT, HeaderValue::from_static(media_type));
        }
        let response = self.authorized(endpoint, scope, request).await?;
        if response.status() != StatusCode::OK {
            return Err(self.transport.refused(response, &reference.familiar()).await);
        }
        let content_type =
            response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let from = origin(response.url());
        let bytes = bounded(response, MAX_DOCUMENT, self.transport.pace()).await?;
        let digest = BlobDigest::of(&bytes);
        if let Some(wanted) = reference.digest()
            && wanted != digest
        {
            return Err(ClientError::Digest { origin: from, wanted, found: digest }.into());
        }
        let document = Document::parse(&bytes, content_type.as_deref())
            .map_err(|error| ClientError::Document(reference.familiar(), error))?;
        let media_type = match &document {
            Document::Manifest(manifest) => manifest.media_type.clone(),
            Document::Index(index) => index.media_type.clone(),
        };
        let media_type = media_type.unwrap_or_else(|| {
            let known = content_type.map(MediaType::new).filter(|kind| kind.is_manifest() || kind.is_index());
            known.unwrap_or_else(|| {
                MediaType::new(match document {
                    Document::Manifest(_) => MediaType::OCI_MANIFEST,
                    Document::Index(_) => MediaType::OCI_INDEX,
                })
            })
        });
        Ok(Fetched { digest, media_type, bytes, document, origin: from })
    }

    /// Fetches a blob of a repository and compares it with its descriptor.
    ///
    /// A broken transfer is taken up where it broke, one of an earlier attempt where the receiver has it; if a server
    /// cannot do that, or the content is wrong, the receiver is told to begin anew. After an error, what the receiver has
    /// may be the beginning of the blob, or of anything else.
    pub fn blob<'a>(
        &'a self,
        reference: &'a Reference,
        descriptor: &'a Descriptor,
        receiver: &'a mut dyn Receiver,
    ) -> Pending<'a, ()> {
        Box::pin(async move {
            let scope = Scope::pull(reference.registry(), reference.repository());
            let path = format!("v2/{}/blobs/{}", reference.repository(), descriptor.digest);
            let sources = self.sources(reference)?;
            let mut transfer = Transfer::begin(descriptor, receiver)?;
            if transfer.is_here_already()? {
                return Ok(());
            }
            let mut failure = None;
            for (index, endpoint) in sources.iter().enumerate() {
                let last = index + 1 == sources.len();
                let mut patience = self.transport.patience();
                loop {
                    let before = transfer.received;
                    let error = match self.blob_from(endpoint, &scope, &path, &mut transfer).await {
                        Ok(()) => return Ok(()),
                        Err(Failure::Final(error @ ClientError::Local(..))) => return Err(error),
                        Err(Failure::Final(error)) if last && sources.len() > 1 && error.is_unreachable() => {
                            exhausted(&sources, reference, failure.take().unwrap_or(error))
                        }
                        Err(Failure::Final(error)) => error,
                        Err(Failure::Passing(error, _)) if !last => error,
                        Err(passing) => {
                            // A server that breaks off time and again still brings it all in the end.
                            if transfer.received >= before.saturating_add(WORTH_MORE) {
                                patience.renew();
                            }
                            match patience.after(passing).await {
                                Ok(()) => continue,
                                Err(error) => error,
                            }
                        }
                    };
                    failure = Some(error);
                    break;
                }
            }
            Err(failure.unwrap_or_else(|| ClientError::Setup("there is no endpoint".to_owned())))
        })
    }

    /// Fetches a small blob, such as a config, into memory.
    pub fn small_blob<'a>(
        &'a self,
        reference: &'a Reference,
        descriptor: &'a Descriptor,
    ) -> Pending<'a, Vec<u8>> {
        Box::pin(async move { self.bounded_blob(reference, descriptor, MAX_DOCUMENT).await })
    }

    /// Fetches a blob of at most so many bytes into memory.
    pub fn bounded_blob<'a>(
        &'a self,
        reference: &'a Reference,
        descriptor: &'a Descriptor,
        most: u64,
    ) -> Pending<'a, Vec<u8>> {
        Box::pin(async move {
            if descriptor.size > most {
                return Err(ClientError::Protocol {
                    origin: reference.registry().to_owned(),
                    why: format!("{} has more than {most} bytes", descriptor.digest),
                });
            }
            let embedded =
                descriptor.data().map_err(|error| ClientError::Document(reference.familiar(), error))?;
            if let Some(bytes) = embedded {
                return Ok(bytes);
            }
            let mut bytes = Vec::new();
            self.blob(reference, descriptor, &mut bytes).await?;
            Ok(bytes)
        })
    }

    async fn blob_from(
        &self,
        endpoint: &Endpoint,
        scope: &Scope,
        path: &str,
        transfer: &mut Transfer<'_>,
    ) -> Result<(), Failure> {
        let mut request = Request::get(url(endpoint, path)?);
        if transfer.received > 0 {
            let range = HeaderValue::from_str(&format!("bytes={}-", transfer.received))
                .map_err(|error| ClientError::Setup(error.to_string()))?;
            request.headers.insert(RANGE, range);
        }
        let mut response = self.authorized(endpoint, scope, request).await?;
        let from = origin(response.url());
        match response.status() {
            StatusCode::PARTIAL_CONTENT if transfer.received > 0 && transfer.continues(&response) => {}
            StatusCode::OK => transfer.restart()?,
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                transfer.restart()?;
                let why = "it does not continue a transfer where it broke".to_owned();
                return Err(Failure::Passing(ClientError::Protocol { origin: from, why }, None));
            }
            _ => return Err(self.transport.refused(response, &transfer.descriptor.digest.to_string()).await),
        }
        if let Some(length) = response.content_length()
            && length != transfer.descriptor.size - transfer.received
        {
            return Err(transfer.wrong_size(&from).into());
        }
        let mut pace = self.transport.pace();
        while let Some(bytes) = chunk(&mut response).await? {
            pace.passed(bytes.len() as u64, &from)?;
            transfer.take(&bytes, &from)?;
        }
        transfer.finish(&from)
    }
}

/// What a manifest is asked for by: its digest if it is known, else its tag.
pub(super) fn wanted(reference: &Reference) -> String {
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or("latest").to_owned(),
    }
}

/// Names all that were asked.
fn exhausted(sources: &[Endpoint], reference: &Reference, source: ClientError) -> ClientError {
    ClientError::Exhausted {
        what: reference.familiar(),
        asked: sources.iter().map(Endpoint::origin).collect(),
        source: Box::new(source),
    }
}

fn unwrapped<T>(result: Result<T, Failure>) -> Result<T, ClientError> {
    result.map_err(|failure| match failure {
        Failure::Final(error) | Failure::Passing(error, _) => error,
    })
}

/// A blob on its way.
struct Transfer<'a> {
    descriptor: &'a Descriptor,
    receiver: &'a mut dyn Receiver,
    /// Unless the receiver hashes.
    hasher: Option<Sha256>,
    received: u64,
    /// Whether some of it is of an earlier attempt: then no server is to blame if the whole is wrong.
    is_resumed: bool,
}

impl<'a> Transfer<'a> {
    fn begin(descriptor: &'a Descriptor, receiver: &'a mut dyn Receiver) -> Result<Self, ClientError> {
        let local = |error| ClientError::Local(descriptor.digest, error);
        let hasher = receiver.digest().is_none().then(Sha256::new);
        let received = receiver.resume().map_err(local)?;
        let mut transfer = Self { descriptor, receiver, hasher, received, is_resumed: received > 0 };
        if transfer.received > descriptor.size || (transfer.is_resumed && transfer.hasher.is_some()) {
            transfer.restart()?;
        }
        Ok(transfer)
    }

    /// Returns whether an earlier attempt brought all of it; what is wrong is forgotten.
    fn is_here_already(&mut self) -> Result<bool, ClientError> {
        if !self.is_resumed || self.received < self.descriptor.size {
            return Ok(false);
        }
        let is_right = self.digest() == self.descriptor.digest;
        if !is_right {
            self.restart()?;
        }
        Ok(is_right)
    }

    fn restart(&mut self) -> Result<(), ClientError> {
        if self.received > 0 {
            self.hasher = self.hasher.take().map(|_| Sha256::new());
            self.received = 0;
            self.is_resumed = false;
            self.receiver.restart().map_err(|error| ClientError::Local(self.descriptor.digest, error))?;
        }
        Ok(())
    }

    /// Returns whether a partial response begins where the transfer broke, and is of a blob of this size.
    fn continues(&self, response: &reqwest::Response) -> bool {
        let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
        let rest = range.and_then(|range| range.strip_prefix(&format!("bytes {}-", self.received)));
        let total = rest.and_then(|rest| rest.split_once('/')).map(|(_, total)| total.trim());
        total.is_some_and(|total| total == "*" || total.parse() == Ok(self.descriptor.size))
    }

    fn digest(&self) -> BlobDigest {
        let own = |hasher: &Sha256| BlobDigest::from_bytes(hasher.clone().finalize().into());
        self.hasher.as_ref().map(own).or_else(|| self.receiver.digest()).expect("one of both hashes")
    }

    fn take(&mut self, bytes: &[u8], from: &str) -> Result<(), ClientError> {
        if self.received + bytes.len() as u64 > self.descriptor.size {
            return Err(self.wrong_size(from));
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        self.received += bytes.len() as u64;
        self.receiver.receive(bytes).map_err(|error| ClientError::Local(self.descriptor.digest, error))
    }

    fn wrong_size(&self, from: &str) -> ClientError {
        ClientError::Size {
            origin: from.to_owned(),
            digest: self.descriptor.digest,
            expected: self.descriptor.size,
        }
    }

    fn finish(&mut self, from: &str) -> Result<(), Failure> {
        if self.received < self.descriptor.size {
            return Err(Failure::Passing(self.wrong_size(from), None));
        }
        let (wanted, found) = (self.descriptor.digest, self.digest());
        if found == wanted {
            return Ok(());
        }
        let was_resumed = self.is_resumed;
        // Another server may have the right bytes.
        self.restart()?;
        let wrong = ClientError::Digest { origin: from.to_owned(), wanted, found };
        Err(if was_resumed { Failure::Passing(wrong, None) } else { wrong.into() })
    }
}
