//! `rbuild compose logs`.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use jiff::Timestamp;
use rbuild_engine::containers::ContainerError;
use rbuild_engine::projects::labels::key;
use rbuild_model::container::{Definition, LogDriver};
use rbuild_monitor::log::{Filter, Tail};

use super::board::colour;
use super::look::{Look, Which, is_numbered};
use super::output::{self, Look as Appearance, Output, Told};
use crate::cli::compose::Project;
use crate::cli::compose::look::Logs;
use crate::commands::filter::moment;
use crate::commands::{Context, Outcome};
use crate::flags::Mode;
use crate::report::{Mistake, Status};

pub(super) fn run(project: &Project, arguments: &Logs, context: &Context) -> Outcome {
    let now = Timestamp::now();
    let bound = |name: &str, text: &Option<String>| -> anyhow::Result<Option<Timestamp>> {
        let Some(text) = text else { return Ok(None) };
        let read = moment(text, now).ok_or_else(|| {
            Mistake::usage(format!("`--{name} {text}`: not a time"))
                .hint("use an age like `42m`, seconds since 1970, or RFC 3339")
        });
        Ok(Some(read?))
    };
    let (since, until) = (bound("since", &arguments.since)?, bound("until", &arguments.until)?);
    if arguments.index.is_some() && arguments.services.len() != 1 {
        return Err(Mistake::new("only one service can be specified when using --index").into());
    }
    let look = Look::at(project, "logs", context)?;
    look.check(&arguments.services)?;
    let nanoseconds = |moment: Timestamp| i64::try_from(moment.as_nanosecond()).unwrap_or(i64::MAX);
    let filter = Filter {
        since: since.map(nanoseconds),
        until: until.map(nanoseconds),
        // As Docker has it, what is no number means all.
        tail: arguments.tail.parse().map_or(Tail::All, Tail::Lines),
        ..Filter::default()
    };
    let wanted: BTreeSet<&str> = arguments.services.iter().map(String::as_str).collect();
    let name = look.meant.name.as_str();
    let joins = |definition: &Definition| {
        let label = |key: &str| definition.labels.get(key).map(String::as_str).unwrap_or_default();
        label(key::PROJECT) == name
            && label(key::ONE_OFF) != "True"
            && (wanted.is_empty() || wanted.contains(label(key::SERVICE)))
            && arguments.index.is_none_or(|index| label(key::NUMBER) == index.to_string())
    };
    // Begun before the look, so that nothing is missed between the two.
    let mut output =
        Output::new(&look.engine, &look.home.store, appearance(project, arguments, context), joins)?;
    let mut members = look.members(&arguments.services, Which::Any)?;
    members.retain(|member| {
        is_numbered(member) && arguments.index.is_none_or(|index| member.replica.number == index)
    });
    members.sort_by(|a, b| a.replica.name.cmp(&b.replica.name));
    let mut running: BTreeSet<_> = BTreeSet::new();
    for member in &members {
        if member.definition.host.log.driver == LogDriver::None {
            let name = output::shown_name(&member.definition);
            context.terminal.tell(&format!(
                "warning: can't retrieve logs for \"{name}\": {}\n",
                rbuild_monitor::log::ReadError::Unreadable
            ));
            continue;
        }
        match output.join(&member.definition, filter.clone()) {
            // One that is being removed has nothing more to say.
            Err(error) if matches!(error.downcast_ref(), Some(ContainerError::State(_))) => continue,
            result => result?,
        }
        // Only of one that joined its end is told.
        if member.replica.activity.is_up() {
            running.insert(member.definition.id);
        }
    }
    if !arguments.follow {
        output.print()?;
        return Ok(Status::Done);
    }
    if running.is_empty() {
        output.print()?;
        return Ok(Status::Done);
    }
    output.follow(until, |_, told| {
        match told {
            Told::Started(definition) => drop(running.insert(definition.id)),
            Told::Exited { restarts: true, .. } | Told::Rung => {}
            Told::Exited { definition, .. } | Told::Removed(definition) => {
                running.remove(&definition.id);
            }
        }
        // It ends with the last one that may still say something.
        Ok(if running.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    Ok(Status::Done)
}

fn appearance(project: &Project, arguments: &Logs, context: &Context) -> Appearance {
    Appearance {
        prefix: if arguments.no_log_prefix { Mode::Off } else { Mode::On },
        timestamps: if arguments.timestamps { Mode::On } else { Mode::Off },
        colour: colour(project, arguments.no_color, context),
    }
}
