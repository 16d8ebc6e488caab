//! `rbuild logs`.

use std::io::Write as _;

use jiff::Timestamp;
use rbuild_monitor::Until;
use rbuild_monitor::log::{Entry, Filter, Follow, Source, Tail};

use super::filter::moment;
use super::{Context, Outcome};
use crate::cli::container::{LogLines, Logs};
use crate::report::{Mistake, Status};

pub(super) fn run(arguments: &Logs, context: &Context) -> Outcome {
    let Window { filter, until } = window(&arguments.lines)?;
    let (_home, engine) = crate::wiring::engine(context, "rbuild logs")?;
    let definition = engine.find(&arguments.container)?;
    // Registered before the first look, so that the end is not missed.
    let waiter = match engine.observe(&definition)?.state.is_active() && arguments.lines.follow {
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
        if until.is_some_and(|until| Timestamp::now() > until) {
            return Ok(Status::Done);
        }
        let stop = waiter.as_ref().map(std::os::fd::AsFd::as_fd);
        // What was written last is read once more after the end.
        stopped = reader.wait(stop)? == Follow::Stopped;
    }
}

/// Which lines are shown, as flags say.
pub(super) struct Window {
    /// Those that are there.
    pub(super) filter: Filter,
    /// When what comes is no longer shown.
    pub(super) until: Option<Timestamp>,
}

/// Reads the flags that say which lines are shown.
pub(super) fn window(lines: &LogLines) -> Result<Window, Mistake> {
    let now = Timestamp::now();
    let bound = |name: &str, text: &Option<String>| {
        // As with docker, an empty one says nothing.
        let Some(text) = text.as_deref().filter(|text| !text.is_empty()) else { return Ok(None) };
        let wrong = || {
            Mistake::new(format!("`--{name} {text}`: not a time"))
                .hint("use an age like `42m`, seconds since 1970, or RFC 3339")
        };
        moment(text, now).ok_or_else(wrong).map(Some)
    };
    let (since, until) = (bound("since", &lines.since)?, bound("until", &lines.until)?);
    let nanoseconds = |moment: Timestamp| i64::try_from(moment.as_nanosecond()).unwrap_or(i64::MAX);
    let filter = Filter {
        since: since.map(nanoseconds),
        until: until.map(nanoseconds),
        // As Docker has it, what is no number means all.
        tail: lines.tail.parse().map_or(Tail::All, Tail::Lines),
        ..Filter::default()
    };
    Ok(Window { filter, until })
}

/// Writes an entry to the stream that it came from.
fn show(entry: &Entry, arguments: &Logs) -> std::io::Result<()> {
    let mut bytes = Vec::with_capacity(entry.bytes.len() + 40);
    if arguments.lines.timestamps
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
