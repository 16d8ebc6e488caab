//! Requests: redirects, retries, bounded bodies.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    LOCATION, RANGE, RETRY_AFTER,
};
use reqwest::{Method, Response, StatusCode, Url};
use tokio::time::Instant;

use super::client::Receiver;
use super::dns;
use super::error::{ClientError, Refusal};
use super::registries::{OwnTls, Registries, Timing, literal_address, origin, same_origin};
use super::tls;

/// The most redirects that are followed for one request.
const MAX_REDIRECTS: usize = 5;
/// The most bytes of a token's body.
pub(super) const MAX_SMALL_BODY: u64 = 1 << 20;
/// The most bytes of what a server says about an error.
pub(super) const MAX_REASON: u64 = 64 << 10;
/// The most bytes of a `Location` header.
const MAX_LOCATION: usize = 8 << 10;
/// The headers that say what is wanted, not who asks: all that another server is told than the one that was asked.
static FOR_ANYBODY: [HeaderName; 6] =
    [ACCEPT, ACCEPT_ENCODING, RANGE, IF_RANGE, IF_NONE_MATCH, IF_MODIFIED_SINCE];

/// A request that can be sent again.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
}

impl Request {
    pub(super) fn new(method: Method, url: Url) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: None }
    }

    pub(super) fn get(url: Url) -> Self {
        Self::new(Method::GET, url)
    }
}

/// The clients for one set of certificate authorities.
#[derive(Clone)]
struct Pair {
    /// Gives up where nothing comes.
    fetching: reqwest::Client,
    /// Waits for as long as a body takes to leave: who sends it watches it.
    sending: reqwest::Client,
}

/// Sends requests.
pub(super) struct Transport {
    common: Pair,
    /// Whether nobody is spoken to at all.
    offline: bool,
    /// Clients for servers that others vouch for than for all, by origin.
    own: BTreeMap<String, Pair>,
    timing: Timing,
}

/// How often it is looked how much of a body has left.
const TICK: Duration = Duration::from_millis(100);
/// The size of the pieces in which a body at hand leaves. One that is a single piece is gone at once: only its answer is
/// waited for.
const PIECE: usize = 64 << 10;

impl Transport {
    pub(super) fn new(registries: &Registries) -> Result<Self, ClientError> {
        let mut own = BTreeMap::new();
        for (name, tls) in &registries.own_tls {
            let pair = Self::pair_for(registries, Some(tls))?;
            let itself = registries.itself(name).map_err(|error| ClientError::Setup(error.to_string()))?;
            let mirrors = registries.mirrors.get(name).into_iter().flatten();
            let endpoints: Vec<_> = mirrors.chain([&itself]).collect();
            own.extend(endpoints.iter().map(|endpoint| (endpoint.origin(), pair.clone())));
        }
        let common = Self::pair_for(registries, None)?;
        Ok(Self { common, offline: registries.offline, own, timing: registries.timing })
    }

    fn pair_for(registries: &Registries, own: Option<&OwnTls>) -> Result<Pair, ClientError> {
        let setup = |error: reqwest::Error| ClientError::Setup(error.to_string());
        let fetching = Self::builder(registries, own)?.read_timeout(registries.timing.idle);
        let sending = Self::builder(registries, own)?;
        Ok(Pair { fetching: fetching.build().map_err(setup)?, sending: sending.build().map_err(setup)? })
    }

