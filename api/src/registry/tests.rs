//! The registry as clients meet it, good ones and others.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use rbuild_cache::blobs::BlobFiles;
use rbuild_image::distribution::{Client, Pushed, Registries, Timing, Upload};
use rbuild_image::manifest::{Descriptor, Index, Manifest, MediaType};
use rbuild_images::{Images, ImagesError, Options as ImageOptions, SCHEMA};
use rbuild_model::digest::BlobDigest;
use rbuild_model::reference::Reference;
use rbuild_snapshotter::{CopySnapshotter, Folders, Snapshotter};
use rbuild_store::{Budget, Cancel, Canceller, Store, StoreOptions};
use tempfile::TempDir;

use super::*;

mod conformance;

struct Listening(mpsc::Sender<SocketAddr>);

impl Handle for Listening {
    fn listening(&self, address: SocketAddr) {
        let _ = self.0.send(address);
    }

    fn answered(&self, _: &str, _: &str, _: u16) {}

    fn failed(&self, path: &str, error: &ImagesError) {
        panic!("{path}: {error}");
    }
}

struct Served {
    address: SocketAddr,
    stop: Option<Canceller>,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
    _folder: TempDir,
}

impl Drop for Served {
    /// Ends the server, which has to end.
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(matches!(ended, Some(Ok(Ok(())))));
        }
    }
}

fn served(rights: Rights, bounds: Bounds) -> Served {
    served_to(rights, bounds, None)
}

fn served_to(rights: Rights, bounds: Bounds, access: Option<Access>) -> Served {
    served_within(rights, bounds, access, None)
}

/// Serves a store that may take so many bytes.
fn served_within(rights: Rights, bounds: Bounds, access: Option<Access>, max: Option<u64>) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions::new(folder.path().join("root"), folder.path().join("run"), "rbuild test");
    let schemas = &[&SCHEMA, &rbuild_cache::records::SCHEMA, &rbuild_cache::blobs::SCHEMA];
    let store = Store::open(StoreOptions { schemas, reserve: 0, ..options }).unwrap();
    if let Some(max) = max {
        store.set_budget(Budget { max, owners: &[&BlobFiles] });
    }
    let work = folder.path().join("work");
    std::fs::create_dir(&work).unwrap();
    let layout = store.layout();
    let folders = Folders { snapshots: layout.root().join("snapshots"), tmp: work, trash: layout.trash() };
    let snapshotter: Arc<dyn Snapshotter> = Arc::new(CopySnapshotter::open(&folders).unwrap());
    let images = Arc::new(Images::new(&store, snapshotter, ImageOptions::default()));
    let (sender, listening) = mpsc::channel();
    let (stop, cancel) = Cancel::pair();
    let options = Options { address: ([127, 0, 0, 1], 0).into(), rights, tls: None, access, bounds };
    let thread = std::thread::spawn(move || serve(images, options, Arc::new(Listening(sender)), &cancel));
    let address = listening.recv().expect("the server listens");
    Served { address, stop: Some(stop), thread: Some(thread), _folder: folder }
}

impl Served {
    fn reference(&self, rest: &str) -> Reference {
        format!("{}/{rest}", self.address).parse().unwrap()
    }

    /// Sends bytes, and returns all that comes until the other side closes.
    fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        // The other side may have closed by then.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Sends a request without a body and returns status line and headers, and the body.
    fn ask(&self, request: &str, headers: &str, body: &[u8]) -> (String, String) {
        let length = body.len();
        let head = format!(
            "{request} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n",
            self.address
        );
        let answer = self.raw(&[head.as_bytes(), body].concat());
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        (head.to_ascii_lowercase(), body.to_owned())
    }

    /// Begins an upload to the repository `a`.
    fn begin(&self) -> String {
        let (head, _) = self.ask("POST /v2/a/blobs/uploads/", "", b"");
        assert!(head.starts_with("http/1.1 202"), "{head}");
        head.lines().find_map(|line| line.strip_prefix("location: ")).unwrap().to_owned()
    }

    /// Asks until there is an answer of a status: what makes it so is under way.
    fn until(&self, request: &str, wanted: u16) {
        let seen = (0..20_000).map(|_| self.status(request, "", b"")).find(|status| *status == wanted);
        assert_eq!(seen, Some(wanted), "{request}");
    }

