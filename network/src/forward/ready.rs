//! What can go on of all that a forwarder carries. The kernel keeps the list: what wakes a forwarder costs it the same whether
//! it carries one connection or thousands.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

/// What the number of an event stands for: the reserved socket.
pub(super) const LISTENING: u64 = 1;
/// The numbers of all others begin here.
pub(super) const FIRST: u64 = 2;
const STOP: u64 = 0;
/// Events of one turn.
const TURN: usize = 256;

/// Sockets that are waited for, and what tells that it is over.
pub(super) struct Ready {
    epoll: OwnedFd,
    /// Open as long as it is waited for.
    _stop: Arc<OwnedFd>,
}

impl Ready {
    /// Waits for the reserved socket.
    pub(super) fn new(stop: &Arc<OwnedFd>, listening: impl AsFd) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &**stop, epoll::EventData::new_u64(STOP), epoll::EventFlags::IN)?;
        epoll::add(&epoll, listening, epoll::EventData::new_u64(LISTENING), epoll::EventFlags::IN)?;
        Ok(Self { epoll, _stop: Arc::clone(stop) })
    }

    /// Waits for a socket, too; it is forgotten when it is closed.
    pub(super) fn add(&self, socket: impl AsFd, number: u64, events: epoll::EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, epoll::EventData::new_u64(number), events)?)
    }

    /// Waits for the reserved socket, or does not.
    pub(super) fn listen(&self, listening: impl AsFd, events: epoll::EventFlags) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, listening, epoll::EventData::new_u64(LISTENING), events)?)
    }

    /// Waits until something happens or the time is over; nothing once all is over.
    pub(super) fn wait(&self, most: Option<Duration>) -> Option<Vec<epoll::Event>> {
        let mut events = Vec::with_capacity(TURN);
        let most = most.and_then(|most| Timespec::try_from(most).ok());
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), most.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return None,
        }
        let is_over = events.iter().any(|event| event.data.u64() == STOP);
        (!is_over).then_some(events)
    }
}
