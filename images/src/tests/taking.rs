//! What a sweep takes away beside what others look up, and what it leaves behind.

use rbuild_cache::blobs::BlobFiles;
use rbuild_cache::records::sweep::{RecordTrees, SnapshotTrees};
use rbuild_model::digest::ChainId;
use rbuild_model::snapshot::SnapshotId;
use rbuild_store::collect::{Candidate, Collected, SweepError, Verdict};
use rbuild_store::{DatabaseError, ObjectKind};
use rusqlite::Transaction;

use super::*;

/// The trees, where something is done between their rows and their files.
struct Interrupted<'a>(&'a (dyn Fn() + Sync));

impl Collected for Interrupted<'_> {
    fn kind(&self) -> ObjectKind {
        SnapshotTrees.kind()
    }

    fn candidates(&self, transaction: &Transaction<'_>) -> Result<Vec<Candidate>, DatabaseError> {
        SnapshotTrees.candidates(transaction)
    }

    fn condemn(&self, transaction: &Transaction<'_>, object: &[u8]) -> Result<Verdict, DatabaseError> {
        SnapshotTrees.condemn(transaction, object)
    }

    fn reclaim(&self, store: &Store, object: &[u8]) -> Result<(), SweepError> {
        // As another command would: on a thread that has no locks.
        std::thread::scope(|scope| scope.spawn(self.0).join().unwrap());
        SnapshotTrees.reclaim(store, object)
    }
}

fn sweep(store: &Store) {
    let owners: [&dyn Collected; 4] = [&ImageRows, &RecordTrees, &SnapshotTrees, &BlobFiles];
    store.sweep(&owners, &Policy::default(), Sweep::Take).unwrap();
}

/// The tree of a layer that no image has yet, as a pull leaves it that found no room for the next one.
#[test]
fn a_tree_that_is_being_taken_away_is_not_found() {
    let place = place();
    let packed = tar(&[("f", "x")]);
    let layer = StackLayer {
        diff_id: DiffId::from_bytes(*BlobDigest::of(&packed).as_bytes()),
        descriptor: Some(Descriptor::of(MediaType::OCI_LAYER, &packed)),
        encoding: None,
        alone: Alone::No,
    };
    let stack = |lease: &Lease| -> SnapshotId {
        let fetch = |_: &Descriptor| place.images.blobs.put(&packed, lease).map(drop);
        place.images.stack(std::slice::from_ref(&layer), &fetch, lease, &Quiet).unwrap().top().unwrap()
    };
    let lease = place.store.lease("a pull").unwrap();
    let first = stack(&lease);
    drop(lease);

    let lease = place.store.lease("the next").unwrap();
    let found = Mutex::new(None);
    let look = || *found.lock().unwrap() = Some(stack(&lease));
    let owners: [&dyn Collected; 3] = [&ImageRows, &RecordTrees, &Interrupted(&look)];
    place.store.sweep(&owners, &Policy::default(), Sweep::Take).unwrap();
    let found = found.into_inner().unwrap().expect("the sweep took the tree");
    assert!(!place.snapshotter.contains(first));
    assert!(place.snapshotter.contains(found), "it was found, leased, and went all the same");
}

/// That the same tar could be made of a tree which is gone makes no blob superfluous.
#[test]
fn an_image_that_was_made_here_and_came_back_can_leave_again() {
    let Place { images, store, lease, snapshotter: _snapshotter, _folder } = place();
    images.import(&tar(&[("f", "x")])[..], import_options(Some("a")), &lease).unwrap();
    let save = || images.save(&["a"], Vec::new(), &store.lease("save").unwrap());
    let archive = save().unwrap();
    images.remove("a", &NoUsers).unwrap();
    drop(lease);
    sweep(&store);

    let lease = store.lease("load").unwrap();
    images.load(&archive[..], &amd64(), &lease, &Quiet).unwrap();
    drop(lease);
    sweep(&store);
    assert_eq!(save().unwrap(), archive);
}

/// A tree that came, whose blob went while only somebody's lease kept it, does not stand for the one that is made.
#[test]
fn an_image_stands_on_the_tree_that_it_can_be_packed_of() {
    let Place { images, store, lease, snapshotter: _snapshotter, _folder } = place();
    let layer = tar(&[("f", "x")]);
    let options = || import_options(Some("a"));
    images.import(&layer[..], options(), &lease).unwrap();
    let save = || images.save(&["a"], Vec::new(), &store.lease("save").unwrap());
    let archive = save().unwrap();
    images.remove("a", &NoUsers).unwrap();
    drop(lease);
    sweep(&store);

    let lease = store.lease("load").unwrap();
    let came = images.load(&archive[..], &amd64(), &lease, &Quiet).unwrap()[0].image;
    drop(lease);
    let running = store.lease("run").unwrap();
    let tree = images.ready(came, None, &running, &Quiet).unwrap().chain.top().unwrap();
    images.remove("a", &NoUsers).unwrap();
    sweep(&store);
    let lease = store.lease("import").unwrap();
    let made = images.import(&layer[..], options(), &lease).unwrap();
    assert_eq!(made, came);
    assert_ne!(images.top(made).unwrap(), Some(tree));
    assert_eq!(save().unwrap(), archive);
}

/// Who finds a tree lost may come too late: others have made it again.
#[test]
fn only_what_was_lost_is_forgotten() {
    let place = place();
    let image = place.import(Some("a"), &[("f", "x")]);
    let top = place.images.top(image).unwrap().unwrap();
    let chain = ChainId::of(&place.images.config(image).unwrap().rootfs.diff_ids).unwrap();
    let forget = |snapshot| place.store.write(|tx| rows::forget_layer(tx, chain, snapshot)).unwrap();
    forget(SnapshotId::from_bytes([7; 16]));
    assert_eq!(place.images.top(image).unwrap(), Some(top));
    forget(top);
    assert_eq!(place.images.top(image).unwrap(), None);
}
