//! The side of the commands: finding, starting and asking a monitor.

mod session;
mod spawn;

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rbuild_model::container::{RestartPolicy, Signal};
use rbuild_network::hosts::LineChange;
use rbuild_sandbox::cgroup::Limits;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

pub use self::session::{Session, SessionEvent, SessionWriter};
pub use self::spawn::{Program, Residence, Spawned, Zygote};
use crate::place::{CONTROL, Lock, Place, PlaceError};
use crate::plan::{ExecPlan, Handed, NameServing, Plan};
use crate::protocol::frame::{self, Decoder, Frame, FrameError};
use crate::protocol::{self, Attach, ExecId, ExecState, Grace, LogPosition, Refusal, Reply, Request, Until};
use crate::record::{Moment, Record};

/// A monitor that could not be asked, or that refused.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The container's folders.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The monitor said no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The monitor could not be started.
    #[error("cannot start the monitor of the container")]
    Spawn(#[source] std::io::Error),
    /// The monitor could not work.
    #[error("the monitor of the container failed: {0}")]
    Failed(String),
    /// Somebody else is changing the container.
    #[error("another command is changing the container")]
    Busy,
    /// The conversation with the monitor ended.
    #[error("lost the monitor of the container")]
    Wire(#[from] FrameError),
    /// The monitor's socket cannot be used.
    #[error("cannot reach the monitor of the container")]
    Socket(#[source] std::io::Error),
    /// The folder was removed that the monitor's socket is in: nobody can reach it any more.
    #[error("cannot reach the monitor of the container: `{}` was removed", .0.display())]
    Unreachable(std::path::PathBuf),
    /// The monitor answered something else.
    #[error("the monitor of the container answered out of order")]
    Order,
}

/// A program that was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// Its pid.
    pub pid: i32,
    /// Things worth telling that are no failure.
    pub notes: Vec<String>,
}

/// What a wait found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exited {
    /// The status.
    pub code: i32,
    /// What else there is to say.
    pub error: Option<String>,
}

/// What became of a change of a container's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Following {
    /// The container follows it.
    Done,
    /// Its program has ended meanwhile.
    Over,
    /// Its monitor is of a program that knows no such change: it follows at its next start.
    Cannot,
}

/// A connection to a monitor. Requests go one after the other; for what waits or streams, open another one.
#[derive(Debug)]
pub struct Client {
    /// The version that both sides speak.
    version: u32,
    socket: OwnedFd,
    decoder: Decoder,
    fds: Vec<OwnedFd>,
}

