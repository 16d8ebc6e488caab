//! `cargo xtask differential`: the same Dockerfiles built by rbuild and by another builder, compared.
//!
//! Every folder is copied once, both builders build that copy without their caches, both results leave as image
//! archives, and what is compared is what a container would see: the flattened tree (path, type, mode, owner, size,
//! content, link, hard links, extended attributes, time) and the config with its history.
//!
//! ```text
//! cargo xtask differential --peer 'docker' [--rbuild PATH] [--cached] [--keep] [-v] [--jobs N] [--results FILE] FOLDER...
//! cargo xtask differential --results FILE --write FOLDER
//! ```
//!
//! With `--results` a run that was ended goes on: cases that were equal, or different as meant, are not built again. When all are
//! there, `--write` brings the table of them into `docs/differential.md`.
//!
//! A folder holds a `Dockerfile`, or folders that do. Beside the Dockerfile may lie
//!
//! - `args`: further arguments of `build`, one a line;
//! - `context`: the context, if it is not the folder;
//! - `prepare.sh`: run in the copy before it is built, for what a repository cannot hold (times, modes, sockets, keys,
//!   repositories); a file `stdin` that is there afterwards is what both builders get on standard input;
//! - `expected`: differences that are meant, as this command prints them, with `#` comments that say why;
//! - `refused`: words that the messages of both builders have to hold, a line each; then neither may build it.
//!
//! An `expected` in the folder above holds differences that may show in every case; there a `*` at the end of a line
//! stands for anything.
//!
//! In the Dockerfile, `args`, `context` and the environment of `prepare.sh` stands `WEB` (in files `@WEB@`) for the URL of the
//! copy, which is served while the command runs: files as they are, and folders `NAME.git` as git repositories.
//!
//! Times that both builders made up are equal, whatever they are: those of the last days, as a builder may have kept
//! what it made in an earlier run. A Dockerfile that both refuse is
//! equal; `-v` shows what each said.

mod archive;
mod compare;
mod results;
mod served;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, bail, ensure};

use archive::Archive;
use rbuild_testkit::web::Web;
use results::{Outcome, Results};

/// What the command line asks for.
struct Options {
    peer: Vec<String>,
    rbuild: Vec<String>,
    cached: bool,
    keep: bool,
    verbose: bool,
    jobs: NonZeroUsize,
    results: Option<PathBuf>,
    write: bool,
    folders: Vec<PathBuf>,
}

/// How old a time that a builder made up can be, in seconds.
const DAYS: u64 = 3 * 24 * 60 * 60;

/// Files of a case that are for this command and not part of the build context.
const OURS: [&str; 5] = ["args", "context", "prepare.sh", "expected", "refused"];

/// Builds, compares and prints; fails if something differs that is not meant to.
pub(crate) fn differential(project: &Path, arguments: &[String]) -> Result<()> {
    let options = parse(arguments)?;
    let mut cases = Vec::new();
    for folder in &options.folders {
        find(folder, &mut cases)?;
    }
    ensure!(!cases.is_empty(), "no folder with a Dockerfile was named");
    if options.write {
        let results = options.results.as_deref().context("--write needs --results")?;
        let sections = cases[0].with_file_name("sections");
        return Results::read(results)?.write(&cases, &sections, &project.join("docs/differential.md"));
    }
    let compared = compared(&options, project)?;
    let results = match &options.results {
        Some(path) => Results::resume(path, compared)?,
        None => Results::new(compared),
    };
    let work = std::env::temp_dir().join(format!("rbuild-differential-{}", std::process::id()));
    fs::DirBuilder::new()
        .mode(0o755)
        .create(&work)
        .with_context(|| format!("failed to make {}", work.display()))?;
    let outcome = all(&options, &cases, &work, results);
    if options.keep {
        println!("kept: {}", work.display());
    } else {
        fs::remove_dir_all(&work).with_context(|| format!("failed to remove {}", work.display()))?;
    }
    outcome
}

