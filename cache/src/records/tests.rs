use std::fs;
use std::path::Path;

use rbuild_model::event::Hit;
use rbuild_model::key::ContentHash;
use rbuild_model::snapshot::Chain;
use rbuild_solver::index::{Place, conformance};
use rbuild_solver::{Miss, Origin};
use rbuild_store::collect::{Candidate, Collected, Orphans, Policy, Sweep, SweepError, Verdict};
use rbuild_store::doctor::Finding;
use rbuild_store::{StoreOptions, process};
use tempfile::TempDir;

use super::builds::{BuildResult, KEPT_BUILDS, LineageLine, NewBuild};
use super::look_up::find_one;
use super::sweep::{RecordTrees, SnapshotTrees};
use super::*;
use crate::saved::StepLogs;

mod nodes;
mod waves;

const OWNERS: &[&dyn Collected] = &[&RecordTrees, &SnapshotTrees];

fn store(folder: &Path) -> Store {
    let options = StoreOptions::new(folder.join("root"), folder.join("run"), "rbuild test");
    Store::open(StoreOptions { schemas: &[&SCHEMA], reserve: 0, ..options }).unwrap()
}

fn place() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    (folder, store)
}

fn snapshot(number: u8) -> SnapshotId {
    SnapshotId::from_bytes([number; 16])
}

fn chain(numbers: &[u8]) -> Chain {
    Chain::new(numbers.iter().map(|number| snapshot(*number)).collect())
}

fn durable(store: &Store, numbers: &[u8]) -> bool {
    store.read(|transaction| super::is_durable(transaction, &chain(numbers))).unwrap()
}

fn record(definition: &str, numbers: &[u8]) -> NewRecord {
    let image = PreImage::fields([
        ("argv", PreImage::texts([definition])),
        ("env", PreImage::List(vec![PreImage::guarded(format!("SECRET={definition}"))])),
        ("content", PreImage::Content(node_hash(numbers[0]))),
    ]);
    NewRecord {
        name: format!("RUN {definition}"),
        canonical: image.key(),
        definition: Some(image),
        content: None,
        chain: chain(numbers),
        started: 1_700_000_000_000_000_000,
        took: Duration::from_millis(1500),
        usage: Usage { cpu: Some(Duration::from_millis(900)), peak_memory: Some(1 << 20), bytes: Some(100) },
        log: Some("a.log".to_owned()),
    }
}

fn node_hash(number: u8) -> ContentHash {
    ContentHash::from_bytes([number; 32])
}

fn look_up(new: &NewRecord) -> LookUp {
    LookUp { key: new.definition.as_ref().unwrap().key(), kind: KeyKind::Definition }
}

fn find(records: &Records, new: &NewRecord) -> Option<Found> {
    records.find(&[look_up(new)]).unwrap().remove(0)
}

/// Makes the tree that a snapshot row speaks of.
fn make_tree(store: &Store, number: u8) {
    let path = store.layout().snapshots("test1").join(snapshot(number).to_string());
    fs::create_dir_all(path.join("fs")).unwrap();
}

fn count(store: &Store, table: &str) -> i64 {
    store
        .read(|transaction| -> Result<i64, DatabaseError> {
            Ok(transaction.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?)
        })
        .unwrap()
}

#[test]
fn conforms() {
    let (_folder, store) = place();
    conformance::suite(&Records::new(&store, "test1"));
}

#[test]
fn results_are_found_by_another_process_and_after_the_first_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let new = record("make", &[1, 2, 3]);
    let one = store(folder.path());
    let id = Records::new(&one, "test1").remember(&new).unwrap();
    let two = store(folder.path());
    let found = find(&Records::new(&two, "test1"), &new).unwrap();
    assert_eq!(found, Found { record: id, canonical: new.canonical, place: Place::Here(chain(&[1, 2, 3])) });
    drop((one, two));
    let three = store(folder.path());
    let records = Records::new(&three, "test1");
    assert_eq!(find(&records, &new).unwrap().record, id);
    let details = records.details(id).unwrap().unwrap();
    assert_eq!((details.name.as_str(), details.took, &details.usage), ("RUN make", new.took, &new.usage));
    assert_eq!(
        (details.started, details.log.as_deref(), details.has_tree),
        (new.started, Some("a.log"), true)
    );
    let ends = records.ends(&[id, RecordId(id.0 + 1)]).unwrap();
    assert_eq!(ends, [(id, new.started + 1_500_000_000)].into());
}

