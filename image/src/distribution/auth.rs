//! Tokens: where they come from, what they are good for, and where credentials may go.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Method, Response, Url};
use serde::Deserialize;
use tokio::time::Instant;

use super::challenge::Challenge;
use super::credentials::Credential;
use super::dns;
use super::error::ClientError;
use super::http::{Failure, MAX_SMALL_BODY, Request, Transport, bounded};
use super::registries::{Endpoint, Registries, is_loopback, literal_address, origin};

/// What a request needs rights to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Scope {
    /// The registry, as its credentials are named.
    pub(super) registry: String,
    /// `repository:NAME:ACTIONS`, several of them separated by spaces.
    pub(super) text: String,
}

impl Scope {
    pub(super) fn pull(registry: &str, repository: &str) -> Self {
        Self { registry: registry.to_owned(), text: format!("repository:{repository}:pull") }
    }

    /// Nothing but being let in.
    pub(super) fn login(registry: &str) -> Self {
        Self { registry: registry.to_owned(), text: String::new() }
    }

    pub(super) fn push(registry: &str, repository: &str, mounts_from: &[&str]) -> Self {
        let mut text = format!("repository:{repository}:pull,push");
        for other in mounts_from {
            text.push_str(&format!(" repository:{other}:pull"));
        }
        Self { registry: registry.to_owned(), text }
    }
}

/// The headers that open a registry, by its origin and what they are good for.
#[derive(Default)]
pub(super) struct Keyring {
    held: Mutex<HashMap<(String, Scope), Held>>,
}

#[derive(Clone)]
struct Held {
    header: HeaderValue,
    until: Option<Instant>,
    /// The token that stands for the password from now on, where one was asked for and given.
    identity: Option<String>,
}

impl Keyring {
    pub(super) fn get(&self, endpoint: &Endpoint, scope: &Scope) -> Option<HeaderValue> {
        let held = self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let found = held.get(&(endpoint.origin(), scope.clone()))?;
        let fresh = found.until.is_none_or(|until| until > Instant::now());
        fresh.then(|| found.header.clone())
    }

    /// Returns the token that was given to be kept in place of the password.
    pub(super) fn identity(&self, endpoint: &Endpoint, scope: &Scope) -> Option<String> {
        let held = self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        held.get(&(endpoint.origin(), scope.clone()))?.identity.clone()
    }

    fn put(&self, endpoint: &Endpoint, scope: &Scope, header: HeaderValue, token: Option<Token>) {
        let until = token.as_ref().map(|token| token.until);
        let held = Held { header, until, identity: token.and_then(|token| token.identity) };
        let mut all = self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.insert((endpoint.origin(), scope.clone()), held);
    }

    pub(super) fn drop_one(&self, endpoint: &Endpoint, scope: &Scope) {
        let mut held = self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        held.remove(&(endpoint.origin(), scope.clone()));
    }
}

/// Sends a request with the rights that it needs, which are got if the registry asks for them.
pub(super) async fn authorized(
    transport: &Transport,
    registries: &Registries,
    keyring: &Keyring,
    endpoint: &Endpoint,
    scope: &Scope,
    request: Request,
) -> Result<Response, ClientError> {
    let with = |header: Option<HeaderValue>| {
        let mut request = request.clone();
        if let Some(header) = header {
            request.headers.insert(AUTHORIZATION, header);
        }
        request
    };
    let response = transport.send(with(keyring.get(endpoint, scope))).await?;
    if response.status().as_u16() != 401 {
        return Ok(response);
    }
    keyring.drop_one(endpoint, scope);
    let challenges: Vec<_> = response
        .headers()
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .take(8)
        .filter_map(|value| value.to_str().ok())
        .filter(|text| text.len() <= 8 << 10)
        .flat_map(Challenge::parse)
        .collect();
    // Only the registry itself may ask; a server that it led to may not.
    if !super::registries::same_origin(response.url(), endpoint.url()) || challenges.is_empty() {
        return Ok(response);
    }
    match answer(transport, registries, keyring, endpoint, scope, &challenges).await? {
        Some(header) => transport.send(with(Some(header))).await,
        None => Ok(response),
    }
}

