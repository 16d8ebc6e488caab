use std::os::unix::fs::symlink;

use super::*;
use crate::backends::{Catalog, conformance};

fn cache(folder: &Path) -> Local {
    Local::new(folder, Entry::Tag("latest".to_owned()), Form::default(), Unnamed::Keep)
}

#[test]
fn conforms() {
    for document in [layout::DocumentForm::Manifest, layout::DocumentForm::Index] {
        for family in [rbuild_image::manifest::Family::Oci, rbuild_image::manifest::Family::Docker] {
            let folder = tempfile::tempdir().unwrap();
            let form = Form { document, family };
            let entry = Entry::Tag("latest".to_owned());
            conformance::suite(&Local::new(folder.path().join("a/b"), entry, form, Unnamed::Keep));
        }
    }
}

#[test]
fn tags_live_side_by_side_and_a_reset_removes_what_none_names() {
    let folder = tempfile::tempdir().unwrap();
    let other = Local { entry: Entry::Tag("other".to_owned()), ..cache(folder.path()) };
    let (a, b) = (Descriptor::of(MediaType::OCI_LAYER, b"a"), Descriptor::of(MediaType::OCI_LAYER, b"b"));
    let catalog = Catalog::default().to_bytes();
    cache(folder.path()).put(&a, &&b"a"[..]).unwrap();
    cache(folder.path()).publish(&catalog, std::slice::from_ref(&a)).unwrap();
    other.put(&b, &&b"b"[..]).unwrap();
    other.publish(&catalog, std::slice::from_ref(&b)).unwrap();
    assert_eq!(cache(folder.path()).catalog().unwrap(), [Held::Catalog(catalog.clone())]);
    let reset = Local { unnamed: Unnamed::Remove, ..other };
    reset.publish(&catalog, &[]).unwrap();
    assert!(reset.has(&a).unwrap(), "another tag names it");
    assert!(!reset.has(&b).unwrap(), "nothing names it any more");
    let left = std::fs::read_dir(folder.path().join("blobs/sha256")).unwrap();
    assert!(left.flatten().all(|entry| !entry.file_name().to_string_lossy().starts_with('.')));
}

#[test]
fn a_reset_leaves_what_another_writer_has_not_named_yet() {
    let folder = tempfile::tempdir().unwrap();
    let blob = Descriptor::of(MediaType::OCI_LAYER, b"a");
    let catalog = Catalog::default().to_bytes();
    let reset = || {
        let tag = Entry::Tag("other".to_owned());
        Local::new(folder.path(), tag, Form::default(), Unnamed::Remove).publish(&catalog, &[]).unwrap();
    };
    let path = folder.path().join(blob_path(blob.digest));
    let writer = cache(folder.path());
    writer.put(&blob, &&b"a"[..]).unwrap();
    reset();
    assert!(path.exists(), "its writer is about to name it");
    drop(writer);
    // One that finds it there is a writer too.
    let finder = cache(folder.path());
    assert_eq!(finder.put(&blob, &&b"a"[..]).unwrap(), Put::Present);
    reset();
    assert!(path.exists());
    drop(finder);
    reset();
    assert!(!path.exists());
}

