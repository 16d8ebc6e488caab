//! The configuration of the client, as a value.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use rbuild_model::reference::Reference;
use reqwest::Url;

use super::credentials::{Anonymous, Credentials};
use super::error::ClientError;

/// Where images come from and how.
#[derive(Clone)]
pub struct Registries {
    /// Endpoints that are asked before the registry itself when images are fetched, by registry (`docker.io`).
    pub mirrors: BTreeMap<String, Vec<Endpoint>>,
    /// Hosts (`host` or `host:port`) that are spoken to in plain HTTP; loopback addresses always are.
    pub insecure: Vec<String>,
    /// Hosts of token services that credentials of any registry may be sent to.
    pub trusted_realms: Vec<String>,
    /// A file with the machine's certificate authorities in PEM; without any, a built-in list is used.
    pub system_bundle: Option<PathBuf>,
    /// More certificate authorities in PEM.
    pub extra_authorities: Vec<Vec<u8>>,
    /// Certificates that are for one registry and its mirrors, and for no other server, by registry.
    pub own_tls: BTreeMap<String, OwnTls>,
    /// Registries, and repositories with all below them, that nothing is fetched from or sent to.
    pub blocked: Vec<String>,
    /// Where registries lie that do not lie where their names say; see [`Registries::relocate`].
    pub relocated: BTreeMap<String, Endpoint>,
    /// As [`Self::blocked`]: what lies where the client does not follow. By their own names others may answer.
    pub elsewhere: Vec<String>,
    /// Whether nobody is spoken to at all.
    pub offline: bool,
    /// Who knows user names and passwords.
    pub credentials: Arc<dyn Credentials>,
    /// How names are resolved.
    pub names: NameService,
    /// Proxies to go through.
    pub proxies: Proxies,
    /// How long things may take and how often they are tried.
    pub timing: Timing,
}

impl Default for Registries {
    fn default() -> Self {
        Self {
            mirrors: BTreeMap::new(),
            insecure: Vec::new(),
            trusted_realms: Vec::new(),
            system_bundle: None,
            extra_authorities: Vec::new(),
            own_tls: BTreeMap::new(),
            blocked: Vec::new(),
            relocated: BTreeMap::new(),
            elsewhere: Vec::new(),
            offline: false,
            credentials: Arc::new(Anonymous),
            names: NameService::default(),
            proxies: Proxies::default(),
            timing: Timing::default(),
        }
    }
}

/// Certificates for one registry.
#[derive(Clone, Default)]
pub struct OwnTls {
    /// More certificate authorities, each in PEM.
    pub authorities: Vec<Vec<u8>>,
    /// The certificate that we show, and its key, in PEM.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// The texts that say how names are resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameService {
    /// The text of `/etc/hosts`.
    pub hosts: String,
    /// The text of `/etc/resolv.conf`.
    pub resolv_conf: String,
}

/// Proxies, as the customary variables state them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// The proxy for plain HTTP.
    pub http: Option<String>,
    /// The proxy for HTTPS.
    pub https: Option<String>,
    /// Hosts that are reached directly, separated by commas.
    pub none_for: Option<String>,
}

/// How long things may take and how often they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// The longest time that a connection may take to come about.
    pub connect: Duration,
    /// The longest time without a byte.
    pub idle: Duration,
    /// The longest time that an answer may take after a body was sent: registries hash and store it by then.
    pub answer: Duration,
    /// The span over which at least [`Timing::low_speed_bytes`] must come.
    pub low_speed_span: Duration,
    /// See [`Timing::low_speed_span`].
    pub low_speed_bytes: u64,
    /// How often a request is tried in all.
    pub attempts: u32,
    /// The pause before the second attempt; it doubles with each further one.
    pub first_pause: Duration,
    /// The longest pause, whatever a registry asks for.
    pub longest_pause: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            answer: Duration::from_secs(300),
            low_speed_span: Duration::from_secs(60),
            low_speed_bytes: 60 << 10,
            attempts: 5,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(60),
        }
    }
}

/// A server that speaks the registry's protocol: its scheme, host and port.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    url: Url,
}

/// The text is not an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a registry endpoint (host, host:port, or http(s)://host:port): {0:?}")]
pub struct ParseEndpointError(String);

impl Endpoint {
    pub(super) const fn url(&self) -> &Url {
        &self.url
    }

    /// Returns `scheme://host:port`, for messages.
    pub fn origin(&self) -> String {
        origin(&self.url)
    }

    /// Returns the host with its port if it is not the scheme's own.
    pub(super) fn authority(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }
}

impl FromStr for Endpoint {
    type Err = ParseEndpointError;

    /// Reads a host (HTTPS, or HTTP if it is a loopback address) or a URL without a path.
    fn from_str(text: &str) -> Result<Self, ParseEndpointError> {
        let wrong = || ParseEndpointError(text.chars().take(300).collect());
        let url = if text.contains("://") {
            Url::parse(text).map_err(|_| wrong())?
        } else {
            let mut url = Url::parse(&format!("https://{text}")).map_err(|_| wrong())?;
            if is_loopback(&url) {
                // A port of 443 was taken for the default of the first scheme.
                url = Url::parse(&format!("http://{text}")).map_err(|_| wrong())?;
            }
            url
        };
        let bare = matches!(url.scheme(), "http" | "https")
            && url.host_str().is_some_and(|host| !host.is_empty())
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
            && url.path() == "/";
        if bare { Ok(Self { url }) } else { Err(wrong()) }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.origin())
    }
}

