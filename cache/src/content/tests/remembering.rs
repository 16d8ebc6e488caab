//! When the stat index is believed.

use std::fs::File;

use proptest::prelude::*;

use super::super::file::{self, Capabilities, Clocks, Reading};
use super::super::index::{IndexWriter, Known, StatIndex};
use super::super::node::{FileDigest, Stamp, Trust};
use super::super::{IndexSaved, ScanEffort};
use super::*;

/// Hashes all of the tree with the index, saves that, and tells what had to be read.
fn build(tree: &Tree) -> (ContentHash, u64) {
    let scan = tree.indexed();
    let hash = whole(&scan);
    scan.save_index().unwrap();
    (hash, scan.effort().hashed)
}

#[test]
fn what_did_not_change_is_not_read_again() {
    let tree = Tree::of(&["a=1", "b=2", "d/c=3"]);
    tree.settle();
    let (first, read) = build(&tree);
    assert_eq!(read, 3);
    let scan = tree.indexed();
    assert_eq!(whole(&scan), first);
    assert_eq!(scan.effort(), ScanEffort { inspected: 3, hashed: 0 });
    assert_eq!(scan.save_index().unwrap(), IndexSaved::Unchanged);
    tree.write("d/c", "4");
    tree.settle();
    let (second, read) = build(&tree);
    assert_ne!(second, first);
    assert_eq!(read, 1);
    assert_eq!(build(&tree), (second, 0));
    assert_eq!(tree.indexed().hash_selection(&literal("/d/c")).unwrap().files(), 1);
}

#[test]
fn one_file_alone_is_believed_too() {
    let tree = Tree::of(&["a=1", "b=2"]);
    tree.settle();
    build(&tree);
    let scan = tree.indexed();
    scan.hash_selection(&literal("/a")).unwrap();
    assert_eq!(scan.effort(), ScanEffort { inspected: 1, hashed: 0 });
}

#[test]
fn a_rewrite_of_the_same_size_within_a_tick_is_seen() {
    for _ in 0..100 {
        let tree = Tree::of(&["f=aaaa"]);
        let before = std::fs::metadata(tree.path("f")).unwrap().modified().unwrap();
        let (first, _) = build(&tree);
        tree.write("f", "bbbb");
        File::options().write(true).open(tree.path("f")).unwrap().set_modified(before).unwrap();
        assert_ne!(build(&tree).0, first);
    }
}

#[test]
fn a_young_file_is_not_believed() {
    let tree = Tree::of(&["f=aaaa"]);
    let dir = File::open(tree.path("")).unwrap();
    let found = std::fs::metadata(tree.path("f")).unwrap();
    let ctime = Time { seconds: found.ctime(), nanos: found.ctime_nsec().try_into().unwrap() };
    let trust = |mark: Option<Time>| {
        let dir = std::os::fd::AsFd::as_fd(&dir);
        let hashed = file::hash(
            dir,
            b"f",
            &|| b"f".to_vec(),
            Reading { mark, capabilities: Capabilities::Ignore, threads: 1, stop: &|| false },
            &mut Vec::new(),
        );
        hashed.unwrap().unwrap().facts.trust
    };
    assert_eq!(trust(None), Trust::Young);
    assert_eq!(trust(Some(ctime)), Trust::Young);
    assert_eq!(trust(Some(Time { nanos: ctime.nanos + 1, ..ctime })), Trust::Settled);
}

#[test]
fn a_replaced_file_is_not_the_one_that_was_hashed() {
    let tree = Tree::of(&["f=aaaa"]);
    let modified = std::fs::metadata(tree.path("f")).unwrap().modified().unwrap();
    tree.settle();
    let (first, _) = build(&tree);
    tree.write("g", "bbbb");
    File::options().write(true).open(tree.path("g")).unwrap().set_modified(modified).unwrap();
    std::fs::rename(tree.path("g"), tree.path("f")).unwrap();
    tree.settle();
    let (second, read) = build(&tree);
    assert_ne!(second, first);
    assert_eq!(read, 1);
}

/// Writes an index that says that `f` holds `lie`, with a mark of `mark` seconds.
fn lie(tree: &Tree, mark: i64) {
    let stamp = Stamp::of(&tree.root().metadata("f").unwrap());
    let mut writer = IndexWriter::default();
    writer.add(b"", vec![Known { name: b"f", stamp, digest: FileDigest::of(b"lie!") }]);
    writer.write(&tree.index(), Time { seconds: mark, nanos: 0 }).unwrap();
}