/// Answers the first challenge that can be answered.
async fn answer(
    transport: &Transport,
    registries: &Registries,
    keyring: &Keyring,
    endpoint: &Endpoint,
    scope: &Scope,
    challenges: &[Challenge],
) -> Result<Option<HeaderValue>, ClientError> {
    let credential = registries
        .credentials
        .for_registry(&scope.registry)
        .map_err(|error| ClientError::Credentials(scope.registry.clone(), error))?;
    // Mirrors of another owner get no credentials of the registry that they mirror, nor does who stands in its place.
    let own = registries.itself(&scope.registry).is_ok_and(|itself| itself == *endpoint);
    let credential = if own {
        credential
    } else {
        registries
            .credentials
            .for_registry(&endpoint.authority())
            .map_err(|error| ClientError::Credentials(endpoint.authority(), error))?
    };
    if let Some(Credential::RegistryToken(token)) = &credential {
        let header = secret(&format!("Bearer {token}"), endpoint)?;
        keyring.put(endpoint, scope, header.clone(), None);
        return Ok(Some(header));
    }
    for challenge in challenges {
        match (challenge, &credential) {
            (Challenge::Basic, Some(Credential::Password { username, password })) => {
                let header = secret(&basic(username, password), endpoint)?;
                keyring.put(endpoint, scope, header.clone(), None);
                return Ok(Some(header));
            }
            (Challenge::Basic, _) => {}
            (Challenge::Bearer { realm, service, .. }, credential) => {
                let realm = realm_url(registries, endpoint, realm)?;
                if credential.is_some() && !may_receive(registries, endpoint, &realm) {
                    return Err(ClientError::UntrustedRealm {
                        registry: scope.registry.clone(),
                        realm: realm.host_str().unwrap_or_default().to_owned(),
                    });
                }
                let token = transport
                    .retry(|| fetch_token(transport, &realm, service.as_deref(), scope, credential.as_ref()))
                    .await?;
                let header = secret(&format!("Bearer {}", token.value), endpoint)?;
                keyring.put(endpoint, scope, header.clone(), Some(token));
                return Ok(Some(header));
            }
        }
    }
    Ok(None)
}

fn basic(username: &str, password: &str) -> String {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
    format!("Basic {pair}")
}

