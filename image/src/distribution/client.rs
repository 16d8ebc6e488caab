//! The client: one object for all registries of a process.

use std::io;

use rbuild_model::digest::BlobDigest;
use rbuild_model::reference::Reference;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Response, Url};

use super::Pending;
use super::auth::{Keyring, Scope, authorized};
use super::error::ClientError;
use super::http::{Request, Transport};
use super::registries::{Endpoint, Registries};
use crate::manifest::{Document, MediaType};

/// Fetches and pushes images.
///
/// Cheap to share by reference: connections and tokens are kept within.
pub struct Client {
    pub(super) transport: Transport,
    pub(super) registries: Registries,
    pub(super) keyring: Keyring,
    /// Headers for registries, and for nobody whom they lead to.
    meta: HeaderMap,
}

/// How the names of headers begin that are for registries.
const META: &str = "x-meta-";

/// A manifest or an index as it came.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The hash of the bytes.
    pub digest: BlobDigest,
    /// The type that the document has.
    pub media_type: MediaType,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// What they say.
    pub document: Document,
    /// The server that they came from.
    pub origin: String,
}

/// Takes the bytes of a blob in.
pub trait Receiver: Send {
    /// Returns how many bytes an earlier attempt left here: the blob goes on behind them. Asked once, before anything
    /// comes; who has any takes the [`digest`](Self::digest) itself.
    fn resume(&mut self) -> io::Result<u64> {
        Ok(0)
    }
    /// Returns the digest of all that is here, if the receiver takes it itself: else the client does.
    fn digest(&self) -> Option<BlobDigest> {
        None
    }
    /// Takes the next bytes.
    fn receive(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Forgets what came so far: the blob begins anew.
    fn restart(&mut self) -> io::Result<()>;
}

/// Memory, for what has a bound.
impl Receiver for Vec<u8> {
    fn receive(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        self.clear();
        Ok(())
    }
}

impl Client {
    /// Makes a client. Needs no runtime yet; its other functions need one with I/O and time.
    pub fn new(registries: Registries) -> Result<Self, ClientError> {
        let transport = Transport::new(&registries)?;
        let mut meta = HeaderMap::new();
        for (name, value) in registries.credentials.headers() {
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(&value))
                && name.as_str().starts_with(META)
            {
                meta.insert(name, value);
            }
        }
        Ok(Self { transport, registries, keyring: Keyring::default(), meta })
    }

    /// Returns the endpoints to fetch a repository from.
    pub(super) fn sources(&self, reference: &Reference) -> Result<Vec<Endpoint>, ClientError> {
        self.registries.allowed(reference)?;
        self.registries.sources(reference.registry()).map_err(|error| ClientError::Setup(error.to_string()))
    }

    /// Returns the registry itself.
    pub(super) fn upstream(&self, reference: &Reference) -> Result<Endpoint, ClientError> {
        self.registries.allowed(reference)?;
        self.registries.upstream(reference.registry()).map_err(|error| ClientError::Setup(error.to_string()))
    }

    /// Returns a registry by its name alone.
    pub(super) fn endpoint(&self, registry: &str) -> Result<Endpoint, ClientError> {
        self.registries.allowed_at_all(registry)?;
        self.registries.itself(registry).map_err(|error| ClientError::Setup(error.to_string()))
    }

    pub(super) async fn authorized(
        &self,
        endpoint: &Endpoint,
        scope: &Scope,
        mut request: Request,
    ) -> Result<Response, ClientError> {
        request.headers.extend(self.meta.clone());
        authorized(&self.transport, &self.registries, &self.keyring, endpoint, scope, request).await
    }

    /// Asks a registry whether it is one, and whether our credentials open it.
    pub fn ping<'a>(&'a self, registry: &'a str) -> Pending<'a, ()> {
        Box::pin(async move {
            let endpoint = self.endpoint(registry)?;
            let scope = Scope::login(registry);
            let url = url(&endpoint, "v2/")?;
            let what = format!("the registry {registry}");
            self.transport
                .retry(|| async {
                    let response = self.authorized(&endpoint, &scope, Request::get(url.clone())).await?;
                    if response.status().is_success() {
                        Ok(())
                    } else {
                        Err(self.transport.refused(response, &what).await)
                    }
                })
                .await
        })
    }
}

/// Makes the URL of a path below an endpoint; the parts of the path follow the reference grammar, which knows no
/// character that means something in a URL.
pub(super) fn url(endpoint: &Endpoint, path: &str) -> Result<Url, ClientError> {
    endpoint.url().join(path).map_err(|error| ClientError::Protocol {
        origin: endpoint.origin(),
        why: format!("no URL can be made of it: {error}"),
    })
}
