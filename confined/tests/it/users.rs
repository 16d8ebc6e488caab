use std::fs;
use std::os::unix::fs::symlink;

use rbuild_confined::{Owner, Root, UserError, UserSpec, Users};
use tempfile::TempDir;

const PASSWD: &str = "\
# a comment
root:x:0:0:root:/root:/bin/sh
app:x:1000:1001:App:/home/app:/bin/sh
1000:x:0:0:named by digits:/evil:/bin/sh
short:x:5
minus:x:-1:-1::/:/bin/sh
plus:x:+7:+7::/:/bin/sh
top:x:4294967295:1::/:/bin/sh
big:x:3000000000:1::/big:/bin/sh
nohome:x:50:51:::
relative:x:60:61::home:
";
const GROUP: &str = "\
root:x:0:root
wheel:x:10:root,app
app:x:1001:
docker:x:999:app,,other
short:x
staff:x:50
";

fn tree() -> TempDir {
    let dir = tempfile::tempdir().expect("a temp dir");
    fs::create_dir(dir.path().join("etc")).expect("etc");
    fs::write(dir.path().join("etc/passwd"), PASSWD).expect("passwd");
    fs::write(dir.path().join("etc/group"), GROUP).expect("group");
    dir
}

fn users(dir: &TempDir) -> Users {
    Users::load(&Root::open(dir.path()).expect("opens"))
}

