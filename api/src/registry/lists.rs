//! Lists: of repositories, of tags, of what refers to a manifest.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue, LINK};
use hyper::{Method, Request, Response, StatusCode};
use rbuild_image::manifest::{Index, MediaType};
use rbuild_model::digest::BlobDigest;
use rbuild_model::reference::Reference;
use serde_json::json;

use super::answer::{Body, Refused, json_response, with_bytes};
use super::serve::Shared;

/// The most entries of a page.
const PAGE: usize = 1000;

/// Says that this is a registry.
pub(super) fn base(method: &Method) -> Result<Response<Body>, Refused> {
    if !matches!(method, &Method::GET | &Method::HEAD) {
        return Err(Refused::no_method());
    }
    Ok(json_response(StatusCode::OK, &json!({})))
}

pub(super) async fn catalog(
    shared: &Arc<Shared>,
    request: &Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    let all = shared.with_images(request.uri().path(), rbuild_images::Images::offered_repositories).await?;
    let (page, next) = page(all, request.uri().query().unwrap_or_default())?;
    Ok(linked(json_response(StatusCode::OK, &json!({ "repositories": page })), request, next))
}

pub(super) async fn tags(
    shared: &Arc<Shared>,
    repository: Reference,
    request: &Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    let name = repository.familiar_name();
    let path = request.uri().path();
    let all = shared.with_images(path, move |images| images.offered_tags(&repository)).await?;
    if all.is_empty() {
        let message = "repository name not known to registry";
        return Err(Refused::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", message));
    }
    let (page, next) = page(all, request.uri().query().unwrap_or_default())?;
    Ok(linked(json_response(StatusCode::OK, &json!({ "name": name, "tags": page })), request, next))
}

pub(super) async fn referrers(
    shared: &Arc<Shared>,
    repository: Reference,
    subject: BlobDigest,
    request: &Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    let name = repository.name();
    let path = request.uri().path();
    let mut entries =
        shared.with_images(path, move |images| images.shelved_referrers(&name, subject)).await?;
    let wanted = parameter(request.uri().query().unwrap_or_default(), "artifactType");
    if let Some(wanted) = &wanted {
        entries.retain(|entry| entry.extra.get("artifactType").is_some_and(|kind| kind == wanted.as_str()));
    }
    let mut response = with_bytes(StatusCode::OK, Index::new(entries).to_bytes(), []);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(MediaType::OCI_INDEX));
    if wanted.is_some() {
        headers.insert("oci-filters-applied", HeaderValue::from_static("artifactType"));
    }
    Ok(response)
}

/// How large the next page is, and what it begins behind.
type Next = (usize, String);

/// Cuts a page out of a sorted list: entries behind `last`, at most `n`; and what the next one begins behind.
fn page(all: Vec<String>, query: &str) -> Result<(Vec<String>, Option<Next>), Refused> {
    let most = match parameter(query, "n") {
        None => PAGE,
        Some(text) => {
            let wrong = || Refused::new(StatusCode::BAD_REQUEST, "PAGINATION_NUMBER_INVALID", "invalid `n`");
            text.parse::<usize>().map_err(|_| wrong())?.min(PAGE)
        }
    };
    let last = parameter(query, "last");
    let behind = all.into_iter().filter(|entry| last.as_ref().is_none_or(|last| entry > last));
    let mut entries: Vec<String> = behind.take(most + 1).collect();
    let more = entries.len() > most;
    entries.truncate(most);
    let next = entries.last().filter(|_| more).map(|last| (most, last.clone()));
    Ok((entries, next))
}

/// Says where the next page is.
fn linked(mut response: Response<Body>, request: &Request<Incoming>, next: Option<Next>) -> Response<Body> {
    if let Some((most, last)) = next {
        let link = format!("<{}?n={most}&last={}>; rel=\"next\"", request.uri().path(), escaped(&last));
        if let Ok(link) = HeaderValue::from_str(&link) {
            response.headers_mut().insert(LINK, link);
        }
    }
    response
}

/// Reads a parameter of a query.
pub(super) fn parameter(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(key, _)| *key == name).map(|(_, value)| unescaped(value)).next()
}

/// Reads `%3A` and its like; what is no such escape stays as it is.
fn unescaped(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut read = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|pair| std::str::from_utf8(pair).ok());
        match (bytes[at], hex.and_then(|pair| u8::from_str_radix(pair, 16).ok())) {
            (b'%', Some(byte)) => {
                read.push(byte);
                at += 3;
            }
            (byte, _) => {
                read.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&read).into_owned()
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_to_the_end() {
        let all = || ["a", "b/c", "d"].map(str::to_owned).to_vec();
        let told = |query| page(all(), query).map_err(|refused| refused.status);
        assert_eq!(told("").unwrap(), (all(), None));
        assert_eq!(told("n=2").unwrap(), (all()[..2].to_vec(), Some((2, "b/c".into()))));
        assert_eq!(told("n=2&last=b%2Fc").unwrap(), (vec!["d".into()], None));
        assert_eq!(told("n=3").unwrap(), (all(), None));
        assert_eq!(told("n=0").unwrap(), (vec![], None));
        assert_eq!(told("n=-1").unwrap_err(), StatusCode::BAD_REQUEST);
        assert_eq!(told("last=z").unwrap(), (vec![], None));
    }

    #[test]
    fn parameters_are_read_as_they_were_meant() {
        assert_eq!(parameter("digest=sha256%3Aab&x=%zz", "digest"), Some("sha256:ab".into()));
        assert_eq!(parameter("digest=sha256%3Aab&x=%zz", "x"), Some("%zz".into()));
        assert_eq!(parameter("a", "a"), None);
        assert_eq!(unescaped(&escaped("a/b+c d")), "a/b+c d");
    }
}
