//! Making containers; nothing runs yet.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use rbuild_cache::records::is_durable;
use rbuild_confined::Root;
use rbuild_images::{Progress, Resolved};
use rbuild_model::container::{
    Begins, ContainerId, ContainerName, DEFINITION_VERSION, Definition, HostOptions, ImageUse, MountAsked,
    MountUse, MountWhat, Removal,
};
use rbuild_model::image_config::RunConfig;
use rbuild_model::platform::Platform;
use rbuild_model::snapshot::Chain;
use rbuild_model::volume::VolumeName;
use rbuild_sandbox::Access;
use rbuild_sandbox::mounts::mount_detached;
use rbuild_snapshotter::{Active, Snapshotter};
use rbuild_store::{DatabaseError, Lease, crash};

use super::error::ContainerError;
use super::given::GivenFile;
use super::request::{CreateRequest, MountKind};
use super::storage::VolumeWish;
use super::{define, names, rows};
use crate::engine::{Engine, io};

/// What the mirror of a definition is called, in the folder of what it makes.
pub(super) const MIRROR: &str = "config.json";

/// A container that was made.
#[derive(Clone, Debug)]
pub struct Made {
    /// What it is.
    pub definition: Definition,
    /// What people should know.
    pub warnings: Vec<String>,
}

impl Engine {
    /// Makes a container. It is there, whole, or nothing is left of it.
    pub fn create(&self, request: &CreateRequest, progress: &dyn Progress) -> Result<Made, ContainerError> {
        let name = request.name.as_deref().map(ContainerName::new).transpose()?;
        define::check_lent_network(request)?;
        if let Some(name) = &name {
            self.make_room(name)?;
        }
        let store = &self.parts.store;
        let lease = store.lease("create")?;
        let resolved = self.resolve(&request.image, request.pull, &request.platform, &lease, progress)?;
        // Whoever asks for another platform than the machine's means that one.
        let platform = resolved.config.platform();
        if request.platform != Platform::host() && !request.platform.can_run(&platform) {
            return Err(ContainerError::Invalid(format!(
                "image with reference {} was found but its platform ({platform}) does not match the specified platform ({})",
                request.image, request.platform
            )));
        }
        let id = self.fresh_id()?;
        let config = &resolved.config.config;
        let mut definition = Definition {
            version: DEFINITION_VERSION,
            id,
            name: name.clone().unwrap_or_else(|| names::generate(first_bits(id), 0)),
            created: Timestamp::now(),
            image: ImageUse {
                reference: request.image.clone(),
                id: resolved.image,
                chain: resolved.chain.clone(),
                platform,
            },
            writes: rbuild_model::snapshot::SnapshotId::from_bytes([0; 16]),
            program: define::program(request, config)?,
            streams: request.streams,
            hostname: request.hostname.clone(),
            domainname: request.domainname.clone(),
            labels: define::inherited_labels(config)
                .chain(&request.labels)
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect(),
            exposed: config.exposed_ports.keys().chain(&request.exposed).cloned().collect(),
            volumes: config.volumes.keys().cloned().collect(),
            health: define::health(request.health.as_ref(), config.healthcheck.as_ref())?,
            first_probe: request.first_probe,
            origin: request.origin.clone(),
            host: request.host.clone(),
        };
        self.resolve_lenders(&mut definition)?;
        self.check_log(&definition.host)?;
        self.networks().check(
            &definition.host.network,
            &definition.host.endpoints,
            &definition.host.ports,
        )?;
        self.check_links(&definition)?;
        let volumes = self.wanted_mounts(&mut definition, request, config, &lease, progress)?;
        define::check_new(&definition)?;
        let warnings = define::settle(&mut definition, rbuild_sandbox::cgroup::Layout::shared());
        // Nobody removes a volume between its making and the row that says who has it.
        let held = self.volumes().hold()?;
        let made = self.make(&mut definition, &resolved, &volumes, &request.files, &lease, name.is_none());
        drop(held);
        if let Err(error) = made {
            self.unmake(&definition);
            return Err(error);
        }
        self.tell(&definition, "create", &[]);
        Ok(Made { definition, warnings })
    }

