//! The launcher: the program's side of the server stage.

use std::fs::File;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::cgroup::CgroupError;
use crate::compile::OrderError;
use crate::script::{ProgramFailure, SpawnRequest, StageFailure};
use crate::sealed::{SealError, SealedProgram};
use crate::slot::{Slot, SlotRequest};
use crate::stage;
use crate::wire::{self, WireError};

/// A process that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The program could not be sealed.
    #[error("cannot protect the program from its containers")]
    Seal(#[from] SealError),
    /// The server stage could not be started.
    #[error("cannot start the launching stage")]
    Server(#[source] io::Error),
    /// A socket could not be made.
    #[error("cannot make a channel to the launching stage")]
    Socket(#[source] io::Error),
    /// The conversation with a stage failed.
    #[error("lost the launching stage")]
    Wire(#[from] WireError),
    /// A stage said something out of order.
    #[error("the launching stage answered out of order")]
    Protocol,
    /// The init died on its way, without a word: killed from outside, or for want of memory.
    #[error("the process {pid} died before it could run the program (killed, or out of memory)")]
    Died {
        /// Its pid.
        pid: i32,
    },
    /// An act of the stage failed.
    #[error("cannot run the program")]
    Stage(#[source] StageFailure),
    /// The order cannot be carried out.
    #[error("cannot prepare the program")]
    Order(#[from] OrderError),
    /// The cgroup cannot be used.
    #[error("cannot use the cgroup")]
    Cgroup(#[from] CgroupError),
    /// A namespace that cannot be joined was to be joined.
    #[error("joining a {namespace} namespace is not supported")]
    CannotJoin {
        /// Its kind.
        namespace: &'static str,
    },
}

impl LaunchError {
    /// Returns the exit status that stands for the failure: 127 for a program that does not exist, 126 for one that
    /// cannot be executed, 125 for all else.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Stage(StageFailure { program: Some(ProgramFailure::NotFound), .. }) => 127,
            Self::Stage(StageFailure { program: Some(ProgramFailure::NotExecutable), .. }) => 126,
            _ => 125,
        }
    }
}

/// How a launcher is made.
#[derive(Clone, Debug)]
pub struct LauncherConfig {
    /// The program whose `main` calls [`stage::dispatch`]: this one.
    pub program: PathBuf,
}

impl Default for LauncherConfig {
    fn default() -> Self {
        Self { program: PathBuf::from("/proc/self/exe") }
    }
}

/// Makes isolated processes. One for a whole command; cheap to clone, usable from any thread.
#[derive(Clone, Debug)]
pub struct Launcher {
    server: Arc<Server>,
}

impl Launcher {
    /// Seals the program and starts the server stage.
    pub fn new(config: &LauncherConfig) -> Result<Self, LaunchError> {
        Self::of(&SealedProgram::new(&config.program)?)
    }

    /// Starts the server stage from a program that is sealed already; it is of no more use to the launcher then.
    pub fn of(program: &SealedProgram) -> Result<Self, LaunchError> {
        Ok(Self { server: Arc::new(Server::start(program)?) })
    }

    pub(crate) fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Makes a slot. It may still be on its way to its parking place when this returns, so that several prepare
    /// themselves at the same time.
    pub fn slot(&self, request: SlotRequest) -> Result<Slot, LaunchError> {
        Slot::ask(Arc::clone(&self.server), request)
    }
}

/// A running server stage; ends when this is dropped, and everything bound with it.
#[derive(Debug)]
pub(crate) struct Server {
    channel: Option<OwnedFd>,
    /// Requests must not interleave: a frame may take several writes.
    sending: Mutex<()>,
    child: Child,
}

impl Server {
    fn start(sealed: &SealedProgram) -> Result<Self, LaunchError> {
        let (channel, far) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|errno| LaunchError::Socket(errno.into()))?;
        // Read as well as written: it is the standard input of every program that is given none.
        let null = File::options().read(true).write(true).open("/dev/null").map_err(LaunchError::Server)?;
        let child = Command::new(sealed.path())
            .arg0(stage::MARKER)
            .arg(stage::ROLE)
            .env_clear()
            .env(stage::ROOM.0, " ".repeat(stage::ROOM.1))
            .stdin(Stdio::from(far))
            .stdout(Stdio::from(null))
            .stderr(Stdio::null())
            .spawn()
            .map_err(LaunchError::Server)?;
        Ok(Self { channel: Some(channel), sending: Mutex::new(()), child })
    }

    pub(crate) fn send(&self, request: &SpawnRequest, fds: &[BorrowedFd<'_>]) -> Result<(), LaunchError> {
        let channel = self.channel.as_ref().expect("the channel is there until the drop");
        let _turn = self.sending.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(wire::send(channel, request, b"", fds)?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.channel.take());
        // It ends by itself now, after everything bound to it.
        let _ = self.child.wait();
    }
}
