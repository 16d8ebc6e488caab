//! The client against a registry that says what a test tells it to.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rbuild_model::digest::BlobDigest;
use rbuild_model::reference::Reference;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::manifest::{Descriptor, Document, Manifest, MediaType};

mod hostile;
mod pushing;
mod rules;

/// A request as it came.
#[derive(Clone, Debug)]
struct Seen {
    line: String,
    headers: String,
    body: Vec<u8>,
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.headers.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

type Script = Box<dyn Fn(&Seen, usize) -> Vec<u8> + Send + Sync>;

/// A server on a loopback port; each connection serves one request.
struct Fake {
    address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Fake {
    async fn start(script: impl Fn(&Seen, usize) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&seen);
        let script: Arc<Script> = Arc::new(Box::new(script));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, script) = (Arc::clone(&shared), Arc::clone(&script));
                tokio::spawn(async move { serve(stream, &shared, &script).await });
            }
        });
        Self { address, seen }
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    fn reference(&self, rest: &str) -> Reference {
        format!("{}/{rest}", self.address).parse().unwrap()
    }
}

async fn serve(mut stream: tokio::net::TcpStream, seen: &Mutex<Vec<Seen>>, script: &Script) -> Option<()> {
    let mut bytes = Vec::new();
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).await.ok().filter(|&count| count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let (line, headers) = text.split_once("\r\n")?;
    let mut request =
        Seen { line: line.to_owned(), headers: headers.to_owned(), body: bytes[head..].to_vec() };
    let is_stream = request.header("transfer-encoding") == Some("chunked");
    while is_stream && !request.body.ends_with(b"0\r\n\r\n") {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).await.ok().filter(|&count| count > 0)?;
        request.body.extend_from_slice(&buffer[..count]);
    }
    if is_stream {
        request.body = dechunked(&request.body)?;
    }
    let length = request.header("content-length").and_then(|value| value.parse::<usize>().ok()).unwrap_or(0);
    while request.body.len() < length {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).await.ok().filter(|&count| count > 0)?;
        request.body.extend_from_slice(&buffer[..count]);
    }
    let index = {
        let mut seen = seen.lock().unwrap();
        seen.push(request.clone());
        seen.len() - 1
    };
    stream.write_all(&script(&request, index)).await.ok()?;
    stream.shutdown().await.ok()
}

/// Takes a body out of the pieces in which it came.
fn dechunked(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|window| window == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).ok()?, 16).ok()?;
        if length == 0 {
            return Some(body);
        }
        body.extend_from_slice(bytes.get(end + 2..end + 2 + length)?);
        bytes = bytes.get(end + 2 + length + 2..)?;
    }
}

fn response(status: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    [head.as_bytes(), b"\r\n", body].concat()
}

fn quick() -> Registries {
    let timing = Timing {
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(2),
        ..Timing::default()
    };
    Registries { timing, ..Registries::default() }
}

fn client() -> Client {
    Client::new(quick()).unwrap()
}

struct Known;

impl Credentials for Known {
    fn for_registry(&self, _registry: &str) -> Result<Option<Credential>, CredentialError> {
        Ok(Some(Credential::Password { username: "user".into(), password: "hunter2".into() }))
    }
}

fn client_with_password() -> Client {
    Client::new(Registries { credentials: Arc::new(Known), ..quick() }).unwrap()
}

fn manifest() -> Vec<u8> {
    Manifest::new(Descriptor::of(MediaType::OCI_CONFIG, b"{}"), Vec::new()).to_bytes()
}

#[derive(Default)]
struct Memory {
    bytes: Vec<u8>,
    restarts: usize,
}

impl Receiver for Memory {
    fn receive(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        self.bytes.clear();
        self.restarts += 1;
        Ok(())
    }
}

async fn fetch_blob(fake: &Fake, contents: &[u8]) -> (Result<(), ClientError>, Memory) {
    let mut memory = Memory::default();
    let descriptor = Descriptor::of("x", contents);
    let fetched = client().blob(&fake.reference("a/b:1"), &descriptor, &mut memory).await;
    (fetched, memory)
}

