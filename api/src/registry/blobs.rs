//! Blobs that are here.

use std::io::{Seek as _, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderValue, RANGE};
use hyper::{Method, Request, Response, StatusCode};
use rbuild_images::Offered;
use rbuild_model::digest::BlobDigest;
use rbuild_model::reference::Reference;

use super::answer::{Body, Refused, empty, of_file, with_bytes};
use super::serve::Shared;

pub(super) async fn serve(
    shared: &Arc<Shared>,
    repository: Reference,
    digest: BlobDigest,
    request: &Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    let path = request.uri().path();
    match *request.method() {
        Method::GET | Method::HEAD => {
            let found = shared.with_images(path, move |images| images.offered_blob(digest)).await?;
            answer(found.ok_or_else(Refused::no_blob)?, digest, request)
        }
        Method::DELETE => {
            let name = repository.name();
            let gone = shared.with_images(path, move |images| images.unshelve_blob(&name, digest)).await?;
            if gone { Ok(empty(StatusCode::ACCEPTED, [])) } else { Err(Refused::no_blob()) }
        }
        _ => Err(Refused::no_method()),
    }
}

fn answer(
    found: Offered,
    digest: BlobDigest,
    request: &Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    let size = match &found {
        Offered::File(_, size) => *size,
        Offered::Bytes(bytes) => bytes.len() as u64,
    };
    let asked = request.headers().get(RANGE).and_then(|value| value.to_str().ok());
    let (status, part) = match asked.map(|asked| range(asked, size)) {
        None | Some(Asked::All) => (StatusCode::OK, 0..size),
        Some(Asked::Part(part)) => (StatusCode::PARTIAL_CONTENT, part),
        Some(Asked::Nothing) => {
            let refused = Refused::new(StatusCode::RANGE_NOT_SATISFIABLE, "RANGE_INVALID", "invalid range");
            return Err(refused.with(CONTENT_RANGE, format!("bytes */{size}")));
        }
    };
    let length = part.end - part.start;
    let headers = [
        ("content-type", "application/octet-stream".to_owned()),
        ("docker-content-digest", digest.to_string()),
        ("etag", format!("\"{digest}\"")),
        ("accept-ranges", "bytes".to_owned()),
        ("cache-control", "max-age=31536000, immutable".to_owned()),
    ];
    let mut response = with_bytes(status, Vec::new(), headers);
    let head = response.headers_mut();
    head.insert(CONTENT_LENGTH, HeaderValue::from(length));
    if status == StatusCode::PARTIAL_CONTENT
        && let Ok(value) = format!("bytes {}-{}/{size}", part.start, part.end.saturating_sub(1)).parse()
    {
        head.insert(CONTENT_RANGE, value);
    }
    if request.method() == Method::GET {
        *response.body_mut() = match found {
            Offered::File(mut file, _) => {
                file.seek(SeekFrom::Start(part.start)).map_err(|_| Refused::failed())?;
                of_file(file, length)
            }
            Offered::Bytes(bytes) => {
                let (start, end) = (part.start as usize, part.end as usize);
                with_bytes(status, bytes[start..end].to_vec(), []).into_body()
            }
        };
    }
    Ok(response)
}

/// What a `Range` header asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    /// Everything: the header is one that need not be understood.
    All,
    /// A part.
    Part(Range<u64>),
    /// What is not there.
    Nothing,
}

/// Reads a header that asks for one part.
fn range(text: &str, size: u64) -> Asked {
    let Some((start, end)) = text.strip_prefix("bytes=").and_then(|text| text.split_once('-')) else {
        return Asked::All;
    };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let part = match (start.trim(), end.trim()) {
        ("", last) => match number(last) {
            Some(last) if last > 0 => size.saturating_sub(last)..size,
            Some(_) => return Asked::Nothing,
            None => return Asked::All,
        },
        (start, "") => match number(start) {
            Some(start) => start..size,
            None => return Asked::All,
        },
        (start, end) => match (number(start), number(end)) {
            (Some(start), Some(end)) if start <= end => start..size.min(end.saturating_add(1)),
            _ => return Asked::All,
        },
    };
    if part.start >= size { Asked::Nothing } else { Asked::Part(part) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_part_can_be_asked_for() {
        for (text, asked) in [
            ("bytes=0-3", Asked::Part(0..4)),
            ("bytes=4-", Asked::Part(4..10)),
            ("bytes=4-99", Asked::Part(4..10)),
            ("bytes=-3", Asked::Part(7..10)),
            ("bytes=-99", Asked::Part(0..10)),
            ("bytes=10-", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=5-4", Asked::All),
            ("bytes=0-1,3-4", Asked::All),
            ("lines=0-1", Asked::All),
            ("bytes=0-18446744073709551615", Asked::Part(0..10)),
        ] {
            assert_eq!(range(text, 10), asked, "{text}");
        }
        assert_eq!(range("bytes=0-", 0), Asked::Nothing);
    }
}
