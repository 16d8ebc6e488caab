//! Starting a monitor: a process of its own, out of the session of the command that starts it.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::{Client, ClientError};
use crate::MARKER;
use crate::place::Place;
use crate::plan::Settings;
use crate::protocol::frame::{self, Decoder, Frame, FrameError};
use crate::protocol::{Begin, Begun, VERSION};

/// The program that monitors are made of.
#[derive(Debug)]
pub struct Program {
    /// The program whose `main` calls [`dispatch`](crate::dispatch): this one.
    pub path: PathBuf,
    /// Descriptors that a monitor has to keep open for as long as it lives.
    pub holds: Vec<OwnedFd>,
    /// The control group that a monitor moves to, out of that of the command that started it.
    pub residence: Option<Residence>,
}

/// A control group for processes of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Residence {
    /// The folder that all groups of the store are in.
    pub prefix: String,
    /// The group's name in it.
    pub name: String,
}

impl Default for Program {
    fn default() -> Self {
        Self { path: PathBuf::from("/proc/self/exe"), holds: Vec::new(), residence: None }
    }
}

/// A monitor that runs and was told nothing yet. It leaves when this is dropped.
#[derive(Debug)]
pub struct Spawned {
    /// Makes itself the child of nobody here: it starts the monitor, and ends.
    starter: Child,
    channel: OwnedFd,
    holds: Vec<OwnedFd>,
}

impl Drop for Spawned {
    fn drop(&mut self) {
        // Nothing can be done about one that cannot be waited for.
        let _ = self.starter.wait();
    }
}

impl Spawned {
    /// Starts a process; it makes itself ready while the caller does other things.
    pub fn new(program: &Program) -> Result<Self, ClientError> {
        let (channel, far) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(|errno| ClientError::Spawn(errno.into()))?;
        let residence = program.residence.iter().flat_map(|Residence { prefix, name }| [prefix, name]);
        let starter = Command::new(&program.path)
            .arg0(MARKER)
            .args(residence)
            .env_clear()
            .stdin(Stdio::from(far))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(ClientError::Spawn)?;
        let holds = program.holds.iter().map(OwnedFd::try_clone).collect::<Result<_, _>>();
        Ok(Self { starter, channel, holds: holds.map_err(ClientError::Spawn)? })
    }

    /// Gives it a container that does not run; if another monitor was faster, connects to that one. Any number may try at
    /// the same time.
    pub fn begin(self, place: &Place, settings: &Settings) -> Result<Client, ClientError> {
        match self.tell(place, Some(settings), None)? {
            Begun::Listening => Client::find(place)?.ok_or(ClientError::Busy),
            Begun::Busy => find_soon(place)?.ok_or(ClientError::Busy),
            Begun::Nothing => Err(ClientError::Order),
            Begun::Failed(why) => Err(ClientError::Failed(why)),
        }
    }

    /// Lets it take a dead one's place.
    pub(super) fn adopt(
        self,
        place: &Place,
        networks: Option<OwnedFd>,
    ) -> Result<Option<Client>, ClientError> {
        match self.tell(place, None, networks)? {
            Begun::Listening => Client::find(place),
            Begun::Busy => find_soon(place),
            Begun::Nothing => Ok(None),
            Begun::Failed(why) => Err(ClientError::Failed(why)),
        }
    }

    fn tell(
        &self,
        place: &Place,
        settings: Option<&Settings>,
        networks: Option<OwnedFd>,
    ) -> Result<Begun, ClientError> {
        place.prepare()?;
        let begin = Begin {
            version: VERSION,
            folder: place.folder().to_owned(),
            run: place.run().to_owned(),
            id: *place.id(),
            settings: settings.cloned().map(Box::new),
            holds: self.holds.len(),
            place: networks.is_some(),
        };
        let holds: Vec<_> = self.holds.iter().chain(&networks).map(AsFd::as_fd).collect();
        frame::send(&self.channel, &Frame::message(&begin)?, &holds)?;
        match frame::receive(&self.channel, &mut Decoder::default(), &mut Vec::new()) {
            Ok(frame) => Ok(frame.read()?),
            Err(FrameError::Closed) => Ok(Begun::Failed("it ended without a word".to_owned())),
            Err(error) => Err(error.into()),
        }
    }
}

/// The longest that another monitor takes from the lock to its socket.
const PATIENCE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// Finds the monitor that was faster, which may not listen yet.
pub(super) fn find_soon(place: &Place) -> Result<Option<Client>, ClientError> {
    let failed = |errno: Errno| ClientError::Socket(errno.into());
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).map_err(failed)?;
    inotify::add_watch(&watch, place.run(), inotify::WatchFlags::MOVED_TO).map_err(failed)?;
    loop {
        if let Some(client) = Client::find(place)? {
            return Ok(Some(client));
        }
        let mut fds = [PollFd::new(&watch, PollFlags::IN)];
        match poll(&mut fds, Some(&PATIENCE)) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(failed(errno)),
        }
        let mut buffer = [0; 4096];
        rustix::io::read(&watch, &mut buffer).map_err(failed)?;
    }
}
