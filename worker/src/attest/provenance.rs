//! How a result was made, as SLSA has it.

mod parameters;

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use rbuild_image::attest::{PROVENANCE, PROVENANCE_02, Predicate, package_url};
use rbuild_model::graph::{Graph, StepId};
use rbuild_model::platform::Platform;
use rbuild_model::span::Source as Text;
use rbuild_model::step::{GitSource, HttpSource, ImageSource, NetworkMode, Operation, Source};
use serde_json::{Map, Value, json};

use super::{Known, time};
use crate::context::git_source;
use crate::describe::Finished;
use crate::request::{BuildRequest, Detail, DockerfilePlace, MainContext, Provenance, Reproducible, Slsa};
use crate::sources::git::is_commit;

/// Writes down how a result was made, in the version that is asked for.
pub(super) fn predicate(known: &Known<'_>, wanted: &Provenance, result: &Finished) -> Predicate {
    let made = made(known, wanted, result);
    match wanted.version {
        Slsa::V1 => Predicate { kind: PROVENANCE.to_owned(), value: made },
        Slsa::V02 => Predicate { kind: PROVENANCE_02.to_owned(), value: former(&made) },
    }
}

/// Says in the words of version 0.2 what is written in those of version 1.
fn former(made: &Value) -> Value {
    let (definition, run) = (&made["buildDefinition"], &made["runDetails"]);
    let (parameters, metadata) = (&definition["externalParameters"], &run["metadata"]);
    let completeness = &metadata["buildkit_completeness"];
    // There are no annotations: a source without a digest has its address alone.
    let material = |source: &Value| {
        let mut material = json!({ "uri": source["uri"] });
        if let Some(digest) = source.get("digest") {
            material["digest"] = digest.clone();
        }
        material
    };
    let sources = definition["resolvedDependencies"].as_array();
    let mut config = parameters["configSource"].clone();
    if let Some(path) = config.as_object_mut().and_then(|config| config.remove("path")) {
        config["entryPoint"] = path;
    }
    let mut value = json!({
        "builder": { "id": run["builder"]["id"] },
        "buildType": definition["buildType"],
        "materials": sources.into_iter().flatten().map(material).collect::<Vec<_>>(),
        "invocation": {
            "configSource": config,
            "parameters": parameters["request"],
            "environment": { "platform": definition["internalParameters"]["builderPlatform"] },
        },
        "metadata": {
            "buildStartedOn": metadata["startedOn"],
            "buildFinishedOn": metadata["finishedOn"],
            "completeness": {
                "parameters": completeness["request"],
                "environment": true,
                "materials": completeness["resolvedDependencies"],
            },
            "reproducible": metadata.get("buildkit_reproducible").is_some(),
            "https://mobyproject.org/buildkit@v1#metadata": metadata["buildkit_metadata"],
        },
    });
    if let Some(steps) = definition["internalParameters"].get("buildConfig") {
        value["buildConfig"] = steps.clone();
    }
    if let Some(hermetic) = metadata.get("buildkit_hermetic") {
        value["metadata"]["https://mobyproject.org/buildkit@v1#hermetic"] = hermetic.clone();
    }
    value
}

fn made(known: &Known<'_>, wanted: &Provenance, result: &Finished) -> Value {
    let Known { request, graph, steps, began, ended } = known;
    let all = wanted.detail == Detail::Max;
    let mut internal = json!({ "builderPlatform": Platform::host().to_string() });
    if all {
        internal["buildConfig"] = json!({ "steps": steps_of(graph, steps, result) });
    }
    let asked = |detail| parameters::asked(request, graph, steps, detail);
    let parameters = asked(wanted.detail);
    let dependencies = dependencies(request, graph, steps);
    let complete = is_complete(request, graph, steps, &dependencies);
    let mut metadata = json!({
        "startedOn": time(*began, result.epoch),
        "finishedOn": time(*ended, result.epoch),
        "buildkit_completeness": { "request": parameters == asked(Detail::Max), "resolvedDependencies": complete },
        "buildkit_metadata": if all { json!({ "source": written(graph, steps) }) } else { json!({}) },
    });
    if complete && !has_network(graph, steps) {
        metadata["buildkit_hermetic"] = json!(true);
    }
    if wanted.reproducible == Reproducible::Promised {
        metadata["buildkit_reproducible"] = json!(true);
    }
    json!({
        "buildDefinition": {
            "buildType": "urn:rbuild:dockerfile:v1",
            "externalParameters": {
                "configSource": config_source(request),
                "request": parameters,
            },
            "internalParameters": internal,
            "resolvedDependencies": dependencies,
        },
        "runDetails": {
            "builder": {
                "id": wanted.builder.clone().unwrap_or_default(),
                "version": { "rbuild": env!("CARGO_PKG_VERSION") },
            },
            "metadata": metadata,
        },
    })
}