#[test]
fn the_empty_root_is_a_tree() {
    let (_folder, store) = place();
    let records = Records::new(&store, "test1");
    let new = NewRecord { chain: Chain::empty(), ..record("nothing", &[9]) };
    records.remember(&new).unwrap();
    assert_eq!(find(&records, &new).unwrap().place, Place::Here(Chain::empty()));
}

#[test]
fn pre_images_come_back_and_secrets_stand_apart() {
    let (_folder, store) = place();
    let records = Records::new(&store, "test1");
    let new = record("make", &[1]);
    records.remember(&new).unwrap();
    let key = new.canonical;
    let image = records.pre_image(key).unwrap().unwrap();
    assert_eq!(image.key(), key, "what is read back is what was hashed");
    let body: String = store
        .read(|transaction| -> Result<String, DatabaseError> {
            Ok(transaction.query_row("SELECT body FROM pre_images", [], |row| row.get(0))?)
        })
        .unwrap();
    assert!(!body.contains("SECRET"), "{body}");
    let mut values = Vec::new();
    image.guarded_values(&mut values);
    assert_eq!(records.value(values[0]).unwrap().as_deref(), Some("SECRET=make"));
    assert_eq!(records.pre_image(PreImage::Absent.key()).unwrap(), None);
}

#[test]
fn swept_trees_leave_tombstones_for_builds_and_nothing_otherwise() {
    let (_folder, store) = place();
    let records = Records::new(&store, "test1");
    let (named, nameless) = (record("named", &[1, 2]), record("nameless", &[1, 3]));
    let id = records.remember(&named).unwrap();
    records.remember(&nameless).unwrap();
    (1..=3).for_each(|number| make_tree(&store, number));
    let line = LineageLine {
        stage: "build".to_owned(),
        note: "RUN named".to_owned(),
        record: Some(id),
        origin: Some(Origin::Ran(Miss::Unknown)),
    };
    let build = NewBuild {
        project: "p".to_owned(),
        target: String::new(),
        started: 5,
        took: Duration::from_secs(2),
        result: BuildResult::Succeeded,
        lineage: vec![line.clone()],
        tried: None,
    };
    let build_id = records.remember_build(&build).unwrap();

    let report = store.sweep(OWNERS, &Policy::default(), Sweep::Take).unwrap();
    assert_eq!(report.swept, [], "what this process found or made is leased");
    records.release().unwrap();
    let keep = Policy { used_since: Some(0), keep_bytes: None };
    assert_eq!(store.sweep(OWNERS, &keep, Sweep::Take).unwrap().swept, []);

    let dry = store.sweep(OWNERS, &Policy::default(), Sweep::Dry).unwrap();
    let report = store.sweep(OWNERS, &Policy::default(), Sweep::Take).unwrap();
    assert_eq!(report.swept, dry.swept);
    assert_eq!((report.swept.len(), report.bytes), (5, 200), "two records and three snapshots");
    assert!(report.failures.is_empty(), "{:?}", report.failures);
    assert_eq!(fs::read_dir(store.layout().snapshots("test1")).unwrap().count(), 0);

    let found = find(&records, &named).unwrap();
    assert_eq!((found.record, found.place), (id, Place::Gone), "a tombstone matches without bytes");
    assert_eq!(find(&records, &nameless), None);
    assert_eq!(records.lineage(build_id).unwrap(), [line]);
    assert_eq!((count(&store, "chains"), count(&store, "snapshots"), count(&store, "pre_images")), (1, 0, 1));
    assert_eq!(count(&store, "guarded_values"), 1);
    assert_eq!(store.doctor(OWNERS).unwrap(), []);
}

