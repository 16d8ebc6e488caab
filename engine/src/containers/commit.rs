//! `commit`: what a container wrote becomes the top layer of a new image.

use std::io::{BufWriter, Write as _};
use std::path::Path;

use rbuild_confined::Root;
use rbuild_image::tar::{Limits, Options};
use rbuild_images::{BuiltImage, changed_config};
use rbuild_model::container::{Definition, ImageUse, State};
use rbuild_model::digest::ImageId;
use rbuild_model::image_config::{Empty, History, ImageConfig};
use rbuild_model::reference::Reference;
use rbuild_model::snapshot::Chain;
use rbuild_sandbox::mounts::mount_detached;
use rbuild_snapshotter::diff::{Change, ChangeKind};
use rbuild_snapshotter::{Active, Tree, write_layer_without};
use rbuild_store::{Lease, ObjectKind};

use super::error::ContainerError;
use super::lend::NAME_FILES;
use super::rows;
use crate::engine::{Engine, io};

/// An image to make of a container.
#[derive(Clone, Debug, Default)]
pub struct CommitRequest {
    /// Its name, if it gets one.
    pub reference: Option<Reference>,
    /// Who answers for it.
    pub author: Option<String>,
    /// A remark for its history.
    pub message: Option<String>,
    /// Dockerfile instructions for its config.
    pub changes: Vec<String>,
    /// Whether the container is held still meanwhile.
    pub pause: bool,
}

impl Engine {
    /// Makes an image of a container as it is now.
    pub fn commit(
        &self,
        definition: &Definition,
        request: &CommitRequest,
    ) -> Result<ImageId, ContainerError> {
        let _still = self.hold_still(definition)?;
        let state = self.observe(definition)?.state;
        if let State::Removing { .. } | State::Dead { .. } = state {
            return Err(ContainerError::State(format!(
                "You cannot commit container {} which is being removed",
                definition.id
            )));
        }
        // Known before anything is made, so that a wrong change leaves nothing behind.
        let config = self.config_of(definition, request)?;
        let lease = self.parts.store.lease("commit")?;
        self.keep_below(definition, &lease)?;
        let frozen = match &state {
            State::Running(_) if request.pause => {
                let mut client = self.running(definition)?;
                client.pause()?;
                Some(client)
            }
            _ => None,
        };
        let layer = self.layer(definition, &lease);
        if let Some(mut client) = frozen {
            // It may have been killed meanwhile; what was read is whole all the same.
            let _ = client.unpause();
        }
        let chain = layer?;
        let built = BuiltImage {
            config,
            chain: &chain,
            epoch: None,
            base: Some(definition.image.id),
            parent: Some(definition.image.id),
        };
        let image = self.parts.images.add(built, &lease)?;
        let name = match &request.reference {
            Some(reference) => {
                self.parts.images.tag(image, reference)?;
                reference.familiar()
            }
            None => String::new(),
        };
        self.parts.store.promote()?;
        let extra = [
            ("comment", request.message.clone().unwrap_or_default()),
            ("imageID", image.to_string()),
            ("imageRef", name),
        ];
        self.tell(definition, "commit", &extra);
        Ok(image)
    }

    /// Keeps the image of a container, and the layers that it stands on, as long as the lease: one that runs may be removed
    /// meanwhile.
    fn keep_below(&self, definition: &Definition, lease: &Lease) -> Result<(), ContainerError> {
        let ImageUse { id, chain, .. } = &definition.image;
        let layers = chain.layers().iter().map(|layer| (ObjectKind::SNAPSHOT, &layer.as_bytes()[..]));
        let objects: Vec<_> = layers.chain([(ObjectKind::IMAGE, &id.as_bytes()[..])]).collect();
        self.parts.store.write(|transaction| {
            // Until now it was the container that kept them.
            if !rows::exists(transaction, definition.id)? {
                return Err(ContainerError::NotFound(definition.name.to_string()));
            }
            Ok(lease.protect(transaction, &objects)?)
        })
    }

