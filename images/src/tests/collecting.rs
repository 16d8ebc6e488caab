//! Images, results of steps, their trees and blobs under one limit: whoever pulls, loads, builds, names and sweeps at once
//! loses nothing that he holds or that has a tag, and what is there never exceeds the limit.

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use rbuild_cache::blobs::{BlobFiles, PartialBlobs};
use rbuild_cache::records::Records;
use rbuild_cache::records::sweep::{RecordTrees, SnapshotTrees};
use rbuild_model::key::{CacheKey, PreImage};
use rbuild_snapshotter::usage_of;
use rbuild_solver::index::{KeyKind, LookUp, NewRecord, Place as Found};
use rbuild_store::collect::{Collected, SweepError};
use rbuild_store::{Budget, DatabaseError, ObjectKind};

use super::*;

/// For what people sweep.
const OWNERS: &[&dyn Collected] =
    &[&ImageRows::Whole, &RecordTrees, &SnapshotTrees, &BlobFiles, &PartialBlobs];
/// For where room is made.
const LEAN: &[&dyn Collected] = &[&ImageRows::Lean, &RecordTrees, &SnapshotTrees, &BlobFiles, &PartialBlobs];
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
    /// The last is one of an image of the registry.
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
        let remote: Vec<_> =
            digests.iter().map(|digest| registry.reference(&format!("a/b@{digest}"))).collect();
        let saved = |name: &str, bring: &dyn Fn(&Place)| {
            let place = place_with(quick());
            bring(&place);
            place.images.save(&[name], Vec::new(), &place.lease).unwrap()
        };
        let imported = |seed: u64| {
            let name = format!("loaded{seed}");
            saved(&name, &|place| _ = place.import(Some(&name), &[("f", &noise(seed, 40_000))]))
        };
        let pulled = saved("loaded", &|place| {
            let pulled = place.images.pull(&remote[0], &amd64(), &place.lease, &Quiet).unwrap();
            place.images.tag(pulled.image, &reference("loaded:latest")).unwrap();
        });
        let archives = vec![imported(10), imported(11), pulled];
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

impl Site {
    fn open(folder: &std::path::Path) -> Self {
        Self::open_with(folder, Some(MAX))
    }

    fn open_with(folder: &std::path::Path, max: Option<u64>) -> Self {
        let options = StoreOptions::new(folder.join("root"), folder.join("run"), "rbuild test");
        let store = Store::open(StoreOptions { schemas: SCHEMAS, reserve: 0, ..options }).unwrap();
        if let Some(max) = max {
            store.set_budget(Budget { max, owners: LEAN });
        }
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

    /// Lists the packed forms of a layer that no archive brought and a registry has.
    fn fetchable(&self, diff_id: DiffId) -> Vec<BlobDigest> {
        let text = "SELECT digest FROM layer_blobs WHERE diff = ?1 AND origin IS NOT NULL AND NOT brought";
        let read = |tx: &rusqlite::Transaction<'_>| -> Result<Vec<_>, DatabaseError> {
            let mut statement = tx.prepare_cached(text)?;
            let rows =
                statement.query_map([diff_id.as_bytes()], |row| row.get(0).map(BlobDigest::from_bytes))?;
            Ok(rows.collect::<Result<_, _>>()?)
        };
        self.store.read(read).unwrap()
    }

