//! `rbuild history`.

use jiff::Timestamp;
use rbuild_images::HistoryItem;
use serde_json::{Value, json};

use super::{Context, Outcome, images::short};
use crate::cli::images::History;
use crate::human;
use crate::report::{Findings, Status};
use crate::template::{self, Column};
use crate::text;
use crate::wiring::Home;

const COLUMNS: &[Column] = &[
    Column { field: "ID", title: "IMAGE" },
    Column { field: "CreatedSince", title: "CREATED" },
    Column { field: "CreatedAt", title: "CREATED AT" },
    Column { field: "CreatedBy", title: "CREATED BY" },
    Column { field: "Size", title: "SIZE" },
    Column { field: "Comment", title: "COMMENT" },
];
const STANDARD: &str = "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";
const MACHINE: &str = "{{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}";
/// How much of an instruction is shown.
const WIDTH: usize = 45;

pub(super) fn run(arguments: &History, context: &Context) -> Outcome {
    let home = Home::open(&context.settings, "rbuild history")?;
    let items = home.images.history(home.images.find_id(&arguments.image)?)?;
    let now = Timestamp::now();
    let rows: Vec<Value> = items.iter().map(|item| row(item, arguments, now)).collect();
    let text = if arguments.quiet && arguments.format.is_none() {
        rows.iter().filter_map(|row| row["ID"].as_str()).map(|id| format!("{id}\n")).collect()
    } else {
        let standard = if arguments.human { STANDARD } else { MACHINE };
        template::list(arguments.format.as_deref(), standard, COLUMNS, &rows).map_err(Findings::from)?
    };
    context.terminal.print(&text)?;
    Ok(Status::Done)
}

fn row(item: &HistoryItem, arguments: &History, now: Timestamp) -> Value {
    let made = item.created.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
    let id = item.id.map_or_else(
        || "<missing>".to_owned(),
        |id| if arguments.no_trunc { id.to_string() } else { short(&id.to_string()) },
    );
    let by = text::one_line(&item.created_by);
    let by = if arguments.no_trunc || by.chars().count() <= WIDTH {
        by
    } else {
        by.chars().take(WIDTH - 1).chain(['…']).collect()
    };
    json!({
        "Comment": text::one_line(&item.comment),
        "CreatedAt": made.map_or_else(|| "N/A".to_owned(), |made| made.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        "CreatedBy": by,
        "CreatedSince": made.map_or_else(|| "N/A".to_owned(), |made| human::ago(made, now)),
        "ID": id,
        "Size": if arguments.human { human::size(item.size) } else { item.size.to_string() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_dockers() {
        let arguments =
            |no_trunc, human| History { image: String::new(), format: None, human, no_trunc, quiet: false };
        let item = HistoryItem {
            id: None,
            created: Some("2026-11-21T15:57:06.5Z".to_owned()),
            created_by:
                "RUN /bin/sh -c echo line1; printf '\\033[31mred\\033[0m\\n'; printf 'nonl' # buildkit"
                    .to_owned(),
            tags: Vec::new(),
            size: 1_984_230,
            comment: "buildkit.dockerfile.v0".to_owned(),
        };
        let now = "2026-11-21T15:57:08.9Z".parse().unwrap();
        let shown = row(&item, &arguments(false, true), now);
        assert_eq!(shown["CreatedBy"], "RUN /bin/sh -c echo line1; printf '\\033[31mr…");
        assert_eq!(shown["CreatedSince"], "2 seconds ago");
        assert_eq!(shown["CreatedAt"], "2026-11-21T15:57:06Z");
        assert_eq!(shown["Size"], "1.98MB");
        assert_eq!(shown["ID"], "<missing>");
        let full = row(&item, &arguments(true, false), now);
        assert_eq!(full["CreatedBy"], item.created_by);
        assert_eq!(full["Size"], "1984230");
    }
}
