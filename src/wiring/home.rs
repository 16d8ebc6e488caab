//! The store with everything that lies in it, opened.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use rbuild_cache::blobs::{BlobFiles, PartialBlobs};
use rbuild_cache::mounts::{MountFolders, Mounts};
use rbuild_cache::records::Records;
use rbuild_cache::records::sweep::{RecordTrees, SnapshotTrees};
use rbuild_cache::saved::{SavedWork, StepLogs};
use rbuild_engine::Engine;
use rbuild_engine::containers::ContainerRows;
use rbuild_engine::networks::HostNames;
use rbuild_images::{ImageRows, Images, Options};
use rbuild_model::rootfs::OverlayXattr;
use rbuild_monitor::{Program, Residence};
use rbuild_network::address::Pool;
use rbuild_network::firewall::passage::Passage;
use rbuild_network::link::StorePrefix;
use rbuild_network::site::{Place, SiteConfig};
use rbuild_sandbox::LauncherConfig;
use rbuild_snapshotter::{Folders, OverlaySnapshotter, Snapshotter};
use rbuild_store::collect::Collected;
use rbuild_store::{Budget, Cancel, DatabaseError, ErrorKind, Lease, Schema, Store, StoreOptions};
use rbuild_worker::Worker;
use rbuild_worker::network::{HostFiles, StepNetworks};

use super::promotion::Promotion;
use super::signals::{self, Stdin, Wish};
use super::{Rootless, registries};
use crate::commands::Outcome;
use crate::report::{Hints, Status};
use crate::settings::Settings;

/// The tables of all owners; an owner comes behind those whose tables it refers to.
const SCHEMAS: &[&Schema] = &[
    &rbuild_cache::blobs::SCHEMA,
    &rbuild_cache::records::SCHEMA,
    &rbuild_cache::mounts::SCHEMA,
    &rbuild_cache::records::IMPORTED,
    &rbuild_images::SCHEMA,
    &rbuild_engine::containers::SCHEMA,
    &rbuild_engine::networks::SCHEMA,
    &rbuild_engine::volumes::SCHEMA,
    &rbuild_engine::projects::SCHEMA,
];

/// The owners of what can be swept; those that need objects of others come before those.
pub(crate) const OWNERS: &[&dyn Collected] = &[
    &ImageRows,
    &ContainerRows,
    &RecordTrees,
    &SnapshotTrees,
    &BlobFiles,
    &PartialBlobs,
    &MountFolders,
    &StepLogs,
    &SavedWork,
];

/// How many bytes are kept in reserve for a full disk.
const RESERVE: u64 = 16 << 20;

/// Whether the database could not be written for want of room.
fn is_full(error: &anyhow::Error) -> bool {
    let database = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<DatabaseError>().is_some_and(|error| error.kind() == ErrorKind::NoSpace)
    };
    error.chain().any(database)
}

/// How what a verb does is made to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Promotes {
    /// In the background.
    Later,
    /// By the verb itself.
    Itself,
}

/// An open store.
pub(crate) struct Home {
    /// The store itself.
    pub(crate) store: Store,
    /// Its images.
    pub(crate) images: Arc<Images>,
    /// Its snapshots.
    snapshotter: Arc<dyn Snapshotter>,
    /// Why trees are copied, where they are.
    copies: Option<String>,
    /// The folder that run folders of stores lie below.
    runtime: PathBuf,
    /// Whether networks get past the filter of a Docker beside us.
    passage: Passage,
    /// What subnets of networks are taken from, if that was said.
    pools: Vec<Pool>,
    /// The folders that say which devices there are.
    device_folders: Vec<PathBuf>,
    /// What an ordinary user works in.
    rootless: Option<Arc<Rootless>>,
    /// The signal that ends what takes long, where one is awaited.
    wish: Option<Wish>,
    /// Goes last: what was done is made to last when nothing more comes.
    _promotion: Option<Promotion>,
}

impl Home {
    /// Opens the store for a verb (`rbuild pull`).
    pub(crate) fn open(settings: &Settings, purpose: &str) -> anyhow::Result<Self> {
        Self::opened(settings, purpose, None, Promotes::Later)
    }

