//! Pushing.

use std::io::{self, Read};

use bytes::Bytes;
use rbuild_model::digest::BlobDigest;
use rbuild_model::reference::Reference;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Response, StatusCode, Url};

use super::auth::Scope;
use super::client::{Client, url};
use super::error::ClientError;
use super::http::{Failure, Request, location, refused};
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

/// Opens the bytes of a blob from the beginning; called once an attempt.
pub type Open<'a> = &'a (dyn Fn() -> io::Result<Box<dyn Read + Send>> + Sync);

const PIECE: usize = 128 << 10;

impl Client {
    /// Returns whether a repository has a blob.
    pub async fn has_blob(&self, reference: &Reference, digest: BlobDigest) -> Result<bool, ClientError> {
        let endpoint = self.upstream(reference)?;
        let scope = Scope::push(reference.registry(), reference.repository(), &[]);
        self.transport.retry(|| self.head(&endpoint, &scope, reference, digest)).await
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
            _ => Err(refused(response, &format!("{digest} of {}", reference.familiar())).await),
        }
    }

    /// Brings a blob to a repository, unless it is there; `mount_from` names a repository of the same registry
    /// that is known to have it.
    pub async fn push_blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        open: Open<'_>,
        mount_from: Option<&str>,
    ) -> Result<Pushed, ClientError> {
        let endpoint = self.upstream(reference)?;
        let mounts: Vec<_> = mount_from.into_iter().collect();
        let scope = Scope::push(reference.registry(), reference.repository(), &mounts);
        self.transport
            .retry(|| self.push_blob_once(&endpoint, &scope, reference, descriptor, open, mount_from))
            .await
    }

    async fn push_blob_once(
        &self,
        endpoint: &Endpoint,
        scope: &Scope,
        reference: &Reference,
        descriptor: &Descriptor,
        open: Open<'_>,
        mount_from: Option<&str>,
    ) -> Result<Pushed, Failure> {
        let digest = descriptor.digest;
        if self.head(endpoint, scope, reference, digest).await? {
            return Ok(Pushed::Present);
        }
        let what = format!("{digest} of {}", reference.familiar());
        let mut start = url(endpoint, &format!("v2/{}/blobs/uploads/", reference.repository()))?;
        if let Some(other) = mount_from {
            start.query_pairs_mut().append_pair("mount", &digest.to_string()).append_pair("from", other);
        }
        let response = self.authorized(endpoint, scope, Request::new(Method::POST, start)).await?;
        match response.status() {
            StatusCode::CREATED => return Ok(Pushed::Mounted),
            StatusCode::ACCEPTED => {}
            _ => return Err(refused(response, &what).await),
        }
        let mut target = location(&response)?;
        target.query_pairs_mut().append_pair("digest", &digest.to_string());
        let response = self.upload(endpoint, scope, target, descriptor, open).await?;
        if response.status() == StatusCode::CREATED {
            Ok(Pushed::Sent)
        } else {
            Err(refused(response, &what).await)
        }
    }

    async fn upload(
        &self,
        endpoint: &Endpoint,
        scope: &Scope,
        target: Url,
        descriptor: &Descriptor,
        open: Open<'_>,
    ) -> Result<Response, ClientError> {
        let local = |error| ClientError::Local(descriptor.digest, error);
        let reader = open().map_err(local)?;
        let pieces = futures_util::stream::try_unfold(reader, |mut reader| async move {
            let mut piece = vec![0; PIECE];
            let count = reader.read(&mut piece)?;
            piece.truncate(count);
            Ok::<_, io::Error>((count > 0).then(|| (Bytes::from(piece), reader)))
        });
        let mut request = Request::new(Method::PUT, target);
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        // An upload may be taken elsewhere; the key to this registry is not.
        if same_origin(&request.url, endpoint.url())
            && let Some(header) = self.keyring.get(endpoint, scope)
        {
            request.headers.insert(AUTHORIZATION, header);
        }
        self.transport.send_stream(request, descriptor.size, reqwest::Body::wrap_stream(pieces)).await
    }

    /// Puts a manifest or an index under the reference's tag, or under its own digest if there is no tag.
    pub async fn push_manifest(
        &self,
        reference: &Reference,
        bytes: &[u8],
        media_type: &str,
    ) -> Result<BlobDigest, ClientError> {
        let digest = BlobDigest::of(bytes);
        let name = reference.tag().map_or_else(|| digest.to_string(), str::to_owned);
        let endpoint = self.upstream(reference)?;
        let scope = Scope::push(reference.registry(), reference.repository(), &[]);
        let mut request = Request::new(
            Method::PUT,
            url(&endpoint, &format!("v2/{}/manifests/{name}", reference.repository()))?,
        );
        let content_type = HeaderValue::from_str(media_type)
            .map_err(|_| ClientError::Setup("the type of a manifest cannot stand in a header".to_owned()))?;
        request.headers.insert(CONTENT_TYPE, content_type);
        request.body = Some(Bytes::copy_from_slice(bytes));
        self.transport
            .retry(|| async {
                let response = self.authorized(&endpoint, &scope, request.clone()).await?;
                match response.status() {
                    StatusCode::CREATED | StatusCode::OK | StatusCode::ACCEPTED => Ok(digest),
                    _ => Err(refused(response, &reference.familiar()).await),
                }
            })
            .await
    }
}
