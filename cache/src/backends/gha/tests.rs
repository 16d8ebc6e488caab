//! Against a service of ours that keeps to the protocol and believes nothing.

use std::collections::BTreeMap;
use std::sync::Mutex;

use rbuild_image::distribution::Registries;
use rbuild_testkit::web::{Reply, Request, Web};
use serde_json::{Value, json};

use super::*;
use crate::backends::conformance;

#[derive(Default)]
struct Service {
    /// By key: whether it is complete, and when it was made.
    entries: BTreeMap<String, (bool, u64)>,
    blobs: BTreeMap<String, Vec<u8>>,
    blocks: BTreeMap<(String, String), Vec<u8>>,
    made: u64,
}

fn rpc(service: &mut Service, host: &str, method: &str, request: &Request) -> Reply {
    if request.headers.get("authorization").map(String::as_str) != Some("Bearer token") {
        return Reply::status(401);
    }
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let key = body["key"].as_str().unwrap().to_owned();
    assert_eq!(body["version"].as_str().unwrap().len(), 64);
    let answer = match method {
        "CreateCacheEntry" => {
            if service.entries.contains_key(&key) {
                return Reply::with_status(409, r#"{"code":"already_exists"}"#);
            }
            service.made += 1;
            service.entries.insert(key.clone(), (false, service.made));
            json!({"ok": true, "signed_upload_url": format!("http://{host}/blob/{key}?sig=up")})
        }
        "FinalizeCacheEntryUpload" => {
            let size: usize = body["size_bytes"].as_str().unwrap().parse().unwrap();
            let came = service.blobs.get(&key).map(Vec::len);
            if came == Some(size) {
                service.entries.get_mut(&key).unwrap().0 = true;
            }
            json!({"ok": came == Some(size), "entry_id": "1"})
        }
        "GetCacheEntryDownloadURL" => {
            let prefixes: Vec<&str> =
                body["restore_keys"].as_array().unwrap().iter().map(|key| key.as_str().unwrap()).collect();
            let complete = || service.entries.iter().filter(|(_, (complete, _))| *complete);
            let exact = complete().find(|(known, _)| **known == key);
            let latest = || {
                complete()
                    .filter(|(known, _)| prefixes.iter().any(|prefix| known.starts_with(prefix)))
                    .max_by_key(|(_, (_, made))| *made)
            };
            match exact.or_else(latest) {
                Some((found, _)) => json!({
                    "ok": true, "signed_download_url": format!("http://{host}/blob/{found}?sig=down"), "matched_key": found,
                }),
                None => json!({"ok": false}),
            }
        }
        other => panic!("{other}"),
    };
    Reply::of(answer.to_string())
}

fn blob(service: &mut Service, key: &str, request: &Request) -> Reply {
    // The address is all that opens it.
    assert!(!request.headers.contains_key("authorization"));
    let query: BTreeMap<&str, &str> =
        request.query.split('&').filter_map(|pair| pair.split_once('=')).collect();
    match (request.method.as_str(), query["sig"], query.get("comp").copied()) {
        ("GET", "down", None) => Reply::of(service.blobs[key].clone()),
        ("PUT", "up", None) => {
            assert_eq!(request.headers["x-ms-blob-type"], "BlockBlob");
            service.blobs.insert(key.to_owned(), request.body.clone());
            Reply::status(201)
        }
        ("PUT", "up", Some("block")) => {
            let id = query["blockid"].replace("%3D", "=");
            service.blocks.insert((key.to_owned(), id), request.body.clone());
            Reply::status(201)
        }
        ("PUT", "up", Some("blocklist")) => {
            let text = String::from_utf8(request.body.clone()).unwrap();
            let ids = text.split("<Latest>").skip(1).map(|part| part.split_once('<').unwrap().0.to_owned());
            let bytes = ids.flat_map(|id| service.blocks[&(key.to_owned(), id)].clone()).collect();
            service.blobs.insert(key.to_owned(), bytes);
            Reply::status(201)
        }
        other => panic!("{other:?}"),
    }
}

fn server() -> (Web, Arc<Mutex<Service>>) {
    let service: Arc<Mutex<Service>> = Arc::default();
    let theirs = Arc::clone(&service);
    let web = Web::start(move |request| {
        let host = request.headers["host"].clone();
        let mut service = theirs.lock().unwrap();
        match request.path.strip_prefix("/blob/") {
            Some(key) => blob(&mut service, key, request),
            None => {
                let method = request.path.strip_prefix(&format!("/results/{SERVICE}/")).unwrap().to_owned();
                rpc(&mut service, &host, &method, request)
            }
        }
    });
    (web, service)
}

fn cache(web: &Web, scope: &str, token: &str) -> Gha {
    let scope = Scope {
        url: format!("http://{}/results/", web.host()),
        token: token.to_owned(),
        scope: scope.to_owned(),
    };
    Gha::new(scope, Network::new(Registries::default()))
}

#[test]
fn conforms() {
    let (web, _) = server();
    conformance::suite(&cache(&web, "main", "token"));
}

#[test]
fn a_large_blob_goes_up_in_blocks() {
    let (web, service) = server();
    let bytes: Vec<u8> = (0..(BLOCK * 2 + 7)).map(|at| (at % 251) as u8).collect();
    let blob = Descriptor::of(rbuild_image::manifest::MediaType::OCI_LAYER, &bytes);
    let cache = cache(&web, "main", "token");
    assert_eq!(cache.put(&blob, &bytes.as_slice()).unwrap(), Put::Sent);
    assert_eq!(service.lock().unwrap().blocks.len(), 3);
    assert!(crate::backends::read(&cache, &blob, BLOCK * 3).unwrap() == bytes);
}

#[test]
fn an_entry_that_nobody_finished_is_not_taken_for_a_blob() {
    let (web, service) = server();
    let blob = Descriptor::of(rbuild_image::manifest::MediaType::OCI_LAYER, b"x");
    service.lock().unwrap().entries.insert(blob_key(&blob), (false, 1));
    let cache = cache(&web, "main", "token");
    let put = cache.put(&blob, &b"x".as_slice());
    assert!(matches!(put, Err(BackendError::Unfinished(_))), "{put:?}");
    service.lock().unwrap().entries.insert(blob_key(&blob), (true, 1));
    assert_eq!(cache.put(&blob, &b"x".as_slice()).unwrap(), Put::Present);
}

#[test]
fn scopes_do_not_see_each_others_catalogs_and_tokens_are_told_nowhere() {
    let (web, _) = server();
    cache(&web, "a/b", "token").publish(b"one", &[]).unwrap();
    cache(&web, "a_b", "token").publish(b"two", &[]).unwrap();
    assert_eq!(cache(&web, "a/b", "token").catalog().unwrap(), [Held::Catalog(b"one".to_vec())]);
    assert_eq!(cache(&web, "a", "token").catalog().unwrap(), []);
    let error = cache(&web, "a", "hunter2").catalog().unwrap_err();
    let told = format!("{error} {error:?}");
    assert!(told.contains("401") && !told.contains("hunter2"), "{told}");
}
