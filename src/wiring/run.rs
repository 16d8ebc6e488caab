//! Containers: requests handed to the engine.

use std::path::Path;

use rbuild_engine::Engine;
use rbuild_engine::containers::{ContainerError, CreateRequest, ExecRequest, Made, Start};
use rbuild_images::{LayerState, Progress};
use rbuild_model::container::{Definition, Removal};
use rbuild_model::digest::BlobDigest;
use rbuild_model::network::NetworkMode;
use rbuild_monitor::client::Waiter;
use rbuild_monitor::{Attach, Client, ClientError, Refusal, Session, Until};

use super::Home;
use super::attend::{self, Ending, Foreground, Manner};
use crate::commands::{Context, Outcome};
use crate::flags::{DetachKeys, Mode};
use crate::progress;
use crate::report::{NotStarted, Status};
use crate::terminal::Terminal;
use crate::text;

/// Makes a container; nothing runs yet.
pub(crate) fn create(
    request: &CreateRequest,
    progress: progress::Mode,
    context: &Context,
) -> anyhow::Result<Made> {
    let request = placed(request, context);
    let home = Home::open_to_fill(&context.settings, "rbuild create")?;
    home.note_copies();
    let engine = home.engine()?;
    Ok(engine.create(&request, &PullNotes(context.terminal, progress))?)
}

/// How `run`, `start` and `attach` keep in touch with a container.
#[derive(Clone, Debug)]
pub(crate) struct Touch {
    /// Which streams are attached.
    pub(crate) streams: Attach,
    /// Keys that leave it running.
    pub(crate) detach: DetachKeys,
    /// Whether signals are passed on.
    pub(crate) signals: Mode,
}

/// Runs a program in a new container. With a touch, in the foreground; else its id is printed.
pub(crate) fn run(
    request: &CreateRequest,
    progress: progress::Mode,
    cidfile: Option<&Path>,
    touch: Option<&Touch>,
    context: &Context,
) -> Outcome {
    let mut request = placed(request, context);
    if request.streams.tty {
        request.streams.size = Some(attend::window()).filter(|(columns, _)| *columns > 0);
    }
    // Before any thread is started.
    let foreground = touch.map(|_| Foreground::new()).transpose()?;
    let id_file = crate::commands::IdFile::make(cidfile)?;
    let home = Home::open_to_fill(&context.settings, "rbuild run")?;
    home.note_copies();
    let engine = home.engine()?;
    engine.prepare_start(&request.host.network);
    let made = match engine.create(&request, &PullNotes(context.terminal, progress)) {
        Ok(made) => made,
        // What a volume is made of is missing: found while it is filled, and no other matter than at the start.
        Err(error) if error.exit_status() == NOT_FOUND => return Ok(not_run(error, context.terminal)),
        Err(error) => return Err(error.into()),
    };
    for warning in &made.warnings {
        context.terminal.tell(&format!("WARNING: {}\n", text::one_line(warning)));
    }
    let definition = made.definition;
    let written = id_file.map_or(Ok(()), |file| file.write(&definition.id.to_string()));
    let started = written.and_then(|()| match (touch, foreground) {
        (Some(touch), Some(foreground)) => {
            run_attached(&engine, &definition, touch, foreground, context, || ())
        }
        _ => {
            let started = engine.start(&definition);
            // It is there, whether it could be started or not.
            context.terminal.print(&format!("{}\n", definition.id))?;
            told(started?, context);
            Ok(Status::Done)
        }
    });
    match started {
        Ok(status) => Ok(status),
        Err(error) => match error.downcast::<ContainerError>() {
            Ok(error) => {
                // The error that is told is the first.
                let _ = engine.discard_unstarted(&definition);
                Ok(not_run(error, context.terminal))
            }
            Err(error) => Err(error),
        },
    }
}

/// Starts a container that is there, in the foreground.
pub(crate) fn start_attached(
    engine: &Engine,
    definition: &Definition,
    touch: &Touch,
    context: &Context,
) -> Outcome {
    let foreground = Foreground::new()?;
    run_attached(engine, definition, touch, foreground, context, || ())
}

/// The foreground, prepared before any thread is begun, for a container that is made later.
pub(crate) struct Attendance(Foreground);

impl Attendance {
    /// Prepares it. Until something is run, signals do what they always do.
    pub(crate) fn prepare() -> anyhow::Result<Self> {
        Ok(Self(Foreground::new()?))
    }

