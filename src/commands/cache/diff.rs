//! `rbuild cache diff CACHE [FOLDER]`: what a cache elsewhere and the last build of a project have of each other's results.
//!
//! ```text
//! = [build 2/3] RUN make          both have it
//! > [build 3/3] RUN make check    only the cache has it: an import brings it
//! < [stage-1 2/2] COPY . /app     only this store has it: an export of the next build brings it
//! ```
//!
//! Results are compared by their keys. A result whose keys the cache has, and not its layers, is marked with `~`: it is
//! found, and made again once somebody reads it.

use rbuild_cache::backends::{Compared, Contents, Side, compare};
use serde_json::json;

use super::remote;
use crate::cli::cache::{Diff, DiffForm};
use crate::commands::{Context, Outcome};
use crate::human;
use crate::report::{Mistake, Status};
use crate::text::one_line;
use crate::wiring::Home;

/// How each side is marked, and called where programs read it.
const fn words(side: Side) -> (char, &'static str) {
    match side {
        Side::Both => ('=', "both"),
        Side::KeysOnly => ('~', "keys-only"),
        Side::Cache => ('>', "cache"),
        Side::Store => ('<', "store"),
    }
}

/// Compares a cache elsewhere with the last build of a project.
pub(super) fn run(arguments: &Diff, context: &Context) -> Outcome {
    let mut catalogs = Vec::new();
    for contents in remote::read(&arguments.cache, context)? {
        let Contents::Ours(catalog) = contents else {
            return Err(Mistake::new(
                "BuildKit wrote that cache: its results have keys of its own, and cannot be compared",
            )
            .hint("`rbuild cache ls --from` lists its layers")
            .into());
        };
        catalogs.push(*catalog);
    }
    let home = Home::open(&context.settings, "rbuild cache diff")?;
    let project = std::path::absolute(&arguments.project).unwrap_or_else(|_| arguments.project.clone());
    let lines = compare(&home.records(), &catalogs, &project.to_string_lossy())?;
    let text = match arguments.format {
        Some(DiffForm::Json) => {
            let row = |Compared { side, name, bytes }: &Compared| json!({"Side": words(*side).1, "Description": name, "Bytes": bytes});
            serde_json::to_string(&lines.iter().map(row).collect::<Vec<_>>())? + "\n"
        }
        None => {
            let line = |Compared { side, name, bytes }: &Compared| {
                let size =
                    bytes.map_or_else(String::new, |bytes| format!("  {}", human::precise_size(bytes)));
                format!("{} {}{size}\n", words(*side).0, one_line(name))
            };
            lines.iter().map(line).collect()
        }
    };
    context.terminal.print(&text)?;
    Ok(Status::Done)
}