#[test]
fn writers_and_resets_at_once_lose_nothing_that_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let writer =
        |tag: &str, unnamed| Local::new(folder.path(), Entry::Tag(tag.to_owned()), Form::default(), unnamed);
    let write = |tag: &str, round: u32, unnamed| {
        let catalog = Catalog { writer: format!("{tag} {round}"), ..Catalog::default() }.to_bytes();
        // One of its own, one that all bring, one that comes and goes.
        let bytes = [format!("{tag} {round}"), "common".to_owned(), format!("any {}", round % 2)];
        let blobs = bytes.each_ref().map(|text| Descriptor::of(MediaType::OCI_LAYER, text.as_bytes()));
        let cache = writer(tag, unnamed);
        for (blob, text) in blobs.iter().zip(&bytes) {
            cache.put(blob, &text.as_bytes()).unwrap();
        }
        cache.publish(&catalog, &blobs).unwrap();
        assert_eq!(cache.catalog().unwrap(), [Held::Catalog(catalog)]);
        for blob in &blobs {
            crate::backends::read(&cache, blob, 100).unwrap_or_else(|error| panic!("{tag} {round}: {error}"));
        }
    };
    std::thread::scope(|scope| {
        for (tag, unnamed) in
            [("a", Unnamed::Keep), ("b", Unnamed::Keep), ("c", Unnamed::Remove), ("d", Unnamed::Remove)]
        {
            scope.spawn(move || (0..40).for_each(|round| write(tag, round, unnamed)));
        }
    });
    writer("a", Unnamed::Remove).publish(&Catalog::default().to_bytes(), &[]).unwrap();
    for tag in ["b", "c", "d"] {
        let own = Descriptor::of(MediaType::OCI_LAYER, format!("{tag} 39").as_bytes());
        assert!(writer(tag, Unnamed::Keep).has(&own).unwrap());
    }
    let left = std::fs::read_dir(folder.path().join("blobs/sha256")).unwrap().count();
    // Each names a catalog, a manifest and its own blob; two are common to three, and the last has an empty layer.
    assert!(left <= 3 * 3 + 2 + 3, "what nobody names is gone: {left}");
}

#[test]
fn a_blob_that_comes_when_the_time_is_over_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let blob = Descriptor::of(MediaType::OCI_LAYER, b"a");
    let cache = cache(folder.path());
    let error = cache.until(Instant::now()).put(&blob, &&b"a"[..]).unwrap_err();
    assert!(matches!(error, BackendError::OutOfTime), "{error}");
    assert_eq!(std::fs::read_dir(folder.path().join("blobs/sha256")).unwrap().count(), 0);
    assert_eq!(cache.put(&blob, &&b"a"[..]).unwrap(), Put::Sent);
}

#[test]
fn what_leads_out_of_the_folder_is_not_followed() {
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let blob = Descriptor::of(MediaType::OCI_LAYER, b"secret");
    std::fs::write(outside.path().join("secret"), b"secret").unwrap();
    std::fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
    symlink(outside.path().join("secret"), folder.path().join(blob_path(blob.digest))).unwrap();
    let mut memory = crate::backends::transfer::Memory::new(100);
    assert!(cache(folder.path()).get(&blob, &mut memory).is_err());
    assert!(memory.bytes.is_empty());
    // Nor is anything written through a folder that leads elsewhere.
    let trap = tempfile::tempdir().unwrap();
    std::fs::create_dir(trap.path().join("blobs")).unwrap();
    symlink(outside.path(), trap.path().join("blobs/sha256")).unwrap();
    assert!(cache(trap.path()).put(&blob, &&b"secret"[..]).is_err());
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[test]
fn what_is_no_cache_is_an_error_and_no_folder_is_nothing() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(cache(&folder.path().join("not-there")).catalog().unwrap(), []);
    assert_eq!(cache(folder.path()).catalog().unwrap(), []);
    for text in ["", "{", "{\"schemaVersion\":2,\"layers\":[],\"config\":{}}", "[]"] {
        std::fs::write(folder.path().join("index.json"), text).unwrap();
        assert!(cache(folder.path()).catalog().is_err(), "{text}");
    }
    let digest = BlobDigest::of(b"x");
    let text = format!(
        "{{\"schemaVersion\":2,\"manifests\":[{{\"mediaType\":\"{}\",\"digest\":\"{digest}\",\"size\":1,\
         \"annotations\":{{\"{TAG}\":\"latest\"}}}}]}}",
        MediaType::OCI_MANIFEST
    );
    std::fs::write(folder.path().join("index.json"), text).unwrap();
    assert!(cache(folder.path()).catalog().is_err(), "its manifest is missing");
    std::fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
    std::fs::write(folder.path().join(blob_path(digest)), "y").unwrap();
    let error = cache(folder.path()).catalog().unwrap_err().to_string();
    assert!(error.contains("is something else"), "{error}");
}
