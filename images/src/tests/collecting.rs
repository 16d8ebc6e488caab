//! Images, results of steps, their trees and blobs under one limit: whoever pulls, loads, builds, names and sweeps at once
//! loses nothing that he holds or that has a tag, and what is there never exceeds the limit.

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use rbuild_cache::blobs::{BlobError, BlobFiles, PartialBlobs};
use rbuild_cache::records::Records;
use rbuild_cache::records::sweep::{RecordTrees, SnapshotTrees};
use rbuild_model::key::{CacheKey, PreImage};
use rbuild_snapshotter::usage_of;
use rbuild_solver::index::{KeyKind, LookUp, NewRecord, Place as Found};
use rbuild_store::collect::{Collected, SweepError};
use rbuild_store::{Budget, DatabaseError, ObjectKind, RoomError};

use super::*;

const OWNERS: &[&dyn Collected] = &[&ImageRows, &RecordTrees, &SnapshotTrees, &BlobFiles, &PartialBlobs];
const MAX: u64 = 450 << 10;

/// Bytes that do not compress, in a text.
fn noise(seed: u64, bytes: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::with_capacity(bytes);
    while text.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push(char::from(b'!' + (state % 90) as u8));
    }
    text
}

/// A registry with a few images, each with a layer that they all have, and archives of others.
struct World {
    remote: Vec<Reference>,
    /// A tag of the registry.
    base: Reference,
    archives: Vec<Vec<u8>>,
    _registry: Registry,
}

impl World {
    fn get() -> &'static Self {
        static WORLD: OnceLock<World> = OnceLock::new();
        WORLD.get_or_init(Self::new)
    }

    fn new() -> Self {
        let base = tar(&[("base", &noise(1, 30_000))]);
        let mut content = Content::new();
        let mut digests = Vec::new();
        for own in 2..5 {
            let (more, _) = content_of(&[base.clone(), tar(&[("own", &noise(own, 35_000))])], |_| {});
            let index = &more["/v2/a/b/manifests/1"].1;
            digests.push(BlobDigest::of(index));
            content.extend(more);
        }
        let registry = Registry::start(content);
        let remote = digests.iter().map(|digest| registry.reference(&format!("a/b@{digest}"))).collect();
        let archives = (10..12)
            .map(|seed| {
                let place = place();
                let name = format!("loaded{seed}");
                place.import(Some(&name), &[("f", &noise(seed, 40_000))]);
                place.images.save(&[name.as_str()], Vec::new(), &place.lease).unwrap()
            })
            .collect();
        let base = registry.reference("a/b:1");
        Self { remote, base, archives, _registry: registry }
    }
}

/// What one process has open.
struct Site {
    store: Store,
    images: Images,
    snapshotter: Arc<dyn Snapshotter>,
}

/// Something that a command works with: protected until it is dropped.
struct Held {
    image: ImageId,
    step: Option<CacheKey>,
    _lease: Lease,
    _records: Records,
}

/// Numbers steps, so that each is another.
static STEPS: AtomicU64 = AtomicU64::new(100);

fn is_full(error: &ImagesError) -> bool {
    let error = match error {
        ImagesError::Room { source, .. } => source,
        ImagesError::Blob(BlobError::Room(error)) => error,
        _ => return false,
    };
    matches!(error, RoomError::Full { .. })
}

impl Site {
    fn open(folder: &std::path::Path) -> Self {
        let options = StoreOptions::new(folder.join("root"), folder.join("run"), "rbuild test");
        let store = Store::open(StoreOptions { schemas: SCHEMAS, reserve: 0, ..options }).unwrap();
        store.set_budget(Budget { max: MAX, owners: OWNERS });
        let layout = store.layout();
        let work = store.work_folder().unwrap().to_owned();
        let folders =
            Folders { snapshots: layout.root().join("snapshots"), tmp: work, trash: layout.trash() };
        let snapshotter: Arc<dyn Snapshotter> = Arc::new(CopySnapshotter::open(&folders).unwrap());
        let options = Options { registries: quick(), ..Options::default() };
        let images = Images::new(&store, Arc::clone(&snapshotter), options);
        Self { store, images, snapshotter }
    }

    fn held(&self, image: ImageId, step: Option<CacheKey>, lease: Lease, records: Records) -> Held {
        Held { image, step, _lease: lease, _records: records }
    }

    fn records(&self) -> Records {
        Records::new(&self.store, self.snapshotter.format())
    }

