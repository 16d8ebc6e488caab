//! What every implementation does, with the same body for all.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use proptest::prelude::*;
use rbuild_model::snapshot::Chain;
use rbuild_snapshotter::{Error, Snapshotter, Tree, Writes};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat};

use crate::fixture::{
    Mounted, Store, again, apply, bytes, can_mount, changes, layer, leftovers, nobody, show, step,
};

/// Runs `body` with each implementation in a store of its own.
fn with_each(body: impl Fn(&Store, &dyn Snapshotter)) {
    if !can_mount() {
        return;
    }
    let count = Store::new().all().len();
    for nth in 0..count {
        let store = Store::new();
        let snapshotter = &store.all()[nth];
        eprintln!("with {}", snapshotter.format());
        body(&store, &**snapshotter);
    }
}

fn write(root: &Path, path: &str, content: &str, mode: u32) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("a parent")).expect("parents");
    fs::write(&path, content).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
}

fn base(root: &Path) {
    write(root, "f", "f", 0o644);
    write(root, "touched", "touched", 0o644);
    write(root, "bin/sh", "sh", 0o4755);
    write(root, "d/a", "a", 0o644);
    write(root, "d/b", "b", 0o644);
    write(root, "d/sub/x", "x", 0o644);
    write(root, "d/sub/y", "y", 0o644);
    write(root, "d/sub/deep/z", "z", 0o644);
    write(root, "becomes_dir", "file", 0o644);
    write(root, "becomes_file/x", "x", 0o644);
    write(root, "etc/passwd", "root:x:0:0::/root:/bin/sh", 0o644);
    write(root, "h1", "linked", 0o644);
    write(root, "gone/with/all", "all", 0o644);
    fs::hard_link(root.join("h1"), root.join("h2")).expect("a link");
    fs::create_dir(root.join("run")).expect("run");
    fs::create_dir(root.join("var")).expect("var");
    symlink("/run", root.join("var/run")).expect("a link");
    mknodat(CWD, root.join("pipe"), FileType::Fifo, Mode::RWXU, 0).expect("a pipe");
    chown(root.join("d/b"), Some(12), Some(34)).expect("an owner");
}

/// What a step may do to a tree: one of each.
fn work(root: &Path) {
    write(root, "f", "changed", 0o644);
    fs::remove_file(root.join("d/a")).expect("removes");
    fs::set_permissions(root.join("d/b"), fs::Permissions::from_mode(0o600)).expect("a mode");
    fs::remove_dir_all(root.join("d/sub")).expect("removes");
    write(root, "d/sub/y", "y2", 0o644);
    write(root, "d/sub/deep/new", "new", 0o644);
    fs::remove_file(root.join("becomes_dir")).expect("removes");
    write(root, "becomes_dir/x", "x", 0o644);
    fs::remove_dir_all(root.join("becomes_file")).expect("removes");
    write(root, "becomes_file", "file", 0o644);
    fs::remove_dir_all(root.join("gone")).expect("removes");
    // Only the time of `etc` changes.
    write(root, "etc/shadow", "", 0o600);
    fs::remove_file(root.join("etc/shadow")).expect("removes");
    // Copied up by overlayfs, and the same as before.
    fs::set_permissions(root.join("touched"), fs::Permissions::from_mode(0o600)).expect("a mode");
    fs::set_permissions(root.join("touched"), fs::Permissions::from_mode(0o644)).expect("a mode");
    // Further names: of a lower layer's file, and of a new one.
    fs::hard_link(root.join("h1"), root.join("h3")).expect("a link");
    write(root, "n1", "new", 0o2755);
    fs::hard_link(root.join("n1"), root.join("n2")).expect("a link");
    drop(UnixListener::bind(root.join("socket")).expect("a socket"));
    mknodat(CWD, root.join("null"), FileType::CharacterDevice, Mode::RUSR, rustix::fs::makedev(1, 3))
        .expect("a device");
    fs::remove_file(root.join("var/run")).expect("removes");
    symlink("../run", root.join("var/run")).expect("a link");
    write(root, "ping", "ping", 0o755);
    // cap_net_raw=ep, in the second form.
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    rustix::fs::setxattr(root.join("ping"), "security.capability", &capability, XattrFlags::empty())
        .expect("capabilities");
    rustix::fs::setxattr(root.join("ping"), "user.note", b"x", XattrFlags::empty()).expect("an attribute");
    fs::write(root.join(OsStr::from_bytes(b"\xff\n")), "odd").expect("an odd name");
    fs::create_dir(root.join("empty")).expect("a folder");
}

