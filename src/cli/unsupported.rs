//! The flags that are known and not there yet: one table.
//!
//! Each is read with its value, so that the rest of the command line keeps its meaning, and is then an error that says what to do instead. A
//! value that asks for nothing beyond what happens anyway (`--provenance=false`) is let through.

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches};

use crate::report::NotYet;

/// A flag that is not there yet.
struct Flag {
    verbs: &'static [&'static str],
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

const fn value(verbs: &'static [&'static str], long: &'static str, instead: &'static str) -> Flag {
    Flag { verbs, long, short: None, takes: Takes::Value, harmless: &[], instead }
}

const fn switch(verbs: &'static [&'static str], long: &'static str, instead: &'static str) -> Flag {
    Flag { takes: Takes::Switch, harmless: OFF, ..value(verbs, long, instead) }
}

/// A switch whose values all ask for what happens anyway.
const fn nothing(verbs: &'static [&'static str], long: &'static str) -> Flag {
    Flag { takes: Takes::Switch, harmless: &["*"], ..value(verbs, long, "leave it out") }
}

const OFF: &[&str] = &["false", "0", "f", "False", "FALSE", "F"];

const BUILD: &[&str] = &["build"];
const RUN: &[&str] = &["run", "create"];

const LEAVE: &str = "leave it out";
const CLUSTER: &str = "leave it out: there is no cluster here, and a volume is of one machine";
const LIMITS: &str = "limit RUN steps with `--memory`, `--cpu-quota` and `--cpuset-cpus`";

/// All of them.
const FLAGS: &[Flag] = &[
    // docker build, buildx build
    value(BUILD, "policy", LEAVE),
    value(BUILD, "cgroup-parent", LIMITS),
    value(BUILD, "resource", LIMITS),
    Flag {
        harmless: &["default"],
        ..value(&["build", "bake", "compose build"], "builder", "leave it out: rbuild builds by itself")
    },
    value(BUILD, "print", "use `--call check`"),
    value(BUILD, "invoke", "run the last good stage with `rbuild run`"),
    // docker build of old
    nothing(BUILD, "rm"),
    nothing(BUILD, "force-rm"),
    nothing(BUILD, "compress"),
    nothing(BUILD, "disable-content-trust"),
    switch(BUILD, "squash", "copy the result into an empty stage: `FROM scratch` and `COPY --from=...`"),
    switch(BUILD, "stream", LEAVE),
    Flag { harmless: &["default", ""], ..value(BUILD, "isolation", LEAVE) },
    value(BUILD, "security-opt", "use `RUN --security=insecure` with `--allow security.insecure`"),
    // buildah build
    value(
        BUILD,
        "ignorefile",
        "name the file `.dockerignore`, or `Dockerfile.dockerignore` for one Dockerfile",
    ),
    value(BUILD, "build-arg-file", "use `--build-arg` for each"),
    value(BUILD, "timestamp", "set SOURCE_DATE_EPOCH"),
    value(BUILD, "volume", "use `RUN --mount=type=bind`"),
    // docker compose of old
    nothing(&["compose build"], "compress"),
    nothing(&["compose build"], "force-rm"),
    nothing(&["compose build"], "no-rm"),
    nothing(&["compose build", "compose pull"], "parallel"),
    nothing(&["compose pull"], "no-parallel"),
    Flag { short: Some('a'), ..nothing(&["compose rm"], "all") },
    // docker run, docker create
    nothing(RUN, "disable-content-trust"),
    Flag { harmless: &["default", ""], ..value(RUN, "isolation", LEAVE) },
    Flag {
        harmless: &["", "rbuild", "runc", "io.containerd.runc.v2"],
        ..value(
            RUN,
            "runtime",
            "leave it out: there is one runtime, which is called `rbuild` and answers to `runc`",
        )
    },
    value(RUN, "storage-opt", LEAVE),
    switch(RUN, "use-api-socket", LEAVE),
    Flag { harmless: &["host", ""], ..value(RUN, "userns", "run rbuild as an ordinary user") },
    Flag { harmless: &["local"], ..value(RUN, "volume-driver", "mount a folder with `-v /FOLDER:/TARGET`") },
    // the others
    switch(&["images"], "tree", LEAVE),
    value(&["history"], "platform", LEAVE),
    value(&["rmi"], "platform", LEAVE),
    nothing(&["rmi"], "no-prune"),
    Flag { short: Some('l'), ..switch(&["rm"], "link", "use networks: `rbuild network disconnect`") },
    value(&["load"], "platform", LEAVE),
    Flag {
        harmless: &["default"],
        ..value(
            &["imagetools create", "imagetools inspect"],
            "builder",
            "leave it out: rbuild speaks to registries by itself",
        )
    },
    nothing(&["pull"], "disable-content-trust"),
    nothing(&["push"], "disable-content-trust"),
    value(&["network create"], "config-from", "write the options out"),
    switch(&["network create"], "config-only", "write the options out where the network is made"),
    switch(&["network create"], "ingress", LEAVE),
    Flag { harmless: &["local", ""], ..value(&["network create"], "scope", LEAVE) },
    value(&["volume create"], "availability", CLUSTER),
    value(&["volume create"], "group", CLUSTER),
    value(&["volume create"], "limit-bytes", CLUSTER),
    value(&["volume create"], "required-bytes", CLUSTER),
    value(&["volume create"], "scope", CLUSTER),
    value(&["volume create"], "secret", CLUSTER),
    value(&["volume create"], "sharing", CLUSTER),
    value(&["volume create"], "topology-preferred", CLUSTER),
    value(&["volume create"], "topology-required", CLUSTER),
    value(&["volume create"], "type", CLUSTER),
    switch(&["volume ls"], "cluster", CLUSTER),
    switch(&["prune"], "volumes", LEAVE),
    switch(&["doctor"], "full", LEAVE),
];

