//! The system calls that neither rustix nor nix offers, each behind a safe function.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::process::Pid;

/// The flag of `clone3`, which libc's constant is too narrow for.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Which side of a [`clone`] this is.
pub(crate) enum Cloned {
    /// The new process.
    Child,
    /// The old one, holding the new one's pid and pidfd.
    Parent(Pid, OwnedFd),
}

/// Copies this single-threaded process into new namespaces (`clone3`), born in `cgroup` if one is given.
///
/// Fails with `EINVAL` in a process that has other threads: their locks would stay held for ever in the copy.
pub(crate) fn clone(flags: u64, sibling: bool, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Cloned> {
    // SAFETY: unshare(CLONE_VM | CLONE_SIGHAND) takes no pointers. In a single-threaded process it does nothing,
    // in any other it fails: the kernel's own proof of what the clone below depends on.
    if unsafe { libc::unshare(libc::CLONE_VM | libc::CLONE_SIGHAND) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut pidfd: RawFd = -1;
    let mut flags = flags | libc::CLONE_PIDFD as u64;
    // SAFETY: clone_args is a plain C struct of integers, for which all zeroes is a valid value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    if let Some(cgroup) = cgroup {
        flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    if sibling {
        // The exit signal of a sibling is its creator's own; naming one is an error.
        flags |= libc::CLONE_PARENT as u64;
    } else {
        args.exit_signal = libc::SIGCHLD as u64;
    }
    args.flags = flags;
    args.pidfd = ptr::from_mut(&mut pidfd) as u64;
    // SAFETY: `args` and `pidfd` live across the call. Without CLONE_VM the child has its own copy of the memory and
    // goes on with this stack, as after fork; being single-threaded (checked above), no lock is held in the copy.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone3, ptr::from_mut(&mut args), size_of::<libc::clone_args>()) };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Cloned::Child),
        pid => {
            // SAFETY: the kernel stored a new descriptor of ours in `pidfd` (CLONE_PIDFD).
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            let pid = Pid::from_raw(pid as i32).expect("clone3 returns a positive pid to the parent");
            Ok(Cloned::Parent(pid, pidfd))
        }
    }
}

/// Copies this single-threaded process by the oldest of the calls, which filters let pass that know no `clone3`.
///
/// Returns the child's pid to the parent, and nothing to the child.
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: only a stage calls this, which is single-threaded from its execution on, and the start of a keeper, for
    // whose process the kernel has just proved it by letting it change its user namespace: no lock is held in the
    // copy, which may therefore go on as the original would.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Pid::from_raw(pid)),
    }
}

/// As [`fork`], for a process that may have other threads: then it fails with `EINVAL`.
pub(crate) fn fork_alone() -> io::Result<Option<Pid>> {
    // SAFETY: unshare(CLONE_VM | CLONE_SIGHAND) takes no pointers. In a single-threaded process it does nothing, in any
    // other it fails.
    if unsafe { libc::unshare(libc::CLONE_VM | libc::CLONE_SIGHAND) } != 0 {
        return Err(io::Error::last_os_error());
    }
    fork()
}

/// Takes over a descriptor that was inherited by number.
///
/// Must be called once at most for a number, before anything else in the process opens descriptors.
pub(crate) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD reads a flag of a number and touches no memory.
    if unsafe { libc::fcntl(number, libc::F_GETFD) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the number is open (checked above), and by this function's contract nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Ends this process at once: nothing registered for a normal exit runs.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: _exit takes a number and does not return.
    unsafe { libc::_exit(status) }
}

/// Has lists of processes show another command line for this process, as far as there is room for it.
///
/// Only for a stage whose arguments have been read: the text is written over them and over the environment behind them.
pub(crate) fn show_as(title: &str) {
    let Some((start, end)) = arguments_and_environment() else { return };
    let Some(length) = end.checked_sub(start).filter(|length| *length > 0) else { return };
    let first = std::ptr::with_exposed_provenance_mut::<u8>(start);
    // SAFETY: the kernel says that this process was given its arguments and its environment there, one behind the other, on
    // its stack. It may write there, it has one thread, and no reference into it is held: the standard library, too, copies
    // what it is asked for, and is asked no more.
    let area = unsafe { std::slice::from_raw_parts_mut(first, length) };
    // The last byte ends what the kernel shows.
    let shown = title.len().min(length - 1);
    area[..shown].copy_from_slice(&title.as_bytes()[..shown]);
    area[shown..].fill(0);
}

/// Returns where the arguments of this process begin and where its environment ends.
fn arguments_and_environment() -> Option<(usize, usize)> {
    /// Their places behind the name, which may have anything in it.
    const ARGUMENTS: usize = 48 - 3;
    const ENVIRONMENT_END: usize = 51 - 3;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let [start, end] = [ARGUMENTS, ENVIRONMENT_END].map(|place| fields.get(place)?.parse().ok());
    Some((start?, end?)).filter(|(start, _)| *start != 0)
}

