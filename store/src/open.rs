//! Opening a store: making it, refusing it, recovering it.
//!
//! A root is refused where the promises of this crate cannot be kept: on NFS, 9p, virtiofs and SMB (no reliable
//! rename and `flock`), in a folder that ignores case, when it belongs to somebody else, when others may write to it.
//!
//! The symlink `run` in the root remembers which run folder is in use (device, inode, path) and under which boot.
//! Two processes that see different run folders, as happens when one of them is in a container, would not see each
//! other's locks; the second one is refused while the first one lives. Another boot means recovery: what was not
//! promoted is undone, and what was being made is thrown away. The link is written last, so recovery that is
//! interrupted happens again. The other way round, the symlink `root` in the run folder tells whose it is: a copy of a
//! store beside the original is refused, as both would use the same names for bridges and cgroups, and what a store
//! that is no more left in the kernel is known by it ([`is_abandoned`]).

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use thiserror::Error;

use crate::boot::BootId;
use crate::database::{Database, DatabaseError, Schema};
use crate::durable::{create_private_folder, open_folder, sync_folder};
use crate::error::{Context, FileError};
use crate::id::UniqueId;
use crate::layout::Layout;
use crate::lock::{LockClass, LockError, LockMode, LockName, Locks, Wait, acquire_file};
use crate::meta::{Meta, MetaError};
use crate::space::Reserve;
use crate::{Inner, ProcessCell, Store, crash, process};

mod filesystem;

/// The names in a root that are not folders of the layout.
const FILES: &[&str] =
    &["lost+found", "meta.json", "run", "lock", "reserve", "db.sqlite", "db.sqlite-wal", "db.sqlite-shm"];

/// How long a store that is being migrated or repaired is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a store is opened with.
#[derive(Clone)]
pub struct StoreOptions {
    /// The root folder; it is created if it is missing.
    pub root: PathBuf,
    /// The folder below which the run folder of this store lies.
    pub runtime: PathBuf,
    /// What this process is, for those who wait for its locks: "rbuild up".
    pub purpose: String,
    /// The tables of all owners.
    pub schemas: &'static [&'static Schema],
    /// How many bytes to keep in reserve for a full disk; zero for none.
    pub reserve: u64,
}

/// Why a store was not opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// What the folder says about itself is not acceptable.
    #[error(transparent)]
    Meta(#[from] MetaError),
    /// The database could not be opened or migrated.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The file system cannot keep the promises of a store.
    #[error("`{}` is on {kind}, where renames and locks are not reliable: choose a folder on a local disk with `--root`", path.display())]
    FileSystem {
        /// The root folder.
        path: PathBuf,
        /// The kind of file system.
        kind: &'static str,
    },
    /// The folder belongs to another user.
    #[error("`{}` belongs to user {owner}, and this is user {user}: choose another folder with `--root`", path.display())]
    Foreign {
        /// The root folder.
        path: PathBuf,
        /// The numeric id of the owner.
        owner: u32,
        /// The numeric id of the caller.
        user: u32,
    },
    /// Other users may write to the folder, and with that decide what builds contain.
    #[error("`{}` may be written to by others (mode {mode:04o}): take that away with `chmod go-w`", path.display())]
    Exposed {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The folder is neither empty nor a store.
    #[error("`{}` is neither empty nor a store: choose another folder with `--root`", path.display())]
    NotAStore {
        /// The folder.
        path: PathBuf,
    },
    /// Somebody uses the store through another run folder.
    #[error("`{}` is in use through another run folder (`{other}`), whose locks cannot be seen through `{}`: let that rbuild end first, or use the same run folder", path.display(), run.display())]
    OtherRunFolder {
        /// The root folder.
        path: PathBuf,
        /// Our run folder.
        run: PathBuf,
        /// The path of theirs, as they see it.
        other: String,
    },
    /// The folder is a copy of another store, made while that one stays: both would share names in the kernel.
    #[error("`{}` is a copy of the store `{}`, with the same id: remove its `meta.json` and `run` to make it a store of its own, or use the other one", path.display(), other.display())]
    Copied {
        /// The root folder.
        path: PathBuf,
        /// The root folder that uses the run folder.
        other: PathBuf,
    },
    /// The store is being migrated, reset or repaired.
    #[error("`{}` is being migrated or repaired by another rbuild: let it end first", path.display())]
    Busy {
        /// The root folder.
        path: PathBuf,
    },
}

/// The store-wide lock: held shared by everybody, exclusively by whoever must be alone.
struct Presence<'a> {
    fd: &'a OwnedFd,
    path: PathBuf,
}

