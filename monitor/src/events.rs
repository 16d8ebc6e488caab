//! What a monitor tells the world: lines in the store's events.
//!
//! Told are only things that no command is there to tell: the end of a program, its start by a policy, its health.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rbuild_model::container::ContainerId;
use rbuild_store::events::Events;
use serde::Serialize;

/// One event, in the form that is kept.
#[derive(Debug, Serialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    action: &'a str,
    id: String,
    attributes: BTreeMap<&'a str, &'a str>,
    time_nano: i128,
}

/// Where events of one container are told.
#[derive(Debug)]
pub(crate) struct Teller {
    events: Option<Events>,
    id: ContainerId,
}

impl Teller {
    pub(crate) fn new(folder: Option<PathBuf>, id: ContainerId) -> Self {
        Self { events: folder.map(Events::at), id }
    }

    /// Tells what happened. That it could not be told is no reason to stop anything.
    pub(crate) fn tell(&self, action: &str, attributes: &BTreeMap<String, String>, more: &[(&str, &str)]) {
        let Some(events) = &self.events else { return };
        let attributes = attributes.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let line = Line {
            kind: "container",
            action,
            id: self.id.to_string(),
            attributes: attributes.chain(more.iter().copied()).collect(),
            time_nano: jiff::Timestamp::now().as_nanosecond(),
        };
        if let Ok(text) = serde_json::to_vec(&line) {
            let _ = events.append(&text);
        }
    }
}
