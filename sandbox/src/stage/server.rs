//! The server stage: makes inits, waits for them, and kills them when nobody wants them any more.
//!
//! It leaves its maker's session, so that a terminal's signals reach only the maker, and lives as long as the
//! maker's channel. Each init has a report channel of its own; closing it is how a step is dropped.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{Doing, enter, park};
use crate::rootless::in_initial_user_namespace;
use crate::script::{Report, Role, SpawnRequest};
use crate::sys::{self, Cloned};
use crate::wire::{self, Received, WireError};

/// A child of the server.
struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    report: OwnedFd,
    /// Whether the other end of `report` is gone and the child was killed for it.
    dropped: bool,
}

/// What a descriptor that became ready belongs to.
enum Ready {
    Channel,
    Ended(usize),
    Dropped(usize),
}

/// Serves until the channel is closed; returns the exit status.
pub(super) fn serve(channel: OwnedFd) -> u8 {
    let Ok((channel, own)) = prepare(&channel) else { return 1 };
    if in_initial_user_namespace() {
        // Without it each init takes the longer.
        let _ = park::leave_host_mounts();
    }
    let mut children: Vec<Child> = Vec::new();
    loop {
        let Ok(mut ready) = wait(&channel, &children) else { return 1 };
        // From the back, so that places stay valid while children leave.
        ready.reverse();
        for event in ready {
            match event {
                Ready::Ended(place) => report_end(&children.remove(place)),
                Ready::Dropped(place) => {
                    children[place].dropped = true;
                    let _ = pidfd_send_signal(&children[place].pidfd, Signal::KILL);
                }
                Ready::Channel => match wire::receive::<SpawnRequest>(&channel) {
                    Ok(request) => spawn(request, &own, &mut children),
                    Err(_) => return leave(&children),
                },
            }
        }
    }
}

/// Waits until something is to be done; at most one event for each child, in the order of the children.
fn wait(channel: &OwnedFd, children: &[Child]) -> Result<Vec<Ready>, Errno> {
    let mut fds = vec![PollFd::new(channel, PollFlags::IN)];
    for child in children {
        fds.push(PollFd::new(&child.pidfd, PollFlags::IN));
    }
    let watched: Vec<usize> = (0..children.len()).filter(|&place| !children[place].dropped).collect();
    for &place in &watched {
        // No events asked for: a hang-up is always told.
        fds.push(PollFd::new(&children[place].report, PollFlags::empty()));
    }
    loop {
        match poll(&mut fds, None) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
    let mut ready = Vec::new();
    if is_ready(&fds[0]) {
        ready.push(Ready::Channel);
    }
    for place in 0..children.len() {
        if is_ready(&fds[1 + place]) {
            ready.push(Ready::Ended(place));
        } else if let Ok(report) = watched.binary_search(&place)
            && is_ready(&fds[1 + children.len() + report])
        {
            ready.push(Ready::Dropped(place));
        }
    }
    Ok(ready)
}

/// Makes this process nobody's but its channel's; returns the channel, and a pidfd of this process.
fn prepare(channel: &OwnedFd) -> Result<(OwnedFd, OwnedFd), Errno> {
    // What the maker's other threads left open by mistake: a lock among it would be held for ever.
    sys::close_all_but(&[0, 1, 2]).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    sys::reset_signals();
    let _ = rustix::process::setsid();
    rustix::process::chdir("/")?;
    let _ = rustix::thread::set_name(c"rbuild-stage");
    // Without a keyring of its own, an init whose key quota is used up would keep that of the user's session.
    let _ = sys::join_new_keyring();
    let moved = rustix::io::fcntl_dupfd_cloexec(channel, 3)?;
    // Standard output is the null device; the standard descriptors of every init start as that.
    rustix::stdio::dup2_stdin(rustix::stdio::stdout())?;
    let own = pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?;
    Ok((moved, own))
}

fn leave(children: &[Child]) -> u8 {
    for child in children {
        let _ = pidfd_send_signal(&child.pidfd, Signal::KILL);
    }
    children.iter().for_each(report_end);
    0
}

fn report_end(child: &Child) {
    if let Ok(waited) = sys::wait_with_usage(child.pid) {
        let report =
            Report::Ended { status: waited.status, cpu_us: waited.cpu_us, max_rss_kib: waited.max_rss_kib };
        let _ = wire::send(&child.report, &report, b"", &[]);
    }
}

fn spawn(request: Received<SpawnRequest>, own: &OwnedFd, children: &mut Vec<Child>) {
    let Received { message: request, fds, .. } = request;
    let mut fds = fds.into_iter();
    let (Some(report), Some(order)) = (fds.next(), fds.next()) else { return };
    let cgroup = if request.cgroup { fds.next() } else { None };
    let pid = if request.pid { fds.next() } else { None };
    let joins: Vec<OwnedFd> = fds.by_ref().take(request.joins).collect();
    let enter: Vec<OwnedFd> = fds.collect();
    let clone = || sys::clone(request.namespaces, !request.bound, cgroup.as_ref().map(AsFd::as_fd));
    let cloned = match &pid {
        Some(namespace) => born_in(namespace, clone),
        None => clone(),
    };
    match cloned {
        Ok(Cloned::Child) => {
            // Never returns: nothing that this frame or its callers own is dropped in the init, which closes
            // what it does not keep by number.
            let inherited = park::Inherited { order, maker: own, joins, enter };
            match request.role {
                Role::Init => park::become_init(&request, inherited),
                Role::Entrant => enter::become_entrant(&request, &inherited),
            }
        }
        Ok(Cloned::Parent(pid, pidfd)) => {
            let message = Report::Spawned { pid: pid.as_raw_nonzero().get() };
            match wire::send(&report, &message, b"", &[pidfd.as_fd()]) {
                Ok(()) if request.bound => children.push(Child { pid, pidfd, report, dropped: false }),
                Ok(()) => {}
                Err(_) => {
                    let _ = pidfd_send_signal(&pidfd, Signal::KILL);
                    if request.bound {
                        let _ = sys::wait_with_usage(pid);
                    }
                }
            }
        }
        Err(error) => {
            if let Err(failure) = Err::<(), _>(error).doing(|| "make a process in new namespaces".to_owned())
            {
                let _ = wire::send(&report, &Report::Failed(failure), b"", &[]);
            }
        }
    }
}

/// Makes a child whose pid namespace is another's; this process's own children are born in its own again afterwards.
fn born_in(namespace: &OwnedFd, clone: impl FnOnce() -> std::io::Result<Cloned>) -> std::io::Result<Cloned> {
    let enter = |namespace: &OwnedFd| {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::ProcessID))
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let own = rustix::fs::open("/proc/self/ns/pid", flags, Mode::empty())?;
    enter(namespace)?;
    let cloned = clone();
    if !matches!(cloned, Ok(Cloned::Child)) {
        enter(&own)?;
    }
    cloned
}

impl From<WireError> for crate::script::Cause {
    fn from(error: WireError) -> Self {
        Self::Check(error.to_string())
    }
}

impl park::Inherited<'_> {
    /// Returns the numbers of what an init keeps, sorted: the standard descriptors and what it was given.
    pub(super) fn numbers(&self) -> Vec<i32> {
        let mut numbers = vec![0, 1, 2, self.order.as_raw_fd(), self.maker.as_raw_fd()];
        numbers.extend(self.joins.iter().chain(&self.enter).map(AsRawFd::as_raw_fd));
        numbers.sort_unstable();
        numbers
    }
}
