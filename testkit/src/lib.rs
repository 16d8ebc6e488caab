//! What tests share: a hermetic place to run the program in, roots to run in containers, a registry, a web server, a look
//! for what is left behind.
//!
//! Nothing here depends on the other crates, so all of them may use it in their tests; nothing here asserts a time,
//! sleeps, or reaches beyond this machine. What goes wrong panics with the whole story: the reader is a developer
//! before a failed test.

pub mod certificates;
pub mod context;
pub mod files;
pub mod leaks;
pub mod mistakes;
pub mod privilege;
pub mod registry;
pub mod rootfs;
pub mod running;
pub mod settle;
pub mod text;
pub mod tokens;
pub mod web;