/// Says what is compared: the project's commit and the peer's version.
fn compared(options: &Options, project: &Path) -> Result<String> {
    let line = |output: Output| -> Result<String> {
        ensure!(output.status.success(), "{}", said(&output));
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let git: Vec<String> = ["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+changes"]
        .map(str::to_owned)
        .to_vec();
    let commit = line(run(&git, &[], &[], project, None)?).context("failed to tell the commit")?;
    let peer =
        line(run(&options.peer, &["--version"], &[], project, None)?).context("failed to ask the peer")?;
    Ok(format!("rbuild at {commit} beside {peer}"))
}

fn parse(arguments: &[String]) -> Result<Options> {
    let words = |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
    let mut options = Options {
        peer: Vec::new(),
        rbuild: vec![crate::program("debug")?.display().to_string()],
        cached: false,
        keep: false,
        verbose: false,
        jobs: NonZeroUsize::MIN,
        results: None,
        write: false,
        folders: Vec::new(),
    };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--peer" => options.peer = words(value()?),
            "--rbuild" => options.rbuild = words(value()?),
            "--cached" => options.cached = true,
            "--keep" => options.keep = true,
            "-v" | "--verbose" => options.verbose = true,
            "--jobs" => options.jobs = value()?.parse().context("--jobs takes a number of 1 or more")?,
            "--results" => options.results = Some(PathBuf::from(value()?)),
            "--write" => options.write = true,
            flag if flag.starts_with('-') => bail!("unknown argument `{flag}`"),
            folder => options.folders.push(PathBuf::from(folder)),
        }
    }
    ensure!(
        options.write || !options.peer.is_empty(),
        "--peer names the builder to compare with, as in --peer docker"
    );
    if let Some(program) = options.rbuild.first_mut() {
        // The builders run in the context's folder.
        *program = fs::canonicalize(&program)
            .with_context(|| format!("no program {program}"))?
            .display()
            .to_string();
    }
    Ok(options)
}

/// Adds `folder`, or the folders in it, in order of their names.
fn find(folder: &Path, cases: &mut Vec<PathBuf>) -> Result<()> {
    let folder = fs::canonicalize(folder).with_context(|| format!("no folder {}", folder.display()))?;
    if folder.join("Dockerfile").exists() {
        cases.push(folder);
        return Ok(());
    }
    let mut inner: Vec<PathBuf> = fs::read_dir(&folder)
        .with_context(|| format!("failed to list {}", folder.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<_>>()?;
    inner.retain(|path| path.join("Dockerfile").exists());
    inner.sort();
    cases.extend(inner);
    Ok(())
}

/// Builds what has no result yet, some cases at a time.
fn all(options: &Options, cases: &[PathBuf], work: &Path, results: Results) -> Result<()> {
    let web = served::folder(work);
    let results = Mutex::new(results);
    let next = AtomicUsize::new(0);
    let some = || -> Result<()> {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            let name = name_of(case);
            if results.lock().unwrap_or_else(PoisonError::into_inner).is_done(name) {
                continue;
            }
            let found = one(options, case, name, work, &web).with_context(|| format!("case {name}"))?;
            let outcome = judge(case, name, &found)?;
            results.lock().unwrap_or_else(PoisonError::into_inner).add(name, outcome)?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..options.jobs.get()).map(|_| scope.spawn(some)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().map_err(|_| anyhow!("a worker panicked"))?)
    })?;
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let differing = results.differing(cases);
    println!("{} of {} equal", cases.len() - differing.len(), cases.len());
    ensure!(differing.is_empty(), "differing: {}", differing.join(", "));
    Ok(())
}

/// Holds what differs against what is meant to, and tells what came of it.
fn judge(case: &Path, name: &str, found: &[String]) -> Result<Outcome> {
    let expected = accepted(&case.join("expected"))?;
    let possible = accepted(&case.with_file_name("expected"))?;
    let meant = |line: &String| {
        let begins = |pattern: &String| {
            pattern.strip_suffix('*').map_or(pattern == line, |beginning| line.starts_with(beginning))
        };
        expected.contains(line) || possible.iter().any(begins)
    };
    let new = found.iter().filter(|line| !meant(line)).map(|line| format!("\n  {line}"));
    let gone =
        expected.iter().filter(|line| !found.contains(line)).map(|line| format!("\n  no longer: {line}"));
    let wrong: String = new.chain(gone).collect();
    let outcome = match (wrong.is_empty(), expected.is_empty()) {
        (true, true) => Outcome::Equal,
        (true, false) => Outcome::Meant,
        (false, _) => Outcome::Differs,
    };
    println!("{name}: {}{wrong}", outcome.text());
    Ok(outcome)
}

