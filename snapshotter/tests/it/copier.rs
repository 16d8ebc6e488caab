//! Trees into trees.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use rbuild_confined::{Kind, Metadata, NewDir, Owner, Root, Time};
use rbuild_model::snapshot::Chain;
use rbuild_snapshotter::Tree;
use rbuild_snapshotter::copier::{
    Capabilities, Copier, CopyError, CopyRules, Sockets, Verdict, Watch, WatchFile,
};
use tempfile::TempDir;

use crate::fixture::{Store, can_mount, changes, dump, show, step};

struct Pair {
    dir: TempDir,
}

impl Pair {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temp dir");
        fs::create_dir(dir.path().join("from")).expect("from");
        fs::create_dir(dir.path().join("to")).expect("to");
        Self { dir }
    }

    fn from(&self, path: &str) -> PathBuf {
        self.dir.path().join("from").join(path)
    }

    fn to(&self, path: &str) -> PathBuf {
        self.dir.path().join("to").join(path)
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("parents");
        fs::write(path, content).expect("a file");
    }

    fn root(&self, name: &str) -> Root {
        Root::open(self.dir.path().join(name)).expect("opens")
    }

    fn copy(&self, copier: Copier<'_>) -> Result<(), CopyError> {
        let mut copier = copier;
        let dest = self.root("to").resolve("/").expect("resolves");
        copier.copy_dir(&self.root("from").resolve("/").expect("resolves"), dest)
    }
}

fn set_time(path: &Path, seconds: i64) {
    let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: 123 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, flags).expect("sets");
}