/// What Docker's commands pass on as it is, for who makes the container to refuse.
const JUDGED_LATE: &[(&str, &str)] =
    &[("create", "isolation"), ("create", "runtime"), ("create", "storage-opt")];

/// Adds their flags, hidden, to a verb and to those of its group.
pub(super) fn add(verb: clap::Command) -> clap::Command {
    let path = verb.get_name().to_owned();
    add_at(&path, verb)
}

fn add_at(path: &str, verb: clap::Command) -> clap::Command {
    let of_verb = FLAGS.iter().filter(|flag| flag.verbs.contains(&path));
    let args = of_verb.map(|flag| {
        let arg = Arg::new(flag.long).long(flag.long).short(flag.short).hide(true).action(ArgAction::Append);
        match flag.takes {
            Takes::Value => arg.num_args(1).allow_hyphen_values(true),
            Takes::Switch => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        }
    });
    let args: Vec<Arg> = args.collect();
    verb.args(args).mut_subcommands(|below| add_at(&format!("{path} {}", below.get_name()), below))
}

/// Refuses the first of the flags that was given with a value that asks for more.
pub(super) fn check(verb: &str, matches: &ArgMatches) -> Result<(), NotYet> {
    for flag in FLAGS.iter().filter(|flag| flag.verbs.contains(&verb)) {
        if matches.value_source(flag.long) != Some(ValueSource::CommandLine) {
            continue;
        }
        let values = matches.get_many::<String>(flag.long).unwrap_or_default();
        for value in values {
            if !flag.harmless.iter().any(|harmless| *harmless == "*" || harmless == value) {
                let refusal =
                    NotYet::supported(format!("`--{}` of `rbuild {verb}`", flag.long), flag.instead);
                return Err(if JUDGED_LATE.contains(&(verb, flag.long)) { refusal.late() } else { refusal });
            }
        }
    }
    match matches.subcommand() {
        Some((below, matches)) => check(&format!("{verb} {below}"), matches),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flag_belongs_to_a_verb_and_says_what_to_do() {
        let command = super::super::offered();
        for flag in FLAGS {
            for verb in flag.verbs {
                let found = verb.split(' ').try_fold(&command, |group, word| group.find_subcommand(word));
                assert!(found.is_some(), "{verb}");
            }
            assert!(!flag.instead.is_empty() && !flag.instead.ends_with('.'), "--{}", flag.long);
        }
    }
}
