//! Whose output an attached `up` shows, and the line that says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Once;

use rbuild_engine::projects::labels::key;
use rbuild_engine::projects::{Act, Happening, HookPlace, Operation, Phase, Startable, Watcher};
use rbuild_model::container::{ContainerId, Definition};

use super::super::board::{Board, Stage};
use super::super::making::Prepared;
use super::super::output::{Door, short_name};
use super::super::project::Handle;
use super::menu::Menu;
use crate::cli::compose::up::Up;
use crate::commands::Context;
use crate::flags::Mode;
use crate::report::Mistake;

/// The services whose output is shown.
pub(super) fn attached(handle: &Handle, up: &Up) -> anyhow::Result<BTreeSet<String>> {
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
    if !up.attach.is_empty() {
        return Ok(up.attach.iter().filter(|name| !up.no_attach.contains(name)).cloned().collect());
    }
    let named = if up.services.is_empty() || up.attach_dependencies { &all } else { &up.services };
    Ok(named.iter().filter(|name| !up.no_attach.contains(name) && shown(name)).cloned().collect())
}

/// The names of those whose output is shown of what a plan starts or finds, sorted.
pub(super) fn names(prepared: &Prepared, handle: &Handle, attached: &BTreeSet<String>) -> Vec<String> {
    let project = handle.meant.name.as_str();
    let started = prepared.plan.operations.iter().filter_map(|planned| match &planned.operation {
        Operation::Start(Startable::Existing(there)) => Some((&there.service[..], &there.name, there.number)),
        Operation::Start(Startable::New(new)) => Some((new.service.as_str(), &new.name, new.number)),
        _ => None,
    });
    let kept = prepared.plan.kept.iter().map(|kept| (&kept.service[..], &kept.name, kept.number));
    let shown = started.chain(kept).filter(|(service, ..)| attached.contains(*service));
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
    pub(super) attached: &'a BTreeSet<String>,
    pub(super) menu: Option<&'a Menu>,
    pub(super) watching: Mode,
    pub(super) context: &'a Context,
}

impl Header<'_> {
    /// Shows what runs already and stays, and listens to those of it whose output is shown; these are returned.
    pub(super) fn keep(&self, prepared: &Prepared) -> anyhow::Result<BTreeMap<ContainerId, String>> {
        let mut running = BTreeMap::new();
        for kept in &prepared.plan.kept {
            self.board.tell(&format!("Container {}", kept.name), "Running", Stage::Done);
            let definition = self.handle.engine.find(&kept.id.to_string())?;
            if self.attached.contains(&kept.service) {
                self.door.join_live(&self.handle.engine, &definition)?;
                running.insert(kept.id, kept.service.clone());
            }
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
        if definition.labels.get(key::SERVICE).is_some_and(|service| self.attached.contains(service)) {
            // One that cannot be listened to is started all the same; it joins by its log.
            let _ = self.door.join_live(&self.handle.engine, definition);
        }
    }

    fn said(&self, hook: &HookPlace, output: &[u8]) {
        if self.attached.contains(&hook.service) {
            self.show();
            self.door.say(&hook.to_string(), output);
        }
    }
}
