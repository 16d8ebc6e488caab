//! A store in a temporary folder, mounts that go away again, and trees as text.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rbuild_image::tar::{Entry, EntryKind, EntryPath, Limits, Options, Writer};
use rbuild_model::rootfs::{OverlayXattr, RootPlan};
use rbuild_model::snapshot::{Chain, SnapshotId};
use rbuild_snapshotter::{
    Active, CopySnapshotter, Folders, OverlaySnapshotter, Snapshotter, Tree, Writes, write_layer,
};
use rbuild_testkit::privilege;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

/// A store with every implementation.
pub(crate) struct Store {
    pub(crate) dir: TempDir,
}

impl Store {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temp dir") }
    }

    pub(crate) fn folders(&self) -> Folders {
        let path = |name: &str| self.dir.path().join(name);
        Folders { snapshots: path("snapshots"), tmp: path("tmp"), trash: path("trash") }
    }

    pub(crate) fn overlay(&self) -> OverlaySnapshotter {
        self.create();
        OverlaySnapshotter::open(&self.folders(), xattrs()[0]).expect("opens")
    }

    pub(crate) fn all(&self) -> Vec<Box<dyn Snapshotter>> {
        self.create();
        let open = |xattr: &OverlayXattr| -> Box<dyn Snapshotter> {
            Box::new(OverlaySnapshotter::open(&self.folders(), *xattr).expect("opens"))
        };
        let copy = CopySnapshotter::open(&self.folders()).expect("opens");
        xattrs().iter().map(open).chain([Box::new(copy) as Box<dyn Snapshotter>]).collect()
    }

    fn create(&self) {
        let folders = self.folders();
        for path in [folders.snapshots, folders.tmp, folders.trash] {
            fs::create_dir_all(path).expect("a folder");
        }
    }
}

/// The marks that this process may use: in a user namespace only those of users.
fn xattrs() -> &'static [OverlayXattr] {
    let map = fs::read_to_string("/proc/self/uid_map").expect("a map");
    let initial = map.split_whitespace().eq(["0", "0", "4294967295"]);
    if initial { &[OverlayXattr::Trusted, OverlayXattr::User] } else { &[OverlayXattr::User] }
}

/// A mounted tree.
pub(crate) struct Mounted {
    dir: TempDir,
}

impl Mounted {
    pub(crate) fn new(plan: &RootPlan) -> Self {
        let dir = tempfile::tempdir().expect("a temp dir");
        match plan {
            RootPlan::Directory { path, readonly } => {
                mount(path, dir.path(), "", MountFlags::BIND, None).expect("binds");
                if *readonly {
                    let flags = MountFlags::BIND | MountFlags::RDONLY;
                    rustix::mount::mount_remount(dir.path(), flags, c"").expect("remounts");
                }
            }
            RootPlan::Overlay { lowers, upper, xattr } => {
                let lowers: Vec<_> = lowers.iter().map(|path| path.display().to_string()).collect();
                let mut options = format!("lowerdir={},index=off,metacopy=off", lowers.join(":"));
                match xattr {
                    OverlayXattr::Trusted => options += ",redirect_dir=nofollow,xino=off",
                    OverlayXattr::User => options += ",userxattr,xino=off",
                }
                if let Some(upper) = upper {
                    let (folder, work) = (upper.upper.display(), upper.work.display());
                    options += &format!(",upperdir={folder},workdir={work}");
                    if upper.volatile {
                        options += ",volatile";
                    }
                }
                let options = CString::new(options).expect("no NUL");
                mount("overlay", dir.path(), "overlay", MountFlags::empty(), Some(options.as_c_str()))
                    .expect("mounts");
            }
        }
        Self { dir }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(errno) = unmount(self.dir.path(), UnmountFlags::DETACH) {
            eprintln!("cannot unmount {}: {errno}", self.dir.path().display());
        }
    }
}

/// Whether overlays can be mounted; tests that need one say loudly that they are skipped.
pub(crate) fn can_mount() -> bool {
    let test = privilege::this_test();
    privilege::is_root(&test) && privilege::can_mount(&test)
}

/// Runs `work` on the mounted tree of a new snapshot and commits it.
pub(crate) fn step(snapshotter: &dyn Snapshotter, parents: &Chain, work: impl FnOnce(&Path)) -> Chain {
    let active = snapshotter.prepare(parents).expect("prepares");
    let plan = snapshotter.root(&active, Writes::Volatile).expect("a plan");
    let mounted = Mounted::new(&plan);
    work(mounted.path());
    drop(mounted);
    parents.with(snapshotter.commit(active).expect("commits"))
}

/// Applies an archive and commits it.
pub(crate) fn apply(
    snapshotter: &dyn Snapshotter,
    parents: &Chain,
    tar: &[u8],
) -> Result<Chain, rbuild_snapshotter::Error> {
    let (active, _) = snapshotter.apply(parents, &mut &tar[..], Limits::default())?;
    Ok(parents.with(snapshotter.commit(active)?))
}

/// Returns the tree that a stack shows, as text; see [`dump`].
pub(crate) fn show(snapshotter: &dyn Snapshotter, chain: &Chain) -> BTreeMap<PathBuf, String> {
    let mounted = Mounted::new(&snapshotter.view(chain).expect("a plan"));
    dump(mounted.path())
}

/// Like [`show`], with the times of directories.
pub(crate) fn show_with_times(snapshotter: &dyn Snapshotter, chain: &Chain) -> BTreeMap<PathBuf, String> {
    let mounted = Mounted::new(&snapshotter.view(chain).expect("a plan"));
    let mut all = dump(mounted.path());
    for (path, what) in &mut all {
        let meta = fs::symlink_metadata(mounted.path().join(path)).expect("metadata");
        *what += &format!(" of {}", meta.mtime());
    }
    all
}