/// What a case is called: its folder.
fn name_of(case: &Path) -> &str {
    case.file_name().and_then(OsStr::to_str).unwrap_or("case")
}

/// The differences that a file lists, if it is there.
fn accepted(path: &Path) -> Result<BTreeSet<String>> {
    if !path.exists() {
        return Ok(BTreeSet::new());
    }
    let text = fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
    Ok(text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(str::to_owned).collect())
}

/// The words that say why a case is refused; none if it is to be built.
fn refused(case: &Path) -> Result<BTreeSet<String>> {
    let path = case.join("refused");
    let words = accepted(&path)?;
    ensure!(!words.is_empty() || !path.exists(), "{} holds no words", path.display());
    Ok(words)
}

/// A case that is ready to be built.
struct Prepared {
    /// The copy.
    folder: PathBuf,
    /// What stands behind `build`.
    arguments: Vec<String>,
    /// The context.
    context: String,
    /// What the builders get on standard input.
    input: Option<PathBuf>,
}

/// Copies a case and completes the copy.
fn prepare(case: &Path, name: &str, work: &Path, web: &Web) -> Result<Prepared> {
    let folder = work.join(name);
    copy(case, &folder)?;
    let url = web.url(&format!("/{name}"));
    let text = |path: &Path| -> Result<Option<String>> {
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
        Ok(Some(text.replace("@WEB@", &url)))
    };
    let dockerfile = folder.join("Dockerfile");
    // Most are left as they are: they need not be text.
    if fs::read(&dockerfile)?.windows(5).any(|window| window == b"@WEB@") {
        fs::write(&dockerfile, text(&dockerfile)?.unwrap_or_default())?;
    }
    let script = case.join("prepare.sh");
    if script.exists() {
        let mut command = Command::new("sh");
        command.arg(&script).current_dir(&folder).env("WEB", &url);
        let output = command.output().context("failed to start sh")?;
        ensure!(output.status.success(), "prepare.sh failed: {}", said(&output));
    }
    let stdin = folder.join("stdin");
    let arguments = text(&case.join("args"))?.unwrap_or_default().lines().map(str::to_owned).collect();
    let context = text(&case.join("context"))?.map_or(".".to_owned(), |text| text.trim().to_owned());
    Ok(Prepared { folder, arguments, context, input: stdin.exists().then_some(stdin) })
}

/// Builds one case twice and returns what differs.
fn one(options: &Options, case: &Path, name: &str, work: &Path, web: &Web) -> Result<Vec<String>> {
    let prepared = prepare(case, name, work, web)?;
    let folder = &prepared.folder;
    let mut build = vec!["build", "-q"];
    if !options.cached {
        build.push("--no-cache");
    }
    build.extend(prepared.arguments.iter().map(String::as_str));
    // Builders disagree on the time of the context's own folder, which is rarely meant: it counts as made up.
    let begin = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    set_time(folder, i64::try_from(begin)?)?;

    let tag = format!("rbuild-differential/{}", name.to_lowercase());
    let theirs_file = work.join(format!("{name}.theirs"));
    let input = prepared.input.as_deref();
    let theirs = run(&options.peer, &build, &["-t", &tag, &prepared.context], folder, input)?;
    let ours_file = work.join(format!("{name}.ours"));
    let output = format!("type=oci,dest={}", ours_file.display());
    let ours = run(&options.rbuild, &build, &["-o", &output, &prepared.context], folder, input)?;
    if options.verbose {
        println!("{name}: peer: {}: {}", theirs.status, said(&theirs));
        println!("{name}: rbuild: {}: {}", ours.status, said(&ours));
    }
    let words = refused(case)?;
    let differences = match (theirs.status.success(), ours.status.success()) {
        (false, false) => {
            unsaid("the peer", &theirs, &words).chain(unsaid("rbuild", &ours, &words)).collect()
        }
        (true, false) => vec![format!("only rbuild refuses: {}", said(&ours))],
        (false, true) => vec!["only the peer refuses".to_owned()],
        (true, true) if !words.is_empty() => vec!["both build what is to be refused".to_owned()],
        (true, true) => {
            if save(&options.peer, &tag, &theirs_file, folder)? {
                // One archive that cannot be read is the matter of one case.
                both(&theirs_file, &ours_file, begin.saturating_sub(DAYS))
                    .unwrap_or_else(|error| vec![format!("cannot be compared: {error:#}")])
            } else {
                vec!["the peer cannot save what it built".to_owned()]
            }
        }
    };
    if theirs.status.success() {
        run(&options.peer, &["rmi"], &[&tag], folder, None)?;
    }
    if !options.keep {
        for file in [theirs_file, ours_file].iter().filter(|file| file.exists()) {
            fs::remove_file(file).with_context(|| format!("failed to remove {}", file.display()))?;
        }
    }
    Ok(differences)
}

