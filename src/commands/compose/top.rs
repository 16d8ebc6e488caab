//! `rbuild compose top` and `stats`.

use super::look::{Look, Which, is_numbered};
use crate::cli::compose::Project;
use crate::cli::compose::look::{Services, Stats};
use crate::commands::ps::Ids;
use crate::commands::top::{self, Display, Processes};
use crate::commands::{Context, Outcome};
use crate::report::Status;
use crate::table::Table;

pub(super) fn run(project: &Project, arguments: &Services, context: &Context) -> Outcome {
    let look = Look::at(project, "top", context)?;
    let mut members = look.shown(&arguments.services, Which::Running, context)?;
    members.sort_by(|a, b| a.replica.name.cmp(&b.replica.name));
    let mut all = Vec::new();
    for member in &members {
        let processes = top::processes(&look.engine, &member.definition, &[])?;
        // Those of `run` are not counted.
        let number = if is_numbered(member) { member.replica.number.to_string() } else { String::new() };
        all.push((member.replica.service.clone(), number, processes));
    }
    context.terminal.print(&text(&all))?;
    Ok(Status::Done)
}

/// Returns a table of the processes of all containers; nothing if there is none.
fn text(all: &[(String, String, Processes)]) -> String {
    let Some((.., first)) = all.first() else { return String::new() };
    let mut table = Table::spaced(4, 2);
    table.row(["SERVICE", "#"].into_iter().chain(first.titles.iter().map(String::as_str)));
    for (service, number, processes) in all {
        for row in &processes.rows {
            table.row([service.clone(), number.clone()].into_iter().chain(row.iter().cloned()));
        }
    }
    table.render()
}

pub(super) fn stats(project: &Project, arguments: &Stats, context: &Context) -> Outcome {
    let look = Look::at(project, "stats", context)?;
    let services: Vec<String> = arguments.service.iter().cloned().collect();
    look.check(&services)?;
    let display = Display {
        format: arguments.format.as_deref(),
        once: arguments.no_stream,
        ids: if arguments.no_trunc { Ids::Full } else { Ids::Short },
    };
    let which = if arguments.all { Which::Any } else { Which::Running };
    top::show_use(&look.home, &look.engine, display, context, || {
        let members = look.members(&services, which)?;
        let members = members.into_iter().filter(|member| arguments.all || is_numbered(member));
        Ok(Some(members.map(|member| (member.definition.id.to_string(), member.definition)).collect()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_listed_as_by_docker() {
        let words = |text: &str| text.split('|').map(str::to_owned).collect::<Vec<_>>();
        let titles = words("UID|PID|PPID|C|STIME|TTY|TIME|CMD");
        let of = |rows: &[&str]| Processes {
            titles: titles.clone(),
            rows: rows.iter().map(|row| words(row)).collect(),
        };
        let all = [
            ("two".to_owned(), "2".to_owned(), of(&["root|6243|6133|0|22:04|?|00:00:00|sleep 1000"])),
            ("web".to_owned(), String::new(), of(&["root|6036|5994|2|22:04|?|00:00:00|sh -c trap"])),
        ];
        assert_eq!(
            text(&all),
            "SERVICE  #   UID   PID   PPID  C   STIME  TTY  TIME      CMD\n\
             two      2   root  6243  6133  0   22:04  ?    00:00:00  sleep 1000\n\
             web          root  6036  5994  2   22:04  ?    00:00:00  sh -c trap\n"
        );
        assert_eq!(text(&[]), "");
    }
}
