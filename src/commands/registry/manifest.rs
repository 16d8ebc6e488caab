//! `rbuild manifest`: lists of manifests that are put together here and pushed.
//!
//! A list under construction is a file in the folder of Docker's `config.json`, one a list; what goes into it stays at its
//! registry until the list is pushed.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::Context as _;
use base64::Engine as _;
use rbuild_image::distribution::Fetched;
use rbuild_image::manifest::{Descriptor, Document, MediaType};
use rbuild_images::{Entry, ImagesError, Preference, Remote};
use rbuild_model::digest::BlobDigest;
use rbuild_model::reference::Reference;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{named, progress, shown, spool};
use crate::cli::registry::{
    Manifest, ManifestAnnotate, ManifestCreate, ManifestInspect, ManifestPush, ManifestVerb,
};
use crate::commands::{Context, Outcome};
use crate::progress::Mode;
use crate::report::{Mistake, Status};
use crate::wiring::logins::{remote, remote_in_the_clear};

/// A list under construction.
#[derive(Debug, Serialize, Deserialize)]
struct List {
    name: String,
    entries: Vec<Listed>,
}

/// A manifest in it.
#[derive(Debug, Serialize, Deserialize)]
struct Listed {
    name: String,
    descriptor: Descriptor,
}

pub(in crate::commands) fn run(group: &Manifest, context: &Context) -> Outcome {
    match &group.verb {
        ManifestVerb::Inspect(arguments) => inspect(arguments, context),
        ManifestVerb::Create(arguments) => create(arguments, context),
        ManifestVerb::Annotate(arguments) => annotate(arguments, context),
        ManifestVerb::Push(arguments) => push(arguments, context),
        ManifestVerb::Rm(arguments) => {
            for list in &arguments.lists {
                let path = path(&named(list)?, context)?;
                match std::fs::remove_file(&path) {
                    Err(error) if error.kind() == ErrorKind::NotFound => return Err(no_list(list).into()),
                    removed => {
                        removed.with_context(|| format!("failed to remove `{}`", path.display()))?;
                    }
                }
            }
            Ok(Status::Done)
        }
    }
}

fn path(name: &Reference, context: &Context) -> anyhow::Result<PathBuf> {
    let folder = context.settings.docker_config.as_ref().ok_or_else(|| {
        Mistake::new("HOME is not set, so there is no place for lists of manifests")
            .hint("set DOCKER_CONFIG to a folder")
    })?;
    Ok(folder.join("rbuild-manifests").join(file_name(name)))
}

/// Names the file of a list: what people recognise it by, and what tells it from every other.
fn file_name(name: &Reference) -> String {
    let name = name.to_string();
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
    let shown: String = name.chars().map(plain).take(100).collect();
    format!("{shown}-{}.json", BlobDigest::of(name.as_bytes()).hex())
}

fn no_list(name: &str) -> Mistake {
    Mistake::new(format!("no such list of manifests: {name}"))
        .hint(format!("begin one: `rbuild manifest create {name} IMAGE...`"))
}

fn read(name: &Reference, context: &Context) -> anyhow::Result<Option<List>> {
    let path = path(name, context)?;
    match std::fs::read(&path) {
        Ok(text) => {
            let list: List = serde_json::from_slice(&text)
                .with_context(|| format!("`{}` is no list of manifests", path.display()))?;
            if list.name != name.to_string() {
                let told = format!("`{}` is the list of manifests {}", path.display(), list.name);
                return Err(Mistake::new(told).hint("give the file back its name, or remove it").into());
            }
            Ok(Some(list))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("failed to read `{}`", path.display())),
    }
}

fn write(name: &Reference, list: &List, context: &Context) -> anyhow::Result<()> {
    let path = path(name, context)?;
    let failed = || format!("failed to write `{}`", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(failed)?;
    }
    let fresh = path.with_extension(format!("{}.part", std::process::id()));
    std::fs::write(&fresh, serde_json::to_vec_pretty(list)?)
        .and_then(|()| std::fs::rename(&fresh, &path))
        .with_context(failed)
}

