//! `rbuild prune`.

use std::io::{self, BufRead as _, IsTerminal as _};

use anyhow::Context as _;
use jiff::Timestamp;
use rbuild_engine::Engine;
use rbuild_images::Users as _;
use rbuild_store::collect::{Policy, Sweep};

use super::filter::{self, Filter};
use super::{Context, Outcome, rmi};
use crate::cli::prune::Prune;
use crate::human;
use crate::report::{self, Mistake, Status};
use crate::wiring::{Home, OWNERS};

pub(super) fn run(arguments: &Prune, context: &Context) -> Outcome {
    let filters = filter::parse(&arguments.filter, filter::OF_PRUNE, Timestamp::now())?;
    let images =
        if arguments.all { "all images that no container uses" } else { "all images without a name" };
    let question =
        format!("This will remove:\n  - {images}\n  - all results in the build cache that no image needs\n");
    if !arguments.force && !agreed(&question, context)? {
        return Ok(Status::Done);
    }
    let (home, engine) = crate::wiring::engine(context, "rbuild prune")?;
    let cleared = clear(&home, &engine, arguments.all, &filters, arguments.max_used_space, context)?;
    let told = cleared.failures.iter().map(|error| report::tell(error, context.terminal));
    let status = told.last().unwrap_or(Status::Done);
    context.terminal.print(&format!("Total reclaimed space: {}\n", human::precise_size(cleared.bytes)))?;
    Ok(status)
}

/// What was cleared away.
#[derive(Debug, Default)]
pub(super) struct Cleared {
    /// How many bytes that were.
    pub(super) bytes: u64,
    /// What could not be.
    pub(super) failures: Vec<anyhow::Error>,
}

/// Removes images that no container is made of, those with a name only if `named` says so, and the results of steps
/// that no image needs; prints which images went.
pub(super) fn clear(
    home: &Home,
    engine: &Engine,
    named: bool,
    filters: &[Filter],
    keep_bytes: Option<u64>,
    context: &Context,
) -> anyhow::Result<Cleared> {
    let mut cleared = Cleared::default();
    let all = home.images.list()?;
    for image in &all {
        let unused = named || image.tags.is_empty();
        // What a container is made of stays, whether it runs or not.
        if !unused
            || engine.usage(image.id)?.is_some()
            || !filters.iter().all(|filter| filter.fits(image, &all))
        {
            continue;
        }
        match home.images.remove_forced(&image.id.to_string(), engine) {
            Ok(removed) => context.terminal.print(&rmi::told(&removed))?,
            Err(error) => cleared.failures.push(error.into()),
        }
    }
    let labels = filters.iter().any(|filter| matches!(filter, Filter::Label(..) | Filter::NoLabel(..)));
    let used_since = filters.iter().find_map(|filter| match filter {
        // Results of steps have no labels: all are kept, and only what the removed images held goes.
        _ if labels => Some(0),
        Filter::Until(moment) => Some(moment.as_second()),
        _ => None,
    });
    let policy = Policy { used_since, keep_bytes };
    let swept = home.store.sweep(OWNERS, &policy, Sweep::Take)?;
    cleared.failures.extend(swept.failures.into_iter().map(Into::into));
    cleared.bytes = swept.bytes;
    Ok(cleared)
}

/// Asks whether it is meant.
pub(super) fn agreed(question: &str, context: &Context) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        return Err(Mistake::new("nobody can be asked whether this is meant").hint("use `--force`").into());
    }
    context.terminal.tell(&format!("{question}\nAre you sure you want to continue? [y/N] "));
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("failed to read the answer")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
