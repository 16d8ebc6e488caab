//! `rbuild registry ls` and `rm`: what others pushed to this store.

use rbuild_images::{ShelvedItem, Wanted};
use rbuild_model::reference::Reference;
use serde_json::{Value, json};

use crate::cli::registry::{ListPushed, RemovePushed};
use crate::commands::{Context, Outcome};
use crate::human;
use crate::report::{Findings, Mistake, Status};
use crate::template::{self, Column};
use crate::wiring::Home;

const COLUMNS: &[Column] = &[
    Column { field: "Repository", title: "REPOSITORY" },
    Column { field: "Tag", title: "TAG" },
    Column { field: "Digest", title: "DIGEST" },
    Column { field: "Size", title: "SIZE" },
    Column { field: "MediaType", title: "TYPE" },
];
const STANDARD: &str = "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.Size}}";

pub(super) fn list(arguments: &ListPushed, context: &Context) -> Outcome {
    let home = Home::open(&context.settings, "rbuild registry ls")?;
    let rows: Vec<Value> =
        home.images.shelved()?.iter().flat_map(|item| rows(item, arguments.no_trunc)).collect();
    let text =
        template::list(arguments.format.as_deref(), STANDARD, COLUMNS, &rows).map_err(Findings::from)?;
    context.terminal.print(&text)?;
    Ok(Status::Done)
}

/// A row for each tag; one for what has none.
fn rows(item: &ShelvedItem, in_full: bool) -> Vec<Value> {
    let digest = item.digest.to_string();
    let shown = if in_full { &digest } else { &digest[..19] };
    let row = |tag: &str| {
        json!({
            "Repository": item.repository.familiar_name(),
            "Tag": tag,
            "Digest": shown,
            "Size": human::size(item.size),
            "MediaType": crate::text::one_line(&item.media_type),
        })
    };
    if item.tags.is_empty() { vec![row("<none>")] } else { item.tags.iter().map(|tag| row(tag)).collect() }
}

pub(super) fn remove(arguments: &RemovePushed, context: &Context) -> Outcome {
    let home = Home::open(&context.settings, "rbuild registry rm")?;
    if arguments.all {
        home.images.clear_shelf()?;
        return Ok(Status::Done);
    }
    let items = home.images.shelved()?;
    for text in &arguments.names {
        let reference: Reference =
            text.parse().map_err(|error| Mistake::usage(format!("`{text}`: {error}")))?;
        let repository = reference.name();
        let gone = match (reference.digest(), reference.tag()) {
            (Some(digest), _) => home.images.unshelve(&repository, Wanted::Digest(digest))?,
            (None, Some(tag)) => {
                let named = items.iter().find(|item| {
                    item.repository.name() == repository && item.tags.iter().any(|other| other == tag)
                });
                match named {
                    Some(item) if item.tags.len() == 1 => {
                        home.images.unshelve(&repository, Wanted::Digest(item.digest))?
                    }
                    _ => home.images.unshelve(&repository, Wanted::Tag(tag))?,
                }
            }
            (None, None) => home.images.unshelve_all(&repository)?,
        };
        if !gone {
            return Err(Mistake::new(format!("nothing was pushed here as {}", reference.familiar()))
                .hint("`rbuild registry ls` lists what was")
                .into());
        }
    }
    home.images.tidy_shelf()?;
    Ok(Status::Done)
}
