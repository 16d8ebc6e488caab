//! Pulls that are interrupted, and what they leave.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use rbuild_model::digest::BlobDigest;
use rbuild_testkit::context::TestContext;
use rbuild_testkit::files::Random;
use rbuild_testkit::web::{Reply, Request, Web};
use serde_json::Value;

use crate::scene::{assert_clean, assert_processes_end, built_from, scene};

/// How many bytes of the large layer come before the registry dies.
const BEGINNING: usize = 1 << 20;

/// An image as a registry has it.
struct Served {
    manifest: Vec<u8>,
    blobs: BTreeMap<String, Vec<u8>>,
    /// The digest of its largest layer.
    large: String,
}

/// Builds an image with a layer of 3 MiB that cannot be compressed, and takes it out of the store.
fn served(context: &TestContext) -> Served {
    let mut random = Random::new(3);
    let noise: Vec<u8> = (0..3 << 17).flat_map(|_| random.next().to_le_bytes()).collect();
    context.write("noise", &noise);
    built_from(context, "FROM busybox\nCOPY noise /noise\n", ["-o", "type=oci,dest=app.tar"]);
    let folder = context.project().join("layout");
    fs::create_dir(&folder).unwrap();
    let mut tar = Command::new("tar");
    tar.args(["-xf", "app.tar", "-C", "layout"]).current_dir(context.project());
    assert!(tar.status().unwrap().success());
    let blobs: BTreeMap<String, Vec<u8>> = fs::read_dir(folder.join("blobs/sha256"))
        .unwrap()
        .flatten()
        .map(|entry| {
            (format!("sha256:{}", entry.file_name().to_string_lossy()), fs::read(entry.path()).unwrap())
        })
        .collect();
    let document = |bytes: &[u8]| -> Value { serde_json::from_slice(bytes).unwrap() };
    let mut digest =
        document(&fs::read(folder.join("index.json")).unwrap())["manifests"][0]["digest"].clone();
    let manifest = loop {
        let bytes = blobs[digest.as_str().unwrap()].clone();
        match document(&bytes)["manifests"][0]["digest"].clone() {
            Value::Null => break bytes,
            inner => digest = inner,
        }
    };
    let layers = document(&manifest)["layers"].as_array().unwrap().clone();
    let large = layers.iter().max_by_key(|layer| layer["size"].as_u64()).unwrap();
    Served { manifest, large: large["digest"].as_str().unwrap().to_owned(), blobs }
}

/// Answers a request for a blob, or for what is left of it.
fn blob(bytes: &[u8], request: &Request) -> Reply {
    let range =
        request.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
    match range.and_then(|from| from.parse::<usize>().ok()) {
        None => Reply::of(bytes),
        Some(from) => Reply::with_status(206, &bytes[from..])
            .header("Content-Range", &format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len())),
    }
}

