//! `up` in the foreground: what containers write, until they have ended or somebody asks for the end.
//!
//! ```text
//! starting --> running --ctrl-C, or a container whose end ends all--> stopping --ctrl-C--> killing
//!                 |
//!                 +-- the terminal is gone, or `d` --> nothing more is begun; what runs goes on
//! ```
//!
//! The plan is carried out beside the output, so that nothing is missed; a signal, the plan's end and the end of a stop
//! ring one bell that the output wakes for. A stop begins at once; what was being started meanwhile, and so was not there
//! to be stopped, is stopped when the plan is over.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Once};
use std::thread::Scope;

use rbuild_engine::projects::labels::key;
use rbuild_engine::projects::{AfterFailure, Carried, Halt, Member, ReplicaKind, Turn, Wanted};
use rbuild_model::container::{ContainerId, Definition, Signal, State};

use super::super::board::{Board, colour};
use super::super::life::Turning;
use super::super::making::{self, Manner, Prepared};
use super::super::output::{Errors, Look, Output, Part, Told};
use super::super::project::{Handle, Meant, Selection};
use super::bell::{Bell, Ring};
use super::header::{Cast, Header, cast, names};
use super::menu::{self, Key, Menu};
use super::watched::{Ready, Watch};
use crate::cli::compose::Project;
use crate::cli::compose::up::Up;
use crate::commands::{Context, Outcome};
use crate::report::{self, Status};
use crate::wiring::{Asks, AtSignal};

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
    /// Nobody wants to look any more; containers go on.
    Detached,
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
    let cast = cast(&handle, up)?;
    let watch = match up.watch {
        true => Watch::Ready(Ready::new(&handle, project, up, context)?),
        false => Watch::Off,
    };
    let board = Board::new(project, context);
    let made = making::prepare(&handle, project, &up.making, wanted, manner, &board, context);
    let prepared = match made {
        Ok(Some(prepared)) => prepared,
        Ok(None) => return Ok(Status::Interrupted),
        Err(error) => return handle.home.ended(Err(error)),
    };
    let joins = |definition: &Definition| joins(definition, handle.meant.name.as_str(), &cast);
    let mut output = Output::new(&handle.engine, &handle.home.store, look(project, up, context), joins)?;
    let door = output.door();
    // A signal that came before is heard at the first look.
    door.ring();
    let _ = bell.door.set(door.clone());
    let at_key = bell.clone();
    let menu = menu::is_wanted(up, &handle.meant, context)
        .then(|| Menu::open(move |key| at_key.ring(Ring::Key(key))));
    let menu = menu.transpose()?.flatten();
    let header = Header {
        handle: &handle,
        board: &board,
        door,
        once: Once::new(),
        names: names(&prepared, &handle, &cast),
        cast: &cast,
        menu: menu.as_ref(),
        watching: making::mode(up.watch),
        context,
    };
    let mut foreground = Foreground {
        handle: &handle,
        project,
        up,
        manner,
        board: &board,
        context,
        bell,
        received,
        cast: &cast,
        running: header.keep(&prepared)?,
        has_looked_again: false,
        carried: None,
        stage: Stage::Running,
        reason: None,
        stops: 0,
        menu: menu.as_ref(),
        watch,
        is_swept: false,
        asked: Vec::new(),
        failed_stop: None,
        first_code: None,
        asked_code: None,
    };
    std::thread::scope(|scope| {
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
        foreground.watch_no_more();
        Ok(ended?.unwrap_or(Status::Done))
    })
}

/// How the output looks.
fn look(project: &Project, up: &Up, context: &Context) -> Look {
    Look {
        prefix: making::mode(!up.no_log_prefix),
        timestamps: making::mode(up.timestamps),
        colour: colour(project, up.no_color, context),
        errors: Errors::Apart,
    }
}

/// Whether a container that is started joins those that are listened to, and how.
fn joins(definition: &Definition, project: &str, cast: &Cast) -> Option<Part> {
    let label = |key: &str| definition.labels.get(key).map(String::as_str).unwrap_or_default();
    let is_meant = label(key::PROJECT) == project && !label(key::ONE_OFF).eq_ignore_ascii_case("true");
    is_meant.then(|| cast.part(label(key::SERVICE))).flatten()
}

