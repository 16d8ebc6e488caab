//! What several containers write, on one screen: whose each line is, in the order in which it was written.
//!
//! ```text
//! logs, streams --Voice--> Lane --merge--> Printer --> our streams
//! events ------------------------^ who starts, ends, is made and removed
//! ```
//!
//! Everything waits in one `poll`: logs and events are files, and the kernel tells when they grow. A turn first reads
//! what happened, then every line up to that moment; so the last words of a container come before its end, and an
//! older line before a newer one whosever they are. Containers never wait for the one who reads.

mod door;
mod line;
mod merge;
mod printer;
mod sink;
#[cfg(test)]
mod tests;
mod voice;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use rbuild_engine::Engine;
use rbuild_engine::projects::labels::key;
use rbuild_model::container::{ContainerId, Definition};
use rbuild_monitor::log::Filter;
use rbuild_store::Store;
use rbuild_store::events::{Events, Position};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use self::door::Arrival;
use self::merge::{Lane, Until, merge};
use self::printer::{Label, Printer};
use self::sink::Sink;
use self::voice::Voice;
use crate::notices::{Notices, Wanted};

pub(crate) use self::door::Door;
pub(crate) use self::printer::{Errors, Look};

/// So many bytes of events are read at a time.
const BATCH: usize = 1 << 20;

/// The output of several containers.
pub(crate) struct Output<'a> {
    engine: &'a Engine,
    printer: Printer,
    speakers: BTreeMap<ContainerId, Speaker>,
    /// Which containers join by themselves when they are started, and how.
    joins: Box<Joins<'a>>,
    door: Door,
    notices: Notices,
    events: Events,
    position: Position,
    began: Timestamp,
}

/// Tells whether a container that is started joins, and how.
type Joins<'a> = dyn Fn(&Definition) -> Option<Part> + 'a;

/// A container that is listened to.
struct Speaker {
    definition: Definition,
    label: Label,
    lane: Lane<Voice>,
}

/// How a container takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// What it writes is shown, and its end is told of.
    Shown,
    /// Only its end is told of.
    Awaited,
}

/// What a caller is told of, each after the lines that were written before.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    /// A container that is listened to was started.
    Started(Box<Definition>),
    /// Its program ended.
    Exited {
        /// Which one.
        definition: Box<Definition>,
        /// With this status.
        code: i32,
        /// Whether it is started again.
        restarts: bool,
    },
    /// It was removed.
    Removed(Box<Definition>),
    /// Somebody came by the door, or rang its bell.
    Rung,
}

/// A thing that happened to a container, as the store tells it.
struct Happening {
    time: i64,
    id: ContainerId,
    action: String,
    code: i32,
}

impl<'a> Output<'a> {
    /// Begins to listen to what happens; who writes has to [join](Self::join). Containers that are started from now on
    /// join if `joins` says so.
    pub(crate) fn new(
        engine: &'a Engine,
        store: &Store,
        look: Look,
        joins: impl Fn(&Definition) -> Option<Part> + 'a,
    ) -> anyhow::Result<Self> {
        let notices = Notices::new().context("failed to watch for output")?;
        let folder = store.layout().events();
        let failed = || format!("failed to watch `{}`", folder.display());
        // What comes between the watch and the look is seen by the look.
        notices.add(&folder, Wanted::MODIFY | Wanted::CREATE).with_context(failed)?;
        let events = store.events();
        let position = events.end()?;
        Ok(Self {
            engine,
            printer: Printer::new(look),
            speakers: BTreeMap::new(),
            joins: Box::new(joins),
            door: Door::new()?,
            notices,
            events,
            position,
            began: Timestamp::now(),
        })
    }

    /// Listens to a container: to what its log has, as the filter says, and to all that comes.
    pub(crate) fn join(&mut self, definition: &Definition, filter: Filter) -> anyhow::Result<()> {
        if !self.speakers.contains_key(&definition.id) {
            let voice = Voice::of_log(self.engine.logs(definition, filter)?);
            self.add(definition, voice);
        }
        Ok(())
    }

    /// Returns the way in for other threads.
    pub(crate) fn door(&self) -> Door {
        self.door.clone()
    }

    fn add(&mut self, definition: &Definition, voice: Voice) {
        let name = shown_name(definition);
        let label = if voice.is_silent() { self.printer.mention(&name) } else { self.printer.join(&name) };
        let lane = Lane::new(voice);
        self.speakers.insert(definition.id, Speaker { definition: definition.clone(), label, lane });
    }

