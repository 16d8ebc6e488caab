//! `type=s3`: a bucket, with any server that speaks that protocol.
//!
//! ```text
//! <prefix><manifests_prefix><name>    the catalog, under each of the names
//! <prefix><blobs_prefix><digest>      blobs; one that is still used is touched now and then, so that rules which remove
//!                                     what is old leave it
//! ```
//!
//! Requests are signed (AWS Signature Version 4) and the bytes that go up are in the signature, so a body is in memory while
//! it leaves: each is there once, and [all together](super::Network) are bounded. A large blob goes up in parts, several at
//! a time; an upload that fails is taken back.

mod sign;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rbuild_image::distribution::{Answer, Call, Receiver, Sender};
use rbuild_image::manifest::Descriptor;
use sha2::{Digest as _, Sha256};

pub use sign::Keys;
pub(super) use sign::hex;

use self::sign::{Slash, Time, Unsigned, encoded};
use super::transfer::{Memory, piece};
use super::{Backend, BackendError, Held, Network, Put, catalog, send_missing};

/// The size up to which a blob goes up whole.
const WHOLE: u64 = 16 << 20;
/// The size of a part, unless there would be too many.
const PART: u64 = 8 << 20;
/// The most parts.
const MAX_PARTS: u64 = 10_000;
/// The most bytes of an answer that is no blob.
const MAX_ANSWER: u64 = 1 << 20;

/// A place in a bucket.
#[derive(Clone)]
pub struct Place {
    /// The scheme, host and port of the server, without a path.
    pub endpoint: Endpoint,
    /// The bucket.
    pub bucket: String,
    /// The region that signatures name.
    pub region: String,
    /// The names that the catalog has; there is one at least.
    pub names: Vec<String>,
    /// What stands before every key.
    pub prefix: String,
    /// What stands before the digests of blobs.
    pub blobs_prefix: String,
    /// What stands before the names of catalogs.
    pub manifests_prefix: String,
    /// Who asks.
    pub keys: Keys,
    /// How old a blob may be before it is touched.
    pub touch_refresh: Duration,
    /// How many parts of one blob go up at a time.
    pub parallel: usize,
}

/// A server with buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `https` or `http`.
    pub scheme: String,
    /// The host, with its port if it is not the scheme's own; the bucket is in it where it is not in the path.
    pub host: String,
    /// Whether the bucket is in the path.
    pub bucket_in: BucketIn,
}

/// Where a request names the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketIn {
    /// As the first part of the path.
    Path,
    /// As the first part of the host.
    Host,
}

/// A cache in a bucket.
#[derive(Clone)]
pub struct S3 {
    name: String,
    place: Place,
    network: Network,
}

