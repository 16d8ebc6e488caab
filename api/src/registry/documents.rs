//! Manifests and indexes.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, Response, StatusCode};
use rbuild_image::manifest::MAX_DOCUMENT;
use rbuild_images::{NotTaken, Shelved, Wanted, is_document};
use rbuild_model::digest::BlobDigest;
use rbuild_model::reference::Reference;

use super::answer::{Body, Refused, empty, with_bytes};
use super::patience::Arriving;
use super::route::Name;
use super::serve::Shared;

pub(super) async fn serve(
    shared: &Arc<Shared>,
    repository: Reference,
    name: Name,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    match *request.method() {
        Method::GET | Method::HEAD => fetch(shared, repository, name, &request).await,
        Method::PUT => put(shared, repository, name, request).await,
        Method::DELETE => delete(shared, repository, name, &request).await,
        _ => Err(Refused::no_method()),
    }
}

fn wanted(name: &Name) -> Wanted<'_> {
    match name {
        Name::Tag(tag) => Wanted::Tag(tag),
        Name::Digest(digest) => Wanted::Digest(*digest),
    }
}

async fn fetch(
    shared: &Arc<Shared>,
    repository: Reference,
    name: Name,
    request: &Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    let path = request.uri().path();
    let found =
        shared.with_images(path, move |images| images.offered_document(&repository, wanted(&name))).await?;
    let Shelved { digest, media_type, bytes } = found.ok_or_else(Refused::no_manifest)?;
    let headers = [
        ("content-type", media_type),
        ("docker-content-digest", digest.to_string()),
        ("etag", format!("\"{digest}\"")),
        ("content-length", bytes.len().to_string()),
    ];
    let bytes = if request.method() == Method::HEAD { Vec::new() } else { bytes };
    Ok(with_bytes(StatusCode::OK, bytes, headers))
}

async fn put(
    shared: &Arc<Shared>,
    repository: Reference,
    name: Name,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    let path = request.uri().path().to_owned();
    let media_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_owned();
    let invalid = |why: String| Refused::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", why);
    if !is_document(&media_type) {
        return Err(invalid(format!("`{media_type}` is not the type of a manifest or an index")));
    }
    let bytes = document(shared, request).await?;
    let digest = BlobDigest::of(&bytes);
    if let Name::Digest(wanted) = &name
        && *wanted != digest
    {
        let why = format!("the manifest's digest is {digest}");
        return Err(Refused::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", why));
    }
    let familiar = repository.familiar_name();
    let taken = shared
        .with_images(&path, move |images| {
            let tag = match &name {
                Name::Tag(tag) => Some(tag.as_str()),
                Name::Digest(_) => None,
            };
            match images.shelve_document(&repository.name(), tag, &bytes, &media_type) {
                Ok(taken) => Ok(Ok(taken)),
                Err(NotTaken::Images(error)) => Err(error),
                Err(refused) => Ok(Err(refused)),
            }
        })
        .await?;
    let taken = taken.map_err(|refused| match refused {
        NotTaken::NoBlob(_) | NotTaken::NoManifest(_) => {
            Refused::new(StatusCode::BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN", refused.to_string())
        }
        _ => invalid(refused.to_string()),
    })?;
    let location = format!("/v2/{familiar}/manifests/{}", taken.digest);
    let headers = [("location", location), ("docker-content-digest", taken.digest.to_string())];
    let mut response = empty(StatusCode::CREATED, headers);
    if let Some(subject) = taken.subject
        && let Ok(value) = subject.to_string().parse()
    {
        response.headers_mut().insert("oci-subject", value);
    }
    Ok(response)
}

/// Reads a document of bounded size that comes within time.
async fn document(shared: &Shared, request: Request<Incoming>) -> Result<Bytes, Refused> {
    let too_large = || {
        let message = format!("a manifest has at most {MAX_DOCUMENT} bytes");
        Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "MANIFEST_INVALID", message)
    };
    let mut body = Arriving::new(request.into_body(), &shared.bounds);
    let mut bytes = BytesMut::new();
    let broken = |_| Refused::new(StatusCode::REQUEST_TIMEOUT, "MANIFEST_INVALID", "the body broke off");
    while let Some(data) = body.next().await.map_err(broken)? {
        if (bytes.len() + data.len()) as u64 > MAX_DOCUMENT {
            return Err(too_large());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

async fn delete(
    shared: &Arc<Shared>,
    repository: Reference,
    name: Name,
    request: &Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    let path = request.uri().path();
    let gone =
        shared.with_images(path, move |images| images.unshelve(&repository.name(), wanted(&name))).await?;
    if gone { Ok(empty(StatusCode::ACCEPTED, [])) } else { Err(Refused::no_manifest()) }
}