/// Closes every descriptor but the sorted `keep`.
///
/// Only for a stage, which owns its whole table: whatever is closed so must not be used or dropped any more.
pub(crate) fn close_all_but(keep: &[RawFd]) -> io::Result<()> {
    let mut next = 0_u32;
    for &number in keep {
        let number = number as u32;
        if number > next {
            close_range(next, number - 1)?;
        }
        next = number + 1;
    }
    close_range(next, u32::MAX)
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: close_range takes numbers only. The callers are stages that own their whole descriptor table.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The argument of `mount_setattr(2)`.
#[repr(C)]
#[derive(Default)]
pub(crate) struct MountAttr {
    /// Attributes to set.
    pub(crate) set: u64,
    /// Attributes to clear.
    pub(crate) clear: u64,
    /// Propagation (`MS_PRIVATE` and so on), 0 for no change.
    pub(crate) propagation: u64,
    /// A user namespace for an id-mapped mount.
    pub(crate) userns: u64,
}

/// Changes the attributes of the mount that `mount` is the top of, and of those below it if `recursive`.
pub(crate) fn mount_setattr(mount: BorrowedFd<'_>, recursive: bool, attr: &MountAttr) -> io::Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a valid C string, `attr` is live and of the size that is passed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// One instruction of a classic BPF program, in the kernel's layout.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BpfInstruction {
    /// What to do.
    pub(crate) code: u16,
    /// Instructions to skip if a jump's condition holds.
    pub(crate) jump_true: u8,
    /// Instructions to skip if not.
    pub(crate) jump_false: u8,
    /// The operand.
    pub(crate) operand: u32,
}

#[repr(C)]
struct BpfProgram {
    length: u16,
    instructions: *const BpfInstruction,
}

/// Puts this process under a seccomp filter.
pub(crate) fn seccomp_filter(instructions: &[BpfInstruction], flags: u64) -> io::Result<()> {
    let length = u16::try_from(instructions.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = BpfProgram { length, instructions: instructions.as_ptr() };
    // SAFETY: `program` has the layout of sock_fprog and points at `length` live instructions; the kernel copies them.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, ptr::from_ref(&program))
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Tells whether the kernel knows a seccomp action.
pub(crate) fn seccomp_action_available(action: u32) -> bool {
    // SAFETY: the kernel reads one u32 from the live `action`.
    unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, ptr::from_ref(&action)) == 0
    }
}

/// Leaves the session keyring for a new empty one.
pub(crate) fn join_new_keyring() -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: a null name asks for an anonymous keyring; nothing is read or written.
    let result = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, ptr::null::<u8>()) };
    if result >= 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives every signal its default action and blocks none.
///
/// By the bare system calls: libc keeps two signals for itself, which a parent may nevertheless have ignored.
pub(crate) fn reset_signals() {
    /// What the kernel calls `struct sigaction`; all zeroes is the default action.
    const KERNEL_SIGACTION: [u64; 4] = [0; 4];
    const SIGNALS: i32 = 64;
    const SET_BYTES: usize = 8;
    let none = 0_u64;
    // SAFETY: the actions and the set are live, as large as the kernel reads (at most 32 bytes, 8 bytes), and all
    // zeroes, which is valid; old values are not asked for. The failures for SIGKILL and SIGSTOP change nothing.
    unsafe {
        for signal in 1..=SIGNALS {
            let action = ptr::from_ref(&KERNEL_SIGACTION);
            libc::syscall(libc::SYS_rt_sigaction, signal, action, ptr::null::<u8>(), SET_BYTES);
        }
        let none = ptr::from_ref(&none);
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, none, ptr::null::<u8>(), SET_BYTES);
    }
}

/// How a child ended, as `wait4` tells it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waited {
    /// The status word.
    pub(crate) status: i32,
    /// User and system time of the child and its reaped descendants, in microseconds.
    pub(crate) cpu_us: u64,
    /// The biggest resident set among them, in KiB.
    pub(crate) max_rss_kib: u64,
}

