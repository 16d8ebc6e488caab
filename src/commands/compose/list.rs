//! `rbuild compose ls`: the projects that are there, by the labels of their containers.

use std::collections::{BTreeMap, BTreeSet};

use rbuild_engine::containers::{Filter, ListRequest, Listed, fits_name};
use rbuild_engine::projects::labels::key;
use serde_json::json;

use crate::cli::compose::look::List;
use crate::commands::{Context, Outcome};
use crate::report::{Mistake, Status};
use crate::table::Table;

/// A project, as its containers tell of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Found {
    /// How many containers are in each state.
    states: BTreeMap<&'static str, usize>,
    /// The files that they were made from.
    files: BTreeSet<String>,
}

pub(super) fn run(arguments: &List, context: &Context) -> Outcome {
    let names = arguments
        .filter
        .iter()
        .map(|text| match text.split_once('=') {
            Some(("name", name)) => Ok(name),
            _ => Err(Mistake::new(format!("invalid filter '{text}'")).hint("there is `name=`")),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let (_home, engine) = crate::wiring::engine(context, "rbuild compose ls")?;
    let filters = vec![Filter::Label(key::PROJECT.to_owned(), None)];
    let listed = engine.list(&ListRequest { all: arguments.all, filters, ..ListRequest::default() })?;
    let mut projects = projects(&listed);
    projects.retain(|name, _| names.is_empty() || names.iter().any(|pattern| fits_name(name, pattern)));
    context.terminal.print(&text(&projects, arguments)?)?;
    Ok(Status::Done)
}

fn projects(listed: &[Listed]) -> BTreeMap<String, Found> {
    let mut projects: BTreeMap<String, Found> = BTreeMap::new();
    for one in listed {
        let labels = &one.definition.labels;
        // What runs before a service starts is none of its containers.
        if labels.contains_key(key::HOOK) {
            continue;
        }
        let found = projects.entry(labels.get(key::PROJECT).cloned().unwrap_or_default()).or_default();
        *found.states.entry(one.observed.state.status().word()).or_default() += 1;
        found.files.extend(labels.get(key::CONFIG_FILES).cloned());
    }
    projects
}

impl Found {
    fn status(&self) -> String {
        let states = self.states.iter().map(|(state, count)| format!("{state}({count})"));
        states.collect::<Vec<_>>().join(", ")
    }

    fn files(&self) -> String {
        if self.files.is_empty() {
            return "N/A".to_owned();
        }
        self.files.iter().map(String::as_str).collect::<Vec<_>>().join(",")
    }
}

fn text(projects: &BTreeMap<String, Found>, arguments: &List) -> Result<String, Mistake> {
    if arguments.quiet {
        return Ok(projects.keys().map(|name| format!("{name}\n")).collect());
    }
    match &*arguments.format {
        "json" => {
            let rows: Vec<_> = projects
                .iter()
                .map(|(name, found)| {
                    json!({ "Name": name, "Status": found.status(), "ConfigFiles": found.files() })
                })
                .collect();
            Ok(format!("{}\n", json!(rows)))
        }
        "" | "table" | "pretty" => {
            let mut table = Table::spaced(20, 3);
            table.row(["NAME", "STATUS", "CONFIG FILES"]);
            for (name, found) in projects {
                table.row([name.clone(), found.status(), found.files()]);
            }
            Ok(table.render())
        }
        other => Err(Mistake::new(format!("format value {other:?} could not be parsed"))
            .hint("there are table and json")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: &str, quiet: bool, expected: &str) {
        let files = ["/p/compose.yaml".to_owned()].into();
        let found = Found { states: [("running", 2), ("exited", 1)].into(), files };
        let projects = [("app".to_owned(), found)].into();
        let arguments = List { format: format.to_owned(), quiet, ..List::default() };
        assert_eq!(text(&projects, &arguments).unwrap(), expected);
    }

    #[test]
    fn projects_are_listed_as_by_docker() {
        check(
            "table",
            false,
            "NAME                STATUS                  CONFIG FILES\n\
             app                 exited(1), running(2)   /p/compose.yaml\n",
        );
        check(
            "json",
            false,
            "[{\"Name\":\"app\",\"Status\":\"exited(1), running(2)\",\"ConfigFiles\":\"/p/compose.yaml\"}]\n",
        );
        check("table", true, "app\n");
    }
}
