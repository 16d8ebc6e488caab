//! `rbuild compose publish`: a project at a registry, from where others start it.
//!
//! What is published is one file: the project with its includes and what it extends merged, and variables as they are
//! written. With `--resolve-image-digests` a second file lies over it that pins images, and with `--app` these are copied
//! to where the project is.

use std::collections::BTreeSet;
use std::io::{BufRead as _, IsTerminal as _};

use anyhow::Context as _;
use rbuild_frontend::compose::{Loaded, Skip};
use rbuild_image::manifest::{Descriptor, MediaType};
use rbuild_images::{Quiet, Remote, Selection};
use rbuild_model::project::{MountKind, Project as Model};
use rbuild_model::reference::Reference;
use serde_json::{Value, json};

use super::board::{Board, Stage};
use super::loading;
use super::pins;
use super::project::{Source, meant};
use super::remote::{EMPTY, FILE, OLD_CONFIG, PROJECT};
use crate::cli::compose::Project;
use crate::cli::compose::carry::Publish;
use crate::commands::registry::spool;
use crate::commands::{Context, Outcome};
use crate::report::{Mistake, Status};

/// Which form the manifest has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// What it is stands in the type of its config.
    OneZero,
    /// It says itself what it is.
    OneOne,
}

pub(super) fn run(project: &Project, arguments: &Publish, context: &Context) -> Outcome {
    let form = match arguments.oci_version.as_deref() {
        None | Some("" | "1.1") => Form::OneOne,
        Some("1.0") => Form::OneZero,
        Some(other) => {
            return Err(Mistake::usage(format!("unsupported OCI version {other:?}"))
                .hint("there are 1.0 and 1.1")
                .into());
        }
    };
    let reference: Reference =
        arguments.target.parse().map_err(|error| Mistake::new(format!("`{}`: {error}", arguments.target)))?;
    let reference = reference.with_default_tag();
    let model = meant(project, &[], Source::Files, context)?.model;
    check(&model)?;
    let written = written(project, &model, context)?;
    check_values(&serde_json::from_str(&written.raw_json())?, arguments.with_env)?;
    let binds = binds(&model);
    if !binds.is_empty() && !arguments.yes && !project.dry_run && !agreed(&binds, context)? {
        return Ok(Status::Interrupted);
    }
    let mut files = vec![("compose.yaml", written.raw_yaml())];
    let remote = crate::wiring::logins::remote(&context.settings)?;
    let mut images = BTreeSet::new();
    if arguments.resolve_image_digests || arguments.app {
        let mut text = "services:\n".to_owned();
        for service in model.services.values() {
            let Some(image) = service.image.as_deref().filter(|image| !image.is_empty()) else { continue };
            let pinned = pins::digest(&remote, image)?;
            text.push_str(&format!("  {}:\n    image: {pinned}\n", service.name));
            images.insert(pinned);
        }
        files.push(("image-digests.yaml", text));
    }
    let board = Board::new(project, context);
    let id = reference.familiar();
    if project.dry_run {
        board.tell(&format!("DRY-RUN MODE - {id}"), "published", Stage::Done);
        return Ok(Status::Done);
    }
    board.tell(&id, "publishing", Stage::Working);
    let blobs = blobs(form, files);
    let manifest = manifest(form, &blobs, &jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let manifest = manifest.to_string();
    remote.push_documents(&reference, &blobs, manifest.as_bytes(), MediaType::OCI_MANIFEST)?;
    if arguments.app {
        let subject = Descriptor::of(MediaType::OCI_MANIFEST, manifest.as_bytes());
        push_images(&remote, &reference, &images, &subject, context)?;
    }
    board.tell(&id, "published", Stage::Done);
    Ok(Status::Done)
}

/// Copies the images of a project to its own repository, where an index that refers to its manifest holds them.
fn push_images(
    remote: &Remote,
    reference: &Reference,
    images: &BTreeSet<String>,
    subject: &Descriptor,
    context: &Context,
) -> anyhow::Result<()> {
    let beside: Reference = reference.name().parse().context("a name without its tag is one")?;
    let spool = spool(context);
    let mut manifests = Vec::new();
    for image in images {
        let source: Reference = image.parse().with_context(|| format!("`{image}`"))?;
        let fetched = remote.document(&source)?;
        remote.copy(&source, &beside, &Selection::All, &spool, &Quiet)?;
        manifests.push(Descriptor::of(fetched.media_type.as_str(), &fetched.bytes));
    }
    let index = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_INDEX,
        "artifactType": PROJECT,
        "manifests": manifests,
        "subject": subject,
        "annotations": { "com.docker.compose.version": env!("CARGO_PKG_VERSION") },
    });
    remote.push_documents(&beside, &[], index.to_string().as_bytes(), MediaType::OCI_INDEX)?;
    Ok(())
}

/// Returns what is pushed: the config, then the files.
fn blobs(form: Form, files: Vec<(&str, String)>) -> Vec<(Descriptor, Vec<u8>)> {
    let config = match form {
        Form::OneZero => OLD_CONFIG,
        Form::OneOne => EMPTY,
    };
    let mut blobs = vec![(Descriptor::of(config, b"{}"), b"{}".to_vec())];
    for (name, text) in files {
        let bytes = text.into_bytes();
        let mut descriptor = Descriptor::of(FILE, &bytes);
        descriptor.annotations.insert("com.docker.compose.file".to_owned(), name.to_owned());
        let version = env!("CARGO_PKG_VERSION").to_owned();
        descriptor.annotations.insert("com.docker.compose.version".to_owned(), version);
        blobs.push((descriptor, bytes));
    }
    blobs
}

