//! What can stand at the end of an unfinished command line: found by the definition of the command line itself, so that
//! it knows every verb, flag and value that help knows.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command, CommandFactory, FromArgMatches};

use super::{Global, arguments, bare, switch, with_flags};

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
    let mut all = match arguments::verb(&line, &all) {
        Some(verb) => all.mut_subcommand(verb, with_flags),
        None => all,
    };
    all.build();
    (all, line)
}

/// How far the words lead.
pub(super) struct Cursor<'a> {
    /// The command that they ask for so far.
    pub(super) command: &'a Command,
    /// What it is called: `rbuild network ls`.
    pub(super) name: String,
    /// The words up to the command.
    path: Vec<OsString>,
    /// Words of the command so far.
    passed: Vec<OsString>,
    /// The global flags among them, with their values.
    globals: Vec<OsString>,
    /// The flag whose value comes next.
    flag: Option<&'a Arg>,
    /// How many words that are no flags came.
    position: usize,
    /// Whether flags are over.
    is_over: bool,
}

impl<'a> Cursor<'a> {
    /// Goes along all words; the first one is the program's name.
    pub(super) fn at_end(all: &'a Command, line: &[OsString]) -> Self {
        let start = vec![OsString::from(all.get_name())];
        let mut cursor = Self {
            command: all,
            name: all.get_name().to_owned(),
            path: start.clone(),
            passed: start,
            globals: Vec::new(),
            flag: None,
            position: 0,
            is_over: false,
        };
        for word in line.iter().skip(1) {
            cursor.pass(word.to_str().unwrap_or_default());
        }
        cursor
    }

    /// Takes notice of a word.
    fn pass(&mut self, word: &str) {
        self.passed.push(word.into());
        if let Some(flag) = self.flag.take() {
            if flag.is_global_set() {
                self.globals.push(word.into());
            }
            return;
        }
        if !self.is_over && word == "--" {
            self.is_over = true;
        } else if !self.is_over && word.len() > 1 && word.starts_with('-') {
            self.flag = self.awaiting(word);
            let name = word.strip_prefix("--").and_then(|flag| flag.split('=').next());
            if name.and_then(|name| self.long(name)).is_some_and(Arg::is_global_set) {
                self.globals.push(word.into());
            }
        } else if let Some(below) = self.command.find_subcommand(word).filter(|_| self.position == 0) {
            self.path = self.passed[..self.passed.len() - 1].to_vec();
            self.command = below;
            self.name = format!("{} {}", self.name, below.get_name());
        } else {
            let trails = self.positional().is_some_and(Arg::is_trailing_var_arg_set);
            self.is_over |= trails;
            self.position += 1;
        }
    }

    /// Returns the flag of a word if its value is the next word.
    fn awaiting(&self, word: &str) -> Option<&'a Arg> {
        let flag = match word.strip_prefix("--") {
            Some(name) if name.contains('=') => None,
            Some(name) => self.long(name),
            None => {
                let mut letters = word.chars().skip(1);
                let flag = letters.by_ref().find_map(|letter| {
                    let mut flags = self.command.get_arguments();
                    flags.find(|flag| flag.get_short() == Some(letter) && takes_value(flag))
                });
                flag.filter(|_| letters.next().is_none())
            }
        };
        flag.filter(|flag| takes_value(flag))
    }

    fn long(&self, name: &str) -> Option<&'a Arg> {
        let mut flags = self.command.get_arguments();
        flags.find(|flag| flag.get_long_and_visible_aliases().is_some_and(|names| names.contains(&name)))
    }

    fn positional(&self) -> Option<&'a Arg> {
        let all: Vec<_> = self.command.get_positionals().collect();
        let takes_more = |last: &&&Arg| last.get_num_args().is_some_and(|most| most.max_values() > 1);
        all.get(self.position).or_else(|| all.last().filter(takes_more)).copied()
    }

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

/// Whether a flag is followed by a value.
fn takes_value(flag: &Arg) -> bool {
    matches!(flag.get_action(), ArgAction::Set | ArgAction::Append) && !flag.is_require_equals_set()
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