/// Compares two archives.
fn both(theirs: &Path, ours: &Path, begin: u64) -> Result<Vec<String>> {
    compare::images(&Archive::open(theirs)?, &Archive::open(ours)?, begin)
}

/// The words that a message lacks.
fn unsaid<'a>(
    who: &'a str,
    output: &Output,
    words: &'a BTreeSet<String>,
) -> impl Iterator<Item = String> + use<'a> {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let lacking = words.iter().filter(move |word| !text.contains(word.as_str()));
    lacking.map(move |word| format!("{who} does not say: {word}"))
}

/// The last line that is not a frame of an excerpt.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .clone()
        .find(|line| line.to_lowercase().contains("error"))
        .or_else(|| lines.next_back())
        .unwrap_or("")
        .to_owned()
}

fn run(
    prefix: &[String],
    leading: &[&str],
    arguments: &[&str],
    folder: &Path,
    input: Option<&Path>,
) -> Result<Output> {
    let (program, before) = prefix.split_first().context("no program")?;
    let stdin = match input {
        Some(path) => {
            fs::File::open(path).with_context(|| format!("failed to open {}", path.display()))?.into()
        }
        None => Stdio::null(),
    };
    Command::new(program)
        .args(before)
        .args(leading)
        .args(arguments)
        .current_dir(folder)
        .stdin(stdin)
        .output()
        .with_context(|| format!("failed to start {program}"))
}

fn save(prefix: &[String], tag: &str, to: &Path, folder: &Path) -> Result<bool> {
    let (program, before) = prefix.split_first().context("no program")?;
    let file = fs::File::create(to).with_context(|| format!("failed to make {}", to.display()))?;
    let status = Command::new(program)
        .args(before)
        .args(["save", tag])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(file)
        .status()
        .with_context(|| format!("failed to start {program}"))?;
    Ok(status.success())
}

/// Copies a case with its modes, and gives everything in it a time that says where it comes from.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().context("failed to start cp")?;
    ensure!(status.success(), "failed to copy {}: {status}", from.display());
    for name in OURS {
        let path = to.join(name);
        if path.exists() {
            fs::remove_file(&path).with_context(|| format!("failed to remove {}", path.display()))?;
        }
    }
    set_times(to, to)
}

fn set_times(path: &Path, top: &Path) -> Result<()> {
    let kind = fs::symlink_metadata(path).with_context(|| format!("failed to look at {}", path.display()))?;
    if kind.is_dir() {
        for entry in fs::read_dir(path).with_context(|| format!("failed to list {}", path.display()))? {
            set_times(&entry?.path(), top)?;
        }
    }
    let name = path.strip_prefix(top).unwrap_or(path);
    let sum: i64 = name.as_os_str().as_bytes().iter().map(|&byte| i64::from(byte)).sum();
    set_time(path, 981_173_106 + sum)
}

fn set_time(path: &Path, seconds: i64) -> Result<()> {
    let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
        .with_context(|| format!("failed to set the time of {}", path.display()))
}
