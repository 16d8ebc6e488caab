//! What is pushed, and what a repository says it holds.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

struct Bytes<'a> {
    bytes: &'a [u8],
    told: AtomicU64,
    unfinished: Option<Unfinished>,
    begun: Mutex<Vec<String>>,
}

impl<'a> Bytes<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, told: AtomicU64::new(0), unfinished: None, begun: Mutex::default() }
    }
}

impl Sender for Bytes<'_> {
    fn open(&self, from: u64) -> io::Result<Box<dyn io::Read + Send>> {
        self.bytes.open(from)
    }

    fn sent(&self, bytes: u64) {
        self.told.store(bytes, Ordering::Relaxed);
    }

    fn unfinished(&self) -> Option<Unfinished> {
        self.unfinished.clone()
    }

    fn begun(&self, url: &str) {
        self.begun.lock().unwrap().push(url.rsplit_once("/up").unwrap().1.to_owned());
    }
}

async fn push_from(
    client: &Client,
    fake: &Fake,
    name: &str,
    bytes: &[u8],
    mount_from: Option<&str>,
) -> Result<Pushed, ClientError> {
    let descriptor = Descriptor::of("x", bytes);
    let sender = Bytes::new(bytes);
    let upload = Upload { descriptor: &descriptor, sender: &sender, mount_from };
    let pushed = client.push_blob(&fake.reference(name), upload).await;
    if matches!(pushed, Ok(Pushed::Sent)) {
        assert_eq!(sender.told.into_inner(), bytes.len() as u64, "all that left is told of");
    }
    pushed
}

async fn push(fake: &Fake, bytes: &[u8]) -> Result<Pushed, ClientError> {
    push_from(&client(), fake, "a/b:1", bytes, None).await
}

#[tokio::test]
async fn blobs_are_mounted_sent_or_found() {
    let fake = Fake::start(|request, _| {
        let line = request.line.as_str();
        if line.starts_with("HEAD") {
            response(if line.contains("/there/") { "200 OK" } else { "404 Not Found" }, &[], b"")
        } else if line.contains("mount=") {
            response("201 Created", &[], b"")
        } else if line.starts_with("POST") {
            response("202 Accepted", &[("Location", "/upload?state=1")], b"")
        } else if line.starts_with("PUT /upload?state=1&digest=sha256%3A") && request.body == b"right" {
            response("201 Created", &[], b"")
        } else {
            response("400 Bad Request", &[], b"")
        }
    })
    .await;
    let client = client();
    let push = async |name: &str, from| push_from(&client, &fake, name, b"right", from).await;
    assert_eq!(push("there/b:1", None).await.unwrap(), Pushed::Present);
    assert_eq!(push("a/b:1", Some("a/c")).await.unwrap(), Pushed::Mounted);
    assert_eq!(push("a/b:1", None).await.unwrap(), Pushed::Sent);
}

#[tokio::test]
async fn an_upload_elsewhere_gets_no_key() {
    let elsewhere = Fake::start(|_, _| response("201 Created", &[], b"")).await;
    let target = format!("http://{}/up", elsewhere.address);
    let fake = Fake::start(move |request, _| {
        if request.header("authorization").is_none() {
            response("401 Unauthorized", &[("WWW-Authenticate", "Basic")], b"")
        } else if request.line.starts_with("HEAD") {
            response("404 Not Found", &[], b"")
        } else {
            response("202 Accepted", &[("Location", &target)], b"")
        }
    })
    .await;
    push_from(&client_with_password(), &fake, "a/b:1", b"right", None).await.unwrap();
    assert_eq!(elsewhere.seen()[0].header("authorization"), None);
    assert_eq!(elsewhere.seen()[0].body, b"right");

    let long = format!("/{}", "x".repeat(9000));
    for location in ["ftp://x/", "http://[", long.as_str(), ""] {
        let location = location.to_owned();
        let fake = Fake::start(move |request, _| {
            let status = if request.line.starts_with("HEAD") { "404 Not Found" } else { "202 Accepted" };
            response(status, &[("Location", &location)], b"")
        })
        .await;
        let refused = push(&fake, b"right").await;
        assert!(matches!(refused, Err(ClientError::Protocol { .. })));
    }
}

