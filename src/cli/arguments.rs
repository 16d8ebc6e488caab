//! Arguments before clap sees them: a folder without a verb is built, and Docker's grouped spellings are known.

use std::ffi::{OsStr, OsString};

use clap::Command;

use super::compose;
use crate::flags;
use crate::report::{Mistake, NotYet};
use crate::text::near;

/// Docker's grouped spellings and the verbs that do the same.
pub(super) const GROUPS: &[(&str, &str, &[&str])] = &[
    ("image", "ls", &["images"]),
    ("image", "list", &["images"]),
    ("image", "inspect", &["inspect", "--type=image"]),
    ("image", "history", &["history"]),
    ("image", "tag", &["tag"]),
    ("image", "rm", &["rmi"]),
    ("image", "remove", &["rmi"]),
    ("image", "pull", &["pull"]),
    ("image", "push", &["push"]),
    ("image", "save", &["save"]),
    ("image", "load", &["load"]),
    ("image", "import", &["import"]),
    ("image", "build", &["build"]),
    ("container", "run", &["run"]),
    ("container", "create", &["create"]),
    ("container", "start", &["start"]),
    ("container", "stop", &["stop"]),
    ("container", "restart", &["restart"]),
    ("container", "kill", &["kill"]),
    ("container", "pause", &["pause"]),
    ("container", "unpause", &["unpause"]),
    ("container", "wait", &["wait"]),
    ("container", "logs", &["logs"]),
    ("container", "attach", &["attach"]),
    ("container", "exec", &["exec"]),
    ("container", "update", &["update"]),
    ("container", "top", &["top"]),
    ("container", "stats", &["stats"]),
    ("container", "cp", &["cp"]),
    ("container", "commit", &["commit"]),
    ("container", "ls", &["ps"]),
    ("container", "list", &["ps"]),
    ("container", "ps", &["ps"]),
    ("container", "rm", &["rm"]),
    ("container", "remove", &["rm"]),
    ("container", "rename", &["rename"]),
    ("container", "port", &["port"]),
    ("container", "diff", &["diff"]),
    ("container", "export", &["export"]),
    ("builder", "build", &["build"]),
    ("builder", "du", &["du"]),
    ("buildx", "build", &["build"]),
    ("buildx", "b", &["build"]),
    ("buildx", "bake", &["bake"]),
    ("buildx", "f", &["bake"]),
    ("buildx", "du", &["du"]),
    ("buildx", "imagetools", &["imagetools"]),
];

/// Verbs that are planned, or that Docker's users know, and what to do until they are there.
const LATER: &[(&str, &str)] = &[
    ("serve", "use the commands of `rbuild` itself"),
    ("history-of-builds", "`rbuild build --progress plain` shows what a build does"),
    ("builder", "`rbuild du` and `rbuild prune` are there"),
    ("buildx", "`rbuild build`, `rbuild du` and `rbuild prune` are there"),
    ("oci", "use `rbuild run`"),
];

/// Puts the verb in front where it is left out, or says why it cannot be told.
pub(super) fn rewrite(mut arguments: Vec<OsString>, all: &Command) -> anyhow::Result<Vec<OsString>> {
    if arguments.is_empty() {
        arguments.push("rbuild".into());
    }
    let Some(at) = first_word(&arguments) else { return Ok(arguments) };
    let word = arguments[at].clone();
    let Some(text) = word.to_str() else {
        arguments.insert(at, "build".into());
        return Ok(arguments);
    };
    if text == "-v" && arguments.len() == at + 1 {
        arguments[at] = "--version".into();
        return Ok(arguments);
    }
    if text.starts_with('-') && text != "-" {
        if !matches!(text, "-h" | "--help" | "-V" | "--version") {
            arguments.insert(at, "build".into());
        }
        return Ok(arguments);
    }
    // First, as a group may also have verbs that have no short name.
    let second = arguments.get(at + 1).and_then(|word| word.to_str()).unwrap_or_default();
    if let Some((.., verb)) = GROUPS.iter().find(|(group, member, _)| *group == text && *member == second) {
        arguments.splice(at..at + 2, verb.iter().map(OsString::from));
        return Ok(arguments);
    }
    if all.find_subcommand(text).is_some() {
        return Ok(arguments);
    }
    if text == "help" {
        arguments.remove(at);
        arguments.push("--help".into());
        return rewrite(arguments, all);
    }
    if let Some((_, instead)) = LATER.iter().find(|(later, _)| *later == text) {
        return Err(NotYet::available(format!("`rbuild {text}`"), with_folder(text, instead)).into());
    }
    if is_place(text) || std::path::Path::new(text).is_dir() {
        arguments.insert(at, "build".into());
        return Ok(arguments);
    }
    Err(unknown(text, all).into())
}