    fn pull(&self, name: &Reference) -> Result<Held, ImagesError> {
        let lease = self.store.lease("pull")?;
        let resolved = self.images.resolve(name, &amd64(), PullPolicy::Missing, &lease, &Quiet)?;
        Ok(self.held(resolved.image, None, lease, self.records()))
    }

    /// Makes sure of what a build stands on.
    fn base(&self, name: &Reference) -> Result<Held, ImagesError> {
        let lease = self.store.lease("build")?;
        let resolved = self.images.resolve_base(name, &amd64(), PullPolicy::Missing, &lease, &Quiet)?;
        Ok(self.held(resolved.image, None, lease, self.records()))
    }

    fn load(&self, archive: &[u8]) -> Result<Held, ImagesError> {
        let lease = self.store.lease("load")?;
        let loaded = self.images.load(archive, &amd64(), &lease, &Quiet)?;
        Ok(self.held(loaded[0].image, None, lease, self.records()))
    }

    /// Does a step on top of an image that somebody holds, and makes an image without a name of it.
    fn build(&self, base: Option<&Held>, bytes: usize) -> Result<Held, ImagesError> {
        let lease = self.store.lease("build")?;
        let base = base.map(|held| self.images.ready(held.image, None, &lease, &Quiet)).transpose()?;
        let (image, below) = base.map_or((None, Chain::empty()), |base| (Some(base.image), base.chain));
        let number = STEPS.fetch_add(1, Ordering::Relaxed);
        let full = |error| ImagesError::Room { what: "a step".to_owned(), source: Box::new(error) };
        let room = self.store.reserve_room(bytes as u64).map_err(full)?;
        let layer = tar(&[(&format!("step{number}"), &noise(number, bytes))]);
        let (active, _) =
            self.snapshotter.apply(&below, &mut &layer[..], rbuild_image::tar::Limits::default()).unwrap();
        let taken = usage_of(&self.snapshotter.open_active(&active).unwrap()).unwrap().bytes;
        if let Err(error) = room.grow_to(taken) {
            self.snapshotter.discard(active).unwrap();
            return Err(full(error));
        }
        let id = active.id();
        self.store.write(|tx| lease.protect(tx, &[(ObjectKind::SNAPSHOT, id.as_bytes())]))?;
        let chain = below.with(self.snapshotter.commit(active).unwrap());
        let definition = PreImage::text(format!("step {number}"));
        let canonical = definition.key();
        let records = self.records();
        let new = NewRecord {
            name: format!("step {number}"),
            definition: Some(definition),
            content: None,
            canonical,
            chain: chain.clone(),
            started: 0,
            took: Duration::from_millis(number % 7 * 100),
            usage: rbuild_solver::Usage { bytes: Some(taken), ..rbuild_solver::Usage::default() },
            log: None,
        };
        records.remember_in(&new, &[], &room).unwrap();
        let mut config = match image {
            Some(image) => self.images.config(image)?,
            None => ImageConfig::default(),
        };
        config.set_platform(&amd64());
        let built = BuiltImage { config, chain: &chain, epoch: None, base: image, parent: None };
        let image = self.images.add(built, &lease)?;
        Ok(self.held(image, Some(canonical), lease, records))
    }

    /// What rows and reservations count, at one moment.
    fn counted(&self) -> u64 {
        let text = "SELECT (SELECT coalesce(sum(bytes), 0) FROM snapshots) + (SELECT coalesce(sum(size), 0) FROM blobs) \
                    + (SELECT coalesce(sum(bytes), 0) FROM reservations)";
        let read = |tx: &rusqlite::Transaction<'_>| -> Result<i64, DatabaseError> {
            Ok(tx.query_row(text, [], |row| row.get(0))?)
        };
        self.store.read(read).unwrap().unsigned_abs()
    }

    /// Tells what of an image is lost: its rows, its trees, the blobs that nobody can make again.
    fn lost_of(&self, image: ImageId) -> Option<String> {
        let Ok(config) = self.images.config(image) else { return Some("its row".to_owned()) };
        let mut below = None;
        for diff_id in config.rootfs.diff_ids {
            let chain = crate::layers::chain_with(below, diff_id);
            below = Some(chain);
            let (layer, packed, made_here) = self
                .store
                .read(|tx| -> Result<_, DatabaseError> {
                    let layer = rows::layer(tx, chain)?;
                    let made_here = layer.map(|layer| rows::is_made_here(tx, layer.snapshot, diff_id));
                    Ok((layer, rows::packed(tx, diff_id)?, made_here.unwrap_or(Ok(false))?))
                })
                .unwrap();
            match layer {
                None => return Some(format!("the row of layer {diff_id}")),
                Some(layer) if !self.snapshotter.contains(layer.snapshot) => {
                    return Some(format!("the tree of layer {diff_id}"));
                }
                Some(_) => {}
            }
            let is_here = |row: &rows::PackedRow| self.images.blobs().open(row.digest).unwrap().is_some();
            if !made_here && !packed.iter().any(is_here) {
                return Some(format!("the blob of layer {diff_id}"));
            }
        }
        None
    }

    /// Looks at all that one holds.
    fn check(&self, held: &VecDeque<Held>, after: &Act) {
        let counted = self.counted();
        assert!(counted <= MAX, "{counted} bytes of {MAX} after {after:?}");
        for held in held {
            assert_eq!(self.lost_of(held.image), None, "{:?} is held, after {after:?}", held.image);
            let Some(key) = held.step else { continue };
            let found = self.records().find(&[LookUp { key, kind: KeyKind::Definition }]).unwrap();
            let Some(Found::Here(chain)) = found.into_iter().flatten().next().map(|found| found.place) else {
                panic!("a step that is held has no tree after {after:?}");
            };
            assert!(chain.layers().iter().all(|layer| self.snapshotter.contains(*layer)), "after {after:?}");
        }
    }
}

