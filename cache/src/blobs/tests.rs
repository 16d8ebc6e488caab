use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use proptest::prelude::*;
use rbuild_store::StoreOptions;
use rbuild_store::collect::{Policy, Sweep};
use rbuild_store::doctor::Finding;
use tempfile::TempDir;

use super::*;

fn store(folder: &Path) -> Store {
    let options = StoreOptions::new(folder.join("root"), folder.join("run"), "rbuild test");
    Store::open(StoreOptions { schemas: &[&SCHEMA], reserve: 0, ..options }).unwrap()
}

fn place() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    (folder, store)
}

fn ingest(blobs: &Blobs, expected: Expected, pieces: &[&[u8]], lease: &Lease) -> Result<Blob, BlobError> {
    let mut writer = blobs.ingest(expected)?;
    for piece in pieces {
        writer.write_all(piece).map_err(|error| writer.write_failed(error))?;
    }
    writer.finish(lease)
}

#[test]
fn what_was_stored_is_found_opened_and_read_only() {
    let (_folder, store) = place();
    let (blobs, lease) = (Blobs::new(&store), store.lease("test").unwrap());
    let blob = ingest(&blobs, Expected::default(), &[b"hello ", b"world"], &lease).unwrap();
    assert_eq!(blob, Blob { digest: BlobDigest::of(b"hello world"), size: 11 });
    let other = BlobDigest::of(b"other");
    assert_eq!(blobs.find(&[other, blob.digest], &lease).unwrap(), [None, Some(blob)]);
    assert_eq!(blobs.read(blob.digest).unwrap().unwrap(), b"hello world");
    assert!(blobs.open(other).unwrap().is_none());
    let mode = fs::metadata(blobs.path(blob.digest)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o444);
    assert_eq!(blobs.put(b"hello world", &lease).unwrap(), blob, "storing again is no error");
    assert_eq!(store.doctor(&[&BlobFiles]).unwrap(), []);
}

#[test]
fn who_finds_a_blob_lost_or_damaged_too_late_takes_nothing_away() {
    let (_folder, store) = place();
    let (blobs, lease) = (Blobs::new(&store), store.lease("test").unwrap());
    let blob = blobs.put(b"hello world", &lease).unwrap();
    let found = || blobs.find(&[blob.digest], &lease).unwrap()[0];
    let damaged = blobs.open(blob.digest).unwrap().unwrap();
    fs::remove_file(blobs.path(blob.digest)).unwrap();
    blobs.put(b"hello world", &lease).unwrap();
    for found_by in [None, Some(&damaged)] {
        assert!(!blobs.take_away(blob.digest, found_by).unwrap());
        assert_eq!(found(), Some(blob), "it was stored again since");
    }
    let damaged = blobs.open(blob.digest).unwrap();
    assert!(blobs.take_away(blob.digest, damaged.as_ref()).unwrap());
    assert_eq!(found(), None);
    assert!(!blobs.path(blob.digest).exists());
    blobs.put(b"hello world", &lease).unwrap();
    fs::remove_file(blobs.path(blob.digest)).unwrap();
    assert!(blobs.open(blob.digest).unwrap().is_none());
    assert_eq!(found(), None);
}

#[test]
fn what_is_not_as_promised_gets_no_name() {
    let (_folder, store) = place();
    let (blobs, lease) = (Blobs::new(&store), store.lease("test").unwrap());
    let digest = Some(BlobDigest::of(b"abc"));
    for (expected, pieces, text) in [
        (
            Expected { digest, size: None },
            &[b"abd" as &[u8]] as &[&[u8]],
            "the blob that should be sha256:ba7816",
        ),
        (Expected { digest, size: Some(3) }, &[b"ab"], "should have 3 bytes and has 2"),
        (Expected { digest, size: Some(3) }, &[b"ab", b"cd"], "should have 3 bytes and has 4"),
        (Expected { digest: None, size: Some(0) }, &[b"x"], "the blob should have 0 bytes and has 1"),
    ] {
        let error = ingest(&blobs, expected, pieces, &lease).unwrap_err().to_string();
        assert!(error.contains(text), "{error}");
    }
    assert_eq!(fs::read_dir(store.layout().blobs()).unwrap().count(), 0);
    assert_eq!(blobs.find(&[BlobDigest::of(b"abc")], &lease).unwrap(), [None]);
}