#[tokio::test]
async fn a_manifest_is_named_by_the_hash_of_its_bytes() {
    let lie = BlobDigest::of(b"a lie").to_string();
    let fake = Fake::start(move |_, _| {
        response(
            "200 OK",
            &[("Content-Type", MediaType::OCI_MANIFEST), ("Docker-Content-Digest", &lie)],
            &manifest(),
        )
    })
    .await;
    let fetched = client().manifest(&fake.reference("a/b:1")).await.unwrap();
    assert_eq!(fetched.digest, BlobDigest::of(&manifest()));
    assert!(matches!(fetched.document, Document::Manifest(_)));
    assert_eq!(fake.seen()[0].line, "GET /v2/a/b/manifests/1 HTTP/1.1");
    assert_eq!(fake.seen()[0].header("accept-encoding"), Some("identity"));

    let other = fake.reference("a/b").with_digest(BlobDigest::of(b"something else"));
    let refused = client().manifest(&other).await.unwrap_err();
    assert!(matches!(refused, ClientError::Digest { .. }), "{refused}");
}

#[tokio::test]
async fn blobs_of_another_content_or_size_are_refused() {
    let serve = |body: &'static [u8]| Fake::start(move |_, _| response("200 OK", &[], body));
    let (done, memory) = fetch_blob(&serve(b"right").await, b"right").await;
    done.unwrap();
    assert_eq!(memory.bytes, b"right");
    let (refused, memory) = fetch_blob(&serve(b"wrong").await, b"right").await;
    assert!(matches!(refused.unwrap_err(), ClientError::Digest { .. }));
    assert_eq!(memory.bytes, b"", "nothing of the wrong content is left");
    let (refused, _) = fetch_blob(&serve(b"right and more").await, b"right").await;
    assert!(matches!(refused.unwrap_err(), ClientError::Size { .. }));
    // Without a length the excess shows only as it comes.
    let endless = Fake::start(|_, _| {
        [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec(), vec![b'x'; 100_000]].concat()
    })
    .await;
    let (refused, memory) = fetch_blob(&endless, b"right").await;
    assert!(matches!(refused.unwrap_err(), ClientError::Size { .. }));
    assert!(memory.bytes.len() <= 5);
}

#[tokio::test]
async fn broken_transfers_go_on_where_they_broke() {
    let contents: Vec<u8> = (0..10_000_u32).map(|n| n as u8).collect();
    let whole = contents.clone();
    let fake = Fake::start(move |request, index| match index {
        0 => response("200 OK", &[("Content-Length", "10000")], &whole[..4000]),
        _ => {
            assert_eq!(request.header("range"), Some("bytes=4000-"));
            response("206 Partial Content", &[("Content-Range", "bytes 4000-9999/10000")], &whole[4000..])
        }
    })
    .await;
    let (done, memory) = fetch_blob(&fake, &contents).await;
    done.unwrap();
    assert_eq!((memory.bytes == contents, memory.restarts), (true, 0));
}

#[tokio::test]
async fn servers_that_cannot_go_on_begin_anew() {
    let contents: Vec<u8> = (0..10_000_u32).map(|n| n as u8).collect();
    for second in ["200 OK", "206 Partial Content", "416 Range Not Satisfiable"] {
        let whole = contents.clone();
        let fake = Fake::start(move |_, index| match index {
            0 => response("200 OK", &[("Content-Length", "10000")], &whole[..4000]),
            1 => response(second, &[("Content-Range", "bytes 1-9999/10000")], &whole),
            _ => response("200 OK", &[], &whole),
        })
        .await;
        let (done, memory) = fetch_blob(&fake, &contents).await;
        done.unwrap();
        assert_eq!((memory.bytes == contents, memory.restarts), (true, 1), "{second}");
    }
}

/// Has the beginning of a blob, and hashes.
struct Begun(Memory);

impl Receiver for Begun {
    fn resume(&mut self) -> io::Result<u64> {
        Ok(self.0.bytes.len() as u64)
    }

