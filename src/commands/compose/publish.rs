//! `rbuild compose publish`: a project at a registry, from where others start it.
//!
//! What is published is one file: the project with its includes and what it extends merged, and variables as they are
//! written. With `--resolve-image-digests` a second file lies over it that pins images, and with `--app` these are copied
//! to where the project is. Env files go along with `--with-env`, under names made of what is in them. What is built and is
//! here is pushed first.

mod secrets;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, IsTerminal as _};

use anyhow::Context as _;
use rbuild_frontend::compose::{Loaded, Skip};
use rbuild_image::manifest::{Descriptor, MediaType};
use rbuild_images::{Quiet, Remote, Selection};
use rbuild_model::digest::BlobDigest;
use rbuild_model::project::{MountKind, Project as Model};
use rbuild_model::reference::Reference;
use serde_json::{Value, json};

use super::board::{Board, Stage};
use super::project::{Handle, Meant, Source, meant};
use super::remote::{EMPTY, ENV_FILE, FILE, OLD_CONFIG, PROJECT};
use super::{carry, loading, pins};
use crate::cli::compose::Project;
use crate::cli::compose::carry::{Publish, Push};
use crate::commands::registry::spool;
use crate::commands::{Context, Outcome};
use crate::report::{Mistake, Status};

/// A file of what is published.
struct File {
    /// What its layer is.
    kind: &'static str,
    name: String,
    text: String,
}

