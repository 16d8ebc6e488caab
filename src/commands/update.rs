//! `rbuild update`.

use rbuild_engine::containers::{Processes, Update as Change};
use rbuild_model::container::RestartPolicy;

use super::containers::each;
use super::{Context, Outcome, create};
use crate::cli::container::Update;
use crate::cli::run::Limits;
use crate::report::Mistake;

pub(super) fn run(arguments: &Update, context: &Context) -> Outcome {
    let Update { containers, restart, limits } = arguments;
    if restart.is_none() && *limits == Limits::default() {
        return Err(Mistake::new("you must provide one or more flags when using this command").into());
    }
    create::tell_of_lost(limits, context);
    let restart = restart.as_deref().map(str::parse::<RestartPolicy>).transpose();
    let restart = restart.map_err(|error| Mistake::new(error.to_string()))?;
    let processes = match limits.pids_limit {
        Some(..=0) => Processes::Unlimited,
        _ => Processes::AsGiven,
    };
    let change = Change { resources: create::limited(limits), processes, restart };
    let (_home, engine) = crate::wiring::engine(context, "rbuild update")?;
    each(containers, context, |name| {
        engine.update(name, &change)?;
        Ok(Some(name.to_owned()))
    })
}