    /// Makes folder, volumes and row of a container, in this order. The folder says what goes with it, so that whoever
    /// finds one without a row knows what else there may be; the lease keeps it from being found too early.
    fn make(
        &self,
        definition: &mut Definition,
        resolved: &Resolved,
        volumes: &[VolumeWish],
        files: &[GivenFile],
        lease: &Lease,
        may_rename: bool,
    ) -> Result<(), ContainerError> {
        let store = &self.parts.store;
        let object = definition.id;
        store.write(|tables| lease.protect(tables, &[(rows::CONTAINER, object.as_bytes())]))?;
        let tree = store.temp_tree()?;
        let active = self.snapshots_in(tree.path())?.prepare(&resolved.chain)?;
        definition.writes = active.id();
        let folder = store.layout().containers();
        let name = definition.id.to_string();
        let is_passing = definition.host.removal == Removal::Auto;
        self.mirror(tree.path(), definition)?;
        // Before the folder gets its name, so that they last as it does.
        self.give(tree.path(), definition, files)?;
        if is_passing {
            store.derived().publish_tree(tree, &folder, &name)?;
        } else {
            // What lasts stands on nothing that a power loss takes away.
            // One promotion syncs the whole file system, whoever works on it: what is safe already needs none.
            let mounted = definition.host.mounts.iter().filter_map(|mount| match &mount.what {
                MountWhat::Image { chain, .. } => Some(chain),
                _ => None,
            });
            let chains: Vec<&Chain> = mounted.chain([&resolved.chain]).collect();
            let is_safe = store.read(|tables| -> Result<bool, DatabaseError> {
                for chain in chains {
                    if !is_durable(tables, chain)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            })?;
            if !is_safe {
                store.promote()?;
            }
            store.precious().publish_tree(tree, &folder, &name)?;
        }
        crash::point("container.published");
        for volume in volumes {
            self.note_volume(volume)?;
        }
        self.fill_volumes(definition, &resolved.chain)?;
        crash::point("container.filled");
        for attempt in 1.. {
            let insert = |transaction: &rusqlite::Transaction<'_>| rows::insert(transaction, definition);
            let inserted = if is_passing { store.write(insert)? } else { store.write_synced(insert)? };
            match inserted {
                Ok(()) => {
                    crash::point("container.recorded");
                    return Ok(());
                }
                Err(_) if may_rename && attempt < 6 => {
                    let bits = first_bits(self.fresh_id()?);
                    definition.name = names::generate(bits, attempt);
                }
                Err(holder) => {
                    return Err(ContainerError::NameTaken { name: definition.name.to_string(), holder });
                }
            }
        }
        unreachable!("the loop ends by returning")
    }

    /// Takes back what was made of a container that did not come to be.
    fn unmake(&self, definition: &Definition) {
        // What cannot be taken away now is found by the next command.
        let _ = self.parts.store.write(|transaction| rows::delete(transaction, definition.id));
        self.drop_anonymous_volumes(definition);
        let _ = self.parts.store.discard(&self.folder(definition.id));
    }

    /// Writes the definition beside what it makes.
    fn mirror(&self, folder: &Path, definition: &Definition) -> Result<(), ContainerError> {
        write_new(folder.join(MIRROR), &mirrored(definition))
    }

    /// Writes a changed definition to its row and its mirror.
    pub(crate) fn rewrite(&self, definition: &Definition) -> Result<(), ContainerError> {
        let store = &self.parts.store;
        store.write_synced(|transaction| rows::update(transaction, definition))?;
        let (folder, text) = (self.folder(definition.id), mirrored(definition));
        Ok(store.precious().replace(&folder, MIRROR, &text, rbuild_store::Access::Private)?)
    }

    /// Returns the folder of a container.
    pub(super) fn folder(&self, id: ContainerId) -> PathBuf {
        self.parts.store.layout().containers().join(id.to_string())
    }

    /// Opens the snapshots with a folder of one container as the place of what is being written.
    pub(super) fn snapshots_in(&self, folder: &Path) -> Result<Arc<dyn Snapshotter>, ContainerError> {
        Ok((self.parts.snapshots_in)(folder)?)
    }

    /// Names what a container writes.
    pub(super) fn writes(&self, definition: &Definition) -> Active {
        Active::new(definition.writes, definition.image.chain.clone())
    }

    fn fresh_id(&self) -> Result<ContainerId, ContainerError> {
        let mut bytes = [0; 32];
        for half in bytes.chunks_exact_mut(16) {
            half.copy_from_slice(rbuild_store::UniqueId::random()?.as_bytes());
        }
        // An id whose first digits are all decimal would be taken for a number as a host name.
        if ContainerId::from_bytes(bytes).short().bytes().all(|digit| digit.is_ascii_digit()) {
            bytes[0] |= 0xa0;
        }
        Ok(ContainerId::from_bytes(bytes))
    }

    fn check_log(&self, host: &HostOptions) -> Result<(), ContainerError> {
        rbuild_monitor::log::check(&host.log).map_err(|error| ContainerError::Invalid(error.to_string()))
    }

    /// Notes what is asked for, what other containers lend, and the image's own volumes; parents before what lies
    /// below them. What is lent and what the image has gives way to anything that is asked for in its place. Returns the
    /// volumes that are to be made.
    fn wanted_mounts(
        &self,
        definition: &mut Definition,
        request: &CreateRequest,
        image: &RunConfig,
        lease: &Lease,
        progress: &dyn Progress,
    ) -> Result<Vec<VolumeWish>, ContainerError> {
        let mut mounts = Vec::new();
        let mut volumes = Vec::new();
        for mount in &request.mounts {
            let mut asked = mount.asked.clone();
            if asked == MountAsked::Target {
                definition.volumes.insert(mount.target.clone());
            }
            let what = match mount.kind.clone() {
                MountKind::Bind { source, missing, recursion, propagation } => {
                    MountWhat::Bind { source, missing, recursion, propagation }
                }
                MountKind::Volume { name, begins, subpath, driver, options, labels } => {
                    let anonymous = name.is_none();
                    let name = match name {
                        Some(name) => {
                            name.parse().map_err(|error| ContainerError::Invalid(format!("{error}")))?
                        }
                        None => self.anonymous_name()?,
                    };
                    if let MountAsked::Long { .. } = asked {
                        let (driver, options) = (driver.clone(), options.clone());
                        asked = MountAsked::Long { driver, options, labels: labels.clone() };
                    }
                    // What is seen of a volume that is to be there is somebody's already.
                    let begins = if subpath.is_some() { Begins::Empty } else { begins };
                    let driver = driver.unwrap_or_default();
                    volumes.push(VolumeWish { name: name.clone(), anonymous, driver, options, labels });
                    MountWhat::Volume { name, anonymous, begins, subpath: subpath.map(define::within) }
                }
                MountKind::Tmpfs(tmpfs) => MountWhat::Tmpfs(tmpfs),
                MountKind::Image { reference, subpath } => {
                    let resolved =
                        self.resolve(&reference, request.pull, &request.platform, lease, progress)?;
                    let (id, chain) = (resolved.image, resolved.chain);
                    MountWhat::Image { reference, id, chain, subpath: subpath.map(define::within) }
                }
            };
            mounts.push(MountUse {
                target: mount.target.clone(),
                what,
                read_only: mount.access == Access::ReadOnly,
                asked,
            });
        }
        let asked = mounts.len();
        let free = |mounts: &[MountUse], target: &str| {
            !mounts.iter().any(|mount| define::plain(&mount.target) == define::plain(target))
        };
        for lender in &request.volumes_from {
            for mount in self.lent(lender)? {
                if free(&mounts, &mount.target) {
                    mounts.push(mount);
                }
            }
        }
        for target in image.volumes.keys() {
            if free(&mounts, target) {
                let name = self.anonymous_name()?;
                volumes.push(VolumeWish::anonymous(name.clone()));
                mounts.push(MountUse {
                    target: define::plain(target).to_string_lossy().into_owned(),
                    what: MountWhat::Volume {
                        name,
                        anonymous: true,
                        begins: Begins::WithImage,
                        subpath: None,
                    },
                    read_only: false,
                    asked: MountAsked::Target,
                });
            }
        }
        if mounts.len() > 1 || asked > 0 {
            mounts.sort_by_key(|mount| define::plain(&mount.target).components().count());
        }
        definition.host.mounts = mounts;
        Ok(volumes)
    }

    /// Returns the mounts that another container lends: `NAME[:ro|rw][,z|Z]`. One without a name goes with the last who
    /// has it.
    fn lent(&self, text: &str) -> Result<Vec<MountUse>, ContainerError> {
        if text.is_empty() {
            let why = "volumes-from specification cannot be an empty string";
            return Err(ContainerError::Invalid(why.to_owned()));
        }
        let (name, mode) = text.split_once(':').unwrap_or((text, ""));
        let (mut access, mut labels) = (Vec::new(), 0);
        for word in mode.split(',').filter(|_| !mode.is_empty()) {
            match word {
                "rw" | "ro" => access.push(word),
                "z" | "Z" => labels += 1,
                _ => labels += 2,
            }
        }
        if access.len() > 1 || labels > 1 {
            return Err(ContainerError::Invalid(format!("invalid mode: {mode}")));
        }
        let read_only = access == ["ro"];
        let mut mounts = self.find(name)?.host.mounts;
        mounts.retain(|mount| matches!(mount.what, MountWhat::Bind { .. } | MountWhat::Volume { .. }));
        for mount in &mut mounts {
            mount.read_only |= read_only;
            mount.asked = MountAsked::Lent;
        }
        Ok(mounts)
    }

    fn anonymous_name(&self) -> Result<VolumeName, ContainerError> {
        let name = self.fresh_id()?.to_string();
        Ok(name.parse().expect("64 digits are the name of a volume"))
    }

    /// Fills the empty volumes of a container from the image.
    fn fill_volumes(&self, definition: &Definition, chain: &Chain) -> Result<(), ContainerError> {
        let has_volumes =
            definition.host.mounts.iter().any(|mount| matches!(mount.what, MountWhat::Volume { .. }));
        if !has_volumes {
            return Ok(());
        }
        let view = self.parts.snapshotter.view(chain)?;
        let image = Root::from_fd(mount_detached(&view)?)?;
        for mount in &definition.host.mounts {
            if let MountWhat::Volume { name, begins, .. } = &mount.what {
                self.fill_volume(name, *begins, &image, &mount.target)?;
            }
        }
        Ok(())
    }
}

/// Writes a new file that nobody else sees.
pub(super) fn write_new(path: PathBuf, content: &[u8]) -> Result<(), ContainerError> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    Ok(made.and_then(|mut file| file.write_all(content)).map_err(io("write", path))?)
}

/// What the mirror of a definition says.
fn mirrored(definition: &Definition) -> Vec<u8> {
    serde_json::to_vec_pretty(definition).expect("a definition can be written to memory")
}

/// Returns the bits that a generated name is made of.
fn first_bits(id: ContainerId) -> [u8; 3] {
    let [a, b, c, ..] = *id.as_bytes();
    [a, b, c]
}
