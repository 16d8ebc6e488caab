//! `rbuild imagetools`: images as registries have them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Context as _;
use rbuild_image::distribution::Fetched;
use rbuild_image::manifest::{Descriptor, Document, Manifest, MediaType};
use rbuild_images::{Annotation, Entry, Level, Preference, Remote};
use rbuild_model::platform::Platform;
use rbuild_model::reference::Reference;
use serde_json::{Value, json};

use super::{attested, named, progress, shown, spool};
use crate::cli::registry::{Imagetools, ImagetoolsCreate, ImagetoolsInspect, ImagetoolsVerb};
use crate::commands::{Context, Outcome};
use crate::report::{Findings, Mistake, Status};
use crate::template::Template;
use crate::wiring::logins::remote;

pub(in crate::commands) fn run(group: &Imagetools, context: &Context) -> Outcome {
    match &group.verb {
        ImagetoolsVerb::Inspect(arguments) => inspect(arguments, context),
        ImagetoolsVerb::Create(arguments) => create(arguments, context),
    }
}

fn inspect(arguments: &ImagetoolsInspect, context: &Context) -> Outcome {
    let reference = named(&arguments.name)?;
    let remote = remote(&context.settings)?;
    let fetched = remote.document(&reference)?;
    if arguments.raw {
        context.terminal.write(&fetched.bytes)?;
        return Ok(Status::Done);
    }
    let text = match arguments.format.as_deref() {
        None => described(&reference, &fetched),
        Some(format) => {
            let (manifest, image) = (manifest_value(&fetched), images(&remote, &reference, &fetched)?);
            let compact = format.replace(' ', "");
            // What a template makes is all there is: buildx ends no line either.
            if compact == "{{json.}}" {
                let mut all = json!({ "name": reference.to_string(), "manifest": manifest });
                if !image.is_null() {
                    all["image"] = image;
                }
                Template::parse(format)
                    .and_then(|format| format.render_indented(&all))
                    .map_err(Findings::from)?
            } else {
                let mut all = json!({ "Name": reference.to_string(), "Manifest": manifest, "Image": image });
                // They may be large: who does not ask for them does not wait for them.
                if compact.contains(".SBOM") || compact.contains(".Provenance") {
                    let said = attested::said(&remote, &reference, &fetched)?;
                    (all["SBOM"], all["Provenance"]) = (said.materials, said.provenance);
                }
                Template::parse(format)
                    .and_then(|format| format.render_indented(&all))
                    .map_err(Findings::from)?
            }
        }
    };
    context.terminal.print(&text)?;
    Ok(Status::Done)
}

/// Describes a manifest for people, as buildx does.
fn described(reference: &Reference, fetched: &Fetched) -> String {
    let mut text =
        format!("Name:      {reference}\nMediaType: {}\nDigest:    {}\n", fetched.media_type, fetched.digest);
    let Document::Index(index) = &fetched.document else { return text };
    annotated(&mut text, "", &index.annotations);
    text.push_str("\nManifests:\n");
    let repository = reference.clone().without_digest();
    for (number, entry) in index.manifests.iter().enumerate() {
        if number > 0 {
            text.push('\n');
        }
        let name = format!("{repository}@{}", entry.digest);
        let _ = writeln!(text, "  Name:      {name}\n  MediaType: {}", entry.media_type);
        if let Some(platform) = entry.platform() {
            let _ = writeln!(text, "  Platform:  {platform}");
        }
        annotated(&mut text, "  ", &entry.annotations);
    }
    text
}

fn annotated(text: &mut String, indent: &str, annotations: &BTreeMap<String, String>) {
    if annotations.is_empty() {
        return;
    }
    let _ = writeln!(text, "{indent}Annotations:");
    for (key, value) in annotations {
        let _ = writeln!(text, "{indent}  {}: {}", crate::text::one_line(key), crate::text::one_line(value));
    }
}

/// The document with what names it; of one image that alone.
fn manifest_value(fetched: &Fetched) -> Value {
    let named = Descriptor::of(fetched.media_type.as_str(), &fetched.bytes);
    match &fetched.document {
        Document::Index(index) => shown::index(index, fetched.media_type.as_str(), &named),
        Document::Manifest(_) => json!(named),
    }
}

