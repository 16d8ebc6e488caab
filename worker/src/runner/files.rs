//! Writing files: COPY, ADD and WORKDIR as one operation, and trees that mounts begin with.

use std::path::Path;

use rbuild_confined::Root;
use rbuild_model::snapshot::Chain;
use rbuild_model::step::FileAction;
use rbuild_sandbox::mounts::mount_detached;
use rbuild_snapshotter::{Active, Writes};
use rbuild_solver::{RunAsk, Tree, Usage};

use super::{Made, Runner};
use crate::error::StepError;
use crate::ops;

impl Runner<'_> {
    /// Does file actions over a base, and returns the snapshot that they wrote.
    pub(super) fn file(&self, ask: &RunAsk, actions: &[FileAction], base: &Chain) -> Result<Made, StepError> {
        let wanted = if self.store().has_budget() { self.selected(ask)? } else { Vec::new() };
        let wanted = wanted.iter().map(|(_, content)| content.bytes()).sum();
        let room = self.store().reserve_room(wanted).map_err(StepError::Room)?;
        let active = self.snapshotter().prepare(base).map_err(StepError::Snapshot)?;
        match self.write_files(ask, actions, base, &active) {
            Ok(()) => Ok(Made { active, usage: Usage::default(), log: None, room }),
            Err(error) => Err(self.give_up(active, error)),
        }
    }

    fn write_files(
        &self,
        ask: &RunAsk,
        actions: &[FileAction],
        base: &Chain,
        active: &Active,
    ) -> Result<(), StepError> {
        let root = if self.snapshotter().writes_in_place(active) {
            self.snapshotter().open_active(active).map_err(StepError::Snapshot)?
        } else {
            // One COPY needs no mount: it is written where overlayfs would write it, at half the cost.
            if let [FileAction::Copy(copy)] = actions {
                let upper = self.snapshotter().open_active(active).map_err(StepError::Snapshot)?;
                let below = self.scan(&Tree::Chain(base.clone()))?;
                if ops::copy::run_on_upper(self, ask, copy, base, &upper, below.root())? {
                    return Ok(());
                }
            }
            let plan = self.snapshotter().root(active, Writes::Volatile).map_err(StepError::Snapshot)?;
            Root::from_fd(mount_detached(&plan)?).map_err(|error| StepError::Snapshot(error.into()))?
        };
        for action in actions {
            if self.parts.cancel.is_cancelled() {
                return Err(StepError::Cancelled);
            }
            match action {
                FileAction::Copy(copy) => ops::copy::run(self, ask, copy, &root, base)?,
                FileAction::MakeDir(make) => ops::mkdir::run(make, &root, base)?,
            }
        }
        Ok(())
    }

    /// Copies a path of a client's folder, filtered by its ignore file, into a snapshot of its own.
    pub(crate) fn copy_of_local(&self, name: &str, path: &str, ask: &RunAsk) -> Result<Active, StepError> {
        let active = self.snapshotter().prepare(&Chain::empty()).map_err(StepError::Snapshot)?;
        let copied = self.snapshotter().open_active(&active).map_err(StepError::Snapshot).and_then(|root| {
            ops::copy::mirror(self, &Tree::Local(name.to_owned()), path, &root, &ask.hashes)
        });
        match copied {
            Ok(()) => Ok(active),
            Err(error) => Err(self.give_up(active, error)),
        }
    }

    /// Copies a path of a tree into a plain folder of ours.
    pub(crate) fn copy_tree_into(&self, tree: &Tree, path: &str, folder: &Path) -> Result<(), StepError> {
        let root = Root::open(folder).map_err(|error| StepError::Snapshot(error.into()))?;
        ops::copy::contents(self, tree, path, &root)
    }
}
