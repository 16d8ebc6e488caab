//! `up` in the foreground: what containers write, until they have ended or somebody asks for the end.
//!
//! ```text
//! starting --> running --ctrl-C, or a container whose end ends all--> stopping --ctrl-C--> killing
//!                 |
//!                 +-- the terminal is gone --> nothing more is begun; what runs goes on
//! ```
//!
//! The plan is carried out beside the output, so that nothing is missed; a signal, the plan's end and the end of a stop
//! ring one bell that the output wakes for. A stop begins at once; what was being started meanwhile, and so was not there
//! to be stopped, is stopped when the plan is over.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Once, OnceLock};
use std::thread::Scope;

use rbuild_engine::projects::labels::key;
use rbuild_engine::projects::{
    Act, AfterFailure, Carried, Halt, Happening, HookPlace, Phase, Turn, Wanted, Watcher,
};
use rbuild_model::container::{ContainerId, Definition, Signal};

use super::super::board::{Board, colour};
use super::super::life::Turning;
use super::super::making::{self, Manner, Prepared};
use super::super::output::{Door, Errors, Look, Output, Told, short_name};
use super::super::project::{Handle, Meant, Selection};
use super::super::watch::{self, Watching};
use crate::cli::compose::Project;
use crate::cli::compose::up::Up;
use crate::commands::{Context, Outcome};
use crate::report::{self, Mistake, Status};
use crate::wiring::{Asks, AtSignal};

/// What the output wakes for.
enum Ring {
    /// A signal came.
    Signal(Asks),
    /// The plan was carried out.
    Carried(anyhow::Result<Carried>),
    /// Files are not watched any more.
    Watched(anyhow::Result<()>),
    /// A stop, or a killing, is over.
    Stopped(Turn, anyhow::Result<()>),
}

/// Rings are heard by the one who prints, as soon as there is one.
#[derive(Clone)]
struct Bell {
    rings: Sender<Ring>,
    door: Arc<OnceLock<Door>>,
}

impl Bell {
    fn ring(&self, ring: Ring) {
        // Who does not listen any more has seen enough.
        let _ = self.rings.send(ring);
        self.look_again();
    }

    fn look_again(&self) {
        if let Some(door) = self.door.get() {
            door.ring();
        }
    }
}

/// How far the whole is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    Stopping,
    Killing,
}

/// Why it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Interrupted,
    Aborted,
    /// Nobody looks any more; containers go on.
    Left,
}