    /// Makes a committed snapshot of what a container wrote, and returns the stack with it on top.
    fn layer(&self, definition: &Definition, lease: &Lease) -> Result<Chain, ContainerError> {
        let snapshots = self.snapshots_in(&self.folder(definition.id))?;
        let written = self.writes(definition);
        let below = &definition.image.chain;
        let view = self.parts.snapshotter.view(below)?;
        let image = Root::from_fd(mount_detached(&view)?)?;
        let is_stub = |change: &Change| is_stub(change, &image);
        let room = self.parts.images.room(format!("what {} wrote", definition.name))?;
        let (mut reader, writer) = std::io::pipe().map_err(io("make", "a pipe"))?;
        let made: Result<Active, ContainerError> = std::thread::scope(|scope| {
            let packed = scope.spawn(|| -> Result<(), ContainerError> {
                let writer = BufWriter::with_capacity(256 << 10, writer);
                let tree = Tree::Active(&written);
                let mut writer =
                    write_layer_without(&*snapshots, tree, writer, Options::default(), &is_stub)?;
                Ok(writer.flush().map_err(io("write", "a pipe"))?)
            });
            let mut tar = room.reader(&mut reader);
            let applied = self.parts.snapshotter.apply(below, &mut tar, Limits::default());
            drop(reader);
            let packed = packed.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            match (applied, packed) {
                (Ok((active, _)), Ok(())) => Ok(active),
                (Ok((active, _)), Err(error)) => {
                    // The first error is the one to tell.
                    let _ = self.parts.snapshotter.discard(active);
                    Err(error)
                }
                (Err(error), _) => Err(room.refusal().map_or_else(|| error.into(), Into::into)),
            }
        });
        let snapshot = room.commit(made?, lease, &|_, _| Ok(()))?;
        Ok(below.with(snapshot))
    }

    /// Returns the config of the new image: what the container runs, with the changes that were asked for.
    fn config_of(
        &self,
        definition: &Definition,
        request: &CommitRequest,
    ) -> Result<ImageConfig, ContainerError> {
        let mut config = self.parts.images.config(definition.image.id)?;
        let now = jiff::Timestamp::now().to_string();
        let program = &definition.program;
        let run = &mut config.config;
        run.user.clone_from(&program.user);
        run.env.clone_from(&program.env);
        run.entrypoint.clone_from(&program.entrypoint);
        run.cmd.clone_from(&program.command);
        run.working_dir.clone_from(&program.workdir);
        run.labels.clone_from(&definition.labels);
        run.exposed_ports = definition.exposed.iter().map(|name| (name.clone(), Empty {})).collect();
        run.volumes = definition.volumes.iter().map(|name| (name.clone(), Empty {})).collect();
        run.healthcheck.clone_from(&definition.health);
        run.stop_signal = program.stop_signal.map(|signal| signal.to_string());
        *run = changed_config(run, &request.changes, &definition.image.platform)?;
        config.author = request.author.clone().or(config.author);
        config.created = Some(now.clone());
        config.history.push(History {
            created: Some(now),
            created_by: Some(program.argv().join(" ")),
            author: request.author.clone(),
            comment: request.message.clone(),
            empty_layer: false,
        });
        Ok(config)
    }
}

/// Whether a path is there only because something had to be mounted on it, in every container.
fn is_stub(change: &Change, image: &Root) -> bool {
    let path = Path::new("/").join(&change.path);
    let is_place = match &change.kind {
        ChangeKind::Directory { .. } => {
            ["/dev", "/proc", "/sys"].iter().any(|place| path == Path::new(place))
        }
        ChangeKind::File { meta, .. } => {
            meta.size == 0 && NAME_FILES.iter().any(|file| path == Path::new(file))
        }
        _ => false,
    };
    is_place && matches!(image.find_nofollow(&change.path), Ok(None))
}