    fn builder(registries: &Registries, own: Option<&OwnTls>) -> Result<reqwest::ClientBuilder, ClientError> {
        let setup = |error: reqwest::Error| ClientError::Setup(error.to_string());
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::configure(registries, own)?)
            .dns_resolver(dns::Stub::new(&registries.names))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(registries.timing.connect)
            .user_agent(concat!("rbuild/", env!("CARGO_PKG_VERSION")))
            .no_proxy();
        let exceptions = registries.proxies.none_for.as_deref().and_then(reqwest::NoProxy::from_string);
        if let Some(proxy) = &registries.proxies.http {
            builder = builder.proxy(reqwest::Proxy::http(proxy).map_err(setup)?.no_proxy(exceptions.clone()));
        }
        if let Some(proxy) = &registries.proxies.https {
            builder = builder.proxy(reqwest::Proxy::https(proxy).map_err(setup)?.no_proxy(exceptions));
        }
        Ok(builder)
    }

    /// Refuses to speak to anybody who works offline.
    fn online(&self, url: &Url) -> Result<(), ClientError> {
        if self.offline { Err(ClientError::Offline(origin(url))) } else { Ok(()) }
    }

    /// The clients that trust whom a server is vouched for by.
    fn pair(&self, url: &Url) -> &Pair {
        self.own.get(&origin(url)).unwrap_or(&self.common)
    }

    /// Sends a request whose body is produced as it goes; it is neither redirected nor repeated.
    ///
    /// `taken` counts the bytes of the body that were taken to be sent, and is told on. Where none is taken for
    /// [`Timing::idle`], or no answer comes within [`Timing::answer`] after the last one, that is too slow. A body whose length
    /// nobody knows yet may stop for the latter while it is being made.
    pub(super) async fn send_body(
        &self,
        mut request: Request,
        length: Option<u64>,
        body: reqwest::Body,
        taken: &AtomicU64,
        told: &(dyn Fn(u64) + Sync),
    ) -> Result<Response, ClientError> {
        self.online(&request.url)?;
        let at = origin(&request.url);
        if let Some(length) = length {
            request.headers.insert(reqwest::header::CONTENT_LENGTH, length.into());
        }
        let mut answer = pin!(
            self.pair(&request.url)
                .sending
                .request(request.method, request.url)
                .headers(request.headers)
                .body(body)
                .send()
        );
        let (mut seen, mut since) = (0, Instant::now());
        loop {
            match tokio::time::timeout(TICK, &mut answer).await {
                Ok(response) => {
                    let response = response.map_err(|source| transport(at, source))?;
                    told(taken.load(Ordering::Relaxed));
                    return Ok(response);
                }
                Err(_) => {
                    let now = taken.load(Ordering::Relaxed);
                    if now > seen {
                        (seen, since) = (now, Instant::now());
                        told(now);
                    }
                    let is_more = length.is_some_and(|length| now < length);
                    let most = if is_more { self.timing.idle } else { self.timing.answer };
                    if since.elapsed() > most {
                        return Err(ClientError::TooSlow(at));
                    }
                }
            }
        }
    }

    /// Sends a request whose body is at hand, and watches it leave: a slow line may take as long as it needs.
    async fn send_bytes(&self, request: Request, mut body: Bytes) -> Result<Response, ClientError> {
        let taken = Arc::new(AtomicU64::new(0));
        let (length, counted) = (body.len() as u64, Arc::clone(&taken));
        let pieces = std::iter::from_fn(move || {
            let piece = body.split_to(body.len().min(PIECE));
            counted.fetch_add(piece.len() as u64, Ordering::Relaxed);
            (!piece.is_empty()).then_some(Ok::<_, std::io::Error>(piece))
        });
        let pieces = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
        self.send_body(request, Some(length), pieces, &taken, &|_| ()).await
    }

    /// Sends a request and follows redirects, unless it has a body that takes time to leave.
    ///
    /// Only what is [for anybody](FOR_ANYBODY) goes on as soon as the origin changes: credentials stand in headers of
    /// many names.
    pub(super) async fn send(&self, mut request: Request) -> Result<Response, ClientError> {
        self.online(&request.url)?;
        let first = request.url.clone();
        request.headers.entry(ACCEPT_ENCODING).or_insert(HeaderValue::from_static("identity"));
        if let Some(body) = request.body.take_if(|body| body.len() > PIECE) {
            return self.send_bytes(request, body).await;
        }
        for _ in 0..=MAX_REDIRECTS {
            let mut builder = self
                .pair(&request.url)
                .fetching
                .request(request.method.clone(), request.url.clone())
                .headers(request.headers.clone());
            if let Some(body) = &request.body {
                builder = builder.body(body.clone());
            }
            let response = builder.send().await.map_err(|source| transport(origin(&request.url), source))?;
            let followed = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308)
                && matches!(request.method, Method::GET | Method::HEAD);
            if !followed {
                return Ok(response);
            }
            let next = location(&response)?;
            if !same_origin(&first, &next) {
                let own = request.headers.keys().filter(|name| !FOR_ANYBODY.contains(name));
                for name in own.cloned().collect::<Vec<_>>() {
                    request.headers.remove(name);
                }
            }
            request.url = next;
        }
        Err(ClientError::Protocol {
            origin: origin(&first),
            why: format!("more than {MAX_REDIRECTS} redirects"),
        })
    }

    /// Does something until it succeeds, fails for good, or has been tried often enough.
    pub(super) async fn retry<T, F>(&self, mut act: impl FnMut() -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let mut patience = self.patience();
        loop {
            match act().await {
                Ok(value) => return Ok(value),
                Err(failure) => patience.after(failure).await?,
            }
        }
    }

    /// As [`Transport::retry`], for something that is received: another attempt begins anew.
    pub(super) async fn retry_into<T>(
        &self,
        into: &mut dyn Receiver,
        mut act: impl AsyncFnMut(&mut dyn Receiver) -> Result<T, Failure>,
    ) -> Result<T, ClientError> {
        let mut patience = self.patience();
        loop {
            match act(into).await {
                Ok(value) => return Ok(value),
                Err(failure) => patience.after(failure).await?,
            }
            into.restart().map_err(ClientError::Kept)?;
        }
    }

    /// Counts attempts from the first one on.
    pub(super) fn patience(&self) -> Patience {
        Patience { timing: self.timing, attempt: 1, pause: self.timing.first_pause }
    }

    /// Turns a response that is no success into what the registry said, as far as it says it in time.
    pub(super) async fn refused(&self, response: Response, what: &str) -> Failure {
        let status = response.status();
        let asked = asked_pause(&response);
        let origin = origin(response.url());
        let body = bounded(response, MAX_REASON, self.pace()).await.unwrap_or_default();
        let refusal = Box::new(Refusal::parse(status.as_u16(), &body));
        let error = ClientError::Refused { what: what.to_owned(), origin, refusal };
        if is_passing(status) { Failure::Passing(error, asked) } else { Failure::Final(error) }
    }

    /// Watches over the speed of a body.
    pub(super) fn pace(&self) -> Pace {
        Pace { timing: self.timing, since: Instant::now(), bytes: 0 }
    }
}

