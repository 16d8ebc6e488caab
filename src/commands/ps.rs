//! `rbuild ps`.

use jiff::Timestamp;
use rbuild_engine::containers::{Filter, ListRequest, Listed, Listing, PortFilter};
use rbuild_model::container::{Definition, State, Status as ContainerStatus};
use serde_json::{Value, json};

use super::filter::moment;
use super::labels::unknown;
use super::{Context, Outcome};
use crate::cli::container::List;
use crate::human;
use crate::report::{self, Findings, Mistake};
use crate::template::{self, Column};
use crate::text;

const COLUMNS: &[Column] = &[
    Column { field: "ID", title: "CONTAINER ID" },
    Column { field: "Image", title: "IMAGE" },
    Column { field: "Command", title: "COMMAND" },
    Column { field: "CreatedAt", title: "CREATED AT" },
    Column { field: "RunningFor", title: "CREATED" },
    Column { field: "Ports", title: "PORTS" },
    Column { field: "State", title: "STATE" },
    Column { field: "Status", title: "STATUS" },
    Column { field: "Size", title: "SIZE" },
    Column { field: "Names", title: "NAMES" },
    Column { field: "Labels", title: "LABELS" },
    Column { field: "Mounts", title: "MOUNTS" },
    Column { field: "LocalVolumes", title: "LOCAL VOLUMES" },
    Column { field: "Networks", title: "NETWORKS" },
    Column { field: "Platform", title: "PLATFORM" },
];
const STANDARD: &str =
    "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";
const WITH_SIZE: &str =
    "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}\t{{.Size}}";
/// `--format raw`: a line a field, and an empty one behind each container.
const RAW: &str = "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\n\
                   state:{{pad .State 1 0}}\nstatus:{{pad .Status 1 0}}\nnames: {{.Names}}\n\
                   labels:{{pad .Labels 1 0}}\nports:{{pad .Ports 1 0}}\n";

pub(super) fn run(arguments: &List, context: &Context) -> Outcome {
    let now = Timestamp::now();
    let last = match arguments.last {
        _ if arguments.latest => Some(1),
        last => usize::try_from(last).ok().filter(|last| *last > 0),
    };
    let wants_size =
        arguments.size || arguments.format.as_deref().is_some_and(|format| format.contains(".Size"));
    let request = ListRequest {
        all: arguments.all,
        last,
        filters: filters(&arguments.filter, now)?,
        sizes: wants_size,
    };
    let (_home, engine) = crate::wiring::engine(context, "rbuild ps")?;
    let Listing { containers: listed, damaged } = engine.listing(&request)?;
    let ids = if arguments.no_trunc { Ids::Full } else { Ids::Short };
    let text = if arguments.quiet && arguments.format.is_none() {
        let id = |one: &Listed| shown_id(&one.definition, ids);
        listed.iter().map(|one| id(one) + "\n").collect()
    } else {
        let rows: Vec<Value> = listed.iter().map(|one| row(one, ids, now)).collect();
        let standard = if arguments.size { WITH_SIZE } else { STANDARD };
        let raw = if arguments.size { format!("{RAW}size: {{{{.Size}}}}\n") } else { RAW.to_owned() };
        let format = arguments.format.as_deref().map(|format| if format == "raw" { &*raw } else { format });
        let list = |rows: &[Value]| template::list(format, standard, COLUMNS, rows).map_err(Findings::from);
        if rows.is_empty() {
            // A mistake in the format is told whoever there is.
            let blank = COLUMNS.iter().map(|column| (column.field.to_owned(), Value::from("")));
            list(&[Value::Object(blank.collect())])?;
        }
        list(&rows)?
    };
    context.terminal.print(&text)?;
    Ok(report::tell_all(damaged, context.terminal))
}

/// Reads the filters of lists of containers.
pub(super) fn filters(asked: &[(String, String)], now: Timestamp) -> anyhow::Result<Vec<Filter>> {
    asked.iter().map(|(key, value)| filter(key, value, now)).collect()
}

fn filter(key: &str, value: &str, now: Timestamp) -> anyhow::Result<Filter> {
    const KEYS: &[&str] = &[
        "ancestor", "before", "exited", "expose", "health", "id", "is-task", "label", "name", "network",
        "publish", "since", "status", "until", "volume",
    ];
    let wrong = |hint: &str| -> anyhow::Error {
        Mistake::new(format!("invalid filter '{key}={value}'")).hint(hint.to_owned()).into()
    };
    let label = || match value.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (value.to_owned(), None),
    };
    Ok(match key {
        "ancestor" => Filter::Ancestor(value.to_owned()),
        "before" => Filter::Before(value.to_owned()),
        "since" => Filter::Since(value.to_owned()),
        "exited" => Filter::Exited(value.parse().map_err(|_| wrong("use a number"))?),
        "expose" | "publish" => {
            let ports = PortFilter::parse(value)
                .ok_or_else(|| wrong("use a port or a range: `80`, `8000-8010/udp`"))?;
            if key == "expose" { Filter::Expose(ports) } else { Filter::Publish(ports) }
        }
        "health" if matches!(value, "starting" | "healthy" | "unhealthy" | "none") => {
            Filter::Health(value.to_owned())
        }
        "health" => return Err(wrong("use one of [starting, healthy, unhealthy, none]")),
        "id" => Filter::Id(value.to_owned()),
        "is-task" => Filter::IsTask(crate::flags::boolean(value).map_err(|_| wrong("use true or false"))?),
        "label" => {
            let (name, value) = label();
            Filter::Label(name, value)
        }
        "label!" => {
            let (name, value) = label();
            Filter::LabelNot(name, value)
        }
        "name" => Filter::Name(value.to_owned()),
        "network" => Filter::Network(value.to_owned()),
        "status" => Filter::Status(value.parse().map_err(|()| {
            let all: Vec<_> = ContainerStatus::ALL.iter().map(|status| status.word()).collect();
            wrong(&format!("use one of [{}]", all.join(", ")))
        })?),
        "until" => {
            Filter::Until(moment(value, now).ok_or_else(|| wrong("use an age like `24h`, or RFC 3339"))?)
        }
        "volume" => Filter::Volume(value.to_owned()),
        other => return Err(unknown(other, KEYS).into()),
    })
}

