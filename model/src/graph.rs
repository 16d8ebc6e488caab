//! The graph of steps that a build comes down to.
//!
//! Steps stand in topological order: a step's inputs come before it, by construction. Equal steps are one step,
//! however many lines asked for it.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::key::Keyed as _;
use crate::step::{Operation, Step, StepNote};

/// The position of a step in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StepId(pub u32);

impl StepId {
    /// Returns the position as an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A graph of steps, complete and without cycles.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    steps: Vec<Step>,
    notes: Vec<StepNote>,
}

impl Graph {
    /// Returns the steps in topological order.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = (StepId, &Step)> {
        self.steps.iter().enumerate().map(|(at, step)| (StepId(at as u32), step))
    }

    /// Returns a step of this graph.
    pub fn step(&self, id: StepId) -> &Step {
        &self.steps[id.index()]
    }

    /// Returns what is told of a step of this graph.
    pub fn note(&self, id: StepId) -> &StepNote {
        &self.notes[id.index()]
    }

    /// Returns the number of steps.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Returns whether there are no steps.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl fmt::Display for Graph {
    /// Writes one line a step: its number, its inputs, its name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, step) in self.steps() {
            let inputs: Vec<String> = step.inputs.iter().map(|input| input.0.to_string()).collect();
            writeln!(f, "{:3} <- [{}] {}", id.0, inputs.join(" "), self.note(id).name)?;
        }
        Ok(())
    }
}

/// Builds a [`Graph`]; equal steps are added once.
#[derive(Clone, Debug, Default)]
pub struct GraphBuilder {
    graph: Graph,
    known: HashMap<Step, StepId>,
}

impl GraphBuilder {
    /// Starts an empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a step unless an equal one is there, and returns its position. The note of the first one stays, but
    /// whoever asks that earlier results be ignored is heard.
    ///
    /// # Panics
    ///
    /// When an input is not a step of this graph: ids come from `add` alone.
    pub fn add(&mut self, step: Step, note: StepNote) -> StepId {
        assert!(
            step.inputs.iter().all(|input| input.index() < self.graph.steps.len()),
            "an input of {} is not in the graph",
            note.name
        );
        if let Some(id) = self.known.get(&step) {
            self.graph.notes[id.index()].ignore_cache |= note.ignore_cache;
            return *id;
        }
        let id = StepId(u32::try_from(self.graph.steps.len()).expect("a graph has fewer than 2^32 steps"));
        self.known.insert(step.clone(), id);
        self.graph.steps.push(step);
        self.graph.notes.push(note);
        id
    }

    /// Returns how many steps were added.
    pub fn count(&self) -> usize {
        self.graph.len()
    }

    /// Returns a step that was added.
    pub fn step(&self, id: StepId) -> &Step {
        self.graph.step(id)
    }

    /// Ends the building.
    pub fn finish(self) -> Graph {
        self.graph
    }
}

/// Writes an operation's keyed fields as JSON, for tests and for people.
pub fn describe(operation: &Operation) -> String {
    serde_json::to_string(&operation.pre_image()).unwrap_or_default()
}
