//! `rbuild logs`.

use std::io::Write as _;

use jiff::Timestamp;
use rbuild_monitor::Until;
use rbuild_monitor::log::{Entry, Filter, Follow, Source, Tail};

use super::filter::moment;
use super::{Context, Outcome};
use crate::cli::container::Logs;
use crate::report::{Mistake, Status};

pub(super) fn run(arguments: &Logs, context: &Context) -> Outcome {
    let now = Timestamp::now();
    let bound = |name: &str, text: &Option<String>| -> anyhow::Result<Option<i64>> {
        let Some(text) = text else { return Ok(None) };
        let moment = moment(text, now).ok_or_else(|| {
            Mistake::usage(format!("`--{name} {text}`: not a time"))
                .hint("use an age like `42m`, seconds since 1970, or RFC 3339")
        })?;
        Ok(i64::try_from(moment.as_nanosecond()).ok())
    };
    let filter = Filter {
        source: None,
        since: bound("since", &arguments.since)?,
        until: bound("until", &arguments.until)?,
        // As Docker has it, what is no number means all.
        tail: arguments.tail.parse().map_or(Tail::All, Tail::Lines),
        end: None,
    };
    let (_home, engine) = crate::wiring::engine(context, "rbuild logs")?;
    let definition = engine.find(&arguments.container)?;
    // Registered before the first look, so that the end is not missed.
    let waiter = match engine.observe(&definition)?.state.is_active() && arguments.follow {
        true => engine.client(&definition)?.map(|client| client.wait(Until::NotRunning)).transpose()?,
        false => None,
    };
    let mut reader = engine.logs(&definition, filter)?;
    let mut stopped = waiter.is_none();
    loop {
        while let Some(entry) = reader.next_entry()? {
            show(&entry, arguments)?;
        }
        if stopped {
            return Ok(Status::Done);
        }
        if let Some(until) = filter_end(arguments, now)
            && Timestamp::now() > until
        {
            return Ok(Status::Done);
        }
        let stop = waiter.as_ref().map(std::os::fd::AsFd::as_fd);
        // What was written last is read once more after the end.
        stopped = reader.wait(stop)? == Follow::Stopped;
    }
}

fn filter_end(arguments: &Logs, now: Timestamp) -> Option<Timestamp> {
    moment(arguments.until.as_deref()?, now)
}

/// Writes an entry to the stream that it came from.
fn show(entry: &Entry, arguments: &Logs) -> std::io::Result<()> {
    let mut bytes = Vec::with_capacity(entry.bytes.len() + 40);
    if arguments.timestamps
        && entry.begins_line
        && let Ok(time) = Timestamp::from_nanosecond(entry.time.into())
    {
        bytes.extend_from_slice(time.strftime("%Y-%m-%dT%H:%M:%S.%9fZ ").to_string().as_bytes());
    }
    if arguments.details && entry.begins_line {
        let details: Vec<String> =
            entry.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        bytes.extend_from_slice(format!("{} ", details.join(",")).as_bytes());
    }
    bytes.extend_from_slice(&entry.bytes);
    match entry.source {
        Source::Stdout => {
            let mut out = std::io::stdout().lock();
            out.write_all(&bytes)?;
            out.flush()
        }
        Source::Stderr => std::io::stderr().lock().write_all(&bytes),
    }
}