#[test]
fn a_snapshot_that_another_record_stands_on_stays() {
    let (_folder, store) = place();
    let records = Records::new(&store, "test1");
    records.remember(&record("old", &[1, 2])).unwrap();
    records.remember(&record("new", &[1, 3])).unwrap();
    records.release().unwrap();
    (1..=3).for_each(|number| make_tree(&store, number));
    let policy = Policy { used_since: None, keep_bytes: Some(150) };
    let report = store.sweep(OWNERS, &policy, Sweep::Take).unwrap();
    assert_eq!(report.swept.len(), 2, "the older record and its own snapshot: {:?}", report.swept);
    assert_eq!(find(&records, &record("new", &[1, 3])).unwrap().place, Place::Here(chain(&[1, 3])));
    assert_eq!(store.doctor(OWNERS).unwrap(), []);
}

#[test]
fn a_missing_snapshot_buries_all_that_stand_on_it() {
    let (_folder, store) = place();
    let records = Records::new(&store, "test1");
    let (low, high, other) = (record("low", &[1, 2]), record("high", &[1, 2, 3]), record("other", &[1, 4]));
    for new in [&low, &high, &other] {
        records.remember(new).unwrap();
    }
    records.forget_snapshot(snapshot(2)).unwrap();
    assert_eq!(find(&records, &low).unwrap().place, Place::Gone);
    assert_eq!(find(&records, &high).unwrap().place, Place::Gone);
    assert_eq!(find(&records, &other).unwrap().place, Place::Here(chain(&[1, 4])));
    assert_eq!((count(&store, "snapshots"), count(&store, "chains")), (3, 3));

    let id = find(&records, &other).unwrap().record;
    assert!(records.forget_tree(id).unwrap());
    assert!(!records.forget_tree(id).unwrap());
    assert_eq!(count(&store, "chains"), 1);
    let again = records.remember(&other).unwrap();
    assert_eq!(find(&records, &other).unwrap().record, again, "a result that was made again is found");
}