#[tokio::test]
async fn a_manifest_is_put_under_its_tag_or_digest() {
    let fake = Fake::start(|_, _| response("201 Created", &[], b"")).await;
    let client = client();
    let digest =
        client.push_manifest(&fake.reference("a/b:1"), &manifest(), MediaType::OCI_MANIFEST).await.unwrap();
    client.push_manifest(&fake.reference("a/b"), &manifest(), MediaType::OCI_MANIFEST).await.unwrap();
    let seen = fake.seen();
    assert_eq!(seen[0].line, "PUT /v2/a/b/manifests/1 HTTP/1.1");
    assert_eq!(seen[1].line, format!("PUT /v2/a/b/manifests/{digest} HTTP/1.1"));
    assert_eq!((seen[0].header("content-type"), &seen[0].body), (Some(MediaType::OCI_MANIFEST), &manifest()));
}

/// The methods and paths that were asked for, without the version.
fn asked(fake: &Fake) -> Vec<String> {
    fake.seen().iter().map(|seen| seen.line.trim_end_matches(" HTTP/1.1").to_owned()).collect()
}

#[tokio::test]
async fn an_upload_that_breaks_goes_on_where_the_registry_stands() {
    let contents: Vec<u8> = (0..10_000_u32).map(|n| n as u8).collect();
    let fake = Fake::start(|request, _| match request.line.split(' ').next().unwrap() {
        "HEAD" => response("404 Not Found", &[], b""),
        "POST" => response("202 Accepted", &[("Location", "/up/1")], b""),
        // The connection ends without an answer.
        "PUT" if !request.body.is_empty() => Vec::new(),
        "GET" => response("204 No Content", &[("Location", "/up/2"), ("Range", "0-3999")], b""),
        "PATCH" => response("202 Accepted", &[("Location", "/up/3"), ("Range", "0-9999")], b""),
        _ => response("201 Created", &[], b""),
    })
    .await;
    assert_eq!(push(&fake, &contents).await.unwrap(), Pushed::Sent);
    let digest = BlobDigest::of(&contents).to_string();
    let encoded = digest.replace(':', "%3A");
    assert_eq!(
        asked(&fake),
        [
            format!("HEAD /v2/a/b/blobs/{digest}"),
            "POST /v2/a/b/blobs/uploads/".to_owned(),
            format!("PUT /up/1?digest={encoded}"),
            "GET /up/1".to_owned(),
            "PATCH /up/2".to_owned(),
            format!("PUT /up/3?digest={encoded}"),
        ]
    );
    let patch = &fake.seen()[4];
    assert_eq!(patch.header("content-range"), Some("4000-9999"));
    assert_eq!(patch.body, contents[4000..]);
}

#[tokio::test]
async fn what_a_killed_process_began_is_gone_on_with() {
    let bytes = vec![7; 3 << 20];
    let descriptor = Descriptor::of("x", &bytes);
    let knows = Fake::start(|request, _| match request.line.split(' ').next().unwrap() {
        "GET" => response("204 No Content", &[("Location", "/up/2"), ("Range", "0-999999")], b""),
        "PATCH" => response("202 Accepted", &[("Location", "/up/3"), ("Range", "0-3145727")], b""),
        _ => response("201 Created", &[], b""),
    })
    .await;
    let forgot = Fake::start(|request, _| match request.line.split(' ').next().unwrap() {
        "GET" | "HEAD" => response("404 Not Found", &[], b""),
        "POST" => response("202 Accepted", &[("Location", "/up/5")], b""),
        "PATCH" => response("202 Accepted", &[("Location", "/up/6"), ("Range", "0-3145727")], b""),
        _ => response("201 Created", &[], b""),
    })
    .await;
    for (fake, sent, begun) in [(&knows, 2_145_728, "/2"), (&forgot, 3 << 20, "/5")] {
        let unfinished = Some(Unfinished { url: format!("http://{}/up/1", fake.address), taken: None });
        let sender = Bytes { unfinished, ..Bytes::new(&bytes) };
        let upload = Upload { descriptor: &descriptor, sender: &sender, mount_from: None };
        assert_eq!(client().push_blob(&fake.reference("a/b:1"), upload).await.unwrap(), Pushed::Sent);
        let seen = fake.seen();
        let patched: Vec<_> = seen.iter().filter(|request| request.line.starts_with("PATCH")).collect();
        assert_eq!(patched.iter().map(|request| request.body.len()).collect::<Vec<_>>(), [sent]);
        assert_eq!(*sender.begun.lock().unwrap(), [begun], "where the next process would go on");
    }
    let ended = format!("PUT /up/3?digest={}", descriptor.digest.to_string().replace(':', "%3A"));
    assert_eq!(asked(&knows), ["GET /up/1", "PATCH /up/2", &ended], "nothing is asked twice");
}

