//! What happened to containers, told to whoever reads the store's events.
//!
//! An event is a line of JSON: `{"type":"container","action":"start","id":"…","attributes":{…},"time_nano":N}`. Monitors
//! write what happens while nobody watches; the engine writes what somebody asked for.

use std::collections::BTreeMap;

use rbuild_model::container::Definition;

use crate::engine::Engine;

impl Engine {
    /// Tells of something that happened to a container.
    pub(super) fn tell(&self, definition: &Definition, action: &str, extra: &[(&str, String)]) {
        let mut attributes = attributes(definition);
        attributes.extend(extra.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        self.tell_of("container", action, &definition.id.to_string(), &attributes);
    }

    /// Tells of something that happened to anything.
    pub(crate) fn tell_of(&self, kind: &str, action: &str, id: &str, attributes: &BTreeMap<String, String>) {
        crate::event::append(&self.parts.store, kind, action, id, attributes);
    }
}

/// Returns what every event of a container has: its labels, its image, its name.
pub(super) fn attributes(definition: &Definition) -> BTreeMap<String, String> {
    let mut attributes = definition.labels.clone();
    attributes.insert("image".to_owned(), definition.image.reference.clone());
    attributes.insert("name".to_owned(), definition.name.to_string());
    attributes
}
