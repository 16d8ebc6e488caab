//! `rbuild doctor`: what works on this machine, tried, and what is wrong with the store.

use std::fmt::Write as _;
use std::fs;

use rbuild_sandbox::probe::{self, State};
use rbuild_sandbox::rootless::WayOut;
use rbuild_store::doctor::{Finding, Severity};
use serde_json::{Value, json};

use super::{Context, Outcome};
use crate::cli::prune::Doctor;
use crate::report::Status;
use crate::template;
use crate::text::one_line;
use crate::wiring::{Home, OWNERS};

pub(super) fn run(arguments: &Doctor, context: &Context) -> Outcome {
    let home = Home::open(&context.settings, "rbuild doctor")?;
    let mut probes = probe::all(home.store.work_folder()?);
    if context.settings.rootless.is_some() {
        probes.extend(without_root());
    }
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
            template::documents(Some(format), &[document])?
        }
        None => plain(&root, &machine, &store),
    };
    context.terminal.print(&text)?;
    // What is only untidy, or works with something missing, keeps nobody from working.
    let bad = findings.iter().any(|finding| finding.severity() > Severity::Untidy)
        || probes.iter().any(|probe| matches!(probe.state, State::Missing { .. }));
    Ok(if bad { Status::Failed } else { Status::Done })
}

/// What ordinary users have that root need not ask for.
fn without_root() -> [probe::Finding; 2] {
    let ids = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let ids: u64 = ids.lines().filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok()).sum();
    let users = match ids {
        0..=1 => State::Degraded {
            cause:
                "with one id, files of all owners are stored as yours and programs cannot become other users"
                    .to_owned(),
            fix: "add a range for your name to /etc/subuid and /etc/subgid, as in `NAME:100000:65536`"
                .to_owned(),
        },
        _ => State::Works,
    };
    let (networks, through) = match WayOut::find() {
        Ok(ways) => (State::Works, ways.first().map_or("", WayOut::word)),
        Err(fix) => {
            let cause = "containers have the host's network or none".to_owned();
            (State::Degraded { cause, fix }, "")
        }
    };
    let ids = if ids > 1 { format!("{ids} ids") } else { String::new() };
    [
        probe::Finding { name: "users without root", state: users, detail: ids },
        probe::Finding { name: "networks without root", state: networks, detail: through.to_owned() },
    ]
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
        text.truncate(text.trim_end().len());
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
