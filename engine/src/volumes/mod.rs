//! Volumes: trees that outlive containers.
//!
//! ```text
//! volumes/<name>/_data       what is in the volume; a mount lies on it while a volume with options is used
//! volumes/<name>/filling     there as long as the volume gets its first content
//! ```
//!
//! The row is the volume: what is in the folder is made when it is first needed, and again if it is missing. Removing
//! puts the folder away first, on the disk, and then the row, so that nothing that was removed comes back.
//!
//! Locks: `volumes` is shared by who makes a container, from making its volumes until its row says that it has them
//! ([`Volumes::hold`]), and taken alone by who removes volumes; `volume <name>` is held while that one is filled or
//! mounted, and `given` while files that a container is given are written into its mounts.

mod driver;
mod error;
mod fill;
mod local;
mod rows;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rbuild_confined::Root;
use rbuild_model::container::Begins;
use rbuild_model::rootfs::RootPlan;
use rbuild_model::volume::{ANONYMOUS_LABEL, VolumeDefinition, VolumeName};
use rbuild_sandbox::MountSource;
use rbuild_store::{Lock, LockClass, LockMode, LockName, Store, UniqueId, Wait};
use serde_json::{Value, json};

pub use driver::{Drivers, Foreign, Ownership, Scope, VolumeDriver, built_in};
pub use error::VolumesError;
pub use rows::SCHEMA;

/// The volumes of a store.
#[derive(Clone)]
pub struct Volumes {
    store: Store,
    drivers: Drivers,
}

/// A volume that is wanted.
#[derive(Clone, Debug, Default)]
pub struct VolumeRequest {
    /// Its name; a fresh one if nothing is said.
    pub name: Option<String>,
    /// Who keeps it; `local` if nothing is said.
    pub driver: String,
    /// Options of its driver.
    pub options: BTreeMap<String, String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// Knows which containers have a volume, whether they run or not.
pub trait VolumeUsers {
    /// Returns their ids.
    fn users(&self, volume: &VolumeName) -> Result<Vec<String>, VolumesError>;

    /// Lets go of containers that nobody sees any more; called before volumes are locked.
    fn forget_gone(&self) {}
}

/// Whether a volume goes that others still need, or that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// One that is not there is an error.
    Refused,
    /// One that is not there is as good as removed (`--force`).
    Fine,
}

/// What was removed because nobody needs it.
#[derive(Debug, Default)]
pub struct Pruned {
    /// The names.
    pub volumes: Vec<VolumeName>,
    /// How many bytes that were.
    pub bytes: u64,
    /// What could not be removed.
    pub failures: Vec<VolumesError>,
}

/// Keeps volumes from being removed, as long as it lives.
pub struct Hold {
    _lock: Lock,
}

impl Volumes {
    /// Looks after the volumes of a store.
    pub fn new(store: &Store) -> Self {
        Self::kept_by(store, built_in())
    }

    /// Looks after the volumes of a store that these drivers keep.
    pub fn kept_by(store: &Store, drivers: Drivers) -> Self {
        Self { store: store.clone(), drivers }
    }

    /// The driver of a name.
    fn driver(&self, name: &str) -> Option<&dyn VolumeDriver> {
        let name = if name.is_empty() { driver::DEFAULT } else { name };
        self.drivers.iter().map(AsRef::as_ref).find(|driver| driver.name() == name)
    }

    fn driver_of(&self, definition: &VolumeDefinition) -> Result<&dyn VolumeDriver, VolumesError> {
        self.driver(&definition.driver).ok_or_else(|| VolumesError::Driver {
            volume: definition.name.clone(),
            driver: definition.driver.clone(),
        })
    }

    /// The folder of a volume in the store.
    fn own(&self, definition: &VolumeDefinition) -> PathBuf {
        self.store.layout().volumes().join(definition.name.as_str())
    }

    /// Makes a volume, or finds the one of that name.
    pub fn create(&self, request: &VolumeRequest) -> Result<VolumeDefinition, VolumesError> {
        let mut labels = request.labels.clone();
        let text = match request.name.as_deref() {
            Some(name) if !name.is_empty() => name.to_owned(),
            _ => {
                labels.insert(ANONYMOUS_LABEL.to_owned(), String::new());
                format!("{}{}", UniqueId::random()?, UniqueId::random()?)
            }
        };
        let name: VolumeName =
            text.parse().map_err(|source| VolumesError::Name { text: text.clone(), source })?;
        if let Some(there) = self.look(&name)? {
            return same(there, &request.driver);
        }
        let definition = self.defined(request, name, labels)?;
        let _hold = self.hold()?;
        self.driver_of(&definition)?.create(&self.store, &definition)?;
        let (there, is_new) = self.store.write_synced(|tables| rows::insert(tables, &definition))?;
        if !is_new {
            return same(there, &request.driver);
        }
        self.tell("create", &definition.name, &[("driver", &definition.driver)]);
        Ok(definition)
    }