/// How often something was tried, and how long to wait before it is tried again.
pub(super) struct Patience {
    timing: Timing,
    attempt: u32,
    pause: Duration,
}

impl Patience {
    /// Waits for the time of another attempt, or gives back why there is none.
    pub(super) async fn after(&mut self, failure: Failure) -> Result<(), ClientError> {
        match failure {
            Failure::Final(error) => Err(error),
            Failure::Passing(error, _) if self.attempt >= self.timing.attempts => Err(error),
            Failure::Passing(_, asked) => {
                let wait = asked.unwrap_or(self.pause).min(self.timing.longest_pause);
                tokio::time::sleep(jittered(wait)).await;
                self.pause = (self.pause * 2).min(self.timing.longest_pause);
                self.attempt += 1;
                Ok(())
            }
        }
    }

    /// Counts anew: the last attempt brought something.
    pub(super) fn renew(&mut self) {
        self.attempt = 1;
        self.pause = self.timing.first_pause;
    }
}

/// Shortens a pause by up to a quarter, so that many do not come back at once.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [0];
    if getrandom::fill(&mut byte).is_err() {
        return pause;
    }
    pause.mul_f64(1.0 - f64::from(byte[0]) / 1024.0)
}

fn transport(origin: String, source: reqwest::Error) -> ClientError {
    // The URL in the library's message may hold signatures and tokens.
    ClientError::Transport { origin, source: source.without_url() }
}

/// Why an act did not succeed.
pub(super) enum Failure {
    /// It would not, again.
    Final(ClientError),
    /// It may, after the pause that was asked for.
    Passing(ClientError, Option<Duration>),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Transport { .. } if error.is_unreachable() => Self::Final(error),
            ClientError::Transport { .. } | ClientError::TooSlow(_) => Self::Passing(error, None),
            other => Self::Final(other),
        }
    }
}