impl File {
    /// One that lies over those before it.
    fn of_project(name: &str, text: String) -> Self {
        Self { kind: FILE, name: name.to_owned(), text }
    }
}

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
    // Others may turn on what is off here.
    let all = Project { profiles: vec!["*".to_owned()], ..project.clone() };
    let meant = meant(&all, &[], Source::Files, context)?;
    check(&meant.model)?;
    let mut written = written(&all, &meant.model, context)?;
    let document: Value = serde_json::from_str(&written.raw_json())?;
    check_values(&document, arguments)?;
    let env_files = match services(&document).any(|(_, service)| !service["env_file"].is_null()) {
        true => env_files(&all, &mut written, context)?,
        false => BTreeMap::new(),
    };
    if !arguments.yes && !project.dry_run {
        let agreed = doubts(&meant.model, &document, &env_files, context)?;
        if agreed == Agreed::No {
            return Ok(Status::Interrupted);
        }
    }
    let mut files = vec![File::of_project("compose.yaml", written.raw_yaml())];
    files.extend(env_files.into_iter().map(|(name, text)| File { kind: ENV_FILE, name, text }));
    let model = push_built(meant, &all, context)?;
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
        files.push(File::of_project("image-digests.yaml", text));
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
fn blobs(form: Form, files: Vec<File>) -> Vec<(Descriptor, Vec<u8>)> {
    let config = match form {
        Form::OneZero => OLD_CONFIG,
        Form::OneOne => EMPTY,
    };
    let mut blobs = vec![(Descriptor::of(config, b"{}"), b"{}".to_vec())];
    for File { kind, name, text } in files {
        let bytes = text.into_bytes();
        let mut descriptor = Descriptor::of(kind, &bytes);
        let key = if kind == ENV_FILE { "com.docker.compose.envfile" } else { "com.docker.compose.file" };
        descriptor.annotations.insert(key.to_owned(), name);
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

/// Refuses what others should not read unless it is meant: values of variables, and files of them.
fn check_values(written: &Value, arguments: &Publish) -> Result<(), Mistake> {
    for (name, service) in services(written) {
        if !service["env_file"].is_null() && !arguments.with_env {
            let what = format!("service \"{name}\" has an env file, which everybody could read");
            return Err(Mistake::new(what).hint("publish it with `--with-env`"));
        }
        if has_values(service) && !arguments.with_env && !arguments.yes {
            let what = "values of environment variables, which everybody could read";
            return Err(Mistake::new(format!("service \"{name}\" has {what}")).hint(
                "publish them with `--with-env`, or let the variables of whoever starts it count: `environment: [NAME]`",
            ));
        }
    }
    Ok(())
}

fn services(written: &Value) -> impl Iterator<Item = (&String, &Value)> {
    written["services"].as_object().into_iter().flatten()
}

/// Whether a service says what variables are, and not only which ones it has.
fn has_values(service: &Value) -> bool {
    match &service["environment"] {
        Value::Array(entries) => entries.iter().any(|entry| match entry {
            Value::String(text) => text.contains('='),
            Value::Null => false,
            _ => true,
        }),
        Value::Object(entries) => entries.values().any(|value| !value.is_null()),
        _ => false,
    }
}

/// Reads the env files of services, and gives them names that say nothing of this machine.
fn env_files(
    project: &Project,
    written: &mut Loaded,
    context: &Context,
) -> anyhow::Result<BTreeMap<String, String>> {
    let skip = Skip { normalisation: true, env_resolution: true, ..Skip::default() };
    let request = loading::request(project, &[], skip, &context.settings.environment)?;
    let found = loading::loaded(&request, &|| Ok(context.settings.clone()), context.terminal)?;
    let found: Value = serde_json::from_str(&found.raw_json())?;
    let (mut files, mut names) = (BTreeMap::new(), BTreeMap::new());
    for (service, node) in services(&found) {
        for (number, file) in node["env_file"].as_array().into_iter().flatten().enumerate() {
            let Some(path) = file["path"].as_str() else { continue };
            let text = match std::fs::read_to_string(path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && file["required"] == false => {
                    continue;
                }
                read => read.with_context(|| format!("failed to read `{path}`"))?,
            };
            let name = format!("{}.env", BlobDigest::of(text.as_bytes()).hex());
            names.insert((service.clone(), number), name.clone());
            files.insert(name, text);
        }
    }
    written.rename_env_files(|service, number| names.get(&(service.to_owned(), number)).cloned());
    Ok(files)
}

/// Pushes the images that are built and have a name; what fails is told, and the project is published all the same.
fn push_built(meant: Meant, project: &Project, context: &Context) -> anyhow::Result<Model> {
    if meant.model.services.values().all(|service| service.build.is_none()) {
        return Ok(meant.model);
    }
    let handle = Handle::open(meant, "publish", context)?;
    let push = Push { ignore_push_failures: true, ..Push::default() };
    let outcome = carry::push_all(&handle, project, &push, context);
    let model = handle.meant.model.clone();
    handle.home.ended(outcome)?;
    Ok(model)
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

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Agreed {
    Yes,
    No,
}

/// Asks about all that others may not be meant to see: folders of this machine, values of variables, and what looks like
/// a secret.
fn doubts(
    model: &Model,
    document: &Value,
    env_files: &BTreeMap<String, String>,
    context: &Context,
) -> anyhow::Result<Agreed> {
    let values =
        services(document).filter(|(_, service)| has_values(service) || !service["env_file"].is_null());
    let values = values.map(|(name, _)| format!("service {name}")).collect();
    let mut secrets = secrets::of_document(document);
    secrets.extend(env_files.iter().flat_map(|(name, text)| secrets::of_env_file(name, text)));
    for (found, about, what) in [
        (
            binds(model),
            "names folders of this machine; they are named, not copied",
            "bind mount declarations",
        ),
        (values, "has values of environment variables, which everybody can read", "environment variables"),
        (secrets, "has what looks like secrets, which everybody can read", "sensitive data"),
    ] {
        if !found.is_empty() && ask(&found, about, what, context)? == Agreed::No {
            return Ok(Agreed::No);
        }
    }
    Ok(Agreed::Yes)
}

/// Asks whether something may be published.
fn ask(found: &[String], about: &str, what: &str, context: &Context) -> anyhow::Result<Agreed> {
    let list: String = found.iter().map(|one| format!("  {}\n", crate::text::one_line(one))).collect();
    if !std::io::stdin().is_terminal() {
        let mistake = format!(
            "the project {about}, and nobody can be asked whether that is meant:\n{}",
            list.trim_end()
        );
        return Err(Mistake::new(mistake).hint("use `--yes`").into());
    }
    context.terminal.tell(&format!("The project {about}:\n{list}Are you ok to publish these {what}? [y/N] "));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(if matches!(answer.trim(), "y" | "Y" | "yes") { Agreed::Yes } else { Agreed::No })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_variables_are_not_published_by_accident() {
        let service = |environment: Value| json!({ "services": { "web": { "environment": environment } } });
        let flags = |with_env, yes| Publish {
            target: "x".to_owned(),
            app: false,
            oci_version: None,
            resolve_image_digests: false,
            with_env,
            yes,
        };
        for fine in [json!(["HOME"]), json!({ "HOME": null }), Value::Null] {
            assert!(check_values(&service(fine.clone()), &flags(false, false)).is_ok(), "{fine}");
        }
        for told in [json!(["A=b"]), json!({ "A": "b" }), json!({ "A": 1 })] {
            assert!(check_values(&service(told.clone()), &flags(false, false)).is_err(), "{told}");
            assert!(check_values(&service(told.clone()), &flags(true, false)).is_ok(), "{told}");
            assert!(check_values(&service(told.clone()), &flags(false, true)).is_ok(), "{told}");
        }
        let file = json!({ "services": { "web": { "env_file": ["a.env"] } } });
        assert!(check_values(&file, &flags(false, true)).is_err());
        assert!(check_values(&file, &flags(true, false)).is_ok());
    }

    #[test]
    fn a_project_is_an_artifact_that_compose_knows() {
        let blobs = blobs(Form::OneOne, vec![File::of_project("compose.yaml", "name: x\n".to_owned())]);
        let manifest = manifest(Form::OneOne, &blobs, "2026-11-21T00:00:00Z");
        assert_eq!(manifest["artifactType"], PROJECT);
        assert_eq!(manifest["config"]["mediaType"], EMPTY);
        assert_eq!(manifest["layers"][0]["mediaType"], FILE);
        assert_eq!(manifest["layers"][0]["annotations"]["com.docker.compose.file"], "compose.yaml");
        let old = super::manifest(Form::OneZero, &super::blobs(Form::OneZero, Vec::new()), "");
        assert!(old.get("artifactType").is_none() && old["config"]["mediaType"] == OLD_CONFIG);
    }
}
