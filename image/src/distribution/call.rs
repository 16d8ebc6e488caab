//! Calls to web services that are no registries, with the same manners.

use bytes::Bytes;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, Response, Url};

use super::Pending;
use super::client::Receiver;
use super::error::ClientError;
use super::http::{self, Failure, Request};
use super::web::Web;

/// A call.
#[derive(Clone)]
pub struct Call {
    /// What is done: `GET`, `PUT` and so on.
    pub method: &'static str,
    /// To what. It may hold a signature, and stands in no message.
    pub url: String,
    /// Headers; none of them stands in a message.
    pub headers: Vec<(&'static str, String)>,
    /// What is sent.
    pub body: Option<Bytes>,
}

/// What a service had to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, by their names in lower case; those that are no text are left out.
    pub headers: std::collections::BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Returns whether what was asked for was done.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl Web {
    /// Calls, and reads an answer of at most `limit` bytes. What may end otherwise is tried again; any other answer is one.
    pub fn call<'a>(&'a self, call: &'a Call, limit: u64) -> Pending<'a, Answer> {
        Box::pin(async move {
            let mut body = Vec::new();
            let answer = self.call_into(call, limit, &mut body).await?;
            Ok(if answer.is_success() { Answer { body, ..answer } } else { answer })
        })
    }

    /// Calls, and hands the body of a success on, which begins anew when it breaks; that of any other answer is bounded.
    pub fn call_into<'a>(
        &'a self,
        call: &'a Call,
        limit: u64,
        into: &'a mut dyn Receiver,
    ) -> Pending<'a, Answer> {
        Box::pin(async move {
            let request = request(call)?;
            self.transport
                .retry_into(into, async |into| {
                    let response = self.passed(request.clone()).await?;
                    let (status, headers) = (response.status(), headers(&response));
                    let pace = self.transport.pace();
                    let mut answer = Answer { status: status.as_u16(), headers, body: Vec::new() };
                    if status.is_success() {
                        http::hand_on(response, limit, pace, into).await?;
                    } else {
                        // The status counts, also where the reason is too long or does not come.
                        answer.body =
                            http::bounded(response, http::MAX_REASON, pace).await.unwrap_or_default();
                    }
                    Ok(answer)
                })
                .await
        })
    }

    /// Sends, and takes an answer that may change for a failure that passes.
    async fn passed(&self, request: Request) -> Result<Response, Failure> {
        let response = self.transport.send(request).await?;
        if !http::is_passing(response.status()) {
            return Ok(response);
        }
        let why = format!("it answers with status {}, again and again", response.status().as_u16());
        Err(http::wrong(&response, why))
    }
}

fn request(call: &Call) -> Result<Request, ClientError> {
    let setup = |why: String| ClientError::Setup(why);
    let url = Url::parse(&call.url)
        .map_err(|error| setup(format!("the URL of a service is malformed: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(setup("the URL of a service is not one of HTTP or HTTPS".to_owned()));
    }
    let method = Method::from_bytes(call.method.as_bytes()).map_err(|error| setup(error.to_string()))?;
    let mut request = Request::new(method, url);
    for (name, value) in &call.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| setup(error.to_string()))?;
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| setup(format!("the header `{name}` cannot have the value that it is to have")))?;
        value.set_sensitive(true);
        request.headers.insert(name, value);
    }
    request.body.clone_from(&call.body);
    Ok(request)
}

fn headers(response: &Response) -> std::collections::BTreeMap<String, String> {
    let text = |(name, value): (&HeaderName, &HeaderValue)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    };
    response.headers().iter().filter_map(text).collect()
}
