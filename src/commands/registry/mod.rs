//! The verbs of registries.

mod login;
mod push;

pub(super) use login::{login, logout};
pub(super) use push::run as push;
