//! Images on a real store with real trees, and a registry of our own on a loopback port.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use rbuild_cache::{blobs, records};
use rbuild_image::archive::Plan;
use rbuild_image::compress::{Encoding, Threads, compress};
use rbuild_image::distribution::{Registries, Timing};
use rbuild_image::manifest::{Descriptor, Document, Index, Manifest, MediaType};
use rbuild_image::tar::{Entry, EntryKind, EntryPath, Options as TarOptions, Writer};
use rbuild_model::digest::{BlobDigest, DiffId, ImageId};
use rbuild_model::image_config::{History, ImageConfig, RunConfig};
use rbuild_model::platform::Platform;
use rbuild_model::reference::Reference;
use rbuild_model::snapshot::Chain;
use rbuild_snapshotter::{CopySnapshotter, Folders, Snapshotter};
use rbuild_store::collect::{Policy, Sweep};
use rbuild_store::{Lease, Schema, Store, StoreOptions};
use tempfile::TempDir;

use super::*;

mod arriving;
mod collecting;
mod leaving;
mod memory;
mod packing;
mod platforms;
mod taking;

const SCHEMAS: &[&Schema] = &[&SCHEMA, &records::SCHEMA, &blobs::SCHEMA];

struct Place {
    images: Images,
    store: Store,
    snapshotter: Arc<dyn Snapshotter>,
    lease: Lease,
    _folder: TempDir,
}

fn place_with(registries: Registries) -> Place {
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions::new(folder.path().join("root"), folder.path().join("run"), "rbuild test");
    let store = Store::open(StoreOptions { schemas: SCHEMAS, reserve: 0, ..options }).unwrap();
    let layout = store.layout();
    let work = folder.path().join("work");
    std::fs::create_dir(&work).unwrap();
    let folders = Folders { snapshots: layout.root().join("snapshots"), tmp: work, trash: layout.trash() };
    let snapshotter: Arc<dyn Snapshotter> = Arc::new(CopySnapshotter::open(&folders).unwrap());
    let images = Images::new(&store, Arc::clone(&snapshotter), Options { registries, ..Options::default() });
    let lease = store.lease("test").unwrap();
    Place { images, store, snapshotter, lease, _folder: folder }
}

fn place() -> Place {
    place_with(Registries::default())
}

fn amd64() -> Platform {
    "linux/amd64".parse().unwrap()
}

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

/// Makes a tar of files.
fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = Writer::new(Vec::new(), TarOptions::default());
    for (path, text) in files {
        let kind = EntryKind::File { size: text.len() as u64 };
        tar.append_bytes(&Entry::new(EntryPath::new(path).unwrap(), kind, 0o644), text.as_bytes()).unwrap();
    }
    tar.finish().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    compress(bytes, &mut packed, Encoding::GZIP, Threads::available()).unwrap();
    packed
}

fn import_options(name: Option<&str>) -> ImportOptions {
    ImportOptions {
        reference: name.map(reference),
        platform: amd64(),
        run: RunConfig { cmd: Some(vec!["/bin/sh".into()]), ..RunConfig::default() },
        message: "imported".into(),
        created: Some("2024-01-01T00:00:00Z".into()),
    }
}

impl Place {
    fn import(&self, name: Option<&str>, files: &[(&str, &str)]) -> ImageId {
        self.images.import(&tar(files)[..], import_options(name), &self.lease).unwrap()
    }

    fn read(&self, image: ImageId, path: &str) -> String {
        let chain = self.images.ready(image, None, &self.lease, &Quiet).unwrap().chain;
        let root = match self.snapshotter.view(&chain).unwrap() {
            rbuild_model::rootfs::RootPlan::Directory { path, .. } => path,
            other => panic!("not a folder: {other:?}"),
        };
        std::fs::read_to_string(root.join(path)).unwrap()
    }
}

