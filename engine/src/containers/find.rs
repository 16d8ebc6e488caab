//! Finding containers.

use rbuild_images::Usage;
use rbuild_model::container::Definition;
use rbuild_model::digest::ImageId;
use rbuild_store::DatabaseError;

use super::error::ContainerError;
use super::rows;
use crate::engine::Engine;

impl Engine {
    /// Finds a container by its full id, else by its name, else by the beginning of its id.
    pub fn find(&self, text: &str) -> Result<Definition, ContainerError> {
        self.parts.store.read(|transaction| rows::find(transaction, text))
    }

    /// Lists all definitions that can be read, the newest first.
    pub fn definitions(&self) -> Result<Vec<Definition>, ContainerError> {
        Ok(self.parts.store.read(rows::all)?.into_iter().filter_map(Result::ok).collect())
    }
}

/// Containers keep the images that they were made of, and those that are mounted in them.
impl rbuild_images::Users for Engine {
    fn usage(&self, image: ImageId) -> Result<Option<Usage>, DatabaseError> {
        let users = || self.parts.store.read(|transaction| rows::image_users(transaction, image));
        let mut known = users()?;
        if !known.is_empty() {
            // One that nobody sees any more keeps nothing.
            let _ = self.reap_all_left();
            known = users()?;
        }
        let running = known.iter().find(|id| self.may_run(**id));
        Ok(match (running, known.first()) {
            (Some(id), _) => Some(Usage::Running { container: id.short() }),
            (None, Some(id)) => Some(Usage::Stopped { container: id.short() }),
            (None, None) => None,
        })
    }
}