    fn digest(&self) -> Option<BlobDigest> {
        Some(BlobDigest::of(&self.0.bytes))
    }

    fn receive(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.receive(bytes)
    }

    fn restart(&mut self) -> io::Result<()> {
        self.0.restart()
    }
}

#[tokio::test]
async fn transfers_of_an_earlier_attempt_go_on_and_are_not_trusted() {
    let contents: Vec<u8> = (0..10_000_u32).map(|n| n as u8).collect();
    let damaged = |bytes: &[u8]| bytes.iter().map(|byte| byte ^ 1).collect::<Vec<u8>>();
    let long = [&contents[..], b"more"].concat();
    let rest = Some("bytes=4000-".to_owned());
    for (begun, asked, restarts) in [
        (contents[..4000].to_vec(), vec![rest.clone()], 0),
        (damaged(&contents[..4000]), vec![rest, None], 1),
        (contents.clone(), vec![], 0),
        (damaged(&contents), vec![None], 1),
        (long, vec![None], 1),
    ] {
        let whole = contents.clone();
        let fake = Fake::start(move |request, _| match request.header("range") {
            None => response("200 OK", &[], &whole),
            Some(_) => {
                response("206 Partial Content", &[("Content-Range", "bytes 4000-9999/10000")], &whole[4000..])
            }
        })
        .await;
        let mut receiver = Begun(Memory { bytes: begun, restarts: 0 });
        let descriptor = Descriptor::of("x", &contents);
        client().blob(&fake.reference("a/b:1"), &descriptor, &mut receiver).await.unwrap();
        assert!(receiver.0.bytes == contents);
        assert_eq!(receiver.0.restarts, restarts);
        let ranges: Vec<_> = fake.seen().iter().map(|seen| seen.header("range").map(str::to_owned)).collect();
        assert_eq!(ranges, asked);
    }
    // What goes on belongs to a blob of another size.
    let whole = contents.clone();
    let fake = Fake::start(move |request, _| match request.header("range") {
        None => response("200 OK", &[], &whole),
        Some(_) => {
            response("206 Partial Content", &[("Content-Range", "bytes 4000-9999/20000")], &whole[4000..])
        }
    })
    .await;
    let mut receiver = Begun(Memory { bytes: contents[..4000].to_vec(), restarts: 0 });
    let descriptor = Descriptor::of("x", &contents);
    client().blob(&fake.reference("a/b:1"), &descriptor, &mut receiver).await.unwrap();
    assert_eq!((receiver.0.bytes == contents, receiver.0.restarts), (true, 1));
}

#[tokio::test]
async fn redirects_leave_credentials_behind_and_end() {
    let elsewhere = Fake::start(|_, _| response("200 OK", &[], b"right")).await;
    let target = format!("http://{}/signed?x=1", elsewhere.address);
    let fake = Fake::start(move |request, _| {
        if request.header("authorization").is_none() {
            return response("401 Unauthorized", &[("WWW-Authenticate", "Basic realm=\"x\"")], b"");
        }
        response("307 Temporary Redirect", &[("Location", &target)], b"")
    })
    .await;
    let mut memory = Memory::default();
    let descriptor = Descriptor::of("x", b"right");
    client_with_password().blob(&fake.reference("a/b:1"), &descriptor, &mut memory).await.unwrap();
    assert_eq!(memory.bytes, b"right");
    assert!(fake.seen()[1].header("authorization").is_some());
    assert_eq!(elsewhere.seen()[0].header("authorization"), None);

    for location in [
        "/v2/again",
        "file:///etc/passwd",
        "http://u:p@127.0.0.1/",
        "http://169.254.169.254/",
        "http://[",
        "",
    ] {
        let fake = Fake::start(move |_, _| response("302 Found", &[("Location", location)], b"")).await;
        let refused = client().manifest(&fake.reference("a/b:1")).await.unwrap_err();
        assert!(matches!(refused, ClientError::Protocol { .. }), "{location}: {refused}");
        assert!(fake.seen().len() <= 6, "{location}");
    }
}