#[derive(Clone, Debug)]
enum Act {
    /// Makes sure of an image of the registry, by its digest: it has no tag.
    Pull(usize),
    /// Makes sure of the tag of the registry, as a build does.
    Base,
    /// Loads an archive, whose image has a tag.
    Load(usize),
    /// Does a step of so many bytes, on what was held first if one says so.
    Build(usize, bool),
    /// Gives what was held last a name.
    Tag(u8),
    /// Takes a name away from whatever has it.
    Untag(u8),
    /// Ends the oldest command.
    Release,
    /// Sweeps all but so many bytes.
    Sweep(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (0_usize..3).prop_map(Act::Pull),
        2 => Just(Act::Base),
        2 => (0_usize..2).prop_map(Act::Load),
        5 => (1000_usize..60_000, any::<bool>()).prop_map(|(bytes, based)| Act::Build(bytes, based)),
        2 => (0_u8..3).prop_map(Act::Tag),
        2 => (0_u8..3).prop_map(Act::Untag),
        5 => Just(Act::Release),
        1 => (0_u64..MAX).prop_map(Act::Sweep),
    ]
}

fn name(number: u8) -> Reference {
    reference(&format!("name{number}:latest"))
}

/// Does one thing; what does not fit is refused, and all else works.
fn perform(site: &Site, world: &World, act: &Act, held: &mut VecDeque<Held>) {
    let made = match act {
        Act::Pull(which) => site.pull(&world.remote[*which]),
        Act::Base => site.base(&world.base),
        Act::Load(which) => site.load(&world.archives[*which]),
        Act::Build(bytes, based) => site.build(held.front().filter(|_| *based), *bytes),
        Act::Tag(number) => {
            if let Some(last) = held.back() {
                site.images.tag(last.image, &name(*number)).unwrap();
            }
            return;
        }
        Act::Untag(number) => {
            site.store.write(|tx| rows::remove_name(tx, &name(*number))).unwrap();
            return;
        }
        Act::Release => return drop(held.pop_front()),
        Act::Sweep(keep) => {
            let policy = Policy { used_since: None, keep_bytes: Some(*keep) };
            return match site.store.sweep(OWNERS, &policy, Sweep::Take) {
                Ok(report) => assert!(report.failures.is_empty(), "{report:?}"),
                Err(error) => assert!(matches!(error, SweepError::Busy), "{error}"),
            };
        }
    };
    match made {
        Ok(made) => held.push_back(made),
        Err(error) => assert!(is_full(&error), "{error:?}"),
    }
}

/// With everything let go and all images removed, nothing stays, neither rows nor files.
fn nothing_is_left(site: &Site) {
    site.images.list().unwrap().iter().for_each(|image| {
        site.store
            .write(|tx| image.tags.iter().try_for_each(|tag| rows::remove_name(tx, tag).map(drop)))
            .unwrap();
    });
    for image in site.images.list().unwrap() {
        // What was loaded cannot be had again, and goes only when somebody says so.
        site.images.remove_forced(&image.id.to_string(), &NoUsers).unwrap();
    }
    site.store.sweep(OWNERS, &Policy::default(), Sweep::Take).unwrap();
    assert_eq!(site.counted(), 0);
    assert_eq!(std::fs::read_dir(site.store.layout().blobs()).unwrap().count(), 0);
    let trees = site.store.layout().snapshots(site.snapshotter.format());
    let trees: Vec<_> = std::fs::read_dir(trees).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(trees.iter().all(|name| name == "empty"), "{trees:?}");
}

