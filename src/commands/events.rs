//! `rbuild events`.

use jiff::Timestamp;
use rbuild_store::events::{Events, Position};
use serde_json::{Map, Value, json};

use super::filter::moment;
use super::{Context, Outcome};
use crate::cli::container::Events as Arguments;
use crate::report::{Mistake, Status, Unreadable};
use crate::template::shape::{Field, Shape};
use crate::template::{Document, Template};
use crate::text;
use crate::wiring::Home;

/// So many bytes of events are read at a time.
const BATCH: usize = 1 << 20;

pub(super) fn run(arguments: &Arguments, context: &Context) -> Outcome {
    let span = Span::read(arguments.since.as_deref(), arguments.until.as_deref())?;
    let template = match arguments.format.as_deref() {
        None | Some("" | "json") => None,
        Some(format) => Some(Template::parse(format).map_err(Unreadable::of)?),
    };
    let filters = known(&arguments.filter, context);
    let events = Home::open(&context.settings, "rbuild events")?.store.events();
    each(&events, span, |event, time| {
        if fits(event, &filters) {
            let text = match (&template, arguments.format.as_deref()) {
                (Some(template), _) => {
                    let document = Document { value: message(event, time), shape: Some(&EVENT) };
                    template.render_document(&document).map_err(Unreadable::of)? + "\n"
                }
                (None, Some("json")) => format!("{}\n", message(event, time)),
                (None, _) => line_of(event, time),
            };
            context.terminal.print(&text)?;
        }
        Ok(())
    })?;
    Ok(Status::Done)
}

/// From when until when events are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Span {
    /// Reads `--since` and `--until`.
    pub(super) fn read(since: Option<&str>, until: Option<&str>) -> Result<Self, Mistake> {
        let now = Timestamp::now();
        let bound = |name: &str, text: Option<&str>| {
            let read = |text: &str| {
                moment(text, now).ok_or_else(|| {
                    Mistake::new(format!("`--{name} {text}`: not a time"))
                        .hint("use an age like `24h`, seconds since 1970, or RFC 3339")
                })
            };
            text.filter(|text| !text.is_empty()).map(read).transpose()
        };
        Ok(Self { since: bound("since", since)?, until: bound("until", until)? })
    }
}

/// Hands over the events of a span of time, as they come; ends at its end, if it has one.
pub(super) fn each(
    events: &Events,
    span: Span,
    mut take: impl FnMut(&Value, Timestamp) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let Span { since, until } = span;
    let now = Timestamp::now();
    // What comes between the look and the watch is seen by the look after it.
    let watch = events.watch()?;
    let mut position = if since.is_some() || until.is_some_and(|until| until <= now) {
        Position::OLDEST
    } else {
        events.end()?
    };
    loop {
        let batch = events.read(position, BATCH)?;
        for (after, line) in &batch.events {
            position = *after;
            // A line that a later rbuild wrote in another way is not for us.
            let Ok(event) = serde_json::from_slice::<Value>(line) else { continue };
            let time =
                event["time_nano"].as_i64().and_then(|nanos| Timestamp::from_nanosecond(nanos.into()).ok());
            let Some(time) = time else { continue };
            if until.is_some_and(|until| time > until) {
                return Ok(());
            }
            if since.is_none_or(|since| time >= since) {
                take(&event, time)?;
            }
        }
        if !batch.events.is_empty() {
            continue;
        }
        let left = match until {
            None => None,
            Some(until) => match std::time::Duration::try_from(until.duration_since(Timestamp::now())) {
                Ok(left) if !left.is_zero() => Some(left),
                _ => return Ok(()),
            },
        };
        watch.wait(left)?;
    }
}

