//! Measures what hashing a context costs, cold and warm: `cargo run --release -p rbuild-cache --example scan [FILES [NAME [ROUNDS]]]`.
//!
//! It makes a context in a temporary folder: directories of twenty files of about two KiB, three levels deep.

use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use rbuild_cache::content::{ContextScan, Decision, TreeSource};
use rbuild_confined::{Kind, Root, Step, Walk};
use rbuild_model::step::PathSource;

fn main() -> Result<(), Box<dyn Error>> {
    let files: usize = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => 10_000,
    };
    let only = std::env::args().nth(2);
    let rounds: usize = std::env::args().nth(3).map_or(Ok(41), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    let context = folder.path().join("context");
    let flat = folder.path().join("flat");
    let index = folder.path().join("index");
    fill(&context, files, 20)?;
    fill(&flat, files, usize::MAX)?;
    // Files younger than the file system's clock tick would not be trusted.
    std::fs::write(folder.path().join("later"), "")?;
    let mut out = std::io::stdout().lock();
    let one = PathSource { from_client: true, ..PathSource::literal("/") };
    let few = PathSource { from_client: true, ..PathSource::literal("/d0/d0/f0") };
    let mut measure =
        |what: &str, tree: &Path, path: &PathSource, mode: Mode| -> Result<(), Box<dyn Error>> {
            if only.as_ref().is_some_and(|only| only != what) {
                return Ok(());
            }
            let mut times = Vec::new();
            let mut worked = Duration::ZERO;
            let mut effort = None;
            for _ in 0..rounds {
                if mode == Mode::Cold && index.exists() {
                    std::fs::remove_file(&index)?;
                }
                let start = Instant::now();
                let before = processor_time();
                if mode == Mode::Bare {
                    walk(tree)?;
                    times.push(start.elapsed());
                    worked += processor_time() - before;
                    continue;
                }
                let mut source = TreeSource::client(Root::open(tree)?).with_index(&index);
                if mode == Mode::WarmFiltered {
                    source = source.with_filter(std::sync::Arc::new(ignore_some));
                }
                let mut scan = ContextScan::new(source);
                if mode == Mode::WarmOneThread {
                    scan = scan.with_threads(1);
                }
                scan.hash_selection(path)?;
                times.push(start.elapsed());
                worked += processor_time() - before;
                scan.save_index()?;
                effort = Some(scan.effort());
            }
            let worked = worked.as_secs_f64() * 1e3 / rounds as f64;
            writeln!(out, "{what:28} {}, processors {worked:6.2} ms, {effort:?}", summary(&mut times))?;
            Ok(())
        };
    measure("cold", &context, &one, Mode::Cold)?;
    measure("bare stat walk, one thread", &context, &one, Mode::Bare)?;
    measure("warm", &context, &one, Mode::Warm)?;
    measure("warm, ignore filter", &context, &one, Mode::WarmFiltered)?;
    measure("warm, one thread", &context, &one, Mode::WarmOneThread)?;
    measure("warm, one file of all", &context, &few, Mode::Warm)?;
    measure("flat, cold", &flat, &one, Mode::Cold)?;
    measure("flat, warm", &flat, &one, Mode::Warm)?;
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Cold,
    Warm,
    WarmFiltered,
    WarmOneThread,
    /// Names and stats alone: what no index can save.
    Bare,
}

/// The time that processors have worked for this process, which other work on the machine changes less.
fn processor_time() -> Duration {
    let clock = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(clock.tv_sec.unsigned_abs(), u32::try_from(clock.tv_nsec).unwrap_or(0))
}

fn walk(tree: &Path) -> Result<(), rbuild_confined::Error> {
    let mut walk = Walk::new(Root::open(tree)?.resolve("/")?.open_dir()?)?;
    while let Some(step) = walk.next()? {
        if let Step::Entry(entry) = step {
            match entry.kind {
                Some(Kind::Directory) => walk.enter()?,
                _ => {
                    std::hint::black_box(walk.metadata()?);
                }
            }
        }
    }
    Ok(())
}

fn ignore_some(path: &[u8], _is_dir: bool) -> Decision {
    if path.ends_with(b".log") || path.starts_with(b"node_modules") {
        Decision::Exclude
    } else {
        Decision::Include
    }
}

fn summary(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let millis = |at: usize| times[at].as_secs_f64() * 1e3;
    format!("best {:7.2} ms, median {:7.2} ms", millis(0), millis(times.len() / 2))
}

fn fill(root: &Path, files: usize, per_directory: usize) -> std::io::Result<()> {
    let per_directory = per_directory.min(files.max(1));
    let content = "0123456789abcdef".repeat(128);
    for directory in 0..files.div_ceil(per_directory) {
        let path = root.join(format!("d{}", directory / 25)).join(format!("d{}", directory % 25));
        std::fs::create_dir_all(&path)?;
        for file in 0..per_directory.min(files - directory * per_directory) {
            std::fs::write(path.join(format!("f{file}")), format!("{directory} {file} {content}"))?;
        }
    }
    Ok(())
}