/// Runs `up` in the foreground.
pub(super) fn run(
    meant: Meant,
    project: &Project,
    up: &Up,
    wanted: Wanted,
    manner: Manner,
    context: &Context,
) -> Outcome {
    let (rings, received) = mpsc::channel();
    let bell = Bell { rings, door: Arc::default() };
    let at_signal = bell.clone();
    let workshop = crate::wiring::project_attended(context, "rbuild compose up", move |count, asks| {
        at_signal.ring(Ring::Signal(asks));
        if count > 2 { AtSignal::Ends } else { AtSignal::GoesOn }
    })?;
    let handle = Handle::with(meant, workshop);
    let attached = attached(&handle, up)?;
    let watching = up.watch.then(|| {
        let rules = watch::rules(&handle.meant.model, &up.services, context)?;
        let (handle, quiet) = (&handle, up.quiet_build);
        anyhow::Ok(Watching { handle, project, quiet, prune: true, context, rules })
    });
    let watching = watching.transpose()?;
    let _alone = watching.as_ref().map(Watching::alone).transpose()?;
    let board = Board::new(project, context);
    let made = making::prepare(&handle, project, &up.making, wanted, manner, &board, context);
    let prepared = match made {
        Ok(Some(prepared)) => prepared,
        Ok(None) => return Ok(Status::Interrupted),
        Err(error) => return handle.home.ended(Err(error)),
    };
    let look = Look {
        prefix: making::mode(!up.no_log_prefix),
        timestamps: making::mode(up.timestamps),
        colour: colour(project, up.no_color, context),
        errors: Errors::Apart,
    };
    let name = handle.meant.name.to_string();
    let listens = attached.clone();
    let joins = move |definition: &Definition| {
        let label = |key: &str| definition.labels.get(key).map(String::as_str).unwrap_or_default();
        label(key::PROJECT) == name
            && !label(key::ONE_OFF).eq_ignore_ascii_case("true")
            && listens.contains(label(key::SERVICE))
    };
    let mut output = Output::new(&handle.engine, &handle.home.store, look, joins)?;
    let door = output.door();
    // A signal that came before is heard at the first look.
    door.ring();
    let _ = bell.door.set(door.clone());
    let mut foreground = Foreground {
        handle: &handle,
        project,
        up,
        manner,
        board: &board,
        context,
        bell,
        received,
        attached,
        running: BTreeMap::new(),
        has_looked_again: false,
        carried: None,
        stage: Stage::Running,
        reason: None,
        stops: 0,
        watching: watching.as_ref(),
        is_swept: false,
        asked: Vec::new(),
        failed_stop: None,
        first_code: None,
        asked_code: None,
    };
    let header = Header {
        handle: &handle,
        board: &board,
        door,
        once: Once::new(),
        names: foreground.names(&prepared),
        attached: foreground.attached.clone(),
        context,
    };
    std::thread::scope(|scope| {
        for kept in &prepared.plan.kept {
            board.tell(&format!("Container {}", kept.name), "Running", super::super::board::Stage::Done);
            let definition = handle.engine.find(&kept.id.to_string())?;
            if foreground.attached.contains(&kept.service) {
                header.door.join_live(&handle.engine, &definition)?;
                foreground.running.insert(kept.id, kept.service.clone());
            }
        }
        let (bell, prepared, header) = (foreground.bell.clone(), &prepared, &header);
        let (handle, context) = (foreground.handle, foreground.context);
        scope.spawn(move || {
            let after = AfterFailure::Stop;
            let carried =
                making::carry_out(handle, project, prepared, manner, after, &handle.halt, header, context);
            header.show();
            header.board.end_trace();
            bell.ring(Ring::Carried(carried));
        });
        let ended = output.follow(None, |_, told| foreground.hear(told, prepared, scope));
        // Nothing more is begun where nobody looks; what runs goes on.
        foreground.handle.halt.now();
        Ok(ended?.unwrap_or(Status::Done))
    })
}

/// The services whose output is shown.
fn attached(handle: &Handle, up: &Up) -> anyhow::Result<BTreeSet<String>> {
    let model = &handle.meant.model;
    let shown = |name: &str| model.services.get(name).is_none_or(|service| service.attach);
    let all: Vec<String> = model.services.keys().map(ToString::to_string).collect();
    for name in up.attach.iter().chain(&up.no_attach).chain(&up.exit_code_from) {
        if !all.contains(name) {
            let text = match up.exit_code_from.as_ref() == Some(name) {
                true => format!("no such service: {name}"),
                false => format!("cannot attach to services not included in up: {name}"),
            };
            return Err(Mistake::new(text).into());
        }
    }
    if !up.attach.is_empty() {
        return Ok(up.attach.iter().filter(|name| !up.no_attach.contains(name)).cloned().collect());
    }
    let named = if up.services.is_empty() || up.attach_dependencies { &all } else { &up.services };
    Ok(named.iter().filter(|name| !up.no_attach.contains(name) && shown(name)).cloned().collect())
}

/// Says once whose output follows, before anything is started; from then on only failures are told beside it.
struct Header<'a> {
    handle: &'a Handle,
    board: &'a Board,
    door: Door,
    once: Once,
    names: Vec<String>,
    attached: BTreeSet<String>,
    context: &'a Context,
}

impl Header<'_> {
    fn show(&self) {
        self.once.call_once(|| {
            self.board.leave();
            if !self.names.is_empty() {
                // Nobody can be told that nobody reads.
                let _ = self.context.terminal.print(&format!("Attaching to {}\n", self.names.join(", ")));
            }
        });
    }
}