#[test]
fn a_tree_is_copied_with_all_it_has() {
    let pair = Pair::new();
    pair.write("from/a/f", "content");
    pair.write("from/a/b/suid", "s");
    pair.write("from/empty", "");
    fs::set_permissions(pair.from("a/b/suid"), fs::Permissions::from_mode(0o4711)).expect("a mode");
    fs::set_permissions(pair.from("a"), fs::Permissions::from_mode(0o2555)).expect("a mode");
    chown(pair.from("a/f"), Some(7), Some(8)).expect("an owner");
    chown(pair.from("a"), Some(9), Some(9)).expect("an owner");
    fs::set_permissions(pair.from("a"), fs::Permissions::from_mode(0o2555)).expect("a mode");
    chown(pair.from("a/b/suid"), Some(0), Some(0)).expect("an owner");
    fs::set_permissions(pair.from("a/b/suid"), fs::Permissions::from_mode(0o4711)).expect("a mode");
    symlink("/dangling", pair.from("a/link")).expect("a link");
    fs::hard_link(pair.from("a/f"), pair.from("second")).expect("a link");
    let pipe = pair.from("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0)
        .expect("a pipe");
    for path in ["a/f", "a/link", "a/b", "a", ""] {
        set_time(&pair.from(path), 1_000);
    }
    pair.copy(Copier::new(CopyRules::default())).expect("copies");
    assert_eq!(dump(&pair.to("")), dump(&pair.from("")));
    for path in ["a/f", "a/link", "a/b", "a", ""] {
        let meta = fs::symlink_metadata(pair.to(path)).expect("metadata");
        assert_eq!((meta.mtime(), meta.mtime_nsec()), (1_000, 123), "{path}");
    }
    let inode = |path| fs::metadata(pair.to(path)).expect("metadata").ino();
    assert_eq!(inode("a/f"), inode("second"));
    assert!(fs::metadata(pair.to("a/b")).expect("metadata").gid() == 0, "not the group of its folder");
}

#[test]
fn trees_merge() {
    let pair = Pair::new();
    pair.write("from/d/new", "new");
    pair.write("from/d/same", "new");
    pair.write("to/d/old", "old");
    pair.write("to/d/same", "old");
    fs::hard_link(pair.to("d/same"), pair.to("other_name")).expect("a link");
    symlink("/nowhere", pair.to("d/new")).expect("a link");
    fs::set_permissions(pair.from("d"), fs::Permissions::from_mode(0o700)).expect("a mode");
    fs::set_permissions(pair.from(""), fs::Permissions::from_mode(0o711)).expect("a mode");
    fs::set_permissions(pair.to(""), fs::Permissions::from_mode(0o1777)).expect("a mode");
    set_time(&pair.from(""), 5);
    let rules = CopyRules { owner: Some(Owner::new(3, 4)), ..CopyRules::default() };
    pair.copy(Copier::new(rules)).expect("copies");
    let shown = dump(&pair.to(""));
    let kept =
        |path: &str| shown[Path::new(path)].rsplit_once(" @").map_or(&*shown[Path::new(path)], |kept| kept.0);
    assert_eq!(kept(""), "1777 0:0 dir", "the destination keeps its own");
    assert_eq!(fs::metadata(pair.to("")).expect("metadata").mtime(), 5);
    assert_eq!(kept("d"), "700 3:4 dir", "a folder below gets the source's");
    assert_eq!(kept("d/new"), "644 3:4 file new");
    assert_eq!(kept("d/same"), "644 3:4 file new");
    assert_eq!(kept("d/old"), "644 0:0 file old");
    assert_eq!(kept("other_name"), "644 0:0 file old", "other names of a replaced file keep it");
}

#[test]
fn what_does_not_fit_is_an_error() {
    let pair = Pair::new();
    pair.write("from/x", "file");
    pair.write("to/x/full", "");
    let error = pair.copy(Copier::new(CopyRules::default())).expect_err("a folder is in the way");
    assert_eq!(error.to_string(), "cannot replace to directory x with file");

    for in_the_way in ["file", "link"] {
        let pair = Pair::new();
        pair.write("from/x/f", "file");
        match in_the_way {
            "file" => pair.write("to/x", ""),
            _ => symlink("/tmp", pair.to("x")).expect("a link"),
        }
        let error = pair.copy(Copier::new(CopyRules::default())).expect_err("a file is in the way");
        assert_eq!(error.to_string(), "cannot copy to non-directory: x", "{in_the_way}");
    }
}

#[test]
fn rules_change_what_arrives() {
    let pair = Pair::new();
    pair.write("from/d/f", "f");
    symlink("f", pair.from("d/l")).expect("a link");
    drop(UnixListener::bind(pair.from("d/socket")).expect("a socket"));
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(pair.from("d/f"), "security.capability", &capability, flags).expect("capabilities");
    let has = |path: PathBuf| {
        let mut value = [0_u8; 64];
        rustix::fs::getxattr(path, "security.capability", &mut value[..]).is_ok()
    };
    let mode = |kind: Kind, mode: u32| if kind == Kind::Directory { 0o711 } else { mode | 0o111 };
    let rules = CopyRules {
        owner: Some(Owner::new(1, 2)),
        mode: Some(&mode),
        mtime: Some(Time::from_seconds(7)),
        capabilities: Capabilities::Keep,
        sockets: Sockets::EmptyFiles,
    };
    pair.copy(Copier::new(rules)).expect("copies");
    let shown = dump(&pair.to(""));
    let got =
        |path: &str| shown[Path::new(path)].rsplit_once(" @").map_or(&*shown[Path::new(path)], |kept| kept.0);
    assert_eq!(got("d"), "711 1:2 dir");
    assert_eq!(got("d/f"), "755 1:2 file f");
    assert_eq!(got("d/l"), "777 1:2 -> f");
    assert_eq!(got("d/socket"), "755 1:2 file ");
    assert!(has(pair.to("d/f")));
    for path in ["", "d", "d/f", "d/l", "d/socket"] {
        assert_eq!(fs::symlink_metadata(pair.to(path)).expect("metadata").mtime(), 7, "{path}");
    }

    let named = |path: PathBuf, name: &str| {
        let mut value = [0_u8; 64];
        rustix::fs::getxattr(path, name, &mut value[..]).ok().map(|length| value[..length].to_vec())
    };
    for (path, value) in [("d", b"folder"), ("d/f", b"a file")] {
        rustix::fs::setxattr(pair.from(path), "user.own", value, flags).expect("attributes");
        assert_eq!(named(pair.to(path), "user.own"), None);
    }
    fs::remove_dir_all(pair.to("d")).expect("removes");
    pair.copy(Copier::new(CopyRules { capabilities: Capabilities::Keep, ..CopyRules::default() }))
        .expect("copies");
    assert_eq!(named(pair.to("d/f"), "user.own"), None, "an image's copies have capabilities alone");
    fs::remove_dir_all(pair.to("d")).expect("removes");
    pair.copy(Copier::new(CopyRules { capabilities: Capabilities::All, ..CopyRules::default() }))
        .expect("copies");
    assert_eq!(named(pair.to("d"), "user.own"), Some(b"folder".to_vec()));
    assert_eq!(named(pair.to("d/f"), "user.own"), Some(b"a file".to_vec()));
    assert!(has(pair.to("d/f")));

    fs::remove_dir_all(pair.to("d")).expect("removes");
    pair.copy(Copier::new(CopyRules::default())).expect("copies");
    assert!(!has(pair.to("d/f")), "lost from a context");
    assert!(!pair.to("d/socket").exists());
}

#[test]
fn a_filter_decides_what_is_taken() {
    let pair = Pair::new();
    for path in ["from/keep/f", "from/skip/f", "from/deep/a/no", "from/deep/b/yes", "from/f", "from/no"] {
        pair.write(path, "");
    }
    fs::create_dir(pair.from("bare")).expect("a folder");
    let mut filter = |path: &Path, kind: Kind| match path.to_str() {
        Some("skip" | "no" | "deep/a/no") => Verdict::Skip,
        Some(path) if path.starts_with("deep") && kind == Kind::Directory => Verdict::Descend,
        _ => Verdict::Take,
    };
    pair.copy(Copier::new(CopyRules::default()).with_filter(&mut filter)).expect("copies");
    let names: Vec<_> = dump(&pair.to("")).into_keys().map(|path| path.display().to_string()).collect();
    assert_eq!(names, ["", "bare", "deep", "deep/b", "deep/b/yes", "f", "keep", "keep/f"]);
}

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Log {
    fn add(&self, line: String) {
        self.0.lock().expect("no panic").push(line);
    }
}

impl Watch for Log {
    fn entry(&self, path: &Path, meta: &Metadata, target: Option<&Path>) {
        let target = target.map(|target| format!(" -> {}", target.display())).unwrap_or_default();
        self.add(format!("{:?} {}{target}", meta.kind, path.display()));
    }

    fn file<'w>(&'w self, path: &Path, _meta: &Metadata) -> Box<dyn WatchFile + 'w> {
        Box::new(LogFile { log: self, line: format!("File {} ", path.display()) })
    }
}