    /// Tells what of an image is lost: its rows, its trees, the blobs that nobody can make or fetch again.
    fn lost_of(&self, image: ImageId) -> Option<String> {
        let Ok(config) = self.images.config(image) else { return Some("its row".to_owned()) };
        let mut below = None;
        for diff_id in config.rootfs.diff_ids {
            let chain = crate::layers::chain_with(below, diff_id);
            below = Some(chain);
            let (layer, packed, made_here) = self
                .store
                .read(|tx| -> Result<_, DatabaseError> {
                    let made_here = rows::is_made_here(tx, diff_id)?;
                    Ok((rows::layer(tx, chain)?, rows::packed(tx, diff_id)?, made_here))
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
            if !made_here && !packed.iter().any(is_here) && self.fetchable(diff_id).is_empty() {
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
    /// Saves what was held last.
    Save,
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
        2 => (0_usize..3).prop_map(Act::Load),
        2 => Just(Act::Save),
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
        Act::Save => {
            // Whatever there is room for, and whatever made room.
            if let Some(last) = held.back() {
                let lease = site.store.lease("save").unwrap();
                site.images.save(&[&last.image.to_string()], std::io::sink(), &lease).unwrap();
            }
            return;
        }
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
        Err(error) => assert!(error.is_of_room(), "{error:?}"),
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

/// What another store takes out of an archive.
fn loaded_elsewhere(archive: &[u8]) -> ImageId {
    let there = place();
    there.images.load(archive, &amd64(), &there.lease, &Quiet).unwrap()[0].image
}

#[test]
fn a_layer_that_there_is_no_room_for_leaves_without_being_kept() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::open(folder.path());
    let held = site.build(None, MAX as usize * 2 / 3).unwrap();
    let (name, lease) = (held.image.to_string(), site.store.lease("save").unwrap());
    let before = site.counted();
    let refused = site.images.pack(held.image, Encoding::GZIP, &lease).unwrap_err();
    assert!(refused.is_of_room(), "who needs it here is told: {refused:?}");
    let archive = site.images.save(&[&name], Vec::new(), &lease).unwrap();
    assert_eq!((loaded_elsewhere(&archive), site.counted()), (held.image, before));
    let unlimited = Site::open_with(folder.path(), None);
    let kept = unlimited.images.save(&[&name], Vec::new(), &lease).unwrap();
    assert!(kept == archive, "it is as it would be with room");
    assert!(site.counted() > MAX, "which it takes, where it is kept");
}

#[test]
fn what_a_registry_has_makes_room_and_comes_again_when_it_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let (content, id) = content_of(&[tar(&[("own", &noise(40, 100_000))])], |_| {});
    let registry = Registry::start(content);
    let site = Site::open(folder.path());
    drop(site.pull(&registry.reference("a/b:1")).unwrap());
    let layer = site.images.config(id).unwrap().rootfs.diff_ids[0];
    let [blob] = site.fetchable(layer)[..] else { panic!("it came from one place") };
    // Whether the layer is here, and how often it was fetched so far.
    let state = || {
        let is_here = site.images.blobs().open(blob).unwrap().is_some();
        (is_here, registry.asked_for(&format!("/blobs/{blob}")))
    };
    let fill = || site.store.reserve_room(MAX - site.counted() + 1).unwrap();
    let (name, lease) = (id.to_string(), || site.store.lease("test").unwrap());
    let save = || site.images.save(&[&name], Vec::new(), &lease()).unwrap();

    site.store.sweep(OWNERS, &Policy::default(), Sweep::Take).unwrap();
    assert_eq!(state(), (true, 1), "people who sweep lose nothing of an image that stays");
    drop(fill());
    assert_eq!(state(), (false, 1));
    assert_eq!(site.lost_of(id), None);
    let archive = save();
    assert_eq!((loaded_elsewhere(&archive), state()), (id, (true, 2)), "it comes and stays");
    let filled = fill();
    assert!(save() == archive && state() == (false, 3), "where there is no room it comes and goes through");
    let refused = site.images.pack(id, Encoding::GZIP, &lease()).unwrap_err();
    assert!(refused.is_of_room(), "who needs it here is told: {refused:?}");
    drop(filled);
    let anew = Packing { existing: Existing::Recompress, ..Encoding::ZSTD.into() };
    site.images.pack(id, anew, &lease()).unwrap();
    assert_eq!(state(), (false, 4), "what is packed anew stays, and not what it is packed of");
    // What is offered to others has to be here; a pull finds the tree and asks for no layer.
    assert!(site.images.offered_blob(blob).unwrap().is_some() && state() == (true, 5));
    drop(fill());
    site.images.pull(&registry.reference("a/b:1"), &amd64(), &lease(), &Quiet).unwrap();
    assert_eq!(state(), (false, 5));

    // An archive brings it to stay.
    site.images.load(&archive[..], &amd64(), &lease(), &Quiet).unwrap();
    let free = MAX - site.counted() + site.store.sweep(LEAN, &Policy::default(), Sweep::Dry).unwrap().bytes;
    drop(site.store.reserve_room(free).unwrap());
    assert_eq!(state(), (true, 5), "whatever else went");
}

#[test]
fn a_layer_that_its_registry_has_no_more_is_asked_for_elsewhere_or_missed_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (content, id) = content(|_| {});
    let site = Site::open(folder.path());
    let [first, second] = [(); 2].map(|()| Registry::start(content.clone()));
    drop(site.pull(&first.reference("a/b:1")).unwrap());
    site.images.tag(id, &name(0)).unwrap();
    site.store.sweep(LEAN, &Policy::default(), Sweep::Take).unwrap();
    let (image, lease) = (id.to_string(), site.store.lease("test").unwrap());
    let save = || site.images.save(&[&image], Vec::new(), &lease);
    first.empty();
    let missed = save().unwrap_err();
    assert!(matches!(missed, ImagesError::Again { .. }), "{missed:?}");
    assert!(missed.to_string().contains("made room for others (`cache.max`)"), "{missed}");
    site.images.pull(&second.reference("a/b:1"), &amd64(), &lease, &Quiet).unwrap();
    assert_eq!(loaded_elsewhere(&save().unwrap()), id, "where it was seen last");
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
