//! What a tag named a while ago, and what others pushed here.

use std::collections::HashSet;
use std::time::Duration;

use rbuild_image::attest::{self, Predicate};
use rbuild_store::DatabaseError;
use rbuild_store::collect::Collected;

use super::*;

#[test]
fn a_tag_that_was_asked_for_lately_is_not_asked_for_again() {
    let (content, image) = content(|_| {});
    let registry = Registry::start(content);
    let place = place();
    let name = registry.reference("a/b:1");
    let remembering = |span: Option<u64>| {
        let options = Options { remember_tags: span.map(Duration::from_secs), ..Options::default() };
        Images::new(&place.store, Arc::clone(&place.snapshotter), options)
    };
    let pull = |images: &Images| {
        let pulled = images.pull(&name, &amd64(), &place.lease, &Quiet).unwrap();
        assert_eq!(pulled.image, image);
        (pulled.up_to_date, registry.asked_for("/manifests/1"))
    };
    let (hour, always) = (remembering(Some(3600)), remembering(None));
    assert_eq!(pull(&hour), (false, 1));
    assert_eq!(pull(&hour), (true, 1), "it is known what it names");
    assert_eq!(pull(&remembering(Some(0))), (true, 2), "for no longer than it is to be known");
    assert_eq!(pull(&always), (true, 3));
    // A name that was given to something else here wants the registry's again.
    let other = place.images.import(&tar(&[("x", "y")])[..], import_options(None), &place.lease).unwrap();
    place.images.tag(other, &name).unwrap();
    assert_eq!(pull(&hour), (false, 4));
    assert_eq!(pull(&hour), (true, 4));
    // So does one whose image is gone.
    let here = hour.find_id(&name.to_string()).unwrap();
    assert_eq!(here, image);
    hour.remove_forced(&image.to_string(), &NoUsers).unwrap();
    assert_eq!(pull(&hour), (false, 5));
}

#[test]
fn what_was_pushed_here_goes_with_its_documents() {
    let place = place();
    let images = &place.images;
    let write = |bytes: &[u8]| {
        let mut writer = images.blobs().ingest(Default::default()).unwrap();
        writer.write_all(bytes).unwrap();
        images.shelve_blob("docker.io/library/a", writer).unwrap().digest
    };
    let (config, loose) = (write(b"{}"), write(b"loose"));
    let manifest = Manifest::new(Descriptor::of("application/vnd.example", b"{}"), Vec::new()).to_bytes();
    let taken =
        images.shelve_document("docker.io/library/a", Some("1"), &manifest, MediaType::OCI_MANIFEST).unwrap();
    let digests = |digest| images.offered_blob(digest).unwrap().is_some();
    // A push may be under way: what has just come stays, and goes a day later.
    images.tidy_shelf().unwrap();
    assert!(digests(config) && digests(loose));
    place
        .store
        .write(|tx| tx.execute("UPDATE shelf_blobs SET put_at = 0", []).map_err(DatabaseError::from))
        .unwrap();
    images.tidy_shelf().unwrap();
    assert!(digests(config) && !digests(loose));
    let items = images.shelved().unwrap();
    assert_eq!((items[0].tags.as_slice(), items[0].digest), (&["1".to_owned()][..], taken.digest));
    assert!(images.unshelve("docker.io/library/a", Wanted::Digest(taken.digest)).unwrap());
    images.tidy_shelf().unwrap();
    assert!(!digests(config) && images.shelved().unwrap().is_empty());
    let config = write(b"{}");
    images.shelve_document("docker.io/library/a", Some("1"), &manifest, MediaType::OCI_MANIFEST).unwrap();
    assert_eq!(images.clear_shelf().unwrap(), ["a:1"]);
    assert!(!digests(config) && images.shelved().unwrap().is_empty());
}

#[test]
fn what_is_said_about_an_image_is_offered_with_it() {
    let place = place();
    let images = &place.images;
    let name: Reference = "docker.io/library/a:1".parse().unwrap();
    let image = images.import(&tar(&[("x", "y")])[..], import_options(None), &place.lease).unwrap();
    images.tag(image, &name).unwrap();
    let found = |wanted| images.offered_document(&name, wanted).unwrap();
    let asked = |wanted| found(wanted).unwrap();
    let plain = asked(Wanted::Tag("1"));
    assert_eq!(plain.media_type, MediaType::OCI_MANIFEST);
    let said = Predicate { kind: "https://example.com/said".to_owned(), value: serde_json::json!({"a": 1}) };
    images.state(image, std::slice::from_ref(&said)).unwrap();

    let listed = asked(Wanted::Tag("1"));
    let Document::Index(index) = Document::parse(&listed.bytes, Some(&listed.media_type)).unwrap() else {
        panic!("an image with facts stands in an index");
    };
    let [of_image, about] = &index.manifests[..] else { panic!("{index:?}") };
    assert_eq!(of_image.digest, plain.digest);
    assert!(attest::is_about(about, plain.digest));
    assert_eq!(asked(Wanted::Digest(listed.digest)), listed);
    // For a digest that nobody was told nothing is packed.
    let other = images.import(&tar(&[("z", "z")])[..], import_options(None), &place.lease).unwrap();
    images.tag(other, &"docker.io/library/a:2".parse().unwrap()).unwrap();
    images.state(other, std::slice::from_ref(&said)).unwrap();
    let packed = |tx: &rusqlite::Transaction<'_>| -> Result<i64, DatabaseError> {
        Ok(tx.query_row("SELECT count(*) FROM layer_blobs", [], |row| row.get(0))?)
    };
    assert_eq!(found(Wanted::Digest(BlobDigest::of(b"unknown"))), None);
    assert_eq!(place.store.read(packed).unwrap(), 1);
    let said_in = asked(Wanted::Digest(about.digest));
    let Document::Manifest(manifest) = Document::parse(&said_in.bytes, Some(&said_in.media_type)).unwrap()
    else {
        panic!("what is said is a manifest");
    };
    // Its blobs are there though nothing else has them, also after a sweep.
    let sweep = || {
        let owners: [&dyn Collected; 2] = [&rbuild_cache::blobs::BlobFiles, &ImageRows];
        place.store.sweep(&owners, &Policy::default(), Sweep::Take).unwrap();
    };
    sweep();
    assert_eq!(images.shelved_blobs().unwrap(), HashSet::new(), "nobody pushed it");
    assert!(images.offered_blob(manifest.config.digest).unwrap().is_some());
    let Some(Offered::File(file, _)) = images.offered_blob(manifest.layers[0].digest).unwrap() else {
        panic!("there is the statement");
    };
    let statement = std::io::read_to_string(file).unwrap();
    let read = attest::read_about(&manifest.layers[0], statement.as_bytes(), plain.digest);
    assert_eq!(read, Some(said), "{statement}");

    // A day later they go, and come back for whoever still knows their digest.
    let forget = "UPDATE shelf_blobs SET put_at = 0";
    place.store.write(|tx| tx.execute(forget, []).map_err(DatabaseError::from)).unwrap();
    images.tidy_shelf().unwrap();
    sweep();
    assert!(images.offered_blob(manifest.layers[0].digest).unwrap().is_none());
    assert_eq!(asked(Wanted::Digest(about.digest)), said_in);
    assert!(images.offered_blob(manifest.layers[0].digest).unwrap().is_some());
}