    /// Whether a volume with a name can be made as it is asked for; nothing is made.
    pub fn check_new(&self, request: &VolumeRequest) -> Result<(), VolumesError> {
        let text = request.name.clone().unwrap_or_default();
        let name = text.parse().map_err(|source| VolumesError::Name { text, source })?;
        self.defined(request, name, BTreeMap::new()).map(drop)
    }

    /// Keeps volumes from being removed: for who makes a container, until its row says which volumes it has.
    pub fn hold(&self) -> Result<Hold, VolumesError> {
        Ok(Hold { _lock: self.lock("volumes", LockMode::Shared)? })
    }

    /// Keeps others from writing what containers are given into volumes and folders: replicas are given the same there.
    pub(crate) fn hold_given(&self) -> Result<Lock, VolumesError> {
        self.lock("given", LockMode::Exclusive)
    }

    fn lock(&self, subject: &str, mode: LockMode) -> Result<Lock, VolumesError> {
        let name = LockName::new(LockClass::Volume, subject);
        // A scope of its own: the two kinds of locks are never waited for in a circle, as one who takes `volumes` alone
        // takes no other.
        Ok(self.store.locks().scope().acquire(&name, mode, &Wait::forever())?)
    }

    fn look(&self, name: &VolumeName) -> Result<Option<VolumeDefinition>, VolumesError> {
        Ok(self.store.read(|tables| rows::find(tables, name))?)
    }

    /// Finds a volume, also one that others made where a driver keeps its own.
    pub fn find(&self, text: &str) -> Result<VolumeDefinition, VolumesError> {
        let missing = || VolumesError::NotFound(text.to_owned());
        let name = text.parse().map_err(|_| missing())?;
        if let Some(definition) = self.look(&name)? {
            return Ok(definition);
        }
        for driver in self.drivers.iter() {
            if let Some(foreign) = driver.find(&self.store, &name)? {
                return Ok(foreign.definition(driver.name()));
            }
        }
        Err(missing())
    }

    /// Lists all volumes, by name.
    pub fn list(&self) -> Result<Vec<VolumeDefinition>, VolumesError> {
        let mut volumes = self.store.read(rows::all)?;
        for driver in self.drivers.iter() {
            for foreign in driver.others(&self.store)? {
                let at = volumes.partition_point(|volume| volume.name < foreign.name);
                if volumes.get(at).is_none_or(|volume| volume.name != foreign.name) {
                    volumes.insert(at, foreign.definition(driver.name()));
                }
            }
        }
        Ok(volumes)
    }

    /// Where a volume is seen on the host while it is used; nowhere if its driver does not know before.
    pub fn mountpoint(&self, definition: &VolumeDefinition) -> Result<PathBuf, VolumesError> {
        let path = self.driver_of(definition)?.path(&self.store, definition)?;
        Ok(path.unwrap_or_default())
    }

    /// Returns what `inspect` shows.
    pub fn inspect(&self, definition: &VolumeDefinition) -> Result<Value, VolumesError> {
        let map = |map: &BTreeMap<String, String>| if map.is_empty() { Value::Null } else { json!(map) };
        Ok(json!({
            "CreatedAt": definition.created,
            "Driver": definition.driver,
            "Labels": map(&definition.labels),
            "Mountpoint": self.mountpoint(definition)?,
            "Name": definition.name,
            "Options": map(&definition.options),
            "Scope": self.scope(definition)?.word(),
        }))
    }

    /// Where a volume is the same.
    pub fn scope(&self, definition: &VolumeDefinition) -> Result<Scope, VolumesError> {
        Ok(self.driver_of(definition)?.scope())
    }

    /// Gives an empty volume what the image has at `target`. For who makes a container.
    pub fn fill(
        &self,
        definition: &VolumeDefinition,
        image: &Root,
        target: &str,
        begins: Begins,
    ) -> Result<(), VolumesError> {
        if begins == Begins::Empty {
            return Ok(());
        }
        // Who comes second waits until the first has filled it.
        let _making = self.lock(&format!("volume {}", definition.name), LockMode::Exclusive)?;
        let data = self.driver_of(definition)?.mount(&self.store, definition)?;
        let own = self.own(definition);
        if fill::is_due(&own, &data)? {
            self.store.precious().create_folder(&own)?;
            fill::fill(&definition.name, (&own, &data), image, target)?;
        }
        Ok(())
    }

    /// Has a volume ready, and returns what a container that starts sees of it.
    pub fn source(
        &self,
        definition: &VolumeDefinition,
        subpath: Option<&str>,
    ) -> Result<MountSource, VolumesError> {
        let path = {
            let _making = self.lock(&format!("volume {}", definition.name), LockMode::Exclusive)?;
            let path = self.driver_of(definition)?.mount(&self.store, definition)?;
            // A program is about to write there: what it leaves is never filled over.
            fill::finish(&self.own(definition))?;
            path
        };
        if let Some(subpath) = subpath {
            seen(&Root::open(&path)?, &path, subpath)?;
        }
        let root = RootPlan::Directory { path, readonly: false };
        Ok(MountSource::Within { root, path: subpath.map_or_else(|| "/".into(), PathBuf::from) })
    }

