//! `rbuild images`.

use jiff::Timestamp;
use rbuild_images::{Image, NamedIndex};
use rbuild_model::reference::Reference;
use serde_json::{Value, json};

use super::ps::Ids;
use super::{Context, Outcome, filter};
use crate::cli::images::List;
use crate::human;
use crate::report::{Findings, Status};
use crate::template::{self, Column};
use crate::wiring::Home;

const COLUMNS: &[Column] = &[
    Column { field: "Repository", title: "REPOSITORY" },
    Column { field: "Tag", title: "TAG" },
    Column { field: "Digest", title: "DIGEST" },
    Column { field: "ID", title: "IMAGE ID" },
    Column { field: "CreatedSince", title: "CREATED" },
    Column { field: "CreatedAt", title: "CREATED AT" },
    Column { field: "Size", title: "SIZE" },
    Column { field: "VirtualSize", title: "SIZE" },
    Column { field: "SharedSize", title: "SHARED SIZE" },
    Column { field: "UniqueSize", title: "UNIQUE SIZE" },
    Column { field: "Containers", title: "CONTAINERS" },
];
const STANDARD: &str = "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";
const WITH_DIGESTS: &str = "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}";

pub(super) fn run(arguments: &List, context: &Context) -> Outcome {
    let now = Timestamp::now();
    let filters = filter::parse(&arguments.filter, filter::OF_IMAGES, now)?;
    let home = Home::open(&context.settings, "rbuild images")?;
    let all = home.images.list()?;
    let chosen = all
        .iter()
        .filter(|image| filters.iter().all(|filter| filter.fits(image, &all)))
        .filter(|image| arguments.name.as_deref().is_none_or(|name| is_called(image, name)));
    let ids = if arguments.no_trunc { Ids::Full } else { Ids::Short };
    let rows: Vec<Value> =
        chosen.flat_map(|image| rows(image, arguments.name.as_deref(), ids, now)).collect();
    let text = text(arguments, &rows)?;
    context.terminal.print(&text)?;
    Ok(Status::Done)
}

fn text(arguments: &List, rows: &[Value]) -> Result<String, Findings> {
    if arguments.quiet && arguments.format.is_none() {
        let mut ids: Vec<&str> = rows.iter().filter_map(|row| row["ID"].as_str()).collect();
        ids.dedup();
        return Ok(ids.into_iter().map(|id| format!("{id}\n")).collect());
    }
    let standard = if arguments.digests { WITH_DIGESTS } else { STANDARD };
    template::list(arguments.format.as_deref(), standard, COLUMNS, rows).map_err(Findings::from)
}

/// Tells whether an image has a name: `repository` for any tag, or `repository:tag`.
fn is_called(image: &Image, name: &str) -> bool {
    image.tags.iter().any(|tag| fits(tag, name))
}

fn fits(tag: &Reference, name: &str) -> bool {
    name.parse::<Reference>().is_ok_and(|wanted| {
        wanted.name() == tag.name() && wanted.tag().is_none_or(|wanted| tag.tag() == Some(wanted))
    })
}

/// Returns an image's rows: one for each name.
pub(super) fn rows(image: &Image, name: Option<&str>, ids: Ids, now: Timestamp) -> Vec<Value> {
    let made =
        image.config.created.as_deref().and_then(|text| text.parse().ok()).unwrap_or(Timestamp::UNIX_EPOCH);
    let row = |repository: String, tag: &str, digest: String, index: Option<&NamedIndex>| {
        // A name that means several images is shown once, by the id and the size of all of them.
        let full = index.map_or_else(|| image.id.to_string(), |index| index.id().to_string());
        let id = if ids == Ids::Full { full } else { short(&full) };
        let size = index.map_or(image.size, |index| index.size);
        json!({
            "Containers": "N/A",
            "CreatedAt": human::moment(made),
            "CreatedSince": human::ago(made, now),
            "Digest": digest,
            "ID": id,
            "Repository": repository,
            "SharedSize": "N/A",
            "Size": human::size(size),
            "Tag": tag,
            "UniqueSize": "N/A",
            "VirtualSize": human::precise_size(size),
        })
    };
    let none = || "<none>".to_owned();
    let digest_of = |name: &str| {
        image
            .digests
            .iter()
            .find(|digest| digest.name() == name)
            .and_then(Reference::digest)
            .map_or_else(none, |digest| digest.to_string())
    };
    if image.tags.is_empty() {
        let digest = image.digests.first();
        return vec![row(
            digest.map_or_else(none, Reference::familiar_name),
            "<none>",
            digest.and_then(Reference::digest).map_or_else(none, |digest| digest.to_string()),
            digest.and_then(|digest| image.indexes.iter().find(|index| index.name == *digest)),
        )];
    }
    image
        .tags
        .iter()
        .filter(|tag| name.is_none_or(|name| fits(tag, name)))
        .map(|tag| {
            let index = image.indexes.iter().find(|index| index.name == *tag);
            row(tag.familiar_name(), tag.tag().unwrap_or("<none>"), digest_of(&tag.name()), index)
        })
        .collect()
}

/// Returns the first twelve digits of an id.
pub(super) fn short(id: &str) -> String {
    id.strip_prefix("sha256:").unwrap_or(id).chars().take(12).collect()
}
