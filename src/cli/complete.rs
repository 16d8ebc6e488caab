//! What can stand at the end of an unfinished command line: found by the definition of the command line itself, so that
//! it knows every verb, flag and value that help knows.

use std::ffi::OsString;

use clap::{Arg, Command, CommandFactory, FromArgMatches};

use super::cursor::Cursor;
use super::{Global, arguments, bare, ready, switch, with_flags};

/// What `rbuild complete` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Complete {
    /// Words behind the program's name; the last one is not finished
    #[arg(value_name = "WORD", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) words: Vec<String>,
}

/// What may follow.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Offers {
    /// Words, each with what it means.
    pub(crate) words: Vec<(String, String)>,
    /// Names of what is there.
    pub(crate) named: Option<Named>,
    /// What stands before each name: `--network=` in `--network=app`.
    pub(crate) before: String,
    /// What the words and names begin with.
    pub(crate) begun: String,
}

/// What names are wanted of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// Of containers that run.
    Running,
    /// Of containers.
    Containers,
    /// Of images.
    Images,
    /// Of containers and images.
    Objects,
    /// Of networks.
    Networks,
    /// Of volumes.
    Volumes,
    /// Of services of the project that these words mean.
    Services(Vec<OsString>),
}

/// Finds what may stand for the last of the words.
pub(crate) fn offers(words: &[String]) -> Offers {
    let last = words.last().map_or("", String::as_str);
    let (all, line) = read(words);
    Cursor::at_end(&all, &line).offers(last)
}

/// Puts the global flags of unfinished words into those that were given; words that make none are left to who runs them.
pub(super) fn add_globals(words: &[String], global: &mut Global) {
    let (all, line) = read(words);
    let flags = std::iter::once("rbuild".into()).chain(Cursor::at_end(&all, &line).globals);
    if let Ok(matches) = Global::command().mut_args(switch).try_get_matches_from(flags) {
        let _ = global.update_from_arg_matches(&matches);
    }
}

/// Returns the command line with the flags of the verb that words ask for, and all words but the last, which is not finished.
fn read(words: &[String]) -> (Command, Vec<OsString>) {
    let before = words.split_last().map_or(&[][..], |(_, before)| before);
    let all = bare();
    let line = std::iter::once("rbuild").chain(before.iter().map(String::as_str)).map(OsString::from);
    let line: Vec<OsString> = line.collect();
    let line = arguments::rewrite(line.clone(), &all).unwrap_or(line);
    let mut all = ready(all, &line, with_flags);
    all.build();
    (all, line)
}

