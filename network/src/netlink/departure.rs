//! The end of a link, without the wait for its last traces.
//!
//! The kernel takes 35 ms and more to remove a bridge: its links are locked until nobody finds it any more, and then it
//! waits for whoever may still see it. Who asks for it gets the answer after all that. So another process asks, and
//! the caller goes on as soon as the kernel tells that it has begun: then whoever looks at links or changes them waits,
//! and finds the link gone.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SocketFlags, SocketType, netlink};

use super::message::Frames;
use super::route::{self, LinkIndex};
use super::socket::{Family, NetlinkError, Request, Socket};
use crate::link::LinkName;

/// The bit of the group that is told of links (`RTNLGRP_LINK`).
const GROUP: u32 = 1;

/// As much as the kernel tells at once.
const DATAGRAM: usize = 32 << 10;

/// Removes a link of the network namespace of the calling thread; returns when nobody finds it any more. One that is gone
/// already is no error.
///
/// The other process is told its number, as another one may have its name by the time that it comes to it.
pub(crate) fn remove_link(name: &LinkName) -> Result<(), NetlinkError> {
    let news = listen().map_err(|errno| NetlinkError::Open { source: errno.into() })?;
    // Asked for so, as links may be locked for long.
    let index = match net::netdevice::name_to_index(&news, name.as_str()) {
        Err(Errno::NODEV) => return Ok(()),
        index => LinkIndex(index.map_err(|errno| NetlinkError::Transfer { source: errno.into() })?),
    };
    let mut socket = Socket::open(Family::Route)?;
    let end = socket.send_apart(route::delete_link(index))?;
    loop {
        let mut fds = [PollFd::new(&news, PollFlags::IN), PollFd::new(&end, PollFlags::IN)];
        match poll(&mut fds, None) {
            Err(Errno::INTR) => continue,
            polled => polled.map_err(|errno| NetlinkError::Transfer { source: errno.into() })?,
        };
        let [is_told, has_ended] = fds.map(|fd| !fd.revents().is_empty());
        if is_told && goes(&news, index) {
            return Ok(());
        }
        if has_ended {
            break;
        }
    }
    // It was gone, or down already, so that nothing was told before its end; or the other process could not do it.
    match socket.execute(vec![Request::new("remove a link", route::delete_link(index))]) {
        Err(error) if error.errno() == Some(Errno::NODEV) => Ok(()),
        outcome => outcome,
    }
}

fn listen() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    net::bind(socket.as_fd(), &netlink::SocketAddrNetlink::new(0, GROUP))?;
    Ok(socket)
}

/// Whether the kernel told that a link is being removed: it takes it down first. What was told and is lost is no harm, as
/// the end of the other process is seen as well.
fn goes(news: &OwnedFd, index: LinkIndex) -> bool {
    let mut buffer = vec![0; DATAGRAM];
    while let Ok((kept, _)) = net::recv(news, &mut buffer[..], RecvFlags::TRUNC) {
        if Frames::new(&buffer[..kept]).any(|frame| route::tells_of_end(frame.kind, frame.body, index)) {
            return true;
        }
    }
    false
}