impl Watcher for Header<'_> {
    fn happened(&self, happening: Happening) {
        let is_loud = matches!(happening.phase, Phase::Failed(_) | Phase::Skipped(_) | Phase::Note(_));
        let starts = matches!(happening.phase, Phase::Begun(Act::Start) | Phase::Done(Act::Start));
        if is_loud || !(starts || self.once.is_completed()) {
            self.board.happened(happening);
        } else {
            self.board.trace(happening);
        }
    }

    fn will_start(&self, definition: &Definition) {
        self.show();
        if definition.labels.get(key::SERVICE).is_some_and(|service| self.attached.contains(service)) {
            // One that cannot be listened to is started all the same; it joins by its log.
            let _ = self.door.join_live(&self.handle.engine, definition);
        }
    }

    fn said(&self, hook: &HookPlace, output: &[u8]) {
        if self.attached.contains(&hook.service) {
            self.door.say(&format!("{}-{} ->", hook.service, hook.number), output);
        }
    }
}

struct Foreground<'a> {
    handle: &'a Handle,
    project: &'a Project,
    up: &'a Up,
    manner: Manner,
    board: &'a Board,
    context: &'a Context,
    bell: Bell,
    received: Receiver<Ring>,
    attached: BTreeSet<String>,
    /// The containers that are listened to and run.
    running: BTreeMap<ContainerId, String>,
    /// Whether what happened was read once more since the last ring.
    has_looked_again: bool,
    /// How the plan ended, once it has.
    carried: Option<anyhow::Result<Carried>>,
    stage: Stage,
    reason: Option<Reason>,
    /// How many stops are under way.
    stops: usize,
    /// What is watched once the plan was carried out.
    watching: Option<&'a Watching<'a>>,
    /// Whether a stop was begun after the plan was over, so that nothing was started behind its back.
    is_swept: bool,
    /// The services whose stop was asked for; all if empty.
    asked: Vec<String>,
    /// Why a stop failed, the first time.
    failed_stop: Option<anyhow::Error>,
    /// The status of the container that ended first.
    first_code: Option<u8>,
    /// The status of the service that was asked for.
    asked_code: Option<u8>,
}

impl<'a> Foreground<'a> {
    /// The names of those who are listened to, sorted.
    fn names(&self, prepared: &Prepared) -> Vec<String> {
        let project = self.handle.meant.name.as_str();
        let operations = prepared.plan.operations.iter().filter_map(|planned| match &planned.operation {
            rbuild_engine::projects::Operation::Start(container) => Some(match container {
                rbuild_engine::projects::Startable::Existing(there) => {
                    (&there.service[..], &there.name, there.number)
                }
                rbuild_engine::projects::Startable::New(new) => (new.service.as_str(), &new.name, new.number),
            }),
            _ => None,
        });
        let kept = prepared.plan.kept.iter().map(|kept| (&kept.service[..], &kept.name, kept.number));
        let names = operations.chain(kept).filter(|(service, ..)| self.attached.contains(*service));
        let names =
            names.map(|(service, name, number)| short_name(name, project, service, &number.to_string()));
        let sorted: BTreeSet<String> = names.collect();
        sorted.into_iter().collect()
    }

