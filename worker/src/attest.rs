//! Facts about what was built: what is in it, and how it was made.
//!
//! Bills of materials are read from the result's root, whose files are foreign: every read is bounded, and through
//! [`rbuild_confined`]. Provenance is made of the graph: which sources there were and what they were pinned to; with
//! [`Detail::Max`] also the arguments, the ids of secrets, and the steps by the names that are kept, in which no value of a variable stands.
//!
//! With an epoch all times are that of the epoch, so that equal builds say equal things.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rbuild_confined::{Kind, Root, Step, Walk};
use rbuild_image::attest::packages::{Database, Inventory};
use rbuild_image::attest::{PROVENANCE, Predicate, SPDX, package_url, spdx};
use rbuild_model::graph::{Graph, StepId};
use rbuild_model::mount::Mount;
use rbuild_model::platform::Platform;
use rbuild_model::step::{GitSource, HttpSource, ImageSource, Operation, Source};
use serde_json::{Map, Value, json};

use crate::describe::{Finished, rfc3339, rfc3339_nanos};
use crate::exporters::ExportError;
use crate::request::{Attestations, BuildRequest, Detail, Provenance};
use crate::worker::Worker;

/// Files of one root that are read for its bill of materials.
const MOST_DATABASES: usize = 200_000;

/// What a build knows of itself once it is done.
pub(crate) struct Known<'a> {
    pub(crate) request: &'a BuildRequest,
    pub(crate) graph: &'a Graph,
    /// The steps that the target needed.
    pub(crate) steps: Vec<StepId>,
    /// When it began, since the Unix epoch.
    pub(crate) began: Duration,
    /// When it ended, since the Unix epoch.
    pub(crate) ended: Duration,
}

/// Makes the facts that were asked for about one result.
pub(crate) fn predicates(
    worker: &Worker,
    known: &Known<'_>,
    result: &Finished,
) -> Result<Vec<Predicate>, ExportError> {
    let Attestations { materials, provenance } = &known.request.attestations;
    let mut predicates = Vec::new();
    if let Some(provenance) = provenance {
        let value = made(known, provenance, result);
        predicates.push(Predicate { kind: PROVENANCE.to_owned(), value });
    }
    if materials.is_some() {
        let view = worker.view(&result.chain)?;
        let inventory = inventory(&view)?;
        let created = time(known.ended, result.epoch);
        let name = known.request.tags.first().map(ToString::to_string);
        let described = spdx::Described {
            name: name.as_deref().unwrap_or("image"),
            created: &created,
            tool: concat!("rbuild-", env!("CARGO_PKG_VERSION")),
        };
        predicates.push(Predicate { kind: SPDX.to_owned(), value: spdx::document(&inventory, &described) });
    }
    Ok(predicates)
}

/// Looks for databases of packages in a root, and reads them.
fn inventory(view: &Root) -> Result<Inventory, ExportError> {
    let mut inventory = Inventory::default();
    let mut count = 0;
    let top = view.resolve("/").map_err(ExportError::tree)?;
    let mut walk = Walk::new(top.open_dir().map_err(ExportError::tree)?).map_err(ExportError::tree)?;
    while let Some(step) = walk.next().map_err(ExportError::tree)? {
        let Step::Entry(_) = step else { continue };
        let meta = walk.metadata().map_err(ExportError::tree)?;
        if meta.kind == Kind::Directory {
            walk.enter().map_err(ExportError::tree)?;
            continue;
        }
        // A path that is no text is no database.
        let Some(path) = walk.path().to_str().map(str::to_owned) else { continue };
        let Some(database) = (meta.kind == Kind::File).then(|| Database::at(&path)).flatten() else {
            continue;
        };
        count += 1;
        if database == Database::Rpm {
            inventory.leave_out(&path, "databases of rpm are not read");
        } else if meta.size > database.most_bytes() {
            inventory.leave_out(&path, "too large");
        } else if count > MOST_DATABASES {
            inventory.leave_out(&path, "too many databases");
        } else {
            let bytes =
                view.read(Path::new("/").join(&path), database.most_bytes()).map_err(ExportError::tree)?;
            inventory.read(database, &path, &bytes);
        }
    }
    Ok(inventory)
}

/// Writes down how a result was made.
fn made(known: &Known<'_>, wanted: &Provenance, result: &Finished) -> Value {
    let Known { request, graph, steps, began, ended } = known;
    let all = wanted.detail == Detail::Max;
    let mut internal = json!({ "builderPlatform": Platform::host().to_string() });
    if all {
        internal["buildConfig"] = json!({ "steps": steps_of(graph, steps) });
    }
    json!({
        "buildDefinition": {
            "buildType": "urn:rbuild:dockerfile:v1",
            "externalParameters": {
                "configSource": { "path": dockerfile(request) },
                "request": asked(request, graph, steps, wanted.detail),
            },
            "internalParameters": internal,
            "resolvedDependencies": sources(graph, steps),
        },
        "runDetails": {
            "builder": {
                "id": wanted.builder.clone().unwrap_or_default(),
                "version": { "rbuild": env!("CARGO_PKG_VERSION") },
            },
            "metadata": {
                "startedOn": time(*began, result.epoch),
                "finishedOn": time(*ended, result.epoch),
                "buildkit_completeness": { "request": all, "resolvedDependencies": false },
            },
        },
    })
}

/// The file's own name: where it lies on the machine of the one who builds is nobody's business.
fn dockerfile(request: &BuildRequest) -> String {
    let name = request.dockerfile.name();
    let name = Path::new(name).file_name().map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "Dockerfile".to_owned())
}