#[test]
fn a_folder_becomes_an_image_as_its_tar_does() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let place = place();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::create_dir(path("bin")).unwrap();
    std::fs::write(path("bin/tool"), "tool").unwrap();
    std::fs::set_permissions(path("bin/tool"), std::fs::Permissions::from_mode(0o4711)).unwrap();
    std::fs::hard_link(path("bin/tool"), path("bin/again")).unwrap();
    symlink("/nowhere", path("dangling")).unwrap();
    // The folder itself is anything, often private; the root of the image is not.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let id = place.images.import_folder(folder.path(), import_options(Some("folder")), &place.lease).unwrap();
    assert_eq!(place.read(id, "bin/again"), "tool");
    let mut tar = std::process::Command::new("tar");
    tar.arg("-C").arg(folder.path());
    let packed = tar.args(["--numeric-owner", "--format=pax", "-c", "bin", "dangling"]).output().unwrap();
    assert!(packed.status.success());
    let tarred = place.images.import(&packed.stdout[..], import_options(None), &place.lease).unwrap();
    assert_eq!(tarred, id, "the same files, the same layer");

    let missing = place.images.import_folder(&path("no"), import_options(None), &place.lease).unwrap_err();
    assert!(missing.to_string().contains("/no"), "{missing}");
}

#[test]
fn an_import_is_found_by_name_id_and_prefix() {
    let place = place();
    let id = place.import(Some("busy"), &[("bin/sh", "shell")]);
    assert_eq!(place.read(id, "bin/sh"), "shell");
    for text in ["busy", "busy:latest", "docker.io/library/busy", &id.to_string(), &id.hex(), &id.hex()[..6]]
    {
        assert_eq!(place.images.find_id(text).unwrap(), id, "{text}");
    }
    for text in ["busy:other", "other", "sha256:00", "zz"] {
        assert!(matches!(place.images.find_id(text), Err(ImagesError::NotFound(_))), "{text}");
    }
    for (text, near) in [("busi", "busy:latest"), ("busy:other", "busy:latest"), ("other", ""), ("/", "")] {
        assert_eq!(place.images.near(text).unwrap().join(" "), near, "{text}");
    }
    let listed = place.images.list().unwrap();
    assert_eq!((listed.len(), listed[0].id, &listed[0].tags[..]), (1, id, &[reference("busy:latest")][..]));
    assert_eq!(BlobDigest::of(&listed[0].config_bytes), id.as_blob());
    let shown = place.images.inspect(id).unwrap();
    assert_eq!(shown["RepoTags"][0], "busy:latest");
    assert_eq!(shown["Config"]["Cmd"][0], "/bin/sh");
    assert_eq!(shown["RootFS"]["Layers"][0], listed[0].config.rootfs.diff_ids[0].to_string());
    assert_eq!(shown["Created"], "2024-01-01T00:00:00Z");
    let history = place.images.history(id).unwrap();
    assert_eq!((history.len(), history[0].id, history[0].comment.as_str()), (1, Some(id), "imported"));
    assert_eq!(history[0].size, listed[0].size);
    // The same root again is the same image.
    assert_eq!(place.import(None, &[("bin/sh", "shell")]), id);
}

#[test]
fn what_is_saved_is_loaded_elsewhere_with_its_id_and_tree() {
    let here = place();
    let id = here.import(Some("a:1"), &[("f", "one")]);
    here.images.tag(id, &reference("b/c")).unwrap();
    let archive = here.images.save(&["a:1", "b/c:latest"], Vec::new(), &here.lease).unwrap();
    assert!(here.images.save(&["a:1", "b/c"], Vec::new(), &here.lease).unwrap() == archive, "equal bytes");

    for packed in [archive.clone(), gzip(&archive)] {
        let there = place();
        let loaded = there.images.load(&packed[..], &amd64(), &there.lease, &Quiet).unwrap();
        let names = vec![(reference("a:1"), None), (reference("b/c:latest"), None)];
        assert_eq!(loaded, [LoadedImage { image: id, names }]);
        assert_eq!(there.read(id, "f"), "one");
        // A foreign layer leaves as it came.
        assert!(there.images.save(&["a:1", "b/c"], Vec::new(), &there.lease).unwrap() == archive);
    }

    let by_id = here.images.save(&[&id.hex()[..12]], Vec::new(), &here.lease).unwrap();
    let there = place();
    let loaded = there.images.load(&by_id[..], &amd64(), &there.lease, &Quiet).unwrap();
    assert_eq!(loaded, [LoadedImage { image: id, names: vec![] }]);
    assert!(matches!(here.images.save(&["nope"], Vec::new(), &here.lease), Err(ImagesError::NotFound(_))));
}