/// A blob that grows while it leaves, and is ended by the name that it has by then.
#[tokio::test]
async fn a_blob_leaves_while_it_is_made() {
    let fake = Fake::start(|request, _| {
        let line = request.line.as_str();
        if line.starts_with("POST") {
            response("202 Accepted", &[("Location", "/up/1")], b"")
        } else if line.starts_with("PATCH /up/1 ") && request.body == b"the first and the last" {
            response("202 Accepted", &[("Location", "/up/2")], b"")
        } else if line.starts_with("PUT /up/2?digest=") && request.body.is_empty() {
            response("201 Created", &[], b"")
        } else {
            response("400 Bad Request", &[], b"")
        }
    })
    .await;
    let client = client();
    let pieces = futures_util::stream::iter(["the first ", "and the last"]);
    let growing: Growing = Box::pin(futures_util::StreamExt::map(pieces, |piece| Ok(piece.into())));
    let reference = fake.reference("a/b:1");
    let begun = client.begin_growing(&reference).await.unwrap();
    assert!(begun.url().ends_with("/up/1"), "{}", begun.url());
    let told = AtomicU64::new(0);
    let sent = begun.send(growing, &|bytes| told.store(bytes, Ordering::Relaxed)).await;
    assert_eq!(told.into_inner(), 22);
    assert_eq!(sent.taken, Some(22));
    let bytes = b"the first and the last";
    let descriptor = Descriptor::of("x", bytes);
    let sender = Bytes { unfinished: Some(sent), ..Bytes::new(bytes) };
    let upload = Upload { descriptor: &descriptor, sender: &sender, mount_from: None };
    assert_eq!(client.push_blob(&fake.reference("a/b:1"), upload).await.unwrap(), Pushed::Sent);
    assert_eq!(fake.seen().len(), 3, "{:?}", fake.seen());
    assert_eq!(fake.seen()[1].header("transfer-encoding"), Some("chunked"));
}

/// A registry that has less of a stream than left is believed, and gets the rest.
#[tokio::test]
async fn what_a_registry_says_it_took_of_a_stream_counts() {
    let fake = Fake::start(|request, _| match request.line.split(' ').next().unwrap() {
        "POST" => response("202 Accepted", &[("Location", "/up")], b""),
        "PATCH" if request.body == b"all of it" => {
            response("202 Accepted", &[("Location", "/up"), ("Range", "0-3")], b"")
        }
        "GET" => response("204 No Content", &[("Location", "/up"), ("Range", "0-3")], b""),
        "PATCH" if request.body == b"of it" => {
            response("202 Accepted", &[("Location", "/up"), ("Range", "0-8")], b"")
        }
        "PUT" if request.body.is_empty() => response("201 Created", &[], b""),
        _ => response("400 Bad Request", &[], b""),
    })
    .await;
    let client = client();
    let growing: Growing = Box::pin(futures_util::stream::iter([Ok(b"all of it".to_vec())]));
    let reference = fake.reference("a/b:1");
    let sent = client.begin_growing(&reference).await.unwrap().send(growing, &|_| ()).await;
    assert_eq!(sent.taken, Some(4));
    let bytes = b"all of it";
    let descriptor = Descriptor::of("x", bytes);
    let sender = Bytes { unfinished: Some(sent), ..Bytes::new(bytes) };
    let upload = Upload { descriptor: &descriptor, sender: &sender, mount_from: None };
    assert_eq!(client.push_blob(&fake.reference("a/b:1"), upload).await.unwrap(), Pushed::Sent);
}

