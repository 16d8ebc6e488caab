//! Which bytes leave for a layer: only such as were hashed to its DiffId.

use rbuild_image::attest::{MAX_STATEMENT, Predicate};
use rbuild_image::manifest::Family;

use super::*;

/// An archive in which a config stands with any layers.
fn archive_of(config: &[u8], layers: &[Vec<u8>]) -> Vec<u8> {
    let mut archive = Writer::new(Vec::new(), TarOptions::default());
    let names: Vec<String> = (0..layers.len()).map(|number| format!("{number}.tar")).collect();
    let manifest = serde_json::json!([{ "Config": "c.json", "RepoTags": ["other:1"], "Layers": names }]);
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let documents = [("c.json", config), ("manifest.json", &manifest[..])];
    let layers = names.iter().map(String::as_str).zip(layers.iter().map(Vec::as_slice));
    for (path, bytes) in documents.into_iter().chain(layers) {
        let kind = EntryKind::File { size: bytes.len() as u64 };
        archive.append_bytes(&Entry::new(EntryPath::new(path).unwrap(), kind, 0o644), bytes).unwrap();
    }
    archive.finish().unwrap()
}

fn config_of(layers: &[Vec<u8>], remark: &str) -> Vec<u8> {
    let mut config = ImageConfig::default();
    config.set_platform(&amd64());
    config.rootfs.diff_ids =
        layers.iter().map(|layer| DiffId::from_bytes(*BlobDigest::of(layer).as_bytes())).collect();
    config.history.push(History { comment: Some(remark.into()), ..History::default() });
    serde_json::to_vec(&config).unwrap()
}

/// What another store reads in an image that leaves this one.
fn saved(place: &Place, image: ImageId, path: &str) -> String {
    let archive = place.images.save(&[&image.to_string()], Vec::new(), &place.lease).unwrap();
    let there = super::place();
    there.images.load(&archive[..], &amd64(), &there.lease, &Quiet).unwrap();
    there.read(image, path)
}

#[test]
fn a_foreign_blob_does_not_become_the_layer_of_a_tree_that_is_here() {
    let place = place();
    let victim = place.import(Some("victim"), &[("f", "good")]);
    let mut config = place.images.config(victim).unwrap();
    config.history.push(History { comment: Some("evil".into()), ..History::default() });
    let config = serde_json::to_vec(&config).unwrap();
    // The config claims the layer that is here; the blob that comes with it is another one.
    let evil = tar(&[("f", "evil")]);
    for layer in [evil.clone(), gzip(&evil)] {
        let archive = archive_of(&config, &[layer]);
        let loaded = place.images.load(&archive[..], &amd64(), &place.lease, &Quiet);
        assert!(matches!(loaded, Err(ImagesError::WrongDiffId { .. })), "{loaded:?}");
        assert_eq!(place.images.list().unwrap().len(), 1, "nothing of it is recorded");
        assert_eq!(saved(&place, victim, "f"), "good");
    }
}

#[test]
fn a_second_packed_form_of_a_layer_that_is_here_is_read_for_its_own_sake() {
    let place = place();
    let layers = [tar(&[("f", "one")])];
    let load = |config: &[u8], layer: &[u8]| {
        let archive = archive_of(config, &[layer.to_vec()]);
        place.images.load(&archive[..], &amd64(), &place.lease, &Quiet).unwrap()[0].image
    };
    let first = load(&config_of(&layers, "first"), &gzip(&layers[0]));
    let second = load(&config_of(&layers, "second"), &layers[0]);
    assert_eq!((saved(&place, first, "f"), saved(&place, second, "f")), ("one".into(), "one".into()));
}

#[test]
fn a_manifest_does_not_bring_the_blobs_of_others_into_an_image() {
    let layers = [tar(&[("f", "good")]), tar(&[("g", "top")])];
    let evil = tar(&[("f", "evil")]);
    // The registry's config lists the layer that is here, its manifest another blob in that place.
    let (content, image) = content_of(&layers, |manifest| {
        manifest.layers[0] = Descriptor::of(MediaType::OCI_LAYER, &tar(&[("f", "evil")]));
    });
    let registry = Registry::start(content);
    let place = place_with(quick());
    let victim = place.import(Some("victim"), &[("f", "good")]);
    let pull = || place.images.pull(&registry.reference("a/b:1"), &amd64(), &place.lease, &Quiet);
    assert_eq!(pull().unwrap().image, image);
    // That blob comes here too, on behalf of an image of its own.
    let own = config_of(std::slice::from_ref(&evil), "own");
    place.images.load(&archive_of(&own, &[evil])[..], &amd64(), &place.lease, &Quiet).unwrap();
    assert_eq!(saved(&place, victim, "f"), "good");
    assert_eq!(saved(&place, image, "f"), "good", "as its config says, not as its manifest does");
    // Where it can be seen that the image contradicts itself, it is refused.
    let refused = pull().unwrap_err();
    assert!(matches!(refused, ImagesError::WrongDiffId { .. }), "{refused}");
}

