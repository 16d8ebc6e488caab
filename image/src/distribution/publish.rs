//! Pushing manifests and indexes, and telling registries what refers to what.

use bytes::Bytes;
use rbuild_model::digest::BlobDigest;
use rbuild_model::reference::Reference;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode};
use serde::Deserialize;

use super::Pending;
use super::auth::Scope;
use super::client::{Client, url};
use super::error::ClientError;
use super::http::Request;
use crate::manifest::{Descriptor, Document, Index, MAX_DOCUMENT, MediaType};

/// By which a registry says that it keeps the list of what refers to a manifest.
const SUBJECT: &str = "oci-subject";

impl Client {
    /// Puts a manifest or an index under the reference's tag, or under its own digest if there is no tag.
    ///
    /// One that refers to another (`subject`) is written to the list of those under that one's fallback tag, where the
    /// registry does not keep such lists by itself.
    pub fn push_manifest<'a>(
        &'a self,
        reference: &'a Reference,
        bytes: &'a [u8],
        media_type: &'a str,
    ) -> Pending<'a, BlobDigest> {
        Box::pin(async move {
            if bytes.len() as u64 > MAX_DOCUMENT {
                return Err(ClientError::Setup(format!(
                    "the manifest of {} has more than {MAX_DOCUMENT} bytes, which registries refuse",
                    reference.familiar()
                )));
            }
            let digest = BlobDigest::of(bytes);
            let listed = self.put_manifest(reference, bytes, media_type).await?;
            if !listed && let Some(entry) = Referrer::of(bytes, media_type) {
                self.list_referrer(reference, entry).await?;
            }
            Ok(digest)
        })
    }

    /// Puts a document, and returns whether the registry has noticed what it refers to.
    async fn put_manifest(
        &self,
        reference: &Reference,
        bytes: &[u8],
        media_type: &str,
    ) -> Result<bool, ClientError> {
        let name = reference.tag().map_or_else(|| BlobDigest::of(bytes).to_string(), str::to_owned);
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
                    StatusCode::CREATED | StatusCode::OK | StatusCode::ACCEPTED => {
                        Ok(response.headers().contains_key(SUBJECT))
                    }
                    _ => Err(self.transport.refused(response, &reference.familiar()).await),
                }
            })
            .await
    }

    /// Adds a manifest to the list of those that refer to another one.
    async fn list_referrer(&self, reference: &Reference, entry: Referrer) -> Result<(), ClientError> {
        let Some(tagged) = fallback(reference, entry.subject) else { return Ok(()) };
        let mut list = match self.manifest_upstream(&tagged).await {
            Ok(fetched) => match fetched.document {
                Document::Index(index) => index,
                Document::Manifest(_) => Index::new(Vec::new()),
            },
            Err(error) if error.is_not_found() => Index::new(Vec::new()),
            Err(error) => return Err(error),
        };
        if list.manifests.iter().any(|other| other.digest == entry.descriptor.digest) {
            return Ok(());
        }
        list.manifests.push(entry.descriptor);
        self.put_manifest(&tagged, &list.to_bytes(), MediaType::OCI_INDEX).await.map(drop)
    }
}

/// The name under which registries without lists of their own keep what refers to a manifest.
pub(super) fn fallback(reference: &Reference, subject: BlobDigest) -> Option<Reference> {
    format!("{}:sha256-{}", reference.name(), subject.hex()).parse().ok()
}

/// A manifest that refers to another one, as lists have it.
struct Referrer {
    subject: BlobDigest,
    descriptor: Descriptor,
}

impl Referrer {
    fn of(bytes: &[u8], media_type: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Referring {
            subject: Option<Descriptor>,
            #[serde(rename = "artifactType")]
            artifact_type: Option<String>,
            config: Option<Descriptor>,
            #[serde(default)]
            annotations: std::collections::BTreeMap<String, String>,
        }
        let Referring { subject, artifact_type, config, annotations } = serde_json::from_slice(bytes).ok()?;
        let kind = artifact_type
            .filter(|kind| !kind.is_empty())
            .or_else(|| config.map(|config| config.media_type.as_str().to_owned()));
        let mut descriptor = Descriptor::of(media_type, bytes);
        descriptor.annotations = annotations;
        if let Some(kind) = kind {
            descriptor.extra.insert("artifactType".to_owned(), kind.into());
        }
        Some(Self { subject: subject?.digest, descriptor })
    }
}