fn asked(request: &BuildRequest, graph: &Graph, steps: &[StepId], detail: Detail) -> Value {
    let options = &request.options;
    let mut args = Map::new();
    if let Some(target) = &options.target {
        args.insert("target".to_owned(), json!(target));
    }
    let mut value = json!({ "frontend": "dockerfile.v0" });
    if detail == Detail::Max {
        for (name, value) in &options.build_args {
            args.insert(format!("build-arg:{name}"), json!(value));
        }
        for (name, value) in &options.labels {
            args.insert(format!("label:{name}"), json!(value));
        }
        let (mut secrets, mut agents) = (BTreeMap::new(), BTreeMap::new());
        for mount in steps.iter().filter_map(|step| mounts(graph, *step)).flatten() {
            let (list, id, required) = match mount {
                Mount::Secret(secret) => (&mut secrets, &secret.id, secret.required),
                Mount::Ssh(agent) => (&mut agents, &agent.id, agent.required),
                Mount::Bind(_) | Mount::Cache(_) | Mount::Tmpfs(_) => continue,
            };
            *list.entry(id.clone()).or_insert(false) |= required;
        }
        for (key, list) in [("secrets", secrets), ("ssh", agents)] {
            let list: Vec<Value> =
                list.into_iter().map(|(id, required)| json!({ "id": id, "optional": !required })).collect();
            if !list.is_empty() {
                value[key] = json!(list);
            }
        }
    }
    if !args.is_empty() {
        value["args"] = Value::Object(args);
    }
    let mut locals: Vec<&str> = steps
        .iter()
        .filter_map(|step| match &graph.step(*step).operation {
            Operation::Source(Source::Local(local)) => Some(local.name.as_str()),
            _ => None,
        })
        .collect();
    locals.sort_unstable();
    locals.dedup();
    value["locals"] = locals.into_iter().map(|name| json!({ "name": name })).collect();
    value
}

fn mounts(graph: &Graph, step: StepId) -> Option<&[Mount]> {
    match &graph.step(step).operation {
        Operation::Exec(exec) => Some(&exec.mounts),
        _ => None,
    }
}

fn steps_of(graph: &Graph, steps: &[StepId]) -> Vec<Value> {
    let id = |step: &StepId| format!("step{}", step.index());
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
        entry
    };
    steps.iter().map(entry).collect()
}

/// The trees that came from outside, with the digests that they were pinned to; those of the caller's own folders have none.
fn sources(graph: &Graph, steps: &[StepId]) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    for step in steps {
        let Operation::Source(source) = &graph.step(*step).operation else { continue };
        let described = match source {
            Source::Image(image) => image_source(image),
            Source::Git(GitSource { remote, reference, checksum, .. }) => {
                let reference =
                    reference.as_ref().map(|reference| format!("#{reference}")).unwrap_or_default();
                let mut value = json!({ "uri": format!("git+{}{reference}", public(remote)) });
                if let Some(commit) = checksum.as_ref().filter(|commit| commit.len() == 40) {
                    value["digest"] = json!({ "sha1": commit });
                }
                value
            }
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
    all
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

/// An address without what opens the door behind it.
fn public(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let host = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(host);
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{authority}{path}")
}

fn time(at: Duration, epoch: Option<i64>) -> String {
    match epoch {
        Some(epoch) => rfc3339(epoch),
        None => rfc3339_nanos(i128::try_from(at.as_nanos()).unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_their_users() {
        for (address, expected) in [
            ("https://u:p@host:1/a@b?c", "https://host:1/a@b?c"),
            ("https://host/a", "https://host/a"),
            ("git@host:a/b", "git@host:a/b"),
            ("ssh://git@host/a", "ssh://host/a"),
        ] {
            assert_eq!(public(address), expected);
        }
    }

    #[test]
    fn images_are_named_by_package_urls_and_digests() {
        let mut image = ImageSource {
            name: "busybox".to_owned(),
            pin: rbuild_model::step::ImagePin {
                manifest: Some(rbuild_model::digest::BlobDigest::of(b"m")),
                image: rbuild_model::digest::ImageId::of_config(rbuild_model::digest::BlobDigest::of(b"c")),
                chain: None,
            },
            platform: "linux/amd64".parse().unwrap(),
        };
        let value = image_source(&image);
        assert_eq!(value["uri"], "pkg:docker/busybox@latest?platform=linux%2Famd64");
        assert_eq!(value["digest"]["sha256"], rbuild_model::digest::BlobDigest::of(b"m").hex());
        image.pin.manifest = None;
        assert!(image_source(&image)["annotations"]["image-id"].as_str().unwrap().starts_with("sha256:"));
    }

    #[test]
    fn a_root_is_looked_through_and_what_is_too_large_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &[u8]| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("lib/apk/db/installed", b"P:musl\nV:1\n");
        write("srv/node_modules/a/package.json", br#"{"name": "a", "version": "2"}"#);
        write("srv/node_modules/b/package.json", &vec![b' '; (1 << 20) + 1]);
        write("var/lib/rpm/rpmdb.sqlite", b"SQLite");
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("Cargo.lock")).unwrap();
        let inventory = inventory(&Root::open(folder.path()).unwrap()).unwrap();
        let names: Vec<_> = inventory.packages().map(|package| package.name.as_str()).collect();
        assert_eq!(names, ["musl", "a"]);
        let left: Vec<_> = inventory.left_out().collect();
        assert_eq!(
            left,
            [
                "srv/node_modules/b/package.json: too large",
                "var/lib/rpm/rpmdb.sqlite: databases of rpm are not read",
            ]
        );
    }
}
