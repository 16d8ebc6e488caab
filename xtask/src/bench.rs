//! `cargo xtask bench`: the budgets, measured beside the peers, pair by pair in one run.
//!
//! A peer is a name and a command prefix (`--peer docker='docker'`), so that anyone can point the benchmark at an
//! engine of their own. Each round runs every tool once, in turn, so that what the machine does meanwhile hits all
//! of them; what is printed is the median of each and the ratio of medians. Nothing here fails on a time.
//!
//! ```text
//! cargo xtask bench [--rbuild PATH] [--rounds N] [--base IMAGE] [--files N] [--layer-mb N] [--image-mb N] [--cache-mb N]
//!                   [--services N] [--port-mb N] [--lookups N] [--registry HOST:PORT] [--peer NAME=PREFIX]... [ROW]...
//! ```
//!
//! | Row | What is measured | Peers |
//! |---|---|---|
//! | `noop`, `cold` | a build of twenty steps over many files: again unchanged, and from nothing | engines |
//! | `step` | one more `RUN` step | engines |
//! | `run-bridge`, `run-none` | a container of `true`, with and without a network | engines |
//! | `layer` | a file of 512 MiB, half of which can be compressed, as an OCI archive with gzip, and its size | engines |
//! | `project` | `compose up -d` of five services, the same again, `compose down` | engines with compose |
//! | `many` | thirty services up, and down | engines with compose |
//! | `stops` | eight services of `sleep` down | engines with compose |
//! | `chain` | five services that are ready after 50 ms, each waiting until the one before is healthy | engines with compose |
//! | `port` | 1 GiB of zeros through a published port | engines |
//! | `lookups` | 100 000 questions for the name of another container, from within one | engines |
//! | `pull` | an image of 600 MiB from a loopback registry to a tree that can be run | docker, podman, skopeo |
//! | `push` | a layer of 512 MiB that nobody has, built, packed and sent | docker, podman |
//! | `cache` | the cache of a registry into an empty store, and a build after an edit of one line | buildx |
//!
//! All rows are measured by default. A peer whose name contains `podman`, `skopeo` or `buildx` is spoken to as such (with the
//! prefix `docker buildx`, say), any other as docker; a row leaves out who cannot do it. The rows that travel start
//! `rbuild registry serve`, unless `--registry` names another one. Row `cache` prunes the builder that `buildx` uses.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

mod images;
pub(crate) mod lookups;
mod ports;
mod projects;

/// A tool that is measured: ours or a peer.
struct Tool {
    name: String,
    /// The program and its leading arguments.
    prefix: Vec<String>,
    ours: bool,
}

impl Tool {
    /// Whether it builds and runs.
    fn is_engine(&self) -> bool {
        !["skopeo", "buildx"].iter().any(|other| self.name.contains(other))
    }
}

/// What the command line asks for.
struct Options {
    tools: Vec<Tool>,
    rounds: usize,
    base: String,
    files: usize,
    /// The size of the file of rows `layer` and `push`.
    layer_mb: usize,
    /// The size of the image of row `pull`.
    image_mb: usize,
    /// The size of what row `cache` does not make again.
    cache_mb: usize,
    /// The services of row `many`.
    services: usize,
    /// How much goes through the port of row `port`.
    port_mb: usize,
    /// The questions of row `lookups`.
    lookups: usize,
    /// The registry of rows `pull`, `push` and `cache`, if one is named.
    registry: Option<String>,
    rows: Vec<String>,
}

impl Options {
    fn ours(&self) -> Result<&Tool> {
        self.tools.iter().find(|tool| tool.ours).context("rbuild is always measured")
    }
}

const ROWS: [&str; 15] = [
    "noop",
    "cold",
    "step",
    "run-bridge",
    "run-none",
    "project",
    "many",
    "stops",
    "chain",
    "port",
    "lookups",
    "layer",
    "pull",
    "push",
    "cache",
];

/// The number of RUN steps by which the two builds of row `step` differ.
const EXTRA_STEPS: usize = 20;

/// Measures how long texts take: a program of the front end, which needs no builder.
pub(crate) fn frontend(root: &Path, arguments: &[String]) -> Result<()> {
    let status = Command::new("cargo")
        .args(["run", "--quiet", "--release", "--package", "rbuild-frontend", "--example", "bench", "--"])
        .args(arguments)
        .current_dir(root)
        .status()
        .context("failed to start cargo")?;
    ensure!(status.success(), "the measurement failed: {status}");
    Ok(())
}