impl Presence<'_> {
    fn lock(&self, how: FlockOperation) -> Result<bool, FileError> {
        loop {
            match rustix::fs::flock(self.fd, how) {
                Ok(()) => return Ok(true),
                Err(Errno::WOULDBLOCK) => return Ok(false),
                Err(Errno::INTR) => {}
                Err(error) => return Err(FileError::new("lock", &self.path, error)),
            }
        }
    }

    fn become_alone(&self) -> Result<bool, FileError> {
        if self.lock(FlockOperation::NonBlockingLockExclusive)? {
            return Ok(true);
        }
        // A refused conversion has let go of the shared lock.
        self.admit()?;
        Ok(false)
    }

    fn admit(&self) -> Result<(), FileError> {
        self.lock(FlockOperation::LockShared).map(drop)
    }
}

impl crate::database::Alone for Presence<'_> {
    fn become_alone(&self) -> Result<bool, DatabaseError> {
        Ok(Presence::become_alone(self)?)
    }

    fn admit_others(&self) -> Result<(), DatabaseError> {
        Ok(self.admit()?)
    }
}

impl Store {
    /// Opens the store, making it at first use.
    pub fn open(options: StoreOptions) -> Result<Self, OpenError> {
        let StoreOptions { root: root_path, runtime, purpose, schemas: owners, reserve } = options;
        // The working folder may change later.
        let root_path = std::path::absolute(&root_path).at("find", &root_path)?;
        let runtime = std::path::absolute(&runtime).at("find", &runtime)?;
        let root = open_root(&root_path)?;
        let meta_path = root_path.join("meta.json");
        let (meta, fresh) = match Meta::read(&meta_path)? {
            Some(meta) => (meta, false),
            None => (create(&root_path, &root)?, true),
        };
        let run = runtime.join(meta.id.short());
        let layout = Layout::new(root_path, run);
        let boot = BootId::current()?;

        let presence = enter(&layout)?;
        let present = Presence { fd: &presence, path: layout.lock() };
        let run_stat = open_run_folder(&layout)?;
        claim_run_folder(&layout, &root)?;
        let same_boot = settle_run_folder(&layout, &run_stat, boot, &present)?;

        let mut schemas = vec![&process::SCHEMA, &crate::budget::SCHEMA];
        schemas.extend_from_slice(owners);
        let database = Database::open(layout.database(), &layout.database_lock())?;
        if database.migrate(&schemas, &present)? {
            crash::point("open.migrated");
        }
        let stamp_base =
            UniqueId::random()?.as_bytes()[..8].iter().fold(0, |base, &byte| base << 8 | u64::from(byte));
        let store = Self {
            inner: Arc::new(Inner {
                locks: Locks::new(layout.locks(), &purpose),
                reserve: Reserve::new(layout.reserve(), reserve),
                id: meta.id,
                process: ProcessCell::default(),
                budget: std::sync::OnceLock::new(),
                layout,
                boot,
                purpose,
                schemas,
                database,
                stamp_base,
                root,
                _presence: presence,
            }),
        };
        if !same_boot {
            // Also where the one who made the store was killed before this. A disk that is full since is no reason not
            // to open.
            let restored = store.reserve().restore();
            if fresh {
                restored?;
            }
            store.recover(fresh)?;
            crash::point("open.recovered");
            write_run_link(&store.inner.layout, &run_stat, boot)?;
        }
        Ok(store)
    }

    /// Undoes and throws away what the last boot left unfinished. Repeatable.
    fn recover(&self, fresh: bool) -> Result<(), OpenError> {
        if !fresh {
            self.undo_other_boots()?;
            self.void_dead_leases()?;
            self.clear_abandoned_work()?;
        }
        Ok(())
    }
}

fn private() -> Mode {
    Mode::RUSR | Mode::WUSR
}

/// Takes the store-wide lock shared; whoever is alone for a moment (a first opening, a migration) is waited for.
fn enter(layout: &Layout) -> Result<OwnedFd, OpenError> {
    let name = LockName::new(LockClass::Upkeep, layout.root().display());
    let wait = Wait { timeout: Some(PATIENCE), ..Wait::forever() };
    match acquire_file(&layout.lock(), &name, LockMode::Shared, &wait, &|_| {}) {
        Ok(grant) => Ok(grant.fd),
        Err(LockError::File(error)) => Err(error.into()),
        Err(_) => Err(OpenError::Busy { path: layout.root().to_owned() }),
    }
}

