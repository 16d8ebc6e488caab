//! Compose projects shown by the reference: recorded as expectations, or compared with what was recorded.
//!
//! ```text
//! cargo xtask compose-differential --peer "docker compose" [--write] [CASE...]
//! ```
//!
//! Each folder of `testdata/compose` is a case (`frontend/tests/compose.rs` tells the files). With `--write` what the peer
//! says is recorded where nothing is recorded yet; else it is compared. Cases with a `deviation.txt` are meant to differ and
//! are left alone.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// What stands for the folder of the cases in what is recorded.
const PROJECT: &str = "/project";

/// What the peer said.
struct Said {
    done: bool,
    out: String,
    error: String,
}

/// Runs the cases.
pub(crate) fn differential(root: &Path, arguments: &[String]) -> Result<()> {
    let (mut peer, mut write, mut only) = (None, false, Vec::new());
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--peer" => peer = words.next().cloned(),
            "--write" => write = true,
            name => only.push(name.to_owned()),
        }
    }
    let peer = peer.context("give the peer's command with --peer, for example --peer \"docker compose\"")?;
    let peer: Vec<&str> = peer.split_whitespace().collect();
    let folder = root.join("testdata/compose");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(&folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for case in cases {
        let name = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !only.is_empty() && !only.contains(&name) {
            continue;
        }
        if case.join("deviation.txt").exists() {
            skipped += 1;
            continue;
        }
        let said = ask(&peer, &case).with_context(|| format!("asking about {name}"))?;
        match recorded(&case) {
            None if write => record(&case, &said)?,
            None => bail!("nothing is recorded for {name}: --write records it"),
            Some(known) if fits(&case, &known, &said) => passed += 1,
            Some(_) => {
                failed += 1;
                println!("{name}: the peer says\n{}{}", said.out, said.error);
            }
        }
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed > 0 { bail!("{failed} cases differ") } else { Ok(()) }
}

fn ask(peer: &[&str], case: &Path) -> Result<Said> {
    let (program, before) = peer.split_first().context("the peer's command is empty")?;
    let arguments = arguments(case);
    // Where the peer sees the folders of the cases: it may be in a root of its own.
    let wrapper = before.iter().position(|word| *word == "docker").map_or(&[][..], |at| &before[..at]);
    let parent = if *program == "docker" {
        case.to_owned()
    } else {
        let output = Command::new(program).args(wrapper).arg("pwd").current_dir(case).output()?;
        PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
    };
    let place = parent.parent().unwrap_or(&parent).to_owned();
    let stdin = match std::fs::File::open(case.join("stdin")) {
        Ok(file) => Stdio::from(file),
        Err(_) => Stdio::null(),
    };
    let variables = std::fs::read_to_string(case.join("environment")).unwrap_or_default();
    let output = Command::new(program)
        .args(before)
        .args(&arguments)
        .current_dir(case)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", "/root")
        .envs(variables.lines().filter_map(|line| line.split_once('=')))
        .stdin(stdin)
        .output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&place.display().to_string(), PROJECT);
    Ok(Said { done: output.status.success(), out: text(&output.stdout), error: text(&output.stderr) })
}

fn arguments(case: &Path) -> Vec<String> {
    let line = std::fs::read_to_string(case.join("args")).unwrap_or_else(|_| "config".to_owned());
    line.split_whitespace().map(str::to_owned).collect()
}

/// Returns the name of the file that a case's output is recorded in.
fn output_name(case: &Path) -> &'static str {
    let arguments = arguments(case);
    if arguments.iter().any(|word| word == "json") {
        "expected.json"
    } else if arguments.iter().any(|word| {
        matches!(
            word.as_str(),
            "--services" | "--volumes" | "--networks" | "--models" | "--profiles" | "--images" | "--hash"
        )
    }) {
        "expected.txt"
    } else {
        "expected.yaml"
    }
}

fn recorded(case: &Path) -> Option<String> {
    [output_name(case), "error.txt"].iter().find_map(|name| std::fs::read_to_string(case.join(name)).ok())
}

fn record(case: &Path, said: &Said) -> Result<()> {
    if said.done {
        std::fs::write(case.join(output_name(case)), &said.out)?;
    } else {
        std::fs::write(case.join("error.txt"), message(&said.error) + "\n")?;
    }
    Ok(())
}

fn fits(case: &Path, known: &str, said: &Said) -> bool {
    if case.join("error.txt").exists() {
        return !said.done && said.error.contains(known.trim_end());
    }
    let names = output_name(case) == "expected.txt";
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    said.done && if names { sorted(known) == sorted(&said.out) } else { known == said.out }
}

/// Returns the message of an error without warnings and without the file it is about.
fn message(error: &str) -> String {
    let lines: Vec<&str> = error.lines().filter(|line| !line.starts_with("time=")).collect();
    let text = lines.join("\n");
    let text = match text.strip_prefix("validating ").and_then(|rest| rest.split_once(": ")) {
        Some((_, message)) => message.to_owned(),
        None => text,
    };
    text.trim().to_owned()
}
