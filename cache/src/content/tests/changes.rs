//! What changes a hash and what does not.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Gid, Mode, Uid, XattrFlags};

use super::super::Error;
use super::*;

/// A tree as a value: two are equal exactly when their hashes must be.
type Spec = BTreeMap<String, Thing>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Thing {
    File(u32, Vec<u8>),
    Directory(u32, Spec),
    Link(String),
}

fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "ab", "c", "bc", "ä"]).prop_map(str::to_owned)
}

fn spec() -> impl Strategy<Value = Spec> {
    let leaf = prop_oneof![
        (prop::sample::select(vec![0o644, 0o755, 0o4755]), prop::collection::vec(0_u8..2, 0..3))
            .prop_map(|(mode, bytes)| Thing::File(mode, bytes)),
        prop::sample::select(vec!["a", "b", "/a", "../a"]).prop_map(|target| Thing::Link(target.to_owned())),
        Just(Thing::Directory(0o755, Spec::new())),
    ];
    let thing = leaf.prop_recursive(2, 6, 3, |inner| {
        let mode = prop::sample::select(vec![0o755, 0o1777]);
        (mode, prop::collection::btree_map(name(), inner, 0..3))
            .prop_map(|(mode, spec)| Thing::Directory(mode, spec))
    });
    prop::collection::btree_map(name(), thing, 0..4)
}

fn build(spec: &Spec, at: &Path) {
    for (name, thing) in spec {
        let path = at.join(name);
        match thing {
            Thing::File(mode, bytes) => {
                std::fs::write(&path, bytes).unwrap();
                std::fs::set_permissions(&path, PermissionsExt::from_mode(*mode)).unwrap();
            }
            Thing::Directory(mode, below) => {
                std::fs::create_dir(&path).unwrap();
                build(below, &path);
                std::fs::set_permissions(&path, PermissionsExt::from_mode(*mode)).unwrap();
            }
            Thing::Link(target) => symlink(target, &path).unwrap(),
        }
    }
}

fn hash_of(spec: &Spec) -> ContentHash {
    let tree = Tree::new();
    build(spec, &tree.path(""));
    whole(&tree.client())
}

/// Also checks what must make no difference.
fn steady_hash_of(spec: &Spec) -> ContentHash {
    let hash = hash_of(spec);
    // Another folder, other inodes and other times are no difference, and neither is whose tree it is: all is 0:0.
    let again = Tree::new();
    build(spec, &again.path(""));
    for (name, thing) in spec {
        if !matches!(thing, Thing::Link(_)) {
            let file = std::fs::File::open(again.path(name)).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        }
    }
    assert_eq!(whole(&again.client().with_threads(1)), hash);
    hash
}

