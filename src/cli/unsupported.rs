//! The flags that are known and not there yet: one table.
//!
//! Each is read with its value, so that the rest of the command line keeps its meaning, and is then an error that says what to do instead. A
//! value that asks for nothing beyond what happens anyway (`--provenance=false`) is let through.

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches};

use crate::report::NotYet;

/// A flag that is not there yet.
struct Flag {
    verb: &'static str,
    long: &'static str,
    short: Option<char>,
    takes: Takes,
    /// Values that ask for what happens anyway; `*` for all.
    harmless: &'static [&'static str],
    instead: &'static str,
}

/// Whether a flag has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    /// Always.
    Value,
    /// Only behind `=`.
    Switch,
}

const fn value(verb: &'static str, long: &'static str, instead: &'static str) -> Flag {
    Flag { verb, long, short: None, takes: Takes::Value, harmless: &[], instead }
}

const fn switch(verb: &'static str, long: &'static str, instead: &'static str) -> Flag {
    Flag { takes: Takes::Switch, harmless: OFF, ..value(verb, long, instead) }
}

/// A switch whose values all ask for what happens anyway.
const fn nothing(verb: &'static str, long: &'static str) -> Flag {
    Flag { takes: Takes::Switch, harmless: &["*"], ..value(verb, long, "leave it out") }
}

const OFF: &[&str] = &["false", "0", "f", "False", "FALSE", "F"];

const LEAVE: &str = "leave it out";
const LIMITS: &str = "limit RUN steps with `--memory`, `--cpu-quota` and `--cpuset-cpus`";
const RUN_LIMITS: &str = "use `--memory`, `--cpus`, `--cpuset-cpus` and `--pids-limit`";

/// All of them.
const FLAGS: &[Flag] = &[
    // docker build, buildx build
    value("build", "policy", LEAVE),
    value("build", "cgroup-parent", LIMITS),
    value("build", "resource", LIMITS),
    Flag { harmless: &["default"], ..value("build", "builder", "leave it out: rbuild builds by itself") },
    value("build", "print", "use `--call check`"),
    value("build", "invoke", "run the last good stage with `rbuild run`"),
    // docker build of old
    nothing("build", "rm"),
    nothing("build", "force-rm"),
    nothing("build", "compress"),
    nothing("build", "disable-content-trust"),
    switch("build", "squash", "copy the result into an empty stage: `FROM scratch` and `COPY --from=...`"),
    switch("build", "stream", LEAVE),
    Flag { harmless: &["default", ""], ..value("build", "isolation", LEAVE) },
    value("build", "security-opt", "use `RUN --security=insecure` with `--allow security.insecure`"),
    // buildah build
    value(
        "build",
        "ignorefile",
        "name the file `.dockerignore`, or `Dockerfile.dockerignore` for one Dockerfile",
    ),
    value("build", "build-arg-file", "use `--build-arg` for each"),
    value("build", "timestamp", "set SOURCE_DATE_EPOCH"),
    value("build", "volume", "use `RUN --mount=type=bind`"),
    // docker run, docker create
    value("run", "cgroup-parent", RUN_LIMITS),
    value("run", "cpu-rt-period", "use `--cpus`"),
    value("run", "cpu-rt-runtime", "use `--cpus`"),
    nothing("run", "disable-content-trust"),
    value("run", "gpus", "use `--device` for each device file"),
    Flag { harmless: &["default", ""], ..value("run", "isolation", LEAVE) },
    value("run", "kernel-memory", "use `--memory`"),
    Flag { harmless: &["rbuild"], ..value("run", "runtime", LEAVE) },
    value("run", "storage-opt", LEAVE),
    switch("run", "use-api-socket", LEAVE),
    value("run", "userns", LEAVE),
    Flag {
        harmless: &["local"],
        ..value("run", "volume-driver", "mount a folder with `-v /FOLDER:/TARGET`")
    },
    value("create", "cgroup-parent", RUN_LIMITS),
    value("create", "cpu-rt-period", "use `--cpus`"),
    value("create", "cpu-rt-runtime", "use `--cpus`"),
    nothing("create", "disable-content-trust"),
    value("create", "gpus", "use `--device` for each device file"),
    Flag { harmless: &["default", ""], ..value("create", "isolation", LEAVE) },
    value("create", "kernel-memory", "use `--memory`"),
    Flag { harmless: &["rbuild"], ..value("create", "runtime", LEAVE) },
    value("create", "storage-opt", LEAVE),
    switch("create", "use-api-socket", LEAVE),
    value("create", "userns", LEAVE),
    Flag {
        harmless: &["local"],
        ..value("create", "volume-driver", "mount a folder with `-v /FOLDER:/TARGET`")
    },
    // the others
    switch("images", "tree", LEAVE),
    value("history", "platform", LEAVE),
    value("rmi", "platform", LEAVE),
    switch("rmi", "no-prune", LEAVE),
    value("load", "platform", LEAVE),
    Flag { short: Some('a'), ..switch("pull", "all-tags", "pull the tags one by one") },
    nothing("pull", "disable-content-trust"),
    nothing("push", "disable-content-trust"),
    switch("prune", "volumes", LEAVE),
    switch("doctor", "full", LEAVE),
];

/// Adds the flags, hidden, to the verbs.
pub(super) fn add(command: clap::Command) -> clap::Command {
    FLAGS.iter().fold(command, |command, flag| {
        command.mut_subcommand(flag.verb, |verb| {
            let mut arg = Arg::new(flag.long).long(flag.long).hide(true).action(ArgAction::Append);
            arg = match flag.takes {
                Takes::Value => arg.num_args(1).allow_hyphen_values(true),
                Takes::Switch => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
            };
            if let Some(short) = flag.short {
                arg = arg.short(short);
            }
            verb.arg(arg)
        })
    })
}

/// Refuses the first of the flags that was given with a value that asks for more.
pub(super) fn check(verb: &str, matches: &ArgMatches) -> Result<(), NotYet> {
    for flag in FLAGS.iter().filter(|flag| flag.verb == verb) {
        if matches.value_source(flag.long) != Some(ValueSource::CommandLine) {
            continue;
        }
        let values = matches.get_many::<String>(flag.long).unwrap_or_default();
        for value in values {
            if !flag.harmless.iter().any(|harmless| *harmless == "*" || harmless == value) {
                return Err(NotYet::supported(format!("`--{}` of `rbuild {verb}`", flag.long), flag.instead));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_belongs_to_a_verb_and_says_what_to_do() {
        let command = super::super::command();
        for flag in FLAGS {
            assert!(command.find_subcommand(flag.verb).is_some(), "{}", flag.verb);
            assert!(!flag.instead.is_empty() && !flag.instead.ends_with('.'), "--{}", flag.long);
        }
    }
}
