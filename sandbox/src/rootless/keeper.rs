//! The keeper: a small process that holds what the commands of a user share.
//!
//! ```text
//! <runtime>/keeper         its socket: only the user reaches it (the folder is 0700)
//! <runtime>/keeper.lock    held by who looks for a keeper, starts one, or is one that leaves
//! ```
//!
//! A command connects and is told the user namespace; the connection is its lease. Each further frame is a wish for the
//! network namespace. The keeper leaves when the last connection is closed and nobody lives in the user namespace: a
//! container whose monitor was killed stays, and only who joins this namespace can look after it. Then it takes the lock, so that
//! nobody is just about to connect, and looks once more. It is forked from the command that started it, before that has read
//! anything, and has one thread.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde::{Deserialize, Serialize};

use super::way_out::Network;
use super::{Mapping, RootlessError};
use crate::process::{self, Process};
use crate::sys;
use crate::wire::{self, WireError};

/// The keeper could not give a network.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// It is gone, or does not answer.
    #[error("the keeper of your namespaces is gone")]
    Lost(#[from] WireError),
    /// There is no way out of the network namespace.
    #[error("there is no network without root: {message}; the host's own network works (`--network host`)")]
    Network {
        /// What was tried and failed.
        message: String,
    },
}

/// A connection to the keeper, which stays at least as long.
#[derive(Debug)]
pub struct Keeper {
    connection: Mutex<UnixStream>,
}

/// What a command is told first. The descriptor beside it is the user namespace.
#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    single: Option<String>,
}

/// A wish.
#[derive(Debug, Serialize, Deserialize)]
enum Ask {
    Network,
}

/// The answer to a wish. The descriptor beside it is the network namespace.
#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Network,
    Failed { message: String },
}

/// The longest that a keeper, which only holds things, may take for an answer; a way out takes some time to start.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a leaving keeper waits for one who holds the lock before it looks again.
const LOCK_ROUND: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

impl Keeper {
    /// Returns a descriptor that keeps the keeper for as long as it is open, in whatever process.
    pub fn hold(&self) -> io::Result<OwnedFd> {
        let connection = self.connection.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(connection.try_clone()?.into())
    }

    /// Returns the network namespace that the user's containers share, with its way out.
    pub fn network(&self) -> Result<OwnedFd, KeeperError> {
        let connection = self.connection.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        wire::send(&*connection, &Ask::Network, b"", &[])?;
        let mut answer = wire::receive::<Answer>(&*connection)?;
        match (answer.message, answer.fds.pop()) {
            (Answer::Network, Some(namespace)) => Ok(namespace),
            (Answer::Network, None) => Err(KeeperError::Lost(WireError::LostFds)),
            (Answer::Failed { message }, _) => Err(KeeperError::Network { message }),
        }
    }
}

fn socket_path(runtime: &Path) -> PathBuf {
    runtime.join("keeper")
}

/// Takes the lock under which keepers are found, started and ended.
pub(super) fn lock(runtime: &Path) -> Result<OwnedFd, RootlessError> {
    let (file, path) = lock_file(runtime)?;
    loop {
        match flock(&file, FlockOperation::LockExclusive) {
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(RootlessError::Folder { act: "lock", path, source: errno.into() }),
            Ok(()) => return Ok(file),
        }
    }
}

fn lock_file(runtime: &Path) -> Result<(OwnedFd, PathBuf), RootlessError> {
    let path = runtime.join("keeper.lock");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    match rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR) {
        Ok(file) => Ok((file, path)),
        Err(errno) => Err(RootlessError::Folder { act: "open", path, source: errno.into() }),
    }
}