/// All trees that differ from this one in one small thing.
fn neighbours(spec: &Spec) -> Vec<Spec> {
    let mut found = Vec::new();
    let mut with = |name: &str, thing: Option<Thing>| {
        let mut other = spec.clone();
        match thing {
            Some(thing) => other.insert(name.to_owned(), thing),
            None => other.remove(name),
        };
        found.push(other);
    };
    with("new", Some(Thing::Directory(0o755, Spec::new())));
    with("new", Some(Thing::File(0o644, Vec::new())));
    for (name, thing) in spec {
        with(name, None);
        match thing {
            Thing::File(mode, bytes) => {
                with(name, Some(Thing::File(mode ^ 0o001, bytes.clone())));
                with(name, Some(Thing::File(*mode, [&bytes[..], b"x"].concat())));
                with(name, Some(Thing::Directory(*mode, Spec::new())));
                with(name, Some(Thing::Link("elsewhere".to_owned())));
            }
            Thing::Directory(mode, below) => {
                with(name, Some(Thing::Directory(mode ^ 0o2000, below.clone())));
                for other in neighbours(below) {
                    with(name, Some(Thing::Directory(*mode, other)));
                }
            }
            Thing::Link(target) => with(name, Some(Thing::Link(format!("{target}x")))),
        }
    }
    for name in spec.keys() {
        let mut renamed = spec.clone();
        let thing = renamed.remove(name).unwrap();
        renamed.insert(format!("{name}2"), thing);
        found.push(renamed);
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn equal_hashes_mean_equal_trees(a in spec(), b in spec()) {
        prop_assert_eq!(steady_hash_of(&a) == steady_hash_of(&b), a == b);
    }

    #[test]
    fn any_single_change_counts(a in spec()) {
        let before = hash_of(&a);
        for other in neighbours(&a) {
            prop_assert_ne!(hash_of(&other), before, "{:?}", other);
        }
    }
}

/// Checks whether a change to the tree of `file`, `other` and `dir/` counts, in a snapshot and in a client's tree.
fn change(what: &str, act: impl Fn(&Tree), counts: [bool; 2]) {
    let tree = Tree::of(&["file=1", "other=1", "dir/"]);
    let before = [whole(&tree.snapshot()), whole(&tree.client())];
    act(&tree);
    let after = [whole(&tree.snapshot()), whole(&tree.client())];
    let changed = [before[0] != after[0], before[1] != after[1]];
    assert_eq!(changed, counts, "{what}: snapshot, client");
}

#[test]
fn owners_devices_links_and_capabilities_count_where_they_are_kept() {
    if !rbuild_testkit::privilege::is_root("owners_devices_links_and_capabilities_count_where_they_are_kept")
    {
        return;
    }
    let node = |tree: &Tree, kind, number| {
        let _ = std::fs::remove_file(tree.path("file"));
        rustix::fs::mknodat(CWD, tree.path("file"), kind, Mode::from_raw_mode(0o644), number).unwrap();
    };
    change("nothing", |_| (), [false, false]);
    change("user", |tree| chown(tree, "file", 1, 0), [true, false]);
    change("group", |tree| chown(tree, "dir", 0, 1), [true, false]);
    change("mode of a file", |tree| tree.chmod("file", 0o2644), [true, true]);
    change("mode of the top", |tree| tree.chmod("", 0o700), [true, false]);
    change("hard link", |tree| relink(tree, "file", "other"), [true, true]);
    change("char device", |tree| node(tree, FileType::CharacterDevice, 0x101), [true, true]);
    change("pipe", |tree| node(tree, FileType::Fifo, 0), [true, true]);
    let capability = [[1, 0, 0, 2].as_slice(), &[0, 4, 0, 0], &[0; 12]].concat();
    let set = |tree: &Tree| {
        rustix::fs::setxattr(tree.path("file"), "security.capability", &capability, XattrFlags::empty())
            .unwrap();
    };
    change("capability", set, [true, false]);
    let user = |tree: &Tree| {
        rustix::fs::setxattr(tree.path("file"), "trusted.other", b"x", XattrFlags::empty()).unwrap();
    };
    change("other attribute", user, [false, false]);
    let hash_node = |kind, number| {
        let tree = Tree::new();
        node(&tree, kind, number);
        whole(&tree.snapshot())
    };
    let all = [
        hash_node(FileType::CharacterDevice, 0x101),
        hash_node(FileType::CharacterDevice, 0x102),
        hash_node(FileType::BlockDevice, 0x101),
        hash_node(FileType::Fifo, 0),
        hash_node(FileType::Socket, 0),
        hash_node(FileType::RegularFile, 0),
    ];
    for (at, one) in all.iter().enumerate() {
        assert!(!all[at + 1..].contains(one), "{at}");
    }
}

fn chown(tree: &Tree, name: &str, uid: u32, gid: u32) {
    rustix::fs::chown(tree.path(name), Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).unwrap();
}

fn relink(tree: &Tree, from: &str, to: &str) {
    std::fs::remove_file(tree.path(to)).unwrap();
    std::fs::hard_link(tree.path(from), tree.path(to)).unwrap();
}

#[test]
fn which_files_are_linked_counts_inside_the_selection_only() {
    let make = |links: [[&str; 2]; 2]| {
        let tree = Tree::of(&["d/a=1", "d/b=1", "d/c=1", "d/d=1", "out=1"]);
        links.iter().for_each(|[from, to]| relink(&tree, from, to));
        tree.client().hash_selection(&literal("/d")).unwrap()
    };
    let ab_cd = make([["d/a", "d/b"], ["d/c", "d/d"]]);
    let ac_bd = make([["d/a", "d/c"], ["d/b", "d/d"]]);
    assert_ne!(ab_cd.hash(), ac_bd.hash());
    let told: Vec<_> = ab_cd.matches()[0].links().iter().map(|group| format!("{group:?}")).collect();
    assert_eq!(told, [r#"["a", "b"]"#, r#"["c", "d"]"#]);
    // A name outside is no link inside.
    let single = make([["d/a", "out"], ["d/b", "out"]]);
    let none = Tree::of(&["d/a=1", "d/b=1", "d/c=1", "d/d=1"]);
    assert_eq!(single.hash(), none.client().hash_selection(&literal("/d")).unwrap().hash());
}

#[test]
fn a_clients_socket_is_an_empty_file() {
    let socket = Tree::new();
    let listener = std::os::unix::net::UnixListener::bind(socket.path("s")).unwrap();
    socket.chmod("s", 0o644);
    let file = Tree::of(&["s="]);
    file.chmod("s", 0o644);
    assert_eq!(whole(&socket.client()), whole(&file.client()));
    assert_ne!(whole(&socket.snapshot()), whole(&file.snapshot()));
    drop(listener);
}

#[test]
fn the_name_of_what_a_wildcard_selects_counts() {
    let hash =
        |lines: &[&str], path: PathSource| Tree::of(lines).client().hash_selection(&path).unwrap().hash();
    assert_ne!(hash(&["a=1"], wild("/*")), hash(&["b=1"], wild("/*")));
    // The name of a literal source is a field of the operation.
    assert_eq!(hash(&["a=1"], literal("/a")), hash(&["b=1"], literal("/b")));
    assert_ne!(hash(&["a=1"], wild("/a*")), hash(&["a=1"], literal("/a")));
    assert_ne!(hash(&["a=1"], kept("/a")), hash(&["a=1"], literal("/")));
}

#[test]
fn names_are_bytes() {
    let tree = Tree::new();
    let bad = std::ffi::OsStr::from_bytes(b"\xff\xfe");
    std::fs::write(tree.path("").join(bad), "x").unwrap();
    let selection = tree.client().hash_selection(&wild("/?\u{3f}")).unwrap();
    assert_eq!(selection.matches()[0].name(), bad);
}

#[test]
fn large_files_are_hashed_as_a_whole() {
    let bytes = |at: usize, value: u8| {
        let mut bytes = vec![7_u8; 5 << 20];
        bytes[at] = value;
        bytes
    };
    let hash = |bytes: Vec<u8>| {
        let tree = Tree::new();
        std::fs::write(tree.path("f"), &bytes).unwrap();
        let selection = tree.client().hash_selection(&literal("/f")).unwrap();
        let super::super::Content::File(facts) = selection.matches()[0].entry().content() else { panic!() };
        assert_eq!(facts.digest(), super::super::FileDigest::of(&bytes));
        assert_eq!((selection.files(), selection.bytes()), (1, 5 << 20));
        selection.hash()
    };
    let all = [hash(bytes(0, 7)), hash(bytes(0, 8)), hash(bytes((5 << 20) - 1, 8)), hash(bytes(3 << 20, 8))];
    for (at, one) in all.iter().enumerate() {
        assert!(!all[at + 1..].contains(one));
    }
}

#[test]
fn the_encoding_is_pinned() {
    let tree = Tree::of(&["a/b=hello", "c>a/b"]);
    tree.chmod("a", 0o755);
    tree.chmod("a/b", 0o644);
    assert_eq!(
        whole(&tree.client()).hex(),
        "876435813ee9d84e1325f8f11a21a8e46ff80dbbb7ba3a53b2b6ff8f68029a1f"
    );
}

#[test]
fn a_scan_stops_when_it_is_told_to() {
    let tree = Tree::new();
    for number in 0..500 {
        tree.write(&format!("d{}/f{number}", number % 10), "content");
    }
    let asked = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&asked);
    let scan =
        tree.client().with_threads(2).until(Arc::new(move || counter.fetch_add(1, Ordering::Relaxed) >= 100));
    assert!(matches!(scan.hash_selection(&literal("/")), Err(Error::Stopped)));
    let read = scan.effort().hashed;
    assert!((1..=100).contains(&read), "as many as it was let: {read}");
    assert!(matches!(scan.hash_selection(&literal("/")), Err(Error::Stopped)), "and it stays so");
}
