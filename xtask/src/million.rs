//! A layer of a million entries, all the way: read, unpacked, hashed, recorded and packed again, each within a bound of memory.

use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::PidfdFlags;

/// How many entries a folder of the layer has, and how many folders there are.
const FOLDER: u32 = 1000;
/// The most memory of one command.
const BOUND_KIB: u64 = 64 << 10;
/// How often its memory is looked at while it runs.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };

/// Runs it in a store of its own, which lies in `RBUILD_MILLION` or the temporary folder and goes at the end.
pub(crate) fn run() -> Result<String> {
    let program = crate::program("release")?;
    ensure!(program.exists(), "`{}` is not there: `cargo build --release`", program.display());
    let place = std::env::var_os("RBUILD_MILLION").map_or_else(std::env::temp_dir, Into::into);
    let place = place.join(format!("rbuild-million-{}", std::process::id()));
    std::fs::create_dir_all(&place).with_context(|| format!("cannot make `{}`", place.display()))?;
    let told = measured(&program, &place);
    let removed = std::fs::remove_dir_all(&place);
    let told = told?;
    removed.with_context(|| format!("cannot remove `{}`", place.display()))?;
    Ok(told)
}

fn measured(program: &Path, place: &Path) -> Result<String> {
    let mut told = String::new();
    for (what, arguments) in
        [("unpacked", &["import", "-", "million"][..]), ("packed", &["save", "million", "-o", "/dev/null"])]
    {
        let (took, peak) = command(program, place, arguments)?;
        told.push_str(&format!(
            "{what} in {:.1} s with {:.1} MiB\n",
            took.as_secs_f64(),
            peak as f64 / 1024.0
        ));
        ensure!(peak <= BOUND_KIB, "{what} with {peak} KiB of memory: more than {BOUND_KIB}");
    }
    let entries = entries(place)?;
    ensure!(entries >= u64::from(FOLDER * FOLDER), "there are {entries} files: not all were unpacked");
    Ok(told)
}

/// Runs the program; returns its time and the most memory that it had.
fn command(program: &Path, place: &Path, arguments: &[&str]) -> Result<(Duration, u64)> {
    let since = Instant::now();
    let mut child = Command::new(program)
        .args(arguments)
        .env("RBUILD_ROOT", place.join("store"))
        .env("HOME", place)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run `{}`", program.display()))?;
    let input = child.stdin.take();
    let writer = std::thread::spawn(move || input.map_or(Ok(()), layer));
    let pid = rustix::process::Pid::from_child(&child);
    let end = rustix::process::pidfd_open(pid, PidfdFlags::empty()).context("cannot wait for the program")?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let ended = loop {
        // The figure only grows: what is seen last is what there was.
        let seen = std::fs::read_to_string(&status).unwrap_or_default();
        let line = seen.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(peak);
        rustix::event::poll(&mut [PollFd::new(&end, PollFlags::IN)], Some(&LOOK))?;
        if let Some(status) = child.try_wait()? {
            break status;
        }
    };
    // Who reads no input closes it.
    let _ = writer.join();
    ensure!(ended.success(), "`rbuild {}` ended with {ended}", arguments.join(" "));
    Ok((since.elapsed(), peak))
}

/// Writes the layer: folders of empty files.
fn layer(out: impl std::io::Write) -> std::io::Result<()> {
    let mut layer = tar::Builder::new(BufWriter::new(out));
    let mut header = tar::Header::new_ustar();
    header.set_size(0);
    header.set_mode(0o644);
    for number in 0..FOLDER * FOLDER {
        let path = format!("d{:03}/f{number:06}", number / FOLDER);
        layer.append_data(&mut header, path, std::io::empty())?;
    }
    layer.into_inner()?.flush()
}

/// Counts the files below a folder.
fn entries(folder: &Path) -> Result<u64> {
    let mut count = 0;
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read `{}`", folder.display()))? {
        let entry = entry?;
        count += if entry.file_type()?.is_dir() { entries(&entry.path())? } else { 1 };
    }
    Ok(count)
}