/// Where a registry takes no stream, or breaks off, the blob goes as every other one does.
#[tokio::test]
async fn a_registry_that_takes_no_streams_gets_the_blob_in_pieces_of_a_known_length() {
    after_a_stream_was_refused(|request| {
        let line = request.line.as_str();
        if line.starts_with("POST") {
            response("202 Accepted", &[("Location", "/up/1")], b"")
        } else if line.starts_with("PATCH") && request.header("content-length").is_none() {
            response("411 Length Required", &[], b"")
        } else if line.starts_with("PATCH") && request.body == b"all of it" {
            response("202 Accepted", &[("Location", "/up/1"), ("Range", "0-8")], b"")
        } else if line.starts_with("PUT") {
            response("201 Created", &[], b"")
        } else {
            response("404 Not Found", &[], b"")
        }
    })
    .await;
}

/// One that takes no pieces whatever their length gets it in one request.
#[tokio::test]
async fn a_registry_that_takes_no_pieces_gets_the_blob_whole() {
    after_a_stream_was_refused(|request| match request.line.split(' ').next().unwrap() {
        "POST" => response("202 Accepted", &[("Location", "/up/1")], b""),
        "PATCH" => response("405 Method Not Allowed", &[], b""),
        "PUT" if request.body == b"all of it" => response("201 Created", &[], b""),
        _ => response("404 Not Found", &[], b""),
    })
    .await;
}

async fn after_a_stream_was_refused(answers: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static) {
    let fake = Fake::start(move |request, _| answers(request)).await;
    let client = client();
    let growing: Growing = Box::pin(futures_util::stream::iter([Ok(b"all of it".to_vec())]));
    let reference = fake.reference("a/b:1");
    let sent = client.begin_growing(&reference).await.unwrap().send(growing, &|_| ()).await;
    assert_eq!(sent.taken, None);
    let bytes = b"all of it";
    let descriptor = Descriptor::of("x", bytes);
    let sender = Bytes { unfinished: Some(sent), ..Bytes::new(bytes) };
    let upload = Upload { descriptor: &descriptor, sender: &sender, mount_from: None };
    assert_eq!(client.push_blob(&fake.reference("a/b:1"), upload).await.unwrap(), Pushed::Sent);
    assert_eq!(sender.told.into_inner(), 9);
}

#[tokio::test]
async fn an_upload_that_is_forgotten_begins_anew_in_pieces() {
    for (story, refusal) in
        [("broken", ""), ("too large", "413 Payload Too Large"), ("gone", "404 Not Found")]
    {
        let fake = Fake::start(move |request, _| match request.line.split(' ').next().unwrap() {
            "HEAD" | "GET" => response("404 Not Found", &[], b""),
            "POST" => {
                response("202 Accepted", &[("Location", "/up"), ("OCI-Chunk-Min-Length", "20000000")], b"")
            }
            "PUT" if !request.body.is_empty() && refusal.is_empty() => Vec::new(),
            "PUT" if !request.body.is_empty() => response(refusal, &[], b""),
            // It takes less than it was sent the first time, and says so.
            "PATCH" if request.header("content-range") == Some("0-19999999") => {
                response("202 Accepted", &[("Location", "/up"), ("Range", "0-9999999")], b"")
            }
            "PATCH" => response("202 Accepted", &[("Location", "/up")], b""),
            _ => response("201 Created", &[], b""),
        })
        .await;
        let contents: Vec<u8> = (0..40_000_000_u32).map(|n| (n >> 8) as u8).collect();
        assert_eq!(push(&fake, &contents).await.unwrap(), Pushed::Sent, "{story}");
        let seen = fake.seen();
        let patches: Vec<_> = seen.iter().filter(|seen| seen.line.starts_with("PATCH")).collect();
        let ranges: Vec<_> = patches.iter().filter_map(|seen| seen.header("content-range")).collect();
        assert_eq!(ranges, ["0-19999999", "10000000-29999999", "30000000-39999999"], "{story}");
        assert!(patches[1].body == contents[10_000_000..30_000_000], "{story}");
        assert!(seen.last().unwrap().line.starts_with("PUT /up?digest="), "{story}");
    }
}