/// Returns the containers that are up of the services that were asked for, of all that the project has if none was, with
/// what runs before they start.
fn left(handle: &Handle, asked: &[String]) -> anyhow::Result<Vec<Member>> {
    let mut members = handle.selected(&Selection::of(asked).with_one_offs())?;
    members.retain(|member| member.replica.kind != ReplicaKind::OneOff);
    handle.keep_own(&mut members, asked);
    Ok(members)
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
    cast: &'a Cast,
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
    /// The keys that are offered.
    menu: Option<&'a Menu>,
    watch: Watch<'a>,
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
                        Ring::Watched(ended) => {
                            self.watch = Watch::Off;
                            self.tell_of(ended);
                        }
                        Ring::Key(key) => self.pressed(key, scope),
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
        match std::mem::replace(&mut self.watch, Watch::Off) {
            Watch::Ready(ready) if is_well && self.stage == Stage::Running => {
                let began = self.watch(ready, scope);
                self.tell_of(began);
            }
            watch => self.watch = watch,
        }
    }

    /// Does what a key stands for.
    fn pressed<'scope>(&mut self, key: Key, scope: &'scope Scope<'scope, '_>)
    where
        'a: 'scope,
    {
        match key {
            // Nobody can be told that nobody reads.
            Key::Enter => drop(self.context.terminal.print("\n")),
            Key::Detach => drop(self.reason.get_or_insert(Reason::Detached)),
            Key::Watch if self.stage == Stage::Running => {
                let turned = self.turn_watch(scope);
                self.tell_of(turned);
            }
            Key::Watch => {}
        }
    }

    /// Begins to watch files, or ends it.
    fn turn_watch<'scope>(&mut self, scope: &'scope Scope<'scope, '_>) -> anyhow::Result<()>
    where
        'a: 'scope,
    {
        match self.watch {
            Watch::Off => {
                let ready = Ready::new(self.handle, self.project, self.up, self.context)?;
                if self.carried.is_some() {
                    return self.watch(ready, scope);
                }
                self.watch = Watch::Ready(ready);
                Ok(())
            }
            Watch::Ready(_) => {
                self.watch = Watch::Off;
                Ok(())
            }
            Watch::On(_) | Watch::Ending => {
                self.watch_no_more();
                Ok(())
            }
        }
    }

    /// Watches files from now on.
    fn watch<'scope>(&mut self, ready: Ready<'a>, scope: &'scope Scope<'scope, '_>) -> anyhow::Result<()>
    where
        'a: 'scope,
    {
        let halt = Arc::new(Halt::new()?);
        self.watch = Watch::On(Arc::clone(&halt));
        let bell = self.bell.clone();
        scope.spawn(move || {
            let ended = ready.watching.go_on(&halt);
            // The next one is let in before it can be wished for.
            drop(ready.alone);
            bell.ring(Ring::Watched(ended));
        });
        Ok(())
    }

    /// Offers no keys any more.
    fn close_menu(&self) {
        if let Some(menu) = self.menu {
            menu.close();
        }
    }

    /// Ends watching.
    fn watch_no_more(&mut self) {
        if let Watch::On(halt) = &self.watch {
            halt.now();
            self.watch = Watch::Ending;
        }
    }

    /// Tells how something that goes on beside the containers went, and which keys there are now.
    fn tell_of(&self, went: anyhow::Result<()>) {
        if let Err(error) = went {
            report::tell(&error, self.context.terminal);
        }
        if let Some(menu) = self.menu {
            let is_watching = matches!(self.watch, Watch::Ready(_) | Watch::On(_));
            menu.show(making::mode(is_watching), self.context);
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
            self.asked_code = Some(status);
        }
        if self.reason.is_none() && self.cast.awaited.contains(service) && self.aborts_on(code) {
            self.first_code = Some(status);
            self.reason = Some(Reason::Aborted);
            self.close_menu();
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
                self.close_menu();
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
        self.watch_no_more();
        // Nothing more is begun of the plan, and what happens now is none of its time line.
        self.handle.halt.now();
        self.board.end_trace();
        let (handle, project, board, context) = (self.handle, self.project, self.board, self.context);
        let (bell, asked) = (self.bell.clone(), self.asked.clone());
        let wanted = Wanted { timeout: making::timeout(self.up.timeout), ..Wanted::default() };
        let manner = self.manner;
        scope.spawn(move || {
            let stopped = || -> anyhow::Result<()> {
                let members = left(handle, &asked)?;
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
        let mut awaited = self.running.values().filter(|service| self.cast.awaited.contains(*service));
        let goes_on = awaited.next().is_some() || !matches!(self.watch, Watch::Off);
        if goes_on && self.reason.is_none() && !has_failed {
            return Ok(ControlFlow::Continue(()));
        }
        if self.stage != Stage::Running && !self.is_swept && !left(self.handle, &self.asked)?.is_empty() {
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
            let carried = self.carried.as_ref().and_then(|carried| carried.as_ref().ok());
            making::show_trace(prepared, carried, self.board, self.context)?;
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
                let code = match &self.up.exit_code_from {
                    Some(service) => self.asked_code.or_else(|| self.ended_with(service)).or(self.first_code),
                    None => self.first_code,
                };
                Status::Program(code.unwrap_or_default())
            }
            Some(Reason::Detached) | None => Status::Done,
        }))
    }

    /// The status of a service that was not listened to.
    fn ended_with(&self, service: &str) -> Option<u8> {
        let members = self.handle.members().ok()?;
        let is_meant = |member: &&Member| {
            member.replica.service == service && member.replica.kind == ReplicaKind::Numbered
        };
        match &members.iter().find(is_meant)?.seen.state {
            State::Exited(ended) => Some(u8::try_from(ended.code).unwrap_or(u8::MAX)),
            _ => None,
        }
    }

    fn is_up(&self, id: ContainerId) -> bool {
        let definition = self.handle.engine.find(&id.to_string());
        let observed = definition.and_then(|definition| self.handle.engine.observe(&definition));
        observed.is_ok_and(|observed| observed.state.is_active())
    }
}