/// Lets everything that is not promoted look as if it had been written before the machine went down.
fn age(store: &Store) {
    store
        .write(|transaction| -> Result<(), DatabaseError> {
            for table in ["records", "snapshots"] {
                transaction.execute(
                    &format!(
                        "UPDATE {table} SET unsynced = CAST(zeroblob(24) AS BLOB) WHERE unsynced IS NOT NULL"
                    ),
                    [],
                )?;
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn after_a_power_loss_only_what_was_promoted_is_believed() {
    let folder = tempfile::tempdir().unwrap();
    let (safe, lost, upon) = (record("safe", &[1]), record("lost", &[1, 2]), record("upon", &[1, 2, 3]));
    {
        let store = store(folder.path());
        let records = Records::new(&store, "test1");
        records.remember(&safe).unwrap();
        assert!(!durable(&store, &[1]));
        assert_eq!(store.promote().unwrap().rows, 2);
        records.remember(&lost).unwrap();
        assert_eq!((durable(&store, &[1]), durable(&store, &[1, 2])), (true, false));
        assert!(durable(&store, &[]) && !durable(&store, &[9]), "nothing is safe, what is not there is not");
        // A promotion that sees the upper record and not the lower snapshot must not make it believable.
        records.remember(&upon).unwrap();
        store
            .write(|transaction| -> Result<(), DatabaseError> {
                transaction.execute("UPDATE records SET unsynced = NULL WHERE name = 'RUN upon'", [])?;
                Ok(())
            })
            .unwrap();
        age(&store);
    }
    let link = folder.path().join("root/run");
    let text = fs::read_link(&link).unwrap().into_os_string().into_string().unwrap();
    fs::remove_file(&link).unwrap();
    let (_, rest) = text.split_once(':').unwrap();
    std::os::unix::fs::symlink(format!("{}:{rest}", "0".repeat(32)), &link).unwrap();

    let store = store(folder.path());
    let records = Records::new(&store, "test1");
    assert_eq!(find(&records, &safe).unwrap().place, Place::Here(chain(&[1])));
    assert_eq!(find(&records, &lost), None);
    assert_eq!(find(&records, &upon).unwrap().place, Place::Gone, "its tree stood on one that is lost");
    assert_eq!((count(&store, "snapshots"), count(&store, "chains")), (1, 2));
    assert_eq!(store.database().check().unwrap(), [] as [String; 0]);
}

#[test]
fn the_last_fifty_builds_of_a_project_are_kept() {
    let (_folder, store) = place();
    let records = Records::new(&store, "test1");
    let build = |project: &str, record: Option<RecordId>| NewBuild {
        project: project.to_owned(),
        target: "web".to_owned(),
        started: 1,
        took: Duration::from_secs(1),
        result: BuildResult::Failed,
        lineage: vec![LineageLine {
            stage: String::new(),
            note: "RUN x".to_owned(),
            record,
            origin: Some(Origin::Found(Hit::Definition)),
        }],
        tried: None,
    };
    let old = records.remember(&record("old", &[1])).unwrap();
    let first = records.remember_build(&build("p", Some(old))).unwrap();
    records.remember_build(&build("q", None)).unwrap();
    let project_of = |number| records.project_of(snapshot(number)).unwrap();
    assert_eq!((project_of(1).as_deref(), project_of(2)), (Some("p"), None));
    records.forget_tree(old).unwrap();
    assert_eq!(project_of(1), None);
    assert!(records.details(old).unwrap().is_some(), "the tombstone stays while a build names it");
    for _ in 0..KEPT_BUILDS {
        records.remember_build(&build("p", None)).unwrap();
    }
    let kept = records.builds("p").unwrap();
    assert_eq!(kept.len(), KEPT_BUILDS);
    assert!(
        kept.windows(2).all(|pair| pair[0].id > pair[1].id) && kept.iter().all(|build| build.id != first)
    );
    assert_eq!(records.builds("q").unwrap().len(), 1);
    assert_eq!(records.details(old).unwrap(), None);
    assert_eq!(records.lineage(first).unwrap(), []);
    let unknown = records.remember_build(&build("q", Some(RecordId(999)))).unwrap();
    assert_eq!(records.lineage(unknown).unwrap()[0].record, None);
}

#[test]
fn what_was_found_is_leased_in_the_same_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let maker = store(folder.path());
    let new = record("make", &[1]);
    let id = Records::new(&maker, "test1").remember(&new).unwrap();
    let leased = |store: &Store| {
        store.read(|transaction| process::is_leased(transaction, ObjectKind::RECORD, &object_of(id))).unwrap()
    };
    assert!(!leased(&maker), "the lease went with the index");
    let user = store(folder.path());
    let records = Records::new(&user, "test1");
    assert!(find(&records, &new).is_some());
    assert!(leased(&maker));
    let report = maker.sweep(OWNERS, &Policy::default(), Sweep::Take).unwrap();
    assert_eq!(report.swept, []);
    drop(records);
    assert!(!leased(&maker));
}

#[test]
fn a_snapshot_without_its_tree_and_a_tree_without_its_row_are_found() {
    let (_folder, store) = place();
    let records = Records::new(&store, "test1");
    records.remember(&record("make", &[1])).unwrap();
    make_tree(&store, 7);
    let folder = store.layout().snapshots("test1");
    let mut findings = store.doctor(OWNERS).unwrap();
    findings.sort_by_key(|finding| format!("{finding:?}"));
    assert_eq!(
        findings,
        [
            Finding::Missing { path: folder.join(snapshot(1).to_string()) },
            Finding::Orphan { path: folder.join(snapshot(7).to_string()) },
        ]
    );
}

#[test]
fn many_processes_remember_the_same_and_agree() {
    let folder = tempfile::tempdir().unwrap();
    let new = record("make", &[1, 2]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let store = store(folder.path());
            let new = &new;
            scope.spawn(move || {
                let records = Records::new(&store, "test1");
                for _ in 0..10 {
                    records.remember(new).unwrap();
                    assert_eq!(find(&records, new).unwrap().place, Place::Here(chain(&[1, 2])));
                }
            });
        }
    });
    let store = store(folder.path());
    assert_eq!((count(&store, "records"), count(&store, "keys"), count(&store, "chains")), (40, 1, 3));
}

#[test]
fn logs_live_as_long_as_a_record_names_them_or_their_writer_lives() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, sweeper) = (store(folder.path()), store(folder.path()));
    let records = Records::new(&writer, "test1");
    let (logs, own) = (writer.layout().logs(), writer.process_id().unwrap());
    let (name, path) = (format!("{own}-1.log"), logs.join(format!("{own}-1.log")));
    fs::write(&path, "hello\n").unwrap();
    let unnamed = logs.join(format!("{own}-2.log"));
    fs::write(&unnamed, "half").unwrap();
    let id = records.remember(&NewRecord { log: Some(name.clone()), ..record("make", &[1]) }).unwrap();
    let other = Records::new(&sweeper, "test1");
    let sweep = || {
        let (owners, policy): (&[&dyn Collected], _) = (&[&RecordTrees, &StepLogs], Policy::default());
        let only_logs = |kind, _: &_| kind == ObjectKind::LOG;
        sweeper.sweep_chosen(owners, &policy, &only_logs, Sweep::Take).unwrap().swept.len()
    };
    assert_eq!(sweep(), 0, "the writer lives");
    drop((records, writer));
    assert_eq!(sweep(), 1);
    assert!(path.exists() && !unnamed.exists());
    assert_eq!(other.details(id).unwrap().unwrap().log.unwrap(), name);
    other.forget_tree(id).unwrap();
    sweeper.write(builds::bury).unwrap();
    assert_eq!(sweep(), 1);
    assert!(!path.exists());
}

