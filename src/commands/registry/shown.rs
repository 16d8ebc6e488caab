//! Documents of registries with the fields of OCI's specification, in its order: what programs that know these fields print of
//! what they read.

use std::collections::BTreeMap;

use rbuild_image::manifest::{Descriptor, Index};
use serde_json::{Map, Value, json};

const DESCRIPTOR: &[&str] =
    &["mediaType", "digest", "size", "urls", "annotations", "data", "platform", "artifactType"];
/// As [`DESCRIPTOR`], in the order of Docker's lists.
const LISTED: &[&str] = &["mediaType", "size", "digest", "urls", "platform"];
const PLATFORM: &[&str] = &["architecture", "os", "os.version", "os.features", "variant"];
const IMAGE: &[&str] = &[
    "created",
    "author",
    "architecture",
    "os",
    "os.version",
    "os.features",
    "variant",
    "config",
    "rootfs",
    "history",
];
const CONFIG: &[&str] = &[
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
    "Labels",
    "StopSignal",
    "ArgsEscaped",
];
const ROOT: &[&str] = &["type", "diff_ids"];
const HISTORY: &[&str] = &["created", "created_by", "author", "comment", "empty_layer"];

/// Returns an index, and what names it.
pub(super) fn index(index: &Index, media_type: &str, named: &Descriptor) -> Value {
    let mut value = json!({
        "schemaVersion": index.schema_version,
        "mediaType": media_type,
        "digest": named.digest,
        "size": named.size,
        "manifests": index.manifests.iter().map(descriptor).collect::<Vec<_>>(),
    });
    if !index.annotations.is_empty() {
        value["annotations"] = json!(index.annotations);
    }
    value
}

/// Returns what names a manifest.
pub(super) fn descriptor(entry: &Descriptor) -> Value {
    of_entry(entry, DESCRIPTOR)
}

/// Returns what names a manifest in a list, in the order of Docker's.
pub(super) fn listed(entry: &Descriptor) -> Value {
    of_entry(entry, LISTED)
}

fn of_entry(entry: &Descriptor, fields: &[&str]) -> Value {
    let mut value = picked(&json!(entry), fields);
    if let Some(platform) = value.get_mut("platform") {
        *platform = picked(platform, PLATFORM);
    }
    value
}

/// Returns the config of an image.
pub(super) fn image(config: &Value) -> Value {
    if !config.is_object() {
        return config.clone();
    }
    let mut inner = picked(config.get("config").unwrap_or(&Value::Null), CONFIG);
    for field in ["ExposedPorts", "Volumes", "Labels"] {
        inner.get_mut(field).into_iter().for_each(Value::sort_all_objects);
    }
    let mut config = config.clone();
    // It is there also where nothing is in it.
    config["config"] = json!({ "": null });
    let mut value = picked(&config, IMAGE);
    value["config"] = inner;
    if let Some(root) = value.get_mut("rootfs") {
        *root = picked(root, ROOT);
    }
    for entry in value.get_mut("history").and_then(Value::as_array_mut).into_iter().flatten() {
        *entry = picked(entry, HISTORY);
        entry.get_mut("created").into_iter().for_each(shorten);
    }
    value.get_mut("created").into_iter().for_each(shorten);
    value
}

/// Returns the configs of an index, by platform: in the order of their names as texts. What is for one platform needs no name
/// of it.
pub(super) fn images(mut all: BTreeMap<String, Value>) -> Value {
    match all.len() {
        0 => Value::Null,
        1 => all.pop_first().map_or(Value::Null, |(_, only)| only),
        _ => all.into_iter().collect::<Map<_, _>>().into(),
    }
}

/// Returns those fields of an object that say something, in an order.
fn picked(value: &Value, fields: &[&str]) -> Value {
    let says_something = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    };
    let found = fields.iter().filter_map(|field| {
        let value = value.get(*field).filter(|value| says_something(value))?;
        Some(((*field).to_owned(), value.clone()))
    });
    found.collect::<Map<_, _>>().into()
}