/// Joins the user namespace of the keeper, if there is one. The caller holds the lock.
pub(super) fn join(runtime: &Path) -> Result<Option<(Keeper, Mapping)>, RootlessError> {
    let path = socket_path(runtime);
    let Some((connection, hello, namespace)) = connect(&path)? else { return Ok(None) };
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::User)).map_err(
        |errno| match errno {
            rustix::io::Errno::INVAL => RootlessError::Threads,
            errno => RootlessError::Act { act: "join your other commands' namespace", source: errno.into() },
        },
    )?;
    let mapping = match hello.single {
        Some(reason) => Mapping::Single { reason },
        None => Mapping::Ranges { users: mapped("/proc/self/uid_map"), groups: mapped("/proc/self/gid_map") },
    };
    Ok(Some((Keeper { connection: Mutex::new(connection) }, mapping)))
}

/// Counts the ids of this namespace besides root.
fn mapped(map: &str) -> u32 {
    let text = std::fs::read_to_string(map).unwrap_or_default();
    let counts = text.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u32>().ok());
    counts.fold(0_u32, u32::saturating_add).saturating_sub(1)
}

/// Connects to a keeper; `None` if there is none, or only what one left behind.
fn connect(path: &Path) -> Result<Option<(UnixStream, Hello, OwnedFd)>, RootlessError> {
    let folder = |act| move |source| RootlessError::Folder { act, path: path.to_owned(), source };
    let connection = match UnixStream::connect(path) {
        Ok(connection) => connection,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(folder("connect to")(error)),
    };
    connection.set_read_timeout(Some(PATIENCE)).map_err(folder("connect to"))?;
    let peer = rustix::net::sockopt::socket_peercred(&connection)
        .map_err(|errno| folder("look at who answers at")(errno.into()))?;
    if peer.uid != rustix::process::geteuid() {
        return Err(RootlessError::Foreign { path: path.to_owned(), owner: peer.uid.as_raw() });
    }
    match wire::receive::<Hello>(&connection) {
        Ok(mut hello) => match hello.fds.pop() {
            Some(namespace) => Ok(Some((connection, hello.message, namespace))),
            None => Err(RootlessError::Keeper { path: path.to_owned(), source: WireError::LostFds }),
        },
        // It was killed meanwhile.
        Err(WireError::Closed) => Ok(None),
        Err(source) => Err(RootlessError::Keeper { path: path.to_owned(), source }),
    }
}

/// Forks a keeper that holds this process's user namespace. The caller holds the lock, and has one thread.
pub(super) fn start(runtime: &Path, mapping: &Mapping) -> Result<Keeper, RootlessError> {
    let path = socket_path(runtime);
    let failed = |act| {
        let path = path.clone();
        move |source| RootlessError::Folder { act, path, source }
    };
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove")(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(failed("listen at"))?;
    let namespace = File::open("/proc/self/ns/user")
        .map_err(|source| RootlessError::Act { act: "hold the user namespace", source })?;
    let single = match mapping {
        Mapping::Ranges { .. } => None,
        Mapping::Single { reason } => Some(reason.clone()),
    };
    let (lock, _) = lock_file(runtime)?;
    let child = sys::fork().map_err(|source| RootlessError::Act { act: "start the keeper", source })?;
    if child.is_none() {
        let held = Held { listener, namespace: namespace.into(), hello: Hello { single }, lock, path };
        let status = i32::from(!held.alone().is_ok_and(Held::serve));
        sys::exit_now(status);
    }
    drop(listener);
    match connect(&path)? {
        Some((connection, ..)) => Ok(Keeper { connection: Mutex::new(connection) }),
        None => Err(RootlessError::Keeper { path, source: WireError::Closed }),
    }
}

/// What a keeper holds.
struct Held {
    listener: UnixListener,
    namespace: OwnedFd,
    hello: Hello,
    lock: OwnedFd,
    path: PathBuf,
}