/// An owner of one thing, whose going is the moment at which something is done.
struct Meanwhile<'a>(&'a (dyn Fn() + Sync));

impl Collected for Meanwhile<'_> {
    fn kind(&self) -> ObjectKind {
        ObjectKind::INDEX
    }

    fn survey(&self, _: &Store) -> Result<Vec<Candidate>, SweepError> {
        Ok(vec![Candidate::new(b"moment".to_vec(), 0)])
    }

    fn condemn(&self, _: &Transaction<'_>, _: &[u8]) -> Result<Verdict, DatabaseError> {
        Ok(Verdict::Condemned)
    }

    fn reclaim(&self, _: &Store, _: &[u8]) -> Result<(), SweepError> {
        (self.0)();
        Ok(())
    }
}

#[test]
fn a_record_that_is_found_while_a_sweep_begins_keeps_its_log() {
    let folder = tempfile::tempdir().unwrap();
    let (writer, sweeper) = (store(folder.path()), store(folder.path()));
    let name = format!("{}-1.log", writer.process_id().unwrap());
    let path = writer.layout().logs().join(&name);
    fs::write(&path, "hello\n").unwrap();
    let new = NewRecord { log: Some(name), ..record("make", &[1]) };
    Records::new(&writer, "test1").remember(&new).unwrap();
    drop(writer);
    let user = Records::new(&sweeper, "test1");
    let look = || assert!(find(&user, &new).is_some());
    let owners: [&dyn Collected; 3] = [&Meanwhile(&look), &RecordTrees, &StepLogs];
    let swept = sweeper.sweep(&owners, &Policy::default(), Sweep::Take).unwrap().swept;
    assert_eq!(swept.iter().map(|swept| swept.kind).collect::<Vec<_>>(), [ObjectKind::INDEX]);
    assert!(path.exists());
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Act {
        Remember(u8, Vec<u8>),
        ForgetTree(u8),
        ForgetSnapshot(u8),
        Build(Vec<u8>),
        Release,
        Sweep(Option<u64>),
        Promote,
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let name = 0..6_u8;
        let act = prop_oneof![
            5 => (name.clone(), prop::collection::vec(1..6_u8, 0..4)).prop_map(|(name, mut numbers)| {
                numbers.sort_unstable();
                numbers.dedup();
                Act::Remember(name, numbers)
            }),
            1 => name.clone().prop_map(Act::ForgetTree),
            1 => (1..6_u8).prop_map(Act::ForgetSnapshot),
            1 => prop::collection::vec(name, 0..3).prop_map(Act::Build),
            1 => Just(Act::Release),
            2 => prop::option::of(0..400_u64).prop_map(Act::Sweep),
            1 => Just(Act::Promote),
        ];
        prop::collection::vec(act, 1..25)
    }

    fn new_record(name: u8, numbers: &[u8]) -> NewRecord {
        let mut new = record(&format!("r{name}"), &[name]);
        new.chain = chain(numbers);
        new
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
        #[test]
        fn whatever_is_done_trees_stand_on_known_snapshots_and_nothing_is_loose(acts in acts()) {
            let (_folder, store) = place();
            let records = Records::new(&store, "test1");
            let mut latest: std::collections::HashMap<u8, (RecordId, Vec<u8>)> = std::collections::HashMap::new();
            for act in acts {
                match act {
                    Act::Remember(name, numbers) => {
                        let id = records.remember(&new_record(name, &numbers)).unwrap();
                        latest.insert(name, (id, numbers));
                    }
                    Act::ForgetTree(name) => {
                        if let Some((id, _)) = latest.get(&name) {
                            records.forget_tree(*id).unwrap();
                        }
                    }
                    Act::ForgetSnapshot(number) => records.forget_snapshot(snapshot(number)).unwrap(),
                    Act::Build(names) => {
                        let line = |name: u8| LineageLine {
                            stage: String::new(),
                            note: name.to_string(),
                            record: latest.get(&name).map(|(id, _)| *id),
                            origin: Some(Origin::Found(Hit::Definition)),
                        };
                        records.remember_build(&NewBuild {
                            project: "p".to_owned(),
                            target: String::new(),
                            started: 0,
                            took: Duration::ZERO,
                            result: BuildResult::Succeeded,
                            lineage: names.into_iter().map(line).collect(),
                            tried: None,
                        }).unwrap();
                    }
                    Act::Release => records.release().unwrap(),
                    Act::Sweep(keep_bytes) => {
                        let policy = Policy { used_since: None, keep_bytes };
                        let report = store.sweep(OWNERS, &policy, Sweep::Take).unwrap();
                        prop_assert!(report.failures.is_empty());
                    }
                    Act::Promote => {
                        store.promote().unwrap();
                    }
                }
                for (name, (id, numbers)) in &latest {
                    let new = new_record(*name, numbers);
                    let Some(found) = store
                        .read(|transaction| find_one(transaction, &look_up(&new)))
                        .unwrap()
                        .map(|hit| hit.found)
                    else {
                        continue;
                    };
                    prop_assert_eq!(found.record, *id, "the latest claim wins");
                    if let Place::Here(found) = found.place {
                        prop_assert_eq!(found, chain(numbers));
                    }
                }
            }
            prop_assert_eq!(store.database().check().unwrap(), [] as [String; 0]);
            let loose: i64 = store.read(|transaction| -> Result<i64, DatabaseError> {
                Ok(transaction.query_row(
                    "SELECT count(*) FROM chains WHERE id <> 0 \
                     AND id NOT IN (SELECT chain FROM records) AND id NOT IN (SELECT parent FROM chains WHERE id <> 0)",
                    [],
                    |row| row.get(0),
                )?)
            }).unwrap();
            prop_assert_eq!(loose, 0);
            // With nothing leased and nothing kept, every tree and every snapshot goes.
            records.release().unwrap();
            store.sweep(OWNERS, &Policy::default(), Sweep::Take).unwrap();
            prop_assert_eq!((count(&store, "snapshots"), count(&store, "chains")), (0, 1));
        }
    }
}

