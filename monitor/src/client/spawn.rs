//! Starting monitors: processes of their own, out of the session of the command that starts them.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sendmsg,
    socketpair,
};

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

/// The process that the monitors of a command are copies of. It leaves when this is dropped, and they go on.
#[derive(Debug)]
pub struct Zygote {
    channel: Option<OwnedFd>,
    process: Child,
    holds: Vec<OwnedFd>,
}

impl Zygote {
    /// Starts it; it makes itself ready while the caller does other things.
    pub fn new(program: &Program) -> Result<Self, ClientError> {
        // Messages stay apart, from whichever threads they come.
        let (channel, far) = pair(SocketType::SEQPACKET)?;
        let residence = program.residence.iter().flat_map(|Residence { prefix, name }| [prefix, name]);
        let process = Command::new(&program.path)
            .arg0(MARKER)
            .args(residence)
            .env_clear()
            .stdin(Stdio::from(far))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(ClientError::Spawn)?;
        Ok(Self { channel: Some(channel), process, holds: clones(&program.holds)? })
    }

    /// Makes a monitor, which makes itself ready meanwhile.
    pub fn spawn(&self) -> Result<Spawned, ClientError> {
        let (channel, far) = pair(SocketType::STREAM)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds = [far.as_fd()];
        let fits = ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        debug_assert!(fits, "there is room for one descriptor");
        let zygote = self.channel.as_ref().expect("the channel is there until the drop");
        retry_on_intr(|| sendmsg(zygote, &[IoSlice::new(&[0])], &mut ancillary, SendFlags::NOSIGNAL))
            .map_err(|errno| ClientError::Spawn(errno.into()))?;
        Ok(Spawned { channel, holds: clones(&self.holds)?, _alone: None })
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        drop(self.channel.take());
        // Whoever has begun is a process of its own, and it has nothing else to do: one that was stopped would be waited for for
        // ever. Nothing can be done about one that cannot be waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A monitor that runs and was told nothing yet. It leaves when this is dropped.
#[derive(Debug)]
pub struct Spawned {
    channel: OwnedFd,
    holds: Vec<OwnedFd>,
    /// What it is the only copy of.
    _alone: Option<Zygote>,
}

fn pair(kind: SocketType) -> Result<(OwnedFd, OwnedFd), ClientError> {
    socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)
        .map_err(|errno| ClientError::Spawn(errno.into()))
}

fn clones(holds: &[OwnedFd]) -> Result<Vec<OwnedFd>, ClientError> {
    holds.iter().map(OwnedFd::try_clone).collect::<Result<_, _>>().map_err(ClientError::Spawn)
}

impl Spawned {
    /// Starts one alone.
    pub fn new(program: &Program) -> Result<Self, ClientError> {
        let mut zygote = Zygote::new(program)?;
        let spawned = zygote.spawn()?;
        // It ends when it has made this one.
        zygote.channel = None;
        Ok(Self { _alone: Some(zygote), ..spawned })
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
        match frame::send(&self.channel, &Frame::message(&begin)?, &holds) {
            // One that cannot begin has said why, and did not wait for this.
            Ok(()) | Err(FrameError::Closed) => {}
            Err(error) => return Err(error.into()),
        }
        match frame::receive(&self.channel, &mut Decoder::default(), &mut Vec::new()) {
            Ok(frame) => Ok(frame.read()?),
            Err(FrameError::Closed) => Ok(Begun::Failed("it ended without a word".to_owned())),
            Err(error) => Err(error.into()),
        }
    }
}

/// The longest that another monitor takes from the lock to its socket.
const PATIENCE: Duration = Duration::from_secs(5);

/// Finds the monitor that was faster, which may not listen yet.
pub(super) fn find_soon(place: &Place) -> Result<Option<Client>, ClientError> {
    let failed = |errno: Errno| ClientError::Socket(errno.into());
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC).map_err(failed)?;
    match inotify::add_watch(&watch, place.run(), inotify::WatchFlags::MOVED_TO) {
        Ok(_) => {}
        // It is there before anybody is told to be a monitor.
        Err(Errno::NOENT) => return Err(ClientError::Unreachable(place.run().to_owned())),
        Err(errno) => return Err(failed(errno)),
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(client) = Client::find(place)? {
            return Ok(Some(client));
        }
        let mut fds = [PollFd::new(&watch, PollFlags::IN)];
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now()));
        match poll(&mut fds, Some(&left.expect("a few seconds are a time"))) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(failed(errno)),
        }
        let mut buffer = [0; 4096];
        rustix::io::read(&watch, &mut buffer).map_err(failed)?;
    }
}
