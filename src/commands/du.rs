//! `rbuild du`.

use rbuild_store::ObjectKind;
use rbuild_store::collect::{Policy, Sweep, SweepReport};
use serde_json::{Value, json};

use super::{Context, Outcome};
use crate::cli::prune::Usage;
use crate::human;
use crate::report::{Findings, Status};
use crate::template::{self, Column};
use crate::wiring::{Home, OWNERS};

const COLUMNS: &[Column] = &[
    Column { field: "Type", title: "TYPE" },
    Column { field: "TotalCount", title: "TOTAL" },
    Column { field: "Size", title: "SIZE" },
    Column { field: "Reclaimable", title: "RECLAIMABLE" },
];
const STANDARD: &str = "{{.Type}}\t{{.TotalCount}}\t{{.Size}}\t{{.Reclaimable}}";

const OBJECTS: &[Column] = &[
    Column { field: "Type", title: "TYPE" },
    Column { field: "ID", title: "ID" },
    Column { field: "Size", title: "SIZE" },
];
const OBJECT: &str = "{{.Type}}\t{{.ID}}\t{{.Size}}";

pub(super) fn run(arguments: &Usage, context: &Context) -> Outcome {
    let home = Home::open(&context.settings, "rbuild du")?;
    let images = home.images.list()?;
    let report = home.store.sweep(OWNERS, &Policy::default(), Sweep::Dry)?;
    let text = if arguments.verbose {
        let rows: Vec<Value> = objects(&report);
        template::list(arguments.format.as_deref(), OBJECT, OBJECTS, &rows)
    } else {
        let size: u64 = images.iter().map(|image| image.size).sum();
        let unnamed: u64 = images.iter().filter(|image| image.tags.is_empty()).map(|image| image.size).sum();
        let (cached, bytes) = cache(&report);
        let rows = [
            json!({
                "Type": "Images",
                "TotalCount": images.len().to_string(),
                "Size": human::precise_size(size),
                "Reclaimable": human::precise_size(unnamed),
            }),
            json!({
                "Type": "Build Cache",
                "TotalCount": cached.to_string(),
                "Size": human::precise_size(bytes),
                "Reclaimable": human::precise_size(bytes),
            }),
        ];
        template::list(arguments.format.as_deref(), STANDARD, COLUMNS, &rows)
    };
    context.terminal.print(&text.map_err(Findings::from)?)?;
    Ok(Status::Done)
}

/// Returns how many results and blobs only the cache keeps, and their bytes. Records are rows about results.
fn cache(report: &SweepReport) -> (usize, u64) {
    let kept = report.swept.iter().filter(|swept| swept.kind != ObjectKind::RECORD);
    kept.fold((0, 0), |(count, bytes), swept| (count + 1, bytes + swept.candidate.bytes))
}

fn objects(report: &SweepReport) -> Vec<Value> {
    report
        .swept
        .iter()
        .map(|swept| {
            let id: String = swept.candidate.object.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({ "Type": swept.kind.0, "ID": id, "Size": human::precise_size(swept.candidate.bytes) })
        })
        .collect()
}