const KEYS: &[&str] = &[
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

/// Returns the filters that there are. As with Docker, others are passed over; here they are told of.
fn known(filters: &[(String, String)], context: &Context) -> Vec<(String, String)> {
    let (known, others): (Vec<_>, Vec<_>) =
        filters.iter().cloned().partition(|(key, _)| KEYS.contains(&key.as_str()));
    for (key, _) in others {
        let key = crate::text::one_line(&key);
        context.terminal.tell(&format!("note: no filter of events is called `{key}`: it is passed over\n"));
    }
    known
}

/// Tells whether an event fits: of each key, one value has to; of labels, all.
fn fits(event: &Value, filters: &[(String, String)]) -> bool {
    let kind = event["type"].as_str().unwrap_or_default();
    let action = event["action"].as_str().unwrap_or_default();
    let id = event["id"].as_str().unwrap_or_default();
    let attribute = |name: &str| event["attributes"][name].as_str();
    let fits_one = |key: &str, value: &str| match key {
        "type" => kind == value,
        "event" => action == value || action.strip_prefix(value).is_some_and(|rest| rest.starts_with(':')),
        "container" | "network" | "volume" | "plugin" if kind == key => {
            id.starts_with(value) || attribute("name") == Some(value)
        }
        "container" => attribute("container").is_some_and(|container| container.starts_with(value)),
        "image" => {
            let name = if kind == "image" { attribute("name").or(Some(id)) } else { attribute("image") };
            name.is_some_and(|name| name == value || name.split([':', '@']).next() == Some(value))
        }
        "label" => match value.split_once('=') {
            Some((label, value)) => attribute(label) == Some(value),
            None => attribute(value).is_some(),
        },
        "scope" => value == "local",
        _ => false,
    };
    filters.iter().all(|(key, value)| match key.as_str() {
        "label" => fits_one(key, value),
        key => filters.iter().filter(|(other, _)| other == key).any(|(_, value)| fits_one(key, value)),
    })
}

/// What an event is for templates: Docker's name for each field, and the JSON's.
const EVENT: Shape = Shape::Struct(&[
    Field::called("Status", "status", Shape::Text),
    Field::called("ID", "id", Shape::Text),
    Field::called("From", "from", Shape::Text),
    Field::new("Type", Shape::Text),
    Field::new("Action", Shape::Text),
    Field::new(
        "Actor",
        Shape::Struct(&[Field::new("ID", Shape::Text), Field::new("Attributes", Shape::Map(&Shape::Text))]),
    ),
    Field::called("Scope", "scope", Shape::Text),
    Field::called("Time", "time", Shape::Number),
    Field::called("TimeNano", "timeNano", Shape::Number),
]);

/// Returns an event in the words of Docker's documents.
fn message(event: &Value, time: Timestamp) -> Value {
    let mut message = Map::new();
    if event["type"] == "container" {
        message.insert("status".to_owned(), event["action"].clone());
        message.insert("id".to_owned(), event["id"].clone());
        message.insert("from".to_owned(), event["attributes"]["image"].clone());
    }
    message.insert("Type".to_owned(), event["type"].clone());
    message.insert("Action".to_owned(), event["action"].clone());
    message.insert("Actor".to_owned(), json!({ "ID": event["id"], "Attributes": event["attributes"] }));
    message.insert("scope".to_owned(), "local".into());
    message.insert("time".to_owned(), time.as_second().into());
    message.insert("timeNano".to_owned(), event["time_nano"].clone());
    message.into()
}

fn line_of(event: &Value, time: Timestamp) -> String {
    let mut attributes: Vec<String> = event["attributes"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect();
    attributes.sort();
    let field = |name: &str| text::escape(event[name].as_str().unwrap_or_default());
    format!(
        "{} {} {} {} ({})\n",
        time.strftime("%Y-%m-%dT%H:%M:%S.%9fZ"),
        field("type"),
        field("action"),
        field("id"),
        text::escape(&attributes.join(", "))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_fits(filters: &[(&str, &str)], expected: bool) {
        let event = json!({
            "type": "container",
            "action": "exec_start: ls",
            "id": "abcdef",
            "attributes": { "name": "web", "image": "nginx:1", "tier": "front" },
            "time_nano": 1,
        });
        let filters: Vec<_> = filters.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(fits(&event, &filters), expected, "{filters:?}");
    }

    #[test]
    fn one_of_a_key_and_all_labels() {
        check_fits(&[], true);
        check_fits(&[("container", "web")], true);
        check_fits(&[("container", "abc"), ("container", "other")], true);
        check_fits(&[("event", "exec_start")], true);
        check_fits(&[("event", "exec")], false);
        check_fits(&[("image", "nginx")], true);
        check_fits(&[("label", "tier=front"), ("label", "missing")], false);
        check_fits(&[("type", "image")], false);
    }
}