/// Whether lists show everything in full: ids, commands, names of mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ids {
    /// All of it.
    Full,
    /// As much as fits a table.
    Short,
}

/// Returns a container's id as lists show it.
pub(super) fn shown_id(definition: &Definition, ids: Ids) -> String {
    match ids {
        Ids::Full => definition.id.to_string(),
        Ids::Short => definition.id.short(),
    }
}

/// Returns a container as lists show it.
pub(super) fn row(one: &Listed, ids: Ids, now: Timestamp) -> Value {
    let full = ids == Ids::Full;
    let Listed { definition, observed, size } = one;
    let command = command(definition);
    let mounts: Vec<String> = definition.host.mounts.iter().filter_map(mounted).collect();
    let volumes = definition
        .host
        .mounts
        .iter()
        .filter(|mount| matches!(mount.what, rbuild_model::container::MountWhat::Volume { .. }))
        .count();
    json!({
        "Command": text::quoted(&if full { command } else { ellipsis(&command, 20) }),
        "CreatedAt": human::moment(definition.created),
        "ID": shown_id(definition, ids),
        "Image": definition.image.reference,
        "Label": definition.labels,
        "Labels": super::labels::line(&definition.labels),
        "LocalVolumes": volumes.to_string(),
        "Mounts": mounts.iter().map(|name| if full { name.clone() } else { ellipsis(name, 15) }).collect::<Vec<_>>().join(","),
        "Names": definition.name.as_str(),
        "Networks": one.networks().join(","),
        "Platform": null,
        "Ports": super::ports::text_of(one),
        "RunningFor": human::ago(definition.created, now),
        "Size": size.map_or_else(|| "0B".to_owned(), |(own, all)| match all {
            0 => human::size(own),
            all => format!("{} (virtual {})", human::size(own), human::size(all)),
        }),
        "State": observed.state.status().word(),
        "Status": status(&observed.state, now),
    })
}

/// Returns what a container runs: arguments with blanks in quotes, as Docker writes it.
fn command(definition: &Definition) -> String {
    let argv = definition.program.argv();
    let words = argv
        .iter()
        .enumerate()
        .map(|(at, word)| if at > 0 && word.contains(' ') { format!("'{word}'") } else { word.clone() });
    words.collect::<Vec<_>>().join(" ")
}

fn mounted(mount: &rbuild_model::container::MountUse) -> Option<String> {
    use rbuild_model::container::MountWhat;
    match &mount.what {
        MountWhat::Bind { source, .. } => Some(source.display().to_string()),
        MountWhat::Volume { name, .. } => Some(name.to_string()),
        MountWhat::Image { reference, .. } => Some(reference.clone()),
        MountWhat::Tmpfs(_) => None,
    }
}

/// Cuts a text to so many letters, the last of them three dots in one.
fn ellipsis(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

/// Returns a state as people read it.
pub(super) fn status(state: &State, now: Timestamp) -> String {
    let health = |run: &rbuild_model::container::Run| match &run.health {
        Some(health) => match health.status.word() {
            "starting" => " (health: starting)".to_owned(),
            word => format!(" ({word})"),
        },
        None => String::new(),
    };
    let since = |moment: Timestamp| {
        human::span(std::time::Duration::try_from(now.duration_since(moment)).unwrap_or_default())
    };
    match state {
        State::Created { .. } => "Created".to_owned(),
        State::Running(run) => format!("Up {}{}", since(run.started), health(run)),
        State::Paused(run) => format!("Up {} (Paused)", since(run.started)),
        State::Restarting { last, .. } => format!("Restarting ({}) {} ago", last.code, since(last.finished)),
        State::Exited(ended) => format!("Exited ({}) {} ago", ended.code, since(ended.finished)),
        State::Removing { .. } => "Removal In Progress".to_owned(),
        State::Dead { .. } => "Dead".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(ellipsis("sleep 1000", 20), "sleep 1000");
        assert_eq!(ellipsis("/bin/sh -c 'while true'", 20), "/bin/sh -c 'while t…");
    }
}
