use rbuild_confined::Root;

use super::*;

#[test]
fn a_root_is_looked_through_and_what_is_too_large_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &[u8]| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("lib/apk/db/installed", b"P:musl\nV:1\n");
    write("srv/node_modules/a/package.json", br#"{"name": "a", "version": "2"}"#);
    write("srv/node_modules/b/package.json", &vec![b' '; (1 << 20) + 1]);
    write("var/lib/rpm/rpmdb.sqlite", b"SQLite");
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("Cargo.lock")).unwrap();
    let inventory = materials::inventory(&Root::open(folder.path()).unwrap()).unwrap();
    let names: Vec<_> = inventory.packages().map(|package| package.name.as_str()).collect();
    assert_eq!(names, ["musl", "a"]);
    let left: Vec<_> = inventory.left_out().collect();
    assert_eq!(left, ["srv/node_modules/b/package.json: too large", "var/lib/rpm/rpmdb.sqlite: cut short",]);
}