const CHANGES: &[&str] = &[
    "whiteout gone",
    "dir becomes_dir 755",
    "file becomes_dir/x 644 \"x\"",
    "file becomes_file 644 \"file\"",
    "carrier d",
    "whiteout d/a",
    "file d/b 600 \"b\"",
    "carrier d/sub",
    "whiteout d/sub/x",
    "carrier d/sub/deep",
    "whiteout d/sub/deep/z",
    "file d/sub/deep/new 644 \"new\"",
    "file d/sub/y 644 \"y2\"",
    "dir empty 755",
    "file f 644 \"changed\"",
    "file h3 644 \"linked\"",
    "file n1 2755 \"new\"",
    "hardlink n2 n1",
    "CharDevice null 400",
    "file ping 755 \"ping\" capable",
    "carrier var",
    "symlink var/run ../run",
    "file \u{fffd}\n 644 \"odd\"",
];

#[test]
fn changes_are_what_the_step_did() {
    with_each(|store, snapshotter| {
        let first = step(snapshotter, &Chain::empty(), base);
        let second = step(snapshotter, &first, work);
        assert_eq!(changes(snapshotter, Tree::Committed(&second)), CHANGES, "{}", snapshotter.format());
        assert_eq!(leftovers(store), [""; 0].map(std::path::PathBuf::from));
    });
}

#[test]
fn all_implementations_write_the_same_layer() {
    if !can_mount() {
        return;
    }
    let store = Store::new();
    let layers: Vec<_> = store
        .all()
        .iter()
        .map(|snapshotter| {
            let first = step(&**snapshotter, &Chain::empty(), base);
            let second = step(&**snapshotter, &first, work);
            (layer(&**snapshotter, &first), layer(&**snapshotter, &second))
        })
        .collect();
    assert!(layers.windows(2).all(|pair| pair[0] == pair[1]), "equal trees make equal bytes");
}

#[test]
fn a_layer_applied_shows_the_tree_it_was_made_from() {
    with_each(|_, snapshotter| {
        let first = step(snapshotter, &Chain::empty(), base);
        let second = step(snapshotter, &first, work);
        let write = |chain: &Chain| {
            rbuild_snapshotter::write_layer(
                snapshotter,
                Tree::Committed(chain),
                Vec::new(),
                rbuild_image::tar::Options::default(),
            )
            .expect("writes")
        };
        let (base_tar, work_tar) = (write(&first), write(&second));
        let applied_base = apply(snapshotter, &Chain::empty(), &base_tar).expect("applies");
        let applied = apply(snapshotter, &applied_base, &work_tar).expect("applies");
        let mut made = show(snapshotter, &second);
        made.retain(|path, _| bytes(path) != b"socket");
        let mut shown = show(snapshotter, &applied);
        // `etc` was touched only, so no layer says anything about it; times of folders are not compared.
        shown.retain(|path, _| bytes(path) != b"socket");
        assert_eq!(shown, made, "{}", snapshotter.format());
        assert_eq!(layer(snapshotter, &applied), layer(snapshotter, &second), "{}", snapshotter.format());
    });
}

#[test]
fn the_root_itself_is_part_of_the_tree() {
    with_each(|_, snapshotter| {
        let closed = step(snapshotter, &Chain::empty(), |root| {
            fs::set_permissions(root, fs::Permissions::from_mode(0o1750)).expect("a mode");
        });
        assert_eq!(changes(snapshotter, Tree::Committed(&closed)), ["dir  1750"]);
        let next = step(snapshotter, &closed, |root| {
            assert_eq!(fs::metadata(root).expect("metadata").permissions().mode() & 0o7777, 0o1750);
        });
        assert_eq!(changes(snapshotter, Tree::Committed(&next)), [""; 0]);
        let applied = apply(snapshotter, &Chain::empty(), &layer(snapshotter, &closed)).expect("applies");
        assert_eq!(show(snapshotter, &applied)[Path::new("")], "1750 0:0 dir");
    });
}

