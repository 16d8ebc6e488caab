use super::*;

fn error(options: StoreOptions) -> String {
    Store::open(options).map(|store| format!("{store:?}")).unwrap_err().to_string()
}

#[test]
fn a_new_store_is_the_drawn_tree() {
    let place = Place::new();
    let store = place.open();
    let mut found: Vec<String> = fs::read_dir(place.root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("db.sqlite-"))
        .collect();
    found.sort();
    assert_eq!(
        found.join(" "),
        "bad blobs containers db.sqlite events index lock logs meta.json mounts reserve run snapshots tmp trash volumes"
    );
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&place.root()), 0o700);
    assert_eq!(mode(store.layout().run()), 0o700);
    assert_eq!(mode(&store.layout().database()), 0o600);
    assert_eq!(mode(&place.root().join("db.sqlite-wal")), 0o600);
    assert_eq!(fs::metadata(store.layout().reserve()).unwrap().len(), 64 * 1024);
    assert_eq!(store.layout().run().file_name().unwrap().to_str().unwrap(), store.id().short());
    assert_eq!(store.doctor(&[]).unwrap(), []);
}

#[test]
fn opening_again_finds_the_same_store_and_writes_nothing() {
    let place = Place::new();
    let first = place.open();
    add_note(&first, "a", None);
    let id = first.id();
    drop(first);
    let stamp = |path: &Path| {
        let stat = fs::metadata(path).unwrap();
        (stat.ino(), stat.mtime(), stat.mtime_nsec(), stat.len())
    };
    let root = place.root();
    let watched = [root.clone(), root.join("meta.json"), root.join("db.sqlite"), root.join("db.sqlite-wal")];
    let before: Vec<_> = watched.iter().map(|path| stamp(path)).collect();
    let second = place.open();
    assert_eq!(second.id(), id);
    assert_eq!(notes(&second), ["a"]);
    drop(second);
    assert_eq!(watched.iter().map(|path| stamp(path)).collect::<Vec<_>>(), before);
}