/// Opens the root folder, making it and its parents if needed, and judges it.
fn open_root(path: &Path) -> Result<OwnedFd, OpenError> {
    let (root, made) = match open_folder(path) {
        Ok(root) => (root, false),
        Err(error) if error.kind == crate::ErrorKind::NotFound => {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).at("create", parent)?;
            }
            create_private_folder(path)?;
            (open_folder(path)?, true)
        }
        Err(error) => return Err(error.into()),
    };
    let stat = rustix::fs::fstat(&root).at("stat", path)?;
    judge_owner(path, &stat)?;
    if let Some(kind) = filesystem::unreliable(&root, &stat).at("stat the file system of", path)? {
        return Err(OpenError::FileSystem { path: path.to_owned(), kind });
    }
    if made && let Some(parent) = path.parent() {
        sync_folder(parent)?;
    }
    Ok(root)
}

fn judge_owner(path: &Path, stat: &Stat) -> Result<(), OpenError> {
    let user = rustix::process::geteuid().as_raw();
    if stat.st_uid != user {
        return Err(OpenError::Foreign { path: path.to_owned(), owner: stat.st_uid, user });
    }
    let mode = stat.st_mode & 0o7777;
    if mode & 0o022 != 0 {
        return Err(OpenError::Exposed { path: path.to_owned(), mode });
    }
    Ok(())
}

/// Makes a store in an empty folder, or finishes the making of one; rivals agree on one `meta.json`.
fn create(root: &Path, fd: &OwnedFd) -> Result<Meta, OpenError> {
    let layout = Layout::new(root.to_owned(), PathBuf::new());
    let folders: Vec<PathBuf> = layout.root_folders().collect();
    for entry in std::fs::read_dir(root).at("list", root)? {
        let name = entry.at("list", root)?.file_name();
        // The files of a store as well: a rival may be further on than we, or only `meta.json` was lost.
        let ours = FILES.iter().any(|file| name == *file)
            || [b".meta-".as_slice(), b".run-"].iter().any(|prefix| name.as_bytes().starts_with(prefix))
            || folders.iter().any(|folder| folder.file_name() == Some(&name));
        if !ours {
            return Err(OpenError::NotAStore { path: root.to_owned() });
        }
    }
    if filesystem::ignores_case(fd) {
        let kind = "a file system that ignores upper and lower case";
        return Err(OpenError::FileSystem { path: root.to_owned(), kind });
    }
    rustix::fs::fchmod(fd, Mode::RWXU).at("set the mode of", root)?;
    for folder in &folders {
        create_private_folder(folder)?;
    }
    crash::point("open.root-created");
    let meta = Meta::fresh()?;
    let path = layout.meta();
    let temporary = root.join(format!(".meta-{}", UniqueId::random()?));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut file =
        std::fs::File::from(rustix::fs::open(&temporary, flags, private()).at("create", &temporary)?);
    let written = std::io::Write::write_all(&mut file, &meta.to_text()).and_then(|()| file.sync_all());
    let linked = written.at("write", &temporary).and_then(|()| match rustix::fs::link(&temporary, &path) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(FileError::new("create", &path, error)),
    });
    let _ = rustix::fs::unlink(&temporary);
    linked?;
    sync_folder(root)?;
    crash::point("open.meta-written");
    // Whoever was first decided the id.
    Meta::read(&path)?.ok_or_else(|| OpenError::NotAStore { path: root.to_owned() })
}

/// Opens the run folder, making it if needed, and judges it.
fn open_run_folder(layout: &Layout) -> Result<Stat, OpenError> {
    let run = layout.run();
    if let Ok(fd) = open_folder(run) {
        let stat = rustix::fs::fstat(&fd).at("stat", run)?;
        judge_owner(run, &stat)?;
        return Ok(stat);
    }
    if let Some(base) = run.parent() {
        if let Some(above) = base.parent() {
            std::fs::create_dir_all(above).at("create", above)?;
        }
        create_private_folder(base)?;
    }
    create_private_folder(run)?;
    for folder in layout.run_folders() {
        create_private_folder(&folder)?;
    }
    let stat = rustix::fs::stat(run).at("stat", run)?;
    judge_owner(run, &stat)?;
    Ok(stat)
}