#[test]
fn a_snapshot_is_begun_committed_and_removed() {
    with_each(|store, snapshotter| {
        let active = snapshotter.prepare(&Chain::empty()).expect("prepares");
        let named = again(&active);
        assert!(!snapshotter.contains(active.id()), "an active snapshot is not committed");
        assert!(matches!(snapshotter.open(active.id()), Err(Error::Missing { .. })));
        let below_active = Chain::new(vec![active.id()]);
        assert!(matches!(snapshotter.prepare(&below_active), Err(Error::Missing { .. })));
        fs::write(snapshotter_root(snapshotter, &active).join("f"), "f").expect("writes");
        assert_eq!(changes(snapshotter, Tree::Active(&active)), ["file f 644 \"f\""]);

        let id = snapshotter.commit(active).expect("commits");
        assert!(snapshotter.contains(id));
        assert!(matches!(snapshotter.commit(named), Err(Error::Missing { .. })), "only once");
        assert_eq!(snapshotter.open(id).expect("opens").read("f", 10).expect("reads"), b"f");
        let usage = snapshotter.usage(id).expect("counts");
        assert!(usage.bytes >= 4096 && usage.inodes == 2, "{usage:?}");

        let condemned = snapshotter.condemn(id).expect("condemns").expect("was there");
        assert!(!snapshotter.contains(id));
        assert_eq!(leftovers(store).len(), 1);
        condemned.reclaim().expect("reclaims");
        snapshotter.remove(id).expect("twice is no error");
        assert_eq!(leftovers(store).len(), 0);

        let active = snapshotter.prepare(&Chain::empty()).expect("prepares");
        snapshotter.discard(again(&active)).expect("discards");
        snapshotter.discard(active).expect("twice is no error");
        assert_eq!(leftovers(store).len(), 0);
        let missing = Chain::new(vec![nobody()]);
        assert!(matches!(snapshotter.prepare(&missing), Err(Error::Missing { .. })));
        assert!(matches!(snapshotter.view(&missing), Err(Error::Missing { .. })));
        assert_eq!(leftovers(store).len(), 0, "a failed prepare leaves nothing");
    });
}

fn snapshotter_root(
    snapshotter: &dyn Snapshotter,
    active: &rbuild_snapshotter::Active,
) -> std::path::PathBuf {
    assert!(snapshotter.writes_in_place(active), "over nothing, the folder is the whole tree");
    snapshotter.open_active(active).expect("opens").host_path().to_owned()
}

#[test]
fn siblings_do_not_see_each_other_and_parents_do_not_change() {
    with_each(|_, snapshotter| {
        let parent = step(snapshotter, &Chain::empty(), |root| write(root, "d/f", "parent", 0o644));
        let before = show(snapshotter, &parent);
        let one = snapshotter.prepare(&parent).expect("prepares");
        let two = snapshotter.prepare(&parent).expect("prepares");
        let plan = |active| snapshotter.root(active, Writes::Durable).expect("a plan");
        let (one_root, two_root) = (Mounted::new(&plan(&one)), Mounted::new(&plan(&two)));
        write(one_root.path(), "d/f", "one", 0o644);
        fs::remove_dir_all(two_root.path().join("d")).expect("removes");
        assert_eq!(fs::read_to_string(one_root.path().join("d/f")).expect("reads"), "one");
        drop((one_root, two_root));
        assert_eq!(show(snapshotter, &parent), before);
        snapshotter.discard(one).expect("discards");
        snapshotter.discard(two).expect("discards");
    });
}

#[test]
fn the_empty_stack_is_an_empty_tree() {
    with_each(|_, snapshotter| {
        assert_eq!(show(snapshotter, &Chain::empty()).len(), 1);
        let changes = snapshotter.changes(Tree::Committed(&Chain::empty()), &mut |_, _| Ok(()));
        assert!(matches!(changes, Err(Error::NoLayer)));
        let nothing = step(snapshotter, &Chain::empty(), |_| ());
        assert_eq!(layer(snapshotter, &nothing), [0; 1024]);
    });
}

