use std::time::Duration;

use proptest::prelude::*;
use rbuild_image::distribution::{Receiver, Sender};
use rbuild_image::manifest::Descriptor;
use rbuild_model::digest::{BlobDigest, DiffId};
use rbuild_model::snapshot::SnapshotId;
use rbuild_store::{DatabaseError, Store, StoreOptions};
use tempfile::TempDir;

use super::*;
use crate::backends::catalog::Blob;
use crate::backends::{Held, Put};
use crate::records::{IMPORTED, SCHEMA, remember_snapshots};

/// A cache of which only the catalog is ever used.
struct Paper(&'static str);

impl Backend for Paper {
    fn name(&self) -> &str {
        self.0
    }

    fn until(&self, _: std::time::Instant) -> Arc<dyn Backend> {
        unreachable!("nothing is waited for")
    }

    fn catalog(&self) -> Result<Vec<Held>, BackendError> {
        unreachable!("it was read before")
    }

    fn publish(&self, _: &[u8], _: &[Descriptor]) -> Result<(), BackendError> {
        unreachable!("nothing is exported")
    }

    fn has(&self, _: &Descriptor) -> Result<bool, BackendError> {
        unreachable!("no blob is asked for")
    }

    fn get(&self, _: &Descriptor, _: &mut dyn Receiver) -> Result<(), BackendError> {
        unreachable!("no blob is asked for")
    }

    fn put(&self, _: &Descriptor, _: &dyn Sender) -> Result<Put, BackendError> {
        unreachable!("nothing is exported")
    }
}

fn records() -> (TempDir, Arc<Records>) {
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions::new(folder.path().join("root"), folder.path().join("run"), "rbuild test");
    let schemas = &[&SCHEMA, &IMPORTED];
    let store = Store::open(StoreOptions { schemas, reserve: 0, ..options }).unwrap();
    (folder, Arc::new(Records::new(&store, "test1")))
}

fn chain(numbers: &[u8]) -> Chain {
    Chain::new(numbers.iter().map(|number| SnapshotId::from_bytes([*number; 16])).collect())
}

fn new(definition: &str, content: Option<&str>, layers: &[u8]) -> NewRecord {
    let (definition, content) = (PreImage::text(definition), content.map(PreImage::text));
    NewRecord {
        name: "[1/2] RUN x".to_owned(),
        canonical: content.as_ref().unwrap_or(&definition).key(),
        definition: Some(definition),
        content,
        chain: chain(layers),
        started: 1_700_000_000_000_000_000,
        took: Duration::from_millis(1500),
        usage: Usage { cpu: Some(Duration::from_millis(7)), peak_memory: Some(9), bytes: None },
        log: None,
    }
}

fn definition(text: &str) -> LookUp {
    LookUp { key: PreImage::text(text).key(), kind: KeyKind::Definition }
}

fn content(text: &str) -> LookUp {
    LookUp { kind: KeyKind::Content, ..definition(text) }
}

/// What a store has, as a catalog; layers are named by the first byte of their snapshots.
fn exported(records: &Records, ids: &[RecordId]) -> Catalog {
    let mut catalog = Catalog::default();
    for travelling in records.travelling(ids).unwrap().into_iter().flatten() {
        let mut record = described(&travelling);
        record.layers = travelling.chain.map(|chain| {
            let place = |layer: &SnapshotId| {
                let byte = layer.as_bytes()[0];
                let layer = Layer {
                    diff_id: DiffId::from_bytes([byte; 32]),
                    blob: Some(Blob {
                        media_type: "application/vnd.oci.image.layer.v1.tar".to_owned(),
                        digest: BlobDigest::from_bytes([byte; 32]),
                        size: 1,
                    }),
                    encoding: None,
                    standing: Standing::OnOthers,
                };
                let at = catalog.layers.iter().position(|known| *known == layer).unwrap_or_else(|| {
                    catalog.layers.push(layer);
                    catalog.layers.len() - 1
                });
                at as u32
            };
            chain.layers().iter().map(place).collect()
        });
        catalog.records.push(record);
    }
    catalog.check().expect("what is exported is sound");
    catalog
}

fn imports(records: &Arc<Records>, catalog: Catalog) -> Imports {
    let cache: Arc<dyn Backend> = Arc::new(Paper("paper"));
    Imports::new(Arc::clone(records), vec![(cache, catalog)])
}

fn find(imports: &Imports, question: LookUp) -> Option<Found> {
    imports.look_up(&[question]).unwrap().remove(0)
}

#[test]
fn what_another_store_has_is_found_and_is_elsewhere_until_it_comes() {
    let (_a, ours) = records();
    let low = ours.remember(&new("low", None, &[1])).unwrap();
    let high = ours.remember(&new("high", Some("bytes"), &[1, 2])).unwrap();
    ours.add_alias(&PreImage::text("alias"), high).unwrap();
    let catalog = exported(&ours, &[low, high]);

    let (_b, theirs) = records();
    let imports = imports(&theirs, catalog);
    assert_eq!(find(&imports, definition("unknown")), None);
    let found = find(&imports, definition("low")).unwrap();
    assert_eq!((found.place.clone(), found.canonical), (Place::Elsewhere, definition("low").key));
    let top = find(&imports, definition("alias")).unwrap();
    assert_eq!((top.place, top.canonical), (Place::Elsewhere, content("bytes").key));
    assert_eq!(find(&imports, content("bytes")).unwrap().record, top.record, "it is adopted once");
    assert_eq!(imports.wanted(top.record).unwrap().layers.len(), 2);
    let details = theirs.details(top.record).unwrap().unwrap();
    let original = ours.details(high).unwrap().unwrap();
    assert_eq!(
        (details.name, details.started, details.took),
        (original.name, original.started, original.took)
    );
    assert_eq!(details.usage, original.usage);
    let source = theirs.store().read(|tx| -> Result<String, DatabaseError> {
        Ok(tx.query_row("SELECT source FROM imported WHERE record = ?1", [top.record.0], |row| row.get(0))?)
    });
    assert_eq!(source.unwrap(), "paper");

    // Its stack holds that of the lower one.
    let stamp = theirs.store().stamp();
    theirs.store().write(|tx| remember_snapshots(tx, chain(&[7, 8]).layers(), "test1", None, stamp)).unwrap();
    imports.came(top.record, &chain(&[7, 8])).unwrap();
    assert_eq!(find(&imports, definition("high")).unwrap().place, Place::Here(chain(&[7, 8])));
    assert_eq!(find(&imports, definition("low")).unwrap().place, Place::Here(chain(&[7])));
    // From now on the store knows it without the cache.
    let found = theirs.find(&[content("bytes")]).unwrap().remove(0).unwrap();
    assert_eq!(found.chain(), Some(&chain(&[7, 8])));
}

#[test]
fn what_the_store_made_itself_is_never_replaced() {
    let (_a, evil) = records();
    let lie = evil.remember(&new("step", None, &[66])).unwrap();
    let other = evil.remember(&new("other", Some("bytes"), &[67])).unwrap();
    let catalog = exported(&evil, &[lie, other]);

    let (_b, ours) = records();
    let honest = ours.remember(&new("step", None, &[1])).unwrap();
    let same = ours.remember(&new("known", Some("bytes"), &[2])).unwrap();
    let imports = imports(&ours, catalog);
    assert_eq!(find(&imports, definition("step")).unwrap().place, Place::Here(chain(&[1])));
    let by_content = find(&imports, definition("other")).unwrap();
    assert_eq!(
        (by_content.record, by_content.place),
        (same, Place::Here(chain(&[2]))),
        "equal content is not fetched"
    );
    // A result whose tree is gone is fetched only if it stands for the same.
    ours.forget_tree(honest).unwrap();
    assert_eq!(
        find(&imports, definition("step")).unwrap(),
        Found { record: honest, canonical: definition("step").key, place: Place::Elsewhere }
    );
    let twisted =
        ours.remember(&NewRecord { canonical: definition("own").key, ..new("step", None, &[3]) }).unwrap();
    ours.forget_tree(twisted).unwrap();
    assert_eq!(find(&imports, definition("step")).unwrap().place, Place::Gone);
}

#[test]
fn a_result_that_is_given_up_is_gone_and_the_others_stay() {
    let (_a, ours) = records();
    let low = ours.remember(&new("low", None, &[1])).unwrap();
    let high = ours.remember(&new("high", None, &[1, 2])).unwrap();
    let catalog = exported(&ours, &[low, high]);
    let (_b, theirs) = records();
    let imports = imports(&theirs, catalog);
    let found = find(&imports, definition("high")).unwrap();
    imports.give_up(found.record);
    assert_eq!(find(&imports, definition("high")).unwrap(), Found { place: Place::Gone, ..found });
    assert_eq!(find(&imports, definition("low")).unwrap().place, Place::Elsewhere);
}

#[test]
fn a_cache_that_is_left_out_leaves_nothing() {
    let (_a, ours) = records();
    let id = ours.remember(&new("a", None, &[1])).unwrap();
    let catalog = exported(&ours, &[id]);
    let (_b, theirs) = records();
    let imports = imports(&theirs, catalog);
    let found = find(&imports, definition("a")).unwrap();
    assert_eq!(imports.drop_source(0).unwrap(), "paper");
    assert_eq!(find(&imports, definition("a")), None);
    assert!(imports.is_empty() && imports.wanted(found.record).is_none());
    assert_eq!(theirs.details(found.record).unwrap(), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// Whatever a store has, another that imports it finds under the same keys with the same costs, and exports again.
    #[test]
    fn what_is_imported_is_what_was_exported(
        steps in prop::collection::vec((0_u8..6, prop::option::of(0_u8..4), prop::collection::vec(1_u8..5, 0..4), any::<bool>()), 1..8),
    ) {
        let (_a, ours) = records();
        let mut ids = Vec::new();
        for (definition, content, layers, has_tree) in &steps {
            let content = content.map(|content| format!("c{content}"));
            let id = ours.remember(&new(&format!("d{definition}"), content.as_deref(), layers)).unwrap();
            if !has_tree {
                ours.forget_tree(id).unwrap();
            }
            ids.push(id);
        }
        // Of a key that was claimed again only the last claim counts.
        ids.retain(|id| ours.travelling(&[*id]).unwrap()[0].as_ref().is_some_and(|found| !found.keys.is_empty()));
        let catalog = exported(&ours, &ids);
        let read = Catalog::parse(&catalog.to_bytes()).unwrap();
        prop_assert_eq!(&read, &catalog);

        let (_b, theirs) = records();
        let imports = imports(&theirs, read);
        let mut adopted = Vec::new();
        for record in &catalog.records {
            let mut found = None;
            for (kind, key) in record.keys() {
                let hit = find(&imports, LookUp { key, kind }).expect("it is in the catalog");
                prop_assert_eq!(hit.canonical, record.canonical);
                let place = if record.layers.is_some() { Place::Elsewhere } else { Place::Gone };
                prop_assert_eq!(&hit.place, &place);
                prop_assert_eq!(found.get_or_insert(hit.record), &hit.record);
            }
            adopted.extend(found);
        }
        // Exported again without its trees it has the same records, which are where they were.
        let mut again = exported(&theirs, &adopted);
        for (record, id) in again.records.iter_mut().zip(&adopted) {
            prop_assert!(record.layers.is_none());
            let stack = imports.wanted(*id).map(|wanted| wanted.layers);
            record.layers = stack.map(|stack| {
                let place = |layer: &Layer| catalog.layers.iter().position(|known| known == layer).expect("known") as u32;
                stack.iter().map(place).collect()
            });
        }
        again.layers.clone_from(&catalog.layers);
        prop_assert_eq!(again, catalog);
    }
}
