//! The socket options that the wrappers have no name for, and a process that only sends.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::pipe::{PipeFlags, pipe_with};

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

/// Sends a datagram from a process of its own, for requests that the kernel works on for long before it returns. The pipe that is
/// returned ends when it has, or when that process could not be made; the answer is heard by nobody.
///
/// The process is nobody's child: its parent ends at once. Signals do not reach it, and it keeps nothing of what the
/// caller has open, so that locks and pipes are let go of by the caller alone.
pub(super) fn send_apart(socket: BorrowedFd<'_>, datagram: &[u8]) -> io::Result<OwnedFd> {
    let (end, alive) = pipe_with(PipeFlags::CLOEXEC)?;
    let blocked = BlockedSignals::block()?;
    // SAFETY: until its end the copy, and the copy of it, only make the calls of `leave_and_send`, which are safe in the
    // copy of a process with several threads: they are system calls, and none of them takes a lock or memory.
    let parent = match unsafe { copy_process() } {
        // SAFETY: this is that copy, and both descriptors are open.
        0 => unsafe { leave_and_send(socket.as_raw_fd(), alive.as_raw_fd(), datagram) },
        -1 => return Err(io::Error::last_os_error()),
        parent => parent,
    };
    drop((alive, blocked));
    wait(parent);
    Ok(end)
}

/// Copies this process, as `fork` does, but without what the C library does around it: other threads may hold its locks.
///
/// Returns 0 in the copy, -1 if there is none.
///
/// # Safety
///
/// The copy may make system calls only.
unsafe fn copy_process() -> libc::pid_t {
    // SAFETY: without a stack of its own the copy goes on here, on a copy of this one; nothing is written to the addresses.
    unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) as libc::pid_t }
}

/// Waits for the copy of this process that makes the one that sends.
fn wait(process: libc::pid_t) {
    let mut status = 0;
    // SAFETY: the status is a live `c_int` on this stack frame. A caller that ignores the ends of its children has none
    // to wait for, which is an error and no harm.
    while unsafe { libc::waitpid(process, &raw mut status, 0) } == -1
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
}

/// Makes the process that sends, and ends; in that one sends, and ends.
///
/// # Safety
///
/// Only for the copy of a process that was made by `fork`. The descriptors are open.
unsafe fn leave_and_send(socket: RawFd, alive: RawFd, datagram: &[u8]) -> ! {
    let (low, high) = (socket.min(alive) as libc::c_uint, socket.max(alive) as libc::c_uint);
    // SAFETY: system calls on numbers and on memory that is borrowed for longer than this process lives. A descriptor
    // that is closed here has no owner in this process that would run again.
    unsafe {
        if copy_process() == 0 {
            // Nobody is to wait with an unmount for this one.
            libc::chdir(c"/".as_ptr());
            // From the first to before the last of each.
            for (first, end) in [(0, low), (low + 1, high), (high + 1, libc::c_uint::MAX)] {
                if first < end {
                    libc::syscall(libc::SYS_close_range, first, end - 1, 0);
                }
            }
            libc::send(socket, datagram.as_ptr().cast(), datagram.len(), 0);
        }
        libc::_exit(0)
    }
}

/// All signals are blocked for this thread as long as this lives, and for the processes that it makes.
struct BlockedSignals(libc::sigset_t);

impl BlockedSignals {
    fn block() -> io::Result<Self> {
        let mut all = MaybeUninit::uninit();
        let mut before = MaybeUninit::uninit();
        // SAFETY: both sets are live and of the right size; the first is filled before it is read.
        let errno = unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), before.as_mut_ptr())
        };
        match errno {
            // SAFETY: the call that succeeded has filled it.
            0 => Ok(Self(unsafe { before.assume_init() })),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: the set is the one that was in force before; no old one is asked for.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
    }
}
