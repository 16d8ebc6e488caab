//! The values that every other crate speaks in.
//!
//! Nothing here does I/O, and nothing here decides: these are the nouns of the project, each with one
//! meaning and one spelling, so that the crates above can be walls to each other and still agree.
//!
//! - [`digest`]: identities of bytes and trees, one type per meaning; [`hex`]: how they are spelled;
//! - [`span`]: places in source text and the diagnostics that point at them;
//! - [`platform`], [`reference`](mod@reference), [`image_config`]: the words of images;
//! - [`step`], [`graph`], [`mount`]: what is to be built;
//! - [`key`]: what a result is found by, and its typed pre-image;
//! - [`file_mode`]: what `--chmod` asks for; [`glob`]: patterns of names and paths; [`truth`]: `true`, `1` and the like;
//! - [`project`]: a compose project as a planner takes it;
//! - [`snapshot`], [`rootfs`]: trees, and how one becomes a root file system;
//! - [`container`]: what runs; [`network`], [`volume`]: what containers share;
//! - [`event`]: the only channel to any display, the build record and the API.

pub mod container;
pub mod digest;
pub mod event;
pub mod file_mode;
pub mod glob;
pub mod graph;
pub mod hex;
pub mod image_config;
pub mod key;
pub mod mount;
pub mod network;
pub mod platform;
pub mod project;
pub mod reference;
pub mod rootfs;
pub mod snapshot;
pub mod span;
pub mod step;
pub mod truth;
pub mod volume;
