//! Who keeps volumes.
//!
//! A driver is asked to make a volume, to have it ready at a path as long as it is used, and to remove it. What it keeps
//! besides the definition is its own. All acts may be repeated: a process may be killed between any two of them.
//!
//! The acts are those of Docker's protocol for volume plugins, so that a plugin is one more driver:
//!
//! | Here | There |
//! |---|---|
//! | [`create`](VolumeDriver::create), [`remove`](VolumeDriver::remove) | `/VolumeDriver.Create` with name and options, `.Remove` |
//! | [`mount`](VolumeDriver::mount), [`unmount`](VolumeDriver::unmount) | `.Mount`, which answers with the place, `.Unmount` |
//! | [`path`](VolumeDriver::path) | `.Path`: known at any time, or only while it is mounted |
//! | [`find`](VolumeDriver::find), [`others`](VolumeDriver::others) | `.Get`, `.List` |
//! | [`scope`](VolumeDriver::scope) | `.Capabilities` |
//!
//! To a driver the store is one user, however many containers it has: `mount` comes with each start, `unmount` when the
//! last container has ended. One that counts its users, as plugins do by the ids of their mounts, counts one.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use rbuild_model::volume::{VolumeDefinition, VolumeName};
use rbuild_store::Store;

use super::error::VolumesError;
use super::local::Local;

/// The drivers of a store, each by its name.
pub type Drivers = Arc<[Arc<dyn VolumeDriver>]>;

/// The driver of definitions that name none.
pub(super) const DEFAULT: &str = "local";

/// Returns the drivers that are part of this program; plugins come behind them.
pub fn built_in() -> Drivers {
    static ALL: LazyLock<Drivers> = LazyLock::new(|| Arc::new([Arc::new(Local)]));
    Arc::clone(&ALL)
}

/// Who keeps volumes of one kind.
pub trait VolumeDriver: Send + Sync + fmt::Debug {
    /// What it is called.
    fn name(&self) -> &str;

    /// Where its volumes are the same.
    fn scope(&self) -> Scope;

    /// Whether a volume can be made as it is asked for; nothing is made.
    fn check(&self, definition: &VolumeDefinition) -> Result<(), VolumesError>;

    /// Makes the volume. One that is there already is no error; one that is made at its first mount is fine.
    fn create(&self, store: &Store, definition: &VolumeDefinition) -> Result<(), VolumesError>;

    /// Where the volume is seen on the host, as far as that is known now.
    fn path(&self, store: &Store, definition: &VolumeDefinition) -> Result<Option<PathBuf>, VolumesError>;

    /// Has the volume ready, and says where. Makes it if it is not there.
    fn mount(&self, store: &Store, definition: &VolumeDefinition) -> Result<PathBuf, VolumesError>;

    /// Gives back what only use needs; nothing of the volume is lost.
    fn unmount(&self, store: &Store, definition: &VolumeDefinition) -> Result<(), VolumesError>;

    /// Removes the volume and all that is in it. One that is gone already is no error.
    fn remove(&self, store: &Store, definition: &VolumeDefinition) -> Result<(), VolumesError>;

    /// Finds a volume that others than this store made there.
    fn find(&self, store: &Store, name: &VolumeName) -> Result<Option<Foreign>, VolumesError>;

    /// Lists the volumes that others than this store made there.
    fn others(&self, store: &Store) -> Result<Vec<Foreign>, VolumesError>;

    /// Whose the bytes in it are: only those of the store count, and only they are pruned.
    fn holds_bytes(&self, definition: &VolumeDefinition) -> Ownership;
}

/// Where volumes of a driver are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// On this machine.
    Local,
    /// On all machines that have the driver.
    Global,
}

impl Scope {
    /// Docker's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Global => "global",
        }
    }
}

/// A volume that a driver has and the store has no row of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Its name.
    pub name: VolumeName,
    /// When it was made, in RFC 3339, if the driver says so.
    pub created: Option<String>,
}

impl Foreign {
    /// Returns what is known of it as a definition.
    pub(super) fn definition(self, driver: &str) -> VolumeDefinition {
        VolumeDefinition {
            name: self.name,
            driver: driver.to_owned(),
            options: BTreeMap::new(),
            labels: BTreeMap::new(),
            created: self.created.unwrap_or_default(),
        }
    }
}

/// Whose the content of a volume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// It lies in the store.
    Store,
    /// It lies elsewhere: on a server, in a folder of the host, in memory.
    Elsewhere,
}
