//! The one question to the old tables of the packet filter that the wrappers have no name for.

use std::io;
use std::os::fd::AsRawFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};

use super::legacy::Version;

/// What the kernel tells of a table: its name, where the rules of its five hooks lie, how many there are.
#[repr(C)]
#[derive(Default)]
struct Info {
    name: [u8; 32],
    valid_hooks: u32,
    entries_at: [u32; 5],
    policies_at: [u32; 5],
    count: u32,
    bytes: u32,
}

/// Asks how many entries the table `filter` has in the network namespace of this thread.
pub(super) fn entries(version: Version) -> io::Result<u32> {
    const GET_INFO: libc::c_int = 64;
    let (family, level) = match version {
        Version::Four => (AddressFamily::INET, libc::IPPROTO_IP),
        Version::Six => (AddressFamily::INET6, libc::IPPROTO_IPV6),
    };
    let socket = socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::RAW))?;
    let mut info = Info::default();
    info.name[..6].copy_from_slice(b"filter");
    let mut length = size_of::<Info>() as libc::socklen_t;
    // SAFETY: the socket is open for the whole call; the value is a live `repr(C)` structure of integers without padding, which the
    // kernel reads its name from and overwrites with any bits, and the length is its size.
    let result = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, GET_INFO, (&raw mut info).cast(), &raw mut length)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(info.count)
}
