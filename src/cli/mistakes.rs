//! Mistakes in a command line, told as all other errors are: what is wrong, of which command, what to try.

use std::error::Error as _;
use std::ffi::OsString;
use std::num::ParseIntError;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::cursor::Cursor;
use crate::flags::{Invalid, Judged};
use crate::report::Mistake;
use crate::text::near;

/// Says what is wrong. As with Docker's commands, arguments that are missing or too many are a failure as any other, and
/// flags that cannot be read have a status of their own. The command line is the one that was read, so that its verb has its flags.
pub(super) fn of(error: &clap::Error, all: &Command, arguments: &[OsString]) -> Mistake {
    let asked = Cursor::at_end(all, arguments);
    let path = &asked.name;
    let about = |kind| text(error, kind);
    let argument = spelled(&about(ContextKind::InvalidArg));
    let value = about(ContextKind::InvalidValue);
    match error.kind() {
        ErrorKind::UnknownArgument => asked.unknown(&about(ContextKind::InvalidArg), usage(error)),
        ErrorKind::InvalidValue if value.is_empty() => Mistake::usage(format!("{argument} needs a value")),
        ErrorKind::InvalidValue => {
            let takes = about(ContextKind::ValidValue);
            let message = format!("`{value}` is no value of {argument}");
            let mistake = if is_judged_late(path, argument.trim_matches(['`', '-'])) {
                Mistake::new(message)
            } else {
                Mistake::usage(message)
            };
            match near(&value, takes.split(", ")) {
                Some(near) => mistake.hint(format!("did you mean `{near}`? It takes: {takes}")),
                None => mistake.hint(format!("it takes: {takes}")),
            }
        }
        ErrorKind::ValueValidation => {
            let why = match error.source() {
                Some(why) if why.is::<ParseIntError>() => ": not a whole number".to_owned(),
                Some(why) => format!(": {why}"),
                None => String::new(),
            };
            let message = format!("invalid value `{value}` of {argument}{why}");
            let judged = error.source().and_then(|why| why.downcast_ref::<Invalid>()).map(Invalid::judged);
            let late = match judged.unwrap_or_default() {
                Judged::AsTheFlag => is_judged_late(path, argument.trim_matches(['`', '-'])),
                Judged::Early => false,
                // A container that is run at once has one status for all that keeps it from its start.
                Judged::Late => !path.ends_with(" run"),
            };
            if late { Mistake::new(message) } else { Mistake::usage(message) }
        }
        ErrorKind::MissingRequiredArgument => {
            let missing = list(error, ContextKind::InvalidArg);
            let missing: Vec<_> = missing.iter().map(|argument| spelled(argument)).collect();
            with_usage(Mistake::new(format!("`{path}` needs {}", missing.join(" and "))), usage(error))
        }
        ErrorKind::ArgumentConflict => match list(error, ContextKind::PriorArg).first() {
            Some(other) if spelled(other) != argument => {
                Mistake::usage(format!("{argument} cannot be used with {}", spelled(other)))
            }
            _ => Mistake::usage(format!("{argument} can be given once")),
        },
        ErrorKind::NoEquals => Mistake::usage(format!("the value of {argument} stands behind a `=`")),
        ErrorKind::TooManyValues => Mistake::usage(format!("{argument} takes no value `{value}`")),
        ErrorKind::TooFewValues => with_usage(Mistake::new(format!("`{path}` needs more")), usage(error)),
        ErrorKind::InvalidSubcommand => asked.unknown_verb(&about(ContextKind::InvalidSubcommand)),
        kind => with_usage(Mistake::usage(format!("`{path}`: {kind}")), usage(error)),
    }
}

/// Flags whose values Docker's commands pass on as they are: that nobody can have them is a failure as any other. In `run`, all
/// that keeps the program from its start has one status anyway.
const JUDGED_LATE: &[(&[&str], &[&str])] = &[
    (
        &["create"],
        &[
            "annotation",
            "cap-add",
            "cap-drop",
            "ip",
            "ip6",
            "ipc",
            "link-local-ip",
            "name",
            "platform",
            "restart",
            "security-opt",
            "stop-signal",
            "tmpfs",
            "volume",
            "workdir",
        ],
    ),
    (&["create", "update"], &["cpuset-cpus", "cpuset-mems"]),
    (&["attach", "exec", "run", "start"], &["detach-keys"]),
    (&["inspect"], &["type"]),
];

fn is_judged_late(path: &str, flag: &str) -> bool {
    let verb = path.rsplit(' ').next().unwrap_or_default();
    JUDGED_LATE.iter().any(|(verbs, flags)| verbs.contains(&verb) && flags.contains(&flag))
}

impl Cursor<'_> {
    fn unknown(&self, given: &str, usage: Option<String>) -> Mistake {
        let path = &self.name;
        if !given.starts_with('-') || given == "-" {
            return with_usage(Mistake::new(format!("`{path}` takes no further argument: `{given}`")), usage);
        }
        let mistake = Mistake::usage(format!("`{path}` has no flag `{given}`"));
        let flags = self.command.get_arguments().filter(|flag| !flag.is_hide_set());
        let names: Vec<&str> = flags.filter_map(clap::Arg::get_long_and_visible_aliases).flatten().collect();
        match given.strip_prefix("--").and_then(|name| near(name, names)) {
            Some(near) => mistake.hint(format!("did you mean `--{near}`?")),
            None => mistake.hint(format!("`{path} --help` lists its flags")),
        }
    }

    fn unknown_verb(&self, given: &str) -> Mistake {
        let path = &self.name;
        let mistake = Mistake::usage(format!("`{path}` has no command `{given}`"));
        let verbs = self.command.get_subcommands().filter(|verb| !verb.is_hide_set());
        match near(given, verbs.map(Command::get_name)) {
            Some(near) => mistake.hint(format!("did you mean `{path} {near}`?")),
            None => mistake.hint(format!("`{path} --help` lists its commands")),
        }
    }
}

fn with_usage(mistake: Mistake, usage: Option<String>) -> Mistake {
    match usage {
        Some(usage) => mistake.hint(format!("it is used as: {usage}")),
        None => mistake,
    }
}

/// Returns how a command is used, in one line.
fn usage(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::StyledStr(usage)) = error.get(ContextKind::Usage) else { return None };
    let usage = usage.to_string();
    let lines = usage.trim_start_matches("Usage:").lines().map(str::trim);
    Some(lines.collect::<Vec<_>>().join(", or "))
}

/// Returns what an error says of one thing, several with commas between.
fn text(error: &clap::Error, kind: ContextKind) -> String {
    list(error, kind).join(", ")
}

fn list(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        _ => Vec::new(),
    }
}

/// Returns an argument's name without its values: `--memory <BYTES>` and `<IMAGE> [COMMAND]...` have more.
fn spelled(argument: &str) -> String {
    let name = argument.split(' ').next().unwrap_or_default();
    if name.starts_with('-') {
        let flag = name.split('=').next().unwrap_or_default();
        return format!("`{}`", flag.trim_end_matches(['[', '.']));
    }
    let name = name.trim_end_matches('.');
    let bare = name.strip_prefix('<').and_then(|name| name.strip_suffix('>'));
    bare.unwrap_or(name).to_owned()
}
