//! Transfers of layers as events, so that every display can show them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use rbuild_images::{LayerState, Progress};
use rbuild_model::digest::BlobDigest;
use rbuild_model::event::{Event, Events, Outcome, TaskId, Unit};

/// The one task of a transfer.
pub(super) struct Transfer {
    events: Events,
    task: TaskId,
    begun: Instant,
    sizes: Mutex<HashMap<BlobDigest, u64>>,
}

impl Transfer {
    /// Begins a task.
    pub(super) fn start(events: Events, number: u32, name: String) -> Self {
        let task = TaskId(number);
        events.event(Event::Declared { task, name, stage: None, location: None });
        events.event(Event::Started { task });
        Self { events, task, begun: Instant::now(), sizes: Mutex::default() }
    }

    /// Ends it.
    pub(super) fn finish(self, outcome: Outcome) {
        self.events.event(Event::Finished { task: self.task, outcome, took: self.begun.elapsed() });
    }

    fn got_on(&self, layer: BlobDigest, current: u64, total: u64) {
        let digest = layer.to_string();
        let part = digest.get(..19).unwrap_or(&digest).to_owned();
        self.events.event(Event::Progress {
            task: self.task,
            part,
            current,
            total: Some(total),
            unit: Unit::Bytes,
        });
    }
}

impl Progress for Transfer {
    fn layer(&self, layer: BlobDigest, state: LayerState) {
        let mut sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        match state {
            LayerState::Transferring { current, total } => {
                sizes.insert(layer, total);
                // The last byte is told when the layer is done.
                self.got_on(layer, current.min(total.saturating_sub(1)), total);
            }
            LayerState::Complete | LayerState::Transferred => {
                if let Some(total) = sizes.remove(&layer) {
                    self.got_on(layer, total, total);
                }
            }
            LayerState::AlreadyExists | LayerState::Waiting | LayerState::Unpacking | LayerState::Mounted => {
            }
        }
    }

    fn note(&self, text: &str) {
        self.events.event(Event::Note(text.to_owned()));
    }
}