fn create(arguments: &ManifestCreate, context: &Context) -> Outcome {
    let name = named(&arguments.list)?;
    let mut list = match (read(&name, context)?, arguments.amend) {
        (Some(list), true) => list,
        (Some(_), false) => {
            return Err(Mistake::new(format!("there is a list of manifests {} by now", name.familiar()))
                .hint("add to it with `--amend`, or remove it with `rbuild manifest rm`")
                .into());
        }
        (None, _) => List { name: name.to_string(), entries: Vec::new() },
    };
    let references =
        arguments.manifests.iter().map(|text| named(text)).collect::<anyhow::Result<Vec<_>>>()?;
    let remote = reached(&references, arguments.insecure, context)?;
    for reference in references {
        let fetched = remote.document(&reference)?;
        let descriptor = described(&remote, &reference, &fetched)?;
        list.entries.retain(|entry| entry.name != reference.to_string());
        list.entries.push(Listed { name: reference.to_string(), descriptor });
    }
    write(&name, &list, context)?;
    context.terminal.print(&format!("Created manifest list {name}\n"))?;
    Ok(Status::Done)
}

/// Names a manifest with the platform of its image.
fn described(remote: &Remote, reference: &Reference, fetched: &Fetched) -> anyhow::Result<Descriptor> {
    let descriptor = Descriptor::of(fetched.media_type.as_str(), &fetched.bytes);
    match &fetched.document {
        Document::Manifest(manifest) => {
            let (bytes, config) = remote.config(reference, manifest)?;
            let mut descriptor = descriptor.for_platform(&config.platform());
            let config: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            if let Some(Value::Object(platform)) = &mut descriptor.platform {
                let more =
                    ["os.version", "os.features"].map(|key| Some((key.to_owned(), config.get(key)?.clone())));
                platform.extend(more.into_iter().flatten());
            }
            Ok(descriptor)
        }
        Document::Index(_) => {
            Err(Mistake::new(format!("{} is a list of manifests itself", reference.familiar()))
                .hint("name its images by digest, or use `rbuild imagetools create`")
                .into())
        }
    }
}

fn annotate(arguments: &ManifestAnnotate, context: &Context) -> Outcome {
    let (name, manifest) = (named(&arguments.list)?, named(&arguments.manifest)?);
    let mut list = read(&name, context)?.ok_or_else(|| no_list(&arguments.list))?;
    let entry =
        list.entries.iter_mut().find(|entry| entry.name == manifest.to_string()).ok_or_else(|| {
            Mistake::new(format!(
                "manifest for image {} does not exist in {}",
                manifest.familiar(),
                name.familiar()
            ))
        })?;
    let platform = entry.descriptor.platform.get_or_insert_with(|| json!({}));
    let said = [
        ("os", &arguments.os),
        ("architecture", &arguments.arch),
        ("variant", &arguments.variant),
        ("os.version", &arguments.os_version),
    ];
    if let Value::Object(platform) = platform {
        for (key, value) in said {
            if let Some(value) = value {
                platform.insert(key.to_owned(), value.as_str().into());
            }
        }
        if !arguments.os_features.is_empty() {
            platform.insert("os.features".to_owned(), json!(arguments.os_features));
        }
    }
    write(&name, &list, context)?;
    Ok(Status::Done)
}

fn push(arguments: &ManifestPush, context: &Context) -> Outcome {
    let name = named(&arguments.list)?;
    let list = read(&name, context)?.ok_or_else(|| no_list(&arguments.list))?;
    let mut references = vec![name.clone()];
    let mut entries = Vec::new();
    for Listed { name, descriptor } in &list.entries {
        let reference = named(name)?.without_digest().with_digest(descriptor.digest);
        references.push(reference.clone());
        entries.push(Entry { reference, stated: Some(descriptor.clone()) });
    }
    let remote = reached(&references, arguments.insecure, context)?;
    let none = |_: &_| BTreeMap::new();
    let mut combined = remote.combine(&entries, &BTreeMap::new(), &none, &[], Preference::Index)?;
    (combined.bytes, combined.media_type) = (list.to_bytes(), MediaType::new(list.media_type()));
    let spool = spool(context);
    let what = format!("push {}", name.familiar());
    let pushed = progress(Mode::Quiet, context, &what, |told| {
        remote.place(&combined, std::slice::from_ref(&name), &spool, told)
    })?;
    if arguments.purge {
        let path = path(&name, context)?;
        std::fs::remove_file(&path).with_context(|| format!("failed to remove `{}`", path.display()))?;
    }
    if let Some(pushed) = pushed {
        context.terminal.print(&format!("{}\n", pushed.digest))?;
    }
    Ok(Status::Done)
}

