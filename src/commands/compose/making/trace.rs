//! The time line of a plan that was carried out: when each operation began, how long it took, and what it waited for.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use rbuild_engine::projects::{OperationId, Phase, Plan};

use crate::commands::compose::board::Traced;

/// How many columns the line has.
const COLUMNS: usize = 32;

/// Writes a line for each operation of the plan, in the order in which they began.
pub(super) fn lines(plan: &Plan, trace: &[Traced]) -> String {
    let Some(zero) = trace.first().map(|traced| traced.at) else { return String::new() };
    let mut spans: BTreeMap<OperationId, (Instant, Instant)> = BTreeMap::new();
    for traced in trace {
        let id = traced.happening.operation;
        if matches!(traced.happening.phase, Phase::Note(_)) || plan.operations.get(id.0).is_none() {
            continue;
        }
        let span = spans.entry(id).or_insert((traced.at, traced.at));
        span.1 = traced.at;
    }
    let whole = trace.last().map_or(Duration::ZERO, |traced| traced.at - zero);
    let mut order: Vec<_> = spans.iter().map(|(id, (from, to))| (*from - zero, *to - zero, *id)).collect();
    order.sort();
    let mut text = String::new();
    let texts: Vec<String> =
        order.iter().map(|(.., id)| plan.operations[id.0].operation.to_string()).collect();
    let width = texts.iter().map(|text| text.chars().count()).max().unwrap_or_default();
    for ((from, to, id), what) in order.iter().zip(&texts) {
        // Of all that it waited for, what ended last held it up.
        let last = plan.operations[id.0]
            .after
            .iter()
            .filter_map(|before| Some((spans.get(before)?.1, *before)))
            .max_by_key(|(ended, _)| *ended);
        let waited = match last {
            Some((_, before)) => format!("  after {}", plan.operations[before.0].operation),
            None => String::new(),
        };
        let _ = writeln!(
            text,
            "{:>8} {:>8}  {}  {what:width$}{waited}",
            seconds(*from),
            seconds(*to - *from),
            bar(*from, *to, whole),
        );
    }
    text
}

fn seconds(time: Duration) -> String {
    format!("{:.3}s", time.as_secs_f64())
}

/// Draws a span within the whole.
fn bar(from: Duration, to: Duration, whole: Duration) -> String {
    let place = |time: Duration| match whole.as_nanos() {
        0 => 0,
        whole => usize::try_from(time.as_nanos() * COLUMNS as u128 / whole).unwrap_or(COLUMNS).min(COLUMNS),
    };
    let (first, last) = (place(from).min(COLUMNS - 1), place(to));
    let length = last.saturating_sub(first).max(1);
    format!("{}{}{}", " ".repeat(first), "=".repeat(length), " ".repeat(COLUMNS - first - length))
}

#[cfg(test)]
mod tests {
    use rbuild_engine::projects::{Act, Happening, Subject};

    use super::*;

    #[test]
    fn what_is_none_of_the_plan_has_no_line() {
        let happening = Happening {
            operation: OperationId(3),
            subject: Subject::Container("web".to_owned()),
            phase: Phase::Begun(Act::Stop),
        };
        assert_eq!(lines(&Plan::default(), &[Traced { happening, at: Instant::now() }]), "");
    }

    #[test]
    fn bars_fill_their_columns() {
        let seconds = Duration::from_secs;
        for (from, to) in [(0, 0), (0, 10), (5, 6), (9, 10), (10, 10)] {
            assert_eq!(bar(seconds(from), seconds(to), seconds(10)).len(), COLUMNS, "{from} to {to}");
        }
        assert_eq!(
            bar(seconds(5), seconds(10), seconds(10)).trim_end(),
            format!("{:16}{}", "", "=".repeat(16))
        );
        assert_eq!(bar(Duration::ZERO, Duration::ZERO, Duration::ZERO).trim_end(), "=");
    }
}
