//! New containers beside old ones: made under a name for the time being, and given the old one's place.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use rbuild_model::container::Definition;
use rbuild_model::project::MountKind;
use rbuild_store::crash;

use super::Execution;
use super::error::OperationError;
use crate::containers::{ContainerError, RemoveOptions};
use crate::error::RunError;
use crate::projects::happening::{Act, Phase, Subject};
use crate::projects::image_name;
use crate::projects::operation::{Existing, New, OperationId, Startable};
use crate::projects::wanted::AnonymousVolumes;

impl Execution<'_> {
    /// Makes a container beside the one whose place it takes.
    pub(super) fn make_beside(
        &self,
        id: OperationId,
        old: &Existing,
        new: &New,
        anonymous: AnonymousVolumes,
    ) -> Result<Definition, OperationError> {
        let before = self.engine.find(&old.id.to_string())?;
        let mut inherited = match anonymous {
            AnonymousVolumes::Keep => self.anonymous_volumes(&before),
            AnonymousVolumes::Renew => BTreeMap::new(),
        };
        self.keep_wanted(new, &mut inherited)?;
        let temporary = format!("{}_{}", old.id.short(), new.name);
        let definition = self.make_numbered(new, &temporary, &inherited, Some(&old.name))?;
        self.beside.lock().unwrap_or_else(PoisonError::into_inner).insert(definition.id, id);
        crash::point("project.made-beside");
        Ok(definition)
    }

    /// Leaves out what neither the service nor its image asks for any more.
    fn keep_wanted(&self, new: &New, inherited: &mut BTreeMap<String, String>) -> Result<(), OperationError> {
        let service = self.service(&new.service);
        let is_written = |target: &String| {
            let own = service.volumes.iter().filter(|mount| mount.target == *target);
            own.into_iter().any(|mount| matches!(mount.kind, MountKind::Volume { source: None, .. }))
        };
        if inherited.keys().all(is_written) {
            return Ok(());
        }
        let image = self.work.wanted.desired.get(&service.name).map(|desired| desired.image.as_str());
        let image = image.filter(|image| !image.is_empty()).map(str::to_owned);
        let name = image.unwrap_or_else(|| image_name(self.work.project, service));
        let image = self.engine.parts.images.find(&name);
        let image = image.map_err(|source| RunError::Image { name, source: Box::new(source) });
        let image = image.map_err(ContainerError::from)?;
        inherited.retain(|target, _| is_written(target) || image.config.config.volumes.contains_key(target));
        Ok(())
    }

    /// Gives a container the place of one that was stopped.
    pub(super) fn replace(
        &self,
        old: &Existing,
        new: &New,
        definition: &Definition,
    ) -> Result<(), OperationError> {
        // From here on there is no other.
        self.beside.lock().unwrap_or_else(PoisonError::into_inner).remove(&definition.id);
        crash::point("project.old-stopped");
        self.remove(old, AnonymousVolumes::Keep)?;
        crash::point("project.old-gone");
        self.engine.rename(&definition.id.to_string(), &new.name)?;
        self.note_made(new, definition.id);
        self.watcher.replaced(definition);
        Ok(())
    }

    /// Makes a container that is to start while the old one goes on.
    pub(super) fn begin_beside(
        &self,
        id: OperationId,
        old: &Existing,
        new: &New,
        anonymous: AnonymousVolumes,
    ) -> Result<(), OperationError> {
        let definition = self.make_beside(id, old, new, anonymous)?;
        self.note_made(new, definition.id);
        Ok(())
    }

    /// Waits until a container that was made beside another is ready.
    pub(super) fn wait_for_beside(&self, id: OperationId, new: &New) -> Result<Definition, OperationError> {
        let definition = self.there(&Startable::New(new.clone()))?;
        crash::point("project.beside-started");
        self.wait_until_one_is_ready(id, &new.service, &definition)?;
        Ok(definition)
    }

    /// Waits until a container that was made beside another is ready, and gives it the other's place.
    pub(super) fn take_over(&self, id: OperationId, old: &Existing, new: &New) -> Result<(), OperationError> {
        let definition = self.wait_for_beside(id, new)?;
        let tell = |phase: Phase| self.tell(id, Subject::Container(new.name.clone()), phase);
        tell(Phase::Begun(Act::Recreate));
        self.stop(id, old)?;
        self.replace(old, new, &definition)?;
        tell(Phase::Done(Act::Recreate));
        Ok(())
    }

    /// Removes the containers that were made beside others and did not take over: these go on.
    pub(super) fn remove_beside(&self) {
        let beside = std::mem::take(&mut *self.beside.lock().unwrap_or_else(PoisonError::into_inner));
        for (container, operation) in beside {
            let Ok(definition) = self.engine.find(&container.to_string()) else { continue };
            let tell = |phase: Phase| {
                self.tell(operation, Subject::Container(definition.name.to_string()), phase);
            };
            tell(Phase::Begun(Act::Remove));
            // Volumes that it has of the old one are not its own.
            let options = RemoveOptions { force: true, volumes: true };
            match self.engine.remove(&container.to_string(), options) {
                Ok(_) => tell(Phase::Done(Act::Remove)),
                Err(error) => tell(Phase::Failed(error.to_string())),
            }
        }
    }
}
