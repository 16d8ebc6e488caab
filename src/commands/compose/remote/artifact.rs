//! A project as an artifact of a registry: a layer for each file.
//!
//! Layers that are no base of another one lie over each other as the documents of one file; what they extend and their env
//! files lie beside it, under names without folders.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rbuild_image::manifest::{Descriptor, Document, Manifest};
use rbuild_model::reference::Reference;

use crate::report::Mistake;
use crate::settings::Settings;

/// What an artifact is that holds a project.
pub(in super::super) const PROJECT: &str = "application/vnd.docker.compose.project";
/// A layer that is a file of it.
pub(in super::super) const FILE: &str = "application/vnd.docker.compose.file+yaml";
/// A layer with variables.
pub(in super::super) const ENV_FILE: &str = "application/vnd.docker.compose.envfile";
/// The config where the manifest does not say what it is.
pub(in super::super) const OLD_CONFIG: &str = "application/vnd.docker.compose.config.empty.v1+json";
/// The config where it does.
pub(in super::super) const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// The file that the others belong to.
const MAIN: &str = "compose.yaml";
/// The most layers that are read: nobody writes more, and each is a request.
const MOST: usize = 256;

/// Returns where the file of an artifact lies in a folder, having brought it.
pub(super) fn bring(name: &str, folder: &Path, settings: &Settings) -> anyhow::Result<PathBuf> {
    let reference: Reference =
        name.parse().map_err(|error| Mistake::new(format!("`oci://{name}`: {error}")))?;
    let reference = reference.with_default_tag();
    let remote = crate::wiring::logins::remote(settings)?;
    let failed = || format!("failed to pull OCI resource {:?}", reference.familiar());
    let fetched = remote.document(&reference).with_context(failed)?;
    let place = folder.join(fetched.digest.hex());
    let main = place.join(MAIN);
    if main.is_file() {
        return Ok(main);
    }
    let manifest = match &fetched.document {
        Document::Manifest(manifest) if is_project(manifest) => manifest,
        _ => {
            let what = format!("{} is not a compose project OCI artifact", reference.familiar());
            return Err(Mistake::new(what).into());
        }
    };
    if manifest.layers.len() > MOST {
        return Err(Mistake::new(format!("{} has more than {MOST} layers", reference.familiar())).into());
    }
    let mut layers = Vec::new();
    for layer in &manifest.layers {
        if matches!(layer.media_type.as_str(), FILE | ENV_FILE) {
            layers.push((layer, remote.blob(&reference, layer).with_context(failed)?));
        }
    }
    let files = files(&layers).with_context(failed)?;
    keep(&files, &place).with_context(|| format!("failed to write {}", place.display()))?;
    Ok(main)
}

fn is_project(manifest: &Manifest) -> bool {
    match manifest.extra.get("artifactType").and_then(|kind| kind.as_str()).filter(|kind| !kind.is_empty()) {
        Some(kind) => kind == PROJECT,
        None => manifest.config.media_type.as_str() == OLD_CONFIG,
    }
}

/// Returns the files that layers come to, by name.
fn files(layers: &[(&Descriptor, Vec<u8>)]) -> Result<BTreeMap<String, Vec<u8>>, Mistake> {
    let mut files = BTreeMap::from([(MAIN.to_owned(), Vec::new())]);
    for (layer, content) in layers {
        let said = |key: &str| layer.annotations.get(key).cloned();
        let beside = match layer.media_type.as_str() {
            ENV_FILE => Some(said("com.docker.compose.envfile").unwrap_or_default()),
            _ => said("com.docker.compose.extends").and(said("com.docker.compose.file")),
        };
        let Some(name) = beside else {
            let main = files.entry(MAIN.to_owned()).or_default();
            if !main.is_empty() {
                main.extend_from_slice(b"\n---\n");
            }
            main.extend_from_slice(content);
            continue;
        };
        // What is written must stay in the folder.
        if matches!(&*name, "" | "." | "..") || name.contains(['/', '\0']) || files.contains_key(&name) {
            return Err(Mistake::new(format!("the name of a file in it is not allowed: {name:?}")));
        }
        files.insert(name, content.clone());
    }
    Ok(files)
}

/// Writes files into a folder, each at once, and the one that the others belong to last: where it is, all are.
fn keep(files: &BTreeMap<String, Vec<u8>>, place: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(place)?;
    let (main, others): (Vec<_>, Vec<_>) = files.iter().partition(|(name, _)| *name == MAIN);
    for (name, content) in others.into_iter().chain(main) {
        let unfinished = place.join(format!(".{}-{name}", std::process::id()));
        let mut file = std::fs::File::create(&unfinished)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(unfinished, place.join(name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(kind: &str, annotations: &[(&str, &str)], content: &str) -> (Descriptor, Vec<u8>) {
        let mut descriptor = Descriptor::of(kind, content.as_bytes());
        let owned = annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        descriptor.annotations = owned.collect();
        (descriptor, content.as_bytes().to_vec())
    }

    fn of(layers: Vec<(Descriptor, Vec<u8>)>) -> Result<Vec<(String, String)>, Mistake> {
        let layers: Vec<_> = layers.iter().map(|(layer, content)| (layer, content.clone())).collect();
        let text = |content: Vec<u8>| String::from_utf8(content).expect("it is text");
        Ok(files(&layers)?.into_iter().map(|(name, content)| (name, text(content))).collect())
    }

    #[test]
    fn files_that_lie_over_each_other_are_one_and_the_others_lie_beside_it() {
        let name = "com.docker.compose.file";
        let files = of(vec![
            layer(FILE, &[(name, "compose.yaml")], "a: 1\n"),
            layer(FILE, &[(name, "base.yaml"), ("com.docker.compose.extends", "true")], "b: 1\n"),
            layer(FILE, &[(name, "image-digests.yaml")], "c: 1\n"),
            layer(ENV_FILE, &[("com.docker.compose.envfile", "x.env")], "E=1\n"),
        ]);
        let expected = [("base.yaml", "b: 1\n"), ("compose.yaml", "a: 1\n\n---\nc: 1\n"), ("x.env", "E=1\n")];
        let expected = expected.map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(files.expect("they are fine"), expected);
    }

    #[test]
    fn no_name_leads_out_of_the_folder_or_over_another_file() {
        for name in ["../x", "/etc/cron.d/x", "a/b", "..", "", "compose.yaml"] {
            let env = layer(ENV_FILE, &[("com.docker.compose.envfile", name)], "");
            assert!(of(vec![env]).is_err(), "{name}");
            let annotations = [("com.docker.compose.extends", "true"), ("com.docker.compose.file", name)];
            assert!(of(vec![layer(FILE, &annotations, "")]).is_err(), "{name}");
        }
    }
}