/// Makes sure that the run folder belongs to this root and not to one that this is a copy of.
fn claim_run_folder(layout: &Layout, root: &OwnedFd) -> Result<(), OpenError> {
    let ours = rustix::fs::fstat(root).at("stat", layout.root())?;
    let identity = |stat: &Stat| format!("{:x}:{:x}:", stat.st_dev, stat.st_ino);
    let link = layout.run().join("root");
    let found = match rustix::fs::readlink(&link, Vec::new()) {
        Ok(text) => text.into_bytes(),
        Err(Errno::NOENT) => Vec::new(),
        Err(error) => return Err(FileError::new("read", &link, error).into()),
    };
    if found.starts_with(identity(&ours).as_bytes()) {
        return Ok(());
    }
    if let Some(other) = claimed_root(&found) {
        let is_there =
            rustix::fs::stat(&other).is_ok_and(|stat| found.starts_with(identity(&stat).as_bytes()));
        if is_there {
            return Err(OpenError::Copied { path: layout.root().to_owned(), other });
        }
    }
    // Nobody's yet, or of a root that is no longer there: a store that was moved to another disk.
    let mut text = identity(&ours).into_bytes();
    text.extend_from_slice(layout.root().as_os_str().as_bytes());
    let temporary = layout.run().join(format!(".root-{}", UniqueId::random()?));
    rustix::fs::symlink(std::ffi::OsStr::from_bytes(&text), &temporary).at("create", &temporary)?;
    rustix::fs::rename(&temporary, &link).at("replace", &link)?;
    Ok(())
}

/// The path in what the link `root` of a run folder says.
fn claimed_root(text: &[u8]) -> Option<PathBuf> {
    let begin = text.iter().position(|&byte| byte == b'/')?;
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(&text[begin..])))
}

/// Tells whether a run folder was left by a store that is no more: it does not lie where it lay, and no process uses it.
///
/// One whose disk is away is no more until it is back. What cannot be looked at is taken for a store that is there.
pub fn is_abandoned(run: &Path) -> bool {
    let Ok(text) = rustix::fs::readlink(run.join("root"), Vec::new()) else { return false };
    let Some(root) = claimed_root(text.as_bytes()) else { return false };
    let layout = Layout::new(root, run.to_owned());
    // The folder alone says nothing: another store may have been made in its place, even with its inode.
    let is_there = match Meta::read(&layout.meta()) {
        Ok(None) => false,
        Ok(Some(meta)) => run.file_name() == Some(meta.id.short().as_ref()),
        Err(_) => true,
    };
    !is_there && !process::is_any_alive(&layout).unwrap_or(true)
}

fn run_link_text(layout: &Layout, stat: &Stat, boot: BootId) -> Vec<u8> {
    let mut text = format!("{boot}:{:x}:{:x}:", stat.st_dev, stat.st_ino).into_bytes();
    text.extend_from_slice(layout.run().as_os_str().as_bytes());
    text
}

/// Tells whether the run folder is the one in use under this boot.
///
/// If it is not, the store must be free of other users; it is then recovered and the link written.
fn settle_run_folder(
    layout: &Layout,
    stat: &Stat,
    boot: BootId,
    present: &Presence<'_>,
) -> Result<bool, OpenError> {
    let link = layout.run_link();
    let found = match rustix::fs::readlink(&link, Vec::new()) {
        Ok(text) => text.into_bytes(),
        Err(Errno::NOENT) => Vec::new(),
        Err(error) => return Err(FileError::new("read", &link, error).into()),
    };
    if found == run_link_text(layout, stat, boot) {
        return Ok(true);
    }
    // A run folder that was made a moment ago by a rival lacks folders only until the rival is done.
    for folder in layout.run_folders() {
        create_private_folder(&folder)?;
    }
    if present.become_alone()? {
        // Nobody else is here, so whoever comes next sees our link; it is written after recovery under the shared lock,
        // and two who recover at once do the same things twice.
        present.admit()?;
        return Ok(false);
    }
    // Others are here. They may be as new as we are, and about to write the very same link.
    let again =
        rustix::fs::readlink(&link, Vec::new()).map(std::ffi::CString::into_bytes).unwrap_or_default();
    let text = String::from_utf8_lossy(&again).into_owned();
    let mut parts = text.splitn(4, ':');
    let (Some(their_boot), Some(device), Some(inode), Some(path)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Ok(false);
    };
    let same_folder = device == format!("{:x}", stat.st_dev) && inode == format!("{:x}", stat.st_ino);
    if same_folder || their_boot != boot.to_string() {
        return Ok(same_folder
            && their_boot == boot.to_string()
            && path.as_bytes() == layout.run().as_os_str().as_bytes());
    }
    Err(OpenError::OtherRunFolder {
        path: layout.root().to_owned(),
        run: layout.run().to_owned(),
        other: path.to_owned(),
    })
}

fn write_run_link(layout: &Layout, stat: &Stat, boot: BootId) -> Result<(), FileError> {
    let link = layout.run_link();
    // Not in `tmp`: a rival that recovers at the same time empties that.
    let temporary = layout.root().join(format!(".run-{}", UniqueId::random()?));
    let text = run_link_text(layout, stat, boot);
    rustix::fs::symlink(std::ffi::OsStr::from_bytes(&text), &temporary).at("create", &temporary)?;
    rustix::fs::rename(&temporary, &link).at("replace", &link)
}
