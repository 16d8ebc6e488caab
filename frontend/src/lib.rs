//! Text to model, without I/O: Dockerfiles, ignore files, check rules.
//!
//! - [`dockerfile`] reads a text into instructions that know where they stand, and reports everything wrong with it;
//! - [`lower`] brings instructions down to a graph of steps; what it has to know from outside, it asks;
//! - [`compose`] reads compose files into a project;
//! - [`bake`] reads files of many targets;
//! - [`hcl`] reads and evaluates the language of bake files;
//! - [`ignore`] says which paths of a context are left out;
//! - [`lint`] checks a Dockerfile against rules that no build needs to pass;
//! - `path`, `ports` and `go` are paths and ranges of ports as texts, and texts as Go reads and writes them, for all of these.
//!
//! Nothing here opens a file or a connection, so nothing here can fail but by what is written in the text.

pub mod bake;
pub mod compose;
pub mod dockerfile;
pub mod errors;
mod go;
pub mod hcl;
pub mod ignore;
pub mod lint;
pub mod lower;
mod path;
mod ports;

pub use go::duration as go_duration;