impl Registries {
    /// Reads the machine's certificate authorities: they are long, and most commands speak to nobody.
    pub fn system_authorities(&self) -> Vec<u8> {
        self.system_bundle.as_ref().and_then(|path| std::fs::read(path).ok()).unwrap_or_default()
    }

    /// Says that all repositories of a registry lie at another server: the registry itself is not asked for them any more,
    /// neither before nor after that one.
    pub fn relocate(&mut self, registry: &str, to: Endpoint) {
        self.relocated.insert(canonical(registry), to);
    }

    /// Refuses what the configuration blocks.
    pub(super) fn allowed(&self, reference: &Reference) -> Result<(), ClientError> {
        let name = format!("{}/{}", canonical(reference.registry()), reference.repository());
        self.is_open(&name)?;
        match self.elsewhere.iter().find(|entry| covers(entry, &name)) {
            Some(entry) => Err(ClientError::Elsewhere(entry.clone())),
            None => Ok(()),
        }
    }

    /// Refuses a registry that the configuration blocks as a whole, by any of its names.
    pub(super) fn allowed_at_all(&self, registry: &str) -> Result<(), ClientError> {
        self.is_open(&canonical(registry))
    }

    fn is_open(&self, name: &str) -> Result<(), ClientError> {
        match self.blocked.iter().find(|entry| covers(entry, name)) {
            Some(entry) => Err(ClientError::Blocked(entry.clone())),
            None => Ok(()),
        }
    }

    /// Returns the server that has the repositories of a registry.
    pub(super) fn upstream(&self, registry: &str) -> Result<Endpoint, ParseEndpointError> {
        match self.relocated.get(&canonical(registry)) {
            Some(endpoint) => Ok(endpoint.clone()),
            None => self.itself(registry),
        }
    }

    /// Returns the endpoint of a registry itself: whom credentials and certificates of that name are for.
    pub(super) fn itself(&self, registry: &str) -> Result<Endpoint, ParseEndpointError> {
        let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
        // Who has certificates for it means TLS, on this machine too.
        if self.own_tls.contains_key(registry) && !self.insecure.iter().any(|entry| entry == registry) {
            return format!("https://{host}").parse();
        }
        let endpoint: Endpoint = host.parse()?;
        if self.is_insecure(endpoint.url()) { format!("http://{host}").parse() } else { Ok(endpoint) }
    }

    /// Returns the endpoints to fetch from, in order; mirrors come first.
    pub(super) fn sources(&self, registry: &str) -> Result<Vec<Endpoint>, ParseEndpointError> {
        let mut endpoints = self.mirrors.get(registry).cloned().unwrap_or_default();
        endpoints.push(self.upstream(registry)?);
        Ok(endpoints)
    }

    /// Returns whether plain HTTP may be spoken with the host of a URL.
    pub(super) fn is_insecure(&self, url: &Url) -> bool {
        if is_loopback(url) {
            return true;
        }
        let host = url.host_str().unwrap_or_default();
        self.insecure.iter().any(|entry| {
            entry == host
                || url.port_or_known_default().is_some_and(|port| *entry == format!("{host}:{port}"))
                || entry
                    .strip_prefix("*.")
                    .is_some_and(|domain| host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')))
                || literal_address(url).is_some_and(|address| is_within(address, entry))
        })
    }
}

/// Brings the names of a registry that mean one server to one: servers do not tell letters by their case, nor the port that
/// is meant without being said.
pub(super) fn canonical(registry: &str) -> String {
    let name = registry.to_ascii_lowercase();
    match name.strip_suffix(":443").unwrap_or(&name) {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        name => name.to_owned(),
    }
}

/// Whether an entry (a registry with or without its port, a repository, or `*.` and a domain) stands for a repository or a
/// registry, whose name begins with a canonical one.
fn covers(entry: &str, name: &str) -> bool {
    let (registry, path) = entry.find('/').map_or((entry, ""), |at| entry.split_at(at));
    let registry = canonical(registry);
    if let Some(domain) = registry.strip_prefix("*.") {
        let host = name.split(['/', ':']).next().unwrap_or_default();
        return host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    }
    let rest = name.strip_prefix(&registry).and_then(|rest| {
        let port_is_any = path.is_empty() && rest.starts_with(':');
        if port_is_any { Some("") } else { rest.strip_prefix(path) }
    });
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns whether an address lies in a range (`10.0.0.0/8`).
fn is_within(address: IpAddr, range: &str) -> bool {
    let Some((base, bits)) = range.split_once('/') else { return false };
    let (Ok(base), Ok(bits)) = (base.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    match (address, base) {
        (IpAddr::V4(address), IpAddr::V4(base)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            address.to_bits() & mask == base.to_bits() & mask
        }
        (IpAddr::V6(address), IpAddr::V6(base)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            address.to_bits() & mask == base.to_bits() & mask
        }
        _ => false,
    }
}

/// Returns the address in a URL that names none but an address.
pub(super) fn literal_address(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match literal_address(url) {
        Some(address) => address.to_canonical().is_loopback(),
        None => matches!(url.host_str(), Some("localhost")),
    }
}

/// Returns `scheme://host:port` of a URL: never its path, query or user.
pub(super) fn origin(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{}://{host}:{port}", url.scheme()),
        None => format!("{}://{host}", url.scheme()),
    }
}

pub(super) fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme()
        && a.host_str() == b.host_str()
        && a.port_or_known_default() == b.port_or_known_default()
}
