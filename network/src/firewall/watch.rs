//! Hears of it when another program changes our tables: the kernel tells of each change of its rules.
//!
//! Elements come and go with every endpoint; which of them went is told, so that each endpoint may look after its own. A
//! socket that was told more than it could hold counts as a change of all.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SocketFlags, SocketType, netlink};

use crate::link::StorePrefix;
use crate::netlink::message::{Frame, Frames};
use crate::netlink::nftables::{self, Gone};
use crate::netlink::socket::NetlinkError;

/// The bit of the group that is told of changes of rules (`NFNLGRP_NFTABLES`).
const GROUP: u32 = 1 << 6;

/// As much as the kernel tells at once.
const DATAGRAM: usize = 32 << 10;

/// What was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Rules may have changed, or anything.
    Rules,
    /// Only elements came or went.
    Elements(Elements),
}

/// What came of elements and what went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Elements {
    /// Those that went.
    pub(crate) gone: Vec<Gone>,
    /// Whether others came.
    pub(crate) came: Coming,
}

/// Whether elements came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Coming {
    /// None did.
    #[default]
    None,
    /// Some did.
    Some,
}

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

    /// Reads all that was told of our tables. Never waits.
    pub(crate) fn read(&self) -> Heard {
        let mut buffer = vec![0; DATAGRAM];
        let mut elements = Elements::default();
        let mut is_all = false;
        loop {
            match net::recv(&self.socket, &mut buffer[..], RecvFlags::TRUNC) {
                Ok((kept, length)) => {
                    is_all |= length > kept || concerns(&buffer[..kept], &self.table);
                    for frame in Frames::new(&buffer[..kept]) {
                        elements.gone.extend(self.gone(&frame));
                        if self.is_of_new(&frame) {
                            elements.came = Coming::Some;
                        }
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if !is_all => return Heard::Elements(elements),
                // What was lost may have been about us.
                Err(_) => return Heard::Rules,
            }
        }
    }

    fn is_of_new(&self, frame: &Frame<'_>) -> bool {
        nftables::table_of_new_elements(frame.kind, frame.body).is_some_and(|table| table == self.table)
    }

    fn gone(&self, frame: &Frame<'_>) -> Vec<Gone> {
        let gone = nftables::gone_elements(frame.kind, frame.body).filter(|gone| gone.table == self.table);
        gone.map(|gone| gone.elements).unwrap_or_default()
    }
}

/// Whether a message of a datagram is about a table, or what has its rules.
fn concerns(datagram: &[u8], table: &str) -> bool {
    Frames::new(datagram)
        .any(|frame| nftables::changed_table(frame.kind, frame.body).is_some_and(|name| name == table))
}
