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

/// A link that is to go. It is meant by its number: another one may have its name by the time that it goes.
#[derive(Debug)]
pub(crate) struct Departure {
    index: LinkIndex,
    news: OwnedFd,
    socket: Socket,
}

impl Departure {
    /// The link of a name in the network namespace of the calling thread, if there is one.
    pub(crate) fn of(name: &LinkName) -> Result<Option<Self>, NetlinkError> {
        let news = listen().map_err(|errno| NetlinkError::Open { source: errno.into() })?;
        // Asked for so, as links may be locked for long.
        match net::netdevice::name_to_index(&news, name.as_str()) {
            Err(Errno::NODEV) => Ok(None),
            Err(errno) => Err(NetlinkError::Transfer { source: errno.into() }),
            Ok(index) => {
                Ok(Some(Self { index: LinkIndex(index), news, socket: Socket::open(Family::Route)? }))
            }
        }
    }

    /// The link of a number.
    pub(crate) fn of_link(index: LinkIndex) -> Result<Self, NetlinkError> {
        let news = listen().map_err(|errno| NetlinkError::Open { source: errno.into() })?;
        Ok(Self { index, news, socket: Socket::open(Family::Route)? })
    }

    /// Removes the link; returns when nobody finds it any more. One that is gone already is no error.
    pub(crate) fn go(mut self) -> Result<(), NetlinkError> {
        // Where no process can be made, this one does the waiting.
        if let Ok(end) = self.socket.send_apart(route::delete_link(self.index))
            && self.is_going(&end)?
        {
            return Ok(());
        }
        match self.socket.execute(vec![Request::new("remove a link", route::delete_link(self.index))]) {
            Err(error) if error.errno() == Some(Errno::NODEV) => Ok(()),
            outcome => outcome,
        }
    }

    /// Waits until the kernel tells that the link goes, or the other process has ended before anything was told: then it was
    /// gone or down already, or nobody could ask for it.
    fn is_going(&self, end: &OwnedFd) -> Result<bool, NetlinkError> {
        loop {
            let mut fds = [PollFd::new(&self.news, PollFlags::IN), PollFd::new(end, PollFlags::IN)];
            match poll(&mut fds, None) {
                Err(Errno::INTR) => continue,
                polled => polled.map_err(|errno| NetlinkError::Transfer { source: errno.into() })?,
            };
            let [is_told, has_ended] = fds.map(|fd| !fd.revents().is_empty());
            if is_told && goes(&self.news, self.index) {
                return Ok(true);
            }
            if has_ended {
                return Ok(false);
            }
        }
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