#[tokio::test]
async fn tokens_are_got_once_a_scope_and_used() {
    let fake = Fake::start(|request, _| {
        if request.line.contains("/token?") {
            return response("200 OK", &[], br#"{"token":"T","expires_in":300}"#);
        }
        if request.header("authorization") == Some("Bearer T") {
            return response("200 OK", &[], &manifest());
        }
        let challenge =
            format!("Bearer realm=\"http://{}/token\",service=\"s\"", request.header("host").unwrap());
        response("401 Unauthorized", &[("WWW-Authenticate", &challenge)], b"")
    })
    .await;
    let client = client_with_password();
    client.manifest(&fake.reference("a/b:1")).await.unwrap();
    client.manifest(&fake.reference("a/b:2")).await.unwrap();
    client.manifest(&fake.reference("a/c:1")).await.unwrap();
    let lines: Vec<_> = fake.seen().iter().map(|seen| seen.line.clone()).collect();
    let tokens: Vec<_> = lines.iter().filter(|line| line.contains("/token?")).collect();
    assert_eq!(tokens.len(), 2, "one a repository: {lines:?}");
    assert!(tokens[0].contains("service=s") && tokens[0].contains("scope=repository%3Aa%2Fb%3Apull"));
    assert!(tokens[0].contains("account=user"));
    let asked = fake.seen().into_iter().find(|seen| seen.line.contains("/token?")).unwrap();
    assert!(asked.header("authorization").unwrap().starts_with("Basic "));
}

#[tokio::test]
async fn a_token_that_opens_nothing_ends_in_a_refusal() {
    let fake = Fake::start(|request, _| {
        if request.line.contains("/token?") {
            return response("200 OK", &[], br#"{"access_token":"T"}"#);
        }
        let challenge = format!("Bearer realm=\"http://{}/token\"", request.header("host").unwrap());
        response("401 Unauthorized", &[("WWW-Authenticate", &challenge)], b"")
    })
    .await;
    let refused = client().manifest(&fake.reference("a/b:1")).await.unwrap_err();
    assert!(refused.is_denied(), "{refused}");
    assert_eq!(fake.seen().len(), 3);
}

#[tokio::test]
async fn credentials_go_to_no_realm_of_another_owner() {
    for (realm, wanted) in [
        ("https://evil.example/token", "trusted realm"),
        ("http://evil.example/token", "not reached by HTTPS"),
        ("https://u:p@127.0.0.1/token", "user name"),
        ("https://169.254.169.254/token", "this machine or link"),
        ("nonsense", "no URL"),
    ] {
        let challenge = format!("Bearer realm=\"{realm}\"");
        let fake =
            Fake::start(move |_, _| response("401 Unauthorized", &[("WWW-Authenticate", &challenge)], b""))
                .await;
        let refused = client_with_password().manifest(&fake.reference("a/b:1")).await.unwrap_err();
        assert!(refused.to_string().contains(wanted), "{realm}: {refused}");
    }
}

#[tokio::test]
async fn storms_are_weathered_and_refusals_are_not_repeated() {
    let fake = Fake::start(|_, index| match index {
        0 => response("503 Service Unavailable", &[], b"busy"),
        1 => response("429 Too Many Requests", &[("Retry-After", "999999999")], b""),
        _ => response("200 OK", &[], &manifest()),
    })
    .await;
    client().manifest(&fake.reference("a/b:1")).await.unwrap();
    assert_eq!(fake.seen().len(), 3);

    let fake = Fake::start(|_, _| response("500 Internal Server Error", &[], b"")).await;
    client().manifest(&fake.reference("a/b:1")).await.unwrap_err();
    assert_eq!(fake.seen().len(), 5);

    let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"\u001b[31mno such tag"}]}"#;
    let fake = Fake::start(|_, _| response("404 Not Found", &[], body)).await;
    let refused = client().manifest(&fake.reference("a/b:1")).await.unwrap_err();
    assert!(refused.is_not_found());
    assert_eq!(fake.seen().len(), 1);
    assert!(refused.to_string().ends_with("manifest unknown: \\u{1b}[31mno such tag"), "{refused}");
}

