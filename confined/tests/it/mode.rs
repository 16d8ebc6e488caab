use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};

use rbuild_confined::{Kind, chmod_nofollow};
use rustix::fs::{CWD, FileType, Mode};
use rustix::io::Errno;

#[test]
fn a_mode_is_set_of_the_kind_that_is_meant_and_never_through_a_link() {
    let dir = tempfile::tempdir().expect("a temp dir");
    let mode_of =
        |name: &str| fs::metadata(dir.path().join(name)).expect("metadata").permissions().mode() & 0o7777;
    fs::write(dir.path().join("file"), "").expect("a file");
    fs::set_permissions(dir.path().join("file"), fs::Permissions::from_mode(0o640)).expect("a mode");
    symlink("file", dir.path().join("link")).expect("a link");
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).expect("a pipe");
    let parent = fs::File::open(dir.path()).expect("opens");
    let set = |name: &str, kind| {
        chmod_nofollow(parent.as_fd(), OsStr::new(name), kind, Mode::from_raw_mode(0o4777))
    };
    // Nobody reads the pipe, and still this does not wait.
    assert_eq!(set("pipe", Kind::Fifo), Ok(()));
    assert_eq!(mode_of("pipe"), 0o4777);
    for (name, kind) in [("link", Kind::Fifo), ("link", Kind::File), ("file", Kind::Fifo)] {
        assert_eq!(set(name, kind), Err(Errno::STALE), "{name} as {kind:?}");
    }
    assert_eq!(set("none", Kind::File), Err(Errno::NOENT));
    assert_eq!(mode_of("file"), 0o640);
}
