//! Who keeps volumes.
//!
//! A driver is asked to make a volume, to have it ready at a path as long as it is used, and to remove it. What it keeps
//! besides the definition is its own. All acts may be repeated: a process may be killed between any two of them.

use std::fmt;
use std::path::PathBuf;

use rbuild_model::volume::VolumeDefinition;
use rbuild_store::Store;

use super::error::VolumesError;
use super::local::Local;

/// All kinds of volumes that are kept here; plugins come behind them.
pub const DRIVERS: &[&dyn VolumeDriver] = &[&Local];

/// Who keeps volumes of one kind.
pub trait VolumeDriver: Send + Sync + fmt::Debug {
    /// What it is called.
    fn name(&self) -> &str;

    /// Whether a volume can be made as it is asked for; nothing is made.
    fn check(&self, definition: &VolumeDefinition) -> Result<(), VolumesError>;

    /// Where the volume is seen on the host while it is used.
    fn mountpoint(&self, store: &Store, definition: &VolumeDefinition) -> PathBuf;

    /// Has the volume ready at its mountpoint, and makes it if it is not there.
    fn mount(&self, store: &Store, definition: &VolumeDefinition) -> Result<(), VolumesError>;

    /// Gives back what only use needs; nothing of the volume is lost.
    fn unmount(&self, store: &Store, definition: &VolumeDefinition) -> Result<(), VolumesError>;

    /// Removes the volume and all that is in it. One that is gone already is no error.
    fn remove(&self, store: &Store, definition: &VolumeDefinition) -> Result<(), VolumesError>;

    /// Whether the bytes in it are this machine's own: only then do they count, and only then is it pruned.
    fn holds_bytes(&self, definition: &VolumeDefinition) -> Ownership;
}

/// Whose the content of a volume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// It lies in the store.
    Store,
    /// It lies elsewhere: on a server, in a folder of the host, in memory.
    Elsewhere,
}

/// The driver of a name; `local` if none is given.
pub(super) fn driver(name: &str) -> Option<&'static dyn VolumeDriver> {
    let name = if name.is_empty() { "local" } else { name };
    DRIVERS.iter().copied().find(|driver| driver.name() == name)
}