/// Runs the benchmark and returns the table.
pub(crate) fn bench(arguments: &[String]) -> Result<String> {
    let options = parse(arguments)?;
    let work = tempdir()?;
    let result = run(&options, &work);
    remove(&work)?;
    result
}

/// Removes a folder of stores; what a command left to make its results last may still write there for a moment.
fn remove(folder: &Path) -> Result<()> {
    for _ in 0..10_000 {
        match std::fs::remove_dir_all(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::DirectoryNotEmpty => std::thread::yield_now(),
            removed => return removed.with_context(|| format!("failed to remove {}", folder.display())),
        }
    }
    bail!("something goes on writing to {}", folder.display())
}

fn parse(arguments: &[String]) -> Result<Options> {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
    let mut options = Options {
        tools: Vec::new(),
        rounds: 7,
        base: "busybox".to_owned(),
        files: 10_000,
        layer_mb: 512,
        image_mb: 600,
        cache_mb: 256,
        services: 30,
        port_mb: 1024,
        lookups: 100_000,
        registry: None,
        rows: Vec::new(),
    };
    let mut prefix = vec![crate::program("release")?.display().to_string()];
    let mut peers = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--rbuild" => prefix = words(value()?),
            "--base" => options.base = value()?.clone(),
            "--registry" => options.registry = Some(value()?.clone()),
            "--rounds" | "--files" | "--layer-mb" | "--image-mb" | "--cache-mb" | "--services"
            | "--port-mb" | "--lookups" => {
                let number = value()?.parse().with_context(|| format!("{argument} takes a number"))?;
                *match argument.as_str() {
                    "--rounds" => &mut options.rounds,
                    "--files" => &mut options.files,
                    "--layer-mb" => &mut options.layer_mb,
                    "--image-mb" => &mut options.image_mb,
                    "--cache-mb" => &mut options.cache_mb,
                    "--services" => &mut options.services,
                    "--lookups" => &mut options.lookups,
                    _ => &mut options.port_mb,
                } = number;
            }
            "--peer" => {
                let (name, prefix) = value()?.split_once('=').context("--peer takes NAME=PREFIX")?;
                peers.push(Tool { name: name.to_owned(), prefix: words(prefix), ours: false });
            }
            row if ROWS.contains(&row) => options.rows.push(row.to_owned()),
            other => bail!("unknown argument `{other}`; rows are {}", ROWS.join(", ")),
        }
    }
    ensure!(options.rounds > 0, "--rounds must be at least 1");
    options.tools.push(Tool { name: "rbuild".to_owned(), prefix, ours: true });
    options.tools.extend(peers);
    if options.rows.is_empty() {
        options.rows = ROWS.map(str::to_owned).to_vec();
    }
    Ok(options)
}

fn run(options: &Options, work: &Path) -> Result<String> {
    let context = work.join("context");
    make_context(&context, options.files)?;
    std::fs::write(context.join("Dockerfile"), long_dockerfile(&options.base))?;
    let mut table =
        String::from("| row | tool | median | min | max | ratio |\n|---|---|---:|---:|---:|---:|\n");
    for row in &options.rows {
        let times = match row.as_str() {
            "noop" => {
                for tool in options.tools.iter().filter(|tool| tool.is_engine()) {
                    build(tool, &context, &[])?;
                }
                rounds(options, |tool, _| build(tool, &context, &[]))?
            }
            "cold" => rounds(options, |tool, round| {
                // A content nobody has seen, so that nothing at all is known of it.
                std::fs::write(context.join("nonce"), format!("{} {round}", tool.name))?;
                build(tool, &context, &["--no-cache"])
            })?,
            "step" => step_row(options, work)?,
            "run-bridge" => rounds(options, |tool, _| run_container(tool, &options.base, &[]))?,
            "run-none" => {
                rounds(options, |tool, _| run_container(tool, &options.base, &["--network", "none"]))?
            }
            "project" | "many" | "stops" | "chain" => {
                let rows = match row.as_str() {
                    "project" => projects::project(options, work)?,
                    "many" => projects::many(options, work)?,
                    "stops" => projects::stops(options, work)?,
                    _ => projects::chain(options, work)?,
                };
                for (row, times) in rows {
                    report(&mut table, row, options, times);
                }
                continue;
            }
            "port" => ports::port(options)?,
            "lookups" => {
                let times = lookups::lookups(options, work)?;
                for (tool, times) in options.tools.iter().zip(&times).filter(|(_, times)| !times.is_empty()) {
                    let rate = options.lookups as f64 / median(times).as_secs_f64();
                    writeln!(table, "| lookups, each second | {} | {rate:.0} | | | |", tool.name)?;
                }
                times
            }
            "pull" => images::pull(options, work)?,
            "push" => images::push(options, work)?,
            "cache" => images::cache(options, work)?,
            "layer" => {
                let mut sizes = Vec::new();
                let times = layer_row(options, work, &mut sizes)?;
                report(&mut table, row, options, times);
                for (tool, bytes) in options.tools.iter().zip(sizes).filter(|(tool, _)| tool.is_engine()) {
                    writeln!(table, "| layer, bytes | {} | {bytes} | | | |", tool.name)?;
                }
                continue;
            }
            other => bail!("unknown row `{other}`"),
        };
        report(&mut table, row, options, times);
    }
    Ok(table)
}

