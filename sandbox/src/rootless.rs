//! Work without root: a user namespace in which this process is root, and nothing outside.
//!
//! With subordinate ids (`/etc/subuid`, `/etc/subgid`) and the set-user-id helpers `newuidmap` and `newgidmap` a whole
//! range of users exists inside; without, a single one: files of all owners are then stored as the caller's, and what
//! wants to become another user fails. The mapping needs a process that stayed outside; it is made before, waits, runs
//! the helpers, and is gone.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::mount::MountPropagationFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{DumpableBehavior, Pid, getgid, getuid};
use rustix::thread::UnshareFlags;

use crate::sys::{self, Cloned};

/// A user namespace that could not be entered.
#[derive(Debug, thiserror::Error)]
pub enum RootlessError {
    /// The process has more than one thread.
    #[error("user namespaces can only be entered before the first thread is made")]
    Threads,
    /// The kernel forbids user namespaces.
    #[error("cannot make a user namespace: {cause}")]
    Forbidden {
        /// Which setting it is, as far as it can be told.
        cause: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A helper refused the mapping.
    #[error("`{}` refused to map the subordinate ids: {message}", helper.display())]
    Helper {
        /// The helper.
        helper: PathBuf,
        /// What it said.
        message: String,
    },
    /// An act within the new namespace failed.
    #[error("cannot {act}")]
    Act {
        /// What was tried.
        act: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// How a user namespace is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootlessConfig {
    /// Whether there is a network namespace of its own, too.
    pub network: RootlessNetwork,
}

/// The network of a user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootlessNetwork {
    /// The host's: nothing in it can be changed.
    Host,
    /// A namespace of its own, with nothing but a loopback link.
    Own,
}

/// Which users exist in the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// The caller as root, and ranges of subordinate ids from 1 on.
    Ranges {
        /// How many users there are besides root.
        users: u32,
        /// How many groups.
        groups: u32,
    },
    /// Only the caller, as root.
    Single {
        /// Why there are no more, with what would change it.
        reason: String,
    },
}

const SUBUID: &str = "/etc/subuid";
const SUBGID: &str = "/etc/subgid";
const HELPER_FOLDERS: [&str; 3] = ["/usr/bin", "/bin", "/usr/local/bin"];
/// The most lines that a map can have.
const MAX_LINES: usize = 340;

/// Tells whether this process has to enter a user namespace before it can isolate anything.
pub fn is_needed() -> bool {
    !rustix::process::geteuid().is_root()
}

/// Enters a new user and mount namespace, as root of them.
///
/// Must be called before the first thread is made. Returns within, with what the mapping came to.
pub fn enter(config: &RootlessConfig) -> Result<Mapping, RootlessError> {
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    let name = user_name(&read("/etc/passwd"), uid);
    let plan = plan(&name, uid, &read(SUBUID), &read(SUBGID));
    let mapping = match plan {
        Ok((users, groups)) => match with_ranges(config, &users, &groups) {
            Ok(mapping) => mapping,
            Err(RootlessError::Helper { helper, message }) => {
                // The namespace exists by now, without a map: the single one can still be written.
                let reason = format!("`{}` refused: {message}", helper.display());
                write_single(uid, gid)?;
                Mapping::Single { reason }
            }
            Err(error) => return Err(error),
        },
        Err(reason) => {
            unshare(config)?;
            write_single(uid, gid)?;
            Mapping::Single { reason }
        }
    };
    become_root(&mapping)?;
    Ok(mapping)
}

/// A range of ids: the first inside, the first outside, how many.
type Range = (u32, u32, u32);

/// Decides on the ranges, or tells why there are none.
fn plan(name: &str, uid: u32, subuid: &str, subgid: &str) -> Result<(Vec<Range>, Vec<Range>), String> {
    let users = ranges(subuid, name, uid);
    // The file of groups is by user, too.
    let groups = ranges(subgid, name, uid);
    if users.is_empty() || groups.is_empty() {
        let file = if users.is_empty() { SUBUID } else { SUBGID };
        return Err(format!(
            "user {name} has no subordinate ids: add the line `{name}:100000:65536` to {SUBUID} and {SUBGID} (missing in {file})"
        ));
    }
    if helper("newuidmap").is_none() || helper("newgidmap").is_none() {
        return Err(
            "the helpers newuidmap and newgidmap are missing: install the package `uidmap` (shadow-utils)"
                .to_owned(),
        );
    }
    Ok((users, groups))
}

