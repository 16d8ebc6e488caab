//! What was asked for, under the names that BuildKit's frontend has for it.

use std::collections::BTreeMap;

use rbuild_frontend::lower::{LowerOptions, NoCache};
use rbuild_model::graph::{Graph, StepId};
use rbuild_model::mount::Mount;
use rbuild_model::step::{NetworkMode, Operation, Source};
use serde_json::{Map, Value, json};

use super::public;
use crate::request::{BuildRequest, Detail, DockerfilePlace, NamedContext};

/// Writes down what the caller asked for; what may be a secret, and by whom steps are told apart, only in detail.
pub(super) fn asked(request: &BuildRequest, graph: &Graph, steps: &[StepId], detail: Detail) -> Value {
    let mut value = json!({ "frontend": "dockerfile.v0" });
    let mut args = of_options(&request.options);
    args.extend(
        request.contexts.iter().map(|(name, context)| (format!("context:{name}"), address(name, context))),
    );
    if detail == Detail::Max {
        let LowerOptions { build_args, labels, .. } = &request.options;
        args.extend(build_args.iter().map(|(name, value)| (format!("build-arg:{name}"), value.clone())));
        args.extend(labels.iter().map(|(name, value)| (format!("label:{name}"), value.clone())));
        for (key, list) in offered(graph, steps) {
            value[key] = list;
        }
    }
    if !args.is_empty() {
        value["args"] = json!(args);
    }
    let locals = locals(request, graph, steps);
    if !locals.is_empty() {
        value["locals"] = locals.into_iter().map(|name| json!({ "name": name })).collect();
    }
    value
}

/// The options that change what steps do; those of the machine that builds are not among them.
fn of_options(options: &LowerOptions) -> BTreeMap<String, String> {
    let hosts: Vec<String> =
        options.extra_hosts.iter().map(|host| format!("{}={}", host.name, host.address)).collect();
    let ulimits: Vec<String> =
        options.ulimits.iter().map(|limit| format!("{}={}:{}", limit.name, limit.soft, limit.hard)).collect();
    let all = [
        ("target", options.target.clone()),
        ("add-hosts", (!hosts.is_empty()).then(|| hosts.join(","))),
        ("ulimit", (!ulimits.is_empty()).then(|| ulimits.join(","))),
        ("shm-size", options.shm_size.map(|bytes| bytes.to_string())),
        (
            "force-network-mode",
            match options.network {
                NetworkMode::Default => None,
                NetworkMode::None => Some("none".to_owned()),
                NetworkMode::Host => Some("host".to_owned()),
            },
        ),
        (
            "no-cache",
            match &options.no_cache {
                NoCache::None => None,
                NoCache::All => Some(String::new()),
                NoCache::Stages(names) => Some(names.join(",")),
            },
        ),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// Says where a named context is, without the folders of the machine.
fn address(name: &str, context: &NamedContext) -> String {
    match context {
        NamedContext::Local => format!("local:{name}"),
        NamedContext::Image(reference) => format!("docker-image://{}", reference.familiar()),
        NamedContext::Scratch => "docker-image://scratch".to_owned(),
        NamedContext::Git(url) | NamedContext::Web(url) => public(url),
        NamedContext::Layout(_) => format!("oci-layout://{name}"),
        NamedContext::Target(target) => format!("target:{target}"),
    }
}

/// The secrets and agents that steps may have, by id.
fn offered(graph: &Graph, steps: &[StepId]) -> Map<String, Value> {
    let (mut secrets, mut agents) = (BTreeMap::new(), BTreeMap::new());
    for mount in steps.iter().filter_map(|step| mounts(graph, *step)).flatten() {
        let (list, id, required) = match mount {
            Mount::Secret(secret) => (&mut secrets, &secret.id, secret.required),
            Mount::Ssh(agent) => (&mut agents, &agent.id, agent.required),
            Mount::Bind(_) | Mount::Cache(_) | Mount::Tmpfs(_) => continue,
        };
        *list.entry(id.clone()).or_insert(false) |= required;
    }
    let entry = |(id, required): (String, bool)| {
        if required { json!({ "id": id }) } else { json!({ "id": id, "optional": true }) }
    };
    let lists = [("secrets", secrets), ("ssh", agents)].into_iter().filter(|(_, list)| !list.is_empty());
    lists.map(|(key, list)| (key.to_owned(), list.into_iter().map(entry).collect())).collect()
}

fn mounts(graph: &Graph, step: StepId) -> Option<&[Mount]> {
    match &graph.step(step).operation {
        Operation::Exec(exec) => Some(&exec.mounts),
        _ => None,
    }
}

/// The caller's folders that were read, by the names they go by; the Dockerfile's is one of its own.
fn locals<'r>(request: &BuildRequest, graph: &'r Graph, steps: &[StepId]) -> Vec<&'r str> {
    let mut locals: Vec<&str> = steps
        .iter()
        .filter_map(|step| match &graph.step(*step).operation {
            Operation::Source(Source::Local(local)) => Some(local.name.as_str()),
            _ => None,
        })
        .collect();
    // A file that was fetched as the context is no folder of the caller's.
    if request.dockerfile_place == DockerfilePlace::Given
        && !matches!(request.options.context, Source::Http(_))
    {
        locals.push("dockerfile");
    }
    locals.sort_unstable();
    locals.dedup();
    locals
}
