//! Signatures of requests to a bucket: AWS Signature Version 4. Pure: the time is given.

use std::fmt::Write as _;

use rbuild_model::hex::Hex;
use sha2::{Digest as _, Sha256};

/// Who asks.
#[derive(Clone)]
pub struct Keys {
    /// The name of the key.
    pub id: String,
    /// The key.
    pub secret: String,
    /// What a key for a while comes with.
    pub session: Option<String>,
}

/// A request to be signed.
pub(super) struct Unsigned<'a> {
    pub(super) method: &'a str,
    /// The host, with its port if it is not the scheme's own.
    pub(super) host: &'a str,
    /// The path, encoded.
    pub(super) path: &'a str,
    /// The parameters, not encoded.
    pub(super) query: &'a [(&'a str, String)],
    /// Further headers, by names in lower case.
    pub(super) headers: &'a [(&'static str, String)],
    /// The sha256 of the body in hex.
    pub(super) payload: &'a str,
}

/// A second, as signatures write it.
pub(super) struct Time {
    /// `20130524`
    pub(super) date: String,
    /// `20130524T000000Z`
    pub(super) full: String,
}

impl Time {
    pub(super) fn of(now: jiff::Timestamp) -> Self {
        let full = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        Self { date: full[..8].to_owned(), full }
    }
}

/// Returns the headers that a request gets besides its own.
pub(super) fn sign(
    request: &Unsigned<'_>,
    keys: &Keys,
    region: &str,
    time: &Time,
) -> Vec<(&'static str, String)> {
    let mut headers: Vec<(&'static str, String)> = request.headers.to_vec();
    headers.push(("host", request.host.to_owned()));
    headers.push(("x-amz-content-sha256", request.payload.to_owned()));
    headers.push(("x-amz-date", time.full.clone()));
    if let Some(session) = &keys.session {
        headers.push(("x-amz-security-token", session.clone()));
    }
    headers.sort();
    let mut canonical = format!("{}\n{}\n{}\n", request.method, request.path, query(request.query));
    for (name, value) in &headers {
        let _ = writeln!(canonical, "{name}:{}", value.trim());
    }
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let _ = write!(canonical, "\n{names}\n{}", request.payload);
    let scope = format!("{}/{region}/s3/aws4_request", time.date);
    let text = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{}", time.full, hex(&Sha256::digest(canonical)));
    let mut key = hmac(format!("AWS4{}", keys.secret).as_bytes(), time.date.as_bytes());
    for part in [region, "s3", "aws4_request"] {
        key = hmac(&key, part.as_bytes());
    }
    let signature = hex(&hmac(&key, text.as_bytes()));
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope},SignedHeaders={names},Signature={signature}",
        keys.id
    );
    headers.retain(|(name, _)| *name != "host");
    headers.push(("authorization", authorization));
    headers
}

/// Writes parameters in their canonical order and encoding.
pub(super) fn query(parameters: &[(&str, String)]) -> String {
    let mut pairs: Vec<String> = parameters
        .iter()
        .map(|(name, value)| format!("{}={}", encoded(name, Slash::Encoded), encoded(value, Slash::Encoded)))
        .collect();
    pairs.sort();
    pairs.join("&")
}

/// What becomes of a slash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Slash {
    Kept,
    Encoded,
}

/// Encodes a text for a URL: all but letters, digits and `-._~`.
pub(super) fn encoded(text: &str, slash: Slash) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            b'/' if slash == Slash::Kept => out.push('/'),
            other => drop(write!(out, "%{other:02X}")),
        }
    }
    out
}

pub(in super::super) fn hex(bytes: &[u8]) -> String {
    Hex(bytes).to_string()
}

/// HMAC-SHA256 (RFC 2104).
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    const BLOCK: usize = 64;
    let mut block = [0_u8; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let padded = |pad: u8| block.map(|byte| byte ^ pad);
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of Amazon's documentation.
    fn signature(
        method: &str,
        path: &str,
        query: &[(&str, String)],
        headers: &[(&'static str, String)],
    ) -> String {
        let keys = Keys {
            id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            session: None,
        };
        let payload = hex(&Sha256::digest(b""));
        let host = "examplebucket.s3.amazonaws.com";
        let request = Unsigned { method, host, path, query, headers, payload: &payload };
        let time = Time::of("2013-05-24T00:00:00Z".parse().unwrap());
        let headers = sign(&request, &keys, "us-east-1", &time);
        let (_, authorization) = headers.into_iter().find(|(name, _)| *name == "authorization").unwrap();
        authorization.split_once("Signature=").unwrap().1.to_owned()
    }

    #[test]
    fn the_documented_examples_come_out() {
        let range = [("range", "bytes=0-9".to_owned())];
        assert_eq!(
            signature("GET", "/test.txt", &[], &range),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
        assert_eq!(
            signature("GET", "/", &[("lifecycle", String::new())], &[]),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        );
    }

    #[test]
    fn all_but_plain_characters_are_encoded() {
        assert_eq!(encoded("a/b c:ü~", Slash::Kept), "a/b%20c%3A%C3%BC~");
        assert_eq!(encoded("a/b", Slash::Encoded), "a%2Fb");
        let parameters = [("b", "2".to_owned()), ("a", "x=y".to_owned())];
        assert_eq!(query(&parameters), "a=x%3Dy&b=2");
    }
}