/// A request as it is meant.
#[derive(Default)]
struct Wish<'a> {
    method: &'static str,
    key: &'a str,
    query: Vec<(&'a str, String)>,
    headers: Vec<(&'static str, String)>,
    body: Option<Bytes>,
}

impl S3 {
    /// Names a cache in a bucket.
    pub fn new(place: Place, network: Network) -> Self {
        let what = place.names.first().map_or("", String::as_str);
        Self { name: format!("s3 {}/{}{what}", place.bucket, place.prefix), place, network }
    }

    fn call(&self, wish: &Wish<'_>) -> Call {
        let Place { endpoint, bucket, region, keys, .. } = &self.place;
        let key = encoded(wish.key, Slash::Kept);
        let (host, path) = match endpoint.bucket_in {
            BucketIn::Path => (endpoint.host.clone(), format!("/{}/{key}", encoded(bucket, Slash::Encoded))),
            BucketIn::Host => (format!("{bucket}.{}", endpoint.host), format!("/{key}")),
        };
        let body = wish.body.as_deref().unwrap_or_default();
        let payload = hex(&Sha256::digest(body));
        let request = Unsigned {
            method: wish.method,
            host: &host,
            path: &path,
            query: &wish.query,
            headers: &wish.headers,
            payload: &payload,
        };
        let headers = sign::sign(&request, keys, region, &Time::of(jiff::Timestamp::now()));
        let query = sign::query(&wish.query);
        let mark = if query.is_empty() { "" } else { "?" };
        Call {
            method: wish.method,
            url: format!("{}://{host}{path}{mark}{query}", endpoint.scheme),
            headers,
            body: wish.body.clone(),
        }
    }

    fn ask(&self, wish: &Wish<'_>) -> Result<Answer, BackendError> {
        let call = self.call(wish);
        self.network.web(|web| web.call(&call, MAX_ANSWER))
    }

    /// Asks, and takes anything but success for a refusal.
    fn done(&self, wish: &Wish<'_>) -> Result<Answer, BackendError> {
        let answer = self.ask(wish)?;
        // What was put together of parts may fail after its answer began.
        if answer.is_success() && !answer.body.windows(7).any(|window| window == b"<Error>") {
            return Ok(answer);
        }
        Err(refused(wish.key, &answer))
    }

    fn blob_key(&self, blob: &Descriptor) -> String {
        format!("{}{}{}", self.place.prefix, self.place.blobs_prefix, blob.digest)
    }

    fn catalog_key(&self, name: &str) -> String {
        format!("{}{}{name}", self.place.prefix, self.place.manifests_prefix)
    }

    /// Looks at the object of a blob; `None` if there is none, or one of another size.
    fn head(&self, key: &str, size: u64) -> Result<Option<Answer>, BackendError> {
        let answer = self.ask(&Wish { method: "HEAD", key, ..Wish::default() })?;
        let length: Option<u64> = answer.headers.get("content-length").and_then(|text| text.parse().ok());
        match answer.status {
            404 => Ok(None),
            _ if !answer.is_success() => Err(refused(key, &answer)),
            _ => Ok(length.is_none_or(|length| length == size).then_some(answer)),
        }
    }

    /// Copies an object onto itself if it is old, so that it counts as new.
    fn touch(&self, key: &str, answer: &Answer) -> Result<(), BackendError> {
        let parser = jiff::fmt::rfc2822::DateTimeParser::new();
        let changed = answer.headers.get("last-modified").and_then(|text| parser.parse_timestamp(text).ok());
        let age = changed.map(|changed| jiff::Timestamp::now().duration_since(changed).unsigned_abs());
        if age.is_none_or(|age| age < self.place.touch_refresh) {
            return Ok(());
        }
        let source = format!("/{}/{}", self.place.bucket, encoded(key, Slash::Kept));
        let headers = vec![("x-amz-copy-source", source), ("x-amz-metadata-directive", "REPLACE".to_owned())];
        self.done(&Wish { method: "PUT", key, headers, ..Wish::default() }).map(drop)
    }

    fn put_parts(&self, key: &str, blob: &Descriptor, sender: &dyn Sender) -> Result<(), BackendError> {
        let begun = self.done(&Wish {
            method: "POST",
            key,
            query: vec![("uploads", String::new())],
            ..Wish::default()
        })?;
        let upload = element(&String::from_utf8_lossy(&begun.body), "UploadId")
            .ok_or_else(|| BackendError::Unusable("the server begins no upload in parts".to_owned()))?;
        let sent = self.parts(key, blob, sender, &upload);
        if sent.is_err() {
            // What went up counts as long as it is not taken back. The first error is the one to tell.
            let query = vec![("uploadId", upload)];
            let back = Self { network: self.network.for_taking_back(), ..self.clone() };
            let _ = back.ask(&Wish { method: "DELETE", key, query, ..Wish::default() });
        }
        sent
    }

    fn parts(
        &self,
        key: &str,
        blob: &Descriptor,
        sender: &dyn Sender,
        upload: &str,
    ) -> Result<(), BackendError> {
        let size = PART.max(blob.size.div_ceil(MAX_PARTS));
        let most = self.network.largest_body();
        if size > most {
            let why = format!(
                "{} has {} bytes, and {} go up",
                blob.digest,
                blob.size,
                most.saturating_mul(MAX_PARTS)
            );
            return Err(BackendError::Unusable(why));
        }
        let numbers: Vec<u64> = (0..blob.size.div_ceil(size)).collect();
        let tags = std::sync::Mutex::new(vec![String::new(); numbers.len()]);
        send_missing(&numbers, self.place.parallel, None, |number| {
            let from = number * size;
            let length = size.min(blob.size - from);
            let query = vec![("partNumber", (number + 1).to_string()), ("uploadId", upload.to_owned())];
            let _place = self.network.memory(length)?;
            let body = Some(piece(sender, from, length)?);
            let answer = self.done(&Wish { method: "PUT", key, query, body, ..Wish::default() })?;
            let tag = answer.headers.get("etag").cloned();
            let tag = tag.ok_or_else(|| BackendError::Unusable("the server names no part".to_owned()))?;
            tags.lock().unwrap_or_else(std::sync::PoisonError::into_inner)[*number as usize] = tag;
            Ok((Put::Sent, length))
        })?;
        let tags = tags.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut body = "<CompleteMultipartUpload>".to_owned();
        for (number, tag) in tags.iter().enumerate() {
            let tag = escaped(tag);
            body += &format!("<Part><PartNumber>{}</PartNumber><ETag>{tag}</ETag></Part>", number + 1);
        }
        body += "</CompleteMultipartUpload>";
        let query = vec![("uploadId", upload.to_owned())];
        self.done(&Wish { method: "POST", key, query, body: Some(body.into()), ..Wish::default() })?;
        Ok(())
    }

    fn get_object(&self, key: &str, limit: u64, into: &mut dyn Receiver) -> Result<Option<()>, BackendError> {
        let wish = Wish { method: "GET", key, ..Wish::default() };
        let call = self.call(&wish);
        let answer = self.network.web(|web| web.call_into(&call, limit, into))?;
        match answer.status {
            404 => Ok(None),
            _ if answer.is_success() => Ok(Some(())),
            _ => Err(refused(key, &answer)),
        }
    }
}

fn refused(key: &str, answer: &Answer) -> BackendError {
    let body = String::from_utf8_lossy(&answer.body);
    let part = |name| element(&body, name).unwrap_or_default();
    let (code, message) = (part("Code"), part("Message"));
    let message = [code, message].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
    let message = message.chars().take(500).flat_map(char::escape_debug).collect();
    BackendError::Refused { what: key.to_owned(), status: answer.status, message }
}

/// Returns what the first element of a name holds.
fn element(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (inner, _) = rest.split_once(&format!("</{name}>"))?;
    let plain =
        [("&quot;", "\""), ("&apos;", "'"), ("&lt;", "<"), ("&gt;", ">"), ("&#34;", "\""), ("&amp;", "&")];
    Some(plain.iter().fold(inner.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain)))
}