/// Where the Dockerfile was found: in a context that others can fetch too, or just by its name.
fn config_source(request: &BuildRequest) -> Value {
    let mut value = fetched(request).unwrap_or_else(|| json!({}));
    value["path"] = match &request.dockerfile_place {
        DockerfilePlace::Context(Some(path)) => json!(path),
        _ => json!(file_name(&request.dockerfile)),
    };
    value
}

/// The main context, where it came from an address.
fn fetched(request: &BuildRequest) -> Option<Value> {
    match (&request.main, &request.options.context) {
        // What is built has the commit in place of what was asked for.
        (MainContext::Git(url), Source::Git(pinned)) => {
            let reference = git_source(url).ok().and_then(|asked| asked.reference);
            let checksum = pinned.reference.clone();
            Some(repository(&GitSource { reference, checksum, ..pinned.clone() }))
        }
        (MainContext::Web(url), Source::Archive(archive)) => {
            Some(json!({ "uri": public(url), "digest": { "sha256": archive.digest.hex() } }))
        }
        (MainContext::Web(url), _) => Some(json!({ "uri": public(url) })),
        _ => None,
    }
}

/// Whether the list of sources is all that the result was made of, so that others could get it.
fn is_complete(request: &BuildRequest, graph: &Graph, steps: &[StepId], dependencies: &[Value]) -> bool {
    let is_local = |step: &StepId| matches!(graph.step(*step).operation, Operation::Source(Source::Local(_)));
    request.dockerfile_place != DockerfilePlace::Given
        && request.main != MainContext::Stream
        && dependencies.iter().all(|source| source.get("digest").is_some())
        && !steps.iter().any(is_local)
}

/// Whether a step could reach others while it ran.
fn has_network(graph: &Graph, steps: &[StepId]) -> bool {
    steps.iter().any(|step| match &graph.step(*step).operation {
        Operation::Exec(exec) => exec.network != NetworkMode::None,
        _ => false,
    })
}

/// The file's own name: where it lies on the machine of the one who builds is nobody's business.
fn file_name(source: &Text) -> String {
    let name = Path::new(source.name()).file_name().map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "Dockerfile".to_owned())
}

/// What a step is called in the list of steps.
fn id(step: &StepId) -> String {
    format!("step{}", step.index())
}

/// The texts that the steps were written in, and on which of their lines each was.
fn written(graph: &Graph, steps: &[StepId]) -> Value {
    let mut texts: Vec<&Arc<Text>> = Vec::new();
    let mut locations = Map::new();
    for step in steps {
        let Some(location) = &graph.note(*step).location else { continue };
        let known = texts.iter().position(|text| Arc::ptr_eq(text, &location.source));
        let at = known.unwrap_or_else(|| {
            texts.push(&location.source);
            texts.len() - 1
        });
        let (first, last) = location.lines();
        let mut place = json!({ "ranges": [{ "start": { "line": first }, "end": { "line": last } }] });
        // As BuildKit writes it, where nothing is the first.
        if at > 0 {
            place["sourceIndex"] = json!(at);
        }
        locations.insert(id(step), json!({ "locations": [place] }));
    }
    let info = |text: &&Arc<Text>| {
        let data = base64::engine::general_purpose::STANDARD.encode(text.text());
        json!({ "filename": file_name(text), "language": "Dockerfile", "data": data })
    };
    json!({ "infos": texts.iter().map(info).collect::<Vec<_>>(), "locations": locations })
}