    /// Prints what is there, and ends.
    pub(crate) fn print(&mut self) -> anyhow::Result<()> {
        for speaker in self.speakers.values_mut() {
            speaker.lane.source.end();
        }
        self.turn(Until::END, &[])
    }

    /// Prints what is there and what comes, until `each` breaks off, or a moment has come (`None` is returned then).
    pub(crate) fn follow<T>(
        &mut self,
        until: Option<Timestamp>,
        mut each: impl FnMut(&mut Self, Told) -> anyhow::Result<ControlFlow<T>>,
    ) -> anyhow::Result<Option<T>> {
        loop {
            // Before the look: what comes after this wakes the wait below.
            self.notices.take().context("failed to watch for output")?;
            let happened = self.happened()?;
            // Behind that: who was let in before something happened to it is known by then.
            let rung = self.let_in()?;
            let mut told = Vec::new();
            let mut statuses = Vec::new();
            for happening in &happened {
                self.take_in(happening, &mut told, &mut statuses)?;
            }
            self.watch_folders();
            self.turn(Until(now()), &statuses)?;
            told.extend(rung.then_some(Told::Rung));
            for what in told {
                if let Told::Removed(definition) = &what {
                    self.speakers.remove(&definition.id);
                }
                if let ControlFlow::Break(value) = each(self, what)? {
                    return Ok(Some(value));
                }
            }
            if until.is_some_and(|until| until <= Timestamp::now()) {
                return Ok(None);
            }
            let more = !happened.is_empty() || self.speakers.values().any(|speaker| speaker.lane.waits());
            self.wait(if more { Some(Timestamp::UNIX_EPOCH) } else { until })?;
        }
    }

    /// Lets those in who came by the door; tells whether its bell rang.
    fn let_in(&mut self) -> anyhow::Result<bool> {
        let mut sink = Sink::default();
        let (rung, arrived) = self.door.take();
        for arrival in arrived {
            match arrival {
                Arrival::Speaker(definition, voice) if !self.speakers.contains_key(&definition.id) => {
                    self.add(&definition, *voice);
                }
                Arrival::Speaker(..) => {}
                Arrival::Lines(name, lines) => {
                    let label = self.printer.join(&name);
                    for line in lines {
                        self.printer.line(label, &line, sink.out()?);
                    }
                }
            }
        }
        sink.flush()?;
        Ok(rung)
    }

    /// Reads what happened to containers since the last look.
    fn happened(&mut self) -> anyhow::Result<Vec<Happening>> {
        let batch = self.events.read(self.position, BATCH)?;
        let mut happened = Vec::new();
        for (after, line) in batch.events {
            self.position = after;
            happened.extend(serde_json::from_slice::<Value>(&line).ok().as_ref().and_then(Happening::read));
        }
        Ok(happened)
    }

    /// Notes what happened: who joins, what is told, what is printed.
    fn take_in(
        &mut self,
        happening: &Happening,
        told: &mut Vec<Told>,
        statuses: &mut Vec<(i64, Label, String)>,
    ) -> anyhow::Result<()> {
        let id = happening.id;
        if happening.action == "start" {
            self.take_in_start(happening, statuses)?;
        }
        let Some(speaker) = self.speakers.get_mut(&id) else { return Ok(()) };
        let definition = Box::new(speaker.definition.clone());
        match &*happening.action {
            "start" => {
                speaker.lane.source.go_on(self.engine, &definition)?;
                // Its monitor tells of its end at once, who started it of that only then: of one that ended first the end was told.
                let runs = self.engine.observe(&definition).is_ok_and(|observed| observed.state.is_active());
                if runs {
                    told.push(Told::Started(definition));
                }
            }
            "die" => {
                speaker.lane.source.end();
                // One that is gone already is not started again.
                let restarts =
                    self.engine.observe(&definition).is_ok_and(|observed| observed.state.is_active());
                let code = happening.code;
                let more = if restarts { " (restarting)" } else { "" };
                statuses.push((happening.time, speaker.label, format!("exited with code {code}{more}")));
                told.push(Told::Exited { definition, code, restarts });
            }
            "destroy" => told.push(Told::Removed(definition)),
            _ => {}
        }
        Ok(())
    }

