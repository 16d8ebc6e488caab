//! `rbuild compose logs`.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use rbuild_engine::containers::ContainerError;
use rbuild_engine::projects::labels::key;
use rbuild_model::container::{Definition, LogDriver};

use super::board::colour;
use super::look::{Look, Which, is_numbered};
use super::output::{self, Errors, Look as Appearance, Output, Part, Told};
use crate::cli::compose::Project;
use crate::cli::compose::look::Logs;
use crate::commands::logs::{Window, window};
use crate::commands::{Context, Outcome};
use crate::flags::Mode;
use crate::report::{Mistake, Status};

pub(super) fn run(project: &Project, arguments: &Logs, context: &Context) -> Outcome {
    let Window { filter, until } = window(&arguments.lines)?;
    if arguments.index.is_some() && arguments.services.len() != 1 {
        return Err(Mistake::new("only one service can be specified when using --index").into());
    }
    let look = Look::at(project, "logs", context)?;
    look.check(&arguments.services)?;
    let wanted: BTreeSet<&str> = arguments.services.iter().map(String::as_str).collect();
    let name = look.meant.name.as_str();
    let joins = |definition: &Definition| {
        let label = |key: &str| definition.labels.get(key).map(String::as_str).unwrap_or_default();
        let is_meant = label(key::PROJECT) == name
            && label(key::ONE_OFF) != "True"
            && (wanted.is_empty() || wanted.contains(label(key::SERVICE)))
            && look.meant.is_about(label(key::SERVICE), &arguments.services)
            && arguments.index.is_none_or(|index| label(key::NUMBER) == index.to_string());
        is_meant.then_some(Part::Shown)
    };
    // Begun before the look, so that nothing is missed between the two.
    let mut output =
        Output::new(&look.engine, &look.home.store, appearance(project, arguments, context), joins)?;
    let mut members = look.shown(&arguments.services, Which::Any, context)?;
    members.retain(|member| {
        is_numbered(member)
            && look.meant.is_about(&member.replica.service, &arguments.services)
            && arguments.index.is_none_or(|index| member.replica.number == index)
    });
    if let (Some(index), [service], true) = (arguments.index, &*arguments.services, members.is_empty()) {
        return Err(Mistake::new(format!("service {service:?} is not running container #{index}")).into());
    }
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
    if !arguments.lines.follow {
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
        timestamps: if arguments.lines.timestamps { Mode::On } else { Mode::Off },
        colour: colour(project, arguments.no_color, context),
        errors: Errors::Together,
    }
}