fn ranges(file: &str, name: &str, uid: u32) -> Vec<Range> {
    let mut inside = 1_u32;
    let mut result = Vec::new();
    for line in file.lines() {
        let mut fields = line.trim().split(':');
        let (Some(owner), Some(start), Some(count), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        if owner != name && owner != uid.to_string() {
            continue;
        }
        let (Ok(start), Ok(count)) = (start.parse::<u32>(), count.parse::<u32>()) else { continue };
        let fits = inside.checked_add(count).is_some() && start.checked_add(count).is_some();
        if count == 0 || start == 0 || !fits || result.len() + 1 >= MAX_LINES {
            continue;
        }
        result.push((inside, start, count));
        inside += count;
    }
    result
}

fn user_name(passwd: &str, uid: u32) -> String {
    let entry = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    entry.unwrap_or_else(|| uid.to_string())
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn helper(name: &str) -> Option<PathBuf> {
    HELPER_FOLDERS.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.exists())
}

/// Makes the namespace while a child outside waits to map it.
fn with_ranges(config: &RootlessConfig, users: &[Range], groups: &[Range]) -> Result<Mapping, RootlessError> {
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
            let unshared = unshare(config);
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

fn unshare(config: &RootlessConfig) -> Result<(), RootlessError> {
    // Alone: whoever owns the other namespaces is decided by the user namespace at their making.
    enter_new(UnshareFlags::NEWUSER).map_err(|errno| match errno {
        Errno::INVAL => RootlessError::Threads,
        errno => RootlessError::Forbidden { cause: forbidden(errno), source: errno.into() },
    })?;
    let mut flags = UnshareFlags::NEWNS;
    if config.network == RootlessNetwork::Own {
        flags |= UnshareFlags::NEWNET;
    }
    enter_new(flags)
        .map_err(|errno| RootlessError::Act { act: "make a mount namespace", source: errno.into() })
}

fn enter_new(flags: UnshareFlags) -> Result<(), Errno> {
    #[expect(
        deprecated,
        reason = "the replacement is unsafe for the sake of CLONE_FILES, which is not used here"
    )]
    rustix::thread::unshare(flags)
}

/// Finds out which setting forbids user namespaces.
fn forbidden(errno: Errno) -> String {
    let setting = |path: &str| read(path).trim().to_owned();
    if setting("/proc/sys/user/max_user_namespaces") == "0" || errno == Errno::NOSPC {
        "the sysctl user.max_user_namespaces is too low".to_owned()
    } else if setting("/proc/sys/kernel/unprivileged_userns_clone") == "0" {
        "the sysctl kernel.unprivileged_userns_clone is 0".to_owned()
    } else if setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1" {
        "the sysctl kernel.apparmor_restrict_unprivileged_userns is 1".to_owned()
    } else {
        "an outer container or its seccomp filter forbids it, or this process is in a chroot".to_owned()
    }
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

fn become_root(mapping: &Mapping) -> Result<(), RootlessError> {
    use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
    let failed = |act| move |errno: Errno| RootlessError::Act { act, source: errno.into() };
    if matches!(mapping, Mapping::Ranges { .. }) {
        set_thread_groups(&[]).map_err(failed("leave the groups"))?;
    }
    let (uid, gid) = (rustix::process::Uid::ROOT, rustix::process::Gid::ROOT);
    set_thread_res_gid(gid, gid, gid).map_err(failed("become root's group"))?;
    set_thread_res_uid(uid, uid, uid).map_err(failed("become root"))?;
    // The change of user made our own files in /proc somebody else's.
    rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)
        .map_err(failed("own /proc/self again"))?;
    rustix::mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM)
        .map_err(failed("stop mounts from reaching the host"))
}

/// Tells whether this process may make device nodes: root of the initial user namespace may.
pub(crate) fn may_make_devices() -> bool {
    in_initial_user_namespace() && crate::capabilities::CapabilityMask::held().contains("MKNOD")
}

/// Tells whether a group of this user namespace exists outside of it.
pub(crate) fn is_group_mapped(gid: u32) -> bool {
    let map = read("/proc/self/gid_map");
    map.is_empty()
        || map.lines().any(|line| {
            let mut fields = line.split_whitespace().map(|field| field.parse::<u64>().unwrap_or(0));
            let (first, _, count) = (fields.next().unwrap_or(0), fields.next(), fields.next().unwrap_or(0));
            (first..first + count).contains(&u64::from(gid))
        })
}

/// Tells whether this process is in the initial user namespace, by the fixed inode number of that one.
pub fn in_initial_user_namespace() -> bool {
    const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;
    rustix::fs::stat("/proc/self/ns/user").is_ok_and(|stat| stat.st_ino == INITIAL_USER_NAMESPACE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_a_user_are_put_one_after_the_other() {
        let file = "other:1:2\nme:100000:65536\n1000:300000:10\nme:0:5\nme:x:5\nme:4294967295:2\nme:5\n";
        assert_eq!(ranges(file, "me", 1000), [(1, 100_000, 65536), (65537, 300_000, 10)]);
        assert_eq!(ranges(file, "nobody", 7), []);
    }

    #[test]
    fn a_user_without_ranges_is_told_what_to_add() {
        let reason = plan("me", 1000, "me:100000:65536\n", "").unwrap_err();
        assert!(reason.contains("me:100000:65536") && reason.contains("missing in /etc/subgid"), "{reason}");
    }

    #[test]
    fn names_come_from_passwd() {
        let passwd = "root:x:0:0::/:/bin/sh\nbad\nme:x:1000:1000::/home/me:/bin/sh\n";
        assert_eq!(user_name(passwd, 1000), "me");
        assert_eq!(user_name(passwd, 7), "7");
    }
}
