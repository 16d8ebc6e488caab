//! One operation of a plan.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use rbuild_images::Quiet;
use rbuild_model::container::{ContainerId, Definition, MountWhat, Signal, State};
use rbuild_model::project::{NetworkKey, Service, ServiceName, VolumeKey};
use rbuild_model::volume::ANONYMOUS_LABEL;

use super::error::OperationError;
use super::{Execution, granted, subject};
use crate::containers::{ContainerError, CreateRequest, RemoveOptions, Start};
use crate::networks::{Leaving, NetworksError};
use crate::projects::cause::Cause;
use crate::projects::container::{Making, container, endpoint};
use crate::projects::content::with_contents;
use crate::projects::happening::{Act, Phase, Subject};
use crate::projects::image_name;
use crate::projects::labels::{self, Place};
use crate::projects::operation::{Existing, New, Operation, OperationId, Planned, Startable};
use crate::projects::requests;
use crate::projects::wanted::AnonymousVolumes;
use crate::volumes::{Absence, VolumesError};

type Done = Result<(), OperationError>;

impl Execution<'_> {
    /// Does what an operation says.
    pub(super) fn perform(&self, id: OperationId, planned: &Planned) -> Done {
        let tell = |phase: Phase| self.tell(id, subject(&planned.operation), phase);
        let around = |act: Act, done: &dyn Fn() -> Done| {
            tell(Phase::Begun(act));
            done()?;
            tell(Phase::Done(act));
            Ok(())
        };
        if self.needs_hold(&planned.operation) {
            self.hold(id, subject(&planned.operation))?;
        }
        match &planned.operation {
            Operation::CreateNetwork { key, name } => around(Act::Create, &|| self.create_network(key, name)),
            Operation::RemoveNetwork { name } => {
                tell(Phase::Begun(Act::Remove));
                match self.remove_network(name) {
                    Err(OperationError::Networks(error))
                        if planned.cause == Cause::Down && matches!(*error, NetworksError::InUse { .. }) =>
                    {
                        tell(Phase::InUse(error.to_string()));
                        Ok(())
                    }
                    result => result.map(|()| tell(Phase::Done(Act::Remove))),
                }
            }
            Operation::CreateVolume { key, .. } => around(Act::Create, &|| self.create_volume(key)),
            Operation::RemoveVolume { name } => {
                tell(Phase::Begun(Act::Remove));
                match self.engine.volumes().remove(name, self.engine, Absence::Fine) {
                    Err(VolumesError::InUse { volume, users }) if planned.cause == Cause::Down => {
                        let name =
                            |id: String| self.engine.find(&id).map_or(id, |found| found.name.to_string());
                        let users: Vec<String> = users.into_iter().map(name).collect();
                        tell(Phase::InUse(format!("volume {volume} is in use by {}", users.join(", "))));
                        Ok(())
                    }
                    result => Ok(result.map(|()| tell(Phase::Done(Act::Remove)))?),
                }
            }
            Operation::Disconnect { container, network } => around(Act::Disconnect, &|| {
                let id = container.id.to_string();
                Ok(self.engine.disconnect_network(network, &id, Leaving::Forced)?)
            }),
            Operation::Connect { container, key, .. } => {
                around(Act::Connect, &|| self.connect(container, key))
            }
            Operation::Create(new) => around(Act::Create, &|| {
                let made = match self.make_numbered(new, &new.name, &BTreeMap::new(), None) {
                    Err(error) if error.is_taken_name() => self.made_meanwhile(new).ok_or(error)?,
                    made => made?,
                };
                self.note_made(new, made.id);
                Ok(())
            }),
            Operation::Recreate { old, new, anonymous } => {
                around(Act::Recreate, &|| self.recreate(id, old, new, *anonymous))
            }
            Operation::MakeBeside { old, new, anonymous } => {
                around(Act::Create, &|| self.begin_beside(id, old, new, *anonymous))
            }
            Operation::AwaitBeside(new) => self.wait_for_beside(id, new).map(drop),
            Operation::TakeOver { old, new } => self.take_over(id, old, new),
            Operation::RunBefore(before) => self.run_before(id, before),
            Operation::Start(container) => around(Act::Start, &|| self.start(id, container)),
            Operation::Await { service, condition, required } => {
                self.wait_for(id, service, *condition, *required)
            }
            Operation::AwaitReady { service } => self.wait_until_ready(id, service),
            Operation::AwaitEnd(container) => around(Act::AwaitEnd, &|| self.wait_for_end(container)),
            Operation::Stop(container) => around(Act::Stop, &|| self.stop(id, container)),
            Operation::Kill { container, signal } => around(Act::Kill, &|| self.kill(container, *signal)),
            Operation::Pause(container) => around(Act::Pause, &|| {
                Ok(self.engine.pause(&self.engine.find(&container.id.to_string())?)?)
            }),
            Operation::Unpause(container) => around(Act::Unpause, &|| {
                Ok(self.engine.unpause(&self.engine.find(&container.id.to_string())?)?)
            }),
            Operation::Rename { container, name } => {
                around(Act::Rename, &|| Ok(self.engine.rename(&container.id.to_string(), name)?))
            }
            Operation::Remove { container, volumes } => {
                around(Act::Remove, &|| self.remove(container, *volumes))
            }
        }
    }

    pub(super) fn service(&self, name: &ServiceName) -> &Service {
        self.work.project.services.get(name).expect("plans are made of the project's own services")
    }

    fn create_network(&self, key: &NetworkKey, name: &str) -> Done {
        let hash = self.work.wanted.network_hashes.get(key).cloned().unwrap_or_default();
        let request = requests::network(self.work.project, key, &hash, self.work.version);
        match self.engine.networks().create(&request) {
            // Another command was faster.
            Err(NetworksError::Exists(_))
                if self.engine.networks().find(name)?.labels.get(labels::key::CONFIG_HASH) == Some(&hash) =>
            {
                Ok(())
            }
            result => Ok(result.map(|_| ())?),
        }
    }

    fn remove_network(&self, name: &str) -> Done {
        let networks = self.engine.networks();
        match networks.find(name).and_then(|found| networks.remove(&found)) {
            Err(NetworksError::NotFound(_)) => Ok(()),
            result => Ok(result?),
        }
    }

    fn create_volume(&self, key: &VolumeKey) -> Done {
        let hash = self.work.wanted.volume_hashes.get(key).cloned().unwrap_or_default();
        let request = requests::volume(self.work.project, key, &hash, self.work.version);
        Ok(self.engine.volumes().create(&request).map(|_| ())?)
    }

    fn connect(&self, existing: &Existing, key: &NetworkKey) -> Done {
        let project = self.work.project;
        let Some(service) = project.services.get(existing.service.as_str()) else { return Ok(()) };
        let place = Place::Numbered(existing.number);
        let wish = endpoint(project, service, &place, &existing.name, key)?;
        Ok(self.engine.connect_network(&wish.network, &existing.id.to_string(), &wish.settings)?)
    }

    pub(super) fn make_numbered(
        &self,
        new: &New,
        name: &str,
        inherited: &BTreeMap<String, String>,
        replaces: Option<&str>,
    ) -> Result<Definition, OperationError> {
        let service = self.service(&new.service);
        let adjust = |request: &mut CreateRequest| {
            request.name = Some(name.to_owned());
            if let Some(old) = replaces {
                request.labels.insert(labels::key::REPLACE.to_owned(), old.to_owned());
            }
        };
        self.make(service, Place::Numbered(new.number), &new.name, inherited, adjust)
    }

    /// The container that another command has made meanwhile, if it is what this one would have made.
    fn made_meanwhile(&self, new: &New) -> Option<Definition> {
        let found = self.engine.find(&new.name).ok()?;
        let service = self.service(&new.service);
        let own = labels::of_container(self.work.project, service, &Place::Numbered(new.number), "", "");
        let decisive = [
            labels::key::PROJECT,
            labels::key::SERVICE,
            labels::key::NUMBER,
            labels::key::ONE_OFF,
            labels::key::CONFIG_HASH,
        ];
        if decisive.iter().any(|key| found.labels.get(*key) != own.get(*key)) {
            return None;
        }
        Some(found)
    }

    /// Makes a container of a service, with its configs and secrets in it.
    pub(super) fn make(
        &self,
        service: &Service,
        place: Place,
        name: &str,
        inherited: &BTreeMap<String, String>,
        adjust: impl FnOnce(&mut CreateRequest),
    ) -> Result<Definition, OperationError> {
        let desired = self.work.wanted.desired.get(&service.name);
        let parents = self.parents();
        let making = Making {
            project: self.work.project,
            service,
            place,
            name: name.to_owned(),
            image: image_name(self.work.project, service),
            image_id: desired.map(|desired| desired.image.clone()).unwrap_or_default(),
            parents: &parents,
            inherited,
            profiles: self.work.profiles,
            version: self.work.version,
        };
        let mut request = container(&making)?;
        if let Some(images) =
            desired.and_then(|desired| desired.mounted.as_ref()).filter(|all| !all.is_empty())
        {
            let label = images.iter().map(|(target, image)| format!("{target}={image}"));
            let label = label.collect::<Vec<_>>().join(",");
            request.labels.insert(labels::key::MOUNTED_IMAGES.to_owned(), label);
        }
        request.first_probe = self.work.wanted.first_probe;
        let granted = granted(self.work.project, service)?;
        request.origin = desired.map(|desired| with_contents(&desired.config, &granted.contents()));
        request.mounts.extend(granted.mounts);
        request.files = granted.files;
        adjust(&mut request);
        Ok(self.engine.create(&request, &Quiet)?.definition)
    }

    /// The first container of each service.
    fn parents(&self) -> BTreeMap<ServiceName, ContainerId> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let mut parents = BTreeMap::new();
        for ((service, _), id) in places.iter() {
            if let Some((name, _)) = self.work.project.services.get_key_value(service.as_str()) {
                parents.entry(name.clone()).or_insert(*id);
            }
        }
        parents
    }

    pub(super) fn note_made(&self, new: &New, id: ContainerId) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.insert((new.service.to_string(), new.number), id);
        drop(places);
        self.made.lock().unwrap_or_else(PoisonError::into_inner).insert(new.name.clone(), id);
    }

    /// Makes a container beside the one whose place it takes; both are never up at the same time.
    fn recreate(&self, id: OperationId, old: &Existing, new: &New, anonymous: AnonymousVolumes) -> Done {
        let definition = self.make_beside(id, old, new, anonymous)?;
        // Where the old one does not let itself be stopped, it goes on, and the new one goes.
        self.stop(id, old)?;
        self.replace(old, new, &definition)
    }

    fn start(&self, id: OperationId, container: &Startable) -> Done {
        let definition = match self.there(container) {
            // Another command has made one in its place meanwhile, and sees to it.
            Err(ContainerError::NotFound(_)) if self.is_replaced(container) => return Ok(()),
            found => found?,
        };
        let label = |key: &str| definition.labels.get(key).map(String::as_str).unwrap_or_default();
        let service = self.work.project.services.get(label(labels::key::SERVICE));
        if let State::Paused(_) = self.engine.observe(&definition)?.state {
            return Ok(self.engine.unpause(&definition)?);
        }
        self.watcher.will_start(&definition);
        match self.engine.start(&definition)? {
            Start::Started(notes) => {
                for note in notes {
                    self.tell(id, Subject::Container(definition.name.to_string()), Phase::Note(note));
                }
            }
            // Whoever was faster runs the hooks, too.
            Start::Running => return Ok(()),
        }
        let number = label(labels::key::NUMBER).parse().unwrap_or(1);
        service.map_or(Ok(()), |service| {
            self.hooks(&definition, service.name.as_str(), number, "post_start", &service.post_start)
        })
    }

    /// Sends a signal; one that has ended, or was removed, since it was looked at needs none any more.
    fn kill(&self, existing: &Existing, signal: Signal) -> Done {
        let definition = match self.engine.find(&existing.id.to_string()) {
            Err(ContainerError::NotFound(_)) => return Ok(()),
            found => found?,
        };
        let Err(error) = self.engine.kill(&definition, &existing.name, signal) else { return Ok(()) };
        match self.engine.look(&definition) {
            Ok((state, _)) if state.is_active() => Err(error.into()),
            Ok(_) | Err(ContainerError::NotFound(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether another container has the place of one that is gone.
    fn is_replaced(&self, container: &Startable) -> bool {
        let name = container.name();
        let found = self.engine.find(name).ok().filter(|found| found.name.as_str() == name);
        found.is_some_and(|found| {
            let label = |key: &str| found.labels.get(key).map(String::as_str).unwrap_or_default();
            label(labels::key::PROJECT) == self.work.project.name.as_str()
                && label(labels::key::SERVICE) == container.service()
        })
    }

    pub(super) fn remove(&self, existing: &Existing, volumes: AnonymousVolumes) -> Done {
        let id = existing.id.to_string();
        let definition = match self.engine.find(&id) {
            // Somebody else was faster.
            Err(ContainerError::NotFound(_)) => return Ok(()),
            found => found?,
        };
        let with_volumes = volumes == AnonymousVolumes::Renew;
        match self.engine.remove(&id, RemoveOptions { force: true, volumes: with_volumes }) {
            Err(ContainerError::NotFound(_)) => {}
            removed => drop(removed?),
        }
        if with_volumes {
            self.remove_inherited(&definition);
        }
        Ok(())
    }

    /// Removes volumes without a name of their own that came down from a container before.
    fn remove_inherited(&self, definition: &Definition) {
        let volumes = self.engine.volumes();
        for mount in &definition.host.mounts {
            if let MountWhat::Volume { name, anonymous: false, .. } = &mount.what
                && volumes.find(name.as_str()).is_ok_and(|volume| volume.labels.contains_key(ANONYMOUS_LABEL))
            {
                // One that is still used stays, as any other volume does.
                let _ = volumes.remove(name.as_str(), self.engine, Absence::Fine);
            }
        }
    }
}
