//! The form of the files that describe devices: JSON or YAML, of which JSON is a part.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rbuild_model::span::Source;
use serde::Deserialize;
use serde_json::Value;

/// The largest file that is read.
pub(super) const MAX_BYTES: u64 = 4 << 20;

/// One file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    #[serde(rename = "cdiVersion")]
    version: String,
    /// `vendor/class`
    pub(super) kind: String,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) devices: Vec<Device>,
    /// What comes with each of its devices.
    #[serde(default, rename = "containerEdits")]
    pub(super) edits: Edits,
}

/// One device.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Device {
    pub(super) name: String,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default, rename = "containerEdits")]
    pub(super) edits: Edits,
}

/// What a process is given.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub(super) struct Edits {
    /// `NAME=value`
    pub(super) env: Vec<String>,
    pub(super) device_nodes: Vec<Node>,
    /// Interfaces of the network that are moved into it.
    pub(super) net_devices: Vec<Value>,
    pub(super) mounts: Vec<Mount>,
    /// Programs of the host that are run around it.
    pub(super) hooks: Vec<Hook>,
    pub(super) additional_gids: Vec<u32>,
    pub(super) intel_rdt: Option<Value>,
}

/// A device file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Node {
    pub(super) path: PathBuf,
    pub(super) host_path: Option<PathBuf>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) major: Option<u32>,
    pub(super) minor: Option<u32>,
    pub(super) file_mode: Option<u32>,
    /// Of `r`, `w`, `m`.
    pub(super) permissions: Option<String>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

/// A file or folder of the host.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Mount {
    pub(super) host_path: PathBuf,
    pub(super) container_path: PathBuf,
    #[serde(default)]
    pub(super) options: Vec<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
}

/// A program of the host.
#[derive(Debug, Deserialize)]
pub(super) struct Hook {
    #[serde(default)]
    pub(super) path: PathBuf,
}

/// Reads a file's text; says what is wrong with it.
pub(super) fn read(name: &str, text: &str) -> Result<Document, String> {
    let source = Source::new(name, text);
    let value = rbuild_frontend::compose::yaml_value(&source).map_err(|error| error.message)?;
    let document: Document = serde_json::from_value(value).map_err(|error| error.to_string())?;
    document.check()?;
    Ok(document)
}

impl Document {
    fn check(&self) -> Result<(), String> {
        let Self { version, kind, annotations: _, devices, edits: _ } = self;
        let parts: Vec<&str> = version.split('.').collect();
        if parts.len() != 3 || parts[0] != "0" && parts[0] != "1" {
            return Err(format!("`{version}` is no version of the interface that is known"));
        }
        if !is_kind(kind) {
            return Err(format!("`{kind}` is no `vendor/class`"));
        }
        if devices.is_empty() {
            return Err("it has no device".to_owned());
        }
        for (at, Device { name, .. }) in devices.iter().enumerate() {
            if !is_device(name) {
                return Err(format!("`{name}` is no name of a device"));
            }
            if devices[..at].iter().any(|other| other.name == *name) {
                return Err(format!("the device `{name}` is there twice"));
            }
        }
        Ok(())
    }
}

/// Whether a text is the full name of a device: `vendor/class=device`.
pub fn is_qualified(text: &str) -> bool {
    let Some((kind, device)) = text.split_once('=') else { return false };
    is_kind(kind) && is_device(device)
}

/// Whether a text is `vendor/class`.
pub(super) fn is_kind(text: &str) -> bool {
    text.split_once('/').is_some_and(|(vendor, class)| is_vendor(vendor) && is_class(class))
}

/// A vendor: letters, digits, `_`, `-`, `.`; a letter first, and no sign last.
fn is_vendor(text: &str) -> bool {
    is_name(text, "_-.", char::is_ascii_alphabetic)
}

/// A class: letters, digits, `_`, `-`; a letter first, and no sign last.
fn is_class(text: &str) -> bool {
    is_name(text, "_-", char::is_ascii_alphabetic)
}

/// A device: letters, digits, `_`, `-`, `.`, `:`; no sign first or last.
fn is_device(text: &str) -> bool {
    is_name(text, "_-.:", char::is_ascii_alphanumeric)
}

fn is_name(text: &str, signs: &str, first: fn(&char) -> bool) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || signs.contains(c))
        && text.chars().next().is_some_and(|c| first(&c))
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
}
