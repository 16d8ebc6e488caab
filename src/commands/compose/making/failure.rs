//! What is told of operations that failed: the first as the error, with what the containers themselves said before.

use rbuild_engine::projects::{Carried, Failure, Operation, OperationError, Plan, Reason, Subject};
use rbuild_model::span::Diagnostic;

use super::Prepared;
use crate::commands::Context;
use crate::commands::compose::places;
use crate::commands::compose::project::Meant;
use crate::report::{Findings, Mistake};
use crate::text;

/// Makes an error of what failed, the first as the message and the others told before it, with the last lines of those
/// containers that it is about.
pub(in crate::commands::compose) fn failed(
    meant: &Meant,
    prepared: &Prepared,
    carried: Carried,
    context: &Context,
) -> anyhow::Result<()> {
    let plan = carried.plan.as_ref().unwrap_or(&prepared.plan);
    let mut failures = carried.failures.into_iter();
    let Some(first) = failures.next() else { return Ok(()) };
    let mut shown = Vec::new();
    for other in failures {
        let error = shown_once(explained(meant, plan, other, context), &mut shown);
        crate::report::tell(&error, context.terminal);
    }
    Err(shown_once(explained(meant, plan, first, context), &mut shown))
}

/// Leaves out of an error the lines that were shown with one before it: replicas fail alike, and hundreds of them.
fn shown_once(mut error: anyhow::Error, shown: &mut Vec<Diagnostic>) -> anyhow::Error {
    for finding in error.downcast_mut::<Findings>().into_iter().flat_map(|findings| &mut findings.0) {
        if shown.iter().any(|shown| shown.source == finding.source && shown.labels == finding.labels) {
            (finding.source, finding.labels) = (None, Vec::new());
        } else {
            shown.push(finding.clone());
        }
    }
    error
}

fn explained(meant: &Meant, plan: &Plan, failure: Failure, context: &Context) -> anyhow::Error {
    let Failure { operation, subject, error, log, reason } = failure;
    let name = match &subject {
        Subject::Container(name) | Subject::Network(name) | Subject::Volume(name) => name,
    };
    let tell = |head: String, lines: &[String]| {
        let lines: String = lines.iter().map(|line| format!("  {}\n", text::one_line(line))).collect();
        context.terminal.tell(&format!("{head}\n{lines}"));
    };
    if !log.is_empty() {
        tell(format!("the last lines of {name}:"), &log);
    }
    match &reason {
        Some(Reason::HealthCheck { status, lines }) => {
            let end = if lines.is_empty() { "" } else { ":" };
            tell(format!("the last health check of {name} ended with {status}{end}"), lines);
        }
        Some(Reason::Memory { limit }) => {
            let limit = limit.map(|limit| format!(": it may have {limit} bytes"));
            tell(format!("{name} was killed for want of memory{}", limit.unwrap_or_default()), &[]);
        }
        None => {}
    }
    let planned = &plan.operations[operation.0];
    let is_dependency = matches!(planned.operation, Operation::Await { .. });
    // A program that ends has its own reasons; what cannot be made or waited for is what the files say.
    let is_written =
        !error.is_others() && (!is_dependency || matches!(error, OperationError::NoHealthCheck { .. }));
    let path: Vec<String> = planned.path().into_iter().chain(error.keys()).collect();
    let error = match error {
        OperationError::NotCompleted { .. } => error.into(),
        _ if is_dependency => {
            let why = crate::report::chain(&error.into());
            Mistake::new(format!("dependency failed to start: {why}")).into()
        }
        _ if error.names_its_subject() => error.into(),
        _ => anyhow::Error::from(error).context(subject.to_string()),
    };
    if is_written { places::placed(meant, &path, error) } else { error }
}
