//! `rbuild cache ls --from CACHE`: what a cache elsewhere holds. Only its catalog is read.

use rbuild_cache::backends::buildkit::Foreign;
use rbuild_cache::backends::catalog::{Catalog, Record};
use rbuild_cache::backends::{Backend, Held, inline};
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
    for catalog in read(from, context)? {
        match catalog {
            Read::Ours(catalog) => rows.extend(described(&catalog)),
            Read::BuildKit(foreign) => rows.extend(layers(&foreign)),
        }
    }
    let text = template::list(format, STANDARD, COLUMNS, &rows).map_err(Findings::from)?;
    context.terminal.print(&text)?;
    Ok(Status::Done)
}

/// What a cache holds.
pub(super) enum Read {
    /// A catalog of ours.
    Ours(Box<Catalog>),
    /// A cache that BuildKit wrote.
    BuildKit(Foreign),
}

/// Reads the catalogs of a cache; that there is none is an error.
pub(super) fn read(from: &CacheFrom, context: &Context) -> anyhow::Result<Vec<Read>> {
    let backend = wiring::open_cache(from, &context.settings)?;
    let held = backend.catalog()?;
    if held.is_empty() {
        return Err(Mistake::new(format!("there is no cache at {}", backend.name()))
            .hint("write one with `rbuild build --cache-to`")
            .into());
    }
    held.into_iter().map(|held| of(&*backend, held)).collect()
}

fn of(backend: &dyn Backend, held: Held) -> anyhow::Result<Read> {
    Ok(match held {
        Held::Catalog(bytes) => Read::Ours(Box::new(Catalog::parse(&bytes)?)),
        Held::BuildKit(bytes) => Read::BuildKit(Foreign::parse(&bytes)?),
        Held::Image { config, layers } => match inline::read(&config, &layers)? {
            Some(catalog) => Read::Ours(Box::new(catalog)),
            None => {
                let why = format!("the image at {} holds no cache", backend.name());
                return Err(Mistake::new(why).hint("build it with `--cache-to type=inline`").into());
            }
        },
    })
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
