//! What a monitor tells the world: lines in the store's events.
//!
//! Told are only things that no command is there to tell: the end of a program, its start by a policy, its health, the volumes
//! that it has meanwhile, the networks that it leaves with its program.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rbuild_model::container::ContainerId;
use rbuild_network::duty::Left;
use rbuild_store::events::Events;
use serde::Serialize;

use crate::plan::VolumeUse;

/// One event, in the form that is kept.
#[derive(Debug, Serialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    action: &'a str,
    id: &'a str,
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
        let attributes = attributes.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let attributes = attributes.chain(more.iter().copied()).collect();
        self.append("container", action, &self.id.to_string(), attributes);
    }

    /// Tells that the container has a volume from now on.
    pub(crate) fn tell_mount(&self, volume: &VolumeUse) {
        let VolumeUse { name, driver, target, read_only } = volume;
        let writes = if *read_only { "false" } else { "true" };
        let container = self.id.to_string();
        let attributes = [
            ("container", &*container),
            ("destination", target),
            ("driver", driver),
            ("propagation", ""),
            ("read/write", writes),
        ];
        self.append("volume", "mount", name, attributes.into());
    }

    /// Tells that the container has a volume no more.
    pub(crate) fn tell_unmount(&self, volume: &VolumeUse) {
        let container = self.id.to_string();
        let attributes = [("container", &*container), ("driver", &*volume.driver)];
        self.append("volume", "unmount", &volume.name, attributes.into());
    }

    /// Tells that the container is in a network no more.
    pub(crate) fn tell_disconnect(&self, network: &Left) {
        let container = self.id.to_string();
        let attributes =
            [("container", &*container), ("name", &*network.name), ("type", network.driver.word())];
        self.append("network", "disconnect", network.id.as_str(), attributes.into());
    }

    fn append(&self, kind: &'static str, action: &str, id: &str, attributes: BTreeMap<&str, &str>) {
        let Some(events) = &self.events else { return };
        let time_nano = jiff::Timestamp::now().as_nanosecond();
        if let Ok(text) = serde_json::to_vec(&Line { kind, action, id, attributes, time_nano }) {
            let _ = events.append(&text);
        }
    }
}
