//! Removing images, by Docker's rules.

use rbuild_model::digest::ImageId;
use rbuild_model::reference::Reference;
use rbuild_store::DatabaseError;

use crate::error::ImagesError;
use crate::find::Image;
use crate::images::Images;
use crate::platforms;
use crate::rows;

/// What was taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    /// A name.
    Untagged(Reference),
    /// An image.
    Deleted(ImageId),
}

/// How a container uses an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Usage {
    /// It runs.
    Running {
        /// The container's short id.
        container: String,
    },
    /// It exists.
    Stopped {
        /// The container's short id.
        container: String,
    },
}

/// Knows which containers use an image; the owner of containers is asked.
pub trait Users {
    /// Returns how an image is used, a running container first.
    fn usage(&self, image: ImageId) -> Result<Option<Usage>, DatabaseError>;
}

/// Knows of no containers.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoUsers;

impl Users for NoUsers {
    fn usage(&self, _image: ImageId) -> Result<Option<Usage>, DatabaseError> {
        Ok(None)
    }
}

/// Whether conflicts that may be overridden are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Force {
    Yes,
    No,
}

impl Images {
    /// Removes a name or an image (`rmi`).
    ///
    /// A name is taken away; with its last tag goes the image, and with the image the parents that have no name. An id
    /// takes the image with all its names if they are of one repository and not more than one tag.
    pub fn remove(&self, text: &str, users: &dyn Users) -> Result<Vec<Removed>, ImagesError> {
        self.remove_as(text, users, Force::No)
    }

    /// As [`Images::remove`], also with several names and where stopped containers use the image.
    pub fn remove_forced(&self, text: &str, users: &dyn Users) -> Result<Vec<Removed>, ImagesError> {
        self.remove_as(text, users, Force::Yes)
    }

    fn remove_as(&self, text: &str, users: &dyn Users, force: Force) -> Result<Vec<Removed>, ImagesError> {
        // An index goes by its name; with the last name of an image go those for other platforms.
        let index = self.index(text)?;
        let text = &index.as_ref().map_or_else(|| text.to_owned(), |index| index.name.to_string());
        let image = self.find(text)?;
        let mut others: Vec<ImageId> = Vec::new();
        for member in index.iter().chain(&image.indexes).flat_map(|index| &index.members) {
            if member.image != image.id && !others.contains(&member.image) {
                others.push(member.image);
            }
        }
        let id = image.id;
        let mut removed = self.remove_one(text, image, users, force)?;
        self.tell_removed(id, &removed);
        for other in others {
            let told = removed.len();
            self.remove_unnamed(other, users, force, &mut removed)?;
            self.tell_removed(other, &removed[told..]);
        }
        Ok(removed)
    }

    /// Removes an image that was only meant by a name that is gone.
    fn remove_unnamed(
        &self,
        id: ImageId,
        users: &dyn Users,
        force: Force,
        removed: &mut Vec<Removed>,
    ) -> Result<(), ImagesError> {
        let Some(image) = self.get(id)? else { return Ok(()) };
        let named = !image.tags.is_empty() || !image.digests.is_empty();
        if named || self.store.read(|tx| platforms::is_member(tx, id))? {
            return Ok(());
        }
        // What is still in use stays, as an image without a name.
        if self.check_users(&image, users, force, "remove", "must force").is_err() {
            return Ok(());
        }
        self.delete(image, removed)
    }

    fn remove_one(
        &self,
        text: &str,
        image: Image,
        users: &dyn Users,
        force: Force,
    ) -> Result<Vec<Removed>, ImagesError> {
        let named = text.parse::<Reference>().ok().map(Reference::with_default_tag).filter(|reference| {
            let name = match reference.digest() {
                Some(_) => reference.clone().name(),
                None => reference.to_string(),
            };
            let all = image.tags.iter().chain(&image.digests);
            all.clone().any(|own| {
                own.to_string() == name
                    || own.digest().is_some_and(|digest| {
                        reference.digest() == Some(digest) && own.name() == reference.name()
                    })
            })
        });
        let mut removed = Vec::new();
        match named {
            Some(reference) => {
                let own = image
                    .tags
                    .iter()
                    .chain(&image.digests)
                    .find(|own| match reference.digest() {
                        Some(digest) => own.digest() == Some(digest) && own.name() == reference.name(),
                        None => **own == reference,
                    })
                    .cloned()
                    .unwrap_or(reference);
                let rest: Vec<_> =
                    image.tags.iter().chain(&image.digests).filter(|other| **other != own).collect();
                // Digests of the same repository do not outlive its last tag.
                let is_last = rest.iter().all(|other| other.digest().is_some() && other.name() == own.name());
                if !is_last {
                    self.store.write(|tx| rows::remove_name(tx, &own))?;
                    return Ok(vec![Removed::Untagged(own)]);
                }
                let what = format!("remove repository reference \"{}\"", own.familiar());
                self.check_users(&image, users, force, &what, "must force")?;
                self.delete(image, &mut removed)?;
            }
            None => {
                let mut repositories: Vec<_> =
                    image.tags.iter().chain(&image.digests).map(Reference::name).collect();
                repositories.dedup();
                if force == Force::No && (image.tags.len() > 1 || repositories.len() > 1) {
                    return Err(ImagesError::SeveralNames(short(image.id)));
                }
                let what = format!("delete {}", short(image.id));
                self.check_users(&image, users, force, &what, "must be forced")?;
                self.delete(image, &mut removed)?;
            }
        }
        Ok(removed)
    }

    fn check_users(
        &self,
        image: &Image,
        users: &dyn Users,
        force: Force,
        what: &str,
        way_out: &str,
    ) -> Result<(), ImagesError> {
        let id = short(image.id);
        if self.store.read(|tx| rows::children(tx, image.id))? {
            let what = format!("delete {id} (cannot be forced) - image has dependent child images");
            return Err(ImagesError::InUse { what });
        }
        match users.usage(image.id)? {
            Some(Usage::Running { container }) => Err(ImagesError::InUse {
                what: format!(
                    "delete {id} (cannot be forced) - image is being used by running container {container}"
                ),
            }),
            Some(Usage::Stopped { container }) if force == Force::No => Err(ImagesError::InUse {
                what: format!(
                    "{what} ({way_out}) - container {container} is using its referenced image {id}"
                ),
            }),
            _ => Ok(()),
        }
    }

    /// Deletes an image and then its parents, as far as nothing names them.
    fn delete(&self, image: Image, removed: &mut Vec<Removed>) -> Result<(), ImagesError> {
        let mut next = Some(image);
        while let Some(image) = next {
            // The rows first; trees and blobs go with the next sweep, which finds that nothing needs them.
            self.store.write_synced(|tx| {
                rows::remove_image(tx, image.id)?;
                rows::forget_loose_layers(tx)
            })?;
            removed.extend(image.tags.into_iter().chain(image.digests).map(Removed::Untagged));
            removed.push(Removed::Deleted(image.id));
            let parent = match image.parent {
                Some(parent) => self.get(parent)?,
                None => None,
            };
            next = match parent {
                Some(parent) if parent.tags.is_empty() && parent.digests.is_empty() => {
                    let needed = self.store.read(|tx| rows::children(tx, parent.id))?;
                    (!needed).then_some(parent)
                }
                _ => None,
            };
        }
        Ok(())
    }
}

pub(crate) fn short(id: ImageId) -> String {
    id.hex()[..12].to_owned()
}