/// Reads the address that a response points to, and refuses those that nobody is led to.
pub(super) fn location(response: &Response) -> Result<Url, ClientError> {
    let from = response.url();
    let wrong = |why: &str| ClientError::Protocol { origin: origin(from), why: why.to_owned() };
    let header = response.headers().get(LOCATION).ok_or_else(|| wrong("a `Location` header is missing"))?;
    let text = header.to_str().map_err(|_| wrong("the `Location` header is not text"))?;
    if text.is_empty() || text.len() > MAX_LOCATION {
        return Err(wrong("the `Location` header is empty or too long"));
    }
    let url = from.join(text).map_err(|_| wrong("the `Location` header is not a URL"))?;
    match (from.scheme(), url.scheme()) {
        (_, "https") | ("http", "http") => {}
        ("https", "http") => return Err(wrong("it leads from HTTPS to plain HTTP")),
        _ => return Err(wrong("it leads to something else than HTTP")),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("it leads to a URL with a user name"));
    }
    if !same_origin(from, &url) {
        let literal = literal_address(&url);
        let local = super::registries::is_loopback(&url) && !super::registries::is_loopback(from);
        if literal.is_some_and(dns::is_forbidden) || local {
            return Err(wrong("it leads to an address of this machine or link"));
        }
    }
    Ok(url)
}

/// Turns a response that nobody can do anything with into what is wrong about it.
pub(super) fn wrong(response: &Response, why: String) -> Failure {
    let error = ClientError::Protocol { origin: origin(response.url()), why };
    if is_passing(response.status()) {
        Failure::Passing(error, asked_pause(response))
    } else {
        Failure::Final(error)
    }
}

/// Returns whether another attempt may end otherwise.
pub(super) fn is_passing(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::REQUEST_TIMEOUT
            | StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// Reads how long a server asks to be left alone.
fn asked_pause(response: &Response) -> Option<Duration> {
    pause_of(response.headers().get(RETRY_AFTER)?.to_str().ok()?, jiff::Timestamp::now())
}

/// Reads a number of seconds or a date (RFC 9110, 10.2.3); a date that is over is no pause at all.
fn pause_of(text: &str, now: jiff::Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

/// Reads a body of at most `limit` bytes.
pub(super) async fn bounded(response: Response, limit: u64, pace: Pace) -> Result<Vec<u8>, ClientError> {
    let mut body = Vec::new();
    hand_on(response, limit, pace, &mut body).await?;
    Ok(body)
}

/// Hands a body of at most `limit` bytes on as it comes.
pub(super) async fn hand_on(
    mut response: Response,
    limit: u64,
    mut pace: Pace,
    into: &mut dyn Receiver,
) -> Result<(), ClientError> {
    let at = origin(response.url());
    let too_large =
        || ClientError::Protocol { origin: at.clone(), why: format!("a body of more than {limit} bytes") };
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let mut came = 0;
    while let Some(chunk) = chunk(&mut response).await? {
        pace.passed(chunk.len() as u64, &at)?;
        came += chunk.len() as u64;
        if came > limit {
            return Err(too_large());
        }
        into.receive(&chunk).map_err(ClientError::Kept)?;
    }
    Ok(())
}

/// Reads the next piece of a body.
pub(super) async fn chunk(response: &mut Response) -> Result<Option<Bytes>, ClientError> {
    let at = origin(response.url());
    response.chunk().await.map_err(|source| transport(at, source))
}

/// Refuses bodies that come in drips.
pub(super) struct Pace {
    timing: Timing,
    since: Instant,
    bytes: u64,
}

impl Pace {
    pub(super) fn passed(&mut self, bytes: u64, origin: &str) -> Result<(), ClientError> {
        self.bytes += bytes;
        if self.since.elapsed() >= self.timing.low_speed_span {
            if self.bytes < self.timing.low_speed_bytes {
                return Err(ClientError::TooSlow(origin.to_owned()));
            }
            self.since = Instant::now();
            self.bytes = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_seconds_or_dates() {
        let now: jiff::Timestamp = "2015-10-21T07:28:00Z".parse().unwrap();
        for (text, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Wed, 21 Oct 2015 07:29:30 GMT", Some(90)),
            ("Wed, 21 Oct 2015 07:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(pause_of(text, now), seconds.map(Duration::from_secs), "{text:?}");
        }
    }
}
