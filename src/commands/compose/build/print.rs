//! `rbuild compose build --print`: what would be built, as a bake file in JSON.

use std::collections::BTreeSet;

use rbuild_engine::projects::image_name;
use rbuild_model::project::{
    AdditionalContext, Build as Section, Dockerfile, FileSource, Limit, Project as Model, ServiceName,
};
use serde_json::{Map, Value, json};

use super::{Chosen, Manner, SectionOf, chosen};
use crate::commands::build::BuildPlan;
use crate::flags::{ContextSource, Mode};
use crate::wiring::PlannedTarget;

/// Writes targets as the bake file that would build them. Those that were asked for are its default group.
pub(super) fn bake_file(
    model: &Model,
    asked: &BTreeSet<ServiceName>,
    targets: &[PlannedTarget],
    manner: &Manner,
) -> anyhow::Result<String> {
    let mut all = Map::new();
    for target in targets {
        let SectionOf { service, section } = super::section(model, &target.name)?;
        let mut tags = section.tags.clone();
        tags.push(image_name(model, service));
        let written = of(model, section, &target.plan, manner, &tags);
        all.insert(target.name.clone(), Value::Object(written));
    }
    let names: Vec<&str> = asked.iter().map(ServiceName::as_str).collect();
    let document = json!({ "group": { "default": { "targets": names } }, "target": all });
    Ok(format!("{}\n", serde_json::to_string_pretty(&document)?))
}

fn of(
    model: &Model,
    section: &Section,
    plan: &BuildPlan,
    manner: &Manner,
    tags: &[String],
) -> Map<String, Value> {
    let (dockerfile, inline) = dockerfile(section, plan);
    let args: Map<String, Value> = section
        .args
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .chain(manner.args.iter().map(|arg| (arg.name.clone(), arg.value.clone())))
        .map(|(name, value)| (name, value.into()))
        .collect();
    let labels: Map<String, Value> =
        plan.labels.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    let platforms: Vec<String> = plan.platforms.iter().map(ToString::to_string).collect();
    let ssh = plan.ssh.iter().map(|agent| {
        let paths: Vec<String> = agent.paths.iter().map(|path| path.display().to_string()).collect();
        format!("{}={}", agent.id, paths.join(","))
    });
    let hosts: Map<String, Value> = section
        .extra_hosts
        .iter()
        .map(|(name, addresses)| (name.clone(), addresses.join(",").into()))
        .collect();
    let mut rights = section.entitlements.clone();
    if section.privileged {
        rights.push("security.insecure".to_owned());
    }
    let output = match (plan.push, platforms.len()) {
        (Mode::On, _) => "type=registry",
        (Mode::Off, 0 | 1) => "type=docker",
        (Mode::Off, _) => "type=image,push=false",
    };
    let fields = [
        ("context", json!(section.context)),
        ("contexts", Value::Object(contexts(section))),
        ("dockerfile", json!(dockerfile)),
        ("dockerfile-inline", json!(inline)),
        ("args", Value::Object(args)),
        ("labels", Value::Object(labels)),
        ("tags", json!(tags)),
        ("cache-from", json!(section.cache_from)),
        ("cache-to", json!(section.cache_to)),
        ("target", json!(plan.target)),
        ("secret", json!(secrets(model, section))),
        ("ssh", json!(ssh.collect::<Vec<_>>())),
        ("platforms", json!(platforms)),
        ("pull", json!(plan.pull == Mode::On)),
        ("no-cache", json!(manner.no_cache || section.no_cache)),
        ("no-cache-filter", json!(section.no_cache_filter)),
        ("network", json!(section.network)),
        ("shm-size", json!(plan.shm_size.map(|size| size.to_string()))),
        ("ulimits", json!(ulimits(section))),
        ("entitlements", json!(rights)),
        ("extra-hosts", Value::Object(hosts)),
        ("output", if manner.check { Value::Null } else { json!([output]) }),
        ("attest", json!(attestations(section, manner))),
        ("call", if manner.check { json!("lint") } else { Value::Null }),
    ];
    let fields = fields.into_iter().filter(|(_, value)| says_something(value));
    fields.map(|(key, value)| (key.to_owned(), value)).collect()
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Number(_) => true,
    }
}

fn contexts(section: &Section) -> Map<String, Value> {
    let contexts = section.additional_contexts.iter().map(|(name, place)| {
        let place = match place {
            AdditionalContext::Service(service) => format!("target:{service}"),
            AdditionalContext::Place(place) => place.clone(),
        };
        (name.clone(), place.into())
    });
    contexts.collect()
}

/// Returns where the Dockerfile is, or what is in it.
fn dockerfile(section: &Section, plan: &BuildPlan) -> (Option<String>, Option<String>) {
    match &section.dockerfile {
        Dockerfile::Inline(text) => (None, Some(text.clone())),
        Dockerfile::Path(path) => {
            let path = if path.is_empty() { "Dockerfile" } else { path };
            let path = match &plan.context {
                ContextSource::Local(folder) => folder.join(path).display().to_string(),
                _ => path.to_owned(),
            };
            (Some(path), None)
        }
    }
}

fn ulimits(section: &Section) -> Vec<String> {
    let bound = |limit: Limit| match limit {
        Limit::AtMost(count) => count.to_string(),
        Limit::Unlimited => "-1".to_owned(),
    };
    let ulimits = section.ulimits.iter().map(|(name, limit)| match limit.soft == limit.hard {
        true => format!("{name}={}", bound(limit.soft)),
        false => format!("{name}={}:{}", bound(limit.soft), bound(limit.hard)),
    });
    ulimits.collect()
}

fn attestations(section: &Section, manner: &Manner) -> Vec<String> {
    let Chosen { provenance, sbom } = chosen(section, manner);
    let kinds = [("provenance", provenance), ("sbom", sbom)].into_iter();
    let attestations = kinds.filter_map(|(kind, word)| match word? {
        "" => None,
        "true" | "1" => Some(format!("type={kind}")),
        "false" | "0" => Some(format!("type={kind},disabled=true")),
        more => Some(format!("type={kind},{more}")),
    });
    attestations.collect()
}

fn secrets(model: &Model, section: &Section) -> Vec<String> {
    let grants = section.secrets.iter().filter_map(|grant| {
        let id = grant.target.as_deref().filter(|target| !target.is_empty()).unwrap_or(grant.source.as_str());
        match &model.secrets.get(&grant.source)?.source {
            FileSource::File(path) => Some(format!("id={id},type=file,src={}", path.display())),
            FileSource::Environment(name) => Some(format!("id={id},type=env,env={name}")),
            _ => None,
        }
    });
    grants.collect()
}
