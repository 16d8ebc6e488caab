use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use rbuild_confined::{Error, Kind, Mounts, NewDir, Owner, Resolver, Root, Time};
use rustix::io::Errno;
use tempfile::TempDir;

/// A folder with a tree in `root` and something outside of it that must never be seen.
struct Tree {
    dir: TempDir,
}

impl Tree {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temp dir");
        fs::create_dir(dir.path().join("root")).expect("a root");
        fs::write(dir.path().join("secret"), "outside").expect("a secret");
        Self { dir }
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.dir.path().join("root").join(inside)
    }

    fn file(&self, inside: &str) -> &Self {
        fs::create_dir_all(self.path(inside).parent().expect("a parent")).expect("parents");
        fs::write(self.path(inside), inside).expect("a file");
        self
    }

    fn link(&self, inside: &str, target: impl AsRef<Path>) -> &Self {
        fs::create_dir_all(self.path(inside).parent().expect("a parent")).expect("parents");
        symlink(target, self.path(inside)).expect("a link");
        self
    }

    fn root(&self, resolver: Resolver) -> Root {
        Root::open(self.path("")).expect("the root opens").with_resolver(resolver)
    }
}

fn on_both(body: impl Fn(Resolver)) {
    body(Resolver::Kernel);
    body(Resolver::Emulated);
}

/// What resolving `path` gives: the content of a file, `dir`, the link's target, or the error.
fn outcome(root: &Root, path: &str, follow: bool) -> String {
    let handle = if follow { root.resolve(path) } else { root.resolve_nofollow(path) };
    let handle = match handle {
        Ok(handle) => handle,
        Err(error) => {
            return match error.errno().expect("an error number") {
                Errno::NOENT => "not found".to_owned(),
                Errno::NOTDIR => "not a directory".to_owned(),
                Errno::LOOP => "too many links".to_owned(),
                Errno::NAMETOOLONG => "too long".to_owned(),
                other => other.to_string(),
            };
        }
    };
    match handle.metadata().expect("metadata").kind {
        Kind::File => std::io::read_to_string(handle.open_file().expect("opens")).expect("reads"),
        Kind::Directory => "dir".to_owned(),
        Kind::Symlink => format!("-> {}", handle.read_link().expect("a link").display()),
        other => format!("{other:?}"),
    }
}

#[test]
fn paths_mean_what_they_mean_inside_the_root() {
    let tree = Tree::new();
    tree.file("f").file("a/b/c").file("secret2");
    let outside = tree.dir.path().to_owned();
    tree.link("abs", "/a/b")
        .link("up", "../../../../secret")
        .link("abs_out", outside.join("secret"))
        .link("a/rel", "../f")
        .link("loop", "loop")
        .link("l1", "l2")
        .link("l2", "abs")
        .link("dangling", "/nowhere/x")
        .link("root", "/")
        .link("to_file_slash", "f/")
        .link("updir", "..");
    let long = format!("{}f", "a/../".repeat(900));
    let cases: &[(&str, bool, &str)] = &[
        ("f", true, "f"),
        ("/f", true, "f"),
        ("//f", true, "f"),
        ("./a/./b//c", true, "a/b/c"),
        ("../../f", true, "f"),
        ("a/../../f", true, "f"),
        ("/", true, "dir"),
        ("", true, "dir"),
        (".", true, "dir"),
        ("..", true, "dir"),
        ("f/", true, "not a directory"),
        ("f/.", true, "not a directory"),
        ("f/..", true, "not a directory"),
        ("f/x", true, "not a directory"),
        ("none", true, "not found"),
        ("none/../f", true, "not found"),
        ("abs", true, "dir"),
        ("abs/c", true, "a/b/c"),
        ("abs", false, "-> /a/b"),
        ("abs/", false, "dir"),
        ("abs/c", false, "a/b/c"),
        ("l1/c", true, "a/b/c"),
        ("abs/..", true, "dir"),
        ("abs/../rel", true, "f"),
        ("up", true, "not found"),
        ("abs_out", true, "not found"),
        ("a/rel", true, "f"),
        ("loop", true, "too many links"),
        ("loop", false, "-> loop"),
        ("dangling", true, "not found"),
        ("root/root/f", true, "f"),
        ("to_file_slash", true, "not a directory"),
        ("updir/updir/f", true, "f"),
        (&long, true, "too long"),
    ];
    on_both(|resolver| {
        let root = tree.root(resolver);
        for (path, follow, expected) in cases {
            let got = outcome(&root, path, *follow);
            assert_eq!(got, *expected, "{resolver:?}: {path} (follow: {follow})");
        }
    });
}

