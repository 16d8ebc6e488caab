//! Hears of it when another program changes our tables: the kernel tells of each change of its rules.
//!
//! Elements, which come and go with every endpoint, are not looked at; a socket that was told more than it could hold
//! counts as a change.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SocketFlags, SocketType, netlink};

use crate::link::StorePrefix;
use crate::netlink::message::Frames;
use crate::netlink::nftables;
use crate::netlink::socket::NetlinkError;

/// The bit of the group that is told of changes of rules (`NFNLGRP_NFTABLES`).
const GROUP: u32 = 1 << 6;

/// As much as the kernel tells at once.
const DATAGRAM: usize = 32 << 10;

/// Who hears of changes of one store's tables.
#[derive(Debug)]
pub(crate) struct Watch {
    socket: OwnedFd,
    table: String,
}

impl Watch {
    /// Begins to listen in the network namespace of the calling thread.
    pub(crate) fn open(store: StorePrefix) -> Result<Self, NetlinkError> {
        let open = || {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket =
                net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::NETFILTER))?;
            net::bind(&socket, &netlink::SocketAddrNetlink::new(0, GROUP))?;
            Ok(socket)
        };
        let socket = open().map_err(|source: Errno| NetlinkError::Open { source: source.into() })?;
        Ok(Self { socket, table: store.table() })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Reads all that was told; says whether our tables may be among it. Never waits.
    pub(crate) fn read(&self) -> bool {
        let mut buffer = vec![0; DATAGRAM];
        let mut is_ours = false;
        loop {
            match net::recv(&self.socket, &mut buffer[..], RecvFlags::TRUNC) {
                Ok((kept, length)) => is_ours |= length > kept || concerns(&buffer[..kept], &self.table),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return is_ours,
                // What was lost may have been about us.
                Err(_) => return true,
            }
        }
    }
}

/// Whether a message of a datagram is about a table, or what has its rules.
fn concerns(datagram: &[u8], table: &str) -> bool {
    Frames::new(datagram)
        .any(|frame| nftables::changed_table(frame.kind, frame.body).is_some_and(|name| name == table))
}