#[test]
fn a_loaded_name_tells_which_image_had_it_before() {
    let place = place();
    let old = place.import(Some("a:1"), &[("f", "old")]);
    let archive = {
        let other = super::tests::place();
        other.import(Some("a:1"), &[("f", "new")]);
        other.images.save(&["a:1"], Vec::new(), &other.lease).unwrap()
    };
    let loaded = place.images.load(&archive[..], &amd64(), &place.lease, &Quiet).unwrap();
    assert_eq!(loaded[0].names, [(reference("a:1"), Some(old))]);
    assert!(place.images.get(old).unwrap().unwrap().tags.is_empty(), "the old one is left without a name");
}

#[test]
fn folders_with_a_layout_are_loaded_and_links_in_them_are_not_followed() {
    let here = place();
    let id = here.import(Some("a:1"), &[("f", "one")]);
    let outgoing = here.images.pack(id, Encoding::GZIP, &here.lease).unwrap();
    let plan = Plan::oci(&[outgoing]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
    for (path, bytes) in &plan.documents {
        std::fs::write(folder.path().join(path), bytes).unwrap();
    }
    let (path, (digest, _)) = plan.blobs.first_key_value().unwrap();
    std::fs::copy(here.images.blobs().path(*digest), folder.path().join(path)).unwrap();
    let there = place();
    let load = |place: &Place| place.images.load_layout(folder.path(), &amd64(), &place.lease, &Quiet);
    assert_eq!(load(&there).unwrap()[0].image, id);

    let blob = folder.path().join(path);
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::copy(&blob, outside.path()).unwrap();
    std::fs::remove_file(&blob).unwrap();
    std::os::unix::fs::symlink(outside.path(), &blob).unwrap();
    assert!(matches!(load(&place()), Err(ImagesError::Archive(_))));
    std::fs::remove_file(&blob).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &blob, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(matches!(load(&place()), Err(ImagesError::Archive(_))));
}

#[test]
fn wrong_layers_are_refused_and_leave_no_image() {
    let place = place();
    let layer = tar(&[("f", "one")]);
    let mut config = ImageConfig::default();
    config.set_platform(&amd64());
    config.rootfs.diff_ids = vec![DiffId::from_bytes([7; 32])];
    let config = serde_json::to_vec(&config).unwrap();
    let manifest = br#"[{"Config":"c.json","RepoTags":["a:1"],"Layers":["l.tar"]}]"#;
    let mut archive = Writer::new(Vec::new(), TarOptions::default());
    for (path, bytes) in [("c.json", &config[..]), ("l.tar", &layer), ("manifest.json", manifest)] {
        let kind = EntryKind::File { size: bytes.len() as u64 };
        archive.append_bytes(&Entry::new(EntryPath::new(path).unwrap(), kind, 0o644), bytes).unwrap();
    }
    let archive = archive.finish().unwrap();
    let refused = place.images.load(&archive[..], &amd64(), &place.lease, &Quiet).unwrap_err();
    assert!(matches!(refused, ImagesError::WrongDiffId { .. }), "{refused}");
    assert!(place.images.list().unwrap().is_empty());
    assert!(matches!(
        place.images.load(&b"no archive"[..], &amd64(), &place.lease, &Quiet),
        Err(ImagesError::Archive(_))
    ));
}

#[test]
fn images_go_by_docker_s_rules() {
    let place = place();
    let id = place.import(Some("a:1"), &[("f", "one")]);
    place.images.tag(id, &reference("b:1")).unwrap();
    assert!(matches!(place.images.remove(&id.hex(), &NoUsers), Err(ImagesError::SeveralNames(_))));
    let untagged = place.images.remove("b:1", &NoUsers).unwrap();
    assert_eq!(untagged, [Removed::Untagged(reference("b:1"))]);

    struct Used(Usage);
    impl Users for Used {
        fn usage(&self, _image: ImageId) -> Result<Option<Usage>, rbuild_store::DatabaseError> {
            Ok(Some(self.0.clone()))
        }
    }
    let stopped = Used(Usage::Stopped { container: "c1".into() });
    let running = Used(Usage::Running { container: "c2".into() });
    let refused = place.images.remove("a:1", &stopped).unwrap_err().to_string();
    assert!(refused.contains("(must force) - container c1 is using its referenced image"), "{refused}");
    let refused = place.images.remove_forced("a:1", &running).unwrap_err().to_string();
    assert!(
        refused.contains("(cannot be forced) - image is being used by running container c2"),
        "{refused}"
    );
    let removed = place.images.remove_forced("a:1", &stopped).unwrap();
    assert_eq!(removed, [Removed::Untagged(reference("a:1")), Removed::Deleted(id)]);
    assert!(matches!(place.images.remove("a:1", &NoUsers), Err(ImagesError::NotFound(_))));
}

#[test]
fn built_images_stand_on_others_and_share_their_layers() {
    let place = place();
    let base = place.import(Some("base"), &[("f", "one")]);
    let resolved =
        place.images.resolve(&reference("base"), &amd64(), PullPolicy::Never, &place.lease, &Quiet).unwrap();
    let (active, _) = place
        .snapshotter
        .apply(&resolved.chain, &mut &tar(&[("g", "two")])[..], rbuild_image::tar::Limits::default())
        .unwrap();
    let top = place.snapshotter.commit(active).unwrap();
    let chain = resolved.chain.with(top);
    let mut config = resolved.config.clone();
    config.history.push(History { created_by: Some("RUN x".into()), ..History::default() });
    let built = |epoch| BuiltImage {
        config: config.clone(),
        chain: &chain,
        epoch,
        base: Some(base),
        parent: Some(base),
    };
    let id = place.images.add(built(None), &place.lease).unwrap();
    assert_eq!(place.images.add(built(None), &place.lease).unwrap(), id, "the same again");
    let diff_ids = place.images.config(id).unwrap().rootfs.diff_ids;
    assert_eq!(diff_ids[..1], resolved.config.rootfs.diff_ids);
    assert_eq!(place.read(id, "f"), "one");
    assert_eq!(place.read(id, "g"), "two");
    let clamped = place.images.add(built(Some(0)), &place.lease).unwrap();
    assert_eq!(clamped, id, "this layer has no later times");

    let packed = place.images.pack(id, Encoding::ZSTD, &place.lease).unwrap();
    assert_eq!(packed.manifest.layers.len(), 2);
    assert_eq!(place.images.pack(id, Encoding::ZSTD, &place.lease).unwrap().manifest, packed.manifest);
    let refused = place.images.remove("base", &NoUsers).unwrap_err();
    assert!(refused.to_string().contains("dependent child images"), "{refused}");
    place.images.tag(id, &reference("top")).unwrap();
    place.images.remove("top", &NoUsers).unwrap();
}

#[test]
fn sweeps_keep_the_trees_of_images_and_take_those_of_removed_ones() {
    let place = place();
    let kept = place.import(Some("kept"), &[("f", "one")]);
    place.import(Some("gone"), &[("f", "two")]);
    place.images.remove("gone", &NoUsers).unwrap();
    let Place { images, store, lease, snapshotter, _folder } = place;
    lease.release().unwrap();
    let policy = Policy { used_since: None, keep_bytes: None };
    let owners: [&dyn rbuild_store::collect::Collected; 4] =
        [&ImageRows, &records::sweep::RecordTrees, &records::sweep::SnapshotTrees, &blobs::BlobFiles];
    let report = store.sweep(&owners, &policy, Sweep::Take).unwrap();
    let trees = report.swept.iter().filter(|swept| swept.kind == rbuild_store::ObjectKind::SNAPSHOT).count();
    assert_eq!(trees, 1, "{report:?}");
    let lease = store.lease("again").unwrap();
    let chain = images.ready(kept, None, &lease, &Quiet).unwrap().chain;
    assert!(chain.layers().iter().all(|layer| snapshotter.contains(*layer)));
    assert_ne!(chain, Chain::empty());
}

/// A registry that serves documents and blobs and counts what is asked for.
struct Registry {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

type Content = BTreeMap<String, (String, Vec<u8>)>;

impl Registry {
    fn start(content: Content) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&asked);
        let content = Arc::new(content);
        // Lives as long as the test process: nothing joins a thread that waits for connections.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (shared, content) = (Arc::clone(&shared), Arc::clone(&content));
                std::thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                    let Some(Ok(line)) = lines.next() else { return };
                    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
                    shared.lock().unwrap().push(path.clone());
                    let (status, kind, body) = match content.get(&path) {
                        Some((kind, body)) => ("200 OK", kind.as_str(), &body[..]),
                        None => ("404 Not Found", "text/plain", &b"no"[..]),
                    };
                    let head = format!(
                        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                        body.len()
                    );
                    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
                });
            }
        });
        Self { address, asked }
    }

    fn asked_for(&self, part: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|path| path.contains(part)).count()
    }

    fn reference(&self, rest: &str) -> Reference {
        reference(&format!("{}/{rest}", self.address))
    }
}