/// Encodes a value for a query.
pub(super) fn encode(value: &str) -> String {
    encoded(value, Slash::Encoded)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

impl Backend for S3 {
    fn name(&self) -> &str {
        &self.name
    }

    fn until(&self, deadline: Instant) -> Arc<dyn Backend> {
        Arc::new(Self { network: self.network.until(deadline), ..self.clone() })
    }

    fn catalog(&self) -> Result<Vec<Held>, BackendError> {
        for name in &self.place.names {
            let mut memory = Memory::new(catalog::MAX_BYTES);
            if self.get_object(&self.catalog_key(name), catalog::MAX_BYTES, &mut memory)?.is_some() {
                // BuildKit's lie under the same names.
                let ours = memory.bytes.windows(14).any(|window| window == b"\"rbuild.cache\"");
                return Ok(vec![if ours {
                    Held::Catalog(memory.bytes)
                } else {
                    Held::BuildKit(memory.bytes)
                }]);
            }
        }
        Ok(Vec::new())
    }

    fn publish(&self, catalog: &[u8], _: &[Descriptor]) -> Result<(), BackendError> {
        let catalog = Bytes::copy_from_slice(catalog);
        for name in &self.place.names {
            let (key, body) = (self.catalog_key(name), Some(catalog.clone()));
            self.done(&Wish { method: "PUT", key: &key, body, ..Wish::default() })?;
        }
        Ok(())
    }

    fn has(&self, blob: &Descriptor) -> Result<bool, BackendError> {
        let key = self.blob_key(blob);
        let Some(answer) = self.head(&key, blob.size)? else { return Ok(false) };
        self.touch(&key, &answer)?;
        Ok(true)
    }

    fn get(&self, blob: &Descriptor, into: &mut dyn Receiver) -> Result<(), BackendError> {
        let missing = || BackendError::Missing(blob.digest.to_string());
        self.get_object(&self.blob_key(blob), blob.size, into)?.ok_or_else(missing)
    }

    fn put(&self, blob: &Descriptor, sender: &dyn Sender) -> Result<Put, BackendError> {
        if self.has(blob)? {
            return Ok(Put::Present);
        }
        let key = self.blob_key(blob);
        if blob.size > WHOLE {
            self.put_parts(&key, blob, sender)?;
        } else {
            let _place = self.network.memory(blob.size)?;
            let body = Some(piece(sender, 0, blob.size)?);
            self.done(&Wish { method: "PUT", key: &key, body, ..Wish::default() })?;
        }
        Ok(Put::Sent)
    }
}