/// One more RUN step, amortised: the difference of two uncached builds, divided.
fn step_row(options: &Options, work: &Path) -> Result<Vec<Vec<Duration>>> {
    let mut contexts = Vec::new();
    for steps in [1, 1 + EXTRA_STEPS] {
        let context = work.join(format!("steps-{steps}"));
        std::fs::create_dir_all(&context)?;
        let mut text = format!("FROM {}\n", options.base);
        for step in 0..steps {
            writeln!(text, "RUN echo {step} > /step-{step}")?;
        }
        std::fs::write(context.join("Dockerfile"), text)?;
        contexts.push(context);
    }
    rounds(options, |tool, _| {
        let short = build(tool, &contexts[0], &["--no-cache"])?;
        let long = build(tool, &contexts[1], &["--no-cache"])?;
        Ok(long.saturating_sub(short) / EXTRA_STEPS as u32)
    })
}

/// A large layer on its way out: copied, compressed, written as an archive. The sizes are those of the last round.
fn layer_row(options: &Options, work: &Path, sizes: &mut Vec<u64>) -> Result<Vec<Vec<Duration>>> {
    let context = work.join("layer");
    std::fs::create_dir_all(&context)?;
    std::fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY large /large\n")?;
    let large = context.join("large");
    std::fs::write(&large, half_compressible(options.layer_mb << 20))?;
    // Named from within, as the context is.
    let archive = context.join("layer.tar");
    let output = "type=oci,dest=layer.tar";
    sizes.resize(options.tools.len(), 0);
    rounds(options, |tool, round| {
        // Another beginning: a layer that nobody has seen.
        let file = std::fs::OpenOptions::new().write(true).open(&large)?;
        std::os::unix::fs::FileExt::write_all_at(&file, format!("{} {round}\n", tool.name).as_bytes(), 0)?;
        drop(file);
        let took = time(tool, Some(&context), &["build", "-q", "-o", output, "."])?;
        let number = options.tools.iter().position(|other| other.name == tool.name);
        sizes[number.context("it is one of the tools")?] = std::fs::metadata(&archive)?.len();
        std::fs::remove_file(&archive)?;
        Ok(took)
    })
}

/// Bytes in pieces of 4 KiB, one of them noise, the next one text.
fn half_compressible(size: usize) -> Vec<u8> {
    let mut random = xorshift();
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        for _ in 0..512 {
            bytes.extend_from_slice(&random().to_le_bytes());
        }
        let end = bytes.len() + 4096;
        while bytes.len() < end {
            let line = format!("entry {:03} of the table of contents\n", random() % 1000);
            bytes.extend_from_slice(line.as_bytes());
        }
        bytes.truncate(end);
    }
    bytes.truncate(size);
    bytes
}

/// Numbers that look random, the same ones each time.
fn xorshift() -> impl FnMut() -> u64 {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    }
}