/// `uid:gid groups home`, or the error's kind.
fn run_as(users: &Users, spec: &str) -> String {
    let result = spec.parse::<UserSpec>().and_then(|spec| users.lookup(&spec));
    match result {
        Ok(id) => format!("{}:{} {:?} {}", id.uid, id.gid, id.groups, id.home.display()),
        Err(UserError::Invalid { .. }) => "invalid".to_owned(),
        Err(UserError::OutOfRange { .. }) => "out of range".to_owned(),
        Err(UserError::NoUser { .. }) => "no user".to_owned(),
        Err(UserError::NoGroup { .. }) => "no group".to_owned(),
        Err(UserError::Database { .. }) => "database".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn processes_run_as() {
    let dir = tree();
    let users = users(&dir);
    for (spec, expected) in [
        ("", "0:0 [0, 10] /root"),
        ("root", "0:0 [0, 10] /root"),
        ("0", "0:0 [0, 10] /root"),
        ("0000", "0:0 [0, 10] /root"),
        ("app", "1000:1001 [10, 999, 1001] /home/app"),
        ("1000", "1000:1001 [10, 999, 1001] /home/app"),
        ("1000:1000", "1000:1000 [1000] /home/app"),
        ("1", "1:0 [0] /"),
        ("1:wheel", "1:10 [10] /"),
        ("app:docker", "1000:999 [999] /home/app"),
        ("app:7", "1000:7 [7] /home/app"),
        ("app:none", "no group"),
        ("nobody", "no user"),
        ("short", "no user"),
        ("minus", "no user"),
        ("plus", "no user"),
        ("top", "no user"),
        ("big", "out of range"),
        ("nohome", "50:51 [51] /"),
        ("relative", "60:61 [61] /"),
        ("2147483647", "2147483647:0 [0] /"),
        ("2147483648", "out of range"),
        ("4294967295", "out of range"),
        ("4294967296", "out of range"),
        ("18446744073709551616", "out of range"),
        ("0:4294967295", "out of range"),
        ("0:2147483648", "out of range"),
        ("-1", "invalid"),
        ("+", "invalid"),
        ("++1", "invalid"),
        ("0x0", "invalid"),
        (" 0", "invalid"),
        ("\u{660}", "invalid"),
        (":", "0:0 [0, 10] /root"),
        ("1:", "1:0 [0] /"),
        ("app:", "1000:1001 [10, 999, 1001] /home/app"),
        (":1", "0:1 [1] /root"),
        ("1:2:3", "invalid"),
        ("a\nb", "invalid"),
    ] {
        assert_eq!(run_as(&users, spec), expected, "{spec:?}");
    }
}

#[test]
fn files_belong_to() {
    let dir = tree();
    let users = users(&dir);
    for (spec, uid, gid) in [
        ("", 0, 0),
        ("root", 0, 0),
        ("app", 1000, 1001),
        ("1000", 1000, 1000),
        ("app:docker", 1000, 999),
        ("7:docker", 7, 999),
        ("app:7", 1000, 7),
        ("unknown", 0, 0),
        ("app:unknown", 1000, 1001),
        ("7:unknown", 7, 7),
        ("unknown:unknown", 0, 0),
        ("2147483647", 2_147_483_647, 2_147_483_647),
        ("3000000000", 0, 0),
        ("1:2:3", 1, 1),
        ("-1", 0, 0),
        ("5:-1", 5, 0),
        ("-1:5", 0, 5),
        ("-2", 4_294_967_294, 4_294_967_294),
        ("+5", 5, 5),
        ("007", 7, 7),
        ("0x10", 0, 0),
        ("1:99999999999", 1, 1),
        ("app:x:y", 1000, 1001),
        (":", 0, 0),
        ("7:", 7, 0),
        (":7", 0, 7),
    ] {
        let owner = users.owner(&UserSpec::of_file(spec)).expect("an owner");
        assert_eq!(owner, Owner { uid, gid }, "{spec}");
    }
    for (spec, expected) in
        [("root", true), ("1:2", true), ("app", false), ("1:app", false), ("root:root", true)]
    {
        let result = Users::owner_without_tree(&UserSpec::of_file(spec));
        assert_eq!(result.is_ok(), expected, "{spec}");
    }
    let error = Users::owner_without_tree(&UserSpec::of_file("app")).expect_err("no tree");
    assert_eq!(error.to_string(), "invalid user index: -1");
}

#[test]
fn a_tree_without_databases_knows_numbers() {
    let dir = tempfile::tempdir().expect("a temp dir");
    let users = users(&dir);
    assert_eq!(run_as(&users, ""), "0:0 [0] /");
    assert_eq!(run_as(&users, "5"), "5:0 [0] /");
    assert_eq!(run_as(&users, "root"), "no user");
    assert_eq!(run_as(&users, "0:root"), "no group");
}

#[test]
fn hostile_databases_are_bounded() {
    let long_line = format!("app:x:1:1:{}:/:\n", "x".repeat(64 * 1024));
    type Plant<'a> = (&'a str, &'a dyn Fn(&std::path::Path));
    let plants: &[Plant<'_>] = &[
        ("a device", &|path| {
            // Inside the tree the link leads to a device of the tree.
            symlink("/dev/zero", path).expect("a link");
            let dev = path.parent().and_then(|etc| etc.parent()).expect("a root").join("dev");
            fs::create_dir_all(&dev).expect("dev");
            let number = rustix::fs::makedev(1, 5);
            let mode = rustix::fs::Mode::RUSR;
            let kind = rustix::fs::FileType::CharacterDevice;
            rustix::fs::mknodat(rustix::fs::CWD, dev.join("zero"), kind, mode, number).expect("a device");
        }),
        ("a pipe", &|path| {
            let kind = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, path, kind, rustix::fs::Mode::RUSR, 0).expect("a pipe");
        }),
        ("a sparse file", &|path| {
            fs::File::create(path).and_then(|file| file.set_len(10 << 30)).expect("a sparse file");
        }),
        ("11 MiB", &|path| fs::write(path, vec![b'\n'; 11 << 20]).expect("a file")),
        ("a long line", &|path| fs::write(path, &long_line).expect("a file")),
        ("a loop", &|path| symlink("passwd", path).expect("a link")),
        ("a folder", &|path| fs::create_dir(path).expect("a folder")),
    ];
    for (what, plant) in plants {
        let dir = tree();
        fs::remove_file(dir.path().join("etc/passwd")).expect("removes");
        plant(&dir.path().join("etc/passwd"));
        let users = users(&dir);
        assert_eq!(run_as(&users, "app"), "database", "{what}");
        assert_eq!(run_as(&users, "7"), "database", "{what}");
        assert_eq!(run_as(&users, "7:8"), "7:8 [8] /", "{what}");
    }
}

#[test]
fn a_link_to_the_hosts_file_stays_inside() {
    let dir = tree();
    let etc = dir.path().join("etc");
    fs::rename(etc.join("passwd"), dir.path().join("real")).expect("moves");
    symlink("../../../../../../real", etc.join("passwd")).expect("a link");
    assert_eq!(run_as(&users(&dir), "app:7"), "1000:7 [7] /home/app");
    fs::remove_file(dir.path().join("real")).expect("removes");
    assert_eq!(run_as(&users(&dir), "root"), "no user", "the host has a root, the tree has not");
}
