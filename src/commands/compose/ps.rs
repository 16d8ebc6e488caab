//! `rbuild compose ps`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rbuild_engine::containers::Listed;
use rbuild_engine::projects::Member;
use rbuild_model::container::{self, State};
use rbuild_model::project::ServiceName;
use serde_json::{Value, json};

use super::look::{Look, Which, is_numbered};
use crate::cli::compose::Project;
use crate::cli::compose::look::Containers;
use crate::commands::ps::{self, Ids};
use crate::commands::{Context, Outcome, ports};
use crate::report::{Findings, Mistake, Status};
use crate::template::{self, Column};
use crate::text::near;

const COLUMNS: &[Column] = &[
    Column { field: "Name", title: "NAME" },
    Column { field: "Image", title: "IMAGE" },
    Column { field: "Command", title: "COMMAND" },
    Column { field: "Service", title: "SERVICE" },
    Column { field: "RunningFor", title: "CREATED" },
    Column { field: "Status", title: "STATUS" },
    Column { field: "Ports", title: "PORTS" },
    Column { field: "ID", title: "CONTAINER ID" },
    Column { field: "CreatedAt", title: "CREATED AT" },
    Column { field: "State", title: "STATE" },
    Column { field: "Health", title: "HEALTH" },
    Column { field: "ExitCode", title: "EXIT CODE" },
    Column { field: "Project", title: "PROJECT" },
    Column { field: "Names", title: "NAMES" },
    Column { field: "Labels", title: "LABELS" },
    Column { field: "Mounts", title: "MOUNTS" },
    Column { field: "LocalVolumes", title: "LOCAL VOLUMES" },
    Column { field: "Networks", title: "NETWORKS" },
    Column { field: "Size", title: "SIZE" },
    Column { field: "Publishers", title: "PUBLISHERS" },
];
const STANDARD: &str =
    "{{.Name}}\t{{.Image}}\t{{.Command}}\t{{.Service}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}";

pub(super) fn run(project: &Project, arguments: &Containers, context: &Context) -> Outcome {
    let states = states(arguments)?;
    let look = Look::at(project, "ps", context)?;
    look.check(&arguments.services)?;
    let all = arguments.all || !states.is_empty();
    let which = if all { Which::Any } else { Which::Running };
    let mut members = look.shown(&arguments.services, which, context)?;
    let declared: BTreeSet<&str> = look.meant.model.services.keys().map(ServiceName::as_str).collect();
    members.retain(|member| {
        (all || is_numbered(member))
            && (arguments.orphans
                || look.meant.loaded.is_none()
                || declared.contains(&*member.replica.service))
            && (states.is_empty() || states.contains(&member.seen.state.status()))
    });
    members.sort_by(|a, b| a.replica.name.cmp(&b.replica.name));
    for member in &mut members {
        look.engine.follow_networks(&member.definition, &mut member.seen)?;
    }
    context.terminal.print(&text(&members, arguments, Timestamp::now())?)?;
    Ok(Status::Done)
}

/// Returns the states that are asked for. Docker takes any word, and shows an empty list for one that it mistook.
fn states(arguments: &Containers) -> Result<Vec<container::Status>, Mistake> {
    let filtered = arguments.filter.as_deref().map(filter).transpose()?;
    let words = arguments.status.iter().map(String::as_str).chain(filtered);
    words
        .map(|word| {
            word.parse().map_err(|()| {
                let all = container::Status::ALL.map(container::Status::word);
                let mistake = Mistake::new(format!("no container can have the status `{word}`"));
                match near(word, all) {
                    Some(near) => {
                        mistake.hint(format!("did you mean `{near}`? There are {}", all.join(", ")))
                    }
                    None => mistake.hint(format!("there are {}", all.join(", "))),
                }
            })
        })
        .collect()
}

fn filter(text: &str) -> Result<&str, Mistake> {
    match text.split_once('=') {
        Some(("status", state)) => Ok(state),
        Some((name, _)) => Err(Mistake::new(format!("unknown filter {name}")).hint("there is `status=`")),
        None => Err(Mistake::new("arguments to --filter should be in form KEY=VAL")),
    }
}

fn text(members: &[Member], arguments: &Containers, now: Timestamp) -> anyhow::Result<String> {
    if arguments.quiet {
        return Ok(members.iter().map(|member| format!("{}\n", member.definition.id)).collect());
    }
    if arguments.only_services {
        let mut services: Vec<&str> = Vec::new();
        for member in members {
            if !services.contains(&&*member.replica.service) {
                services.push(&member.replica.service);
            }
        }
        return Ok(services.into_iter().map(|service| format!("{service}\n")).collect());
    }
    let ids = if arguments.no_trunc { Ids::Full } else { Ids::Short };
    let rows: Vec<Value> = members.iter().map(|member| row(member, ids, now)).collect();
    let text = template::list(arguments.format.as_deref(), STANDARD, COLUMNS, &rows);
    Ok(text.map_err(Findings::from)?)
}

/// Returns a container as `docker compose ps --format json` does.
fn row(member: &Member, ids: Ids, now: Timestamp) -> Value {
    let Member { replica, definition, seen } = member;
    let listed = Listed { definition: definition.clone(), observed: seen.clone(), size: None };
    let mut row = ps::row(&listed, ids, now);
    let health = seen.state.run().and_then(|run| run.health.as_ref());
    let publishers: Vec<Value> = ports::of(definition, seen)
        .into_iter()
        .map(|port| {
            json!({
                "URL": port.host.map(|(address, _)| address.to_string()).unwrap_or_default(),
                "TargetPort": port.port,
                "PublishedPort": port.host.map_or(0, |(_, port)| port),
                "Protocol": port.protocol,
            })
        })
        .collect();
    row["ExitCode"] = match &seen.state {
        State::Exited(ended) => ended.code,
        _ => 0,
    }
    .into();
    row["Health"] = health.map_or("", |health| health.status.word()).into();
    row["Name"] = replica.name.clone().into();
    row["Project"] = label(member, rbuild_engine::projects::labels::key::PROJECT);
    row["Publishers"] = publishers.into();
    row["Service"] = replica.service.clone().into();
    // It is a list of containers, not of what they are made for; the fields stand in the order of the alphabet.
    let fields: BTreeMap<String, Value> =
        row.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect();
    fields.into_iter().filter(|(name, _)| name != "Platform").collect()
}

fn label(member: &Member, key: &str) -> Value {
    member.definition.labels.get(key).cloned().unwrap_or_default().into()
}
