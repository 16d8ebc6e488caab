//! Finding containers.

use rbuild_images::Usage;
use rbuild_model::container::Definition;
use rbuild_model::digest::ImageId;

use super::error::ContainerError;
use super::rows;
use crate::engine::Engine;

impl Engine {
    /// Finds a container by its full id, else by its name, else by the beginning of its id.
    pub fn find(&self, text: &str) -> Result<Definition, ContainerError> {
        self.parts.store.read(|transaction| rows::find(transaction, text))
    }

    /// Lists all definitions, the newest first.
    pub fn definitions(&self) -> Result<Vec<Definition>, ContainerError> {
        self.parts.store.read(rows::all)
    }
}

/// Containers keep the images that they were made of.
impl rbuild_images::Users for Engine {
    fn usage(&self, image: ImageId) -> Option<Usage> {
        let users = self.parts.store.read(|transaction| rows::image_users(transaction, image)).ok()?;
        let running = users.iter().find(|id| self.is_active(**id));
        match (running, users.first()) {
            (Some(id), _) => Some(Usage::Running { container: id.short() }),
            (None, Some(id)) => Some(Usage::Stopped { container: id.short() }),
            (None, None) => None,
        }
    }
}
