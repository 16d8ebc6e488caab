//! What a build leaves for `why` and for the next build of its project: for every step, how far it came.

use std::time::Duration;

use rbuild_cache::records::builds::{BuildResult, LineageLine, NewBuild, Tried};
use rbuild_model::event::Event;
use rbuild_model::graph::{Graph, StepId};
use rbuild_solver::{Origin, StepKeys};

use super::Whole;
use crate::drive::Reached;
use crate::worker::Worker;

/// What a build leaves for its history: for every step, how far it came.
pub(super) struct Remembered {
    reached: Vec<Reached>,
    /// The step that failed in the last attempt, and what its keys are made of.
    failed: Option<(StepId, StepKeys)>,
}

impl Remembered {
    /// Begins with no step having come anywhere.
    pub(super) fn new(graph: &Graph) -> Self {
        Self { reached: vec![Reached::default(); graph.len()], failed: None }
    }

    /// Adds what came of one attempt. A step that an earlier attempt ran did run, though it was then found.
    pub(super) fn add(&mut self, reached: &[Reached], failed: Option<(StepId, StepKeys)>) {
        self.failed = failed;
        for (known, new) in self.reached.iter_mut().zip(reached) {
            let ran = matches!((known.origin, new.origin), (Some(Origin::Ran(_)), Some(Origin::Found(_))));
            let origin = if ran { known.origin } else { new.origin.or(known.origin) };
            *known = Reached { origin, record: new.record.or(known.record) };
        }
    }
}

impl Worker {
    /// Writes the build of a target into the history of its project; that this fails only costs the history.
    pub(super) fn remember(
        &self,
        whole: &Whole<'_>,
        at: usize,
        history: &Remembered,
        wall: Duration,
        took: Duration,
        result: BuildResult,
    ) {
        let Whole { graph, targets, wanted, .. } = *whole;
        let request = &targets[at].request;
        let ids: Vec<StepId> = graph
            .steps()
            .map(|(id, _)| id)
            .filter(|id| targets.len() == 1 || wanted.is_wanted_by(*id, at))
            .collect();
        let tried = history.failed.as_ref().and_then(|(failed, keys)| {
            keys.canonical()?;
            let line = ids.iter().position(|id| id == failed)?;
            Some(Tried { line, keys: keys.clone() })
        });
        let lineage = ids
            .into_iter()
            .map(|id| {
                let note = graph.note(id);
                let Reached { origin, record } = history.reached[id.index()];
                LineageLine {
                    stage: note.stage.clone().unwrap_or_default(),
                    note: note.kept_name().to_owned(),
                    record,
                    origin,
                }
            })
            .collect();
        let build = NewBuild {
            project: request.project.clone(),
            target: request.options.target.clone().unwrap_or_default(),
            started: i128::try_from(wall.as_nanos()).unwrap_or(i128::MAX),
            took,
            result,
            lineage,
            tried,
        };
        if let Err(error) = self.records.remember_build(&build) {
            whole.tasks.events().event(Event::Note(format!("failed to remember the build: {error}")));
        }
    }
}