#[test]
fn rivals_agree_on_one_new_store() {
    let place = Place::new();
    let ids: Vec<StoreId> = std::thread::scope(|scope| {
        let openers: Vec<_> = (0..6).map(|_| scope.spawn(|| place.open().id())).collect();
        openers.into_iter().map(|opener| opener.join().unwrap()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn folders_that_cannot_be_trusted_are_refused() {
    let place = Place::new();
    drop(place.open());
    let root = place.root();
    for (mode, expected) in [(0o770, "(mode 0770)"), (0o702, "(mode 0702)")] {
        fs::set_permissions(&root, fs::Permissions::from_mode(mode)).unwrap();
        let text = error(place.options());
        assert!(text.contains(expected) && text.contains(root.to_str().unwrap()), "{text}");
    }
    fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).unwrap();

    if rbuild_testkit::privilege::is_root("a foreign root, which only root can make") {
        std::os::unix::fs::chown(&root, Some(12345), None).unwrap();
        let text = error(place.options());
        assert!(text.contains("belongs to user 12345, and this is user 0"), "{text}");
        std::os::unix::fs::chown(&root, Some(0), None).unwrap();
    }

    let meta = root.join("meta.json");
    let text = fs::read_to_string(&meta).unwrap();
    for (content, expected) in [
        (text.replace("\"format\": 1", "\"format\": 7"), "has store format 7"),
        (text[..text.len() / 2].to_owned(), "is damaged"),
        (String::new(), "is damaged"),
    ] {
        fs::write(&meta, content).unwrap();
        let text = error(place.options());
        assert!(text.contains(expected), "{text}");
    }
    fs::write(&meta, text).unwrap();
    drop(place.open());

    let other = Place::new();
    fs::create_dir(other.root()).unwrap();
    fs::write(other.root().join("thesis.txt"), "precious").unwrap();
    fs::set_permissions(other.root(), fs::Permissions::from_mode(0o755)).unwrap();
    let text = error(other.options());
    assert!(text.contains("neither empty nor a store"), "{text}");
    assert_eq!(fs::read_dir(other.root()).unwrap().count(), 1, "a refused folder is left as it was");
}

#[test]
fn a_run_folder_that_others_do_not_see_is_refused_while_they_live() {
    let place = Place::new();
    let first = place.open();
    let elsewhere = tempfile::tempdir().unwrap();
    let options = StoreOptions { runtime: elsewhere.path().to_owned(), ..place.options() };
    let text = error(options.clone());
    assert!(text.contains("is in use through another run folder"), "{text}");
    assert!(text.contains(first.layout().run().to_str().unwrap()), "{text}");
    drop(place.open());
    drop(first);
    let second = Store::open(options).unwrap();
    assert!(second.layout().run().starts_with(elsewhere.path()));
}

#[test]
fn after_a_reboot_only_what_was_promoted_is_believed() {
    let place = Place::new();
    let store = place.open();
    add_note(&store, "old", None);
    assert_eq!(store.promote().unwrap().rows, 1);
    assert_eq!(store.promote().unwrap().rows, 0);
    add_note(&store, "young", None);
    let tree = store.temp_tree().unwrap();
    fs::write(tree.path().join("half"), "done").unwrap();
    let lease = store.lease("test").unwrap();
    store.write(|transaction| lease.protect(transaction, &[(NOTE, b"young")])).unwrap();
    // The machine stops: nothing is dropped in order.
    let half = tree.path().to_owned();
    std::mem::forget((tree, lease));
    // The young row looks as if it had been written under the boot that ended.
    store
        .write(|transaction| -> Result<(), DatabaseError> {
            transaction.execute(
                "UPDATE notes SET unsynced = CAST(zeroblob(16) || substr(unsynced, 17) AS BLOB) WHERE unsynced IS NOT NULL",
                [],
            )?;
            Ok(())
        })
        .unwrap();
    // Its files are closed by the end of the process; here the store that leaked with them must let go by hand.
    drop(store);
    place.reboot();

    let store = place.open();
    assert_eq!(notes(&store), ["old"]);
    assert!(!half.exists(), "unfinished work is thrown away");
    let leased = store.read(|transaction| process::is_leased(transaction, NOTE, b"young")).unwrap();
    assert!(!leased, "leases of the last boot are void");
    assert_eq!(store.empty_trash().unwrap().removed, 1);
    assert_eq!(store.doctor(&[]).unwrap(), []);
}

#[test]
fn unknown_tables_of_a_later_binary_are_refused() {
    const NEXT: Schema = Schema {
        name: "notes",
        migrations: &[NOTES.migrations[0], "ALTER TABLE notes ADD COLUMN colour TEXT"],
        promotable: NOTES.promotable,
    };
    let place = Place::new();
    let store = place.open();
    add_note(&store, "a", None);
    let next = StoreOptions { schemas: &[&NEXT], ..place.options() };
    let text = error(next.clone());
    assert!(text.contains("must be migrated, but another rbuild uses the store"), "{text}");
    assert_eq!(notes(&store), ["a"], "the refused migration has changed nothing");
    drop(store);
    let store = Store::open(next).unwrap();
    assert_eq!(notes(&store), ["a"]);
    drop(store);
    let text = error(place.options());
    assert!(
        text.contains("`notes`") && text.contains("version 2, and this rbuild knows versions up to 1"),
        "{text}"
    );
}

#[test]
fn a_run_folder_is_abandoned_once_its_store_is_no_more() {
    let place = Place::new();
    let store = place.open();
    let (run, root) = (store.layout().run().to_owned(), place.root());
    let away = place.folder().join("away");
    assert!(!is_abandoned(&run));
    store.process_id().unwrap();
    fs::rename(&root, &away).unwrap();
    assert!(!is_abandoned(&run), "a process lives");
    drop(store);
    assert!(is_abandoned(&run));
    // Another store in its place, with the very folder that it had, is not it.
    let meta = fs::read(away.join("meta.json")).unwrap();
    fs::rename(&away, &root).unwrap();
    assert!(!is_abandoned(&run));
    let id = run.file_name().unwrap().to_str().unwrap();
    let other = String::from_utf8(meta.clone()).unwrap().replace(id, "ffffffff");
    fs::write(root.join("meta.json"), other).unwrap();
    assert!(is_abandoned(&run));
    // What cannot be read is no reason.
    fs::write(root.join("meta.json"), "{").unwrap();
    assert!(!is_abandoned(&run));
    fs::write(root.join("meta.json"), meta).unwrap();
    assert_eq!(place.open().layout().run(), run);
    assert!(!is_abandoned(&place.folder().join("run/nobody")));
}

#[test]
fn a_copy_beside_the_original_is_refused_and_a_moved_store_is_not() {
    let place = Place::new();
    let id = place.open().id();
    let copy = place.folder().join("copy");
    let status = std::process::Command::new("cp").arg("-a").args([&place.root(), &copy]).status().unwrap();
    assert!(status.success());
    let options = StoreOptions { root: copy.clone(), ..place.options() };
    let text = error(options.clone());
    assert!(
        text.contains("is a copy of the store") && text.contains(place.root().to_str().unwrap()),
        "{text}"
    );
    fs::remove_dir_all(place.root()).unwrap();
    assert_eq!(Store::open(options).unwrap().id(), id, "the original is gone: this is the store now");
    let moved = place.folder().join("moved");
    fs::rename(&copy, &moved).unwrap();
    assert_eq!(Store::open(StoreOptions { root: moved, ..place.options() }).unwrap().id(), id);
}

#[test]
fn a_copy_becomes_a_store_of_its_own_as_the_error_says() {
    let place = Place::new();
    let store = place.open();
    add_note(&store, "a", None);
    let copy = place.folder().join("copy");
    drop(store);
    let status = std::process::Command::new("cp").arg("-a").args([&place.root(), &copy]).status().unwrap();
    assert!(status.success());
    for name in ["meta.json", "run"] {
        fs::remove_file(copy.join(name)).unwrap();
    }
    let store = Store::open(StoreOptions { root: copy, ..place.options() }).unwrap();
    assert_ne!(store.id(), place.open().id());
    assert_eq!(notes(&store), ["a"]);
}
