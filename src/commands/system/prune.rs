//! `rbuild system prune`: containers, networks, volumes, images, results of steps.

use jiff::Timestamp;
use rbuild_engine::Engine;

use crate::cli::system::Prune;
use crate::commands::filter::{self, moment};
use crate::commands::labels::LabelFilter;
use crate::commands::prune::{ALL_PUSHED, CacheShare, agreed, clear, section};
use crate::commands::{Context, Outcome, ps};
use crate::human;
use crate::report::{self, Mistake, Status};

/// What may go, as `--filter` says it.
struct Wanted {
    labels: Vec<LabelFilter>,
    until: Option<Timestamp>,
    pairs: Vec<(String, String)>,
}

pub(super) fn run(arguments: &Prune, context: &Context) -> Outcome {
    let now = Timestamp::now();
    let wanted = wanted(&arguments.filter, now)?;
    let of_images = filter::parse(&arguments.filter, filter::OF_PRUNE, now)?;
    if arguments.volumes && wanted.until.is_some() {
        return Err(Mistake::usage("the filter `until` is not supported with `--volumes`")
            .hint("volumes have no age: prune them with `rbuild volume prune`")
            .into());
    }
    if !arguments.force && !agreed(&question(arguments), context)? {
        return Ok(Status::Done);
    }
    let (home, engine) = crate::wiring::engine(context, "rbuild system prune")?;
    let mut status = Status::Done;
    let mut failed = |errors: Vec<anyhow::Error>| {
        for error in errors {
            status = report::tell(&error, context.terminal);
        }
    };
    let mut bytes = 0;
    home.store.spare_room()?;
    // In the order in which one needs the other.
    let (containers, failures) = engine.prune(ps::filters(&wanted.pairs, now)?)?;
    failed(failures.into_iter().map(Into::into).collect());
    bytes += containers.bytes;
    context.terminal.print(&section("Deleted Containers:", containers.removed))?;
    let (networks, failures) = engine.networks().prune(|definition| {
        let is_old = wanted
            .until
            .is_none_or(|until| definition.created.parse::<Timestamp>().is_ok_and(|created| created < until));
        is_old && wanted.labels.iter().all(|label| label.fits(&definition.labels))
    })?;
    failed(failures.into_iter().map(Into::into).collect());
    context.terminal.print(&section("Deleted Networks:", networks))?;
    if arguments.volumes {
        bytes += volumes(&engine, &wanted, context, &mut failed)?;
    }
    let cleared = clear(&home, &engine, arguments.all, &of_images, CacheShare::All(None))?;
    context.terminal.print(&section("Deleted Images:", cleared.images))?;
    bytes += cleared.bytes;
    failed(cleared.failures);
    context.terminal.print(&format!("Total reclaimed space: {}\n", human::precise_size(bytes)))?;
    Ok(status)
}

fn volumes(
    engine: &Engine,
    wanted: &Wanted,
    context: &Context,
    failed: &mut dyn FnMut(Vec<anyhow::Error>),
) -> anyhow::Result<u64> {
    let pruned = engine.volumes().prune(engine, |definition| {
        definition.is_anonymous() && wanted.labels.iter().all(|label| label.fits(&definition.labels))
    })?;
    failed(pruned.failures.into_iter().map(Into::into).collect());
    context.terminal.print(&section("Deleted Volumes:", pruned.volumes))?;
    Ok(pruned.bytes)
}

fn wanted(filters: &[String], now: Timestamp) -> Result<Wanted, Mistake> {
    let mut wanted = Wanted { labels: Vec::new(), until: None, pairs: Vec::new() };
    for text in filters {
        let (key, value) = text
            .split_once('=')
            .ok_or_else(|| Mistake::usage(format!("`--filter {text}`: write `KEY=VALUE`")))?;
        wanted.pairs.push((key.to_owned(), value.to_owned()));
        match LabelFilter::read(key, value) {
            Some(label) => wanted.labels.push(label),
            None if key == "until" => wanted.until = moment(value, now),
            // What is no filter is refused by who reads those of images.
            None => {}
        }
    }
    Ok(wanted)
}

fn question(arguments: &Prune) -> String {
    let mut text = "WARNING! This will remove:\n  - all stopped containers\n  \
                    - all networks not used by at least one container\n"
        .to_owned();
    if arguments.volumes {
        text.push_str("  - all anonymous volumes not used by at least one container\n");
    }
    text.push_str(if arguments.all {
        "  - all images without at least one container associated to them\n  - all build cache\n"
    } else {
        "  - all dangling images\n  - unused build cache\n"
    });
    if arguments.all && arguments.filter.is_empty() {
        text.push_str(ALL_PUSHED);
    }
    if !arguments.filter.is_empty() {
        text.push_str("\n  Items to be pruned will be filtered with:\n");
        text.extend(arguments.filter.iter().map(|filter| format!("  - {filter}\n")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_says_what_goes() {
        let arguments = |all, volumes, filter: &[&str]| Prune {
            all,
            volumes,
            force: false,
            filter: filter.iter().map(|text| (*text).to_owned()).collect(),
        };
        assert_eq!(
            question(&arguments(true, true, &[])),
            "WARNING! This will remove:\n  - all stopped containers\n  \
             - all networks not used by at least one container\n  \
             - all anonymous volumes not used by at least one container\n  \
             - all images without at least one container associated to them\n  - all build cache\n  \
             - all that was pushed to this store as a registry\n"
        );
        assert!(!question(&arguments(true, false, &["label=x"])).contains("pushed"));
        assert!(question(&arguments(false, false, &["label=x"])).ends_with(
            "  - all dangling images\n  - unused build cache\n\n  \
                 Items to be pruned will be filtered with:\n  - label=x\n"
        ));
    }
}
