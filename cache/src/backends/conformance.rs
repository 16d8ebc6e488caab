//! What every [`Backend`] must do; call it from the tests of each implementation.

use rbuild_image::manifest::{Descriptor, MediaType};

use super::{Backend, Catalog, Held, Put, transfer};

/// Bytes that no encoding makes small.
fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut bytes);
    bytes
}

/// Runs the whole suite on an empty backend.
///
/// # Panics
///
/// When the backend does not do what the trait demands.
pub fn suite(backend: &dyn Backend) {
    assert_eq!(backend.catalog().expect("nothing is no error"), [], "an empty backend holds nothing");
    let missing = Descriptor::of(MediaType::OCI_LAYER, b"missing");
    assert!(!backend.has(&missing).expect("has works"));
    transfer::read(backend, &missing, 100).expect_err("what is not there cannot be read");

    let (small_bytes, large_bytes) = (b"a layer".as_slice(), noise(6 << 20));
    let [small, large] = [small_bytes, &large_bytes].map(|bytes| {
        let blob = Descriptor::of(MediaType::OCI_LAYER, bytes);
        assert_eq!(backend.put(&blob, &bytes).expect("put works"), Put::Sent);
        assert!(backend.has(&blob).expect("has works"));
        assert_eq!(backend.put(&blob, &bytes).expect("put works again"), Put::Present);
        let came = transfer::read(backend, &blob, 10 << 20).expect("get works");
        assert!(came == bytes, "what comes is what was sent");
        blob
    });
    assert_eq!(backend.catalog().expect("blobs are no catalog"), []);

    let first = Catalog { writer: "first".to_owned(), ..Catalog::default() }.to_bytes();
    backend.publish(&first, &[small.clone(), large.clone()]).expect("publish works");
    assert_eq!(backend.catalog().expect("catalog works"), [Held::Catalog(first)]);
    let second = Catalog { writer: "second".to_owned(), ..Catalog::default() }.to_bytes();
    backend.publish(&second, std::slice::from_ref(&small)).expect("publish works again");
    let held = backend.catalog().expect("catalog works");
    assert_eq!(held, [Held::Catalog(second)], "the latest catalog is the one that is read");
    let came = transfer::read(backend, &small, 100).expect("blobs outlive catalogs that name them");
    assert_eq!(came, small_bytes);
    assert!(!backend.name().is_empty());

    let several = std::thread::scope(|scope| {
        let reads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| transfer::read(backend, &large, 10 << 20))).collect();
        reads.into_iter().map(|read| read.join().expect("nobody panics")).collect::<Result<Vec<_>, _>>()
    });
    assert!(several.expect("several may read at once").iter().all(|came| *came == large_bytes));
}
