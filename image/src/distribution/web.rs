//! Files from web servers, fetched as registries are spoken to: the same authorities, proxies, names, bounds and rules for
//! redirects.

use reqwest::header::{AUTHORIZATION, ETAG, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use reqwest::{Response, StatusCode, Url};
use serde::{Deserialize, Serialize};

use super::Pending;
use super::client::Receiver;
use super::error::ClientError;
use super::http::{self, Failure, Request, Transport};
use super::registries::Registries;

/// The longest validator that is kept.
const MAX_VALIDATOR: usize = 4096;

/// Fetches files.
pub struct Web {
    pub(super) transport: Transport,
}

/// What a server said of a file, by which it can tell later whether the file is another one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validators {
    /// Its `ETag`.
    pub etag: Option<String>,
    /// Its `Last-Modified`.
    pub last_modified: Option<String>,
}

/// A file that is wanted.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// Where it is, without credentials.
    pub url: &'a str,
    /// What the server said of the copy that is here, if one is.
    pub known: Option<&'a Validators>,
    /// The value of `Authorization`.
    pub authorization: Option<&'a str>,
    /// The most bytes that it may have.
    pub limit: u64,
}

/// What a server had to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The file is the one that is here.
    Unchanged,
    /// The file came.
    Came(Validators),
}

impl Web {
    /// Makes a client that goes by what is configured for registries. Needs no runtime yet; fetching needs one with I/O
    /// and time.
    pub fn new(registries: &Registries) -> Result<Self, ClientError> {
        Ok(Self { transport: Transport::new(registries)? })
    }

    /// Fetches a file.
    ///
    /// What comes is handed on byte for byte: a server is asked for no encoding, and none is undone.
    pub fn fetch<'a>(&'a self, wanted: &'a Wanted<'a>, into: &'a mut dyn Receiver) -> Pending<'a, Reply> {
        Box::pin(async move {
            let request = request(wanted)?;
            self.transport
                .retry_into(into, async |into| self.once(request.clone(), wanted.limit, into).await)
                .await
        })
    }

    async fn once(&self, request: Request, limit: u64, into: &mut dyn Receiver) -> Result<Reply, Failure> {
        let response = self.transport.send(request).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED => return Ok(Reply::Unchanged),
            status => {
                let why = format!("invalid response status {}", status.as_u16());
                return Err(http::wrong(&response, why));
            }
        }
        let validators = validators(&response);
        http::hand_on(response, limit, self.transport.pace(), into).await?;
        Ok(Reply::Came(validators))
    }
}

fn request(wanted: &Wanted<'_>) -> Result<Request, ClientError> {
    // The text may hold a password: it is in no message.
    let setup = |why: &str| ClientError::Setup(why.to_owned());
    let url = Url::parse(wanted.url).map_err(|error| setup(&format!("the URL is malformed: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(setup("the URL is not one of HTTP or HTTPS"));
    }
    let mut request = Request::get(url);
    let mut header = |name, value: Option<&str>| {
        if let Some(mut value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            value.set_sensitive(name == AUTHORIZATION);
            request.headers.insert(name, value);
        }
    };
    header(IF_NONE_MATCH, wanted.known.and_then(|known| known.etag.as_deref()));
    header(IF_MODIFIED_SINCE, wanted.known.and_then(|known| known.last_modified.as_deref()));
    header(AUTHORIZATION, wanted.authorization);
    Ok(request)
}

fn validators(response: &Response) -> Validators {
    let text = |name| {
        let value = response.headers().get(name)?.to_str().ok()?;
        (!value.is_empty() && value.len() <= MAX_VALIDATOR).then(|| value.to_owned())
    };
    Validators { etag: text(ETAG), last_modified: text(LAST_MODIFIED) }
}
