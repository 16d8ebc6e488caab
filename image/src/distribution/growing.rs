//! Blobs that leave while they are being made.
//!
//! What nobody has seen before has no digest yet, so a registry cannot be asked for it. It goes up as one stream, in pieces of
//! HTTP whose number nobody knows, as Docker sends all that it packs on the way ([`Client::begin_growing`]).
//! [`Client::push_blob`] ends the upload by its digest, and takes it up where it broke ([`Unfinished`]).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{Stream, StreamExt as _};
use rbuild_model::reference::Reference;
use reqwest::{Method, StatusCode, Url};

use super::Pending;
use super::auth::Scope;
use super::client::{Client, url};
use super::http::{Request, location};
use super::push::{Unfinished, is_taken, taken};
use super::registries::Endpoint;

/// The bytes of a blob, as they come.
pub type Growing = Pin<Box<dyn Stream<Item = io::Result<Vec<u8>>> + Send>>;

/// An upload of a blob that is still being made.
pub struct GrowingUpload<'a> {
    client: &'a Client,
    endpoint: Endpoint,
    scope: Scope,
    begun: Url,
}

impl Client {
    /// Begins an upload of a blob that is still being made.
    pub fn begin_growing<'a>(&'a self, reference: &'a Reference) -> Pending<'a, GrowingUpload<'a>> {
        Box::pin(async move {
            let endpoint = self.upstream(reference)?;
            let scope = Scope::push(reference.registry(), reference.repository(), &[]);
            let start = url(&endpoint, &format!("v2/{}/blobs/uploads/", reference.repository()))?;
            let begun = self
                .transport
                .retry(|| async {
                    let request = Request::new(Method::POST, start.clone());
                    let response = self.authorized(&endpoint, &scope, request).await?;
                    match response.status() {
                        StatusCode::ACCEPTED => Ok(location(&response)?),
                        _ => Err(self.transport.refused(response, &reference.familiar()).await),
                    }
                })
                .await?;
            Ok(GrowingUpload { client: self, endpoint, scope, begun })
        })
    }
}

impl GrowingUpload<'_> {
    /// Where it is gone on with if this process does not end it.
    pub fn url(&self) -> &str {
        self.begun.as_str()
    }

    /// Sends all that comes, tells how many bytes have left, and returns where it is ended, or gone on with where it broke.
    pub async fn send(&self, blob: Growing, sent: &(dyn Fn(u64) + Sync)) -> Unfinished {
        let Self { client, endpoint, scope, begun } = self;
        let request = client.part(Method::PATCH, begun.clone(), endpoint, scope);
        let gone = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&gone);
        let blob = blob.inspect(move |piece| {
            let bytes = piece.as_ref().map_or(0, Vec::len);
            counted.fetch_add(bytes as u64, Ordering::Relaxed);
        });
        let body = reqwest::Body::wrap_stream(blob);
        let answer = client.transport.send_body(request, None, body, &gone, sent).await;
        let after = answer.ok().filter(is_taken);
        let after = after.and_then(|response| Some((location(&response).ok()?, taken(&response))));
        match after {
            Some((url, taken)) => {
                // Who took a stream to its end and says nothing of how far has all of it.
                let taken = taken.unwrap_or_else(|| gone.load(Ordering::Relaxed));
                Unfinished { url: url.into(), taken: Some(taken) }
            }
            None => Unfinished { url: begun.clone().into(), taken: None },
        }
    }
}