/// Makes the content of a registry that has an image of two layers, for two platforms, as `a/b:1`.
fn content(damage: impl Fn(&mut Manifest)) -> (Content, ImageId) {
    content_of(&[tar(&[("f", "one")]), tar(&[("g", "two")])], damage)
}

/// As [`content`], with other layers.
fn content_of(layers: &[Vec<u8>], damage: impl Fn(&mut Manifest)) -> (Content, ImageId) {
    let mut content = Content::new();
    let mut blob = |bytes: Vec<u8>| {
        let digest = BlobDigest::of(&bytes);
        content.insert(format!("/v2/a/b/blobs/{digest}"), ("application/octet-stream".into(), bytes));
    };
    let mut config = ImageConfig::default();
    config.set_platform(&amd64());
    config.rootfs.diff_ids =
        layers.iter().map(|layer| DiffId::from_bytes(*BlobDigest::of(layer).as_bytes())).collect();
    let config = serde_json::to_vec(&config).unwrap();
    let packed: Vec<_> = layers.iter().map(|layer| gzip(layer)).collect();
    let descriptors = packed.iter().map(|layer| Descriptor::of(MediaType::OCI_LAYER_GZIP, layer)).collect();
    let mut manifest = Manifest::new(Descriptor::of(MediaType::OCI_CONFIG, &config), descriptors);
    damage(&mut manifest);
    blob(config.clone());
    packed.into_iter().for_each(&mut blob);
    let manifest = manifest.to_bytes();
    let entry = Descriptor::of(MediaType::OCI_MANIFEST, &manifest).for_platform(&amd64());
    let other =
        Descriptor::of(MediaType::OCI_MANIFEST, b"other").for_platform(&"linux/s390x".parse().unwrap());
    let index = Index::new(vec![other, entry.clone()]).to_bytes();
    content.insert(format!("/v2/a/b/manifests/{}", entry.digest), (MediaType::OCI_MANIFEST.into(), manifest));
    content.insert("/v2/a/b/manifests/1".into(), (MediaType::OCI_INDEX.into(), index.clone()));
    content.insert(
        format!("/v2/a/b/manifests/{}", BlobDigest::of(&index)),
        (MediaType::OCI_INDEX.into(), index),
    );
    (content, ImageId::of_config(BlobDigest::of(&config)))
}

