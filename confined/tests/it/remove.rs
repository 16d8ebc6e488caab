use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use rbuild_confined::{remove_contents, remove_tree};
use rbuild_testkit::privilege;

#[test]
fn trees_go_and_what_links_point_at_stays() {
    let dir = tempfile::tempdir().expect("a temp dir");
    let keep = dir.path().join("keep");
    fs::create_dir(&keep).expect("keep");
    fs::write(keep.join("f"), "f").expect("a file");
    let tree = dir.path().join("tree");
    fs::create_dir_all(tree.join("a/b")).expect("a tree");
    fs::write(tree.join("a/b/f"), "f").expect("a file");
    symlink(&keep, tree.join("a/link")).expect("a link");
    symlink(&keep, dir.path().join("top")).expect("a link");
    fs::set_permissions(tree.join("a/b"), fs::Permissions::from_mode(0o0)).expect("closes");
    let parent = fs::File::open(dir.path()).expect("opens");
    for name in ["tree", "top", "nothing"] {
        remove_tree(&parent, name).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let left: Vec<_> =
        fs::read_dir(dir.path()).expect("reads").map(|e| e.expect("an entry").file_name()).collect();
    assert_eq!(left, ["keep"]);
    assert_eq!(fs::read(keep.join("f")).expect("is left"), b"f");
    remove_contents(&parent).expect("empties");
    assert_eq!(fs::read_dir(dir.path()).expect("is left").count(), 0);
}

#[test]
fn several_remove_one_tree() {
    const REMOVERS: usize = 4;
    let dir = tempfile::tempdir().expect("a temp dir");
    let parent = fs::File::open(dir.path()).expect("opens");
    for folder in 0..400 {
        fs::create_dir_all(dir.path().join(format!("tree/{}/{folder}/below", folder % 8))).expect("a tree");
    }
    let together = std::sync::Barrier::new(REMOVERS);
    std::thread::scope(|scope| {
        for _ in 0..REMOVERS {
            scope.spawn(|| {
                together.wait();
                remove_tree(&parent, "tree").expect("what another one removed is gone");
            });
        }
    });
    assert!(!dir.path().join("tree").exists());
}

#[test]
fn an_immutable_file_goes_too() {
    let dir = tempfile::tempdir().expect("a temp dir");
    fs::create_dir(dir.path().join("d")).expect("a folder");
    let file = fs::File::create(dir.path().join("d/f")).expect("a file");
    match rustix::fs::ioctl_setflags(&file, rustix::fs::IFlags::IMMUTABLE) {
        Ok(()) => {}
        Err(errno) => {
            privilege::skipped(
                "an_immutable_file_goes_too",
                &format!("in part: no immutable flag here: {errno}"),
            );
        }
    }
    let parent = fs::File::open(dir.path()).expect("opens");
    remove_tree(&parent, "d").expect("removes");
    assert!(!dir.path().join("d").exists());
}

#[test]
fn a_mount_inside_is_an_error_and_keeps_its_content() {
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
    let dir = tempfile::tempdir().expect("a temp dir");
    let inside = dir.path().join("tree/mnt");
    fs::create_dir_all(&inside).expect("folders");
    if let Err(errno) = mount("tmpfs", &inside, "tmpfs", MountFlags::empty(), None) {
        let name = "a_mount_inside_is_an_error_and_keeps_its_content";
        return privilege::not_permitted(name, &format!("cannot mount: {errno}"));
    }
    let written = fs::write(inside.join("f"), "f");
    let parent = fs::File::open(dir.path()).expect("opens");
    let result = remove_tree(&parent, "tree");
    let kept = inside.join("f").exists();
    let on_it = remove_tree(fs::File::open(dir.path().join("tree")).expect("opens"), "mnt");
    let kept_still = inside.join("f").exists();
    unmount(&inside, UnmountFlags::DETACH).expect("unmounts");
    written.expect("a file");
    assert_eq!(result.expect_err("a mount").errno(), Some(rustix::io::Errno::XDEV));
    assert_eq!(on_it.expect_err("a mount").errno(), Some(rustix::io::Errno::XDEV));
    assert!(kept && kept_still);
    remove_tree(&parent, "tree").expect("removes");
}