#[test]
fn builds_of_the_first_form_are_read_without_origins() {
    const FIRST: rbuild_store::Schema =
        rbuild_store::Schema { name: SCHEMA.name, migrations: &[SCHEMA.migrations[0]], promotable: &[] };
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions::new(folder.path().join("root"), folder.path().join("run"), "rbuild test");
    let old = Store::open(StoreOptions { schemas: &[&FIRST], reserve: 0, ..options }).unwrap();
    old.write(|transaction| -> Result<(), DatabaseError> {
        transaction.execute_batch(
            "INSERT INTO builds VALUES (1, 'p', 'web', 5, 6, 0); INSERT INTO lineage VALUES (1, 0, 's', 'RUN x', NULL, 1);",
        )?;
        Ok(())
    })
    .unwrap();
    drop(old);
    let store = store(folder.path());
    let records = Records::new(&store, "test1");
    let builds = records.builds("p").unwrap();
    assert_eq!((builds.len(), builds[0].result), (1, BuildResult::Failed));
    let line = LineageLine { stage: "s".to_owned(), note: "RUN x".to_owned(), record: None, origin: None };
    assert_eq!(records.lineage(builds[0].id).unwrap(), std::slice::from_ref(&line));
    let stopped = NewBuild {
        project: "p".to_owned(),
        target: String::new(),
        started: 7,
        took: Duration::ZERO,
        result: BuildResult::Cancelled,
        lineage: vec![line],
        tried: None,
    };
    records.remember_build(&stopped).unwrap();
    assert_eq!(records.builds("p").unwrap()[0].result, BuildResult::Cancelled);
}

