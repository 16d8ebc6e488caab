//! Containers as the store's sweep and its checks see them.
//!
//! A container keeps the images that it is made of, and the snapshots that it stands on. A folder of one without a row is
//! what a killed `create` or `rm` left: it is taken away, in the run folder too, with the anonymous volumes that its
//! definition names, unless it says that they stay. Whoever makes a container leases its id first, so nobody takes what is
//! just being made.

use std::path::Path;

use rbuild_model::container::{ContainerId, Definition, MountWhat};
use rbuild_store::collect::{Collected, Keeper, Protection, SweepError, Verdict};
use rbuild_store::doctor::Finding;
use rbuild_store::{DatabaseError, FileError, ObjectKind, Store};
use rusqlite::Transaction;

use super::create::MIRROR;
use super::rows;
use super::storage::RowsOf;
use crate::volumes::{Absence, Volumes};

/// What says in a container's folder that its anonymous volumes stay when it goes.
pub(super) const VOLUMES_STAY: &str = "volumes-stay";

/// The owner of containers. Comes before the owner of snapshots.
#[derive(Clone, Copy, Debug)]
pub struct ContainerRows;

impl Collected for ContainerRows {
    fn kind(&self) -> ObjectKind {
        rows::CONTAINER
    }

    fn keepers(&self, transaction: &Transaction<'_>) -> Result<Vec<Keeper>, DatabaseError> {
        rows::kept(transaction)
    }

    fn condemn(&self, _: &Transaction<'_>, _: &[u8]) -> Result<Verdict, DatabaseError> {
        // People remove containers, no sweep does.
        Ok(Verdict::Needed)
    }

    fn needs(
        &self,
        transaction: &Transaction<'_>,
        kind: ObjectKind,
        object: &[u8],
    ) -> Result<bool, DatabaseError> {
        let text = match kind {
            ObjectKind::SNAPSHOT => "SELECT 1 FROM container_layers WHERE snapshot = ?1 LIMIT 1",
            ObjectKind::IMAGE => rows::USES_IMAGE,
            _ => return Ok(false),
        };
        Ok(transaction.prepare_cached(text)?.exists([object])?)
    }

    fn protection(&self) -> Protection {
        Protection::Before
    }

    fn reclaim(&self, store: &Store, object: &[u8]) -> Result<(), SweepError> {
        let Ok(bytes) = <[u8; 32]>::try_from(object) else { return Ok(()) };
        let id = ContainerId::from_bytes(bytes);
        let name = id.to_string();
        let folder = store.layout().containers().join(&name);
        drop_volumes(store, &folder);
        store.discard(&folder)?;
        let run = store.layout().run_containers().join(&name);
        match std::fs::remove_dir_all(&run) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(FileError::new("remove", &run, error).into())
            }
            _ => Ok(()),
        }
    }

    fn check(&self, store: &Store) -> Result<Vec<Finding>, DatabaseError> {
        let layout = store.layout();
        // Folders first: a row comes after its folder, so one that is made meanwhile is not taken for an orphan.
        let mut found = Vec::new();
        for folder in [layout.containers(), layout.run_containers()] {
            found.extend(folders(&folder)?);
        }
        let rows = store.read(rows::all_ids)?;
        let lost =
            rows.iter().map(|id| layout.containers().join(id.to_string())).filter(|path| !path.is_dir());
        let mut findings: Vec<Finding> = lost.map(|path| Finding::Missing { path }).collect();
        let orphans = found.into_iter().filter(|(id, _)| !rows.contains(id));
        findings.extend(orphans.map(|(_, path)| Finding::Orphan { path }));
        Ok(findings)
    }
}

/// Lists the folders of containers.
fn folders(folder: &Path) -> Result<Vec<(ContainerId, std::path::PathBuf)>, FileError> {
    let failed = |error| FileError::new("list", folder, error);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            found.push((id, entry.path()));
        }
    }
    Ok(found)
}

/// Removes the anonymous volumes that a container left which nobody else has.
fn drop_volumes(store: &Store, folder: &Path) {
    if folder.join(VOLUMES_STAY).exists() {
        return;
    }
    let Ok(text) = std::fs::read(folder.join(MIRROR)) else { return };
    let Ok(definition) = serde_json::from_slice::<Definition>(&text) else { return };
    let volumes = Volumes::new(store);
    for mount in &definition.host.mounts {
        if let MountWhat::Volume { name, anonymous: true, .. } = &mount.what {
            // One that is in use, or cannot be removed now, stays until somebody prunes volumes.
            let _ = volumes.remove(name.as_str(), &RowsOf(store), Absence::Fine);
        }
    }
}
