//! Looking at trees: each is scanned once a build, and what is selected of it is hashed once.

use std::sync::{Arc, PoisonError};

use rbuild_cache::content::{ContextScan, SelectionHash, TreeSource};
use rbuild_model::graph::StepId;
use rbuild_model::key::ContentHash;
use rbuild_model::snapshot::Chain;
use rbuild_model::step::PathSource;
use rbuild_solver::{RunAsk, Tree};

use super::Runner;
use crate::error::StepError;

/// A tree as a key of what is known about it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum TreeName {
    Chain(Chain),
    Local(String),
}

impl Runner<'_> {
    /// Returns one look at a tree, shared by all who look at it.
    pub(crate) fn scan(&self, tree: &Tree) -> Result<Arc<ContextScan>, StepError> {
        match tree {
            Tree::Local(name) => self.parts.contexts.scan(name),
            Tree::Chain(chain) => {
                let cell = {
                    let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
                    Arc::clone(views.entry(chain.clone()).or_default())
                };
                if let Some(scan) = cell.get() {
                    return Ok(Arc::clone(scan));
                }
                let cancel = self.parts.cancel.clone();
                let scan = ContextScan::new(TreeSource::snapshot(self.parts.worker.view(chain)?))
                    .until(Arc::new(move || cancel.is_cancelled()));
                let scan = Arc::new(scan);
                Ok(Arc::clone(cell.get_or_init(|| scan)))
            }
        }
    }

    /// Returns what a source selects of a tree, hashed once.
    pub(crate) fn selection(&self, tree: &Tree, path: &PathSource) -> Result<Arc<SelectionHash>, StepError> {
        let name = match tree {
            Tree::Chain(chain) => TreeName::Chain(chain.clone()),
            Tree::Local(name) => TreeName::Local(name.clone()),
        };
        let key = (name, path.clone());
        if let Some(known) = self.selections.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Arc::clone(known));
        }
        let hashed = self.scan(tree)?.hash_selection(path).map_err(|error| StepError::Hash(error.into()))?;
        let hashed = Arc::new(hashed);
        self.selections.lock().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::clone(&hashed));
        Ok(hashed)
    }

    /// Forgets what is known of the client's folders: they changed.
    pub(super) fn look_again(&self) {
        self.parts.contexts.forget();
        self.selections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(name, _), _| !matches!(name, TreeName::Local(_)));
    }

    /// Returns the content hashes of everything that a step selects.
    pub(super) fn hashes(&self, step: StepId, inputs: &[Tree]) -> Result<Vec<ContentHash>, StepError> {
        Ok(self.selections(step, inputs)?.iter().map(|(_, content)| content.hash()).collect())
    }

    /// Returns everything that a step selects of its inputs, with the path that it has it by.
    fn selections(
        &self,
        step: StepId,
        inputs: &[Tree],
    ) -> Result<Vec<(String, Arc<SelectionHash>)>, StepError> {
        let step = self.parts.graph.step(step);
        let mut found = Vec::new();
        for (at, tree) in inputs.iter().enumerate() {
            let index = rbuild_model::mount::InputIndex(at as u32);
            for selection in step.operation.selections(index).into_iter().flatten() {
                let content = self.selection(tree, &selection.path)?;
                found.push((selection.path.path, content));
            }
        }
        Ok(found)
    }

    /// Returns what the content key of a step that was done selects, in its order: the record keeps the folders.
    pub(super) fn selected(&self, ask: &RunAsk) -> Result<Vec<(String, Arc<SelectionHash>)>, StepError> {
        let has_content = ask.keys.content.is_some();
        if has_content { self.selections(ask.step, &ask.inputs) } else { Ok(Vec::new()) }
    }
}
