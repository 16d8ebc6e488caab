//! How far the words of a command line lead, whether it is finished or not.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};

/// How far the words lead.
pub(super) struct Cursor<'a> {
    /// The command that they ask for so far.
    pub(super) command: &'a Command,
    /// What it is called: `rbuild network ls`.
    pub(super) name: String,
    /// The words up to the command.
    pub(super) path: Vec<OsString>,
    /// Words of the command so far.
    passed: Vec<OsString>,
    /// The global flags among them, with their values.
    pub(super) globals: Vec<OsString>,
    /// The flag whose value comes next.
    pub(super) flag: Option<&'a Arg>,
    /// How many words that are no flags came.
    pub(super) position: usize,
    /// Whether flags are over.
    pub(super) is_over: bool,
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

    pub(super) fn long(&self, name: &str) -> Option<&'a Arg> {
        let mut flags = self.command.get_arguments();
        flags.find(|flag| flag.get_long_and_visible_aliases().is_some_and(|names| names.contains(&name)))
    }

    pub(super) fn positional(&self) -> Option<&'a Arg> {
        let all: Vec<_> = self.command.get_positionals().collect();
        let takes_more = |last: &&&Arg| last.get_num_args().is_some_and(|most| most.max_values() > 1);
        all.get(self.position).or_else(|| all.last().filter(takes_more)).copied()
    }
}

/// Whether a flag is followed by a value.
fn takes_value(flag: &Arg) -> bool {
    matches!(flag.get_action(), ArgAction::Set | ArgAction::Append) && !flag.is_require_equals_set()
}