    /// As [`Home::open`], for a verb that reserves room: what was not counted yet is counted before.
    pub(crate) fn open_to_fill(settings: &Settings, purpose: &str) -> anyhow::Result<Self> {
        Self::open(settings, purpose)?.settled()
    }

    /// As [`Home::open_to_fill`], for a verb that takes long: it stops at the first signal. Called before any thread is begun.
    pub(crate) fn open_for_long(settings: &Settings, purpose: &str) -> anyhow::Result<Self> {
        Self::open_until(settings, purpose, signals::wish()?)
    }

    /// As [`Home::open`], for promotion itself: what comes up meanwhile is the others' to promote.
    pub(crate) fn open_to_promote(settings: &Settings) -> anyhow::Result<Self> {
        Self::opened(settings, "rbuild promote", None, Promotes::Itself)
    }

    /// As [`Home::open_to_fill`]; whatever waits or transfers images stops when `wish` says so.
    pub(super) fn open_until(settings: &Settings, purpose: &str, wish: Wish) -> anyhow::Result<Self> {
        Self::opened(settings, purpose, Some(wish), Promotes::Later)?.settled()
    }

    fn opened(
        settings: &Settings,
        purpose: &str,
        wish: Option<Wish>,
        promotes: Promotes,
    ) -> anyhow::Result<Self> {
        let store = Store::open(StoreOptions {
            root: settings.root.clone(),
            runtime: settings.runtime.clone(),
            purpose: purpose.to_owned(),
            schemas: SCHEMAS,
            reserve: RESERVE,
        })
        .map_err(not_opened)?;
        let (snapshotter, copies) = snapshotter(&store, settings.rootless.is_some())?;
        if let Some(max) = settings.cache_max {
            store.set_budget(Budget { max, owners: OWNERS });
        }
        let cancel = wish.as_ref().map_or_else(Cancel::never, Wish::cancel);
        let options = Options {
            registries: registries::of(settings)?,
            remember_tags: settings.remember_tags,
            cancel,
            ..Options::default()
        };
        let images = Arc::new(Images::new(&store, Arc::clone(&snapshotter), options));
        let rootless = settings.rootless.clone();
        let runtime = settings.runtime.clone();
        let _promotion = (promotes == Promotes::Later).then(|| Promotion::begin(&store, settings));
        let passage = settings.passage;
        let pools = settings.pools.clone();
        let device_folders = settings.device_folders.clone();
        let home = Self {
            store,
            images,
            snapshotter,
            copies,
            runtime,
            passage,
            pools,
            device_folders,
            rootless,
            wish,
            _promotion,
        };
        match home.bury() {
            // On a full disk it waits for the next command: this one may be what frees room.
            Err(error) if is_full(&error) => {}
            buried => buried?,
        }
        Ok(home)
    }

    /// The wish to stop.
    pub(crate) fn cancel(&self) -> Cancel {
        self.wish.as_ref().map_or_else(Cancel::never, Wish::cancel)
    }

