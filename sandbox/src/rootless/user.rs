//! Making a user namespace, and becoming root of it.

use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::mount::MountPropagationFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{DumpableBehavior, Pid, getgid, getuid};
use rustix::thread::UnshareFlags;

use super::ids::{self, Range, helper, read};
use super::{Mapping, RootlessError};
use crate::sys::{self, Cloned};

/// Makes a user namespace with all the ids that the user may map, and enters it; not yet as its root.
pub(super) fn make() -> Result<Mapping, RootlessError> {
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    match ids::of_user(uid) {
        Ok((users, groups)) => match with_ranges(&users, &groups) {
            // The namespace exists by now; if it has no map yet, the single one can still be written.
            Err(RootlessError::Helper { helper, message }) if read("/proc/self/uid_map").is_empty() => {
                write_single(uid, gid)?;
                let name = helper.display();
                Ok(Mapping::Single { reason: format!("`{name}` refused to map subordinate ids: {message}") })
            }
            result => result,
        },
        Err(reason) => {
            leave()?;
            write_single(uid, gid)?;
            Ok(Mapping::Single { reason })
        }
    }
}

/// Makes the namespace while a child outside waits to map it.
fn with_ranges(users: &[Range], groups: &[Range]) -> Result<Mapping, RootlessError> {
    let pipe = || {
        pipe_with(PipeFlags::CLOEXEC)
            .map_err(|errno| RootlessError::Act { act: "make a pipe", source: errno.into() })
    };
    let ((go_reader, go_writer), (answer_reader, answer_writer)) = (pipe()?, pipe()?);
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    let pid = rustix::process::getpid();
    match sys::clone(0, false, None) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Err(RootlessError::Threads),
        Err(source) => Err(RootlessError::Act { act: "make the mapping process", source }),
        Ok(Cloned::Child) => {
            drop((go_writer, answer_reader));
            map_other(pid, &go_reader, &answer_writer, (uid, users), (gid, groups))
        }
        Ok(Cloned::Parent(child, _pidfd)) => {
            drop((go_reader, answer_writer));
            let unshared = leave();
            if unshared.is_ok() {
                let _ = rustix::io::write(&go_writer, b"+");
            }
            drop(go_writer);
            let answer = read_answer(&answer_reader);
            let _ = sys::wait_with_usage(child);
            unshared?;
            match answer.split_once('\n') {
                None => {
                    let count = |ranges: &[Range]| ranges.iter().map(|(_, _, count)| count).sum();
                    Ok(Mapping::Ranges { users: count(users), groups: count(groups) })
                }
                Some((helper, message)) => {
                    Err(RootlessError::Helper { helper: helper.into(), message: message.trim().to_owned() })
                }
            }
        }
    }
}

/// Runs the helpers for another process; an empty answer is success, else it is the helper's name and its words.
fn map_other(
    pid: Pid,
    go: &OwnedFd,
    answer: &OwnedFd,
    (uid, users): (u32, &[Range]),
    (gid, groups): (u32, &[Range]),
) -> ! {
    let mut start = [0];
    if rustix::io::read(go, &mut start).unwrap_or(0) == 1 {
        for (name, own, ranges) in [("newuidmap", uid, users), ("newgidmap", gid, groups)] {
            if let Err(message) = run_helper(name, pid, own, ranges) {
                let _ = rustix::io::write(answer, format!("{name}\n{message}").as_bytes());
                break;
            }
        }
    }
    sys::exit_now(0)
}

fn run_helper(name: &str, pid: Pid, own: u32, ranges: &[Range]) -> Result<(), String> {
    let program = helper(name).ok_or("it is missing")?;
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null()).arg(pid.as_raw_nonzero().to_string());
    for (inside, outside, count) in [(0, own, 1)].iter().chain(ranges) {
        command.args([inside.to_string(), outside.to_string(), count.to_string()]);
    }
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said: String = String::from_utf8_lossy(&output.stderr).chars().take(1024).collect();
    Err(if said.trim().is_empty() { output.status.to_string() } else { said })
}

fn read_answer(answer: &OwnedFd) -> String {
    let mut bytes = [0; 4096];
    let mut length = 0;
    while let Ok(count @ 1..) = rustix::io::read(answer, &mut bytes[length..]) {
        length += count;
    }
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

/// Leaves the user namespace for a new one without a map.
fn leave() -> Result<(), RootlessError> {
    // Alone: who owns other namespaces is decided by the user namespace at their making.
    enter_new(UnshareFlags::NEWUSER).map_err(|errno| match errno {
        Errno::INVAL => RootlessError::Threads,
        errno => forbidden(errno),
    })
}

/// Moves the calling thread into new namespaces.
pub(super) fn enter_new(flags: UnshareFlags) -> Result<(), Errno> {
    #[expect(
        deprecated,
        reason = "the replacement is unsafe for the sake of CLONE_FILES, which is not used here"
    )]
    rustix::thread::unshare(flags)
}

/// Finds out which setting forbids user namespaces, or rights in them.
fn forbidden(errno: Errno) -> RootlessError {
    let setting = |path: &str| read(path).trim().to_owned();
    let cause = if setting("/proc/sys/user/max_user_namespaces") == "0" {
        "the kernel allows none; `sysctl -w user.max_user_namespaces=28633` would"
    } else if errno == Errno::NOSPC {
        "there are too many, or too deep ones; raise the sysctl user.max_user_namespaces"
    } else if setting("/proc/sys/kernel/unprivileged_userns_clone") == "0" {
        "only root may; `sysctl -w kernel.unprivileged_userns_clone=1` would allow it"
    } else if setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1" {
        "AppArmor forbids it to unknown programs; `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or \
         a profile with `userns,` for this program, would allow it"
    } else {
        "an outer container or its seccomp filter forbids it, or this process is in a chroot"
    };
    RootlessError::Forbidden { cause: cause.to_owned(), source: errno.into() }
}

fn write_single(uid: u32, gid: u32) -> Result<(), RootlessError> {
    let write = |path: &str, text: String| {
        std::fs::write(path, text).map_err(|source| RootlessError::Act { act: "map the user", source })
    };
    // Group lists could otherwise be used to get rid of groups that forbid something.
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    write("/proc/self/gid_map", format!("0 {gid} 1"))
}

/// Becomes root of the user namespace this process is in, in a mount namespace of its own.
///
/// The mount namespace is never shared: it is a copy of the host's as it is now, and the working folder stays what it
/// was. The caller's further groups stay too, for the files that they open; programs in containers lose them.
pub(super) fn become_root() -> Result<(), RootlessError> {
    use rustix::thread::{set_thread_res_gid, set_thread_res_uid};
    let failed = |act| move |errno: Errno| RootlessError::Act { act, source: errno.into() };
    let (uid, gid) = (rustix::process::Uid::ROOT, rustix::process::Gid::ROOT);
    set_thread_res_gid(gid, gid, gid).map_err(failed("become root's group"))?;
    set_thread_res_uid(uid, uid, uid).map_err(failed("become root"))?;
    // The change of user made our own files in /proc somebody else's.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)
        .map_err(failed("own /proc/self again"))?;
    enter_new(UnshareFlags::NEWNS).map_err(|errno| match errno {
        // AppArmor lets the namespace be made, and then gives no rights in it.
        Errno::PERM | Errno::ACCESS => forbidden(errno),
        errno => failed("make a mount namespace")(errno),
    })?;
    rustix::mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM)
        .map_err(failed("stop mounts from reaching the host"))
}
