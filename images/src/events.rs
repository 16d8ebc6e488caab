//! What happened to images, told to whoever reads the store's events.

use rbuild_model::digest::ImageId;
use rbuild_model::reference::Reference;
use serde_json::json;

use crate::images::Images;
use crate::remove::Removed;

impl Images {
    /// Tells of something that happened to an image: with its labels, and with what it was meant by for a name.
    pub(crate) fn tell(&self, action: &str, image: ImageId, name: &str) {
        let labels = self.config(image).map(|config| config.config.labels).unwrap_or_default();
        let mut attributes = json!(labels);
        attributes["name"] = name.into();
        self.append(action, &image.to_string(), &attributes);
    }

    /// Tells that a name went over a registry.
    pub(crate) fn tell_moved(&self, action: &str, reference: &Reference) {
        let reference = reference.clone().with_default_tag();
        self.append(action, &reference.familiar(), &json!({ "name": reference.familiar_name() }));
    }

    /// Tells what became of an image that was removed: as Docker has it, by its id alone.
    pub(crate) fn tell_removed(&self, image: ImageId, removed: &[Removed]) {
        // The names of an image come before it.
        let mut waiting = 0;
        let tell = |action, image: &ImageId| {
            self.append(action, &image.to_string(), &json!({ "name": image.to_string() }));
        };
        for one in removed {
            match one {
                Removed::Untagged(_) => waiting += 1,
                Removed::Deleted(id) => {
                    (0..waiting).for_each(|_| tell("untag", id));
                    waiting = 0;
                    tell("delete", id);
                }
            }
        }
        (0..waiting).for_each(|_| tell("untag", &image));
    }

    fn append(&self, action: &str, id: &str, attributes: &serde_json::Value) {
        let time_nano = i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
        let event = json!({
            "type": "image", "action": action, "id": id, "attributes": attributes, "time_nano": time_nano,
        });
        // Events are told, not kept: what they tell of has happened, whether or not there is room for the line.
        let _ = self.store.events().append(event.to_string().as_bytes());
    }
}
