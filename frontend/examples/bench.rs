//! How long texts take, without a builder around them: `cargo xtask bench-frontend`.
//!
//! Each row is done a number of times; what is printed is the median and the slowest, in processor time of the one thread
//! that does it. Nothing here fails on a time: a budget is for people to compare with, on a machine that does nothing
//! else, in a release build.
//!
//! ```text
//! cargo xtask bench-frontend [--rounds N]
//! ```

#![allow(clippy::print_stdout, reason = "a measurement for developers")]

use std::error::Error;
use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Duration;

use rbuild_frontend::dockerfile::parse;
use rbuild_frontend::ignore::Ignore;
use rbuild_frontend::lower::LowerOptions;
use rbuild_model::span::Source;

#[allow(dead_code, reason = "the tests' answers are what is wanted of it")]
#[path = "../tests/it/targets.rs"]
mod targets;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Something that is measured.
struct Row {
    name: &'static str,
    budget: Duration,
    work: Box<dyn Fn() -> Result<()>>,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rounds: usize = match &arguments[..] {
        [] => 21,
        [flag, value] if flag == "--rounds" => value.parse()?,
        _ => return Err("usage: bench [--rounds N]".into()),
    };
    println!("{}", table(rounds.max(1))?);
    Ok(())
}

/// Measures every row.
fn table(rounds: usize) -> Result<String> {
    let mut table = String::from("| What | Median | Slowest | Budget |\n|---|---|---|---|\n");
    for row in rows() {
        let mut times = Vec::with_capacity(rounds);
        for _ in 0..rounds {
            let start = processor_time();
            (row.work)()?;
            times.push(processor_time().saturating_sub(start));
        }
        times.sort();
        let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
        let _ = writeln!(
            table,
            "| {} | {:.2} ms | {:.2} ms | {:.0} ms |",
            row.name,
            milliseconds(times[times.len() / 2]),
            milliseconds(times[times.len() - 1]),
            milliseconds(row.budget)
        );
    }
    Ok(table)
}

/// Returns how long this thread has run.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn rows() -> Vec<Row> {
    let thousand = thousand_lines();
    let stages = ten_thousand_stages();
    let arguments = stages_with("ARG A{}=1\nCOPY a /x{}\n");
    let variables = stages_with("ENV A{}=1\nCOPY a /x{}\n");
    let labels = stages_with("LABEL l{}=1\n");
    let lines = (1..10_000)
        .fold("FROM a\nENV a0=1\n".to_owned(), |text, at| text + &format!("ENV a{at}=$a{}\n", at - 1));
    let (rules, files, folders) = ignored_tree();
    vec![
        Row {
            name: "parse and lower 1 000 lines",
            budget: Duration::from_millis(5),
            work: Box::new(move || read(&thousand)),
        },
        Row {
            name: "parse and lower 10 000 stages",
            budget: Duration::from_millis(200),
            work: Box::new(move || read(&stages)),
        },
        Row {
            name: "10 000 stages, each on the one before it with an ARG more",
            budget: Duration::from_secs(1),
            work: Box::new(move || read(&arguments)),
        },
        Row {
            name: "the same with an ENV more",
            budget: Duration::from_secs(1),
            work: Box::new(move || read(&variables)),
        },
        Row {
            name: "the same with a LABEL more",
            budget: Duration::from_secs(1),
            work: Box::new(move || read(&labels)),
        },
        Row {
            name: "10 000 lines of ENV in one stage",
            budget: Duration::from_secs(1),
            work: Box::new(move || read(&lines)),
        },
        Row {
            name: "1 000 ignore rules over 100 000 files",
            budget: Duration::from_millis(100),
            work: Box::new(move || {
                let ignore = Ignore::parse(&rules)?;
                let ignored = files.iter().filter(|path| ignore.ignores(path)).count();
                let pruned =
                    folders.iter().filter(|path| ignore.ignores(path) && ignore.prunes(path)).count();
                if ignored > 1_000 && pruned > 10 {
                    return Ok(());
                }
                Err(format!("the rules leave out {ignored} files and {pruned} folders").into())
            }),
        },
    ]
}

fn read(text: &str) -> Result<()> {
    let parsed = parse(&Source::new("Dockerfile", text));
    if let Some(finding) = parsed.diagnostics.first() {
        return Err(finding.to_string().into());
    }
    let options = LowerOptions::new("linux/amd64".parse()?);
    let lowered = targets::lowered(&parsed, &options)?;
    black_box(lowered.graph.len());
    Ok(())
}

/// A file with all that files have, none of it alike.
fn thousand_lines() -> String {
    let mut text = String::from("# syntax=docker/dockerfile:1\nARG TAG=latest\nFROM a:$TAG AS base\n");
    let mut at = 0;
    while text.lines().count() < 1_000 {
        at += 1;
        let _ = write!(
            text,
            "# VERSION{at} is used below\nARG VERSION{at}=1.{at}\nENV NAME{at}=${{VERSION{at}:-none}} OTHER{at}=\"a b\"\n\
             RUN --mount=type=cache,target=/cache{at} set -eux; \\\n    echo \"$NAME{at}\"; \\\n    # why\n    make -j all\n\
             COPY --chown=1000:1000 src{at}/ lib{at}/*.c /app/$NAME{at}/\nWORKDIR /app/$NAME{at}\n\
             LABEL org.example.label{at}=\"value $VERSION{at}\"\nRUN <<EOF\necho {at}\nEOF\n"
        );
        if at % 10 == 0 {
            let _ = writeln!(text, "FROM base AS stage{at}");
        }
    }
    text
}

fn ten_thousand_stages() -> String {
    let mut text = String::from("FROM a AS s0\n");
    for at in 1..10_000 {
        let _ = writeln!(text, "FROM s{} AS s{at}\nCOPY --from=s{} /a{at} /b", at - 1, at / 2);
    }
    text
}

/// Stages that each stand on the one before, with some lines more; `{}` is the stage's number.
fn stages_with(lines: &str) -> String {
    let mut text = String::from("FROM a AS s0\n");
    for at in 1..10_000 {
        let _ = write!(text, "FROM s{} AS s{at}\n{}", at - 1, lines.replace("{}", &at.to_string()));
    }
    text
}

/// Rules as people write them, and the paths of a tree: its files and its folders.
fn ignored_tree() -> (String, Vec<String>, Vec<String>) {
    let mut rules = String::from("# made up\n**/node_modules\n**/*.log\n.git\n*.tmp\n");
    for at in 0..996 {
        let _ = match at % 8 {
            0 => writeln!(rules, "packages/p{at}/dist"),
            1 => writeln!(rules, "**/cache{at}"),
            2 => writeln!(rules, "**/*.ext{at}"),
            3 => writeln!(rules, "packages/p{at}/**/*.o"),
            4 => writeln!(rules, "/build{at}"),
            5 => writeln!(rules, "!packages/p{at}/dist/keep{at}"),
            6 => writeln!(rules, "docs/[a-m]{at}*"),
            _ => writeln!(rules, "tmp{at}*"),
        };
    }
    let (mut files, mut folders) = (Vec::new(), Vec::new());
    for package in 0..1_000 {
        for folder in ["src", "dist", "node_modules", "test/unit", "docs"] {
            folders.push(format!("packages/p{package}/{folder}"));
            for file in 0..20 {
                let end = ["ts", "log", "o", "ext10", "md"][file % 5];
                files.push(format!("packages/p{package}/{folder}/file{file}.{end}"));
            }
        }
    }
    (rules, files, folders)
}
