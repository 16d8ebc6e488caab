//! Leaving the network namespace.

use std::io;

use rustix::thread::UnshareFlags;

/// Moves the calling thread into a new network namespace.
pub(super) fn leave_network_namespace() -> io::Result<()> {
    // SAFETY: of all flags only `CLONE_FILES` can break what other code relies on (descriptors shared between
    // threads); a new network namespace changes nothing but where this thread's later sockets are made.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.map_err(io::Error::from)
}
