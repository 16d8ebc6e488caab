//! Against a bucket of ours that is strict: every signature, every hash of a body, every part is checked.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};

use rbuild_image::distribution::{Registries, Timing};
use rbuild_testkit::web::{Reply, Request, Web};

use super::*;
use crate::backends::{Catalog, conformance, send_missing};

mod others;

fn keys() -> Keys {
    Keys { id: "id".to_owned(), secret: "secret".to_owned(), session: Some("session".to_owned()) }
}

/// What is in the bucket, and what is on its way.
#[derive(Default)]
struct Bucket {
    objects: BTreeMap<String, Vec<u8>>,
    uploads: BTreeMap<String, BTreeMap<u64, Vec<u8>>>,
    begun: u64,
    touched: Vec<String>,
    /// The part at which an upload fails.
    fails_at: Option<u64>,
}

fn error(status: u16, code: &str) -> Reply {
    let body = format!("<Error><Code>{code}</Code><Message>a &lt;reason&gt;</Message></Error>");
    Reply::with_status(status, body)
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            bytes.push(u8::from_str_radix(std::str::from_utf8(&after[..2]).unwrap(), 16).unwrap());
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// Checks a request as a server does: from what came, not from what was meant.
fn is_signed(request: &Request) -> bool {
    let header = |name: &str| request.headers.get(name).cloned().unwrap_or_default();
    let authorization = header("authorization");
    let Some((_, rest)) = authorization.split_once("SignedHeaders=") else { return false };
    let Some((names, _)) = rest.split_once(',') else { return false };
    let own = ["host", "x-amz-content-sha256", "x-amz-date", "x-amz-security-token"];
    if !own.iter().all(|name| names.split(';').any(|signed| signed == *name)) {
        return false;
    }
    let known: &[&'static str] = &["x-amz-copy-source", "x-amz-metadata-directive"];
    let further: Vec<(&'static str, String)> =
        known.iter().filter(|name| names.contains(**name)).map(|name| (*name, header(name))).collect();
    let pairs: Vec<(&str, &str)> = request
        .query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .collect();
    let query: Vec<(&str, String)> = pairs.iter().map(|(name, value)| (*name, decoded(value))).collect();
    let payload = hex(&Sha256::digest(&request.body));
    let host = header("host");
    let unsigned = Unsigned {
        method: &request.method,
        host: &host,
        path: &request.path,
        query: &query,
        headers: &further,
        payload: &payload,
    };
    let full = header("x-amz-date");
    let time = Time { date: full[..8].to_owned(), full };
    let expected = sign::sign(&unsigned, &keys(), "here", &time);
    payload == header("x-amz-content-sha256")
        && expected.iter().any(|(name, value)| *name == "authorization" && *value == authorization)
}

fn answer(bucket: &Mutex<Bucket>, request: &Request) -> Reply {
    if !is_signed(request) {
        return error(403, "SignatureDoesNotMatch");
    }
    let mut bucket = bucket.lock().unwrap();
    let path = decoded(&request.path);
    let Some(key) = path.strip_prefix("/bucket/").map(str::to_owned) else {
        return error(404, "NoSuchBucket");
    };
    let parameter = |name: &str| {
        let mut pairs = request.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.find(|(known, _)| *known == name).map(|(_, value)| decoded(value))
    };
    match (request.method.as_str(), parameter("uploadId")) {
        ("HEAD" | "GET", _) => match bucket.objects.get(&key) {
            Some(body) => {
                let length = body.len().to_string();
                let body = if request.method == "HEAD" { Vec::new() } else { body.clone() };
                Reply::of(body)
                    .header("Content-Length", &length)
                    .header("Last-Modified", "Sat, 01 Jan 2000 00:00:00 GMT")
            }
            None => error(404, "NoSuchKey"),
        },
        ("POST", None) if parameter("uploads").is_some() => {
            bucket.begun += 1;
            let upload = format!("upload+{}", bucket.begun);
            bucket.uploads.insert(upload.clone(), BTreeMap::new());
            Reply::of(format!(
                "<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            ))
        }
        ("PUT", Some(upload)) => {
            let number: u64 = parameter("partNumber").unwrap().parse().unwrap();
            if bucket.fails_at == Some(number) {
                return error(403, "AccessDenied");
            }
            let Some(parts) = bucket.uploads.get_mut(&upload) else { return error(404, "NoSuchUpload") };
            parts.insert(number, request.body.clone());
            Reply::of("").header("ETag", &format!("\"part-{number}\""))
        }
        ("POST", Some(upload)) => {
            let Some(parts) = bucket.uploads.remove(&upload) else { return error(404, "NoSuchUpload") };
            let text = String::from_utf8_lossy(&request.body);
            let last = parts.len() as u64;
            for (number, part) in &parts {
                let named = format!("<PartNumber>{number}</PartNumber><ETag>\"part-{number}\"</ETag>");
                if !text.contains(&named) || (*number < last && part.len() < 5 << 20) {
                    return error(400, "InvalidPart");
                }
            }
            bucket.objects.insert(key, parts.into_values().flatten().collect());
            Reply::of("<CompleteMultipartUploadResult></CompleteMultipartUploadResult>")
        }
        ("DELETE", Some(upload)) => {
            bucket.uploads.remove(&upload);
            Reply::status(204)
        }
        ("PUT", None) => {
            match request.headers.get("x-amz-copy-source") {
                Some(source) => {
                    assert_eq!(decoded(source), format!("/bucket/{key}"));
                    bucket.touched.push(key);
                }
                None => drop(bucket.objects.insert(key, request.body.clone())),
            }
            Reply::of("")
        }
        _ => error(405, "MethodNotAllowed"),
    }
}

fn server() -> (Web, Arc<Mutex<Bucket>>) {
    let bucket: Arc<Mutex<Bucket>> = Arc::default();
    let theirs = Arc::clone(&bucket);
    (Web::start(move |request| answer(&theirs, request)), bucket)
}

fn cache(web: &Web) -> S3 {
    cache_by(web, Network::new(Registries::default()))
}

fn cache_by(web: &Web, network: Network) -> S3 {
    cache_at(web.host(), keys(), network)
}

fn cache_at(host: String, keys: Keys, network: Network) -> S3 {
    let endpoint = Endpoint { scheme: "http".to_owned(), host, bucket_in: BucketIn::Path };
    let place = Place {
        endpoint,
        bucket: "bucket".to_owned(),
        region: "here".to_owned(),
        names: vec!["main".to_owned(), "other name".to_owned()],
        prefix: "a/".to_owned(),
        blobs_prefix: "blobs/".to_owned(),
        manifests_prefix: "manifests/".to_owned(),
        keys,
        touch_refresh: Duration::MAX,
        parallel: 3,
    };
    S3::new(place, network)
}

fn large() -> (Descriptor, Vec<u8>) {
    let bytes: Vec<u8> = (0..(WHOLE + 12345)).map(|at| (at % 251) as u8).collect();
    (Descriptor::of(rbuild_image::manifest::MediaType::OCI_LAYER, &bytes), bytes)
}

#[test]
fn conforms() {
    let (web, bucket) = server();
    conformance::suite(&cache(&web));
    let keys: Vec<String> = bucket.lock().unwrap().objects.keys().cloned().collect();
    assert!(keys.iter().any(|key| key.starts_with("a/blobs/sha256:")), "{keys:?}");
    assert!(
        keys.contains(&"a/manifests/main".to_owned()) && keys.contains(&"a/manifests/other name".to_owned())
    );
}

#[test]
fn a_large_blob_goes_up_in_parts_and_a_failure_leaves_nothing() {
    let (web, bucket) = server();
    let cache = cache(&web);
    let (blob, bytes) = large();
    bucket.lock().unwrap().fails_at = Some(2);
    let error = cache.put(&blob, &bytes.as_slice()).unwrap_err().to_string();
    assert!(error.contains("status 403 (AccessDenied: a <reason>)"), "{error}");
    assert!(bucket.lock().unwrap().uploads.is_empty(), "the upload was taken back");
    assert!(!cache.has(&blob).unwrap());
    bucket.lock().unwrap().fails_at = None;
    assert_eq!(cache.put(&blob, &bytes.as_slice()).unwrap(), Put::Sent);
    assert!(crate::backends::read(&cache, &blob, WHOLE * 2).unwrap() == bytes);
    assert_eq!(bucket.lock().unwrap().begun, 2);
}

#[test]
fn what_is_old_and_used_is_touched() {
    let (web, bucket) = server();
    let mut cache = cache(&web);
    cache.place.touch_refresh = Duration::from_secs(3600);
    let blob = Descriptor::of(rbuild_image::manifest::MediaType::OCI_LAYER, b"x");
    cache.put(&blob, &b"x".as_slice()).unwrap();
    assert!(bucket.lock().unwrap().touched.is_empty());
    assert_eq!(cache.put(&blob, &b"x".as_slice()).unwrap(), Put::Present);
    assert_eq!(bucket.lock().unwrap().touched, [format!("a/blobs/{}", blob.digest)]);
    assert!(cache.has(&blob).unwrap());
    assert_eq!(bucket.lock().unwrap().touched.len(), 2, "who asks for it is about to name it");
}

#[test]
fn what_is_cut_short_goes_up_again() {
    let (web, bucket) = server();
    let cache = cache(&web);
    let blob = Descriptor::of(rbuild_image::manifest::MediaType::OCI_LAYER, b"whole");
    bucket.lock().unwrap().objects.insert(format!("a/blobs/{}", blob.digest), b"who".to_vec());
    assert!(!cache.has(&blob).unwrap());
    assert_eq!(cache.put(&blob, &b"whole".as_slice()).unwrap(), Put::Sent);
    assert_eq!(crate::backends::read(&cache, &blob, 100).unwrap(), b"whole");
}

#[test]
fn wrong_keys_are_told_and_stand_in_no_message() {
    let (web, _) = server();
    let mut cache = cache(&web);
    cache.place.keys.secret = "hunter2".to_owned();
    let error = cache.publish(&Catalog::default().to_bytes(), &[]).unwrap_err();
    let told = format!("{error} {error:?}");
    assert!(told.contains("403") && told.contains("SignatureDoesNotMatch"), "{told}");
    assert!(!told.contains("hunter2") && !told.contains("session"), "{told}");
}

#[test]
fn a_cache_of_buildkits_under_the_same_name_is_told_from_ours() {
    let (web, bucket) = server();
    let theirs = br#"{"layers":[],"records":[]}"#.to_vec();
    bucket.lock().unwrap().objects.insert("a/manifests/main".to_owned(), theirs.clone());
    assert_eq!(cache(&web).catalog().unwrap(), [Held::BuildKit(theirs)]);
}

#[test]
fn what_is_on_its_way_when_the_time_is_over_is_stopped_and_taken_back() {
    let bucket: Arc<Mutex<Bucket>> = Arc::default();
    let (release, held) = mpsc::channel::<()>();
    let (theirs, held) = (Arc::clone(&bucket), Mutex::new(held));
    let web = Web::start(move |request| {
        if request.query.starts_with("partNumber=1&") {
            // No answer before the test has ended.
            let _ = held.lock().unwrap().recv();
        }
        answer(&theirs, request)
    });
    let cache = cache(&web);
    let (blob, bytes) = large();
    let error =
        cache.until(Instant::now() + Duration::from_millis(500)).put(&blob, &bytes.as_slice()).unwrap_err();
    assert!(matches!(error, BackendError::OutOfTime), "{error}");
    assert!(bucket.lock().unwrap().uploads.is_empty(), "what went up was taken back");
    assert!(!cache.has(&blob).unwrap());
    cache.publish(&Catalog::default().to_bytes(), &[]).unwrap();
    let over = cache.until(Instant::now());
    assert!(matches!(over.has(&blob), Err(BackendError::OutOfTime)));
    drop(release);
}

#[test]
fn who_takes_a_body_slowly_is_waited_for() {
    let timing = Timing { idle: Duration::from_millis(300), attempts: 1, ..Timing::default() };
    let bucket = Mutex::new(Bucket::default());
    let web = Web::start(move |request| {
        if request.method == "PUT" {
            // What a slow line does: longer than the longest silence of an answer that comes.
            let (_silent, heard) = mpsc::channel::<()>();
            heard.recv_timeout(3 * timing.idle).unwrap_err();
        }
        answer(&bucket, request)
    });
    let cache = cache_by(&web, Network::new(Registries { timing, ..Registries::default() }));
    let bytes = vec![7; 1 << 20];
    let blob = Descriptor::of(rbuild_image::manifest::MediaType::OCI_LAYER, &bytes);
    assert_eq!(cache.put(&blob, &bytes.as_slice()).unwrap(), Put::Sent);
}

#[test]
fn bodies_in_memory_are_bounded_over_all_blobs() {
    let bucket: Arc<Mutex<Bucket>> = Arc::default();
    let (at_once, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let (theirs, seen) = (Arc::clone(&bucket), Arc::clone(&most));
    let web = Web::start(move |request| {
        let is_part = request.query.starts_with("partNumber=");
        if is_part {
            seen.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        }
        let reply = answer(&theirs, request);
        if is_part {
            at_once.fetch_sub(1, Ordering::SeqCst);
        }
        reply
    });
    let cache = cache_by(&web, Network::with_memory(Registries::default(), PART));
    let (first, bytes) = large();
    let mut other = bytes.clone();
    other[0] ^= 1;
    let second = Descriptor::of(rbuild_image::manifest::MediaType::OCI_LAYER, &other);
    let blobs = [(first, bytes), (second, other)];
    let sent =
        send_missing(&blobs, 2, None, |(blob, bytes)| Ok((cache.put(blob, &bytes.as_slice())?, blob.size)));
    assert_eq!(sent.unwrap().blobs, 2);
    // There is room for one part; the one before it has left the memory, but may still be on its way to its answer.
    assert!(most.load(Ordering::SeqCst) <= 2, "{most:?}");
    // What can never be in memory is refused before anything is begun.
    let whole = vec![0; WHOLE as usize];
    let blob = Descriptor::of(rbuild_image::manifest::MediaType::OCI_LAYER, &whole);
    assert!(matches!(cache.put(&blob, &whole.as_slice()), Err(BackendError::Unusable(_))));
}

#[test]
fn another_host_that_a_bucket_leads_to_hears_of_no_key() {
    let elsewhere = Web::start(|_| Reply::of("whole"));
    let target = format!("http://{}/elsewhere", elsewhere.host());
    let web = Web::start(move |_| Reply::status(307).header("Location", &target));
    let cache = cache(&web);
    let blob = Descriptor::of(rbuild_image::manifest::MediaType::OCI_LAYER, b"whole");
    assert_eq!(crate::backends::read(&cache, &blob, 100).unwrap(), b"whole");
    assert!(cache.has(&blob).unwrap());
    let seen = elsewhere.seen();
    assert_eq!(seen.iter().map(|request| request.method.as_str()).collect::<Vec<_>>(), ["GET", "HEAD"]);
    for name in seen.iter().flat_map(|request| request.headers.keys()) {
        assert!(name != "authorization" && !name.starts_with("x-amz-"), "{name}");
    }
    assert!(web.seen().iter().all(|request| request.headers.contains_key("x-amz-security-token")));
    // What is sent goes to the bucket or nowhere.
    let error = cache.publish(&Catalog::default().to_bytes(), &[]).unwrap_err().to_string();
    assert!(error.contains("status 307"), "{error}");
    assert_eq!(elsewhere.seen().len(), 2);
}

#[test]
fn what_the_bucket_removed_as_too_old_is_missed_and_goes_up_again() {
    let (web, bucket) = server();
    let cache = cache(&web);
    let chunk = Descriptor::of(rbuild_image::manifest::MediaType::OCI_LAYER, b"chunk");
    cache.put(&chunk, &b"chunk".as_slice()).unwrap();
    assert!(bucket.lock().unwrap().objects.remove(&format!("a/blobs/{}", chunk.digest)).is_some());
    assert!(!cache.has(&chunk).unwrap());
    let error = crate::backends::read(&cache, &chunk, 100).unwrap_err();
    assert!(matches!(error, BackendError::Missing(_)), "{error}");
    assert_eq!(cache.put(&chunk, &b"chunk".as_slice()).unwrap(), Put::Sent);
    assert_eq!(crate::backends::read(&cache, &chunk, 100).unwrap(), b"chunk");
}

#[test]
fn what_is_something_else_or_has_no_end_is_not_taken() {
    let (web, bucket) = server();
    let cache = cache(&web);
    let blob = Descriptor::of(rbuild_image::manifest::MediaType::OCI_LAYER, b"right");
    let read = |bytes: &[u8]| {
        bucket.lock().unwrap().objects.insert(format!("a/blobs/{}", blob.digest), bytes.to_vec());
        crate::backends::read(&cache, &blob, 100)
    };
    assert_eq!(read(b"right").unwrap(), b"right");
    for wrong in [&b"wrong"[..], b"", b"rig", b"right and more", &vec![0; 8 << 20]] {
        read(wrong).unwrap_err();
    }
    // What names more than it may is not even asked for.
    let endless = Descriptor { size: 101, ..blob.clone() };
    let asked = web.seen().len();
    assert!(matches!(crate::backends::read(&cache, &endless, 100), Err(BackendError::Unusable(_))));
    assert_eq!(web.seen().len(), asked);
}