    fn status(&self, request: &str, headers: &str, body: &[u8]) -> u16 {
        let (head, _) = self.ask(request, headers, body);
        head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }
}

fn client() -> Client {
    let timing = Timing { attempts: 1, ..Timing::default() };
    Client::new(Registries { timing, ..Registries::default() }).unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Pushes a small artifact, and returns the descriptors of its layer and its manifest.
async fn push(client: &Client, name: &Reference, layer: &[u8], subject: Option<&Descriptor>) -> Descriptor {
    let config = b"{}".to_vec();
    let parts = [
        (Descriptor::of("application/vnd.example.config", &config), &config[..]),
        (Descriptor::of(MediaType::OCI_LAYER, layer), layer),
    ];
    for (descriptor, sender) in &parts {
        client.push_blob(name, Upload { descriptor, sender, mount_from: None }).await.unwrap();
    }
    let [(config, _), (layer, _)] = parts;
    let mut manifest = Manifest::new(config, vec![layer]);
    if let Some(subject) = subject {
        manifest.extra.insert("subject".into(), serde_json::to_value(subject).unwrap());
    }
    let bytes = manifest.to_bytes();
    client.push_manifest(name, &bytes, MediaType::OCI_MANIFEST).await.unwrap();
    Descriptor::of(MediaType::OCI_MANIFEST, &bytes)
}

#[test]
fn what_is_pushed_is_found_by_its_names() {
    let served = served(Rights::Push, Bounds::default());
    let client = client();
    block_on(async {
        let name = served.reference("team/app:1");
        let layer = vec![7; 300_000];
        let pushed = push(&client, &name, &layer, None).await;
        let fetched = client.manifest(&name).await.unwrap();
        assert_eq!(fetched.digest, pushed.digest);
        let by_digest = served.reference("team/app").with_digest(pushed.digest);
        assert_eq!(client.manifest(&by_digest).await.unwrap().bytes, fetched.bytes);
        let wanted = Descriptor::of(MediaType::OCI_LAYER, &layer);
        let mut came = Vec::new();
        client.blob(&name, &wanted, &mut came).await.unwrap();
        assert!(came == layer);

        // Another repository takes the blob over; a third one asks for what nobody has.
        let other = served.reference("other:1");
        let mount = client.adopt_blob(&other, &wanted, Some("team/app")).await.unwrap();
        assert_eq!(mount, Some(Pushed::Present), "blobs are found wherever they were pushed to");
        push(&client, &other, &layer, None).await;
        assert!(client.manifest(&served.reference("team/app:2")).await.unwrap_err().is_not_found());

        // An index of it, and what refers to it.
        let index = Index::new(vec![pushed.clone()]).to_bytes();
        client.push_manifest(&served.reference("team/app:all"), &index, MediaType::OCI_INDEX).await.unwrap();
        let about = push(&client, &served.reference("team/app"), b"about", Some(&pushed)).await;
        let found = client.referrers(&name, pushed.digest).await.unwrap();
        assert_eq!(found.iter().map(|entry| entry.digest).collect::<Vec<_>>(), [about.digest]);
        assert_eq!(found[0].extra["artifactType"], "application/vnd.example.config");
        assert_eq!(client.tags(&name).await.unwrap(), ["1", "all"], "no tag stands for a list of referrers");
    });
    let (head, body) = served.ask("GET /v2/team/app/tags/list?n=1", "", b"");
    assert!(head.contains("link: </v2/team/app/tags/list?n=1&last=1>; rel=\"next\""), "{head}");
    assert_eq!(body, r#"{"name":"team/app","tags":["1"]}"#);
    let (_, body) = served.ask("GET /v2/_catalog", "", b"");
    assert_eq!(body, r#"{"repositories":["other","team/app"]}"#);
    let digest = BlobDigest::of(&vec![7; 300_000]);
    let (head, body) = served.ask(&format!("GET /v2/team/app/blobs/{digest}"), "Range: bytes=10-13\r\n", b"");
    assert!(head.starts_with("http/1.1 206") && head.contains("content-range: bytes 10-13/300000"), "{head}");
    assert_eq!(body.as_bytes(), [7; 4]);
    assert_eq!(
        served.status(&format!("GET /v2/team/app/blobs/{digest}"), "Range: bytes=300000-\r\n", b""),
        416
    );
    assert_eq!(served.status(&format!("DELETE /v2/team/app/blobs/{digest}"), "", b""), 405);
}

#[test]
fn an_upload_goes_piece_by_piece_and_is_what_it_says() {
    let served = served(Rights::Delete, Bounds { uploads: 2, ..Bounds::default() });
    let begin = || served.begin();
    let upload = begin();
    assert_eq!(served.status(&format!("PATCH {upload}"), "Content-Range: 0-2\r\n", b"abc"), 202);
    assert_eq!(served.status(&format!("PATCH {upload}"), "Content-Range: 4-4\r\n", b"x"), 416);
    let (head, _) = served.ask(&format!("GET {upload}"), "", b"");
    assert!(head.starts_with("http/1.1 204") && head.contains("range: 0-2"), "{head}");
    // Not what it was said to be: refused, and nothing is left under either name.
    let (wrong, right) = (BlobDigest::of(b"abcdef"), BlobDigest::of(b"abcde"));
    assert_eq!(served.status(&format!("PUT {upload}?digest={wrong}"), "", b"de"), 400);
    for digest in [wrong, right] {
        assert_eq!(served.status(&format!("HEAD /v2/a/blobs/{digest}"), "", b""), 404);
    }
    assert_eq!(served.status(&format!("GET {upload}"), "", b""), 404);
    let upload = begin();
    assert_eq!(served.status(&format!("PUT {upload}"), "", b""), 400, "a digest is needed");
    assert_eq!(served.status(&format!("PATCH {upload}"), "", b"abc"), 202);
    let elsewhere = upload.replace("/v2/a/", "/v2/b/");
    assert_eq!(served.status(&format!("PATCH {elsewhere}"), "", b"abc"), 404);
    assert_eq!(served.status(&format!("PUT {upload}?digest={right}"), "Content-Range: 3-4\r\n", b"de"), 201);
    assert_eq!(served.status(&format!("HEAD /v2/a/blobs/{right}"), "", b""), 200);
    assert_eq!(served.status(&format!("POST /v2/c/blobs/uploads/?mount={right}&from=a"), "", b""), 201);
    let whole = BlobDigest::of(b"whole");
    assert_eq!(served.status(&format!("POST /v2/a/blobs/uploads/?digest={whole}"), "", b"whole"), 201);
    // So many at a time, and one that is given up makes room.
    let (first, _second) = (begin(), begin());
    assert_eq!(served.status("POST /v2/a/blobs/uploads/", "", b""), 429);
    assert_eq!(served.status(&format!("DELETE {first}"), "", b""), 204);
    begin();
    assert_eq!(served.status(&format!("DELETE /v2/a/blobs/{right}"), "", b""), 202);
}

#[test]
fn documents_name_what_is_there_and_are_what_they_say() {
    let served = served(Rights::Delete, Bounds::default());
    let kind = format!("Content-Type: {}\r\n", MediaType::OCI_MANIFEST);
    let put = |tag: &str, headers: &str, body: &[u8]| {
        served.status(&format!("PUT /v2/a/manifests/{tag}"), headers, body)
    };
    let dangling = Manifest::new(Descriptor::of(MediaType::OCI_CONFIG, b"{}"), Vec::new()).to_bytes();
    assert_eq!(put("1", &kind, &dangling), 400, "its config is not there");
    assert_eq!(put("1", "", &dangling), 400, "no type");
    assert_eq!(put("1", &kind, b"{}"), 400);
    assert_eq!(put("1", &kind, br#"{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}"#), 400);
    assert_eq!(put("1", &kind, &vec![b' '; (4 << 20) + 1]), 413);
    assert_eq!(put("-1", &kind, &dangling), 400);
    assert_eq!(put("..%2f..%2fx", &kind, &dangling), 400);
    let digest = BlobDigest::of(b"{}");
    assert_eq!(served.status(&format!("POST /v2/a/blobs/uploads/?digest={digest}"), "", b"{}"), 201);
    let other = format!("sha256:{}", "0".repeat(64));
    assert_eq!(put(&other, &kind, &dangling), 400, "another digest");
    assert_eq!(put("1", &kind, &dangling), 201);
    assert_eq!(served.status("GET /v2/a/manifests/1", "", b""), 200);
    assert_eq!(served.status("GET /v2/b/manifests/1", "", b""), 404);
    let index = Index::new(vec![Descriptor::of(MediaType::OCI_MANIFEST, b"nobody")]).to_bytes();
    let of_index = format!("Content-Type: {}\r\n", MediaType::OCI_INDEX);
    assert_eq!(put("2", &of_index, &index), 400, "it names nobody");
    assert_eq!(served.status("DELETE /v2/a/manifests/1", "", b""), 202);
    assert_eq!(served.status("DELETE /v2/a/manifests/1", "", b""), 404);
}

#[test]
fn who_may_only_read_changes_nothing() {
    let served = served(Rights::Read, Bounds::default());
    let digest = BlobDigest::of(b"x");
    for request in [
        "POST /v2/a/blobs/uploads/".to_owned(),
        "PUT /v2/a/manifests/1".to_owned(),
        "DELETE /v2/a/manifests/1".to_owned(),
        format!("DELETE /v2/a/blobs/{digest}"),
        "GET /v2/a/blobs/uploads/x".to_owned(),
    ] {
        assert_eq!(served.status(&request, "", b""), 405, "{request}");
    }
    assert_eq!(served.status("GET /v2/", "", b""), 200);
    assert_eq!(served.status("PUT /v2/", "", b""), 405);
    assert_eq!(served.status("GET /etc/passwd", "", b""), 404);
    assert_eq!(served.status("GET /v2/../../etc/passwd", "", b""), 404);
    assert_eq!(served.status(&format!("GET /v2/a/blobs/{digest}"), "", b""), 404);
}

#[test]
fn who_is_not_named_is_not_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users");
    std::fs::write(&users, format!("me:{}\n", bcrypt::hash("hunter2", 4).unwrap())).unwrap();
    let access = Access::read(&users).unwrap();
    let served = served_to(Rights::Push, Bounds::default(), Some(access));
    let (head, body) = served.ask("GET /v2/", "", b"");
    assert!(head.starts_with("http/1.1 401") && head.contains("www-authenticate: basic"), "{head}");
    assert!(body.contains("UNAUTHORIZED"));
    // bWU6aHVudGVyMg== is me:hunter2.
    assert_eq!(served.status("GET /v2/", "Authorization: Basic bWU6aHVudGVyMg==\r\n", b""), 200);
    assert_eq!(served.status("GET /v2/", "Authorization: Basic bWU6aHVudGVyMw==\r\n", b""), 401);
    assert_eq!(served.status("POST /v2/a/blobs/uploads/", "", b""), 401);
}

#[test]
fn connections_that_waste_its_time_end() {
    let idle = Duration::from_millis(200);
    let served = served(Rights::Push, Bounds { idle, connections: 4, ..Bounds::default() });
    // A head that never ends, and one that is too large.
    assert_eq!(served.raw(b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nX-A"), "");
    let flood = format!("GET /v2/ HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X-A: b\r\n".repeat(20_000));
    assert!(!served.raw(flood.as_bytes()).contains("200 OK"));
    // A body that stops.
    let stopped = "POST /v2/a/blobs/uploads/?digest=sha256:";
    let stopped =
        format!("{stopped}{} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nab", "0".repeat(64));
    assert!(served.raw(stopped.as_bytes()).starts_with("HTTP/1.1 408"));
    // All places taken by those who say nothing: they lose them.
    let silent: Vec<_> = (0..4).map(|_| TcpStream::connect(served.address).unwrap()).collect();
    assert_eq!(served.status("GET /v2/", "", b""), 200);
    drop(silent);
}

#[test]
fn an_upload_under_way_has_its_place_and_what_came_of_it_is_not_lost() {
    let served = served(Rights::Push, Bounds { uploads: 1, ..Bounds::default() });
    let upload = served.begin();
    let mut stream = TcpStream::connect(served.address).unwrap();
    let head = format!(
        "PATCH {upload} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).unwrap();
    assert!(go_on.starts_with(b"HTTP/1.1 100"), "its body is waited for");
    assert_eq!(served.status("POST /v2/a/blobs/uploads/", "", b""), 429);
    assert_eq!(served.status(&format!("GET {upload}"), "", b""), 404, "it is in other hands");
    stream.write_all(b"abc").unwrap();
    drop(stream);
    served.until(&format!("GET {upload}"), 204);
    let (head, _) = served.ask(&format!("GET {upload}"), "", b"");
    assert!(head.contains("range: 0-2"), "{head}");
    let digest = BlobDigest::of(b"abcdef");
    assert_eq!(served.status(&format!("PUT {upload}?digest={digest}"), "", b"def"), 201);
}

#[test]
fn what_nobody_goes_on_with_goes_without_being_asked_for() {
    let served =
        served(Rights::Push, Bounds { uploads: 1, upload_kept: Duration::ZERO, ..Bounds::default() });
    served.begin();
    served.until("POST /v2/a/blobs/uploads/", 202);
    served.until("POST /v2/a/blobs/uploads/", 202);
}

#[test]
fn uploads_leave_room() {
    let digest = BlobDigest::of(b"abc");
    let whole = format!("POST /v2/a/blobs/uploads/?digest={digest}");
    let full = served(Rights::Push, Bounds { keep_free: u64::MAX, uploads: 1, ..Bounds::default() });
    assert_eq!(full.status(&whole, "", b"abc"), 507);
    let upload = full.begin();
    assert_eq!(full.status(&format!("PATCH {upload}"), "", b"abc"), 507);
    full.begin();

    let small = served_within(Rights::Push, Bounds { uploads: 1, ..Bounds::default() }, None, Some(400_000));
    let upload = small.begin();
    assert_eq!(small.status(&format!("PATCH {upload}"), "", &vec![7; 300_000]), 202);
    assert_eq!(small.status(&format!("PATCH {upload}"), "", &vec![7; 200_000]), 507);
    assert_eq!(small.status(&format!("GET {upload}"), "", b""), 404, "it cannot come to its end");
    let enough = vec![7; 300_000];
    let fits = format!("POST /v2/a/blobs/uploads/?digest={}", BlobDigest::of(&enough));
    assert_eq!(small.status(&fits, "", &enough), 201, "what was refused takes no room");
    assert_eq!(small.status(&whole, "", b"abc"), 201);
}

#[test]
fn bodies_that_drip_end() {
    let rate = Rate { bytes: u64::MAX, span: Duration::from_nanos(1) };
    let served = served(Rights::Push, Bounds { rate, ..Bounds::default() });
    let digest = BlobDigest::of(b"abc");
    assert_eq!(served.status(&format!("POST /v2/a/blobs/uploads/?digest={digest}"), "", b"abc"), 408);
    let kind = format!("Content-Type: {}\r\n", MediaType::OCI_MANIFEST);
    assert_eq!(served.status("PUT /v2/a/manifests/1", &kind, b"{}"), 408);
    assert_eq!(served.status("GET /v2/", "", b""), 200, "what has no body cannot drip");
}

#[test]
fn the_loopback_is_not_reached_by_other_names() {
    let served = served(Rights::Push, Bounds::default());
    let ask = |target: &str, host: &str| {
        let answer =
            served.raw(format!("GET {target} HTTP/1.1\r\nConnection: close\r\n{host}\r\n").as_bytes());
        answer.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    let port = served.address.port();
    for host in [format!("localhost:{port}"), format!("127.0.0.1:{port}"), "[::1]".to_owned()] {
        assert_eq!(ask("/v2/", &format!("Host: {host}\r\n")), "200", "{host}");
    }
    for host in
        [format!("evil.example:{port}"), "192.0.2.1".to_owned(), format!("localhost.evil.example:{port}")]
    {
        assert_eq!(ask("/v2/", &format!("Host: {host}\r\n")), "421", "{host}");
    }
    assert_eq!(ask("http://evil.example/v2/", "Host: localhost\r\n"), "421");
    assert_eq!(ask("/v2/", "Host: localhost\r\nHost: evil.example\r\n"), "421");
}
