//! The description of an image as `docker inspect` prints it.

use rbuild_model::digest::ImageId;
use rbuild_model::platform::Platform;
use rbuild_model::reference::Reference;
use serde_json::{Value, json};

use crate::error::ImagesError;
use crate::images::Images;

impl Images {
    /// Returns the description of an image in the form of the Engine API.
    pub fn inspect(&self, id: ImageId) -> Result<Value, ImagesError> {
        let image = self.get(id)?.ok_or_else(|| ImagesError::NotFound(id.to_string()))?;
        let raw: Value = serde_json::from_slice(&image.config_bytes).map_err(|error| {
            ImagesError::Config(id.to_string(), rbuild_image::manifest::JsonError::Syntax(error))
        })?;
        let text = |name: &str| raw.get(name).and_then(Value::as_str).unwrap_or_default();
        let familiar = |names: &[Reference]| names.iter().map(Reference::familiar).collect::<Vec<_>>();
        let comment = image.config.history.last().and_then(|act| act.comment.clone()).unwrap_or_default();
        let tagged = image
            .last_named
            .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
            .map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |time| time.to_string());
        let mut shown = json!({
            "Id": id.to_string(),
            "RepoTags": familiar(&image.tags),
            "RepoDigests": image
                .digests
                .iter()
                .filter_map(|name| Some(format!("{}@{}", name.familiar_name(), name.digest()?)))
                .collect::<Vec<_>>(),
            "Parent": image.parent.map_or_else(String::new, |parent| parent.to_string()),
            "Comment": comment,
            "Created": image.config.created.clone().unwrap_or_else(|| "0001-01-01T00:00:00Z".to_owned()),
            "DockerVersion": text("docker_version"),
            "Author": text("author"),
            "Config": run_config(raw.get("config")),
            "Architecture": text("architecture"),
            "Os": text("os"),
            "Size": image.size,
            "GraphDriver": {"Data": null, "Name": self.snapshotter.format()},
            "RootFS": {"Type": "layers", "Layers": image.config.rootfs.diff_ids},
            "Metadata": {"LastTagTime": tagged},
        });
        if let Some(index) = image.indexes.first() {
            shown["Manifests"] = index
                .members
                .iter()
                .map(|member| {
                    let Platform { os, architecture, variant } = &member.platform;
                    let mut platform = json!({"architecture": architecture, "os": os});
                    if !variant.is_empty() {
                        platform["variant"] = variant.as_str().into();
                    }
                    json!({
                        "ID": member.image.to_string(),
                        "Kind": "image",
                        "Available": true,
                        "ImageData": {"Platform": platform},
                    })
                })
                .collect();
        }
        for (key, name) in [("Variant", "variant"), ("OsVersion", "os.version")] {
            if !text(name).is_empty() {
                shown[key] = text(name).into();
            }
        }
        Ok(shown)
    }
}

/// Fills in the fields that clients expect whether the config has them or not.
fn run_config(config: Option<&Value>) -> Value {
    let mut shown = config.filter(|config| config.is_object()).cloned().unwrap_or_else(|| json!({}));
    for (key, absent) in [
        ("User", json!("")),
        ("Env", Value::Null),
        ("Cmd", Value::Null),
        ("Volumes", Value::Null),
        ("WorkingDir", json!("")),
        ("Entrypoint", Value::Null),
        ("OnBuild", Value::Null),
        ("Labels", Value::Null),
    ] {
        if shown.get(key).is_none() {
            shown[key] = absent;
        }
    }
    shown
}