fn quick() -> Registries {
    let pause = std::time::Duration::from_millis(1);
    Registries {
        timing: Timing { first_pause: pause, longest_pause: pause, ..Timing::default() },
        ..Registries::default()
    }
}

#[test]
fn an_image_is_pulled_once_and_resolved_from_then_on() {
    let (content, id) = content(|_| {});
    let registry = Registry::start(content);
    let place = place_with(quick());
    let name = registry.reference("a/b:1");
    let resolve = |policy| place.images.resolve(&name, &amd64(), policy, &place.lease, &Quiet);
    assert!(matches!(resolve(PullPolicy::Never), Err(ImagesError::PullIsOff(_))));
    let resolved = resolve(PullPolicy::Missing).unwrap();
    assert_eq!((resolved.image, resolved.chain.len()), (id, 2));
    assert_eq!((place.read(id, "f"), place.read(id, "g")), ("one".into(), "two".into()));
    let requests = registry.asked.lock().unwrap().len();
    assert_eq!(requests, 2 + 1 + 2, "index, manifest, config, layers");
    let again = resolve(PullPolicy::Missing).unwrap();
    assert_eq!((again.chain, again.digest), (resolved.chain, resolved.digest));
    assert_eq!(registry.asked.lock().unwrap().len(), requests, "nothing is asked twice");
    let pulled = place.images.pull(&name, &amd64(), &place.lease, &Quiet).unwrap();
    assert!(pulled.up_to_date);
    assert_eq!(registry.asked_for("/blobs/"), 4, "only the config comes again");
    let image = place.images.get(id).unwrap().unwrap();
    assert_eq!(image.digests, [registry.reference("a/b").with_digest(pulled.digest)]);
    let pinned = registry.reference("a/b").with_digest(pulled.digest);
    assert_eq!(place.images.find_reference(&pinned).unwrap(), Some(id));

    let missing = place.images.resolve(
        &name,
        &"linux/arm64".parse().unwrap(),
        PullPolicy::Missing,
        &place.lease,
        &Quiet,
    );
    assert!(matches!(missing, Err(ImagesError::Platform { .. })));
    // What was pulled leaves with the manifest that it came with.
    let outgoing = place.images.pack(id, Encoding::ZSTD, &place.lease).unwrap();
    let document = Document::parse(&outgoing.manifest_bytes, None).unwrap();
    assert_eq!(document, Document::Manifest(outgoing.manifest));
    assert_eq!(registry.asked_for(&BlobDigest::of(&outgoing.manifest_bytes).to_string()), 2);
}