    /// Lets a container join that was started, if it is to.
    fn take_in_start(
        &mut self,
        happening: &Happening,
        statuses: &mut Vec<(i64, Label, String)>,
    ) -> anyhow::Result<()> {
        if self.speakers.contains_key(&happening.id) {
            return Ok(());
        }
        // One that is gone already has nothing to say.
        let Ok(definition) = self.engine.find(&happening.id.to_string()) else { return Ok(()) };
        let Some(part) = (self.joins)(&definition) else { return Ok(()) };
        // Of one that was there before, only what this run wrote.
        let since = (definition.created < self.began).then(|| {
            let observed = self.engine.observe(&definition).ok();
            let started = observed.and_then(|observed| observed.state.run().map(|run| run.started));
            started.map_or(happening.time, nanoseconds)
        });
        let voice = match part {
            Part::Shown => Voice::live(self.engine, &definition, Filter { since, ..Filter::default() })?,
            Part::Awaited => Voice::silent(),
        };
        let replaced = definition.labels.contains_key(key::REPLACE);
        self.add(&definition, voice);
        if replaced && let Some(speaker) = self.speakers.get(&definition.id) {
            statuses.push((happening.time, speaker.label, "has been recreated".to_owned()));
        }
        Ok(())
    }

    /// Watches the folders of logs. They may come only with the container's start.
    fn watch_folders(&mut self) {
        let wanted = Wanted::MODIFY | Wanted::CREATE | Wanted::MOVED_TO;
        for speaker in self.speakers.values_mut() {
            if let Some(folder) = speaker.lane.source.unwatched()
                && self.notices.add(folder, wanted).is_ok()
            {
                speaker.lane.source.watched();
            }
        }
    }

    /// Prints every line up to a moment, and what became of containers between them.
    fn turn(&mut self, until: Until, statuses: &[(i64, Label, String)]) -> anyhow::Result<()> {
        let mut sink = Sink::default();
        let mut statuses = statuses.iter().peekable();
        let printer = &self.printer;
        let lanes = self.speakers.values_mut().map(|speaker| (speaker.label, &mut speaker.lane));
        merge::<_, _, anyhow::Error>(lanes, until, now, |label, line| {
            while let Some((_, label, text)) = statuses.next_if(|(time, ..)| *time < line.time) {
                sink.out()?.extend_from_slice(printer.status(*label, text).as_bytes());
            }
            let held = if printer.is_error(&line) { sink.err() } else { sink.out() }?;
            printer.line(label, &line, held);
            Ok(())
        })?;
        for (_, label, text) in statuses {
            sink.out()?.extend_from_slice(printer.status(*label, text).as_bytes());
        }
        Ok(sink.flush()?)
    }

    /// Waits until there is more, or a moment has come.
    fn wait(&self, until: Option<Timestamp>) -> anyhow::Result<()> {
        let left = until.map(|until| {
            let left = Duration::try_from(until.duration_since(Timestamp::now())).unwrap_or_default();
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() }
        });
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.notices.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.door.as_fd(), PollFlags::IN),
        ];
        fds.extend(
            self.speakers
                .values()
                .filter_map(|speaker| speaker.lane.source.stream())
                .map(|stream| PollFd::from_borrowed_fd(stream, PollFlags::IN)),
        );
        match poll(&mut fds, left.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(errno).context("failed to wait for output"),
        }
    }
}

impl Happening {
    fn read(event: &Value) -> Option<Self> {
        (event["type"] == "container").then_some(())?;
        Some(Self {
            time: event["time_nano"].as_i64()?,
            id: event["id"].as_str()?.parse().ok()?,
            action: event["action"].as_str()?.to_owned(),
            code: event["attributes"]["exitCode"].as_str().and_then(|code| code.parse().ok()).unwrap_or(0),
        })
    }
}

/// Returns what a container is called in output: without its project, where its name is made of it.
pub(crate) fn shown_name(definition: &Definition) -> String {
    let label = |key: &str| definition.labels.get(key).map(String::as_str).unwrap_or_default();
    short_name(definition.name.as_str(), label(key::PROJECT), label(key::SERVICE), label(key::NUMBER))
}

/// Returns a name without the project in front of it, unless somebody chose the name.
pub(super) fn short_name(name: &str, project: &str, service: &str, number: &str) -> String {
    let own = format!("{service}-{number}");
    let full = format!("{project}-{own}");
    // One that takes another's place bears the beginning of the other's id in front of its name until then.
    let last = name.split_once('_').filter(|(id, _)| id.len() == 12).map_or(name, |(_, rest)| rest);
    if name == full || last == full { own } else { name.to_owned() }
}

fn nanoseconds(moment: Timestamp) -> i64 {
    i64::try_from(moment.as_nanosecond()).unwrap_or(i64::MAX)
}

fn now() -> i64 {
    nanoseconds(Timestamp::now())
}