    /// Hears what happened; breaks off when there is nothing left to wait for.
    fn hear<'scope>(
        &mut self,
        told: Told,
        prepared: &Prepared,
        scope: &'scope Scope<'scope, '_>,
    ) -> anyhow::Result<ControlFlow<Status>>
    where
        'a: 'scope,
    {
        // What happens may be followed by more: it is looked once more before all is over.
        self.has_looked_again &= matches!(told, Told::Rung);
        match told {
            Told::Started(definition) => {
                let service = definition.labels.get(key::SERVICE).cloned().unwrap_or_default();
                self.running.insert(definition.id, service);
            }
            Told::Exited { definition, code, restarts } => {
                if !restarts {
                    self.running.remove(&definition.id);
                }
                if !restarts || self.aborts_on(code) {
                    self.exited(&definition, code, scope)?;
                }
            }
            Told::Removed(definition) => drop(self.running.remove(&definition.id)),
            Told::Rung => {
                while let Ok(ring) = self.received.try_recv() {
                    self.has_looked_again = false;
                    match ring {
                        Ring::Carried(carried) => self.was_carried(carried, scope),
                        Ring::Watched(Ok(())) => {}
                        Ring::Watched(Err(error)) => {
                            report::tell(&error, self.context.terminal);
                            self.watching = None;
                        }
                        Ring::Stopped(turn, stopped) => self.stopped(turn, stopped),
                        Ring::Signal(Asks::End) => self.interrupted(scope),
                        Ring::Signal(Asks::Leave) => drop(self.reason.get_or_insert(Reason::Left)),
                    }
                }
            }
        }
        self.ending(prepared, scope)
    }

    /// The plan was carried out; where all went well, files are watched from now on.
    fn was_carried<'scope>(&mut self, carried: anyhow::Result<Carried>, scope: &'scope Scope<'scope, '_>)
    where
        'a: 'scope,
    {
        let is_well = matches!(&carried, Ok(carried) if carried.failures.is_empty());
        self.carried = Some(carried);
        if let (Some(watching), true) = (self.watching, is_well && self.stage == Stage::Running) {
            let bell = self.bell.clone();
            scope.spawn(move || bell.ring(Ring::Watched(watching.go_on())));
        }
    }

    fn aborts_on(&self, code: i32) -> bool {
        match self.up.abort_on_container_failure {
            true => code != 0,
            false => self.up.abort_on_container_exit || self.up.exit_code_from.is_some(),
        }
    }

    /// A container ended.
    fn exited<'scope>(
        &mut self,
        definition: &Definition,
        code: i32,
        scope: &'scope Scope<'scope, '_>,
    ) -> anyhow::Result<()>
    where
        'a: 'scope,
    {
        let service = definition.labels.get(key::SERVICE).map(String::as_str).unwrap_or_default();
        let status = u8::try_from(code).unwrap_or(u8::MAX);
        if self.up.exit_code_from.as_deref() == Some(service) && self.asked_code.is_none() {
            let was_stopped = self.stage != Stage::Running;
            self.asked_code = Some(if was_stopped && status != 0 { 143 } else { status });
        }
        let is_monitored = self.up.services.is_empty() || self.up.services.iter().any(|name| name == service);
        if self.reason.is_none() && is_monitored && self.aborts_on(code) {
            self.first_code = Some(status);
            self.reason = Some(Reason::Aborted);
            self.context.terminal.tell("Aborting on container exit...\n");
            self.mean_targets();
            self.stop(Turn::Stop, scope);
        }
        Ok(())
    }

    /// Lets the end be about the services that were named: what they depend on goes on.
    fn mean_targets(&mut self) {
        if !self.up.attach_dependencies {
            self.asked.clone_from(&self.up.services);
        }
    }

    /// Somebody asked for the end: first by asking the containers, then by ending them.
    fn interrupted<'scope>(&mut self, scope: &'scope Scope<'scope, '_>)
    where
        'a: 'scope,
    {
        match self.stage {
            Stage::Running => {
                self.reason = Some(Reason::Interrupted);
                self.context.terminal.tell("Gracefully Stopping... press Ctrl+C again to force\n");
                self.mean_targets();
                self.stop(Turn::Stop, scope);
            }
            Stage::Stopping => self.stop(Turn::Kill(Signal::KILL), scope),
            Stage::Killing => {}
        }
    }

    /// A stop is over.
    fn stopped(&mut self, turn: Turn, stopped: anyhow::Result<()>) {
        self.stops -= 1;
        // A stop that containers were killed under fails of that.
        let is_moot = turn == Turn::Stop && self.stage == Stage::Killing;
        if let (Err(error), false) = (stopped, is_moot) {
            self.failed_stop.get_or_insert(error);
        }
    }

    /// Stops what is up of what was asked for, beside the output.
    fn stop<'scope>(&mut self, turn: Turn, scope: &'scope Scope<'scope, '_>)
    where
        'a: 'scope,
    {
        self.stage = if turn == Turn::Stop { Stage::Stopping } else { Stage::Killing };
        self.stops += 1;
        self.is_swept = self.carried.is_some();
        // Nothing more is begun of the plan, and what happens now is none of its time line.
        self.handle.halt.now();
        self.board.end_trace();
        let (handle, project, board, context) = (self.handle, self.project, self.board, self.context);
        let (bell, selection) = (self.bell.clone(), Selection::of(&self.asked));
        let wanted = Wanted { timeout: making::timeout(self.up.timeout), ..Wanted::default() };
        let manner = self.manner;
        scope.spawn(move || {
            let stopped = || -> anyhow::Result<()> {
                let members = handle.selected(&selection)?;
                let after_failure = AfterFailure::GoOn;
                let turning = Turning { handle, project, members, turn, wanted, manner, after_failure };
                let prepared = turning.prepare()?;
                let halt = Halt::new()?;
                let carried = making::carry_out(
                    handle,
                    project,
                    &prepared,
                    manner,
                    after_failure,
                    &halt,
                    board,
                    context,
                )?;
                // One that ended meanwhile cannot be ended once more.
                match turn {
                    Turn::Kill(_) => Ok(()),
                    _ => making::failed(&handle.meant, &prepared, carried, context),
                }
            };
            bell.ring(Ring::Stopped(turn, stopped()));
        });
    }

    /// Whether all is over, and how it ended.
    fn ending<'scope>(
        &mut self,
        prepared: &Prepared,
        scope: &'scope Scope<'scope, '_>,
    ) -> anyhow::Result<ControlFlow<Status>>
    where
        'a: 'scope,
    {
        if self.carried.is_none() || self.stops > 0 {
            return Ok(ControlFlow::Continue(()));
        }
        // What happened before a ring was written down before it; it may only not have been read yet.
        if !self.has_looked_again {
            self.has_looked_again = true;
            self.bell.look_again();
            return Ok(ControlFlow::Continue(()));
        }
        let has_failed = matches!(&self.carried, Some(Err(_)))
            || matches!(&self.carried, Some(Ok(carried)) if !carried.failures.is_empty());
        // A service that is built anew comes back.
        let goes_on = !self.running.is_empty() || self.watching.is_some();
        if goes_on && self.reason.is_none() && !has_failed {
            return Ok(ControlFlow::Continue(()));
        }
        if self.stage != Stage::Running
            && !self.is_swept
            && !self.handle.selected(&Selection::of(&self.asked))?.is_empty()
        {
            let turn = if self.stage == Stage::Stopping { Turn::Stop } else { Turn::Kill(Signal::KILL) };
            self.stop(turn, scope);
            return Ok(ControlFlow::Continue(()));
        }
        // A signal is sent; the end that it makes is still to come.
        let is_meant = |service: &String| self.asked.is_empty() || self.asked.contains(service);
        let mut meant = self.running.iter().filter(|(_, service)| is_meant(service));
        if self.stage == Stage::Killing && self.failed_stop.is_none() && meant.any(|(id, _)| self.is_up(*id))
        {
            return Ok(ControlFlow::Continue(()));
        }
        if self.up.trace {
            making::show_trace(&prepared.plan, self.board, self.context)?;
        }
        if let Some(carried) = self.carried.take() {
            making::failed(&self.handle.meant, prepared, carried?, self.context)?;
        }
        if let Some(error) = self.failed_stop.take() {
            return Err(error);
        }
        Ok(ControlFlow::Break(match self.reason {
            Some(Reason::Interrupted | Reason::Left) => Status::Interrupted,
            Some(Reason::Aborted) => {
                let code = match self.up.exit_code_from {
                    Some(_) => self.asked_code,
                    None => self.first_code,
                };
                Status::Program(code.unwrap_or_default())
            }
            None => Status::Done,
        }))
    }

    fn is_up(&self, id: ContainerId) -> bool {
        let definition = self.handle.engine.find(&id.to_string());
        let observed = definition.and_then(|definition| self.handle.engine.observe(&definition));
        observed.is_ok_and(|observed| observed.state.is_active())
    }
}