impl Cursor<'_> {
    fn offers(&self, last: &str) -> Offers {
        let mut offers = Offers { begun: last.to_owned(), ..Offers::default() };
        if let Some(flag) = self.flag {
            self.offer_values(flag, &mut offers);
        } else if let Some((name, value)) = last.strip_prefix("--").and_then(|flag| flag.split_once('=')) {
            offers.before = format!("--{name}=");
            offers.begun = value.to_owned();
            if let Some(flag) = self.long(name) {
                self.offer_values(flag, &mut offers);
            }
        } else if last.starts_with('-') && !self.is_over {
            for flag in self.command.get_arguments().filter(|flag| !flag.is_hide_set()) {
                let help = flag.get_help().map(ToString::to_string).unwrap_or_default();
                let names = flag.get_long_and_visible_aliases().unwrap_or_default();
                offers.words.extend(names.iter().map(|name| (format!("--{name}"), help.clone())));
            }
        } else {
            if self.position == 0 {
                for verb in self.command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
                    let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
                    offers.words.push((verb.get_name().to_owned(), about));
                }
            }
            if let Some(argument) = self.positional() {
                self.offer_values(argument, &mut offers);
            }
        }
        offers.words.retain(|(word, _)| word.starts_with(last));
        offers
    }

    fn offer_values(&self, argument: &Arg, offers: &mut Offers) {
        for value in argument.get_possible_values().iter().filter(|value| !value.is_hide_set()) {
            let help = value.get_help().map(ToString::to_string).unwrap_or_default();
            offers.words.push((format!("{}{}", offers.before, value.get_name()), help));
        }
        offers.named = self.named(argument);
    }

    /// Returns what a value is the name of: help calls it so.
    fn named(&self, argument: &Arg) -> Option<Named> {
        const OF_RUNNING: &[&str] =
            &["attach", "exec", "kill", "pause", "restart", "stats", "stop", "top", "unpause"];
        let names = argument.get_value_names()?;
        let at = if argument.is_positional() { self.position.min(names.len() - 1) } else { 0 };
        let name = &names[at];
        let end = name.find(|letter: char| !letter.is_ascii_uppercase()).unwrap_or(name.len());
        let verb = self.command.get_name();
        match (&name[..end], verb) {
            ("CONTAINER", verb) if OF_RUNNING.contains(&verb) => Some(Named::Running),
            ("CONTAINER", _) => Some(Named::Containers),
            ("IMAGE", _) | ("NAME", "images") | ("SOURCE", "tag") | ("NAME", "push") => Some(Named::Images),
            ("NAME", "inspect") => Some(Named::Objects),
            ("NETWORK", _) => Some(Named::Networks),
            ("VOLUME", _) => Some(Named::Volumes),
            // The short names of two verbs of `rbuild compose`.
            ("SERVICE", _) if matches!(&*self.name, "rbuild up" | "rbuild down") => {
                Some(Named::Services([&self.path[..], &["compose".into()]].concat()))
            }
            ("SERVICE", _) => Some(Named::Services(self.path.clone())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser as _;

    use super::*;

    fn offered(line: &str) -> Offers {
        offers(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    fn words(line: &str) -> Vec<String> {
        offered(line).words.into_iter().map(|(word, _)| word).collect()
    }

    #[test]
    fn verbs_flags_and_values_are_those_of_help() {
        for (line, wanted) in [
            ("ima", &["images", "imagetools"][..]),
            ("network c", &["create", "connect"]),
            ("build --targ", &["--target"]),
            (". --no-cache-", &["--no-cache-filter"]),
            ("container ls --no-t", &["--no-trunc"]),
            ("build --progress pl", &["plain"]),
            ("build --progress=pl", &["--progress=plain"]),
            ("compose -f x up --no-b", &["--no-build"]),
            ("completion z", &["zsh"]),
            ("run busybox --r", &[]),
            ("run -- --r", &[]),
            ("", &["build"]),
        ] {
            let mut found = words(line);
            if line.is_empty() {
                assert!(!found.iter().any(|verb| verb == "promote"), "{found:?}");
                found.truncate(1);
            }
            assert_eq!(found, wanted, "{line}");
        }
    }

    #[test]
    fn names_are_of_what_the_value_is() {
        for (line, named) in [
            ("rm ", Some(Named::Containers)),
            ("container rm a ", Some(Named::Containers)),
            ("exec -i w", Some(Named::Running)),
            ("exec -e A=1 web ", None),
            ("run ", Some(Named::Images)),
            ("run --network ", Some(Named::Networks)),
            ("run -it --network=a", Some(Named::Networks)),
            ("run --rm busybox ", None),
            ("volume rm ", Some(Named::Volumes)),
            ("inspect ", Some(Named::Objects)),
            ("build -t ", None),
        ] {
            assert_eq!(offered(line).named, named, "{line}");
        }
        assert_eq!(offered("--root /x run --network ").named, Some(Named::Networks));
        let path = ["rbuild", "compose", "-f", "x"].map(OsString::from).to_vec();
        assert_eq!(offered("compose -f x logs ").named, Some(Named::Services(path)));
        let path = ["rbuild", "--offline", "compose"].map(OsString::from).to_vec();
        assert_eq!(offered("--offline up web ").named, Some(Named::Services(path)));
    }

    #[test]
    fn global_flags_are_those_that_were_typed() {
        for (line, root, offline) in [
            ("--root /x rm ", Some("/x"), false),
            ("rm --offline --root=/x a ", Some("/x"), true),
            ("compose --root /x -f --root up ", Some("/x"), false),
            ("run busybox --root /x ", Some("/given"), false),
            ("rm --root ", Some("/given"), false),
        ] {
            let mut global = Global::parse_from(["rbuild", "--root", "/given"]);
            add_globals(&line.split(' ').map(str::to_owned).collect::<Vec<_>>(), &mut global);
            assert_eq!((global.root.as_deref(), global.offline), (root.map(Path::new), offline), "{line}");
        }
    }
}