    /// Starts a container in the foreground; `started` is called when it has been.
    pub(crate) fn run(
        self,
        engine: &Engine,
        definition: &Definition,
        touch: &Touch,
        context: &Context,
        started: impl FnOnce(),
    ) -> Outcome {
        run_attached(engine, definition, touch, self.0, context, started)
    }
}

/// Attaches, waits, and starts, in this order: nothing of it can be missed.
fn run_attached(
    engine: &Engine,
    definition: &Definition,
    touch: &Touch,
    foreground: Foreground,
    context: &Context,
    started: impl FnOnce(),
) -> Outcome {
    let mut client = engine.monitor(definition)?;
    let removes = definition.host.removal == Removal::Auto;
    if removes {
        client.will_remove().map_err(ContainerError::from)?;
    }
    let another = || -> Result<Client, ContainerError> { engine.monitor(definition) };
    let (session, _) = another()?.attach(touch.streams).map_err(ContainerError::from)?;
    let waiter = another()?.wait(Until::NextExit).map_err(ContainerError::from)?;
    engine.tell_attach(definition, "attach");
    told(engine.start_attached(definition, &mut client)?, context);
    started();
    let mut client = Some(client);
    let status = followed(engine, definition, touch, foreground, session, waiter, &mut client, context)?;
    if removes && matches!(status, Status::Program(_)) {
        // The promise to remove stands as long as its connection: without it the monitor would start a process that does.
        // One that was left running is the monitor's to remove.
        engine.reap(definition.id)?;
    }
    Ok(status)
}

/// Attaches a container that runs.
pub(crate) fn attach(engine: &Engine, definition: &Definition, touch: &Touch, context: &Context) -> Outcome {
    let foreground = Foreground::new()?.redrawn();
    let mut client = Some(engine.monitor(definition)?);
    let (session, _) = engine.monitor(definition)?.attach(touch.streams).map_err(ContainerError::from)?;
    let waiter = engine.monitor(definition)?.wait(Until::NotRunning).map_err(ContainerError::from)?;
    engine.tell_attach(definition, "attach");
    followed(engine, definition, touch, foreground, session, waiter, &mut client, context)
}

/// Passes bytes and signals on until the end, and returns the container's status. The client stays connected.
#[expect(clippy::too_many_arguments, reason = "two callers, which have made each of them")]
fn followed(
    engine: &Engine,
    definition: &Definition,
    touch: &Touch,
    mut foreground: Foreground,
    session: Session,
    waiter: Waiter,
    client: &mut Option<Client>,
    context: &Context,
) -> Outcome {
    let manner =
        Manner { tty: definition.streams.tty, input: touch.streams.stdin, detach: touch.detach.clone() };
    let sender = if touch.signals == Mode::On { client.take() } else { None };
    let ending = foreground.attend(session, &manner, sender);
    *client = foreground.leave().or_else(|| client.take());
    match ending? {
        Ending::Detached => {
            context.terminal.tell("read escape sequence\n");
            engine.tell_attach(definition, "detach");
            return Ok(Status::Done);
        }
        Ending::Unread => {
            let name = &definition.name;
            context.terminal.tell(&format!("nobody reads the output any more; container {name} runs on\n"));
            engine.tell_attach(definition, "detach");
            return Ok(Status::Unread);
        }
        Ending::Ended | Ending::Exited(_) => {}
    }
    let exited = waiter.exited().map_err(ContainerError::from)?;
    if engine.was_killed_for_memory(definition)? {
        context.terminal.tell(&killed_for_memory(definition.host.resources.memory));
    }
    Ok(Status::Program(exited.code as u8))
}

