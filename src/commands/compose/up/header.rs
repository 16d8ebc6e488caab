//! Whose output an attached `up` shows, and the line that says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Once;

use rbuild_engine::projects::labels::key;
use rbuild_engine::projects::{Act, Happening, HookPlace, Operation, Phase, Startable, Watcher};
use rbuild_model::container::{ContainerId, Definition};

use super::super::board::{Board, Stage};
use super::super::making::Prepared;
use super::super::output::{Door, Part, short_name};
use super::super::project::Handle;
use super::menu::Menu;
use crate::cli::compose::up::Up;
use crate::commands::Context;
use crate::flags::Mode;
use crate::report::Mistake;

/// Which services `up` is about while it is in the foreground.
#[derive(Debug)]
pub(super) struct Cast {
    /// Those whose output is shown.
    pub(super) shown: BTreeSet<String>,
    /// Those that it ends with, and whose ends may end it: what was named, or what is shown.
    pub(super) awaited: BTreeSet<String>,
}

impl Cast {
    /// How containers of a service take part.
    pub(super) fn part(&self, service: &str) -> Option<Part> {
        match (self.shown.contains(service), self.awaited.contains(service)) {
            (true, _) => Some(Part::Shown),
            (false, true) => Some(Part::Awaited),
            (false, false) => None,
        }
    }
}

/// Returns which services `up` is about.
pub(super) fn cast(handle: &Handle, up: &Up) -> anyhow::Result<Cast> {
    let model = &handle.meant.model;
    let shown = |name: &str| model.services.get(name).is_none_or(|service| service.attach);
    let all: Vec<String> = model.services.keys().map(ToString::to_string).collect();
    for name in up.attach.iter().chain(&up.exit_code_from) {
        if !all.contains(name) {
            let text = match up.exit_code_from.as_ref() == Some(name) {
                true => format!("no such service: {name}"),
                false => format!("cannot attach to services not included in up: {name}"),
            };
            return Err(Mistake::new(text).into());
        }
    }
    let named = if up.services.is_empty() || up.attach_dependencies { &all } else { &up.services };
    let mut chosen: BTreeSet<String> = match up.attach.is_empty() {
        true => named.iter().filter(|name| shown(name)).cloned().collect(),
        false => up.attach.iter().cloned().collect(),
    };
    // Where none is to be shown, `attach: false` tells none from another.
    if chosen.is_empty() {
        chosen.extend(all);
    }
    let mut awaited: BTreeSet<String> = up.services.iter().cloned().collect();
    if awaited.is_empty() {
        awaited.extend(chosen.iter().filter(|name| !up.no_attach.contains(name)).cloned());
    }
    if awaited.is_empty() {
        awaited.clone_from(&chosen);
    }
    chosen.retain(|name| !up.no_attach.contains(name));
    Ok(Cast { shown: chosen, awaited })
}

/// The names of those whose output is shown of what a plan starts or finds, sorted.
pub(super) fn names(prepared: &Prepared, handle: &Handle, cast: &Cast) -> Vec<String> {
    let project = handle.meant.name.as_str();
    let started = prepared.plan.operations.iter().filter_map(|planned| match &planned.operation {
        Operation::Start(Startable::Existing(there)) => Some((&there.service[..], &there.name, there.number)),
        Operation::Start(Startable::New(new)) => Some((new.service.as_str(), &new.name, new.number)),
        _ => None,
    });
    let kept = prepared.plan.kept.iter().map(|kept| (&kept.service[..], &kept.name, kept.number));
    let shown = started.chain(kept).filter(|(service, ..)| cast.shown.contains(*service));
    let sorted: BTreeSet<String> = shown
        .map(|(service, name, number)| short_name(name, project, service, &number.to_string()))
        .collect();
    sorted.into_iter().collect()
}

/// Says once whose output follows, before anything is started; from then on only failures are told beside it.
pub(super) struct Header<'a> {
    pub(super) handle: &'a Handle,
    pub(super) board: &'a Board,
    pub(super) door: Door,
    pub(super) once: Once,
    pub(super) names: Vec<String>,
    pub(super) cast: &'a Cast,
    pub(super) menu: Option<&'a Menu>,
    pub(super) watching: Mode,
    pub(super) context: &'a Context,
}

impl Header<'_> {
    /// Shows what runs already and stays, and listens to those of it that this is about; these are returned.
    pub(super) fn keep(&self, prepared: &Prepared) -> anyhow::Result<BTreeMap<ContainerId, String>> {
        let mut running = BTreeMap::new();
        for kept in &prepared.plan.kept {
            self.board.tell(&format!("Container {}", kept.name), "Running", Stage::Done);
            let definition = self.handle.engine.find(&kept.id.to_string())?;
            match self.cast.part(&kept.service) {
                Some(Part::Shown) => self.door.join_live(&self.handle.engine, &definition)?,
                Some(Part::Awaited) => self.door.await_end(&definition),
                None => continue,
            }
            running.insert(kept.id, kept.service.clone());
        }
        Ok(running)
    }

    /// Says whose output follows, if nobody has yet.
    pub(super) fn show(&self) {
        self.once.call_once(|| {
            self.board.leave();
            if !self.names.is_empty() {
                // Nobody can be told that nobody reads.
                let _ = self.context.terminal.print(&format!("Attaching to {}\n", self.names.join(", ")));
            }
            if let Some(menu) = self.menu {
                menu.show(self.watching, self.context);
            }
        });
    }
}

impl Watcher for Header<'_> {
    fn happened(&self, happening: Happening) {
        let is_loud = matches!(
            happening.phase,
            Phase::Failed(_) | Phase::Skipped(_) | Phase::InUse(_) | Phase::Note(_)
        );
        let starts = matches!(happening.phase, Phase::Begun(Act::Start) | Phase::Done(Act::Start));
        if is_loud || !(starts || self.once.is_completed()) {
            self.board.happened(happening);
        } else {
            self.board.trace(happening);
        }
    }

    fn will_start(&self, definition: &Definition) {
        self.show();
        match definition.labels.get(key::SERVICE).and_then(|service| self.cast.part(service)) {
            // One that cannot be listened to is started all the same; it joins by its log.
            Some(Part::Shown) => drop(self.door.join_live(&self.handle.engine, definition)),
            Some(Part::Awaited) => self.door.await_end(definition),
            None => {}
        }
    }

    fn said(&self, hook: &HookPlace, output: &[u8]) {
        if self.cast.shown.contains(&hook.service) {
            self.show();
            self.door.say(&hook.to_string(), output);
        }
    }
}
