//! `rbuild compose publish`: a project at a registry, from where others start it.
//!
//! What is published is one file: the project with its includes and what it extends merged, and variables as they are
//! written. With `--resolve-image-digests` a second file lies over it that pins images.

use std::io::{BufRead as _, IsTerminal as _};

use rbuild_frontend::compose::Skip;
use rbuild_image::manifest::Descriptor;
use rbuild_model::project::{MountKind, Project as Model};
use rbuild_model::reference::Reference;
use serde_json::{Value, json};

use super::board::{Board, Stage};
use super::loading;
use super::project::{Source, meant};
use crate::cli::compose::Project;
use crate::cli::compose::look::Publish;
use crate::commands::{Context, Outcome};
use crate::report::{Mistake, NotYet, Status};

const PROJECT: &str = "application/vnd.docker.compose.project";
const FILE: &str = "application/vnd.docker.compose.file+yaml";
const OLD_CONFIG: &str = "application/vnd.docker.compose.config.empty.v1+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

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
    if arguments.app {
        return Err(NotYet::supported("`--app`", "push the images with `rbuild compose push`").into());
    }
    let reference: Reference =
        arguments.target.parse().map_err(|error| Mistake::new(format!("`{}`: {error}", arguments.target)))?;
    let reference = reference.with_default_tag();
    let model = meant(project, &[], Source::Files, context)?.model;
    check(&model, arguments)?;
    let binds = binds(&model);
    if !binds.is_empty() && !arguments.yes && !project.dry_run && !agreed(&binds, context)? {
        return Ok(Status::Interrupted);
    }
    let skip = Skip { interpolation: true, normalisation: true, path_resolution: true, ..Skip::default() };
    let request = loading::request(project, &[], skip, &context.settings.environment)?;
    let mut files = vec![("compose.yaml", loading::loaded(&request, context.terminal)?.raw_yaml())];
    let remote = crate::wiring::logins::remote(&context.settings)?;
    if arguments.resolve_image_digests {
        let mut text = "services:\n".to_owned();
        for service in model.services.values() {
            let Some(image) = service.image.as_deref().filter(|image| !image.is_empty()) else { continue };
            let name: Reference =
                image.parse().map_err(|error| Mistake::new(format!("`{image}`: {error}")))?;
            let digest = remote.document(&name.clone().with_default_tag())?.digest;
            text.push_str(&format!("  {}:\n    image: {}@{digest}\n", service.name, name.familiar_name()));
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
    remote.push_documents(&reference, &blobs, manifest.to_string().as_bytes(), MANIFEST)?;
    board.tell(&id, "published", Stage::Done);
    Ok(Status::Done)
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
        "mediaType": MANIFEST,
        "config": config,
        "layers": layers,
        "annotations": { "org.opencontainers.image.created": created },
    });
    if form == Form::OneOne {
        manifest["artifactType"] = PROJECT.into();
    }
    manifest
}

/// Refuses what others could not start, or should not read.
fn check(model: &Model, arguments: &Publish) -> anyhow::Result<()> {
    let unnamed: Vec<&str> = model
        .services
        .values()
        .filter(|service| service.build.is_some() && service.image.as_ref().is_none_or(String::is_empty))
        .map(|service| service.name.as_str())
        .collect();
    if !unnamed.is_empty() {
        return Err(Mistake::new(format!(
            "your Compose stack cannot be published as it only contains a build section for service(s): [{}]",
            unnamed.join(", ")
        ))
        .hint("give them an `image`, and push it with `rbuild compose push`")
        .into());
    }
    let told = model.services.values().find(|service| service.environment.values().any(Option::is_some));
    if let Some(service) = told.filter(|_| !arguments.with_env) {
        return Err(Mistake::new(format!(
            "service \"{}\" has values of environment variables, which everybody could read",
            service.name
        ))
        .hint("publish them with `--with-env`, or let the variables of whoever starts it count: `environment: [NAME]`")
        .into());
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