struct LogFile<'w> {
    log: &'w Log,
    line: String,
}

impl WatchFile for LogFile<'_> {
    fn data(&mut self, bytes: &[u8]) {
        self.line += &bytes.escape_ascii().to_string();
    }

    fn end(self: Box<Self>) {
        self.log.add(self.line);
    }
}

#[test]
fn a_watch_sees_everything_that_is_copied() {
    let pair = Pair::new();
    pair.write("from/a/f", "one");
    pair.write("from/b", "");
    fs::hard_link(pair.from("a/f"), pair.from("c")).expect("a link");
    symlink("b", pair.from("l")).expect("a link");
    let log = Log::default();
    pair.copy(Copier::new(CopyRules::default()).with_watch(&log)).expect("copies");
    let mut seen = log.0.into_inner().expect("no panic");
    seen.sort();
    assert_eq!(
        seen,
        ["Directory ", "Directory a", "File a/f one", "File b ", "File c one", "Symlink l -> b"]
    );
    assert_eq!(dump(&pair.to("")), dump(&pair.from("")));
}

/// More than one batch, for all who copy: many small files with several names and closed folders among them.
#[test]
fn many_files_arrive_whichever_thread_copies_them() {
    let pair = Pair::new();
    for folder in 0..60 {
        for file in 0..12 {
            pair.write(&format!("from/d{folder}/e/f{file}"), &format!("{folder} {file}"));
            pair.write(&format!("from/d{folder}/z{file}"), "");
        }
        fs::hard_link(pair.from(&format!("d{folder}/e/f3")), pair.from(&format!("d{folder}/link")))
            .expect("a link");
        fs::hard_link(pair.from("d0/e/f5"), pair.from(&format!("d{folder}/e/shared"))).expect("a link");
        let closed = fs::Permissions::from_mode(0o2500);
        fs::set_permissions(pair.from(&format!("d{folder}/e")), closed).expect("a mode");
        for path in [format!("d{folder}/e"), format!("d{folder}")] {
            set_time(&pair.from(&path), 1_000 + folder);
        }
    }
    let log = Log::default();
    pair.copy(Copier::new(CopyRules::default()).with_watch(&log)).expect("copies");
    assert_eq!(dump(&pair.to("")), dump(&pair.from("")));
    assert_eq!(log.0.into_inner().expect("no panic").len(), 1 + 60 * (2 + 24 + 2));
    for folder in 0..60 {
        for path in [format!("d{folder}/e"), format!("d{folder}")] {
            assert_eq!(fs::metadata(pair.to(&path)).expect("metadata").mtime(), 1_000 + folder, "{path}");
        }
        let inode = |path: &str| fs::metadata(pair.to(path)).expect("metadata").ino();
        assert_eq!(inode(&format!("d{folder}/e/shared")), inode("d0/e/f5"));
    }
}

#[test]
fn an_error_in_a_file_ends_the_copy() {
    let pair = Pair::new();
    for file in 0..500 {
        pair.write(&format!("from/f{file:03}"), "x");
    }
    pair.write("to/f250/in/the/way", "");
    let error = pair.copy(Copier::new(CopyRules::default())).expect_err("a folder is in the way");
    assert_eq!(error.to_string(), "cannot replace to directory f250 with file");
}

#[test]
fn one_entry_is_copied_to_a_name() {
    let pair = Pair::new();
    pair.write("from/f", "new");
    symlink("f", pair.from("l")).expect("a link");
    symlink("/etc/passwd", pair.to("name")).expect("a link");
    let (from, to) = (pair.root("from"), pair.root("to"));
    let dest = to.resolve("/").expect("resolves");
    let mut copier = Copier::new(CopyRules::default());
    copier.copy_entry(&from.resolve("l").expect("resolves"), &dest, "name").expect("copies");
    assert_eq!(fs::symlink_metadata(pair.to("name")).expect("metadata").len(), 3, "the link was replaced");
    copier.copy_entry(&from.resolve_nofollow("l").expect("resolves"), &dest, "l").expect("copies");
    assert_eq!(fs::read_link(pair.to("l")).expect("a link"), Path::new("f"));
}

