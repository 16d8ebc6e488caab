//! The one socket option call that the wrappers have no name for.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Options of a netlink socket that we set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NetlinkOption {
    /// Errors come with the kernel's own words.
    ExtendedAcknowledgement,
    /// Acknowledgements do not quote the whole request.
    CappedAcknowledgement,
    /// The kernel filters dumps by the fields of the request.
    StrictCheck,
}

impl NetlinkOption {
    fn number(self) -> libc::c_int {
        match self {
            Self::ExtendedAcknowledgement => 11,
            Self::CappedAcknowledgement => 10,
            Self::StrictCheck => 12,
        }
    }
}

/// Turns an option of a netlink socket on.
pub(super) fn enable(socket: BorrowedFd<'_>, option: NetlinkOption) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the descriptor is borrowed for the call, the value is a live `c_int` on this stack frame and the
    // length given is its size; the kernel only reads it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            option.number(),
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