#[test]
fn what_leaves_does_not_depend_on_what_left_before() {
    let all = [
        Encoding::GZIP,
        Encoding::Gzip { level: 1 },
        Encoding::ZSTD,
        Encoding::Zstd { level: 19 },
        Encoding::Plain,
    ];
    let text = "some text that repeats, ".repeat(4000);
    let files = [("f", text.as_str())];
    let pack = |place: &Place, image, encoding| {
        let packed = place.images.pack(image, encoding, &place.lease).unwrap();
        (packed.manifest.layers[0].digest, packed.manifest_bytes)
    };
    let fresh = all.map(|encoding| {
        let place = place();
        let image = place.import(None, &files);
        pack(&place, image, encoding)
    });
    for (number, one) in fresh.iter().enumerate() {
        assert!(fresh.iter().skip(number + 1).all(|other| other.0 != one.0), "the forms differ: {number}");
    }
    let place = place();
    let image = place.import(None, &files);
    for order in [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 4, 0, 3, 1]] {
        for at in order {
            assert_eq!(pack(&place, image, all[at]), fresh[at], "{:?}", all[at]);
        }
    }
    let archive = place.images.save(&[&image.to_string()], Vec::new(), &place.lease).unwrap();
    let digest = fresh[0].0.hex();
    assert!(archive.windows(64).any(|window| window == digest.as_bytes()), "what is saved is gzip");
}

#[test]
fn layers_that_came_leave_as_they_came_unless_they_are_to_be_packed_anew() {
    let (content, id) = content(|_| {});
    let registry = Registry::start(content);
    let place = place_with(quick());
    place.images.pull(&registry.reference("a/b:1"), &amd64(), &place.lease, &Quiet).unwrap();
    let pack = |packing: Packing| place.images.pack(id, packing, &place.lease).unwrap().manifest;
    let came = pack(Encoding::GZIP.into());
    assert_eq!(pack(Encoding::ZSTD.into()), came);
    let anew = pack(Packing { existing: Existing::Recompress, ..Encoding::ZSTD.into() });
    assert!(anew.layers.iter().all(|layer| layer.media_type.as_str() == MediaType::OCI_LAYER_ZSTD));
    let docker = pack(Packing { family: Some(Family::Docker), ..Encoding::ZSTD.into() });
    let types: Vec<_> =
        [&docker.config].into_iter().chain(&docker.layers).map(|part| part.media_type.as_str()).collect();
    assert_eq!(docker.media_type(), MediaType::DOCKER_MANIFEST);
    assert_eq!(types, [MediaType::DOCKER_CONFIG, MediaType::DOCKER_LAYER_GZIP, MediaType::DOCKER_LAYER_GZIP]);
    let digests = |manifest: &Manifest| manifest.layers.iter().map(|layer| layer.digest).collect::<Vec<_>>();
    assert_eq!(digests(&docker), digests(&came));
    assert_eq!(pack(Encoding::ZSTD.into()), came, "as before");
}

#[test]
fn work_on_an_image_ends_when_its_caller_gives_up() {
    let Place { images, store, snapshotter, lease, _folder } = place();
    let tar = tar(&[("f", "one")]);
    let image = images.import(&tar[..], import_options(None), &lease).unwrap();
    let archive = images.save(&[&image.to_string()], Vec::new(), &lease).unwrap();
    let (canceller, cancel) = rbuild_store::Cancel::pair();
    let watching = Images::new(&store, snapshotter, Options { cancel, ..Options::default() });
    canceller.cancel();
    assert!(watching.import(&tar[..], import_options(None), &lease).is_err());
    assert!(watching.load(&archive[..], &amd64(), &lease, &Quiet).is_err());
    assert!(watching.save(&[&image.to_string()], Vec::new(), &lease).is_err());
    assert!(watching.pack(image, Encoding::ZSTD, &lease).is_err());
    assert_eq!(images.list().unwrap().len(), 1);
}

#[test]
fn packing_for_a_cache_ends_with_its_time() {
    let place = place();
    let id = place.import(None, &[("f", "one")]);
    let diff_id = place.images.config(id).unwrap().rootfs.diff_ids[0];
    let chain = place.images.find_chain(None, &[diff_id], &place.lease).unwrap();
    let pack = |deadline| {
        place.images.pack_for_cache(&chain, diff_id, Encoding::ZSTD.into(), &place.lease, deadline)
    };
    assert!(pack(Some(std::time::Instant::now())).is_err());
    let packed = pack(None).unwrap();
    // What is packed needs no time.
    assert_eq!(pack(Some(std::time::Instant::now())).unwrap().descriptor, packed.descriptor);
}

#[test]
fn what_is_said_about_an_image_is_saved_with_it() {
    let place = place();
    let id = place.import(Some("app"), &[("f", "one")]);
    let kind = "https://example.com/said".to_owned();
    place.images.state(id, &[Predicate { kind, value: serde_json::json!({}) }]).unwrap();
    for name in ["app", &id.to_string()] {
        let archive = place.images.save(&[name], Vec::new(), &place.lease).unwrap();
        let said = b"\"predicateType\":\"https://example.com/said\"";
        assert!(archive.windows(said.len()).any(|window| window == said), "{name}");
    }
    assert_eq!(saved(&place, id, "f"), "one", "readers take the image out of its index");
}

#[test]
fn what_an_archive_says_is_loaded_with_the_image_or_neither_is() {
    let load = |value: serde_json::Value| {
        let (here, there) = (place(), place());
        let id = here.import(Some("app"), &[("f", "one")]);
        let said = [Predicate { kind: "https://example.com/said".to_owned(), value }];
        here.images.state(id, &said).unwrap();
        let archive = here.images.save(&["app"], Vec::new(), &here.lease).unwrap();
        let loaded = there.images.load(&archive[..], &amd64(), &there.lease, &Quiet);
        loaded.map(|_| assert_eq!(there.images.stated(id).unwrap(), said)).map_err(|error| {
            assert!(there.images.get(id).unwrap().is_none(), "there is no image without what is said of it");
            error.to_string()
        })
    };
    load(serde_json::json!({ "a": 1 })).unwrap();
    let error = load("x".repeat(MAX_STATEMENT as usize).into()).unwrap_err();
    assert!(error.contains(&format!("more than {MAX_STATEMENT}")), "{error}");
}
