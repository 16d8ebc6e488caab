//! `rbuild system`.

mod boot;
mod df;
mod prune;
pub(super) mod unit;

pub(super) use df::layer_bytes;

use super::{Context, Outcome, events, info};
use crate::cli::system::{System, SystemVerb};

pub(super) fn run(group: &System, context: &Context) -> Outcome {
    match &group.verb {
        SystemVerb::Boot => boot::run(context),
        SystemVerb::Df(arguments) => df::run(arguments, context),
        SystemVerb::Enable(arguments) => unit::enable(arguments, context),
        SystemVerb::Disable => unit::disable(context),
        SystemVerb::Events(arguments) => events::run(arguments, context),
        SystemVerb::Info(arguments) => info::run(arguments, context),
        SystemVerb::Prune(arguments) => prune::run(arguments, context),
    }
}
