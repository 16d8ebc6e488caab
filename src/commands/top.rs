//! `rbuild top` and `rbuild stats`.

use std::cell::Cell;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rbuild_engine::Engine;
use rbuild_engine::containers::{ContainerError, ListRequest, Sample};
use rbuild_model::container::Definition;
use serde_json::{Value, json};

use super::ps::Ids;
use super::{Context, Outcome};
use crate::cli::container::{Stats, Top};
use crate::human;
use crate::report::{Findings, Mistake, Status};
use crate::table::Table;
use crate::template::{self, Column};
use crate::terminal::StreamKind;
use crate::wiring::Home;

/// How long a look at the counters lasts: rates need two.
const LOOK: Duration = Duration::from_secs(1);

pub(super) fn top(arguments: &Top, context: &Context) -> Outcome {
    let Some((name, options)) = arguments.container_and_options.split_first() else {
        return Err(Mistake::new("name a container").into());
    };
    let (_home, engine) = crate::wiring::engine(context, "rbuild top")?;
    let processes = processes(&engine, &engine.find(name)?, options)?;
    let mut table = Table::spaced(20, 3);
    table.row(&processes.titles);
    processes.rows.iter().for_each(|row| table.row(row));
    context.terminal.print(&table.render())?;
    Ok(Status::Done)
}

/// The processes of a container, as the machine's `ps` shows them.
#[derive(Clone, Debug, Default)]
pub(super) struct Processes {
    /// The titles of its columns.
    pub(super) titles: Vec<String>,
    /// A row for each process.
    pub(super) rows: Vec<Vec<String>>,
}

/// Asks `ps` for the processes of a container.
pub(super) fn processes(
    engine: &Engine,
    definition: &Definition,
    options: &[String],
) -> anyhow::Result<Processes> {
    let own = engine.processes(definition)?;
    let mut command = Command::new("ps");
    if options.is_empty() {
        command.arg("-ef");
    } else {
        command.args(options);
    }
    let output = command.output().context("failed to run the machine's `ps`")?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(Mistake::new(format!("`ps` failed: {}", crate::text::one_line(why.trim()))).into());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let titles: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    let Some(at) = titles.iter().position(|title| *title == "PID") else {
        return Err(Mistake::new("Couldn't find PID field in ps output").into());
    };
    let mut rows = Vec::new();
    for line in lines {
        let mut fields = line.split_whitespace();
        let mut row: Vec<String> = fields.by_ref().take(titles.len() - 1).map(str::to_owned).collect();
        // The last column is a command with its blanks.
        row.push(fields.collect::<Vec<_>>().join(" "));
        let pid = row.get(at).and_then(|pid| pid.parse::<i32>().ok());
        if pid.is_some_and(|pid| own.contains(&pid)) {
            rows.push(row.iter().map(|cell| crate::text::escape(cell)).collect());
        }
    }
    Ok(Processes { titles: titles.into_iter().map(str::to_owned).collect(), rows })
}

const COLUMNS: &[Column] = &[
    Column { field: "Container", title: "CONTAINER" },
    Column { field: "ID", title: "CONTAINER ID" },
    Column { field: "Name", title: "NAME" },
    Column { field: "CPUPerc", title: "CPU %" },
    Column { field: "MemUsage", title: "MEM USAGE / LIMIT" },
    Column { field: "MemPerc", title: "MEM %" },
    Column { field: "NetIO", title: "NET I/O" },
    Column { field: "BlockIO", title: "BLOCK I/O" },
    Column { field: "PIDs", title: "PIDS" },
];
const STANDARD: &str =
    "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";

/// How use is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Display<'a> {
    /// `--format`.
    pub(super) format: Option<&'a str>,
    /// Whether it is shown once.
    pub(super) once: bool,
    /// Whether ids are shown in full.
    pub(super) ids: Ids,
}

