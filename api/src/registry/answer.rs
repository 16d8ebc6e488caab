//! Answers: status, headers, body.

use std::fs::File;
use std::io::{self, Read as _};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::route::NoRoute;

/// A body that goes out.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// How much of a file is read at a time.
const READ: usize = 256 << 10;

/// Why a request is not served.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    code: &'static str,
    message: String,
    headers: Vec<(HeaderName, String)>,
}

impl Refused {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), headers: Vec::new() }
    }

    /// Adds a header.
    pub(super) fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(super) fn no_manifest() -> Self {
        Self::new(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "manifest unknown")
    }

    pub(super) fn no_blob() -> Self {
        Self::new(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "blob unknown to registry")
    }

    pub(super) fn no_upload() -> Self {
        Self::new(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")
    }

    pub(super) fn no_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "the operation is unsupported")
    }

    /// What failed within is told to who started the server, not to who asks.
    pub(super) fn failed() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "the store failed")
    }

    pub(super) fn response(self) -> Response<Body> {
        let body = json!({ "errors": [{ "code": self.code, "message": self.message }] });
        let mut response = json_response(self.status, &body);
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

impl From<NoRoute> for Refused {
    fn from(error: NoRoute) -> Self {
        match error {
            NoRoute::NotFound => Self::new(StatusCode::NOT_FOUND, "NOT_FOUND", "there is no such endpoint"),
            NoRoute::Name => Self::new(StatusCode::BAD_REQUEST, "NAME_INVALID", "invalid repository name"),
            NoRoute::Digest => Self::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "invalid digest"),
            NoRoute::Tag => Self::new(StatusCode::BAD_REQUEST, "TAG_INVALID", "invalid tag"),
        }
    }
}

/// Answers with a status and headers only.
pub(super) fn empty<const N: usize>(
    status: StatusCode,
    headers: [(&'static str, String); N],
) -> Response<Body> {
    let mut response = with_bytes(status, Bytes::new(), headers);
    response.headers_mut().entry(CONTENT_LENGTH).or_insert(HeaderValue::from_static("0"));
    response
}

/// Answers with bytes.
pub(super) fn with_bytes<const N: usize>(
    status: StatusCode,
    bytes: impl Into<Bytes>,
    headers: [(&'static str, String); N],
) -> Response<Body> {
    let body = Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
    response
}

/// Answers with JSON.
pub(super) fn json_response(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    let mut response = with_bytes(status, value.to_string().into_bytes(), []);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A body of so many bytes of a file, from where it stands; the disk is waited for apart from connections.
pub(super) fn of_file(file: File, length: u64) -> Body {
    let pieces = futures_util::stream::try_unfold(file.take(length), |mut file| async move {
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; READ];
            let count = file.read(&mut piece)?;
            piece.truncate(count);
            Ok::<_, io::Error>((piece, file))
        });
        let (piece, file) = read.await.map_err(io::Error::other)??;
        Ok::<_, io::Error>((!piece.is_empty()).then(|| (Frame::data(Bytes::from(piece)), file)))
    });
    StreamBody::new(pieces).boxed_unsync()
}