/// Writes a time without what says nothing: zeros at the end of a fraction, and UTC as an offset.
fn shorten(time: &mut Value) {
    let Some(text) = time.as_str() else { return };
    let (local, zone) = match text.rfind(['Z', '+']).or_else(|| text.rfind('-').filter(|at| *at > 10)) {
        Some(at) => text.split_at(at),
        None => return,
    };
    let local = if local.contains('.') { local.trim_end_matches('0').trim_end_matches('.') } else { local };
    let zone = if matches!(zone, "+00:00" | "-00:00") { "Z" } else { zone };
    *time = format!("{local}{zone}").into();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configs_have_the_fields_of_the_specification_in_its_order() {
        let config: Value = serde_json::from_str(
            r#"{"architecture":"amd64","config":{"Hostname":"","Env":["A=b"],"Cmd":["sh"],"Image":"sha256:abc","Volumes":null,
                "Labels":{"z":"1","a":"2"},"Healthcheck":{"Test":["NONE"]},"ArgsEscaped":true},"container":"abc",
                "container_config":{"Hostname":"x"},"created":"2020-01-02T03:04:05.100000000+02:00","docker_version":"18.06",
                "author":"me","history":[{"created":"2020-01-02T03:04:05.000000000Z","created_by":"x","author":"q","xx":1}],
                "os":"linux","os.version":"1.2","os.features":["f"],"variant":"v2",
                "rootfs":{"type":"layers","diff_ids":["sha256:84"]},"moby.buildkit.x":"1"}"#,
        )
        .unwrap();
        // What buildx 0.29 prints of it.
        let expected = concat!(
            r#"{"created":"2020-01-02T03:04:05.1+02:00","author":"me","architecture":"amd64","os":"linux","os.version":"1.2","#,
            r#""os.features":["f"],"variant":"v2","config":{"Env":["A=b"],"Cmd":["sh"],"Labels":{"a":"2","z":"1"},"#,
            r#""ArgsEscaped":true},"rootfs":{"type":"layers","diff_ids":["sha256:84"]},"#,
            r#""history":[{"created":"2020-01-02T03:04:05Z","created_by":"x","author":"q"}]}"#
        );
        assert_eq!(image(&config).to_string(), expected);
        assert_eq!(image(&json!({ "os": "linux" })).to_string(), r#"{"os":"linux","config":{}}"#);
        assert_eq!(image(&json!(["linux"])).to_string(), r#"["linux"]"#);
    }

    #[test]
    fn platforms_stand_in_the_order_of_texts() {
        let of = |names: &[&str]| {
            images(names.iter().map(|name| ((*name).to_owned(), json!(name))).collect()).to_string()
        };
        assert_eq!(of(&[]), "null");
        assert_eq!(of(&["linux/amd64"]), r#""linux/amd64""#);
        assert_eq!(
            of(&["linux/arm64", "linux/arm/v7", "linux/amd64"]),
            r#"{"linux/amd64":"linux/amd64","linux/arm/v7":"linux/arm/v7","linux/arm64":"linux/arm64"}"#
        );
    }

    #[test]
    fn times_are_written_as_short_as_they_are() {
        for (time, short) in [
            ("2020-01-02T03:04:05Z", "2020-01-02T03:04:05Z"),
            ("2020-01-02T03:04:50Z", "2020-01-02T03:04:50Z"),
            ("2020-01-02T03:04:05.120Z", "2020-01-02T03:04:05.12Z"),
            ("2020-01-02T03:04:05.000+00:00", "2020-01-02T03:04:05Z"),
            ("2020-01-02T03:04:05.5-03:30", "2020-01-02T03:04:05.5-03:30"),
            ("yesterday", "yesterday"),
        ] {
            let mut value = json!(time);
            shorten(&mut value);
            assert_eq!(value, short);
        }
    }
}
