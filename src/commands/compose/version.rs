//! `rbuild compose version`.

use serde_json::json;

use crate::cli::compose::look::{Version, VersionFormat};
use crate::commands::Outcome;
use crate::report::Status;
use crate::terminal::Terminal;

/// Shows the version of this program, in the form that `docker compose version` has.
pub(super) fn run(arguments: &Version, terminal: Terminal) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    let text = match arguments.format {
        _ if arguments.short => format!("{version}\n"),
        Some(VersionFormat::Json) => format!("{}\n", json!({ "version": version })),
        Some(VersionFormat::Pretty) | None => format!("rbuild compose version {version}\n"),
    };
    terminal.print(&text)?;
    Ok(Status::Done)
}