fn steps_of(graph: &Graph, steps: &[StepId], result: &Finished) -> Vec<Value> {
    let entry = |step: &StepId| {
        let (node, note) = (graph.step(*step), graph.note(*step));
        let mut entry = json!({
            "id": id(step),
            "name": note.kept_name(),
            "inputs": node.inputs.iter().map(id).collect::<Vec<_>>(),
        });
        if let Some(stage) = &note.stage {
            entry["stage"] = json!(stage);
        }
        if let Some(layers) = result.parts.get(step) {
            entry["layers"] = json!([layers.start, layers.end]);
        }
        entry
    };
    steps.iter().map(entry).collect()
}

/// The trees that came from outside, with the digests that they were pinned to; those of the caller's own folders have none.
fn dependencies(request: &BuildRequest, graph: &Graph, steps: &[StepId]) -> Vec<Value> {
    let context = fetched(request);
    let mut all: Vec<Value> = Vec::new();
    for step in steps {
        let Operation::Source(source) = &graph.step(*step).operation else { continue };
        let described = match source {
            source if *source == request.options.context && context.is_some() => continue,
            Source::Image(image) => image_source(image),
            Source::Git(git) => repository(git),
            Source::Http(HttpSource { url, checksum, .. }) => {
                let mut value = json!({ "uri": public(url) });
                if let Some(digest) = checksum {
                    value["digest"] = json!({ "sha256": digest.hex() });
                }
                value
            }
            Source::Archive(archive) => {
                json!({ "uri": "stream:context", "digest": { "sha256": archive.digest.hex() } })
            }
            Source::Scratch | Source::Local(_) => continue,
        };
        if !all.contains(&described) {
            all.push(described);
        }
    }
    let dockerfile = match &request.dockerfile_place {
        DockerfilePlace::Web(url) => Some(json!({ "uri": public(url) })),
        DockerfilePlace::Given | DockerfilePlace::Context(_) => None,
    };
    all.extend(context.into_iter().chain(dockerfile));
    all
}

fn repository(GitSource { remote, reference, checksum, .. }: &GitSource) -> Value {
    let fragment = reference.as_ref().map(|reference| format!("#{reference}")).unwrap_or_default();
    let mut value = json!({ "uri": format!("{}{fragment}", public(remote)) });
    if let Some(commit) = checksum.iter().chain(reference).find(|commit| is_commit(commit)) {
        let algorithm = if commit.len() == 40 { "sha1" } else { "sha256" };
        value["digest"] = json!({ algorithm: commit });
    }
    value
}

fn image_source(image: &ImageSource) -> Value {
    let ImageSource { name, pin, platform } = image;
    let uri = match name.parse() {
        Ok(reference) => {
            package_url(&rbuild_model::reference::Reference::with_default_tag(reference), platform)
        }
        Err(_) => format!("image:{}", pin.image),
    };
    match pin.manifest {
        Some(manifest) => json!({ "uri": uri, "digest": { "sha256": manifest.hex() } }),
        // One that never was in a registry has no manifest; its config is known all the same.
        None => json!({ "uri": uri, "annotations": { "image-id": pin.image.to_string() } }),
    }
}

/// An address without what opens the door behind it: its user, and the values in its query, among which signatures and tokens are.
fn public(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let host = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(host);
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{authority}{}", masked(path))
}

/// A path whose query names its parameters and does not say what they are: signatures and tokens stand there.
fn masked(path: &str) -> String {
    let (path, fragment) = path.find('#').map_or((path, ""), |at| path.split_at(at));
    let Some((path, query)) = path.split_once('?') else { return format!("{path}{fragment}") };
    let mask = |parameter: &str| match parameter.split_once('=') {
        Some((name, _)) => format!("{name}=***"),
        // One without a name may be a token itself.
        None if parameter.is_empty() => String::new(),
        None => "***".to_owned(),
    };
    let query: Vec<String> = query.split('&').map(mask).collect();
    format!("{path}?{}{fragment}", query.join("&"))
}

#[cfg(test)]
mod tests;