#[test]
fn a_pull_that_was_killed_goes_on_within_the_layer() {
    let Some(context) = scene("a_pull_that_was_killed_goes_on_within_the_layer") else { return };
    let Served { manifest, blobs, large } = served(&context);
    let of_large = format!("/v2/app/blobs/{large}");
    // Until it is well again, the registry dies within the large layer, and does not answer who comes back.
    let is_well = Arc::new(AtomicBool::new(false));
    let (asked_again, is_asked_again) = mpsc::channel();
    let (gate, opens) = mpsc::channel::<()>();
    let (asked_again, opens) = (Mutex::new(asked_again), Mutex::new(opens));
    let registry = {
        let (is_well, of_large) = (Arc::clone(&is_well), of_large.clone());
        Web::start(move |request| {
            if request.path == "/v2/app/manifests/1" {
                let kind = "application/vnd.oci.image.manifest.v1+json";
                return Reply::of(&manifest[..]).header("Content-Type", kind);
            }
            let Some(bytes) =
                request.path.strip_prefix("/v2/app/blobs/").and_then(|digest| blobs.get(digest))
            else {
                return Reply::status(404);
            };
            if request.path == of_large && !is_well.load(Ordering::SeqCst) {
                if !request.headers.contains_key("range") {
                    let length = bytes.len().to_string();
                    return Reply::of(&bytes[..BEGINNING]).header("Content-Length", &length);
                }
                let _ = asked_again.lock().unwrap().send(());
                let _ = opens.lock().unwrap().recv();
            }
            blob(bytes, request)
        })
    };
    let ranges = || -> Vec<Option<String>> {
        let seen = registry.seen();
        let of_large = seen.iter().filter(|request| request.path == of_large);
        of_large.map(|request| request.headers.get("range").cloned()).collect()
    };
    let app = format!("{}/app:1", registry.host());
    let there = rbuild_testkit::context!();

    let pulling = there.rbuild(["pull", &app]).start();
    is_asked_again.recv().unwrap();
    pulling.kill();
    drop(gate);
    assert_processes_end(&there);
    let rest = format!("bytes={BEGINNING}-");
    assert_eq!(ranges(), [None, Some(rest.clone())]);
    let doctor = there.rbuild(["doctor"]).run();
    assert!(doctor.stdout.ends_with(": good\n"), "{doctor}");
    let listed = there.rbuild(["cache", "ls", "--format", "{{.Description}}"]).run();
    assert!(listed.assert_success().stdout.contains("part of blob "), "{listed}");

    is_well.store(true, Ordering::SeqCst);
    there.rbuild(["pull", &app]).run().assert_success();
    assert_eq!(ranges(), [None, Some(rest.clone()), Some(rest)], "only the rest is asked for");
    let summed = there.rbuild(["run", "--rm", "--network", "none", &app, "sha256sum", "/noise"]).run();
    let pulled = String::from_utf8_lossy(&summed.assert_success().raw_stdout).into_owned();
    let here = Command::new("sha256sum").arg(context.project().join("noise")).output().unwrap();
    let digest = pulled.split(' ').next().unwrap();
    assert!(digest.len() == 64 && here.stdout.starts_with(digest.as_bytes()), "{pulled}");
    assert_eq!(fs::read_dir(there.root().join("blobs/partial")).unwrap().count(), 0);
    assert_clean(&there);
}

#[test]
fn indexes_in_one_another_end() {
    let Some(context) = scene("indexes_in_one_another_end") else { return };
    let kind = "application/vnd.oci.image.index.v1+json";
    // From within: each names the one before it, and the first one nobody.
    let mut documents = BTreeMap::new();
    let (mut digest, mut size) = (BlobDigest::of(b"nobody"), 6);
    for _ in 0..6 {
        let entry = serde_json::json!({"mediaType": kind, "digest": digest.to_string(), "size": size});
        let index = serde_json::json!({"schemaVersion": 2, "mediaType": kind, "manifests": [entry]});
        let bytes = index.to_string().into_bytes();
        (digest, size) = (BlobDigest::of(&bytes), bytes.len());
        documents.insert(digest.to_string(), bytes);
    }
    documents.insert("1".to_owned(), documents[&digest.to_string()].clone());
    let registry = Web::start(move |request| {
        let name = request.path.rsplit('/').next().unwrap();
        documents
            .get(name)
            .map_or(Reply::status(404), |bytes| Reply::of(&bytes[..]).header("Content-Type", kind))
    });
    let deep = format!("{}/deep:1", registry.host());
    let copy = format!("{}/copy:1", registry.host());
    for arguments in [vec!["pull", &deep], vec!["copy", &deep, &copy]] {
        let refused = context.rbuild(arguments).run();
        refused.assert_code(1);
        assert!(refused.stderr.contains("more than 4 indexes in one another"), "{refused}");
    }
    // Whoever says that there is no such image is named, and so is what may have been meant.
    let mistyped = format!("{}/dep:2", registry.host());
    context.rbuild(["tag", "busybox", &deep]).run().assert_success();
    let refused = context.rbuild(["pull", &mistyped]).run();
    refused.assert_code(1);
    let said = format!("error: cannot get {mistyped}: http://{} says: not found\nhint: ", registry.host());
    let meant = format!("hint: did you mean `{deep}`? It is here\n");
    assert!(refused.stderr.contains(&said) && refused.stderr.contains(&meant), "{refused}");
    assert!(!refused.stderr.contains("about the machine"), "{refused}");
    assert_clean(&context);
}