#[test]
fn snapshots_that_nobody_leased_or_recorded_go_while_others_work() {
    let (folder, own) = place();
    let other = store(folder.path());
    other.work_folder().unwrap();
    let lease = other.lease("a step").unwrap();
    other.write(|tx| lease.protect(tx, &[(ObjectKind::SNAPSHOT, snapshot(1).as_bytes())])).unwrap();
    (1..=3).for_each(|number| make_tree(&own, number));
    let records = Records::new(&own, "test1");
    records.remember(&record("kept", &[3])).unwrap();
    let left = || {
        let entries = fs::read_dir(own.layout().snapshots("test1")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let named =
        |numbers: &[u8]| numbers.iter().map(|number| snapshot(*number).to_string()).collect::<Vec<_>>();
    assert_eq!(own.discard_orphans(OWNERS).unwrap(), Orphans::Gone);
    assert_eq!(left(), named(&[1, 3]), "what is about to be recorded is leased");
    drop(lease);
    own.discard_orphans(OWNERS).unwrap();
    assert_eq!(left(), named(&[3]));
}

#[test]
fn what_is_measured_later_counts() {
    let (_folder, store) = place();
    let records = Records::new(&store, "test1");
    let unmeasured = |name: &str, number: u8| {
        let made = record(name, &[number]);
        let id = records.remember(&NewRecord { usage: Usage { bytes: None, ..made.usage }, ..made }).unwrap();
        make_tree(&store, number);
        id
    };
    let (old, new) = (unmeasured("old", 1), unmeasured("new", 2));
    records.measured(old, snapshot(1), 3000).unwrap();
    records.measured(new, snapshot(2), 2000).unwrap();
    assert_eq!(records.details(new).unwrap().unwrap().usage.bytes, Some(2000));
    records.release().unwrap();
    let dry = store.sweep(OWNERS, &Policy::default(), Sweep::Dry).unwrap();
    assert_eq!(dry.bytes, 5000);
    let policy = |keep_bytes| Policy { used_since: None, keep_bytes: Some(keep_bytes) };
    assert_eq!(store.sweep(OWNERS, &policy(5000), Sweep::Take).unwrap().bytes, 0);
    assert_eq!(store.sweep(OWNERS, &policy(4999), Sweep::Take).unwrap().bytes, 3000, "the older one goes");
    assert_eq!(store.sweep(OWNERS, &policy(1), Sweep::Take).unwrap().bytes, 2000);
}