impl List {
    /// Returns the type that the list gets: Docker's own where all its entries are Docker's.
    fn media_type(&self) -> &'static str {
        let is_dockers = |entry: &Listed| entry.descriptor.media_type.as_str() == MediaType::DOCKER_MANIFEST;
        if self.entries.iter().all(is_dockers) { MediaType::DOCKER_LIST } else { MediaType::OCI_INDEX }
    }

    /// Writes the list as docker does, to the byte: who makes the same list there gets the same digest.
    fn to_bytes(&self) -> Vec<u8> {
        let mut entries: Vec<&Listed> = self.entries.iter().collect();
        // It keeps each entry in a file, and takes them by the names of the files.
        entries.sort_by_key(|entry| entry.name.replace('/', "_").replace(':', "-"));
        let entries: Vec<Value> = entries.iter().map(|entry| shown::listed(&entry.descriptor)).collect();
        let list = json!({ "schemaVersion": 2, "mediaType": self.media_type(), "manifests": entries });
        indented(&list, "   ")
    }
}

fn indented(value: &Value, by: &str) -> Vec<u8> {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(by.as_bytes());
    let written = value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, formatter));
    written.expect("a JSON value can be written to memory");
    text
}

/// Returns what speaks to the registries of references. With `--insecure` plain HTTP is spoken to those that are not reached
/// otherwise; a certificate that nobody vouches for stays what it is.
fn reached(references: &[Reference], insecure: bool, context: &Context) -> anyhow::Result<Remote> {
    let remote = remote(&context.settings)?;
    if !insecure {
        return Ok(remote);
    }
    let mut unreached = Vec::new();
    for reference in references {
        let registry = reference.registry().to_owned();
        if !unreached.contains(&registry)
            && let Err(ImagesError::Registry { source, .. }) = remote.document(reference)
            && (source.is_unreachable() || source.is_cut_off())
            && !source.is_distrusted()
        {
            unreached.push(registry);
        }
    }
    if unreached.is_empty() { Ok(remote) } else { remote_in_the_clear(&context.settings, unreached) }
}

fn inspect(arguments: &ManifestInspect, context: &Context) -> Outcome {
    let verbose = arguments.verbose;
    let mut text = match &arguments.names[..] {
        [list, manifest] => {
            let (name, manifest) = (named(list)?, named(manifest)?);
            let list = read(&name, context)?.ok_or_else(|| no_list(list))?;
            let entry = list.entries.into_iter().find(|entry| entry.name == manifest.to_string());
            let entry = entry.ok_or_else(|| {
                Mistake::new(format!("no such manifest in {}: {}", name.familiar(), manifest.familiar()))
            })?;
            // Of the list is what is said of it; the manifest itself stays at its registry until the list is pushed.
            let manifest = manifest.without_digest().with_digest(entry.descriptor.digest);
            let remote = reached(std::slice::from_ref(&manifest), arguments.insecure, context)?;
            let fetched = remote.document(&manifest)?;
            let value = if verbose {
                one(&remote, &named(&entry.name)?, &fetched, Some(&entry.descriptor))?
            } else {
                serde_json::from_slice(&fetched.bytes)?
            };
            indented(&value, "\t")
        }
        [one] => {
            let name = named(one)?;
            match read(&name, context)? {
                Some(list) if !verbose => list.to_bytes(),
                _ => indented(&at_registry(&name, arguments, context)?, "\t"),
            }
        }
        _ => Vec::new(),
    };
    text.push(b'\n');
    context.terminal.write(&text)?;
    Ok(Status::Done)
}