    /// Standard input, which ends with an error at the signal that the verb waits for.
    pub(crate) fn stdin(&self) -> Stdin<'_> {
        Stdin::new(self.wish.as_ref())
    }

    /// Tells how a verb ended: an error that came after the signal is the signal's doing.
    pub(crate) fn ended(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Err(_) if self.wish.as_ref().is_some_and(|wish| wish.cancel().is_cancelled()) => {
                Ok(Status::Interrupted)
            }
            outcome => outcome,
        }
    }

    /// Takes away what killed commands of this store left in the kernel and in its folders.
    ///
    /// What cannot be taken away is no reason not to do what was asked for: it stays marked, and the next command
    /// tries again.
    pub(crate) fn bury(&self) -> anyhow::Result<()> {
        use rbuild_network::site::Site;
        use rbuild_sandbox::cgroup::{Cgroup, Layout as CgroupLayout};
        use rbuild_store::collect::Orphans;

        // Gone with the machine: what a power loss left was no process's, so nothing of a process tells of it.
        let looked = self.store.layout().run().join("looked-after");
        if looked.exists() && !self.store.has_abandoned_work()? {
            return Ok(());
        }
        let groups = Cgroup::reclaim(CgroupLayout::shared(), &self.cgroup_prefix());
        // That of the monitors is theirs as long as one of them lives.
        let _ = Cgroup::reclaim(CgroupLayout::shared(), &self.monitors());
        let reclaimed = if networks_stay() {
            Site::open(self.site()?)
                .and_then(|site| rbuild_network::reclaim::reclaim(&site))
                .is_ok_and(|reclaimed| reclaimed.errors.is_empty())
        } else {
            true
        };
        if let Ok(groups) = groups
            && reclaimed
        {
            self.store.void_dead_leases()?;
            self.store.locks().remove_left()?;
            // The dead one's folder is what the next command knows by that there is more to do. A group that is held
            // belongs to a command that runs, or to processes of the dead one that are still on their way out.
            if self.store.discard_orphans(OWNERS)? == Orphans::Gone && groups.held == 0 {
                self.store.clear_abandoned_work()?;
                // Without it the next command looks again.
                let _ = std::fs::write(&looked, "");
            }
            let _ = self.store.empty_trash();
        }
        Ok(())
    }

    /// Takes the network of steps away if no step is in it.
    pub(crate) fn remove_unused_networks(&self) -> anyhow::Result<()> {
        if !networks_stay() {
            return Ok(());
        }
        Ok(rbuild_worker::network::remove_unused(self.site()?)?)
    }

    /// Returns what trees are kept with: `overlay`, `copy`.
    pub(crate) fn storage(&self) -> &'static str {
        self.snapshotter.format()
    }

    /// Returns what was computed before.
    pub(crate) fn records(&self) -> Records {
        Records::new(&self.store, self.snapshotter.format())
    }

    /// Counts what was written without a limit, or by commands that were killed, where there is one: before room is reserved.
    fn settled(self) -> anyhow::Result<Self> {
        if self.store.has_budget() {
            Mounts::new(&self.store).settle()?;
            self.records().take_stock()?;
        }
        Ok(self)
    }

    /// Counts what takes room and was not counted as it was written, for a sweep that follows and says how much it
    /// freed. On a full disk it counts in the room that the sweep has.
    pub(crate) fn take_stock(&self) -> anyhow::Result<()> {
        self.store.spare_room()?;
        Mounts::new(&self.store).take_stock()?;
        Ok(self.records().take_stock()?)
    }

    /// Says that trees are copied, for verbs that make some.
    pub(super) fn note_copies(&self) {
        if let (Some(rootless), Some(why)) = (&self.rootless, &self.copies) {
            rootless.note(why);
        }
    }

    /// Puts together what builds.
    pub(super) fn worker(&self) -> anyhow::Result<Worker> {
        self.note_copies();
        Ok(Worker::new(rbuild_worker::Parts {
            store: self.store.clone(),
            records: Arc::new(self.records()),
            snapshotter: Arc::clone(&self.snapshotter),
            images: Arc::clone(&self.images),
            launcher: LauncherConfig::default(),
            networks: self.step_networks()?,
            cgroup_prefix: self.cgroup_prefix(),
            work: self.store.work_folder()?.to_path_buf(),
            device_folders: self.device_folders.clone(),
        }))
    }

    /// Puts together what runs containers.
    pub(super) fn engine(&self) -> anyhow::Result<Engine> {
        let HostFiles { resolv_conf, resolved_upstream, hosts } = super::build::host_files();
        let holds = self.rootless.as_ref().map(|rootless| rootless.hold()).transpose()?.flatten();
        let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
        Ok(Engine::new(rbuild_engine::Parts {
            store: self.store.clone(),
            images: Arc::clone(&self.images),
            snapshotter: Arc::clone(&self.snapshotter),
            snapshots_in: self.snapshots_in(),
            monitor: Program {
                holds: holds.into_iter().collect(),
                residence: Some(Residence { prefix: self.monitors(), name: "monitors".to_owned() }),
                ..Program::default()
            },
            reap: vec![
                "--root".to_owned(),
                text(self.store.layout().root()),
                "--run-folder".to_owned(),
                text(&self.runtime),
                "reap".to_owned(),
            ],
            site: self.site()?,
            cgroup_prefix: self.cgroup_prefix(),
            device_folders: self.device_folders.clone(),
            host: HostNames { resolv_path: "/etc/resolv.conf".into(), resolv_conf, resolved_upstream, hosts },
        }))
    }

    /// Returns what opens the snapshots with the folder of one container as the place of what it writes.
    fn snapshots_in(&self) -> rbuild_engine::OpenSnapshots {
        let layout = self.store.layout();
        let (snapshots, trash) = (layout.root().join("snapshots"), layout.trash());
        let format = self.snapshotter.format();
        Box::new(move |folder| {
            let folders =
                Folders { snapshots: snapshots.clone(), tmp: folder.to_owned(), trash: trash.clone() };
            Ok(match format {
                format if format.starts_with("overlay") => {
                    Arc::new(OverlaySnapshotter::open(&folders, overlay_marks())?)
                }
                _ => Arc::new(rbuild_snapshotter::CopySnapshotter::open(&folders)?),
            })
        })
    }

    fn step_networks(&self) -> anyhow::Result<StepNetworks> {
        let networks = StepNetworks::new(self.site()?, super::build::host_files());
        Ok(match &self.rootless {
            None => networks,
            Some(rootless) if rootless.has_network() => networks.asking(Rootless::resolver()),
            Some(_) => networks.on_host(),
        })
    }

    fn site(&self) -> anyhow::Result<SiteConfig> {
        Ok(SiteConfig {
            store: StorePrefix::new(&self.store.id().short())?,
            runtime: self.store.layout().run().to_owned(),
            is_abandoned: rbuild_store::is_abandoned,
            host_lock: self.runtime.join("host.lock"),
            nft: None,
            passage: self.passage,
            pools: self.pools.clone(),
            place: self.rootless.as_ref().map_or(Place::Here, |rootless| rootless.place()),
        })
    }

    fn cgroup_prefix(&self) -> String {
        format!("rbuild-{}", self.store.id().short())
    }

    /// Returns the folder of the group that monitors live in: not that of commands, whose groups tell of what dead ones left.
    fn monitors(&self) -> String {
        format!("{}m", self.cgroup_prefix())
    }

    /// Begins a lease.
    pub(crate) fn lease(&self, purpose: &str) -> anyhow::Result<Lease> {
        self.store.lease(purpose).context("failed to begin a lease")
    }
}

