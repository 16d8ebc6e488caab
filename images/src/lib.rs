//! Image rows, tags, identity, and how images come and go.
//!
//! An image is known by its [`ImageId`](rbuild_model::digest::ImageId): the digest of its config, whose bytes are
//! kept as they came. Its root is a stack of snapshots: each layer that was unpacked or built here is remembered
//! under the [`ChainId`](rbuild_model::digest::ChainId) of the layers up to it, so that images share what they
//! have in common. A name (a tag, or a manifest's digest in a repository) points to an image.
//!
//! [`Images`] is the one home for build and run:
//! - [`Images::resolve`] finds an image for `FROM` or `run`, locally first, and pulls it if that is allowed;
//!   [`Images::pull`] asks the registry in any case;
//! - [`Images::load`], [`Images::import`], [`Images::add`] bring images from elsewhere or from a build;
//!   [`Images::save`], [`Images::push`], [`Images::pack`] take them out;
//! - [`Images::list`], [`Images::find`], [`Images::tag`], [`Images::remove`], [`Images::inspect`],
//!   [`Images::history`] are about the rows.
//!
//! # Layers
//! A layer of a pulled or loaded image is kept as a blob as well, because its tar cannot be made from its tree
//! byte for byte; it goes with the last image that has it. A layer that was built here has no
//! blob until it leaves: its [`DiffId`](rbuild_model::digest::DiffId) is remembered by snapshot, version of the
//! tar form and epoch, its compressed forms by DiffId.
//!
//! # Waiting and threads
//! Everything blocks. The registry client runs on a single-threaded runtime that is made at first use; layers are
//! fetched four at a time, decompressed and written in order while they come; what comes before its turn waits in its file.
//!
//! Locks: image (a reference being pulled) before unpack (a ChainId) before blob (a digest), in tasks of their own.

mod add;
mod annotations;
mod arrivals;
mod attest;
mod bases;
mod change;
mod collected;
mod departures;
mod error;
mod events;
mod find;
mod images;
mod inspect;
mod layers;
mod load;
mod offer;
mod packing;
mod platforms;
mod progress;
mod pull;
mod push;
mod remote;
mod remove;
mod room;
mod rows;
mod save;
mod schema;
mod shelf;
mod stacks;
mod unpack;

#[cfg(test)]
mod tests;

pub use add::{BuiltImage, ImportOptions};
pub use annotations::{Annotation, Level, annotate, annotate_index};
pub use change::{changed_config, run_config};
pub use collected::{ImageRows, PUSHED};
pub use departures::{Departures, GrowingLayer};
pub use error::ImagesError;
pub use find::{HistoryItem, Image, ListedImage};
pub use images::{Images, Options};
pub use layers::{EPOCH_NONE, LayerTar};
pub use load::LoadedImage;
pub use offer::Offered;
pub use packing::{Existing, Packing};
pub use platforms::{IndexId, Member, NamedIndex};
pub use progress::{LayerState, Progress, Quiet};
pub use pull::{PullPolicy, Pulled, Resolved};
pub use push::{Naming, Outgoing, PushedImage};
pub use remote::{Combined, Entry, Found, Preference, Remote, Selection};
pub use remove::{NoUsers, Removed, Usage, Users};
pub use room::{Reserving, TreeRoom};
pub use schema::SCHEMA;
pub use shelf::{NotTaken, Shelved, ShelvedItem, Taken, Wanted, is_document};
pub use stacks::{Alone, PackedLayer, StackError, StackLayer};