fn at_registry(name: &Reference, arguments: &ManifestInspect, context: &Context) -> anyhow::Result<Value> {
    let remote = reached(std::slice::from_ref(name), arguments.insecure, context)?;
    let fetched = remote.document(name)?;
    if !arguments.verbose {
        return Ok(serde_json::from_slice(&fetched.bytes)?);
    }
    let Document::Index(index) = &fetched.document else { return one(&remote, name, &fetched, None) };
    let mut all = Vec::new();
    for entry in &index.manifests {
        let named = name.clone().without_digest().with_digest(entry.digest);
        all.push(one(&remote, &named, &remote.document(&named)?, Some(entry))?);
    }
    Ok(Value::Array(all))
}

/// Describes one manifest in docker's words.
fn one(
    remote: &Remote,
    name: &Reference,
    fetched: &Fetched,
    entry: Option<&Descriptor>,
) -> anyhow::Result<Value> {
    let descriptor = match entry {
        Some(entry) => entry.clone(),
        None => described(remote, name, fetched)?,
    };
    let manifest: Value = serde_json::from_slice(&fetched.bytes)?;
    let field =
        if fetched.media_type.as_str().contains(".oci.") { "OCIManifest" } else { "SchemaV2Manifest" };
    Ok(json!({
        "Ref": name.to_string(),
        "Descriptor": shown::descriptor(&descriptor),
        "Raw": base64::engine::general_purpose::STANDARD.encode(&fetched.bytes),
        field: manifest,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_written_as_docker_writes_them() {
        let entry = |name: &str, kind: &str, platform: Value| {
            let descriptor = Descriptor { platform: Some(platform), ..Descriptor::of(kind, name.as_bytes()) };
            Listed { name: name.to_owned(), descriptor }
        };
        let arm = json!({ "variant": "v7", "os": "linux", "architecture": "arm", "os.version": "1", "os.features": ["x"] });
        let amd64 = json!({ "architecture": "amd64", "os": "linux" });
        let mut list = List {
            name: "r.test/l:1".to_owned(),
            entries: vec![
                entry("r.test/b:1", MediaType::DOCKER_MANIFEST, amd64),
                entry("r.test/a:1", MediaType::DOCKER_MANIFEST, arm),
            ],
        };
        let expected = format!(
            r#"{{
   "schemaVersion": 2,
   "mediaType": "application/vnd.docker.distribution.manifest.list.v2+json",
   "manifests": [
      {{
         "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
         "size": 10,
         "digest": "{}",
         "platform": {{
            "architecture": "arm",
            "os": "linux",
            "os.version": "1",
            "os.features": [
               "x"
            ],
            "variant": "v7"
         }}
      }},
      {{
         "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
         "size": 10,
         "digest": "{}",
         "platform": {{
            "architecture": "amd64",
            "os": "linux"
         }}
      }}
   ]
}}"#,
            BlobDigest::of(b"r.test/a:1"),
            BlobDigest::of(b"r.test/b:1")
        );
        assert_eq!(String::from_utf8(list.to_bytes()).unwrap(), expected);
        list.entries[0].descriptor.media_type = MediaType::new(MediaType::OCI_MANIFEST);
        assert_eq!(list.media_type(), MediaType::OCI_INDEX, "one that is not Docker's is enough");
    }

    #[test]
    fn every_list_has_a_file_of_its_own() {
        let long = format!("r.test/{}a:1", "a/".repeat(120));
        let names =
            ["r.test/a/b_c:1", "r.test/a_b/c:1", "r.test/a/b/c:1", "r.test/a/b-c:1", "r.test:1/a", &long];
        let files: Vec<String> = names.iter().map(|name| file_name(&name.parse().unwrap())).collect();
        let told: std::collections::BTreeSet<&String> = files.iter().collect();
        assert_eq!(told.len(), names.len(), "{files:?}");
        assert!(files.iter().all(|file| file.len() < 200 && !file.contains('/')), "{files:?}");
        assert!(files[0].starts_with("r.test_a_b_c_1-"), "{files:?}");
    }
}