#[test]
fn a_layer_is_not_packed_where_there_is_no_room_and_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::open(folder.path());
    let held = site.build(None, MAX as usize * 2 / 3).unwrap();
    let lease = site.store.lease("save").unwrap();
    let refused = site.images.pack(held.image, Encoding::GZIP, &lease).unwrap_err();
    assert!(is_full(&refused), "{refused:?}");
}

#[test]
fn what_has_no_tag_makes_room_and_what_stays_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::open(folder.path());
    let pulled = site.pull(&World::get().remote[0]).unwrap().image;
    let lease = site.store.lease("import").unwrap();
    let tar = tar(&[("f", &noise(20, 40_000))]);
    let imported = site.images.import(&tar[..], import_options(None), &lease).unwrap();
    drop(lease);
    let before = site.counted();
    let refused = site.store.reserve_room(MAX).unwrap_err().to_string();
    assert!(refused.contains(&format!("(image {} (no tag) ", crate::remove::short(imported))), "{refused}");
    assert_eq!(site.counted(), before, "for what does not fit in any case nothing goes");

    let free = site.store.sweep(OWNERS, &Policy::default(), Sweep::Dry).unwrap().bytes;
    let room = site.store.reserve_room(MAX - (before - free)).unwrap();
    assert!(site.images.get(pulled).unwrap().is_none(), "it can be pulled again");
    assert_eq!(site.lost_of(imported), None, "this one nobody could bring back");
    site.images.tag(imported, &name(0)).unwrap();
    let refused = room.grow_to(MAX).unwrap_err().to_string();
    assert!(refused.contains("(image name0:latest 4"), "{refused}");
}

#[test]
fn a_tag_that_only_a_build_gave_makes_room_until_somebody_chooses_it() {
    let (world, folder) = (World::get(), tempfile::tempdir().unwrap());
    let site = Site::open(folder.path());
    let sweep = || site.store.sweep(OWNERS, &Policy::default(), Sweep::Take).unwrap().bytes;
    let is_here = || site.images.find_reference(&world.base).unwrap().is_some();

    let held = site.base(&world.base).unwrap();
    assert_eq!(sweep(), 0, "a build works with it");
    drop(held);
    assert!(is_here() && sweep() > 0 && !is_here(), "the next build fetches it again");

    drop(site.base(&world.base).unwrap());
    let resolved = site.pull(&world.base).unwrap();
    drop(site.base(&world.base).unwrap());
    drop(resolved);
    assert_eq!(sweep(), 0, "somebody asked for it by its name, and a build that does so too changes nothing");

    site.images.remove_forced(&world.base.to_string(), &NoUsers).unwrap();
    let base = site.base(&world.base).unwrap().image;
    site.images.tag(base, &name(0)).unwrap();
    sweep();
    assert_eq!(site.lost_of(base), None, "another tag of it was chosen");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 100, ..ProptestConfig::default() })]
    #[test]
    fn in_whatever_order_the_limit_holds_and_nothing_in_use_goes(acts in prop::collection::vec((act(), any::<bool>()), 5..40)) {
        let (world, folder) = (World::get(), tempfile::tempdir().unwrap());
        let sites = [Site::open(folder.path()), Site::open(folder.path())];
        let mut held = VecDeque::new();
        for (act, first) in acts {
            let site = &sites[usize::from(first)];
            perform(site, world, &act, &mut held);
            site.check(&held, &act);
            for image in site.images.list().unwrap() {
                if !image.tags.is_empty() {
                    prop_assert_eq!(site.lost_of(image.id), None, "{:?} after {:?}", image.tags, &act);
                }
            }
        }
        drop(held);
        nothing_is_left(&sites[0]);
    }

    #[test]
    fn at_once_the_limit_holds_and_nothing_in_use_goes(
        works in prop::collection::vec(prop::collection::vec(act(), 5..20), 4),
    ) {
        let (world, folder) = (World::get(), tempfile::tempdir().unwrap());
        let sites = [Site::open(folder.path()), Site::open(folder.path())];
        std::thread::scope(|scope| {
            for (at, work) in works.iter().enumerate() {
                let site = &sites[at % 2];
                scope.spawn(move || {
                    let mut held = VecDeque::new();
                    for act in work {
                        perform(site, world, act, &mut held);
                        site.check(&held, act);
                    }
                });
            }
        });
        nothing_is_left(&sites[0]);
    }
}
