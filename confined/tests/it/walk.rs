use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use rbuild_confined::{DirStack, Error, Kind, Step, Walk};
use rustix::fs::Mode;

/// Makes a folder `levels` deep, which is deeper than any path can be.
pub(crate) fn deep(top: &Path, levels: usize) {
    let mut dir: OwnedFd = fs::File::open(top).expect("opens").into();
    for _ in 0..levels {
        rustix::fs::mkdirat(&dir, "d", Mode::RWXU).expect("a level");
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::RDONLY;
        dir = rustix::fs::openat(&dir, "d", flags, Mode::empty()).expect("opens");
    }
    rustix::fs::symlinkat("/etc", &dir, "end").expect("a link");
}

fn open(path: &Path) -> OwnedFd {
    fs::File::open(path).expect("opens").into()
}

#[test]
fn a_walk_is_sorted_and_parents_come_first() {
    let dir = tempfile::tempdir().expect("a temp dir");
    for path in ["b/z", "b/a", "a", "b-c", "b0/x"] {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("parents");
        fs::write(path, "").expect("a file");
    }
    symlink("b", dir.path().join("l")).expect("a link");
    let mut walk = Walk::new(open(dir.path())).expect("starts");
    let mut seen = Vec::new();
    while let Some(step) = walk.next().expect("walks") {
        let path = walk.path().display().to_string();
        match step {
            Step::Entry(entry) => {
                let kind = walk.metadata().expect("metadata").kind;
                assert_eq!(entry.kind.unwrap_or(kind), kind);
                seen.push(path);
                if kind == Kind::Directory && entry.name != "b0" {
                    walk.enter().expect("enters");
                }
            }
            Step::Leave => seen.push(format!("leave {path}")),
        }
    }
    assert_eq!(seen, ["a", "b", "b/a", "b/z", "leave b", "b-c", "b0", "l"]);
}

#[test]
fn depth_costs_no_descriptors_and_no_stack() {
    let dir = tempfile::tempdir().expect("a temp dir");
    deep(dir.path(), 3_000);
    let mut walk = Walk::within_mount(open(dir.path())).expect("starts");
    let (mut entries, mut leaves) = (0, 0);
    while let Some(step) = walk.next().expect("walks") {
        match step {
            Step::Entry(entry) if entry.kind == Some(Kind::Directory) => {
                entries += 1;
                walk.enter().expect("enters");
            }
            Step::Entry(entry) => assert_eq!((entry.name.to_str(), walk.depth()), (Some("end"), 3_000)),
            Step::Leave => leaves += 1,
        }
    }
    assert_eq!((entries, leaves), (3_000, 3_000));
    rbuild_confined::remove_tree(open(dir.path()), "d").expect("removes");
    assert_eq!(fs::read_dir(dir.path()).expect("reads").count(), 0);
}

#[test]
fn a_directory_moved_away_ends_the_walk() {
    let dir = tempfile::tempdir().expect("a temp dir");
    deep(dir.path(), 100);
    let mut stack = DirStack::new(open(dir.path()));
    for _ in 0..100 {
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::RDONLY;
        let next = rustix::fs::openat(stack.top(), "d", flags, Mode::empty()).expect("opens");
        stack.push(next).expect("goes down");
    }
    // Level 40 moves to the top: `..` of what lies below is another directory from now on.
    let level_40 = dir.path().join("d/".repeat(40));
    fs::rename(&level_40, dir.path().join("moved")).expect("moves");
    while stack.depth() > 40 {
        assert!(stack.pop().expect("goes up").is_some(), "level {}", stack.depth());
    }
    assert!(stack.pop().expect("looks").is_none(), "the parent of level 40 is not where it was");
}

#[test]
fn a_mount_is_not_entered() {
    let mut walk = Walk::within_mount(open(Path::new("/"))).expect("starts");
    while let Some(step) = walk.next().expect("walks") {
        if matches!(step, Step::Entry(entry) if entry.name == "proc") {
            let error = walk.enter().expect_err("another mount");
            assert!(matches!(&error, Error::Io { .. }), "{error}");
            assert_eq!(error.errno(), Some(rustix::io::Errno::XDEV));
            return;
        }
    }
    panic!("no /proc on this machine");
}