#[test]
fn a_damaged_blob_is_moved_aside_and_can_be_stored_again() {
    let (_folder, store) = place();
    let (blobs, lease) = (Blobs::new(&store), store.lease("test").unwrap());
    for (damage, expected) in [
        (b"HELLO" as &[u8], "was damaged on the disk"),
        (b"hell", "was damaged on the disk"),
        (b"hello!", "was damaged on the disk"),
    ] {
        let blob = blobs.put(b"hello", &lease).unwrap();
        let path = blobs.path(blob.digest);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&path, damage).unwrap();
        let error = blobs.read(blob.digest).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(blobs.find(&[blob.digest], &lease).unwrap(), [None]);
        assert!(!path.exists());
    }
    let blob = blobs.put(b"hello", &lease).unwrap();
    assert!(blobs.read(blob.digest).unwrap().is_some());
    fs::remove_file(blobs.path(blob.digest)).unwrap();
    assert_eq!(store.doctor(&[&BlobFiles]).unwrap()[0], Finding::Quarantined { entries: 3 });
    assert!(blobs.open(blob.digest).unwrap().is_none(), "a row without a file is a miss");
    assert_eq!(blobs.find(&[blob.digest], &lease).unwrap(), [None]);
}

#[test]
fn sweeping_takes_what_is_not_leased() {
    let (_folder, store) = place();
    let (blobs, keep, drop_later) =
        (Blobs::new(&store), store.lease("keep").unwrap(), store.lease("drop").unwrap());
    let kept = blobs.put(b"kept", &keep).unwrap();
    let dropped = blobs.put(b"dropped", &drop_later).unwrap();
    drop_later.release().unwrap();
    let report = store.sweep(&[&BlobFiles], &Policy::default(), Sweep::Take).unwrap();
    assert_eq!((report.swept.len(), report.bytes, report.failures.len()), (1, 7, 0));
    assert!(!blobs.path(dropped.digest).exists());
    assert!(blobs.path(kept.digest).exists());
    let recent = Policy { used_since: Some(0), keep_bytes: None };
    keep.release().unwrap();
    assert_eq!(store.sweep(&[&BlobFiles], &recent, Sweep::Take).unwrap().swept, []);
    fs::write(store.layout().blobs().join("stray"), "x").unwrap();
    assert_eq!(
        store.doctor(&[&BlobFiles]).unwrap(),
        [Finding::Orphan { path: store.layout().blobs().join("stray") }]
    );
}

#[test]
fn a_blob_that_comes_back_between_condemning_and_reclaiming_keeps_its_file() {
    use rbuild_store::collect::Collected;
    let (_folder, store) = place();
    let (blobs, lease) = (Blobs::new(&store), store.lease("test").unwrap());
    let blob = blobs.put(b"again", &lease).unwrap();
    store.write(|transaction| BlobFiles.condemn(transaction, blob.digest.as_bytes())).unwrap();
    assert_eq!(blobs.put(b"again", &lease).unwrap(), blob);
    BlobFiles.reclaim(&store, blob.digest.as_bytes()).unwrap();
    assert_eq!(blobs.read(blob.digest).unwrap().unwrap(), b"again");
}

#[test]
fn a_blob_is_promoted_once() {
    let (_folder, store) = place();
    let (blobs, lease) = (Blobs::new(&store), store.lease("test").unwrap());
    blobs.put(b"derived", &lease).unwrap();
    assert_eq!(store.promote().unwrap().rows, 1);
    blobs.put(b"derived", &lease).unwrap();
    assert_eq!(store.promote().unwrap().rows, 0, "what is promoted stays so");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn any_bytes_in_any_pieces_come_back(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 0..6)) {
        let (_folder, store) = place();
        let (blobs, lease) = (Blobs::new(&store), store.lease("test").unwrap());
        let whole = pieces.concat();
        let expected = Expected { digest: Some(BlobDigest::of(&whole)), size: Some(whole.len() as u64) };
        let slices: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let blob = ingest(&blobs, expected, &slices, &lease).unwrap();
        prop_assert_eq!(blobs.read(blob.digest).unwrap().unwrap(), whole);
    }
}

#[test]
fn the_latest_blobs_are_kept_as_far_as_there_is_room() {
    let (_folder, store) = place();
    let blobs = Blobs::new(&store);
    let lease = store.lease("test").unwrap();
    let stored: Vec<Blob> =
        [[1_u8; 300], [2; 300], [3; 300]].iter().map(|bytes| blobs.put(bytes, &lease).unwrap()).collect();
    drop(lease);
    let policy = Policy { used_since: None, keep_bytes: Some(700) };
    let swept = store.sweep(&[&BlobFiles], &policy, Sweep::Take).unwrap();
    assert_eq!((swept.swept.len(), swept.bytes), (1, 300));
    assert!(!blobs.path(stored[0].digest).exists() && blobs.path(stored[1].digest).exists());
}