/// Runs a program beside that of a running container.
pub(crate) fn exec(
    engine: &Engine,
    definition: &Definition,
    request: &ExecRequest,
    touch: Option<&Touch>,
) -> Outcome {
    let foreground = touch.map(|_| Foreground::new()).transpose()?;
    let (mut client, plan) = engine.exec(definition, request)?;
    let id = client.exec_create(plan).map_err(ContainerError::from)?;
    let command = request.argv.join(" ");
    engine.tell_exec(definition, &format!("exec_create: {command}"), &id.0, None);
    let started = format!("exec_start: {command}");
    let (Some(touch), Some(mut foreground)) = (touch, foreground) else {
        client.exec_detached(&id).map_err(exec_failed)?;
        engine.tell_exec(definition, &started, &id.0, None);
        return Ok(Status::Done);
    };
    let session = client.exec_attach(&id, touch.streams, request.terminal).map_err(exec_failed)?;
    engine.tell_exec(definition, &started, &id.0, None);
    let manner =
        Manner { tty: request.terminal.is_some(), input: touch.streams.stdin, detach: touch.detach.clone() };
    match foreground.attend(session, &manner, None)? {
        Ending::Exited(code) => {
            engine.tell_exec(definition, "exec_die", &id.0, Some(code));
            Ok(Status::Program(code as u8))
        }
        Ending::Detached => {
            engine.tell_exec(definition, "exec_detach", &id.0, None);
            Ok(Status::Done)
        }
        Ending::Unread => {
            engine.tell_exec(definition, "exec_detach", &id.0, None);
            Ok(Status::Unread)
        }
        Ending::Ended => Ok(Status::Done),
    }
}

/// Tells a program that could not be executed by its status, as a shell does.
fn exec_failed(error: ClientError) -> anyhow::Error {
    match error {
        ClientError::Refused(Refusal::NotStarted { status, message }) => {
            NotStarted { status, message }.into()
        }
        error => ContainerError::from(error).into(),
    }
}

/// Tells what people should know of a start.
fn told(start: Start, context: &Context) {
    if let Start::Started(notes) = start {
        for note in notes {
            context.terminal.tell(&format!("note: {}\n", text::one_line(&note)));
        }
    }
}

/// Our terminal's size, for programs that get one.
pub(crate) fn window() -> (u16, u16) {
    attend::window()
}

/// The status of a container something of which is not there.
const NOT_FOUND: u8 = 127;

/// Tells why a container did not run, and returns the status for it.
fn not_run(error: ContainerError, terminal: Terminal) -> Status {
    let status = match error.exit_status() {
        126 => Status::NotExecutable,
        NOT_FOUND => Status::NotFound,
        _ => Status::Usage,
    };
    crate::report::tell(&error.into(), terminal);
    status
}

/// Returns the request as it can be had where this program runs.
fn placed(request: &CreateRequest, context: &Context) -> CreateRequest {
    let mut request = request.clone();
    if let Some(rootless) = &context.settings.rootless
        && matches!(request.host.network, NetworkMode::Default | NetworkMode::Bridge)
    {
        if !rootless.has_network() {
            request.host.network = NetworkMode::Host;
        } else if request.host.dns.is_empty() {
            request.host.dns = super::Rootless::resolver().servers;
        }
    }
    request
}

/// Opens the store and what runs containers.
pub(crate) fn engine(context: &Context, purpose: &str) -> anyhow::Result<(Home, rbuild_engine::Engine)> {
    let home = Home::open(&context.settings, purpose)?;
    let engine = home.engine()?;
    Ok((home, engine))
}

/// As [`engine`], for a verb that reserves room.
pub(crate) fn engine_to_fill(
    context: &Context,
    purpose: &str,
) -> anyhow::Result<(Home, rbuild_engine::Engine)> {
    let home = Home::open_to_fill(&context.settings, purpose)?;
    let engine = home.engine()?;
    Ok((home, engine))
}

/// Says why a program of the container was killed, and what would help.
fn killed_for_memory(limit: Option<u64>) -> String {
    match limit {
        Some(limit) => format!(
            "note: the kernel killed a process of the container: it needed more memory than its limit of {} MiB\n\
             hint: give it more with `--memory`\n",
            limit >> 20
        ),
        None => "note: the kernel killed a process of the container: memory ran out\n".to_owned(),
    }
}

/// Tells on standard error that an image is being pulled, as docker does.
struct PullNotes(Terminal, progress::Mode);

impl PullNotes {
    fn tell(&self, text: &str) {
        if !matches!(self.1, progress::Mode::Quiet | progress::Mode::None) {
            self.0.tell(text);
        }
    }
}

impl Progress for PullNotes {
    fn layer(&self, layer: BlobDigest, state: LayerState) {
        let what = match state {
            LayerState::Transferred => "Download complete",
            LayerState::Complete => "Pull complete",
            LayerState::AlreadyExists => "Already exists",
            LayerState::Waiting
            | LayerState::Transferring { .. }
            | LayerState::Unpacking
            | LayerState::Mounted => {
                return;
            }
        };
        self.tell(&format!("{}: {what}\n", &layer.hex()[..12]));
    }

    fn note(&self, text: &str) {
        self.tell(&format!("{text}\n"));
    }
}
