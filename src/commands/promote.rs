//! `rbuild promote`: what was built last survives a power loss from now on.
//!
//! Results are delivered unsynced: a build never waits for the disk. Each build that made something starts this verb
//! as a process of its own, which does the waiting when nobody does any more. What was thrown away meanwhile is also
//! removed by it.

use super::{Context, Outcome};
use crate::report::Status;
use crate::wiring::Home;

pub(super) fn run(context: &Context) -> Outcome {
    // Out of the caller's session: its terminal may go. That it is already alone is no harm.
    let _ = nix::unistd::setsid();
    // Out of its folder as well, which may be unmounted.
    let _ = nix::unistd::chdir("/");
    let home = Home::open_to_promote(&context.settings)?;
    if home.store.promote()?.rows > 0 {
        // `prune --all` gives it back; where something is made again, it is needed again.
        home.store.reserve().restore()?;
    }
    home.store.empty_trash()?;
    home.remove_unused_networks()?;
    Ok(Status::Done)
}
