//! Compose projects in folders: what each means, as it was recorded from the reference.
//!
//! A case is a folder of `testdata/compose`: the files of a project, `args` (the command line, `config` alone if there is
//! none), `environment` (variables), and either `expected.yaml`, `expected.json`, `expected.txt` or `error.txt`.
//! `cargo xtask compose-differential` records and compares; a `deviation.txt` says why a case is meant to differ.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use rbuild_frontend::compose::{Answer, Answers, Loaded, Loading, Question, Request, Section, Skip, load};
use rbuild_model::span::{Diagnostic, Source};

/// What stands for the folder of the cases.
const PROJECT: &str = "/project";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/compose")
}

fn cases() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root()).expect("the cases are there");
    let mut cases: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    cases.retain(|path| path.is_dir());
    cases.sort();
    cases
}

/// What a command line asks for.
#[derive(Default)]
struct Asked {
    request: Request,
    json: bool,
    list: Option<String>,
    hash: bool,
}

fn asked(case: &Path) -> Asked {
    let line = std::fs::read_to_string(case.join("args")).unwrap_or_else(|_| "config".to_owned());
    let variables = std::fs::read_to_string(case.join("environment")).unwrap_or_default();
    let mut asked = Asked::default();
    let request = &mut asked.request;
    request.current_dir = Path::new(PROJECT).join(case.file_name().unwrap_or_default());
    request.home = Some(PathBuf::from("/root"));
    request.environment = variables
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let mut words = line.split_whitespace().map(str::to_owned);
    while let Some(word) = words.next() {
        let mut value = || words.next().expect("the flag has a value");
        match word.as_str() {
            "config" => {}
            "-f" => request.files.push(value()),
            "-p" => request.project_name = Some(value()),
            "--project-directory" => request.project_directory = Some(value().into()),
            "--env-file" => request.env_files.push(value()),
            "--profile" => request.profiles.push(value()),
            "--all-resources" => request.skip.pruning = true,
            "--format" => asked.json = value() == "json",
            "--hash" => {
                value();
                asked.hash = true;
            }
            "--no-interpolate" => request.skip.interpolation = true,
            "--no-normalize" => request.skip.normalisation = true,
            "--no-path-resolution" => request.skip.path_resolution = true,
            "--no-consistency" => request.skip.consistency = true,
            "--no-env-resolution" => request.skip.env_resolution = true,
            list if list.starts_with("--") => asked.list = Some(list.to_owned()),
            service => request.services.push(service.to_owned()),
        }
    }
    asked
}

fn answer(case: &Path, question: &Question) -> Answer {
    match question {
        Question::Stdin => of_file(&case.join("stdin"), "-"),
        Question::File(path) => match path.strip_prefix(PROJECT) {
            Ok(below) => of_file(&root().join(below), &path.display().to_string()),
            Err(_) => Answer::Missing,
        },
        Question::Followed(path) => Answer::Path(path.clone()),
        Question::Remote(_) => Answer::Missing,
    }
}

fn of_file(path: &Path, name: &str) -> Answer {
    if path.is_dir() {
        return Answer::Directory;
    }
    match std::fs::read_to_string(path) {
        Ok(text) => Answer::Text(Source::new(name, text)),
        Err(_) => Answer::Missing,
    }
}

fn loaded(case: &Path, request: &Request) -> Result<Loaded, Box<Diagnostic>> {
    let mut answers = Answers::default();
    loop {
        match load(request, &answers).map_err(|error| error.diagnostic)? {
            Loading::Ready(loaded) => return Ok(*loaded),
            Loading::Needs(questions) => {
                assert!(!questions.is_empty(), "it wants to know something");
                for question in questions {
                    let known = answer(case, &question);
                    answers.add(question, known);
                }
            }
        }
    }
}

fn shown(case: &Path, asked: &Asked) -> Result<String, String> {
    let loaded = loaded(case, &asked.request).map_err(|error| error.message)?;
    let lines = |list: Vec<String>| list.into_iter().map(|line| line + "\n").collect::<String>();
    if asked.hash {
        let hashes = loaded.hashes().map_err(|error| error.message)?;
        return Ok(hashes.iter().map(|(name, hash)| format!("{name} {hash}\n")).collect());
    }
    if let Some(list) = &asked.list {
        return Ok(lines(match list.as_str() {
            "--services" => loaded.names(Section::Services),
            "--volumes" => loaded.names(Section::Volumes),
            "--networks" => loaded.names(Section::Networks),
            "--models" => loaded.names(Section::Models),
            "--profiles" => loaded.profiles(),
            "--images" => loaded.images('-'),
            other => return Err(format!("the test knows no {other}")),
        }));
    }
    if asked.request.skip.interpolation {
        return Ok(if asked.json { loaded.raw_json() } else { loaded.raw_yaml() });
    }
    let text = if asked.json { loaded.json() } else { loaded.yaml() };
    let text = text.map_err(|error| error.message)?;
    if !asked.request.skip.consistency && !asked.request.skip.normalisation {
        loaded.project().map_err(|error| format!("typed: {}", error.message))?;
    }
    Ok(text.replace('$', "$$"))
}