#[tokio::test]
async fn bodies_without_measure_are_refused() {
    let fake = Fake::start(|_, _| response("200 OK", &[], &vec![b' '; (4 << 20) + 1])).await;
    let refused = client().manifest(&fake.reference("a/b:1")).await.unwrap_err();
    assert!(matches!(refused, ClientError::Protocol { .. }), "{refused}");
    let fake = Fake::start(|_, _| response("404 Not Found", &[], &vec![b'x'; 2 << 20])).await;
    let refused = client().manifest(&fake.reference("a/b:1")).await.unwrap_err();
    assert!(refused.to_string().len() < 5000);
}

#[tokio::test]
async fn mirrors_come_first_and_the_registry_decides() {
    let mirror = Fake::start(|request, _| {
        if request.line.contains("/manifests/1 ") {
            response("200 OK", &[], &manifest())
        } else {
            response("404 Not Found", &[], b"")
        }
    })
    .await;
    let upstream = Fake::start(|_, _| response("200 OK", &[], &manifest())).await;
    let mut registries = quick();
    registries.mirrors.insert(upstream.address.clone(), vec![mirror.address.parse().unwrap()]);
    let client = Client::new(registries).unwrap();
    client.manifest(&upstream.reference("a/b:1")).await.unwrap();
    assert_eq!((mirror.seen().len(), upstream.seen().len()), (1, 0));
    client.manifest(&upstream.reference("a/b:2")).await.unwrap();
    assert_eq!((mirror.seen().len(), upstream.seen().len()), (2, 1));
}

#[tokio::test]
async fn names_are_looked_up_in_the_texts_that_were_brought() {
    let fake = Fake::start(|_, _| response("200 OK", &[], &manifest())).await;
    let port = fake.address.rsplit_once(':').unwrap().1;
    let with_hosts = |hosts: &str| {
        let names = NameService {
            hosts: hosts.to_owned(),
            resolv_conf: "nameserver 127.0.0.1\noptions attempts:1".into(),
        };
        Client::new(Registries { names, insecure: vec![format!("registry.test:{port}")], ..quick() }).unwrap()
    };
    let reference: Reference = format!("registry.test:{port}/a/b:1").parse().unwrap();
    with_hosts("127.0.0.1 registry.test\n").manifest(&reference).await.unwrap();
    assert_eq!(fake.seen()[0].header("host"), Some(&*format!("registry.test:{port}")));
    let refused = with_hosts("169.254.169.254 registry.test\n").manifest(&reference).await.unwrap_err();
    assert!(matches!(refused, ClientError::Transport { .. }), "{refused}");
    assert_eq!(fake.seen().len(), 1);
}

/// A look-up and a connection that fail are not tried again, and all who were asked are named.
#[tokio::test]
async fn what_cannot_be_reached_fails_at_once() {
    let reference: Reference = "registry.invalid/a/b:1".parse().unwrap();
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let never = Duration::from_secs(3600);
    let timing = Timing { first_pause: never, longest_pause: never, ..Timing::default() };
    // With a pause of an hour, a second attempt would hang this test.
    let registries = Registries { timing, ..Registries::default() };
    let refused = Client::new(registries.clone()).unwrap();
    let refused = refused.manifest(&format!("{closed}/a/b:1").parse().unwrap()).await.unwrap_err();
    assert!(matches!(refused, ClientError::Transport { .. }), "{refused}");
    assert!(refused.is_unreachable());

    let mirror: Endpoint = closed.parse().unwrap();
    let mirrors = [("registry.invalid".to_owned(), vec![mirror])].into();
    let client = Client::new(Registries { mirrors, ..registries }).unwrap();
    let refused = client.manifest(&reference).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!("cannot get registry.invalid/a/b:1 from any of http://{closed}, https://registry.invalid"),
    );
}

