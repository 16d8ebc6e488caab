use proptest::prelude::*;

use super::*;

fn read(files: &[(&str, &str)]) -> Inventory {
    let mut inventory = Inventory::default();
    for (path, text) in files {
        let database = Database::at(path).unwrap_or_else(|| panic!("{path} is no database"));
        inventory.read(database, path, &text.as_bytes()).unwrap();
    }
    inventory
}

fn urls(inventory: &Inventory) -> Vec<String> {
    inventory.packages().map(|package| inventory.url(package)).collect()
}

#[test]
fn dpkg_lists_what_is_installed() {
    let inventory = read(&[
        (
            "var/lib/dpkg/status",
            "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9+deb12u4\nDescription: x\n Version: not this\n\n\
             Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n\
             Package: broken\nStatus: install ok installed\n\n",
        ),
        ("var/lib/dpkg/status.d/base-files", "Package: base-files\nArchitecture: all\nVersion: 12.4\n"),
        ("usr/lib/os-release", "PRETTY_NAME=\"Debian\"\nID=debian\nVERSION_ID=\"12\"\n"),
    ]);
    assert_eq!(
        urls(&inventory),
        [
            "pkg:deb/debian/base-files@12.4?arch=all&distro=debian-12",
            "pkg:deb/debian/libc6@2.36-9%2Bdeb12u4?arch=amd64&distro=debian-12",
        ]
    );
    assert_eq!(
        inventory.left_out().collect::<Vec<_>>(),
        ["var/lib/dpkg/status: 1 entries that cannot be read"]
    );
}

#[test]
fn other_managers_have_their_own_forms() {
    let inventory = read(&[
        ("lib/apk/db/installed", "C:Q1\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\n\nP:busybox\nV:1.36.1-r2\n"),
        (
            "app/node_modules/counter/package.json",
            r#"{"name": "counter", "version": "1.0.0", "license": "MIT"}"#,
        ),
        ("app/node_modules/@a/b/package.json", r#"{"name": "@a/b", "version": "2.0.0"}"#),
        (
            "venv/lib/python3/site-packages/My_Dist-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: My_Dist\nVersion: 1.0\nLicense: BSD\n\nName: not-this\n",
        ),
        (
            "gems/specifications/rake-13.1.0.gemspec",
            "Gem::Specification.new do |s|\n  s.name = \"rake\".freeze\n  s.version = \"13.1.0\"\n  s.licenses = [\"MIT\".freeze]\nend\n",
        ),
        (
            "src/Cargo.lock",
            "version = 4\n\n[[package]]\nname = \"own\"\nversion = \"0.1.0\"\n\n[[package]]\nname = \"serde\"\nversion = \"1.0.2\"\nsource = \"registry+x\"\ndependencies = [\n \"a\",\n]\n",
        ),
    ]);
    assert_eq!(
        urls(&inventory),
        [
            "pkg:apk/alpine/busybox@1.36.1-r2",
            "pkg:apk/alpine/musl@1.2.5-r0?arch=x86_64",
            "pkg:npm/%40a/b@2.0.0",
            "pkg:npm/counter@1.0.0",
            "pkg:pypi/my-dist@1.0",
            "pkg:cargo/own@0.1.0",
            "pkg:cargo/serde@1.0.2",
            "pkg:gem/rake@13.1.0",
        ]
    );
    assert_eq!(inventory.left_out().count(), 0);
}

#[test]
fn other_files_are_none() {
    for path in [
        "package.json",
        "app/package.json",
        "app/node_modules/a/test/package.json",
        "app/node_modules/.package-lock.json",
        "x/METADATA",
        "home/var/lib/dpkg/status",
        "var/lib/dpkg/status.d/x.md5sums",
        "var/lib/dpkg/status-old",
        "var/lib/rpm/Name",
        "src/rake.gemspec",
    ] {
        assert_eq!(Database::at(path), None, "{path}");
    }
    for (path, database) in [
        ("var/lib/rpm/rpmdb.sqlite", Database::RpmSqlite),
        ("usr/lib/sysimage/rpm/rpmdb.sqlite-wal", Database::RpmJournal),
        ("usr/lib/sysimage/rpm/Packages.db", Database::RpmNdb),
        ("var/lib/rpm/Packages", Database::RpmBdb),
        ("usr/lib/ruby/gems/3.3.0/specifications/default/json-2.7.1.gemspec", Database::Gem),
    ] {
        assert_eq!(Database::at(path), Some(database), "{path}");
    }
}

#[test]
fn texts_that_are_none_are_left_out() {
    let long = "v".repeat(600);
    let inventory = read(&[
        ("a/node_modules/x/package.json", "not json"),
        ("b/node_modules/x/package.json", r#"{"name": "x\u0007", "version": "1"}"#),
        ("lib/apk/db/installed", &format!("P:a\nV:{long}\n")),
    ]);
    assert_eq!((inventory.packages().count(), inventory.left_out().count()), (0, 3));
}

#[test]
fn a_journal_that_is_not_empty_is_told() {
    let inventory = read(&[("var/lib/rpm/rpmdb.sqlite-wal", "")]);
    assert_eq!(inventory.left_out().count(), 0);
    let inventory = read(&[("var/lib/rpm/rpmdb.sqlite-wal", "frames")]);
    assert_eq!(
        inventory.left_out().collect::<Vec<_>>(),
        ["var/lib/rpm/rpmdb.sqlite-wal: what stands only in the journal is not read"]
    );
}

#[test]
fn what_is_left_out_is_told_up_to_a_limit() {
    let mut inventory = Inventory::default();
    for number in 0..5000 {
        inventory.leave_out(&format!("srv/{number}"), "too large");
    }
    assert_eq!(inventory.left_out().count(), MOST_LEFT_OUT + 1);
    assert!(inventory.left_out().any(|told| told == "and others"));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        for database in [
            Database::Dpkg, Database::Apk, Database::Npm, Database::Python, Database::CargoLock,
            Database::OsRelease, Database::RpmSqlite, Database::RpmNdb, Database::RpmBdb, Database::RpmJournal,
            Database::Gem, Database::Program,
        ] {
            let mut inventory = Inventory::default();
            inventory.read(database, "x", &&bytes[..]).unwrap();
            for url in urls(&inventory) {
                prop_assert!(url.is_ascii() && !url.contains(' '), "{url}");
            }
        }
    }

    #[test]
    fn lists_that_look_right_are_read_without_harm(
        text in "((Package|Version|Status|P|V|Name|name|version|source)(:| = )[ -~]{0,12}\n|\n|\\[\\[package\\]\\]\n){0,24}"
    ) {
        for database in [Database::Dpkg, Database::Apk, Database::Python, Database::CargoLock] {
            let mut inventory = Inventory::default();
            inventory.read(database, "x", &text.as_bytes()).unwrap();
            for package in inventory.packages() {
                prop_assert!(!package.name.is_empty() && package.version.len() <= MOST_TEXT);
            }
        }
    }
}
