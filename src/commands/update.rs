//! `rbuild update`.

use rbuild_engine::containers::Update as Change;
use rbuild_model::container::Resources;

use super::containers::each;
use super::{Context, Outcome};
use crate::cli::container::Update;
use crate::flags::Swap;
use crate::report::{Mistake, NotYet};

pub(super) fn run(arguments: &Update, context: &Context) -> Outcome {
    let some = |value: Option<u64>| value.filter(|value| *value != 0);
    let resources = Resources {
        memory: some(arguments.memory),
        memory_swap: match arguments.memory_swap {
            Some(Swap::Unlimited) => Some(-1),
            Some(Swap::Total(total)) if total > 0 => Some(i64::try_from(total).unwrap_or(i64::MAX)),
            _ => None,
        },
        memory_reservation: some(arguments.memory_reservation),
        nano_cpus: some(arguments.cpus.map(|cpus| cpus.0)),
        cpu_shares: some(arguments.cpu_shares),
        cpu_period: some(arguments.cpu_period),
        cpu_quota: arguments.cpu_quota.filter(|quota| *quota > 0),
        cpuset_cpus: arguments.cpuset_cpus.clone(),
        cpuset_mems: arguments.cpuset_mems.clone(),
        pids: arguments.pids_limit.and_then(|limit| u64::try_from(limit).ok()).filter(|limit| *limit > 0),
        blkio_weight: arguments.blkio_weight.filter(|weight| *weight != 0),
        ..Resources::default()
    };
    if !is_asked(arguments) {
        return Err(Mistake::new("you must provide one or more flags when using this command").into());
    }
    if arguments.pids_limit.is_some_and(|limit| limit <= 0) {
        let why = "make the container anew without `--pids-limit`";
        return Err(NotYet::supported("taking the limit of processes away", why).into());
    }
    let change = Change { resources, restart: arguments.restart };
    let (_home, engine) = crate::wiring::engine(context, "rbuild update")?;
    each(&arguments.containers, context, |name| {
        engine.update(name, &change)?;
        Ok(Some(name.to_owned()))
    })
}

/// Tells whether any flag says what is to be another.
fn is_asked(arguments: &Update) -> bool {
    let Update {
        containers: _,
        restart,
        memory,
        memory_swap,
        memory_reservation,
        cpus,
        cpu_shares,
        cpu_period,
        cpu_quota,
        blkio_weight,
        cpuset_cpus,
        cpuset_mems,
        pids_limit,
    } = arguments;
    [
        restart.is_some(),
        memory.or(*memory_reservation).or(*cpu_shares).or(*cpu_period).is_some(),
        memory_swap.is_some() || cpus.is_some() || blkio_weight.is_some(),
        cpu_quota.or(*pids_limit).is_some(),
        cpuset_cpus.as_ref().or(cpuset_mems.as_ref()).is_some(),
    ]
    .contains(&true)
}