#[test]
fn lost_trees_are_made_again_from_blobs_or_from_the_registry() {
    let (content, id) = content(|_| {});
    let registry = Registry::start(content);
    let place = place_with(quick());
    let name = registry.reference("a/b:1");
    let first = place.images.resolve(&name, &amd64(), PullPolicy::Missing, &place.lease, &Quiet).unwrap();
    place.snapshotter.remove(first.chain.layers()[1]).unwrap();
    let again = place.images.resolve(&name, &amd64(), PullPolicy::Never, &place.lease, &Quiet).unwrap();
    assert_eq!(place.read(id, "g"), "two");
    assert_eq!(registry.asked_for("/blobs/"), 3, "the blob was here");
    place.snapshotter.remove(again.chain.layers()[1]).unwrap();
    for entry in std::fs::read_dir(place.store.layout().blobs()).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    place.images.resolve(&name, &amd64(), PullPolicy::Missing, &place.lease, &Quiet).unwrap();
    assert_eq!(place.read(id, "g"), "two");
    assert_eq!(registry.asked_for("/blobs/"), 4, "the blob came again");
}

#[test]
fn images_that_contradict_themselves_are_refused() {
    for (damage, wanted) in [
        ((|manifest| drop(manifest.layers.pop())) as fn(&mut Manifest), "its config names 2 layers"),
        (|manifest| manifest.layers.swap(0, 1), "unpacks to"),
        (|manifest| manifest.layers[0].size += 1, "cannot get"),
        (|manifest| manifest.layers[0].digest = BlobDigest::of(b"missing"), "cannot get"),
        (|manifest| manifest.layers[0].media_type = MediaType::new("text/plain"), "unknown type"),
        (|manifest| manifest.config.size += 1, "cannot get"),
    ] {
        let registry = Registry::start(content(damage).0);
        let place = place_with(quick());
        let refused =
            place.images.pull(&registry.reference("a/b:1"), &amd64(), &place.lease, &Quiet).unwrap_err();
        assert!(refused.to_string().contains(wanted), "{wanted}: {refused}");
        assert!(place.images.list().unwrap().is_empty());
    }
}

#[test]
fn threads_that_pull_the_same_fetch_it_once() {
    let (content, id) = content(|_| {});
    let registry = Registry::start(content);
    let place = place_with(quick());
    let name = registry.reference("a/b:1");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let lease = place.store.lease("one of many").unwrap();
                let resolved =
                    place.images.resolve(&name, &amd64(), PullPolicy::Missing, &lease, &Quiet).unwrap();
                assert_eq!(resolved.image, id);
            });
        }
    });
    let config = id.as_blob().to_string();
    assert_eq!(registry.asked_for("/blobs/") - registry.asked_for(&config), 2);
}