#[tokio::test]
async fn a_key_that_expires_under_way_is_replaced() {
    let fake = Fake::start(|request, index| {
        if request.line.contains("/token?") {
            let token = format!(r#"{{"token":"T{index}","expires_in":300}}"#);
            return response("200 OK", &[], token.as_bytes());
        }
        let challenge = format!("Bearer realm=\"http://{}/token\"", request.header("host").unwrap());
        let denied = || response("401 Unauthorized", &[("WWW-Authenticate", &challenge)], b"");
        match (request.header("authorization"), request.line.split(' ').next().unwrap()) {
            (None, _) => denied(),
            (Some(_), "HEAD") => response("404 Not Found", &[], b""),
            (Some(_), "POST") => response("202 Accepted", &[("Location", "/up")], b""),
            (Some("Bearer T1"), _) => denied(),
            (Some(_), "GET") => response("204 No Content", &[("Range", "0-0")], b""),
            (Some(_), "PATCH") => response("202 Accepted", &[("Location", "/up")], b""),
            (Some(_), _) => response("201 Created", &[], b""),
        }
    })
    .await;
    let pushed = push_from(&client_with_password(), &fake, "a/b:1", b"right", None).await;
    assert_eq!(pushed.unwrap(), Pushed::Sent);
    let tokens = asked(&fake).iter().filter(|line| line.contains("/token?")).count();
    assert_eq!(tokens, 2, "{:?}", asked(&fake));
    assert!(asked(&fake)[1].contains("scope=repository%3Aa%2Fb%3Apull%2Cpush"));

    // A registry that takes no key for an upload ends in a refusal.
    let fake = Fake::start(|request, _| match request.line.split(' ').next().unwrap() {
        "HEAD" => response("404 Not Found", &[], b""),
        "POST" => response("202 Accepted", &[("Location", "/up")], b""),
        _ => response("401 Unauthorized", &[], b""),
    })
    .await;
    let refused = push(&fake, b"right").await.unwrap_err();
    assert!(refused.is_denied(), "{refused}");
}

#[tokio::test]
async fn who_may_not_read_elsewhere_sends_the_blob() {
    let fake = Fake::start(|request, _| match request.line.split(' ').next().unwrap() {
        "HEAD" => response("404 Not Found", &[], b""),
        "POST" if request.line.contains("mount=") => response("403 Forbidden", &[], b""),
        "POST" => response("202 Accepted", &[("Location", "/up")], b""),
        _ => response("201 Created", &[], b""),
    })
    .await;
    let pushed = push_from(&client(), &fake, "a/b:1", b"right", Some("secret/c")).await;
    assert_eq!(pushed.unwrap(), Pushed::Sent);
    // And one that does not take it over goes on with the upload that it began.
    let fake = Fake::start(|request, _| match request.line.split(' ').next().unwrap() {
        "HEAD" => response("404 Not Found", &[], b""),
        "POST" => response("202 Accepted", &[("Location", "/up")], b""),
        _ => response("201 Created", &[], b""),
    })
    .await;
    let pushed = push_from(&client(), &fake, "a/b:1", b"right", Some("a/c")).await;
    assert_eq!(pushed.unwrap(), Pushed::Sent);
    assert_eq!(fake.seen().len(), 3);
}

#[tokio::test]
async fn a_registry_that_does_not_answer_is_too_slow() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = listener.local_addr().unwrap();
    let through = Fake::start(move |request, _| {
        let status = if request.line.starts_with("HEAD") { "404 Not Found" } else { "202 Accepted" };
        response(status, &[("Location", &format!("http://{silent}/up"))], b"")
    })
    .await;
    let brief = Duration::from_millis(1);
    let timing = Timing { answer: brief, idle: Duration::from_millis(300), attempts: 1, ..quick().timing };
    let client = Client::new(Registries { timing, ..quick() }).unwrap();
    let refused = push_from(&client, &through, "a/b:1", b"right", None).await.unwrap_err();
    assert!(matches!(refused, ClientError::TooSlow(_)), "{refused}");
}

