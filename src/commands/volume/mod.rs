//! `rbuild volume`.

pub(super) mod list;

use rbuild_engine::volumes::{Absence, VolumeRequest};

use super::{Context, Outcome, inspect};
use crate::cli::volume::{Create, Inspect, Remove, Volume, VolumeVerb};
use crate::report::{self, Status};

pub(super) fn run(group: Volume, context: &Context) -> Outcome {
    match group.verb {
        VolumeVerb::Create(arguments) => create(&arguments, context),
        VolumeVerb::Inspect(arguments) => show(&arguments, context),
        VolumeVerb::Ls(arguments) => list::run(&arguments, context),
        VolumeVerb::Prune(arguments) => list::prune(&arguments, context),
        VolumeVerb::Rm(arguments) => remove(&arguments, context),
    }
}

fn create(arguments: &Create, context: &Context) -> Outcome {
    let (_home, engine) = crate::wiring::engine(context, "rbuild volume create")?;
    let definition = engine.volumes().create(&VolumeRequest {
        name: arguments.name.clone().or_else(|| arguments.named.clone()),
        driver: arguments.driver.clone(),
        options: arguments.opt.iter().cloned().collect(),
        labels: arguments.label.iter().cloned().collect(),
    })?;
    context.terminal.print(&format!("{}\n", definition.name))?;
    Ok(Status::Done)
}

fn show(arguments: &Inspect, context: &Context) -> Outcome {
    let (_home, engine) = crate::wiring::engine(context, "rbuild volume inspect")?;
    let volumes = engine.volumes();
    inspect::documents(&arguments.volumes, arguments.format.as_deref(), context, |text| {
        Ok(volumes.inspect(&volumes.find(text)?)?)
    })
}

fn remove(arguments: &Remove, context: &Context) -> Outcome {
    let (_home, engine) = crate::wiring::engine(context, "rbuild volume rm")?;
    let volumes = engine.volumes();
    let absence = if arguments.force { Absence::Fine } else { Absence::Refused };
    let mut status = Status::Done;
    for name in &arguments.volumes {
        match volumes.remove(name, &engine, absence) {
            Ok(()) => context.terminal.print(&format!("{name}\n"))?,
            Err(error) => status = report::tell(&error.into(), context.terminal),
        }
    }
    Ok(status)
}