#[test]
fn a_name_that_looks_like_a_whiteout_is_told() {
    with_each(|_, snapshotter| {
        let chain = step(snapshotter, &Chain::empty(), |root| write(root, ".wh.f", "", 0o644));
        let options = rbuild_image::tar::Options::default();
        let result =
            rbuild_snapshotter::write_layer(snapshotter, Tree::Committed(&chain), Vec::new(), options);
        assert!(matches!(result, Err(Error::Unrepresentable { .. })));
    });
}

/// One thing that a step does; what cannot be done is left out.
#[derive(Debug, Clone)]
enum Act {
    Write(String, u8),
    Mkdir(String),
    Remove(String),
    Rename(String, String),
    Symlink(String, String),
    Link(String, String),
    Chmod(String, bool),
}

impl Act {
    fn run(&self, root: &Path) {
        let at = |path: &str| root.join(path);
        // Whether an act is possible depends on the acts before it, and is the same everywhere.
        let _ = match self {
            Self::Write(path, content) => {
                let regular = fs::symlink_metadata(at(path)).map_or(true, |meta| meta.is_file());
                if regular { fs::write(at(path), [*content]) } else { Ok(()) }
            }
            Self::Mkdir(path) => fs::create_dir_all(at(path)),
            Self::Remove(path) => fs::remove_dir_all(at(path)).or_else(|_| fs::remove_file(at(path))),
            Self::Rename(from, to) => {
                // Overlayfs lets programs copy a folder of a lower layer themselves.
                let folder = fs::symlink_metadata(at(from)).is_ok_and(|meta| meta.is_dir());
                if folder { Ok(()) } else { fs::rename(at(from), at(to)) }
            }
            Self::Symlink(path, target) => symlink(target, at(path)),
            Self::Link(from, to) => fs::hard_link(at(from), at(to)),
            Self::Chmod(path, open) => {
                let mode = fs::Permissions::from_mode(if *open { 0o755 } else { 0o750 });
                let link = fs::symlink_metadata(at(path)).is_ok_and(|meta| meta.is_symlink());
                if link { Ok(()) } else { fs::set_permissions(at(path), mode) }
            }
        };
    }
}

fn act() -> impl Strategy<Value = Act> {
    let path = || prop::collection::vec("[abc]", 1..4).prop_map(|parts| parts.join("/"));
    prop_oneof![
        4 => (path(), 0..3_u8).prop_map(|(path, content)| Act::Write(path, content)),
        3 => path().prop_map(Act::Mkdir),
        3 => path().prop_map(Act::Remove),
        2 => (path(), path()).prop_map(|(from, to)| Act::Rename(from, to)),
        1 => (path(), "[xyz]").prop_map(|(path, target)| Act::Symlink(path, target)),
        1 => (path(), path()).prop_map(|(from, to)| Act::Link(from, to)),
        1 => (path(), any::<bool>()).prop_map(|(path, open)| Act::Chmod(path, open)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever steps do, all implementations write the same layers, and these make the same tree again.
    #[test]
    fn any_steps_make_the_same_layers(
        steps in prop::collection::vec(prop::collection::vec(act(), 1..10), 1..4),
    ) {
        if !can_mount() {
            return Ok(());
        }
        let store = Store::new();
        let mut layers: Vec<Vec<Vec<u8>>> = Vec::new();
        for snapshotter in store.all() {
            let (mut chain, mut again) = (Chain::empty(), Chain::empty());
            let mut own = Vec::new();
            for acts in &steps {
                chain = step(&*snapshotter, &chain, |root| acts.iter().for_each(|act| act.run(root)));
                let options = rbuild_image::tar::Options::default();
                let tar = rbuild_snapshotter::write_layer(
                    &*snapshotter, Tree::Committed(&chain), Vec::new(), options,
                ).expect("writes");
                again = apply(&*snapshotter, &again, &tar).expect("applies");
                own.push(layer(&*snapshotter, &chain));
            }
            prop_assert_eq!(show(&*snapshotter, &again), show(&*snapshotter, &chain), "{}", snapshotter.format());
            layers.push(own);
        }
        for other in &layers[1..] {
            for (nth, (one, two)) in layers[0].iter().zip(other).enumerate() {
                prop_assert!(one == two, "layer {} differs", nth);
            }
        }
    }
}