#[tokio::test]
async fn blobs_are_pushed_side_by_side_and_answered_in_order() {
    let fake = Fake::start(|request, _| match request.line.split(' ').next().unwrap() {
        "HEAD" if request.line.contains(&BlobDigest::of(b"there").to_string()) => {
            response("200 OK", &[], b"")
        }
        "HEAD" => response("404 Not Found", &[], b""),
        "POST" => response("202 Accepted", &[("Location", "/up")], b""),
        _ => response("201 Created", &[], b""),
    })
    .await;
    let blobs: [&[u8]; 3] = [b"first", b"there", b"last"];
    let descriptors = blobs.map(|bytes| Descriptor::of("x", bytes));
    let senders = blobs.map(Bytes::new);
    let uploads: Vec<_> = descriptors
        .iter()
        .zip(&senders)
        .map(|(descriptor, sender)| Upload { descriptor, sender, mount_from: None })
        .collect();
    let pushed = client().push_blobs(&fake.reference("a/b:1"), &uploads, 2).await.unwrap();
    assert_eq!(pushed, [Pushed::Sent, Pushed::Present, Pushed::Sent]);
}

fn referring(subject: &Descriptor) -> Vec<u8> {
    let mut manifest = Manifest::new(Descriptor::of("application/vnd.example.config", b"{}"), Vec::new());
    manifest.extra.insert("subject".to_owned(), serde_json::to_value(subject).unwrap());
    manifest.to_bytes()
}

#[tokio::test]
async fn what_refers_to_a_manifest_is_listed_by_the_registry_or_by_a_tag() {
    let subject = Descriptor::of(MediaType::OCI_MANIFEST, &manifest());
    // One that keeps lists by itself.
    let fake = Fake::start(|_, _| response("201 Created", &[("OCI-Subject", "sha256:x")], b"")).await;
    let about = referring(&subject);
    client().push_manifest(&fake.reference("a/b"), &about, MediaType::OCI_MANIFEST).await.unwrap();
    assert_eq!(fake.seen().len(), 1);

    // One that does not, and has a list with another entry by now.
    let other = Descriptor::of(MediaType::OCI_MANIFEST, b"other");
    let list = crate::manifest::Index::new(vec![other.clone()]).to_bytes();
    let fake = Fake::start(move |request, _| match request.line.split(' ').next().unwrap() {
        "GET" if request.line.contains("/referrers/") => response("404 Not Found", &[], b""),
        "GET" => response("200 OK", &[("Content-Type", MediaType::OCI_INDEX)], &list),
        _ => response("201 Created", &[], b""),
    })
    .await;
    client().push_manifest(&fake.reference("a/b"), &about, MediaType::OCI_MANIFEST).await.unwrap();
    let put = fake.seen().pop().unwrap();
    assert_eq!(put.line, format!("PUT /v2/a/b/manifests/sha256-{} HTTP/1.1", subject.digest.hex()));
    let Document::Index(index) = Document::parse(&put.body, None).unwrap() else { panic!("an index") };
    assert_eq!(index.manifests[0], other);
    assert_eq!(index.manifests[1].digest, BlobDigest::of(&about));
    assert_eq!(index.manifests[1].extra["artifactType"], "application/vnd.example.config");
    let listed = client().referrers(&fake.reference("a/b"), subject.digest).await.unwrap();
    assert_eq!(listed, [other]);
}

#[tokio::test]
async fn lists_are_read_page_by_page_and_only_here() {
    let fake = Fake::start(|request, _| {
        if request.line.contains("last=b") {
            response("200 OK", &[], br#"{"name":"a/b","tags":["c"]}"#)
        } else {
            let next = [("Link", "</v2/a/b/tags/list?last=b&n=2>; rel=\"next\"")];
            response("200 OK", &next, br#"{"name":"a/b","tags":["a","b"]}"#)
        }
    })
    .await;
    assert_eq!(client().tags(&fake.reference("a/b")).await.unwrap(), ["a", "b", "c"]);
    for link in ["<https://evil.example/v2/>; rel=next", "<http://169.254.169.254/>; rel=\"next\""] {
        let fake = Fake::start(move |_, _| response("200 OK", &[("Link", link)], br#"{"tags":[]}"#)).await;
        let refused = client().tags(&fake.reference("a/b")).await.unwrap_err();
        assert!(refused.to_string().contains("elsewhere"), "{refused}");
    }
    // One that leads to itself ends.
    let fake = Fake::start(|_, _| {
        let body = format!(r#"{{"tags":[{}"x"]}}"#, "\"x\",".repeat(40_000));
        response("200 OK", &[("Link", "</v2/>; rel=next")], body.as_bytes())
    })
    .await;
    client().tags(&fake.reference("a/b")).await.unwrap_err();
    assert_eq!(fake.seen().len(), 3);
}
