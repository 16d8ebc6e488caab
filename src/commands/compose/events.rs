//! `rbuild compose events`.

use jiff::Timestamp;
use rbuild_engine::projects::labels::{self, key};
use serde_json::{Map, Value, json};

use super::look::Look;
use crate::cli::compose::Project;
use crate::cli::compose::look::Events;
use crate::commands::events::{Span, each};
use crate::commands::{Context, Outcome};
use crate::report::Status;
use crate::text;

pub(super) fn run(project: &Project, arguments: &Events, context: &Context) -> Outcome {
    let span = Span::read(arguments.since.as_deref(), arguments.until.as_deref())?;
    let look = Look::at(project, "events", context)?;
    look.check(&arguments.services)?;
    let name = look.meant.name.as_str();
    each(&look.home.store.events(), span, |event, time| {
        if is_of(event, name, &arguments.services) {
            let text =
                if arguments.json { format!("{}\n", document(event, time)) } else { line(event, time) };
            context.terminal.print(&text)?;
        }
        Ok(())
    })?;
    Ok(Status::Done)
}

/// Tells whether an event is of a container of services of a project, and no one-off.
fn is_of(event: &Value, project: &str, services: &[String]) -> bool {
    let label = |key: &str| event["attributes"][key].as_str().unwrap_or_default();
    event["type"] == "container"
        && label(key::PROJECT) == project
        && label(key::ONE_OFF) != "True"
        && (services.is_empty() || services.iter().any(|service| service == label(key::SERVICE)))
}

/// Returns what is told of an event besides what it is: all but the labels that projects work by.
fn attributes(event: &Value) -> Map<String, Value> {
    let all = event["attributes"].as_object().cloned().unwrap_or_default();
    all.into_iter().filter(|(name, _)| !name.starts_with(labels::PREFIX)).collect()
}

fn document(event: &Value, time: Timestamp) -> Value {
    json!({
        "action": event["action"],
        "attributes": attributes(event),
        "id": event["id"],
        "service": event["attributes"][key::SERVICE],
        "time": time.strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string(),
        "type": "container",
    })
}

fn line(event: &Value, time: Timestamp) -> String {
    let attributes: Vec<String> = attributes(event)
        .iter()
        .map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default()))
        .collect();
    let field = |name: &str| text::one_line(event[name].as_str().unwrap_or_default());
    format!(
        "{} container {} {} ({})\n\n",
        time.strftime("%Y-%m-%d %H:%M:%S.%6f"),
        field("action"),
        field("id"),
        text::one_line(&attributes.join(", "))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_as_by_docker() {
        let event = json!({
            "type": "container",
            "action": "exec_die",
            "id": "2cb9",
            "attributes": {
                "com.docker.compose.project": "vbp", "com.docker.compose.service": "web",
                "execID": "4cdf", "exitCode": "0", "image": "busybox", "name": "vbp-web-1",
            },
        });
        let time: Timestamp = "2026-11-21T22:04:58.259109934Z".parse().unwrap();
        assert_eq!(
            line(&event, time),
            "2026-11-21 22:04:58.259109 container exec_die 2cb9 (execID=4cdf, exitCode=0, image=busybox, name=vbp-web-1)\n\n"
        );
        assert_eq!(
            document(&event, time).to_string(),
            "{\"action\":\"exec_die\",\"attributes\":{\"execID\":\"4cdf\",\"exitCode\":\"0\",\"image\":\"busybox\",\
             \"name\":\"vbp-web-1\"},\"id\":\"2cb9\",\"service\":\"web\",\"time\":\"2026-11-21T22:04:58.259109934Z\",\
             \"type\":\"container\"}"
        );
        assert!(is_of(&event, "vbp", &[]) && is_of(&event, "vbp", &["web".to_owned()]));
        assert!(!is_of(&event, "other", &[]) && !is_of(&event, "vbp", &["db".to_owned()]));
    }
}