/// Returns the layer of the top of a stack, with all times clamped to 1970.
pub(crate) fn layer(snapshotter: &dyn Snapshotter, chain: &Chain) -> Vec<u8> {
    let options = Options { epoch: Some(0) };
    write_layer(snapshotter, Tree::Committed(chain), Vec::new(), options).expect("writes")
}

/// Describes everything in a tree: kind, mode, owner, time and content, but not the times of directories.
pub(crate) fn dump(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).expect("metadata");
        let kind = meta.file_type();
        let what = if kind.is_dir() {
            todo.extend(fs::read_dir(&path).expect("reads").map(|entry| entry.expect("an entry").path()));
            "dir".to_owned()
        } else if kind.is_symlink() {
            format!("-> {}", fs::read_link(&path).expect("a link").display())
        } else if kind.is_file() {
            let bytes = fs::read(&path).expect("reads");
            format!("file {} @{}", bytes.escape_ascii(), meta.mtime())
        } else if kind.is_fifo() {
            "fifo".to_owned()
        } else {
            format!("device {:x}", meta.rdev())
        };
        let inside = path.strip_prefix(root).expect("inside").to_owned();
        all.insert(inside, format!("{:o} {}:{} {what}", meta.mode() & 0o7777, meta.uid(), meta.gid()));
    }
    all
}

/// Writes an archive of entries with contents.
pub(crate) fn tar(entries: &[(Entry, &[u8])]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), Options::default());
    for (entry, content) in entries {
        writer.append_bytes(entry, content).expect("writes");
    }
    writer.finish().expect("writes")
}

/// Makes an entry from a line: `d path`, `f path=content`, `l path=target`, `h path=target`, `w path`, `o path`.
pub(crate) fn entry(line: &str) -> (Entry, Vec<u8>) {
    let (kind, rest) = line.split_once(' ').expect("a kind and a path");
    let (path, value) = rest.split_once('=').unwrap_or((rest, ""));
    let at = |path: &str| EntryPath::new(path).expect("a path");
    let mut content = Vec::new();
    let made = match kind {
        "d" => Entry::new(at(path), EntryKind::Directory, 0o751),
        "f" => {
            content = value.as_bytes().to_vec();
            Entry::new(at(path), EntryKind::File { size: content.len() as u64 }, 0o640)
        }
        "l" => Entry::new(at(path), EntryKind::Symlink { target: value.as_bytes().to_vec() }, 0o777),
        "h" => Entry::new(at(path), EntryKind::Hardlink { target: at(value) }, 0o640),
        "p" => Entry::new(at(path), EntryKind::Fifo, 0o600),
        "w" | "o" => {
            let (dir, name) = path.rsplit_once('/').map_or(("", path), |(dir, name)| (dir, name));
            let name = if kind == "w" { format!("{dir}/.wh.{name}") } else { format!("{path}/.wh..wh..opq") };
            Entry::new(at(&name), EntryKind::File { size: 0 }, 0)
        }
        other => panic!("no kind {other}"),
    };
    (made, content)
}

/// Writes an archive of lines; see [`entry`].
pub(crate) fn archive(lines: &[&str]) -> Vec<u8> {
    let entries: Vec<_> = lines.iter().map(|line| entry(line)).collect();
    tar(&entries.iter().map(|(entry, content)| (entry.clone(), &content[..])).collect::<Vec<_>>())
}

/// Says whether the store's folders hold nothing but what was committed.
pub(crate) fn leftovers(store: &Store) -> Vec<PathBuf> {
    let folders = store.folders();
    let mut left = Vec::new();
    for path in [folders.tmp, folders.trash] {
        left.extend(fs::read_dir(path).expect("reads").map(|entry| entry.expect("an entry").path()));
    }
    left
}

/// Lists the changes of the top of a stack, a line each.
pub(crate) fn changes(snapshotter: &dyn Snapshotter, tree: Tree<'_>) -> Vec<String> {
    use rbuild_snapshotter::diff::{ChangeKind, Novelty};
    let mut lines = Vec::new();
    snapshotter
        .changes(tree, &mut |change, content| {
            let path = change.path.display();
            let mode = |meta: &rbuild_confined::Metadata| format!("{:o}", meta.mode);
            assert_eq!(content.is_some(), matches!(change.kind, ChangeKind::File { .. }), "{path}");
            lines.push(match &change.kind {
                ChangeKind::Whiteout => format!("whiteout {path}"),
                ChangeKind::Directory { meta, novelty: Novelty::Changed } => {
                    format!("dir {path} {}", mode(meta))
                }
                ChangeKind::Directory { novelty: Novelty::Carrier, .. } => format!("carrier {path}"),
                ChangeKind::File { meta, capability } => {
                    let text = std::io::read_to_string(content.expect("just looked")).expect("reads");
                    let capability = if capability.is_some() { " capable" } else { "" };
                    format!("file {path} {} {text:?}{capability}", mode(meta))
                }
                ChangeKind::Hardlink { target, .. } => format!("hardlink {path} {}", target.display()),
                ChangeKind::Symlink { target, .. } => format!("symlink {path} {}", target.display()),
                ChangeKind::Special { meta } => format!("{:?} {path} {}", meta.kind, mode(meta)),
            });
            Ok(())
        })
        .expect("compares");
    lines
}

/// Names an active snapshot again, as a row does.
pub(crate) fn again(active: &Active) -> Active {
    Active::new(active.id(), active.parents().clone())
}

/// An id that no store has.
pub(crate) fn nobody() -> SnapshotId {
    SnapshotId::from_bytes([7; 16])
}

/// The bytes of a path, for names that are not text.
pub(crate) fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}