fn secret(text: &str, endpoint: &Endpoint) -> Result<HeaderValue, ClientError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| ClientError::Protocol {
        origin: endpoint.origin(),
        why: "its credentials or token cannot stand in a header".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Reads the address of a token service and refuses those that nobody is led to.
fn realm_url(registries: &Registries, endpoint: &Endpoint, realm: &str) -> Result<Url, ClientError> {
    let wrong = |why: &str| ClientError::Protocol {
        origin: endpoint.origin(),
        why: format!("its token service {why}"),
    };
    let url = Url::parse(realm).map_err(|_| wrong("has no URL"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("has a URL with a user name"));
    }
    let plain_allowed = endpoint.url().scheme() == "http" && registries.is_insecure(&url);
    if url.scheme() != "https" && !(url.scheme() == "http" && plain_allowed) {
        return Err(wrong("is not reached by HTTPS"));
    }
    let to_loopback = is_loopback(&url) && !is_loopback(endpoint.url());
    if to_loopback || literal_address(&url).is_some_and(dns::is_forbidden) {
        return Err(wrong("is at an address of this machine or link"));
    }
    Ok(url)
}

/// Returns whether credentials of a registry may go to a token service.
fn may_receive(registries: &Registries, endpoint: &Endpoint, realm: &Url) -> bool {
    let registry = endpoint.url().host_str().unwrap_or_default();
    let host = realm.host_str().unwrap_or_default();
    if registries.trusted_realms.iter().any(|trusted| trusted == host) {
        return true;
    }
    if is_loopback(endpoint.url()) && is_loopback(realm) {
        return true;
    }
    if literal_address(realm).is_some() || literal_address(endpoint.url()).is_some() {
        return host == registry;
    }
    same_owner(registry, host)
}

/// Returns whether two host names belong to one owner: equal, one below the other, or both below one domain that
/// is not a public suffix as far as its form tells (`co.uk`).
fn same_owner(a: &str, b: &str) -> bool {
    let below = |name: &str, domain: &str| {
        name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let owned = |domain: &str| {
        let labels: Vec<_> = domain.split('.').collect();
        match labels[..] {
            [] | [_] => false,
            [second, top] => top.len() > 2 || second.len() > 3,
            _ => true,
        }
    };
    if a == b || (owned(a) && below(b, a)) || (owned(b) && below(a, b)) {
        return true;
    }
    a.split_once('.').is_some_and(|(_, parent)| owned(parent) && below(b, parent))
}

struct Token {
    value: String,
    until: Instant,
    identity: Option<String>,
}

async fn fetch_token(
    transport: &Transport,
    realm: &Url,
    service: Option<&str>,
    scope: &Scope,
    credential: Option<&Credential>,
) -> Result<Token, Failure> {
    #[derive(Deserialize)]
    struct Body {
        token: Option<String>,
        access_token: Option<String>,
        expires_in: Option<u64>,
        refresh_token: Option<String>,
    }

    let mut parameters = Vec::new();
    parameters.extend(service.map(|service| ("service", service.to_owned())));
    let request = if let Some(Credential::IdentityToken(token)) = credential {
        if !scope.text.is_empty() {
            parameters.push(("scope", scope.text.clone()));
        }
        parameters.push(("grant_type", "refresh_token".to_owned()));
        parameters.push(("client_id", "rbuild".to_owned()));
        parameters.push(("refresh_token", token.clone()));
        let mut form = Url::parse("form:").map_err(|error| ClientError::Setup(error.to_string()))?;
        form.query_pairs_mut().extend_pairs(parameters);
        let mut request = Request::new(Method::POST, realm.clone());
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        request.body = Some(Bytes::from(form.query().unwrap_or_default().to_owned()));
        request
    } else {
        let mut url = realm.clone();
        let scopes = scope.text.split(' ').filter(|scope| !scope.is_empty());
        parameters.extend(scopes.map(|scope| ("scope", scope.to_owned())));
        if scope.text.is_empty() && credential.is_some() {
            // Who logs in would rather keep a token than the password.
            parameters.push(("offline_token", "true".to_owned()));
            parameters.push(("client_id", "rbuild".to_owned()));
        }
        if let Some(Credential::Password { username, .. }) = credential {
            parameters.push(("account", username.clone()));
        }
        url.query_pairs_mut().extend_pairs(parameters);
        let mut request = Request::get(url);
        if let Some(Credential::Password { username, password }) = credential {
            let mut header = HeaderValue::from_str(&basic(username, password))
                .map_err(|_| ClientError::Setup("a password cannot stand in a header".to_owned()))?;
            header.set_sensitive(true);
            request.headers.insert(AUTHORIZATION, header);
        }
        request
    };
    let response = transport.send(request).await?;
    if !response.status().is_success() {
        return Err(transport.refused(response, &format!("a token for {}", scope.text)).await);
    }
    let from = origin(response.url());
    let body = bounded(response, MAX_SMALL_BODY, transport.pace()).await?;
    let wrong =
        || ClientError::Protocol { origin: from.clone(), why: "the token service sent no token".to_owned() };
    let body: Body = serde_json::from_slice(&body).map_err(|_| wrong())?;
    let value = body.token.or(body.access_token).filter(|token| !token.is_empty()).ok_or_else(wrong)?;
    // A token without a term is good for a minute; the end comes early, so that none expires under way.
    let seconds = body.expires_in.unwrap_or(60).clamp(10, 3600);
    let until = Instant::now() + Duration::from_secs(seconds - seconds / 5);
    Ok(Token { value, until, identity: body.refresh_token.filter(|token| !token.is_empty()) })
}

#[cfg(test)]
mod tests {
    use super::same_owner;

    #[test]
    fn owners_are_told_by_their_domains() {
        for (a, b, same) in [
            ("registry-1.docker.io", "auth.docker.io", true),
            ("registry.gitlab.com", "gitlab.com", true),
            ("quay.io", "quay.io", true),
            ("example.com", "auth.example.com", true),
            ("registry.co.uk", "evil.co.uk", false),
            ("a.github.io", "b.github.io", true),
            ("ghcr.io", "evil.io", false),
            ("registry.example.com", "example.com.evil.org", false),
            ("registry.example.com", "evilexample.com", false),
            ("io", "ghcr.io", false),
            ("localhost", "evil.com", false),
        ] {
            assert_eq!(same_owner(a, b), same, "{a} {b}");
        }
    }
}
