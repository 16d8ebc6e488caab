//! The graph of steps that a build comes down to.
//!
//! Steps stand in topological order: a step's inputs come before it, by construction. Equal steps are one step,
//! however many lines asked for it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::hash::{BuildHasher as _, Hash, Hasher, RandomState};
use std::sync::Arc;

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
    steps: Vec<Arc<Step>>,
    notes: Vec<StepNote>,
}

impl Graph {
    /// Returns the steps in topological order.
    pub fn steps(&self) -> impl ExactSizeIterator<Item = (StepId, &Step)> {
        self.steps.iter().enumerate().map(|(at, step)| (StepId(at as u32), &**step))
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
    known: HashMap<Known, StepId>,
    hasher: RandomState,
}

/// A step with its hash: most fields of a step are texts, and a table that grows asks again for all hashes.
#[derive(Clone, Debug)]
struct Known {
    hash: u64,
    step: Arc<Step>,
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.step == other.step
    }
}

impl Eq for Known {}

impl Hash for Known {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
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
        let known = Known { hash: self.hasher.hash_one(&step), step: Arc::new(step) };
        match self.known.entry(known) {
            Entry::Occupied(known) => {
                self.graph.notes[known.get().index()].ignore_cache |= note.ignore_cache;
                *known.get()
            }
            Entry::Vacant(free) => {
                let number = u32::try_from(self.graph.steps.len());
                let id = StepId(number.expect("a graph has fewer than 2^32 steps"));
                self.graph.steps.push(Arc::clone(&free.key().step));
                self.graph.notes.push(note);
                *free.insert(id)
            }
        }
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