fn lock_of(store: &Store, digest: BlobDigest) -> rbuild_store::Lock {
    store.locks().scope().try_acquire(&Blobs::download(digest), LockMode::Exclusive).unwrap().unwrap()
}

#[test]
fn a_blob_that_came_in_part_goes_on_and_a_wrong_one_begins_anew() {
    let (_folder, store) = place();
    let (blobs, lease) = (Blobs::new(&store), store.lease("test").unwrap());
    let whole = Blob { digest: BlobDigest::of(b"hello world"), size: 11 };
    let resume = || blobs.resume(whole, lock_of(&store, whole.digest)).unwrap();
    drop(resume());
    assert_eq!(
        fs::read_dir(store.layout().partial_blobs()).unwrap().count(),
        0,
        "nothing came, nothing stays"
    );
    for (before, begins_at, rest) in [
        (b"" as &[u8], 0, b"hello world" as &[u8]),
        (b"hello ", 6, b"world"),
        (b"hello world", 11, b""),
        (b"hello world and more", 0, b"hello world"),
    ] {
        fs::write(store.layout().partial_blobs().join(whole.digest.hex()), before).unwrap();
        let mut part = resume();
        assert_eq!(part.written(), begins_at);
        part.write_all(rest).unwrap();
        assert!(part.write_all(b"!").is_err(), "no more than was promised");
        assert_eq!(part.finish(&lease).unwrap(), whole);
        assert_eq!(blobs.read(whole.digest).unwrap().unwrap(), b"hello world");
        let mode = fs::metadata(blobs.path(whole.digest)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o444);
        assert_eq!(fs::read_dir(store.layout().partial_blobs()).unwrap().count(), 0);
    }
    fs::remove_file(blobs.path(whole.digest)).unwrap();
    for (before, wanted) in [(b"HELLO " as &[u8], "is sha256:"), (b"", "has 5")] {
        fs::write(store.layout().partial_blobs().join(whole.digest.hex()), before).unwrap();
        let mut part = resume();
        part.write_all(b"world").unwrap();
        let refused = part.finish(&lease).unwrap_err().to_string();
        assert!(refused.contains(wanted), "{refused}");
        assert!(!blobs.path(whole.digest).exists());
        assert_eq!(resume().written(), 0, "nothing of it is left");
    }
    assert_eq!(
        store.doctor(&[&BlobFiles, &PartialBlobs]).unwrap()[..1],
        [Finding::Missing { path: blobs.path(whole.digest) }]
    );
}

#[test]
fn what_came_in_part_is_counted_and_swept_unless_somebody_goes_on_with_it() {
    let (_folder, store) = place();
    let blobs = Blobs::new(&store);
    let digests = [BlobDigest::of(b"one"), BlobDigest::of(b"two")];
    let lock = lock_of(&store, digests[0]);
    for digest in digests {
        drop(store.partial_file(&store.layout().partial_blobs(), &digest.hex()).unwrap());
        fs::write(store.layout().partial_blobs().join(digest.hex()), "begun").unwrap();
    }
    let stray = store.layout().partial_blobs().join("stray");
    fs::write(&stray, "x").unwrap();
    assert_eq!(store.doctor(&[&PartialBlobs]).unwrap(), [Finding::Orphan { path: stray.clone() }]);
    fs::remove_file(stray).unwrap();
    let counted = store.census(&[&PartialBlobs]).unwrap();
    assert_eq!(counted.iter().map(|one| one.candidate.bytes).collect::<Vec<_>>(), [5]);
    blobs.forget_parts(std::time::Duration::from_secs(3600)).unwrap();
    assert_eq!(fs::read_dir(store.layout().partial_blobs()).unwrap().count(), 2, "both are new");
    let sweep = || store.sweep(&[&PartialBlobs], &Policy::default(), Sweep::Take).unwrap().swept.len();
    assert_eq!(sweep(), 1);
    drop(lock);
    let path = store.layout().partial_blobs().join(digests[0].hex());
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(7200);
    fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
    blobs.forget_parts(std::time::Duration::from_secs(3600)).unwrap();
    assert!(!path.exists());
    assert_eq!(sweep(), 0);
}
