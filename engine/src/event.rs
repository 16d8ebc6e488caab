//! What happened, told to whoever reads the store's events.
//!
//! An event is a line of JSON: `{"type":"container","action":"start","id":"…","attributes":{…},"time_nano":N}`.

use std::collections::BTreeMap;

use rbuild_store::Store;
use serde_json::json;

/// Tells of something that happened to anything.
pub(crate) fn append(
    store: &Store,
    kind: &str,
    action: &str,
    id: &str,
    attributes: &BTreeMap<String, String>,
) {
    let time_nano = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
    let event =
        json!({"type": kind, "action": action, "id": id, "attributes": attributes, "time_nano": time_nano});
    // Events are told, not kept: what they tell of has happened, whether or not there is room for the line.
    let _ = store.events().append(event.to_string().as_bytes());
}