impl Client {
    /// Connects to the monitor of a container, if there is one.
    pub fn find(place: &Place) -> Result<Option<Self>, ClientError> {
        let run = match place.open_run() {
            Err(PlaceError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(None);
            }
            run => run?,
        };
        let failed = |errno: Errno| ClientError::Socket(errno.into());
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .map_err(failed)?;
        let address = SocketAddrUnix::new(Place::short(&run, CONTROL)).map_err(failed)?;
        match connect(&socket, &address) {
            Ok(()) => {}
            Err(Errno::NOENT | Errno::CONNREFUSED) => return Ok(None),
            Err(errno) => return Err(failed(errno)),
        }
        let mut client =
            Self { version: protocol::OLDEST, socket, decoder: Decoder::default(), fds: Vec::new() };
        match client.ask(&Request::Hello { version: protocol::VERSION }) {
            Ok(Reply::Hello { version, .. }) if version >= protocol::OLDEST => {
                Ok(Some(Self { version, ..client }))
            }
            Ok(Reply::Hello { version, .. }) => Err(ClientError::Refused(Refusal::Version {
                oldest: version,
                newest: version,
                asked: protocol::VERSION,
            })),
            Ok(_) => Err(ClientError::Order),
            // It was just leaving.
            Err(ClientError::Wire(FrameError::Closed)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// As [`Client::find`], for a monitor that is just being started: waits for it to listen, 5 seconds at most.
    pub fn find_soon(place: &Place) -> Result<Option<Self>, ClientError> {
        spawn::find_soon(place)
    }

    /// Starts a monitor that takes a dead one's place; `None` if there is nothing to take over any more. `networks` is the
    /// namespace that networks are made in, if it is not the caller's own.
    pub fn adopt(
        place: &Place,
        program: &Program,
        networks: Option<OwnedFd>,
    ) -> Result<Option<Self>, ClientError> {
        match Self::find(place)? {
            Some(client) => Ok(Some(client)),
            None => Spawned::new(program)?.adopt(place, networks),
        }
    }

    /// Runs the container; returns when its program was executed.
    pub fn start(&mut self, plan: Plan, handed: Handed) -> Result<Started, ClientError> {
        let list = handed.list();
        let fds = handed.into_fds();
        let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        let request = Request::Start { plan: Box::new(plan), handed: list };
        frame::send(&self.socket, &Frame::message(&request)?, &borrowed)?;
        match self.answer()? {
            Reply::Started { pid, notes } => Ok(Started { pid, notes }),
            _ => Err(ClientError::Order),
        }
    }

    /// Asks the program to end and ends it after the grace; returns when it has ended.
    pub fn stop(&mut self, signal: Option<Signal>, grace: Grace) -> Result<(), ClientError> {
        self.done(&Request::Stop { signal, grace })
    }

    /// Sends a signal. `KILL` ends everything in the container, and returns when that has happened.
    pub fn kill(&mut self, signal: Signal) -> Result<(), ClientError> {
        self.done(&Request::Kill { signal })
    }

    /// Freezes the container.
    pub fn pause(&mut self) -> Result<(), ClientError> {
        self.done(&Request::Pause)
    }

    /// Thaws the container.
    pub fn unpause(&mut self) -> Result<(), ClientError> {
        self.done(&Request::Unpause)
    }

    /// Registers a wait; when this returns, nothing can be missed any more.
    pub fn wait(mut self, until: Until) -> Result<Waiter, ClientError> {
        match self.ask(&Request::Wait { until })? {
            Reply::Waiting => Ok(Waiter { client: self, ready: None }),
            Reply::Exited { code, error } => Ok(Waiter { client: self, ready: Some(Exited { code, error }) }),
            _ => Err(ClientError::Order),
        }
    }

    /// Watches the container: its present state is the first event, and nothing after it is missed.
    pub fn watch(self) -> Result<Watcher, ClientError> {
        frame::send(&self.socket, &Frame::message(&Request::Watch)?, &[])?;
        Ok(Watcher { client: self })
    }

    /// Attaches streams; when this returns, nothing that the program writes from then on is missed. Returns the place
    /// in the log at which the output begins.
    pub fn attach(mut self, streams: Attach) -> Result<(Session, Option<LogPosition>), ClientError> {
        match self.ask(&Request::Attach(streams))? {
            Reply::Attached { position } => Ok((Session::new(self), position)),
            _ => Err(ClientError::Order),
        }
    }

    /// Sets the size of the terminal.
    pub fn resize(&mut self, columns: u16, rows: u16) -> Result<(), ClientError> {
        self.done(&Request::Resize { columns, rows })
    }

    /// Makes an execution ready.
    pub fn exec_create(&mut self, plan: ExecPlan) -> Result<ExecId, ClientError> {
        match self.ask(&Request::ExecCreate { plan: Box::new(plan) })? {
            Reply::ExecCreated { id } => Ok(id),
            _ => Err(ClientError::Order),
        }
    }

    /// Runs an execution with its streams attached. A size that is given is the terminal's first.
    pub fn exec_attach(
        mut self,
        id: &ExecId,
        streams: Attach,
        size: Option<(u16, u16)>,
    ) -> Result<Session, ClientError> {
        let request = Request::ExecStart { id: id.clone(), attach: Some(streams), size };
        match self.ask(&request)? {
            Reply::ExecStarted { .. } => Ok(Session::new(self)),
            _ => Err(ClientError::Order),
        }
    }

    /// Runs an execution without streams; returns its pid.
    pub fn exec_detached(&mut self, id: &ExecId) -> Result<i32, ClientError> {
        match self.ask(&Request::ExecStart { id: id.clone(), attach: None, size: None })? {
            Reply::ExecStarted { pid } => Ok(pid),
            _ => Err(ClientError::Order),
        }
    }

    /// Sets the size of an execution's terminal.
    ///
    /// For the Engine API, whose clients size a terminal by a request of its own; commands do it in their session.
    pub fn exec_resize(&mut self, id: &ExecId, columns: u16, rows: u16) -> Result<(), ClientError> {
        self.done(&Request::ExecResize { id: id.clone(), columns, rows })
    }

    /// Sends a signal to an execution.
    pub fn exec_kill(&mut self, id: &ExecId, signal: Signal) -> Result<(), ClientError> {
        self.done(&Request::ExecKill { id: id.clone(), signal })
    }

    /// Looks at an execution.
    pub fn exec_inspect(&mut self, id: &ExecId) -> Result<ExecState, ClientError> {
        match self.ask(&Request::ExecInspect { id: id.clone() })? {
            Reply::ExecInspected(state) => Ok(*state),
            _ => Err(ClientError::Order),
        }
    }

    /// Lists the executions that run or are ready to.
    pub fn execs(&mut self) -> Result<Vec<ExecId>, ClientError> {
        match self.ask(&Request::Execs)? {
            Reply::Execs(ids) => Ok(ids),
            _ => Err(ClientError::Order),
        }
    }

    /// Changes limits and policy; what is not given stays.
    pub fn update(
        &mut self,
        limits: Option<Limits>,
        restart: Option<RestartPolicy>,
    ) -> Result<(), ClientError> {
        self.done(&Request::Update { limits: limits.map(Box::new), restart })
    }

    /// Changes the container's name in its events.
    pub fn rename(&mut self, name: &str) -> Result<(), ClientError> {
        self.done(&Request::Rename { name: name.to_owned() })
    }

    /// Has the container follow a change of its networks: lines of its file of names, and who answers its questions. What
    /// its running program sees of the files is the caller's to change.
    pub fn names(
        &mut self,
        hosts: LineChange,
        serving: Option<NameServing>,
    ) -> Result<Following, ClientError> {
        if self.version < protocol::NAMES_FOLLOWED {
            return Ok(Following::Cannot);
        }
        match self.done(&Request::Names { hosts, serving }) {
            Ok(()) => Ok(Following::Done),
            Err(ClientError::Refused(Refusal::NotRunning) | ClientError::Wire(FrameError::Closed)) => {
                Ok(Following::Over)
            }
            Err(error) => Err(error),
        }
    }

    /// Looks at the record.
    pub fn inspect(&mut self) -> Result<Record, ClientError> {
        match self.ask(&Request::Inspect)? {
            Reply::Inspected(record) => Ok(*record),
            _ => Err(ClientError::Order),
        }
    }

    /// Takes the container's lock over from a monitor whose container does not run, to remove it.
    pub fn take_lock(&mut self) -> Result<Lock, ClientError> {
        match (self.ask(&Request::TakeLock)?, self.fds.pop()) {
            (Reply::Lock, Some(fd)) => Ok(Lock::of_fd(fd)),
            _ => Err(ClientError::Order),
        }
    }

    /// Says that the container was removed; those who wait for that are told, and the monitor leaves.
    pub fn removed(&mut self) -> Result<(), ClientError> {
        match self.done(&Request::Removed) {
            Err(ClientError::Wire(FrameError::Closed)) => Ok(()),
            result => result,
        }
    }

    /// Says that this client removes the container at its end, though it would remove itself. It counts for as long as
    /// the connection is open.
    pub fn will_remove(&mut self) -> Result<(), ClientError> {
        self.done(&Request::WillRemove)
    }

    fn done(&mut self, request: &Request) -> Result<(), ClientError> {
        match self.ask(request)? {
            Reply::Done => Ok(()),
            _ => Err(ClientError::Order),
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Reply, ClientError> {
        match frame::send(&self.socket, &Frame::message(request)?, &[]) {
            Ok(()) => self.answer(),
            // It may have said why it does not listen.
            Err(error) => match self.answer() {
                Err(refused @ ClientError::Refused(_)) => Err(refused),
                _ => Err(error.into()),
            },
        }
    }

    fn answer(&mut self) -> Result<Reply, ClientError> {
        match frame::receive(&self.socket, &mut self.decoder, &mut self.fds)?.read()? {
            Reply::Refused(refusal) => Err(refusal.into()),
            reply => Ok(reply),
        }
    }
}

/// A wait that is registered.
#[derive(Debug)]
pub struct Waiter {
    client: Client,
    ready: Option<Exited>,
}

impl Waiter {
    /// Waits for what was asked for.
    pub fn exited(mut self) -> Result<Exited, ClientError> {
        if let Some(ready) = self.ready {
            return Ok(ready);
        }
        match self.client.answer()? {
            Reply::Exited { code, error } => Ok(Exited { code, error }),
            _ => Err(ClientError::Order),
        }
    }

    /// Waits for at most so long; gives the wait back if the time is over first.
    pub fn exited_within(self, time: Duration) -> Result<Result<Exited, Self>, ClientError> {
        let ready = self.ready.is_some() || session::is_readable(self.client.socket.as_fd(), Some(time))?;
        if ready { self.exited().map(Ok) } else { Ok(Err(self)) }
    }
}

impl AsFd for Waiter {
    /// Returns a descriptor that is readable once [`exited`](Self::exited) will not wait.
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.client.socket.as_fd()
    }
}

/// A container that is watched.
#[derive(Debug)]
pub struct Watcher {
    client: Client,
}

/// What a watcher is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// This is what the container is now.
    Changed(Moment),
    /// It was removed. There is no other event after this one.
    Gone,
}

impl Watcher {
    /// Tells whether an event has arrived already, so that the descriptor need not become readable for it.
    pub fn has_event(&self) -> bool {
        self.client.decoder.has_frame()
    }

    /// Waits for the next event.
    pub fn next_event(&mut self) -> Result<WatchEvent, ClientError> {
        match self.client.answer()? {
            Reply::Changed(moment) => Ok(WatchEvent::Changed(*moment)),
            Reply::Gone => Ok(WatchEvent::Gone),
            _ => Err(ClientError::Order),
        }
    }
}

impl AsFd for Watcher {
    /// Returns a descriptor that is readable once [`next_event`](Self::next_event) will not wait.
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.client.socket.as_fd()
    }
}