/// Whether networks outlive the commands that use them: those of ordinary users go with their namespaces.
fn networks_stay() -> bool {
    rbuild_sandbox::rootless::in_initial_user_namespace()
}

/// Returns where overlays keep their marks: in a user namespace nobody may set trusted attributes, whatever number they
/// have there.
fn overlay_marks() -> OverlayXattr {
    if rbuild_sandbox::rootless::in_initial_user_namespace() {
        OverlayXattr::Trusted
    } else {
        OverlayXattr::User
    }
}

/// Adds to an error about a folder that is somebody else's where one's own may be.
fn not_opened(error: rbuild_store::OpenError) -> anyhow::Error {
    let error = anyhow::Error::from(error);
    let kinds = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind);
    if kinds.into_iter().any(|kind| kind == io::ErrorKind::PermissionDenied) {
        return error.context(Hints(vec![
            "a store is one user's: name a folder of your own with `--root` or `RBUILD_ROOT`".to_owned(),
        ]));
    }
    error
}

/// Returns what keeps trees, and why it copies them where it has to.
fn snapshotter(store: &Store, is_rootless: bool) -> anyhow::Result<(Arc<dyn Snapshotter>, Option<String>)> {
    let layout = store.layout();
    let folders = Folders {
        snapshots: layout.root().join("snapshots"),
        tmp: store.work_folder()?.to_path_buf(),
        trash: layout.trash(),
    };
    let xattr = overlay_marks();
    // Kernels before 5.11, and some file systems, have no overlay for ordinary users.
    if is_rootless && let Err(cause) = rbuild_sandbox::probe::try_overlay(&folders.tmp, xattr) {
        let why = format!(
            "no overlay can be mounted in `{}` ({cause}): every step copies the whole tree, which takes time and space",
            layout.root().display()
        );
        let snapshotter = rbuild_snapshotter::CopySnapshotter::open(&folders);
        return Ok((Arc::new(snapshotter.context("failed to open the snapshots")?), Some(why)));
    }
    let snapshotter = OverlaySnapshotter::open(&folders, xattr).context("failed to open the snapshots")?;
    Ok((Arc::new(snapshotter), None))
}
