//! `rbuild compose images` and `volumes`.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rbuild_engine::projects::Member;
use rbuild_engine::projects::labels::key;
use rbuild_images::Image;
use rbuild_model::reference::Reference;
use serde_json::{Value, json};

use super::look::{Look, Which};
use crate::cli::compose::Project;
use crate::cli::compose::look::{Images, Volumes};
use crate::commands::volume::list;
use crate::commands::{Context, Outcome, images::short};
use crate::human;
use crate::report::{Findings, Mistake, Status};
use crate::table::Table;
use crate::template;

pub(super) fn run(project: &Project, arguments: &Images, context: &Context) -> Outcome {
    let look = Look::at(project, "images", context)?;
    let mut members = look.shown(&arguments.services, Which::Any, context)?;
    members.sort_by(|a, b| a.replica.name.cmp(&b.replica.name));
    let mut rows = Vec::with_capacity(members.len());
    for member in &members {
        let image = look.home.images.get(member.definition.image.id)?;
        rows.push(Row::of(member, image.as_ref()));
    }
    context.terminal.print(&text(&rows, arguments, Timestamp::now())?)?;
    Ok(Status::Done)
}

/// The image of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    id: String,
    container: String,
    repository: String,
    tag: String,
    platform: String,
    size: u64,
    created: Option<Timestamp>,
    named: Option<Timestamp>,
}

impl Row {
    fn of(member: &Member, image: Option<&Image>) -> Self {
        let definition = &member.definition;
        let asked = definition.image.reference.parse::<Reference>().map(Reference::with_default_tag);
        // The name that it was made by counts as long as it still means the image.
        let name = image.and_then(|image| {
            let same = image.tags.iter().find(|tag| asked.as_ref().is_ok_and(|asked| asked == *tag));
            same.or(image.tags.first())
        });
        let none = || "<none>".to_owned();
        Self {
            id: definition.image.id.to_string(),
            container: member.replica.name.clone(),
            repository: name.map_or_else(none, Reference::familiar_name),
            tag: name.and_then(Reference::tag).map_or_else(none, str::to_owned),
            platform: definition.image.platform.to_string(),
            size: image.map_or(0, |image| image.size),
            created: image
                .and_then(|image| image.config.created.as_deref())
                .and_then(|created| created.parse().ok()),
            named: image
                .and_then(|image| image.last_named)
                .and_then(|seconds| Timestamp::from_second(seconds).ok()),
        }
    }
}

fn text(rows: &[Row], arguments: &Images, now: Timestamp) -> anyhow::Result<String> {
    if arguments.quiet {
        let ids: BTreeSet<&str> =
            rows.iter().map(|row| row.id.strip_prefix("sha256:").unwrap_or(&row.id)).collect();
        return Ok(ids.into_iter().map(|id| format!("{id}\n")).collect());
    }
    match &*arguments.format {
        "json" => Ok(format!("{}\n", Value::Array(rows.iter().map(document).collect()))),
        "" | "table" | "pretty" => {
            let mut table = Table::spaced(20, 3);
            table.row(["CONTAINER", "REPOSITORY", "TAG", "PLATFORM", "IMAGE ID", "SIZE", "CREATED"]);
            for row in rows {
                let made = row.created.or(row.named);
                table.row([
                    row.container.clone(),
                    row.repository.clone(),
                    row.tag.clone(),
                    row.platform.clone(),
                    short(&row.id),
                    human::size(row.size),
                    made.map_or_else(|| "N/A".to_owned(), |made| human::ago(made, now)),
                ]);
            }
            Ok(table.render())
        }
        other => {
            let mistake = Mistake::new(format!("format value {other:?} could not be parsed"));
            Err(mistake.hint("there are table and json").into())
        }
    }
}

fn document(row: &Row) -> Value {
    let mut document = json!({
        "ID": row.id,
        "ContainerName": row.container,
        "Repository": row.repository,
        "Tag": row.tag,
        "Platform": row.platform,
        "Size": row.size,
    });
    if let Some(created) = row.created {
        document["Created"] = created.to_string().into();
    }
    if let Some(named) = row.named {
        document["LastTagTime"] = named.to_string().into();
    }
    document
}

pub(super) fn volumes(project: &Project, arguments: &Volumes, context: &Context) -> Outcome {
    let look = Look::at(project, "volumes", context)?;
    look.check(&arguments.services)?;
    let name = look.meant.name.as_str();
    let members = look.members(&arguments.services, Which::Any)?;
    let used: BTreeSet<&str> =
        members.iter().flat_map(|member| &member.replica.volumes).map(String::as_str).collect();
    let volumes = look.engine.volumes();
    let mut rows = Vec::new();
    for definition in volumes.list()? {
        let ours = definition.labels.get(key::PROJECT).is_some_and(|project| project == name);
        if ours && (arguments.services.is_empty() || used.contains(definition.name.as_str())) {
            rows.push(list::row(&definition, &volumes)?);
        }
    }
    let text = if arguments.quiet {
        rows.iter().filter_map(|row| Some(format!("{}\n", row["Name"].as_str()?))).collect()
    } else {
        template::list(arguments.format.as_deref(), list::STANDARD, list::COLUMNS, &rows)
            .map_err(Findings::from)?
    };
    context.terminal.print(&text)?;
    Ok(Status::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_listed_as_by_docker() {
        let row = Row {
            id: "sha256:14816dac1dc809d60e1f5fbec4484b176bb1d7421f03136d848b4fbefefca6e8".to_owned(),
            container: "vbp-web-1".to_owned(),
            repository: "busybox".to_owned(),
            tag: "latest".to_owned(),
            platform: "linux/amd64".to_owned(),
            size: 1_984_230,
            created: None,
            named: Some("2026-11-21T15:37:39Z".parse().unwrap()),
        };
        let now = "2026-11-21T22:04:58Z".parse().unwrap();
        let text = |format: &str, quiet| {
            let arguments = Images { format: format.to_owned(), quiet, ..Images::default() };
            text(std::slice::from_ref(&row), &arguments, now).unwrap()
        };
        assert_eq!(
            text("table", false),
            "CONTAINER           REPOSITORY          TAG                 PLATFORM            IMAGE ID            SIZE                CREATED\n\
             vbp-web-1           busybox             latest              linux/amd64         14816dac1dc8        1.98MB              6 hours ago\n"
        );
        assert_eq!(text("table", true), "14816dac1dc809d60e1f5fbec4484b176bb1d7421f03136d848b4fbefefca6e8\n");
        let json: Value = serde_json::from_str(&text("json", false)).unwrap();
        assert_eq!(
            json[0],
            json!({
                "ID": row.id, "ContainerName": "vbp-web-1", "Repository": "busybox", "Tag": "latest",
                "Platform": "linux/amd64", "Size": 1_984_230, "LastTagTime": "2026-11-21T15:37:39Z",
            })
        );
    }
}
