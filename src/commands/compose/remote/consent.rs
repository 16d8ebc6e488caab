//! What is asked before a project of somebody else is started: whether it may have the variables, and the rights and files
//! of this machine that it wants.

use std::collections::BTreeMap;
use std::io::BufRead as _;

use anyhow::Context as _;
use rbuild_frontend::compose::{Environment, Origin, Use};

use super::super::project::Meant;
use super::rights::{Right, rights};
use crate::commands::Context;
use crate::flags::Mode;
use crate::report::Mistake;
use crate::table::Table;
use crate::text::one_line;

/// Says where what others wrote of a project lies, and asks whether it may have what it wants. What the caller wrote may.
/// `yes` is what `--yes` says.
pub(in super::super) fn agreed(meant: &Meant, yes: Mode, context: &Context) -> anyhow::Result<()> {
    let Some(loaded) = meant.loaded.as_ref().filter(|loaded| !loaded.elsewhere.is_empty()) else {
        return Ok(());
    };
    for (name, file) in &loaded.elsewhere.brought {
        let (what, place) = match loaded.remote.as_ref() == Some(name) {
            true => ("Your compose stack ", &*loaded.directory),
            false => ("", file.parent().unwrap_or(file)),
        };
        context.terminal.tell(&format!("{what}{name:?} is stored in {:?}\n", place.display().to_string()));
    }
    if yes == Mode::On {
        return Ok(());
    }
    let theirs = loaded.uses.iter().filter(|used| loaded.elsewhere.wrote(used.at.as_ref()));
    if let Some(table) = table(theirs, &loaded.environment) {
        let found = format!("Found the following variables in configuration:\n{table}");
        ask(&found, "variables", Silence::Yes, context)?;
    }
    if let Some(table) = rights_table(&rights(loaded, &meant.model)) {
        let found =
            format!("The configuration asks for more of this machine than other containers have:\n{table}");
        ask(&found, "rights", Silence::No, context)?;
    }
    Ok(())
}

/// What an empty line means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Silence {
    Yes,
    No,
}

/// Shows what was found, and asks whether it is fine.
fn ask(found: &str, what: &str, silence: Silence, context: &Context) -> anyhow::Result<()> {
    let choice = if silence == Silence::Yes { "[Y/n]" } else { "[y/N]" };
    context.terminal.tell(&format!("\n{found}\nDo you want to proceed with these {what}? {choice}: "));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).context("failed to read the answer")?;
    match understood(&answer, silence) {
        Some(true) => Ok(()),
        Some(false) => Err(Mistake::new("operation cancelled by user").into()),
        None => {
            let what = format!("nobody said whether the project may have these {what}");
            Err(Mistake::new(what).hint("use `--yes`").into())
        }
    }
}

/// What is no line is no answer.
fn understood(answer: &str, silence: Silence) -> Option<bool> {
    let line = answer.strip_suffix('\n')?.trim().to_lowercase();
    Some(if line.is_empty() { silence == Silence::Yes } else { matches!(&*line, "y" | "yes") })
}

/// Lists what is asked for; `None` where nothing is.
fn rights_table(rights: &[Right]) -> Option<String> {
    let mut table = Table::new();
    table.row(["SERVICE", "ASKS FOR"]);
    for (who, what) in rights {
        table.row([&one_line(who), &one_line(what)]);
    }
    Some(table.render()).filter(|_| !rights.is_empty())
}

/// Lists variables with what they are and where that comes from; `None` where there are none.
fn table<'a>(uses: impl IntoIterator<Item = &'a Use>, environment: &Environment) -> Option<String> {
    let used: BTreeMap<&str, &Use> = uses.into_iter().map(|used| (used.name.as_str(), used)).collect();
    let mut table = Table::new();
    table.row(["VARIABLE", "VALUE", "SOURCE"]);
    for (name, used) in &used {
        let source = match environment.variable(name).map(|variable| &variable.origin) {
            Some(Origin::Caller) => "environment",
            Some(Origin::EnvFile(at)) => at.source.name(),
            Some(Origin::ProjectName) => "project name",
            None => "none",
        };
        let value = used.value.as_deref().map_or_else(|| "<unset>".to_owned(), one_line);
        table.row([*name, &value, source]);
    }
    Some(table.render()).filter(|_| !used.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_variable_is_shown_once_with_where_it_comes_from() {
        let environment = Environment::of_caller([("TOKEN".to_owned(), "x\ny".to_owned())]);
        let used = |name: &str, value: Option<&str>| Use {
            name: name.to_owned(),
            path: String::new(),
            at: None,
            value: value.map(str::to_owned),
            result: String::new().into(),
        };
        assert_eq!(table(&[], &environment), None);
        let uses = [used("TOKEN", Some("x\ny")), used("A", None), used("TOKEN", Some("x\ny"))];
        let rows = table(&uses, &environment).expect("there are some");
        let rows: Vec<Vec<&str>> = rows.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[1], ["A", "<unset>", "none"]);
        assert_eq!((rows.len(), rows[2][0], rows[2].last()), (3, "TOKEN", Some(&"environment")));
    }

    #[test]
    fn only_a_line_is_an_answer() {
        for (answer, meant) in
            [("\n", Some(true)), ("Y\n", Some(true)), ("n\n", Some(false)), ("", None), ("y", None)]
        {
            assert_eq!(understood(answer, Silence::Yes), meant, "{answer:?}");
        }
        assert_eq!(understood("\n", Silence::No), Some(false));
        assert_eq!(understood("yes\n", Silence::No), Some(true));
    }
}