#[test]
fn a_chain_of_forty_links_is_followed_and_one_more_is_not() {
    let tree = Tree::new();
    tree.file("f").link("l1", "f");
    for n in 2..=41 {
        tree.link(&format!("l{n}"), format!("l{}", n - 1));
    }
    on_both(|resolver| {
        let root = tree.root(resolver);
        assert!(root.resolve("l40").is_ok(), "{resolver:?}");
        assert_eq!(root.resolve("l41").expect_err("too many").errno(), Some(Errno::LOOP), "{resolver:?}");
    });
}

#[test]
fn parent_gives_the_directory_and_the_name() {
    let tree = Tree::new();
    tree.file("a/f").link("l", "/a").file("file");
    on_both(|resolver| {
        let root = tree.root(resolver);
        let (dir, name) = root.parent("l/new/").expect("a parent");
        assert_eq!(name, "new");
        assert_eq!(dir.metadata().expect("metadata").ino, fs::metadata(tree.path("a")).expect("a").ino());
        for path in ["", "/", "..", "a/..", "a/."] {
            assert!(matches!(root.parent(path), Err(Error::NoName { .. })), "{path}");
        }
        assert!(root.parent("file/x").expect_err("not a directory").is_not_a_directory());
    });
}

#[test]
fn magic_links_do_not_lead_out() {
    let root = Root::open("/proc").expect("proc is mounted");
    let error = root.resolve("self/root").expect_err("a magic link is refused");
    assert_eq!(error.errno(), Some(Errno::LOOP));
    // The walk reads the link's text, `/`, which is the root of the tree, and stays inside.
    let root = root.with_resolver(Resolver::Emulated);
    assert_eq!(outcome(&root, "self/root", true), "dir");
    let inside = root.metadata("self/root").expect("stays inside");
    assert_eq!(inside.ino, fs::metadata("/proc").expect("proc").ino());
}

#[test]
fn another_mount_is_refused_when_asked() {
    on_both(|resolver| {
        let root = Root::open("/").expect("the host's root").with_resolver(resolver);
        assert!(root.resolve("proc/self/status").is_ok());
        let root = root.with_mounts(Mounts::Refuse);
        let error = root.resolve("proc/version").expect_err("another mount");
        assert_eq!(error.errno(), Some(Errno::XDEV), "{resolver:?}");
    });
}