#[test]
fn holes_stay_holes() {
    let pair = Pair::new();
    let file = fs::File::create(pair.from("sparse")).expect("a file");
    std::os::unix::fs::FileExt::write_at(&file, b"middle", 1 << 20).expect("writes");
    file.set_len(8 << 20).expect("a hole");
    pair.copy(Copier::new(CopyRules::default())).expect("copies");
    let copied = fs::metadata(pair.to("sparse")).expect("metadata");
    assert_eq!(copied.len(), 8 << 20);
    assert!(copied.blocks() * 512 < 1 << 20, "{} blocks", copied.blocks());
    assert_eq!(fs::read(pair.to("sparse")).expect("reads"), fs::read(pair.from("sparse")).expect("reads"));
}

#[test]
fn depth_is_no_problem() {
    let pair = Pair::new();
    let mut dir: std::os::fd::OwnedFd = fs::File::open(pair.from("")).expect("opens").into();
    for _ in 0..500 {
        rustix::fs::mkdirat(&dir, "d", rustix::fs::Mode::RWXU).expect("a level");
        dir = rbuild_confined::open_subdir(&dir, "d").expect("opens");
    }
    rustix::fs::symlinkat("end", &dir, "end").expect("a link");
    pair.copy(Copier::new(CopyRules::default())).expect("copies");
    assert_eq!(dump(&pair.to("")).len(), 502);
}

#[test]
fn an_overlay_is_a_destination_like_any_other() {
    if !can_mount() {
        return;
    }
    let store = Store::new();
    let snapshotter = store.overlay();
    let base = step(&snapshotter, &Chain::empty(), |root| {
        fs::create_dir_all(root.join("app/lib")).expect("folders");
        fs::write(root.join("app/lib/old"), "old").expect("a file");
        fs::write(root.join("app/same"), "old").expect("a file");
        fs::hard_link(root.join("app/same"), root.join("other_name")).expect("a link");
    });
    let pair = Pair::new();
    pair.write("from/lib/new", "new");
    pair.write("from/same", "new");
    pair.write("from/large", &"x".repeat(1 << 20));
    fs::hard_link(pair.from("lib/new"), pair.from("linked")).expect("a link");
    let copied = step(&snapshotter, &base, |root| {
        let root = Root::open(root).expect("opens");
        let dest = root.mkdir_all("app", NewDir::default()).expect("is there").dir;
        let source = pair.root("from").resolve("/").expect("resolves");
        let rules = CopyRules { owner: Some(Owner::ROOT), ..CopyRules::default() };
        Copier::new(rules).copy_dir(&source, dest).expect("copies");
    });
    let large = format!("file app/large 644 {:?}", "x".repeat(1 << 20));
    assert_eq!(
        changes(&snapshotter, Tree::Committed(&copied)),
        [
            "carrier app",
            &large,
            "carrier app/lib",
            "file app/lib/new 644 \"new\"",
            "hardlink app/linked app/lib/new",
            "file app/same 644 \"new\"",
        ]
    );
    let shown = show(&snapshotter, &copied);
    assert!(shown[Path::new("other_name")].contains("file old"));
}

#[test]
fn a_copy_stops_when_it_is_told_to() {
    let pair = Pair::new();
    for number in 0..300 {
        pair.write(&format!("from/{number:03}"), "content");
    }
    let asked = AtomicU32::new(0);
    let stop = || asked.fetch_add(1, Ordering::Relaxed) >= 200;
    let stopped = pair.copy(Copier::new(CopyRules::default()).until(&stop));
    assert!(matches!(stopped, Err(CopyError::Stopped)), "{stopped:?}");
    let copied = fs::read_dir(pair.to("")).expect("lists").count();
    assert!((1..200).contains(&copied), "{copied}");

    // In the middle of a file too.
    let pair = Pair::new();
    fs::File::create(pair.from("large")).expect("makes").set_len(1 << 20).expect("grows");
    let asked = AtomicU32::new(0);
    let fifth = || asked.fetch_add(1, Ordering::Relaxed) >= 4;
    let seen = Log::default();
    let stopped = pair.copy(Copier::new(CopyRules::default()).with_watch(&seen).until(&fifth));
    assert!(matches!(stopped, Err(CopyError::Stopped)), "{stopped:?}");
    let copied = fs::metadata(pair.to("large")).expect("begun").len();
    assert!((1..1 << 20).contains(&copied), "{copied}");
}