pub(super) fn stats(arguments: &Stats, context: &Context) -> Outcome {
    let (home, engine) = crate::wiring::engine(context, "rbuild stats")?;
    let display = Display {
        format: arguments.format.as_deref(),
        once: arguments.no_stream,
        ids: if arguments.no_trunc { Ids::Full } else { Ids::Short },
    };
    let is_known = Cell::new(false);
    show_use(&home, &engine, display, context, || chosen(&engine, arguments, is_known.replace(true)))
}

/// Shows what containers use, once or until the end; `chosen` tells which, before every look, and what `{{.Container}}`
/// calls each: the word that it was asked for by, as Docker's does. With `None` there is nothing left to show.
pub(super) fn show_use(
    home: &Home,
    engine: &Engine,
    display: Display<'_>,
    context: &Context,
    chosen: impl Fn() -> anyhow::Result<Option<Vec<(String, Definition)>>>,
) -> Outcome {
    let watch = home.store.events().watch()?;
    loop {
        let Some(chosen) = chosen()? else { return Ok(Status::Done) };
        let begun = Instant::now();
        let before: Vec<Option<Sample>> =
            chosen.iter().map(|(_, definition)| engine.sample(definition)).collect::<Result<_, _>>()?;
        // The counters have to move before a rate can be told; what comes or goes meanwhile is shown at once.
        watch.wait(Some(LOOK))?;
        let mut rows = Vec::with_capacity(chosen.len());
        for ((called, definition), before) in chosen.iter().zip(before) {
            let now = engine.sample(definition)?;
            rows.push(row(called, definition, before, now, begun.elapsed(), display.ids));
        }
        let text = template::list(display.format, STANDARD, COLUMNS, &rows).map_err(Findings::from)?;
        if !display.once && context.terminal.out().kind == StreamKind::Terminal {
            context.terminal.print("\x1b[H\x1b[2J")?;
        }
        context.terminal.print(&text)?;
        if display.once {
            return Ok(Status::Done);
        }
    }
}

/// The containers that are asked for. Each has to be there at first; later, one that is removed is left out.
fn chosen(
    engine: &Engine,
    arguments: &Stats,
    is_known: bool,
) -> anyhow::Result<Option<Vec<(String, Definition)>>> {
    if arguments.containers.is_empty() {
        let request = ListRequest { all: arguments.all, ..ListRequest::default() };
        let called = |definition: Definition| (super::ps::shown_id(&definition, Ids::Short), definition);
        return Ok(Some(engine.list(&request)?.into_iter().map(|one| called(one.definition)).collect()));
    }
    let mut found = Vec::new();
    for name in &arguments.containers {
        match engine.find(name) {
            Ok(definition) => found.push((name.clone(), definition)),
            Err(ContainerError::NotFound(_)) if is_known => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(found).filter(|found| !found.is_empty()))
}

fn row(
    called: &str,
    definition: &Definition,
    before: Option<Sample>,
    now: Option<Sample>,
    passed: Duration,
    ids: Ids,
) -> Value {
    let sample = now.unwrap_or_default();
    let used = match (before, now) {
        (Some(before), Some(now)) => now.cpu_us.saturating_sub(before.cpu_us),
        _ => 0,
    };
    let percent = |part: f64, whole: f64| if whole > 0.0 { part / whole * 100.0 } else { 0.0 };
    let pair = |(a, b): (u64, u64)| format!("{} / {}", human::size(a), human::size(b));
    json!({
        "BlockIO": pair(sample.blocks),
        "CPUPerc": format!("{:.2}%", percent(used as f64, passed.as_micros() as f64)),
        "Container": called,
        "ID": super::ps::shown_id(definition, ids),
        "MemPerc": format!("{:.2}%", percent(sample.memory as f64, sample.memory_limit as f64)),
        "MemUsage": format!("{} / {}", human::binary_size(sample.memory), human::binary_size(sample.memory_limit)),
        "Name": definition.name.as_str(),
        "NetIO": pair(sample.network),
        "PIDs": sample.pids.to_string(),
    })
}