/// Measures each engine once a round, in turn; one list of times a tool.
fn rounds(
    options: &Options,
    mut measure: impl FnMut(&Tool, usize) -> Result<Duration>,
) -> Result<Vec<Vec<Duration>>> {
    some_rounds(options, |tool, round| tool.is_engine().then(|| measure(tool, round)).transpose())
}

/// As [`rounds`], of those that can do it.
fn some_rounds(
    options: &Options,
    mut measure: impl FnMut(&Tool, usize) -> Result<Option<Duration>>,
) -> Result<Vec<Vec<Duration>>> {
    let mut times = vec![Vec::new(); options.tools.len()];
    for round in 0..options.rounds {
        for (tool, times) in options.tools.iter().zip(&mut times) {
            times.extend(measure(tool, round)?);
        }
    }
    Ok(times)
}

fn build(tool: &Tool, context: &Path, flags: &[&str]) -> Result<Duration> {
    let mut command = vec!["build", "-q", "-t", "rbuild-bench"];
    command.extend(flags);
    // From within: a peer may see the folder under another path.
    command.push(".");
    time(tool, Some(context), &command)
}

fn run_container(tool: &Tool, image: &str, flags: &[&str]) -> Result<Duration> {
    let mut command = vec!["run", "--rm"];
    command.extend(flags);
    command.extend([image, "true"]);
    time(tool, None, &command)
}

fn time(tool: &Tool, folder: Option<&Path>, arguments: &[&str]) -> Result<Duration> {
    let (program, leading) =
        tool.prefix.split_first().with_context(|| format!("{} has no command", tool.name))?;
    let mut command = Command::new(program);
    command.args(leading).args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    if let Some(folder) = folder {
        command.current_dir(folder);
    }
    let start = Instant::now();
    let output = command.output().with_context(|| format!("failed to start {program}"))?;
    let took = start.elapsed();
    ensure!(
        output.status.success(),
        "{} {} ended with {}: {}",
        tool.prefix.join(" "),
        arguments.join(" "),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(took)
}

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() / 2]
}

fn report(table: &mut String, row: &str, options: &Options, times: Vec<Vec<Duration>>) {
    let mut medians: Vec<f64> = Vec::new();
    for (tool, mut times) in options.tools.iter().zip(times) {
        if times.is_empty() {
            continue;
        }
        times.sort();
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let median = ms(median(&times));
        medians.push(median);
        let ratio = if tool.ours { String::new() } else { format!("{:.1}x", median / medians[0]) };
        let (min, max) = (ms(times[0]), ms(times[times.len() - 1]));
        table.push_str(&format!(
            "| {row} | {} | {median:.1} ms | {min:.1} | {max:.1} | {ratio} |\n",
            tool.name
        ));
    }
}

/// A Dockerfile of twenty steps over the whole context.
fn long_dockerfile(base: &str) -> String {
    let mut text = format!("FROM {base} AS build\nWORKDIR /src\nCOPY d0 ./d0\n");
    for step in 0..7 {
        text.push_str(&format!("RUN echo build {step} > /out-{step}\n"));
    }
    text.push_str("COPY . .\n");
    text.push_str("RUN find . -type f | wc -l > /count\n");
    text.push_str(&format!(
        "FROM {base}\nWORKDIR /app\nCOPY --from=build /count /app/count\nCOPY --from=build /src /app/src\n"
    ));
    for step in 0..4 {
        text.push_str(&format!("RUN echo final {step} > /out-{step}\n"));
    }
    text.push_str("ENV A=1\nCMD [\"cat\", \"/app/count\"]\n");
    text
}

/// Makes a folder of many small files: the same ones each time, 100 a folder.
fn make_context(folder: &Path, files: usize) -> Result<()> {
    let mut random = xorshift();
    for file in 0..files {
        let parent = folder.join(format!("d{}", file / 100));
        if file % 100 == 0 {
            std::fs::create_dir_all(&parent)?;
        }
        let size = 100 + random() % 4000;
        let mut text = String::with_capacity(size as usize + 20);
        while (text.len() as u64) < size {
            writeln!(text, "{:016x}", random())?;
        }
        std::fs::write(parent.join(format!("f{file}.txt")), text)?;
    }
    Ok(())
}

fn tempdir() -> Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("rbuild-bench-{}", std::process::id()));
    std::fs::create_dir(&path).with_context(|| format!("failed to make {}", path.display()))?;
    Ok(path)
}