#[test]
fn a_clock_that_was_set_back_makes_all_unknown() {
    let tree = Tree::of(&["f=true"]);
    let (truth, lied) = (whole(&tree.client()), whole(&Tree::of(&["f=lie!"]).client()));
    tree.settle();
    lie(&tree, 0);
    assert_eq!(build(&tree), (lied, 0), "an index of the past is believed");
    lie(&tree, i64::MAX / 4);
    assert_eq!(build(&tree), (truth, 1));
    // The index written then is of the clock as it is now.
    assert_eq!(build(&tree), (truth, 0));
}

#[test]
fn only_local_file_systems_are_believed() {
    let clocks = Clocks::default();
    let proc = File::open("/proc").unwrap();
    let proc = std::os::fd::AsFd::as_fd(&proc);
    assert!(!clocks.is_local(proc, 1));
    assert_eq!(clocks.mark(proc, 1), None);
}

#[test]
fn directories_that_were_not_looked_at_stay_known() {
    let tree = Tree::of(&["a/x=1", "b/y=2", "b/gone/z=3", "top=4"]);
    tree.settle();
    build(&tree);
    tree.write("a/x", "changed");
    std::fs::remove_dir_all(tree.path("b/gone")).unwrap();
    tree.settle();
    let scan = tree.indexed();
    scan.hash_selection(&literal("/a")).unwrap();
    assert_eq!(scan.save_index().unwrap(), IndexSaved::Written);
    assert_eq!(build(&tree).1, 0);
    // Nothing changed, so nothing was written; but the next change forgets what is gone.
    tree.write("a/x", "again");
    tree.settle();
    build(&tree);
    let index = StatIndex::load(&tree.index());
    let mut directories: Vec<&[u8]> = index.directories().collect();
    directories.sort_unstable();
    assert_eq!(directories, [&b""[..], b"a", b"b"]);
}

#[test]
fn a_damaged_index_is_an_empty_one() {
    let tree = Tree::of(&["f=1", "d/g=2"]);
    tree.settle();
    let (truth, _) = build(&tree);
    let bytes = std::fs::read(tree.index()).unwrap();
    let whole = StatIndex::load(&tree.index());
    let known = |bytes: &[u8]| {
        std::fs::write(tree.index(), bytes).unwrap();
        let index = StatIndex::load(&tree.index());
        let believed = [&b""[..], b"d"].map(|path| {
            let entries = index.directory(path);
            assert!(entries.is_empty() || entries == whole.directory(path));
            entries.len()
        });
        believed.iter().sum::<usize>()
    };
    assert_eq!(known(&bytes), 2);
    for length in 0..bytes.len() {
        assert_eq!(known(&bytes[..length]), 0, "{length}");
    }
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(known(&damaged) < 2, "{at}");
    }
    std::fs::write(tree.index(), &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(build(&tree), (truth, 2));
    assert_eq!(build(&tree), (truth, 0));
    let left: Vec<_> =
        std::fs::read_dir(tree.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "only the tree, the index and the probe: {left:?}");
}

#[test]
fn an_index_that_cannot_be_written_says_so() {
    let tree = Tree::of(&["f=1"]);
    tree.settle();
    let scan = ContextScan::new(TreeSource::client(tree.root()).with_index("/nowhere/at/all"));
    whole(&scan);
    assert_eq!(scan.save_index().unwrap_err().to_string(), "cannot create stat index `/nowhere/at/all`");
}

proptest! {
    #[test]
    fn an_index_is_read_as_it_was_written(
        names in prop::collection::btree_set("[a-c]{1,3}", 1..5),
        directories in prop::collection::btree_set("[a-c]{0,2}(/[a-c])?", 0..4),
        numbers in any::<(u64, i64, u32, u64, u64, [u8; 32])>(),
    ) {
        let (size, seconds, nanos, dev, ino, digest) = numbers;
        let time = Time { seconds, nanos };
        let stamp = Stamp { size, mtime: time, ctime: time, dev, ino };
        let entries: Vec<_> =
            names.iter().map(|name| Known { name: name.as_bytes(), stamp, digest: FileDigest(digest) }).collect();
        let mut writer = IndexWriter::default();
        for path in &directories {
            writer.add(path.as_bytes(), entries.clone());
        }
        let folder = tempfile::tempdir().unwrap();
        writer.write(&folder.path().join("index"), time).unwrap();
        let read = StatIndex::load(&folder.path().join("index"));
        prop_assert_eq!(read.mark(), time);
        prop_assert_eq!(read.directories().count(), directories.len());
        for path in &directories {
            prop_assert_eq!(read.directory(path.as_bytes()), entries.clone());
        }
        prop_assert!(read.directory(b"elsewhere").is_empty());
    }
}
