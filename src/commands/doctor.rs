//! `rbuild doctor`.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Context, Outcome};
use crate::cli::prune::Doctor;
use crate::report::{Findings, NotYet, Status};
use crate::template;
use crate::wiring::{Home, OWNERS};

pub(super) fn run(arguments: &Doctor, context: &Context) -> Outcome {
    if arguments.full {
        return Err(NotYet::supported("`--full` of `rbuild doctor`", "leave it out").into());
    }
    let home = Home::open(&context.settings, "rbuild doctor")?;
    // What a killed command left is nothing wrong: the next command takes it away, and this is one.
    home.bury()?;
    let findings = home.store.doctor(OWNERS)?;
    let rows: Vec<Value> = findings
        .iter()
        .map(|finding| {
            json!({
                "Severity": format!("{:?}", finding.severity()).to_lowercase(),
                "Message": format!("{finding}"),
            })
        })
        .collect();
    let text = match arguments.format.as_deref() {
        Some(format) => {
            let document = json!({ "Root": context.settings.root.display().to_string(), "Findings": rows });
            template::documents(Some(format), &[document]).map_err(Findings::from)?
        }
        None => plain(context, &rows),
    };
    context.terminal.print(&text)?;
    Ok(if findings.is_empty() { Status::Done } else { Status::Failed })
}

fn plain(context: &Context, rows: &[Value]) -> String {
    let mut text = format!("store {}: ", crate::text::one_line(&context.settings.root.display().to_string()));
    if rows.is_empty() {
        text.push_str("good\n");
        return text;
    }
    let _ = writeln!(text, "{} findings", rows.len());
    for row in rows {
        let field = |name: &str| crate::text::one_line(row[name].as_str().unwrap_or_default());
        let _ = writeln!(text, "  {}: {}", field("Severity"), field("Message"));
    }
    text
}