#[test]
fn files_are_read_within_a_limit_and_only_if_regular() {
    let tree = Tree::new();
    tree.file("four").link("zero", "/dev/zero").link("to", "/four");
    fs::create_dir(tree.path("dev")).expect("dev");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        tree.path("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .expect("a pipe");
    fs::File::create(tree.path("sparse")).expect("a file").set_len(10 << 30).expect("sparse");
    on_both(|resolver| {
        let root = tree.root(resolver);
        assert_eq!(root.read("to", 4).expect("reads"), b"four");
        assert!(matches!(root.read("four", 3), Err(Error::TooLarge { limit: 3, .. })));
        assert!(matches!(root.read("sparse", 100), Err(Error::TooLarge { .. })));
        assert!(matches!(root.read("pipe", 100), Err(Error::NotRegular { .. })));
        assert!(matches!(root.read("dev", 100), Err(Error::NotRegular { .. })));
        assert!(root.read("zero", 100).expect_err("not the host's").is_not_found());
        assert_eq!(root.read_link("to").expect("a link"), Path::new("/four"));
        assert!(root.find("nothing").expect("absence is no error").is_none());
    });
}

#[test]
fn canonical_paths_are_free_of_links() {
    let tree = Tree::new();
    tree.file("run/lock/f").link("var/run", "/run").link("var/lock", "../run/lock");
    let root = tree.root(Resolver::Kernel);
    for (path, expected) in [
        ("/var/run/lock/f", "run/lock/f"),
        ("var/lock/../lock/f", "run/lock/f"),
        ("..", ""),
        ("/var/", "var"),
    ] {
        assert_eq!(root.canonicalize(path).expect("resolves"), Path::new(expected), "{path}");
    }
}

#[test]
fn missing_directories_are_made_inside() {
    on_both(|resolver| {
        let tree = Tree::new();
        tree.file("file")
            .link("canary", tree.dir.path().join("canary"))
            .link("dangling", "deep/er")
            .link("abs", "/made");
        let root = tree.root(resolver);
        let new =
            NewDir { mode: 0o2750, owner: Some(Owner::new(12, 34)), mtime: Some(Time::from_seconds(1_000)) };
        let made = root.mkdir_all("abs/x", new).expect("makes");
        let paths: Vec<_> = made.created.iter().map(|created| created.path.clone()).collect();
        assert_eq!(paths, [Path::new("made"), Path::new("made/x")]);
        let x = fs::metadata(tree.path("made/x")).expect("made/x");
        assert_eq!((x.mode() & 0o7777, x.uid(), x.gid(), x.mtime()), (0o2750, 12, 34, 1_000));
        assert_ne!(fs::metadata(tree.path("made")).expect("made").mtime(), 1_000, "a child moves its time");

        assert_eq!(root.mkdir_all("dangling", new).expect("makes").created.len(), 2);
        assert!(tree.path("deep/er").is_dir());
        assert!(root.mkdir_all("dangling/", new).expect("is there").created.is_empty());

        let made = root.mkdir_all("canary/x", NewDir::default()).expect("makes inside");
        assert!(!tree.dir.path().join("canary").exists());
        assert!(made.dir.metadata().expect("metadata").is_dir());

        root.mkdir_all("../../../../up", NewDir::default()).expect("makes inside");
        assert!(tree.path("up").is_dir());
        assert!(root.mkdir_all("/", NewDir::default()).expect("is there").created.is_empty());
        for path in ["file", "file/x", "file/../x"] {
            assert!(root.mkdir_all(path, new).expect_err("a file").is_not_a_directory(), "{path}");
        }
    });
}

#[test]
fn the_umask_does_not_touch_new_directories() {
    let tree = Tree::new();
    let root = tree.root(Resolver::Kernel);
    root.mkdir_all("open", NewDir { mode: 0o777, ..NewDir::default() }).expect("makes");
    let mode = fs::metadata(tree.path("open")).expect("open").permissions().mode();
    assert_eq!(mode & 0o7777, 0o777);
}

/// Another thread swaps a directory on the path for a link that points out, again and again.
#[test]
fn a_racing_swap_never_leads_out() {
    let tree = Tree::new();
    tree.file("a/b/secret").link("evil", "../../../..");
    fs::write(tree.dir.path().join("secret"), "outside").expect("a secret");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let root = fs::File::open(tree.path("")).expect("opens");
            while !stop.load(Ordering::Relaxed) {
                let _ =
                    rustix::fs::renameat_with(&root, "a", &root, "evil", rustix::fs::RenameFlags::EXCHANGE);
            }
        });
        on_both(|resolver| {
            let root = tree.root(resolver);
            for _ in 0..3_000 {
                for path in ["a/b/secret", "a/b/../../secret", "a/secret", "a/../secret"] {
                    if let Ok(bytes) = root.read(path, 100) {
                        assert_eq!(bytes, b"a/b/secret", "{resolver:?}: {path} left the root");
                    }
                }
            }
        });
        stop.store(true, Ordering::Relaxed);
    });
}

fn component() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[abc]",
        1 => Just("..".to_owned()),
        1 => Just(".".to_owned()),
        1 => Just(String::new()),
    ]
}

fn any_path() -> impl Strategy<Value = String> {
    (any::<bool>(), prop::collection::vec(component(), 1..6))
        .prop_map(|(absolute, parts)| format!("{}{}", if absolute { "/" } else { "" }, parts.join("/")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Both resolvers agree on every path of every small tree of links.
    #[test]
    fn the_resolvers_agree(
        entries in prop::collection::vec((any_path(), any_path(), 0..3_u8), 1..10),
        paths in prop::collection::vec(any_path(), 1..12),
    ) {
        let tree = Tree::new();
        let root = tree.root(Resolver::Kernel);
        for (path, target, kind) in &entries {
            let Ok((dir, name)) = root.parent(path) else { continue };
            // A name that is taken keeps what it has.
            let _ = match kind {
                0 => rustix::fs::mkdirat(&dir, &name, rustix::fs::Mode::RWXU),
                1 => rustix::fs::symlinkat(target.as_str(), &dir, &name),
                _ => rustix::fs::mknodat(&dir, &name, rustix::fs::FileType::RegularFile, rustix::fs::Mode::RWXU, 0),
            };
        }
        let emulated = tree.root(Resolver::Emulated);
        for path in &paths {
            for follow in [true, false] {
                let inode = |root: &Root| {
                    let handle = if follow { root.resolve(path) } else { root.resolve_nofollow(path) };
                    handle.map(|handle| handle.metadata().expect("metadata").ino).map_err(|error| error.errno())
                };
                prop_assert_eq!(inode(&root), inode(&emulated), "{} in {:?}", path, &entries);
            }
        }
    }
}