    /// Whose the bytes in a volume are.
    pub fn holds_bytes(&self, definition: &VolumeDefinition) -> Result<Ownership, VolumesError> {
        Ok(self.driver_of(definition)?.holds_bytes(definition))
    }

    /// Gives back what only use needs, of a volume that no running container has.
    pub fn release(&self, definition: &VolumeDefinition) -> Result<(), VolumesError> {
        let _making = self.lock(&format!("volume {}", definition.name), LockMode::Exclusive)?;
        self.driver_of(definition)?.unmount(&self.store, definition)
    }

    /// Removes a volume that no container has.
    pub fn remove(&self, text: &str, users: &dyn VolumeUsers, absence: Absence) -> Result<(), VolumesError> {
        users.forget_gone();
        let _alone = self.lock("volumes", LockMode::Exclusive)?;
        match self.find(text) {
            Ok(definition) => self.remove_alone(&definition, users),
            Err(VolumesError::NotFound(_)) if absence == Absence::Fine => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn remove_alone(
        &self,
        definition: &VolumeDefinition,
        users: &dyn VolumeUsers,
    ) -> Result<(), VolumesError> {
        let users = users.users(&definition.name)?;
        if !users.is_empty() {
            return Err(VolumesError::InUse { volume: definition.name.clone(), users });
        }
        self.driver_of(definition)?.remove(&self.store, definition)?;
        // What a driver elsewhere has no part in.
        self.store.precious().remove(&self.own(definition))?;
        self.store.write_synced(|tables| rows::remove(tables, &definition.name))?;
        self.tell("destroy", &definition.name, &[("driver", &definition.driver)]);
        Ok(())
    }

    /// Removes the volumes that fit and that no container has. Those whose content lies elsewhere stay, as by Docker:
    /// there would be no room won. What fails does not keep the others from being tried.
    pub fn prune(
        &self,
        users: &dyn VolumeUsers,
        fits: impl Fn(&VolumeDefinition) -> bool,
    ) -> Result<Pruned, VolumesError> {
        users.forget_gone();
        let _alone = self.lock("volumes", LockMode::Exclusive)?;
        let mut pruned = Pruned::default();
        for definition in self.list()? {
            let Some(bytes) = self.size_if(&definition, &fits)? else { continue };
            match self.remove_alone(&definition, users) {
                Ok(()) => {
                    pruned.bytes += bytes;
                    pruned.volumes.push(definition.name);
                }
                Err(VolumesError::InUse { .. }) => {}
                Err(error) => pruned.failures.push(error),
            }
        }
        Ok(pruned)
    }

    /// How many bytes a volume takes in the store; nothing if they lie elsewhere.
    pub fn size(&self, definition: &VolumeDefinition) -> Result<Option<u64>, VolumesError> {
        let driver = self.driver_of(definition)?;
        match driver.holds_bytes(definition) {
            Ownership::Store => Ok(driver.path(&self.store, definition)?.map(|path| size(&path))),
            Ownership::Elsewhere => Ok(None),
        }
    }

    /// The same of one that fits; nothing of others.
    fn size_if(
        &self,
        definition: &VolumeDefinition,
        fits: impl Fn(&VolumeDefinition) -> bool,
    ) -> Result<Option<u64>, VolumesError> {
        if fits(definition) { self.size(definition) } else { Ok(None) }
    }

    /// Makes a definition of what is asked for, if its driver can have it.
    fn defined(
        &self,
        request: &VolumeRequest,
        name: VolumeName,
        labels: BTreeMap<String, String>,
    ) -> Result<VolumeDefinition, VolumesError> {
        let driver = self
            .driver(&request.driver)
            .ok_or_else(|| VolumesError::Driver { volume: name.clone(), driver: request.driver.clone() })?;
        let definition = VolumeDefinition {
            name,
            driver: driver.name().to_owned(),
            options: request.options.clone(),
            labels,
            created: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        };
        driver.check(&definition)?;
        Ok(definition)
    }

    fn tell(&self, action: &str, name: &VolumeName, attributes: &[(&str, &str)]) {
        let attributes =
            attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        crate::event::append(&self.store, "volume", action, name.as_str(), &attributes);
    }
}

/// Looks whether there is something at a path of a tree, which is called `name`. What is mounted is found anew.
pub(crate) fn seen(tree: &Root, name: &Path, subpath: &str) -> Result<(), VolumesError> {
    match tree.find(Path::new("/").join(subpath))? {
        Some(_) => Ok(()),
        None => Err(VolumesError::NoSubpath { path: name.join(subpath) }),
    }
}

/// The one that is there, if it is of the kind that was asked for.
fn same(there: VolumeDefinition, driver: &str) -> Result<VolumeDefinition, VolumesError> {
    if driver.is_empty() || driver == there.driver {
        return Ok(there);
    }
    Err(VolumesError::Exists { volume: there.name, driver: there.driver })
}

/// Adds up the bytes of the files in a tree. What cannot be read, or goes meanwhile, counts nothing.
fn size(folder: &Path) -> u64 {
    let Ok(root) = Root::open(folder) else { return 0 };
    rbuild_snapshotter::usage_of(&root).map_or(0, |usage| usage.bytes)
}

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests;