#[tokio::test]
async fn connections_that_break_are_made_again() {
    let fake = Fake::start(|_, index| match index {
        0 => Vec::new(),
        _ => response("200 OK", &[], &manifest()),
    })
    .await;
    client().manifest(&fake.reference("a/b:1")).await.unwrap();
    assert_eq!(fake.seen().len(), 2);
}

#[test]
fn endpoints_are_origins() {
    for (text, origin) in [
        ("ghcr.io", "https://ghcr.io"),
        ("127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("[::1]:5000", "http://[::1]:5000"),
        ("localhost", "http://localhost"),
        ("http://mirror.test:80", "http://mirror.test"),
        ("https://mirror.test:5000/", "https://mirror.test:5000"),
    ] {
        assert_eq!(text.parse::<Endpoint>().unwrap().origin(), origin);
    }
    for wrong in ["", "a b", "http://u@h", "http://h/path", "ftp://h", "http://h?x", "http://"] {
        assert!(wrong.parse::<Endpoint>().is_err(), "{wrong}");
    }
}

async fn fetch(fake: &Fake, path: &str, known: Option<&Validators>) -> (Result<Reply, ClientError>, Memory) {
    let web = Web::new(&quick()).unwrap();
    let mut memory = Memory::default();
    let url = format!("http://{}{path}", fake.address);
    let wanted = Wanted { url: &url, known, authorization: Some("Bearer secret"), limit: 8 };
    (web.fetch(&wanted, &mut memory).await, memory)
}

#[tokio::test]
async fn files_of_web_servers_are_asked_for_with_what_is_known_of_them() {
    let elsewhere = Fake::start(|_, _| response("200 OK", &[], b"there")).await;
    let away = format!("http://{}/there", elsewhere.address);
    let fake = Fake::start(move |seen, index| match seen.line.split(' ').nth(1) {
        _ if seen.header("if-none-match") == Some("\"1\"") => response("304 Not Modified", &[], b""),
        Some("/file") => response("200 OK", &[("ETag", "\"1\""), ("Last-Modified", "then")], b"file"),
        Some("/storm") if index < 3 => response("503 Busy", &[], b""),
        Some("/storm") => response("200 OK", &[], b"calm"),
        Some("/large") => response("200 OK", &[], b"123456789"),
        Some("/away") => response("302 Found", &[("Location", &away)], b""),
        _ => response("410 Gone", &[], b""),
    })
    .await;
    let (reply, memory) = fetch(&fake, "/file", None).await;
    let validators = Validators { etag: Some("\"1\"".into()), last_modified: Some("then".into()) };
    assert_eq!((reply.unwrap(), &memory.bytes[..]), (Reply::Came(validators.clone()), &b"file"[..]));
    let (reply, memory) = fetch(&fake, "/file", Some(&validators)).await;
    assert_eq!((reply.unwrap(), memory.bytes.len()), (Reply::Unchanged, 0));
    assert_eq!(fake.seen()[1].header("if-modified-since"), Some("then"));
    assert_eq!(fake.seen()[1].header("accept-encoding"), Some("identity"));
    let (reply, memory) = fetch(&fake, "/storm", None).await;
    assert_eq!((reply.unwrap(), &memory.bytes[..]), (Reply::Came(Validators::default()), &b"calm"[..]));
    let (large, _) = fetch(&fake, "/large", None).await;
    assert!(large.unwrap_err().to_string().contains("more than 8 bytes"));
    let (gone, _) = fetch(&fake, "/gone", None).await;
    assert!(gone.unwrap_err().to_string().contains("invalid response status 410"));
    let (reply, memory) = fetch(&fake, "/away", None).await;
    assert_eq!((reply.unwrap(), &memory.bytes[..]), (Reply::Came(Validators::default()), &b"there"[..]));
    assert_eq!(fake.seen().last().unwrap().header("authorization"), Some("Bearer secret"));
    assert_eq!(
        elsewhere.seen()[0].header("authorization"),
        None,
        "what opens one server is shown to no other"
    );
}