/// The config of an image; of several, those of all by platform.
fn images(remote: &Remote, reference: &Reference, fetched: &Fetched) -> anyhow::Result<Value> {
    let config = |manifest: &Manifest| -> anyhow::Result<Value> {
        let known = [MediaType::OCI_CONFIG, MediaType::DOCKER_CONFIG];
        if !known.contains(&manifest.config.media_type.as_str()) {
            return Ok(Value::Null);
        }
        let (bytes, _) = remote.config(reference, manifest)?;
        Ok(shown::image(&serde_json::from_slice(&bytes).context("the config is not JSON")?))
    };
    match &fetched.document {
        Document::Manifest(manifest) => config(manifest),
        Document::Index(index) => {
            let mut all = BTreeMap::new();
            for entry in &index.manifests {
                let Some(platform) = entry.platform().filter(|platform| platform.os != "unknown") else {
                    continue;
                };
                let named = reference.clone().without_digest().with_digest(entry.digest);
                if let Document::Manifest(manifest) = remote.document(&named)?.document {
                    all.insert(platform.to_string(), config(&manifest)?);
                }
            }
            Ok(shown::images(all))
        }
    }
}

fn create(arguments: &ImagetoolsCreate, context: &Context) -> Outcome {
    let targets = arguments.tag.iter().map(|tag| named(tag)).collect::<anyhow::Result<Vec<_>>>()?;
    if targets.is_empty() && !arguments.dry_run {
        return Err(Mistake::usage("the image needs a name: use `--tag NAME`, or `--dry-run`").into());
    }
    let mut entries = arguments
        .sources
        .iter()
        .map(|source| source_of(source, targets.first()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    for file in &arguments.file {
        entries.push(from_file(file, targets.first())?);
    }
    if arguments.append {
        let first = targets.first().ok_or_else(|| Mistake::usage("`--append` needs `--tag NAME`"))?;
        entries.insert(0, first.clone().into());
    }
    if entries.is_empty() {
        return Err(Mistake::usage("nothing to make an image of: name a source, or use `--append`").into());
    }
    let annotations: Vec<&Annotation> = arguments.annotation.iter().flat_map(|all| &all.0).collect();
    let supported = |one: &&&Annotation| matches!(one.level, Level::Index | Level::ManifestDescriptor);
    if let Some(other) = annotations.iter().find(|one| !supported(one)) {
        let why = format!("the annotation `{}` cannot be written on images that are there", other.key);
        return Err(Mistake::usage(why)
            .hint("write `index:KEY=VALUE` or `manifest-descriptor:KEY=VALUE`")
            .into());
    }
    let pair = |one: &&&Annotation| (one.key.clone(), one.value.clone());
    let of_index: BTreeMap<String, String> =
        annotations.iter().filter(|one| one.level == Level::Index).map(|one| pair(&one)).collect();
    let of_entries = |platform: &Platform| -> BTreeMap<String, String> {
        let fits = |one: &&&Annotation| {
            one.level == Level::ManifestDescriptor
                && one.platform.as_ref().is_none_or(|wanted| wanted == platform)
        };
        annotations.iter().filter(fits).map(|one| pair(&one)).collect()
    };
    let platforms: Vec<Platform> = arguments.platform.iter().flat_map(|list| list.0.clone()).collect();
    let preference = if arguments.prefer_index { Preference::Index } else { Preference::Copy };
    let remote = remote(&context.settings)?;
    let combined = remote.combine(&entries, &of_index, &of_entries, &platforms, preference)?;
    if arguments.dry_run {
        context.terminal.print(&(String::from_utf8_lossy(&combined.bytes) + "\n"))?;
        return Ok(Status::Done);
    }
    let spool = spool(context);
    let mode = arguments.progress.unwrap_or(context.settings.progress);
    progress(mode, context, &format!("push {}", targets[0].familiar()), |told| {
        remote.place(&combined, &targets, &spool, told)
    })?;
    Ok(Status::Done)
}

/// Reads a source: a name, a digest in the target's repository, or a descriptor.
fn source_of(text: &str, target: Option<&Reference>) -> anyhow::Result<Entry> {
    if text.starts_with('{') {
        let stated: Descriptor = serde_json::from_str(text)
            .map_err(|error| Mistake::usage(format!("not a descriptor: {error}")))?;
        return stated_in(stated, target);
    }
    if let Ok(digest) = text.parse::<rbuild_model::digest::BlobDigest>() {
        let target = target.ok_or_else(|| Mistake::usage(format!("`{text}` needs `--tag NAME`")))?;
        return Ok(target.clone().with_digest(digest).into());
    }
    Ok(named(text)?.into())
}

fn from_file(path: &std::path::Path, target: Option<&Reference>) -> anyhow::Result<Entry> {
    let text = std::fs::read(path).with_context(|| format!("failed to read `{}`", path.display()))?;
    let stated =
        serde_json::from_slice(&text).with_context(|| format!("`{}` holds no descriptor", path.display()))?;
    stated_in(stated, target)
}

fn stated_in(stated: Descriptor, target: Option<&Reference>) -> anyhow::Result<Entry> {
    let target =
        target.ok_or_else(|| Mistake::usage("a descriptor needs `--tag NAME`: it is looked for there"))?;
    Ok(Entry { reference: target.clone().with_digest(stated.digest), stated: Some(stated) })
}
