//! `rbuild cache ls --from CACHE`: what a cache elsewhere holds. Only its catalog is read.

use rbuild_cache::backends::Contents;
use rbuild_cache::backends::buildkit::Foreign;
use rbuild_cache::backends::catalog::{Catalog, Record};
use serde_json::{Value, json};

use crate::commands::{Context, Outcome};
use crate::flags::CacheFrom;
use crate::human;
use crate::report::{Findings, Mistake, Status};
use crate::template::{self, Column};
use crate::text::one_line;
use crate::wiring;

const COLUMNS: &[Column] = &[
    Column { field: "ID", title: "ID" },
    Column { field: "Layers", title: "LAYERS" },
    Column { field: "Size", title: "SIZE" },
    Column { field: "Took", title: "TOOK" },
    Column { field: "Type", title: "TYPE" },
    Column { field: "Description", title: "DESCRIPTION" },
];
const STANDARD: &str = "{{.ID}}\t{{.Type}}\t{{.Layers}}\t{{.Size}}\t{{.Took}}\t{{.Description}}";

/// Lists what a cache elsewhere holds.
pub(super) fn list(from: &CacheFrom, format: Option<&str>, context: &Context) -> Outcome {
    let mut rows = Vec::new();
    for contents in read(from, context)? {
        match contents {
            Contents::Ours(catalog) => rows.extend(described(&catalog)),
            Contents::BuildKit(foreign) => rows.extend(layers(&foreign)),
        }
    }
    let text = template::list(format, STANDARD, COLUMNS, &rows).map_err(Findings::from)?;
    context.terminal.print(&text)?;
    Ok(Status::Done)
}

/// Reads a cache: one for each image, where there are several; that there is none is an error.
pub(super) fn read(from: &CacheFrom, context: &Context) -> anyhow::Result<Vec<Contents>> {
    let backend = wiring::open_cache(from, &context.settings)?;
    let held = backend.catalog()?;
    if held.is_empty() {
        return Err(Mistake::new(format!("there is no cache at {}", backend.name()))
            .hint("write one with `rbuild build --cache-to`")
            .into());
    }
    let mut caches = Vec::new();
    for held in held {
        caches.extend(held.contents()?);
    }
    if caches.is_empty() {
        return Err(Mistake::new(format!("the image at {} holds no cache", backend.name()))
            .hint("build it with `--cache-to type=inline`")
            .into());
    }
    Ok(caches)
}

fn described(catalog: &Catalog) -> Vec<Value> {
    let record = |record: &Record| {
        let bytes = catalog.bytes(record);
        json!({
            "ID": record.canonical.hex()[..12],
            "Type": "result",
            "Layers": record.layers.as_ref().map_or_else(|| "-".to_owned(), |layers| layers.len().to_string()),
            "Size": bytes.map_or_else(|| "-".to_owned(), human::precise_size),
            "Bytes": bytes,
            "Took": format!("{:.1}s", std::time::Duration::from_nanos(record.took_ns).as_secs_f64()),
            "Description": one_line(&record.name),
        })
    };
    let mount = |mount: &rbuild_cache::backends::catalog::Mount| {
        json!({
            "ID": mount.name[..12],
            "Type": "mount",
            "Layers": "-",
            "Size": human::precise_size(mount.bytes),
            "Bytes": mount.bytes,
            "Took": "-",
            "Description": one_line(&mount.id),
        })
    };
    catalog.records.iter().map(record).chain(catalog.mounts.iter().map(mount)).collect()
}

/// The layers of a cache that BuildKit wrote, each with the height that it stands at.
fn layers(foreign: &Foreign) -> Vec<Value> {
    let row = |(at, layer): (usize, &rbuild_cache::backends::buildkit::ForeignLayer)| {
        json!({
            "ID": layer.blob.hex()[..12],
            "Type": "buildkit",
            "Layers": foreign.chain(at).map_or(0, |chain| chain.len()).to_string(),
            "Size": "-",
            "Took": "-",
            "Description": layer.blob.to_string(),
        })
    };
    foreign.layers.iter().enumerate().map(row).collect()
}
