//! Servers that mean harm: drips, floods, encodings nobody asked for, lists without end.

use super::rules::RIGHT;
use super::*;

fn impatient() -> Client {
    // Whatever comes is too little for the time that it took.
    let timing = Timing {
        low_speed_span: Duration::from_nanos(1),
        low_speed_bytes: u64::MAX,
        attempts: 2,
        ..quick().timing
    };
    Client::new(Registries { timing, ..quick() }).unwrap()
}

#[tokio::test]
async fn a_registry_that_drips_is_left() {
    let fake = Fake::start(|_, _| response("200 OK", &[], &manifest())).await;
    let refused = impatient().manifest(&fake.reference("a/b:1")).await.unwrap_err();
    assert!(matches!(refused, ClientError::TooSlow(_)), "{refused}");
    assert_eq!(fake.seen().len(), 2, "it is given as many chances as any other failure that may pass");
    let fake = Fake::start(|_, _| response("200 OK", &[], b"right")).await;
    let mut memory = Memory::default();
    let descriptor = Descriptor::of("x", b"right");
    let refused = impatient().blob(&fake.reference("a/b:1"), &descriptor, &mut memory).await.unwrap_err();
    assert!(matches!(refused, ClientError::TooSlow(_)), "{refused}");
    // Nor does a token service keep anybody.
    let fake = Fake::start(|request, _| {
        let challenge = format!("Bearer realm=\"http://{}/token\"", request.header("host").unwrap());
        match request.line.contains("/token") {
            true => response("200 OK", &[], br#"{"token":"T"}"#),
            false => response("401 Unauthorized", &[("WWW-Authenticate", &challenge)], b""),
        }
    })
    .await;
    let refused = impatient().manifest(&fake.reference("a/b:1")).await.unwrap_err();
    assert!(matches!(refused, ClientError::TooSlow(_)), "{refused}");
}

#[tokio::test]
async fn nobody_listens_for_ever_to_why_something_is_refused() {
    let why = br#"{"errors":[{"code":"DENIED","message":"the reason"}]}"#;
    let fake = Fake::start(move |_, _| response("403 Forbidden", &[], why)).await;
    let refused = client().manifest(&fake.reference("a/b:1")).await.unwrap_err();
    assert!(refused.to_string().contains("the reason"), "{refused}");
    let refused = impatient().manifest(&fake.reference("a/b:1")).await.unwrap_err();
    assert!(refused.is_denied() && !refused.to_string().contains("the reason"), "{refused}");
    let long = [why.as_slice(), &[b' '; 64 << 10]].concat();
    let fake = Fake::start(move |_, _| response("403 Forbidden", &[], &long)).await;
    let refused = client().manifest(&fake.reference("a/b:1")).await.unwrap_err();
    assert!(refused.is_denied() && !refused.to_string().contains("the reason"), "{refused}");
}

#[tokio::test]
async fn a_flood_of_headers_ends() {
    let flood: Vec<(String, String)> = (0..20_000).map(|at| (format!("X-{at}"), "y".repeat(100))).collect();
    let fake = Fake::start(move |_, _| {
        let headers: Vec<(&str, &str)> = flood.iter().map(|(name, value)| (&**name, &**value)).collect();
        response("200 OK", &headers, &manifest())
    })
    .await;
    let refused = client().manifest(&fake.reference("a/b:1")).await.unwrap_err();
    assert!(matches!(refused, ClientError::Transport { .. }), "{refused}");
}

#[tokio::test]
async fn a_blob_is_the_bytes_that_came_whatever_they_are_called() {
    // As a proxy does that packs what it passes on: the bytes are others, and nobody unpacks them.
    let fake = Fake::start(|_, _| response("200 OK", &[("Content-Encoding", "gzip")], b"right")).await;
    let (fetched, memory) = fetch_blob(&fake, b"right").await;
    fetched.unwrap();
    assert_eq!(memory.bytes, b"right");
    assert_eq!(fake.seen()[0].header("accept-encoding"), Some("identity"));
    let fake =
        Fake::start(|_, _| response("200 OK", &[("Content-Encoding", "gzip")], b"\x1f\x8b\x08\0\0")).await;
    fetch_blob(&fake, b"right").await.0.unwrap_err();
}

#[tokio::test]
async fn a_list_of_more_than_anybody_has_is_refused() {
    let digest = BlobDigest::of(b"child");
    let child = format!(r#"{{"mediaType":"{}","digest":"{digest}","size":1}}"#, MediaType::OCI_MANIFEST);
    let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, vec![child; 20_000].join(","));
    assert!(text.len() < 4 << 20, "its size is not what it is refused for");
    let fake = Fake::start(move |_, _| {
        response("200 OK", &[("Content-Type", MediaType::OCI_INDEX)], text.as_bytes())
    })
    .await;
    let refused = client().manifest(&fake.reference("a/b:1")).await.unwrap_err();
    assert!(matches!(refused, ClientError::Document(..)), "{refused}");
}

#[tokio::test]
async fn a_key_that_opens_nothing_any_more_ends_a_push_and_is_not_asked_for_ever() {
    // The registry takes two pieces, and from then on no key at all.
    let fake = Fake::start(|request, index| {
        if request.line.contains("/token?") {
            let token = format!(r#"{{"token":"T{index}","expires_in":1}}"#);
            return response("200 OK", &[], token.as_bytes());
        }
        let challenge = format!("Bearer realm=\"http://{}/token\"", request.header("host").unwrap());
        let denied = || response("401 Unauthorized", &[("WWW-Authenticate", &challenge)], b"");
        match (request.header("authorization"), request.line.split(' ').next().unwrap()) {
            (None, _) | (Some(_), "PUT" | "PATCH") => denied(),
            (Some(_), "HEAD") => response("404 Not Found", &[], b""),
            (Some(_), "POST") => response("202 Accepted", &[("Location", "/up")], b""),
            (Some(_), _) => response("204 No Content", &[("Range", "0-0")], b""),
        }
    })
    .await;
    let descriptor = Descriptor::of("x", b"right");
    let upload = Upload { descriptor: &descriptor, sender: &RIGHT, mount_from: None };
    let refused = client_with_password().push_blob(&fake.reference("a/b:1"), upload).await.unwrap_err();
    assert!(refused.is_denied(), "{refused}");
    assert!(fake.seen().len() < 20, "{}", fake.seen().len());
}
