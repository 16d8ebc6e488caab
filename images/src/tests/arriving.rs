//! Layers that are unpacked while they come.

use rbuild_image::distribution::Endpoint;

use super::*;

/// A file of noise, so that its layer is as long as it is.
fn noise(seed: u32) -> String {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'a' + (state >> 24) as u8 % 26)
    };
    (0..300_000).map(|_| next()).collect()
}

#[test]
fn more_layers_than_are_read_ahead_come_in_order() {
    let texts: Vec<String> = (0..7).map(noise).collect();
    let names: Vec<String> = (0..7).map(|number| format!("f{number}")).collect();
    let layers: Vec<Vec<u8>> =
        names.iter().zip(&texts).map(|(name, text)| tar(&[(name, text), ("last", name)])).collect();
    let (content, id) = content_of(&layers, |_| {});
    let registry = Registry::start(content);
    let place = place_with(quick());
    let pulled = place.images.pull(&registry.reference("a/b:1"), &amd64(), &place.lease, &Quiet).unwrap();
    assert_eq!(pulled.image, id);
    assert!((0..7).all(|number| place.read(id, &names[number]) == texts[number]));
    assert_eq!(place.read(id, "last"), "f6");
}

#[test]
fn what_a_mirror_made_up_is_unpacked_anew_from_the_registry() {
    let layers = [tar(&[("f", &noise(1))]), tar(&[("g", "two")])];
    let (right, id) = content_of(&layers, |_| {});
    let largest = |content: &Content| {
        let blobs = content.iter().filter(|(path, _)| path.contains("/blobs/"));
        blobs.max_by_key(|(_, (_, bytes))| bytes.len()).map(|(path, _)| path.clone()).unwrap()
    };
    let path = largest(&right);
    let length = right[&path].1.len();
    // What does not decompress from the start on, in the middle, and what only its end contradicts.
    for damaged in [3, length / 2, length - 5] {
        let mut wrong = right.clone();
        wrong.get_mut(&path).unwrap().1[damaged] ^= 1;
        let (mirror, upstream) = (Registry::start(wrong), Registry::start(right.clone()));
        let mut registries = quick();
        let endpoint: Endpoint = mirror.address.parse().unwrap();
        registries.mirrors.insert(upstream.address.clone(), vec![endpoint]);
        let place = place_with(registries);
        place.images.pull(&upstream.reference("a/b:1"), &amd64(), &place.lease, &Quiet).unwrap();
        assert_eq!((place.read(id, "f"), place.read(id, "g")), (noise(1), "two".to_owned()));
        assert_eq!((mirror.asked_for("/blobs/"), upstream.asked_for("/blobs/")), (3, 1));
        // The registry itself says so too: then nothing of it stays.
        let mut wrong = right.clone();
        wrong.get_mut(&path).unwrap().1[damaged] ^= 1;
        let registry = Registry::start(wrong);
        let place = place_with(quick());
        let pulled = place.images.pull(&registry.reference("a/b:1"), &amd64(), &place.lease, &Quiet);
        let refused = pulled.unwrap_err();
        assert!(matches!(refused, ImagesError::Registry { .. }), "{refused}");
        let left = std::fs::read_dir(place.store.layout().partial_blobs()).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
        assert!(!left.iter().any(|name| path.ends_with(name.to_str().unwrap())), "{left:?}");
    }
}