fn expected(case: &Path) -> Option<Result<String, String>> {
    let read = |name: &str| std::fs::read_to_string(case.join(name)).ok();
    let text = read("expected.yaml").or_else(|| read("expected.json")).or_else(|| read("expected.txt"));
    text.map(Ok).or_else(|| read("error.txt").map(|text| Err(text.trim_end().to_owned())))
}

/// Lists of names come in no order from the reference.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn every_case_means_what_was_recorded() {
    let only = std::env::var("COMPOSE_CASE").unwrap_or_default();
    let mut report = String::new();
    let mut count = 0;
    for case in cases().iter().filter(|case| case.ends_with(&only) || only.is_empty()) {
        let name = case.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(expected) = expected(case) else {
            let _ = writeln!(report, "== {name}: nothing is recorded");
            continue;
        };
        count += 1;
        let asked = asked(case);
        let got = shown(case, &asked);
        let fits = match (&expected, &got) {
            (Ok(wanted), Ok(got)) if asked.list.is_some() => sorted(wanted) == sorted(got),
            (Ok(wanted), Ok(got)) => wanted == got,
            (Err(wanted), Err(got)) => got.contains(wanted.as_str()),
            _ => false,
        };
        if !fits {
            let _ = writeln!(report, "== {name}\n{}", difference(&expected, &got));
        }
    }
    assert!(report.is_empty(), "{count} cases, these are wrong:\n{report}");
    assert!(count > 0 || !only.is_empty(), "there are cases");
}

/// The cases whose error is about the command line, or about files that are missing or empty.
const NOWHERE: [&str; 9] = [
    "discover-nothing",
    "dotenv-flag-folder",
    "dotenv-flag-missing",
    "file-empty",
    "file-folder",
    "file-missing",
    "name-flag-invalid",
    "name-folder-empty",
    "services-unknown",
];

#[test]
fn every_error_says_where_it_stands() {
    let mut nowhere = Vec::new();
    for case in cases() {
        let read = loaded(&case, &asked(&case).request).and_then(|loaded| loaded.yaml());
        let Err(error) = read else { continue };
        if error.location().is_none() {
            nowhere.push(case.file_name().unwrap_or_default().to_string_lossy().into_owned());
        }
    }
    assert_eq!(nowhere, NOWHERE);
}

/// What messages say themselves: what would be right, or what is not there.
const SAYS_IT: [&str; 7] = [
    "value must be one of",
    "does not match pattern",
    "must be greater than or equal to",
    "You may need to escape any $",
    "no such file or directory",
    "is a directory",
    "couldn't find env file",
];

#[test]
fn every_error_says_what_to_do() {
    let mut silent = Vec::new();
    for case in cases() {
        let Err(error) = loaded(&case, &asked(&case).request).and_then(|loaded| loaded.yaml()) else {
            continue;
        };
        if error.help.is_none() && !SAYS_IT.iter().any(|text| error.message.contains(text)) {
            silent.push(error.message);
        }
    }
    assert_eq!(silent, Vec::<String>::new());
}

fn difference(expected: &Result<String, String>, got: &Result<String, String>) -> String {
    let (Ok(expected), Ok(got)) = (expected, got) else {
        return format!("wanted: {expected:?}\ngot:    {got:?}");
    };
    let (wanted, got): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), got.lines().collect());
    let mut counts: BTreeMap<&str, i32> = BTreeMap::new();
    wanted.iter().for_each(|line| *counts.entry(line).or_default() += 1);
    got.iter().for_each(|line| *counts.entry(line).or_default() -= 1);
    let mut text = String::new();
    for line in &wanted {
        if counts[line] > 0 {
            let _ = writeln!(text, "-{line}");
        }
    }
    for line in &got {
        if counts[line] < 0 {
            let _ = writeln!(text, "+{line}");
        }
    }
    if text.is_empty() {
        text = "the same lines in another order, or another end".to_owned();
    }
    text
}

#[test]
fn what_is_shown_is_read_again_as_the_same() {
    for case in cases() {
        let asked = asked(&case);
        let plain =
            asked.list.is_none() && !asked.json && !asked.hash && asked.request.skip == Skip::default();
        let Some(text) = shown(&case, &asked).ok().filter(|_| plain) else { continue };
        let mut request = asked.request.clone();
        request.files = vec!["-".to_owned()];
        request.services.clear();
        request.project_name = None;
        request.env_files.clear();
        request.environment.clear();
        request.project_directory = None;
        request.profiles = vec!["*".to_owned()];
        let mut answers = Answers::default();
        let again = loop {
            match load(&request, &answers) {
                Ok(Loading::Ready(loaded)) => break loaded.yaml().map_err(|error| error.message),
                Err(error) => break Err(error.diagnostic.message),
                Ok(Loading::Needs(questions)) => {
                    for question in questions {
                        let known = match &question {
                            Question::Stdin => Answer::Text(Source::new("-", text.clone())),
                            Question::File(_) | Question::Remote(_) => Answer::Missing,
                            Question::Followed(path) => Answer::Path(path.clone()),
                        };
                        answers.add(question, known);
                    }
                }
            }
        };
        let again = again.map(|again| again.replace('$', "$$"));
        assert_eq!(again.as_deref(), Ok(text.as_str()), "{}", case.display());
    }
}
