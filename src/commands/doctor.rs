//! `rbuild doctor`: what works on this machine, tried, and what is wrong with the store.

use std::fmt::Write as _;

use rbuild_sandbox::probe::{self, State};
use rbuild_store::doctor::{Finding, Severity};
use serde_json::{Value, json};

use super::{Context, Outcome};
use crate::cli::prune::Doctor;
use crate::report::{Findings, Status};
use crate::template;
use crate::text::one_line;
use crate::wiring::{Home, OWNERS};

pub(super) fn run(arguments: &Doctor, context: &Context) -> Outcome {
    let home = Home::open(&context.settings, "rbuild doctor")?;
    let probes = probe::all(home.store.work_folder()?);
    let mut findings = home.store.doctor(OWNERS)?;
    if findings.iter().any(|finding| matches!(finding, Finding::Abandoned { .. })) {
        // Of a command that died just now: it was still dying when this one began.
        home.bury()?;
        findings = home.store.doctor(OWNERS)?;
    }
    let root = context.settings.root.display().to_string();
    let machine: Vec<Value> = probes.iter().map(of_probe).collect();
    let store: Vec<Value> = findings
        .iter()
        .map(|finding| {
            json!({
                "Severity": format!("{:?}", finding.severity()).to_lowercase(),
                "Message": finding.to_string(),
            })
        })
        .collect();
    let text = match arguments.format.as_deref() {
        Some(format) => {
            let document = json!({ "Root": root, "Machine": machine, "Findings": store });
            template::documents(Some(format), &[document]).map_err(Findings::from)?
        }
        None => plain(&root, &machine, &store),
    };
    context.terminal.print(&text)?;
    // What is only untidy, or works with something missing, keeps nobody from working.
    let bad = findings.iter().any(|finding| finding.severity() > Severity::Untidy)
        || probes.iter().any(|probe| matches!(probe.state, State::Missing { .. }));
    Ok(if bad { Status::Failed } else { Status::Done })
}

fn of_probe(probe: &probe::Finding) -> Value {
    let (state, cause, fix) = match &probe.state {
        State::Works => ("works", "", ""),
        State::Degraded { cause, fix } => ("degraded", cause.as_str(), fix.as_str()),
        State::Missing { cause, fix } => ("missing", cause.as_str(), fix.as_str()),
    };
    json!({ "Name": probe.name, "State": state, "Detail": probe.detail, "Cause": cause, "Fix": fix })
}

fn plain(root: &str, machine: &[Value], store: &[Value]) -> String {
    let field = |row: &Value, name: &str| one_line(row[name].as_str().unwrap_or_default());
    let mut text = String::from("machine:\n");
    for row in machine {
        let _ = write!(text, "  {:26} {:9}", field(row, "Name"), field(row, "State"));
        for (before, name) in [(" ", "Detail"), (" ", "Cause"), ("\n      hint: ", "Fix")] {
            match field(row, name) {
                part if part.is_empty() => {}
                part => {
                    let _ = write!(text, "{before}{part}");
                }
            }
        }
        text.push('\n');
    }
    let _ = write!(text, "store {}: ", one_line(root));
    if store.is_empty() {
        text.push_str("good\n");
        return text;
    }
    let findings = if store.len() == 1 { "finding" } else { "findings" };
    let _ = writeln!(text, "{} {findings}", store.len());
    for row in store {
        let _ = writeln!(text, "  {}: {}", field(row, "Severity"), field(row, "Message"));
    }
    text
}