fn manifest(form: Form, blobs: &[(Descriptor, Vec<u8>)], created: &str) -> Value {
    let descriptors: Vec<&Descriptor> = blobs.iter().map(|(descriptor, _)| descriptor).collect();
    let (config, layers) = descriptors.split_first().expect("the config is the first blob");
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "config": config,
        "layers": layers,
        "annotations": { "org.opencontainers.image.created": created },
    });
    if form == Form::OneOne {
        manifest["artifactType"] = PROJECT.into();
    }
    manifest
}

/// Reads the project as it is written: with nothing of the variables of whoever publishes it.
fn written(project: &Project, model: &Model, context: &Context) -> anyhow::Result<Loaded> {
    let skip = Skip {
        interpolation: true,
        normalisation: true,
        path_resolution: true,
        env_resolution: true,
        ..Skip::default()
    };
    let mut request = loading::request(project, &[], skip, &context.settings.environment)?;
    // Those by which files are found count all the same.
    request.environment.retain(|(name, _)| name.starts_with("COMPOSE_"));
    request.env_files = vec!["/dev/null".to_owned()];
    request.project_name = Some(model.name.to_string());
    loading::loaded(&request, &|| Ok(context.settings.clone()), context.terminal)
}

/// Refuses what others could not start.
fn check(model: &Model) -> Result<(), Mistake> {
    let unnamed: Vec<&str> = model
        .services
        .values()
        .filter(|service| service.build.is_some() && service.image.as_ref().is_none_or(String::is_empty))
        .map(|service| service.name.as_str())
        .collect();
    if unnamed.is_empty() {
        return Ok(());
    }
    let what = "your Compose stack cannot be published as it only contains a build section for service(s)";
    Err(Mistake::new(format!("{what}: [{}]", unnamed.join(", ")))
        .hint("give them an `image`, and push it with `rbuild compose push`"))
}

/// Refuses what others should not read: values of variables, unless that is meant, and files of them.
fn check_values(written: &Value, meant: bool) -> Result<(), Mistake> {
    let has_value = |entry: &Value| match entry {
        Value::String(text) => text.contains('='),
        Value::Null => false,
        _ => true,
    };
    for (name, service) in written["services"].as_object().into_iter().flatten() {
        if !service["env_file"].is_null() {
            let what = format!("service \"{name}\" has an env file, which is not published with it");
            return Err(Mistake::new(what).hint("write the variables into `environment`"));
        }
        let told = match &service["environment"] {
            Value::Array(entries) => entries.iter().any(has_value),
            Value::Object(entries) => entries.values().any(|value| !value.is_null()),
            _ => false,
        };
        if told && !meant {
            let what = "values of environment variables, which everybody could read";
            return Err(Mistake::new(format!("service \"{name}\" has {what}")).hint(
                "publish them with `--with-env`, or let the variables of whoever starts it count: `environment: [NAME]`",
            ));
        }
    }
    Ok(())
}

/// Lists the folders of this machine that services want.
fn binds(model: &Model) -> Vec<String> {
    let of = |service: &rbuild_model::project::Service| {
        let name = service.name.to_string();
        let bind = |mount: &rbuild_model::project::Mount| match &mount.kind {
            MountKind::Bind { source, .. } => Some(format!("{name}: {}", source.display())),
            _ => None,
        };
        service.volumes.iter().filter_map(bind).collect::<Vec<_>>()
    };
    model.services.values().flat_map(of).collect()
}

/// Asks whether folders of this machine may be named.
fn agreed(binds: &[String], context: &Context) -> anyhow::Result<bool> {
    let list: String = binds.iter().map(|bind| format!("  {}\n", crate::text::one_line(bind))).collect();
    let text = format!("The project names folders of this machine; they are named, not copied:\n{list}");
    if !std::io::stdin().is_terminal() {
        return Err(Mistake::new(format!("nobody can be asked whether this is meant: {}", binds.join(", ")))
            .hint("use `--yes`")
            .into());
    }
    context.terminal.tell(&format!("{text}Are you ok to publish these bind mount declarations? [y/N] "));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_variables_are_not_published_by_accident() {
        let service = |environment: Value| json!({ "services": { "web": { "environment": environment } } });
        for fine in [json!(["HOME"]), json!({ "HOME": null }), Value::Null] {
            assert!(check_values(&service(fine.clone()), false).is_ok(), "{fine}");
        }
        for told in [json!(["A=b"]), json!({ "A": "b" }), json!({ "A": 1 })] {
            assert!(check_values(&service(told.clone()), false).is_err(), "{told}");
            assert!(check_values(&service(told.clone()), true).is_ok(), "{told}");
        }
        let file = json!({ "services": { "web": { "env_file": ["a.env"] } } });
        assert!(check_values(&file, true).is_err());
    }

    #[test]
    fn a_project_is_an_artifact_that_compose_knows() {
        let blobs = blobs(Form::OneOne, vec![("compose.yaml", "name: x\n".to_owned())]);
        let manifest = manifest(Form::OneOne, &blobs, "2026-11-21T00:00:00Z");
        assert_eq!(manifest["artifactType"], PROJECT);
        assert_eq!(manifest["config"]["mediaType"], EMPTY);
        assert_eq!(manifest["layers"][0]["mediaType"], FILE);
        assert_eq!(manifest["layers"][0]["annotations"]["com.docker.compose.file"], "compose.yaml");
        let old = super::manifest(Form::OneZero, &super::blobs(Form::OneZero, Vec::new()), "");
        assert!(old.get("artifactType").is_none() && old["config"]["mediaType"] == OLD_CONFIG);
    }
}
