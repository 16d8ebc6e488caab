//! What every [`Backend`] must do; call it from the tests of each implementation.

use std::io::{self, Read};

use rbuild_image::distribution::Sender;
use rbuild_image::manifest::{Descriptor, MediaType};

use super::{Backend, Catalog, Held, Put, transfer};

/// A blob at hand.
struct Blob(Vec<u8>);

impl Blob {
    fn descriptor(&self) -> Descriptor {
        Descriptor::of(MediaType::OCI_LAYER, &self.0)
    }
}

impl Sender for Blob {
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        self.0.as_slice().open(from)
    }
}

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
    let missing = Blob(b"missing".to_vec());
    assert!(!backend.has(&missing.descriptor()).expect("has works"));
    transfer::read(backend, &missing.descriptor(), 100).expect_err("what is not there cannot be read");

    let small = Blob(b"a layer".to_vec());
    let large = Blob(noise(6 << 20));
    for blob in [&small, &large] {
        let descriptor = blob.descriptor();
        assert_eq!(backend.put(&descriptor, blob).expect("put works"), Put::Sent);
        assert!(backend.has(&descriptor).expect("has works"));
        assert_eq!(backend.put(&descriptor, blob).expect("put works again"), Put::Present);
        let came = transfer::read(backend, &descriptor, 10 << 20).expect("get works");
        assert!(came == blob.0, "what comes is what was sent");
    }
    assert_eq!(backend.catalog().expect("blobs are no catalog"), []);

    let first = Catalog { writer: "first".to_owned(), ..Catalog::default() }.to_bytes();
    backend.publish(&first, &[small.descriptor(), large.descriptor()]).expect("publish works");
    assert_eq!(backend.catalog().expect("catalog works"), [Held::Catalog(first)]);
    let second = Catalog { writer: "second".to_owned(), ..Catalog::default() }.to_bytes();
    backend.publish(&second, &[small.descriptor()]).expect("publish works again");
    let held = backend.catalog().expect("catalog works");
    assert_eq!(held, [Held::Catalog(second)], "the latest catalog is the one that is read");
    let came =
        transfer::read(backend, &small.descriptor(), 100).expect("blobs outlive catalogs that name them");
    assert_eq!(came, small.0);
    assert!(!backend.name().is_empty());

    let several = std::thread::scope(|scope| {
        let reads: Vec<_> =
            (0..4).map(|_| scope.spawn(|| transfer::read(backend, &large.descriptor(), 10 << 20))).collect();
        reads.into_iter().map(|read| read.join().expect("nobody panics")).collect::<Result<Vec<_>, _>>()
    });
    assert!(several.expect("several may read at once").iter().all(|came| *came == large.0));
}
