//! `rbuild du`: what takes room, every byte of it.

use rbuild_images::{Image, Users as _};
use serde_json::{Value, json};

use super::cache::inventory::{Inventory, Piece, Share};
use super::system::layer_bytes;
use super::{Context, Outcome, cache};
use crate::cli::cache::List;
use crate::cli::prune::Usage;
use crate::human;
use crate::report::{Findings, Status};
use crate::template::{self, Column};

const COLUMNS: &[Column] = &[
    Column { field: "Type", title: "TYPE" },
    Column { field: "TotalCount", title: "TOTAL" },
    Column { field: "Active", title: "ACTIVE" },
    Column { field: "Size", title: "SIZE" },
    Column { field: "Reclaimable", title: "RECLAIMABLE" },
];
const STANDARD: &str = "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";

pub(super) fn run(arguments: &Usage, context: &Context) -> Outcome {
    if arguments.verbose || !arguments.filter.is_empty() {
        let list = List {
            filter: arguments.filter.clone(),
            format: arguments.format.clone(),
            verbose: arguments.verbose && arguments.format.is_none(),
            from: None,
        };
        return cache::list(&list, context);
    }
    let (home, engine) = crate::wiring::engine(context, "rbuild du")?;
    let images = home.images.list()?;
    let inventory = Inventory::take(&home)?;
    let mut rows: Vec<Value> = ROWS.iter().map(|row| row.count(&inventory)).collect();
    // As `prune` has it: those with a name stay, and those that a container is made of, with all that they stand on.
    let mut staying = Vec::with_capacity(images.len());
    for image in &images {
        if !image.tags.is_empty() || engine.usage(image.id)?.is_some() {
            staying.push(image);
        }
    }
    let all: Vec<&Image> = images.iter().collect();
    let free = layer_bytes(&home, &all)? - layer_bytes(&home, &staying)?;
    let bytes = rows[0]["Bytes"].as_u64().unwrap_or_default();
    let free = free.min(bytes);
    rows[0]["TotalCount"] = json!(images.len().to_string());
    rows[0]["Active"] = json!(staying.len().to_string());
    rows[0]["Reclaimable"] = json!(reclaimable(free, bytes));
    rows[0]["ReclaimableBytes"] = json!(free);
    let text =
        template::list(arguments.format.as_deref(), STANDARD, COLUMNS, &rows).map_err(Findings::from)?;
    context.terminal.print(&text)?;
    if arguments.format.is_none() {
        let all: u64 = inventory.pieces.iter().map(|piece| piece.bytes).sum();
        context.terminal.print(&format!("Total: {}\n", human::precise_size(all)))?;
    }
    Ok(Status::Done)
}

/// One line of the table; a piece belongs to the first that takes it.
struct Row {
    name: &'static str,
    takes: fn(&Piece) -> bool,
}

const ROWS: &[Row] = &[
    Row { name: "Images", takes: |piece| piece.share == Share::Image },
    Row { name: "Pushed Here", takes: |piece| piece.share == Share::Pushed },
    Row { name: "Containers", takes: |piece| piece.share == Share::Container },
    Row { name: "Local Volumes", takes: |piece| piece.share == Share::Volume },
    Row {
        name: "Cache Mounts",
        takes: |piece| piece.share == Share::Cache && piece.kind == "exec.cachemount",
    },
    Row { name: "Logs", takes: |piece| piece.share == Share::Cache && piece.description == LOG },
    Row {
        name: "Indexes",
        takes: |piece| {
            piece.share == Share::Cache && (piece.kind.starts_with("source.") || piece.kind == "internal")
        },
    },
    Row { name: "Build Cache", takes: |piece| piece.share == Share::Cache },
    Row { name: "Store", takes: |_| true },
];

/// What the inventory calls logs.
const LOG: &str = cache::inventory::LOG_OF_STEP;

impl Row {
    fn count(&self, inventory: &Inventory) -> Value {
        let first = |piece: &&Piece| {
            ROWS.iter().find(|row| (row.takes)(piece)).is_some_and(|row| row.name == self.name)
        };
        let pieces: Vec<&Piece> = inventory.pieces.iter().filter(first).collect();
        let bytes: u64 = pieces.iter().map(|piece| piece.bytes).sum();
        let active = pieces.iter().filter(|piece| !piece.is_reclaimable()).count();
        let free: u64 = pieces.iter().filter(|piece| piece.is_reclaimable()).map(|piece| piece.bytes).sum();
        json!({
            "Type": self.name,
            "TotalCount": pieces.len().to_string(),
            "Active": active.to_string(),
            "Size": human::precise_size(bytes),
            "Reclaimable": reclaimable(free, bytes),
            "Bytes": bytes,
            "ReclaimableBytes": free,
        })
    }
}

/// Writes what can go as docker does: with its share of all.
fn reclaimable(free: u64, all: u64) -> String {
    let size = human::precise_size(free);
    match all {
        0 => size,
        all => format!("{size} ({}%)", u128::from(free) * 100 / u128::from(all)),
    }
}
