use std::io::Write;

use rustix::fs::{CWD, FileType, Mode};

use super::*;

#[test]
fn files_appear_whole_or_not_at_all() {
    let place = Place::new();
    let store = place.open();
    let folder = store.layout().blobs();
    let mut file = store.temp_file(&folder).unwrap();
    file.write_all(b"hello").unwrap();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    assert_eq!(store.derived().publish(file, &folder, "a", Access::ReadOnly).unwrap(), Published::New);
    assert_eq!(fs::read(folder.join("a")).unwrap(), b"hello");
    assert_eq!(fs::metadata(folder.join("a")).unwrap().permissions().mode() & 0o7777, 0o444);

    let again = publish(&store, &folder, "a", b"HELLO").unwrap();
    assert_eq!(again, Published::Existing);
    assert_eq!(fs::read(folder.join("a")).unwrap(), b"hello", "the one that was first stays");

    let damaged = publish(&store, &folder, "a", b"hello world").unwrap();
    assert_eq!(damaged, Published::New, "a file of another size is not the same object");
    assert_eq!(fs::read(folder.join("a")).unwrap(), b"hello world");
    assert_eq!(fs::read_dir(store.layout().bad()).unwrap().count(), 1);

    drop(store.temp_file(&folder).unwrap());
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
}

#[test]
fn replacing_leaves_one_file_and_no_rest() {
    let place = Place::new();
    let store = place.open();
    let folder = store.layout().containers();
    for text in ["one", "three", "two"] {
        store.precious().replace(&folder, "config.json", text.as_bytes(), Access::Private).unwrap();
        assert_eq!(fs::read_to_string(folder.join("config.json")).unwrap(), text);
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    drop(store);
    assert_eq!(
        fs::read_dir(place.root().join("tmp")).unwrap().count(),
        0,
        "a process that ends leaves no folder"
    );
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let place = Place::new();
    let store = place.open();
    let folder = store.layout().blobs();
    for name in ["", ".", "..", "../x", "a/b", "a\0b"] {
        let error = publish(&store, &folder, name, b"x").unwrap_err();
        assert!(error.source.to_string().contains("not a plain file name"), "{name:?}: {error}");
        store.precious().replace(&folder, name, b"x", Access::Private).unwrap_err();
    }
}

#[test]
fn trees_are_published_once_and_dropped_ones_are_trash() {
    let place = Place::new();
    let store = place.open();
    let folder = store.layout().snapshots("test-1");
    store.precious().create_folder(&folder).unwrap();
    let tree = store.temp_tree().unwrap();
    fs::write(tree.path().join("file"), "x").unwrap();
    store.precious().publish_tree(tree, &folder, "s1").unwrap();
    assert_eq!(fs::read_to_string(folder.join("s1/file")).unwrap(), "x");

    let rival = store.temp_tree().unwrap();
    let error = store.derived().publish_tree(rival, &folder, "s1").unwrap_err();
    assert_eq!(error.source.kind(), std::io::ErrorKind::AlreadyExists);
    drop(store.temp_tree().unwrap());
    assert_eq!(store.empty_trash().unwrap().removed, 2);
    assert_eq!(store.empty_trash().unwrap().removed, 0);
}

#[test]
fn trees_that_last_may_hold_anything() {
    let place = Place::new();
    let store = place.open();
    let folder = store.layout().containers();
    let tree = store.temp_tree().unwrap();
    let deep = tree.path().join("a/b");
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("file"), "x").unwrap();
    // Opening one of these would wait for ever, and following the other would leave the tree.
    rustix::fs::mknodat(CWD, deep.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    std::os::unix::fs::symlink("/dev/full", deep.join("link")).unwrap();
    fs::set_permissions(&deep, fs::Permissions::from_mode(0o000)).unwrap();
    store.precious().publish_tree(tree, &folder, "c1").unwrap();
    let deep = folder.join("c1/a/b");
    fs::set_permissions(&deep, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(fs::read_dir(deep).unwrap().count(), 3);

    let large = store.temp_tree().unwrap();
    for file in 0..200 {
        fs::write(large.path().join(file.to_string()), "x").unwrap();
    }
    store.precious().publish_tree(large, &folder, "c2").unwrap();
    assert_eq!(fs::read_dir(folder.join("c2")).unwrap().count(), 200);
}

#[test]
fn trash_with_locked_down_folders_and_links_is_removed_without_leaving_it() {
    let place = Place::new();
    let store = place.open();
    let outside = place.root().parent().unwrap().join("outside");
    fs::write(&outside, "stays").unwrap();
    let tree = store.temp_tree().unwrap();
    let deep = tree.path().join("a/b/c");
    fs::create_dir_all(&deep).unwrap();
    std::os::unix::fs::symlink(&outside, deep.join("link")).unwrap();
    std::os::unix::fs::symlink("/", deep.join("root")).unwrap();
    fs::set_permissions(&deep, fs::Permissions::from_mode(0o000)).unwrap();
    drop(tree);
    let emptied = store.empty_trash().unwrap();
    assert!(emptied.failures.is_empty(), "{:?}", emptied.failures);
    assert_eq!(fs::read_to_string(&outside).unwrap(), "stays");
    assert_eq!(fs::read_dir(store.layout().trash()).unwrap().count(), 0);
}

#[test]
fn when_all_who_throw_away_have_ended_nothing_waits() {
    let place = Place::new();
    let store = place.open();
    for _ in 0..20 {
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    drop(store.temp_tree().unwrap());
                    store.empty_trash().unwrap();
                });
            }
        });
        assert!(!store.has_trash().unwrap());
    }
}

#[test]
fn a_full_disk_is_told_as_such() {
    let error = FileError::new("write", "/", std::io::Error::from(rustix::io::Errno::NOSPC));
    assert_eq!(error.kind, ErrorKind::NoSpace);
    let text = error.to_string();
    assert!(
        text.starts_with("failed to write `/` (") && text.contains("free there; `rbuild prune` frees"),
        "{text}"
    );
    let error = FileError::new("write", "/x", std::io::Error::from(rustix::io::Errno::DQUOT));
    assert_eq!(error.kind, ErrorKind::NoSpace);
}

#[test]
fn the_reserve_is_given_up_and_taken_again() {
    let place = Place::new();
    let store = place.open();
    let file = place.root().join("reserve");
    assert!(fs::metadata(&file).unwrap().blocks() >= 128, "it is room, not a promise");
    store.reserve().release().unwrap();
    store.reserve().release().unwrap();
    assert_eq!(store.doctor(&[]).unwrap(), [], "a store that holds nothing needs none");
    let blob = "a".repeat(64);
    publish(&store, &store.layout().blobs(), &blob, b"hello").unwrap();
    assert_eq!(store.doctor(&[]).unwrap(), [doctor::Finding::NoReserve]);
    assert!(store.reserve().restore().unwrap());
    assert!(file.exists());
}

#[test]
fn bytes_read_well() {
    for (bytes, text) in
        [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (16 << 20, "16.0 MiB"), (1 << 50, "1.0 PiB")]
    {
        assert_eq!(space::Bytes(bytes).to_string(), text);
    }
}