/// Returns the name of the verb that arguments, which were rewritten, ask for.
pub(super) fn verb(arguments: &[OsString], all: &Command) -> Option<String> {
    let word = arguments[first_word(arguments)?].to_str()?;
    Some(all.find_subcommand(word)?.get_name().to_owned())
}

/// Joins `--sbom` and `--provenance` of builds with the next word where that is their value: alone they mean `true`, and
/// Docker's users write the value behind a blank.
pub(super) fn join_values(arguments: Vec<OsString>, verb: Option<&str>) -> Vec<OsString> {
    if !matches!(verb, Some("build" | "bake")) {
        return arguments;
    }
    let mut joined: Vec<OsString> = Vec::with_capacity(arguments.len());
    for argument in arguments {
        match joined.last_mut() {
            Some(flag) if (*flag == "--sbom" || *flag == "--provenance") && is_attestation(&argument) => {
                flag.push("=");
                flag.push(argument);
            }
            _ => joined.push(argument),
        }
    }
    joined
}

/// Tells whether a word is the value of an attestation, and not the place of a build context.
fn is_attestation(word: &OsStr) -> bool {
    let Some(text) = word.to_str() else { return false };
    let is_key = |key: &str| {
        !key.starts_with('-') && key.chars().all(|letter| letter.is_ascii_lowercase() || letter == '-')
    };
    flags::boolean(text).is_ok() || text.split_once('=').is_some_and(|(key, _)| is_key(key))
}

/// Returns the position of the first argument that is no global flag nor the value of one.
fn first_word(arguments: &[OsString]) -> Option<usize> {
    let mut at = 1;
    while let Some(argument) = arguments.get(at) {
        let text = argument.to_str().unwrap_or_default();
        match text {
            "--root" | "--config" | "--run-folder" | "--cache-max" => at += 2,
            "-D" | "--debug" | "--offline" => at += 1,
            _ if ["--root=", "--config=", "--run-folder=", "--cache-max="]
                .iter()
                .any(|flag| text.starts_with(flag)) =>
            {
                at += 1
            }
            _ if ["--debug=", "--offline="].iter().any(|flag| text.starts_with(flag)) => at += 1,
            _ => return Some(at),
        }
    }
    None
}

/// Tells whether a word can only be the place of a build context.
fn is_place(text: &str) -> bool {
    text == "-" || text == "." || text == ".." || text.contains('/') || text.starts_with("git@")
}

/// Adds how a folder of a verb's name is built, if there is one.
fn with_folder(word: &str, instead: &str) -> String {
    if std::path::Path::new(OsStr::new(word)).is_dir() {
        format!("{instead}; to build the folder of that name, write `rbuild ./{word}`")
    } else {
        instead.to_owned()
    }
}

fn unknown(word: &str, all: &Command) -> Mistake {
    let verbs = all.get_subcommands().filter(|verb| !verb.is_hide_set());
    let known = verbs.flat_map(|verb| std::iter::once(verb.get_name()).chain(verb.get_all_aliases()));
    let mistake = Mistake::new(format!("`{word}` is neither a command nor a folder"));
    let of_projects = || {
        let compose = <compose::Verb as clap::Subcommand>::augment_subcommands(Command::new("compose"));
        compose.find_subcommand(word).map(|_| format!("compose {word}"))
    };
    match near(word, known).map(str::to_owned).or_else(of_projects) {
        Some(near) => mistake.hint(format!("did you mean `rbuild {near}`?")),
        None => mistake.hint("`rbuild --help` lists the commands"),
    }
}