impl Held {
    /// Leaves everything of the command that made it: its session, folder, streams, descriptors.
    fn alone(self) -> io::Result<Self> {
        rustix::process::setsid()?;
        rustix::process::chdir("/")?;
        rustix::thread::set_name(c"rbuild-keeper")?;
        // The program that makes the way out finds the namespace among this process's descriptors.
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)?;
        let null = File::options().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&null)?;
        rustix::stdio::dup2_stderr(&null)?;
        drop(null);
        let mut keep =
            vec![0, 1, 2, self.listener.as_raw_fd(), self.namespace.as_raw_fd(), self.lock.as_raw_fd()];
        keep.sort_unstable();
        sys::close_all_but(&keep)?;
        self.listener.set_nonblocking(true)?;
        // Whoever asks the socket who is behind it is told this process from now on.
        rustix::net::listen(&self.listener, 128)?;
        Ok(self)
    }

    /// Serves commands until there are none.
    fn serve(self) -> bool {
        let mut commands: Vec<UnixStream> = Vec::new();
        let mut network = None;
        // The command that made it connects at once, unless it dies: then its end of the lock is free.
        loop {
            let inhabitant = if commands.is_empty() { inhabitant(network.as_ref()) } else { None };
            let is_needed = !commands.is_empty() || inhabitant.is_some();
            if !is_needed && self.may_leave() {
                return true;
            }
            let ready = {
                let mut fds = vec![PollFd::new(&self.listener, PollFlags::IN)];
                fds.extend(commands.iter().map(|command| PollFd::new(command, PollFlags::IN)));
                fds.extend(inhabitant.iter().map(|process| PollFd::new(process, PollFlags::IN)));
                let wait = if is_needed { None } else { Some(&LOCK_ROUND) };
                match poll(&mut fds, wait) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(_) => return false,
                }
                fds.iter().map(|fd| !fd.revents().is_empty()).collect::<Vec<bool>>()
            };
            let mut place = 0;
            commands.retain(|command| {
                place += 1;
                !ready[place] || self.answer(command, &mut network)
            });
            if ready[0] {
                commands.extend(self.accept());
            }
        }
    }

    /// Greets a command.
    fn accept(&self) -> Option<UnixStream> {
        let (command, _) = self.listener.accept().ok()?;
        command.set_nonblocking(false).ok()?;
        command.set_read_timeout(Some(PATIENCE)).ok()?;
        wire::send(&command, &self.hello, b"", &[self.namespace.as_fd()]).ok()?;
        Some(command)
    }

    /// Fulfils one wish; false if the command is gone.
    fn answer(&self, command: &UnixStream, network: &mut Option<Network>) -> bool {
        let Ok(wire::Received { message: Ask::Network, .. }) = wire::receive(command) else { return false };
        let namespace = match network {
            Some(network) => network.with_way_out(),
            none => Network::make().and_then(|made| none.insert(made).with_way_out()),
        };
        let sent = match namespace {
            Ok(namespace) => wire::send(command, &Answer::Network, b"", &[namespace]),
            Err(message) => wire::send(command, &Answer::Failed { message }, b"", &[]),
        };
        sent.is_ok()
    }

    /// Tells whether nobody needs the keeper any more; nobody will find it then.
    fn may_leave(&self) -> bool {
        if flock(&self.lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return false;
        }
        let mut waiting = [PollFd::new(&self.listener, PollFlags::IN)];
        let waits = poll(&mut waiting, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap_or(1) > 0;
        if waits {
            let _ = flock(&self.lock, FlockOperation::Unlock);
            return false;
        }
        let _ = std::fs::remove_file(&self.path);
        true
    }
}

/// Finds a process that lives in this user namespace without us, and has not ended: until it does, it is waited for.
fn inhabitant(network: Option<&Network>) -> Option<Process> {
    let namespace = |process: &dyn std::fmt::Display| {
        rustix::fs::stat(format!("/proc/{process}/ns/user")).map(|stat| stat.st_ino).ok()
    };
    let own = namespace(&"self")?;
    let ours = [Some(std::process::id() as i32), network.and_then(Network::way_out)];
    let entries = std::fs::read_dir("/proc").ok()?.flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.find_map(|pid| {
        let lives_here = !ours.contains(&Some(pid)) && namespace(&pid) == Some(own);
        let identity = lives_here.then(|| process::identify(pid))??;
        process::is_alive(identity).then(|| Process::find(identity))?
    })
}