/// Reaps a child that has ended or ends soon.
pub(crate) fn wait_with_usage(pid: Pid) -> io::Result<Waited> {
    let mut status = 0;
    // SAFETY: rusage is a plain C struct of integers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are to live values of the right type.
        let result = unsafe { libc::wait4(pid.as_raw_nonzero().get(), &raw mut status, 0, &raw mut usage) };
        if result >= 0 {
            let micros = |time: libc::timeval| time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64;
            let cpu_us = micros(usage.ru_utime) + micros(usage.ru_stime);
            return Ok(Waited { status, cpu_us, max_rss_kib: usage.ru_maxrss as u64 });
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Sets the up flag of the loopback link of this network namespace.
pub(crate) fn loopback_up() -> io::Result<()> {
    // SAFETY: the descriptor is new and owned here; ifreq is a plain C struct whose name stays NUL-terminated, and
    // both calls read and write only the live `request`.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if socket == -1 {
            return Err(io::Error::last_os_error());
        }
        let socket = OwnedFd::from_raw_fd(socket);
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS as _, &raw mut request) != 0 {
            return Err(io::Error::last_os_error());
        }
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        if libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw mut request) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Sets the execution domain of this process.
pub(crate) fn personality(persona: u64) -> io::Result<()> {
    // SAFETY: personality takes a number.
    let result = unsafe { libc::personality(persona as libc::c_ulong) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sets a resource limit of this process; `u64::MAX` is no limit.
pub(crate) fn setrlimit(resource: u32, soft: u64, hard: u64) -> io::Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` is live, and the call with no pid and no old value only reads it.
    let result =
        unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, ptr::from_ref(&limit), ptr::null::<u8>()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Returns the hard limit of a resource of this process; `u64::MAX` is no limit.
pub(crate) fn hard_limit(resource: u32) -> io::Result<u64> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: without a new value the call only writes the live `limit`.
    let result = unsafe {
        libc::syscall(libc::SYS_prlimit64, 0, resource, ptr::null::<u8>(), ptr::from_mut(&mut limit))
    };
    if result == 0 { Ok(limit.rlim_max) } else { Err(io::Error::last_os_error()) }
}

/// Closes every descriptor but the standard ones, for a stage that uses no other any more.
pub(crate) fn keep_standard() -> io::Result<()> {
    close_range(3, u32::MAX)
}

/// Sends a signal by its number, which may be a real-time one. A process that has ended is no failure.
pub(crate) fn kill(pid: Pid, signal: i32) {
    // SAFETY: kill takes numbers only; the pid is a child that was not waited for, so it is nobody else's.
    unsafe { libc::kill(pid.as_raw_nonzero().get(), signal) };
}

/// Moves `channel` to the number `last` (kept closing on exec) and closes everything above it.
///
/// For a stage right before it executes a program: nothing else that it opened is used any more.
pub(crate) fn keep_as_last(channel: OwnedFd, last: RawFd) -> io::Result<()> {
    use std::os::fd::IntoRawFd as _;
    let number = channel.into_raw_fd();
    if number != last {
        // SAFETY: dup3 takes numbers; the caller owns the whole table and uses nothing at `last`.
        if unsafe { libc::dup3(number, last, libc::O_CLOEXEC) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    close_range(last as u32 + 1, u32::MAX)
}

/// One instruction of an eBPF program, in the kernel's layout.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EbpfInstruction {
    /// What to do.
    pub(crate) code: u8,
    /// The destination register in the low half, the source register in the high one.
    pub(crate) registers: u8,
    /// Instructions to skip, or the offset of a load.
    pub(crate) offset: i16,
    /// The operand.
    pub(crate) operand: i32,
}

/// The start of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
struct BpfLoad {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
}

/// The start of `union bpf_attr` for `BPF_PROG_ATTACH`.
#[repr(C)]
struct BpfAttach {
    target: u32,
    program: u32,
    attach_type: u32,
    flags: u32,
}

/// Loads a program that decides about devices.
pub(crate) fn load_device_program(instructions: &[EbpfInstruction]) -> io::Result<OwnedFd> {
    const BPF_PROG_LOAD: libc::c_int = 5;
    const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
    let attr = BpfLoad {
        program_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"MIT".as_ptr() as u64,
        ..BpfLoad::default()
    };
    // SAFETY: `attr` is live and of the size passed; it points at live instructions of the kernel's layout and at a
    // C string. The kernel copies both.
    let fd =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, ptr::from_ref(&attr), size_of::<BpfLoad>()) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel returned a new descriptor, closing on exec, that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Puts a device program on a cgroup of version 2.
pub(crate) fn attach_device_program(group: BorrowedFd<'_>, program: &OwnedFd) -> io::Result<()> {
    const BPF_PROG_ATTACH: libc::c_int = 8;
    const BPF_CGROUP_DEVICE: u32 = 6;
    const BPF_F_ALLOW_MULTI: u32 = 2;
    let attr = BpfAttach {
        target: group.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        attach_type: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: `attr` is live and of the size passed, and holds only numbers.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_ATTACH, ptr::from_ref(&attr), size_of::<BpfAttach>())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has the process of a command killed when the thread that starts it ends.
pub(crate) fn kill_with_parent(command: &mut std::process::Command) {
    use std::os::unix::process::CommandExt as _;
    let ask = || {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
            .map_err(Into::into)
    };
    // SAFETY: between fork and exec the closure makes one system call; it touches no memory, no lock and no allocator.
    unsafe { command.pre_exec(ask) };
}
