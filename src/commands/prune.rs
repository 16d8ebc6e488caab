//! `rbuild prune`.

use std::collections::HashMap;
use std::fmt::Display;
use std::io::{self, BufRead as _};

use anyhow::Context as _;
use jiff::Timestamp;
use rbuild_engine::Engine;
use rbuild_images::Users as _;
use rbuild_store::collect::{Candidate, Policy, Sweep};

use super::cache::inventory::{Inventory, Piece};
use super::cache::wanted::{self, Condition};
use super::filter::{self, Filter};
use super::{Context, Outcome, rmi};
use crate::cli::images::Prune as PruneImages;
use crate::cli::prune::Prune;
use crate::human;
use crate::report::{self, Mistake, Status};
use crate::wiring::{Home, OWNERS};

/// The line of the question that is asked where all that was pushed here goes.
pub(super) const ALL_PUSHED: &str = "  - all that was pushed to this store as a registry\n";

pub(super) fn run(arguments: &Prune, context: &Context) -> Outcome {
    let now = Timestamp::now();
    let of_cache = arguments.filter.iter().any(|filter| wanted::is_of_cache(filter));
    if of_cache && arguments.all {
        return Err(Mistake::usage("`--all` is about images, and the filters are about the cache")
            .hint("leave one of them out")
            .into());
    }
    let conditions = if of_cache { wanted::parse(&arguments.filter, now)? } else { Vec::new() };
    let filters =
        if of_cache { Vec::new() } else { filter::parse(&arguments.filter, filter::OF_PRUNE, now)? };
    let images = match (of_cache, arguments.all) {
        (true, _) => "",
        (_, true) => "  - all images that no container uses\n",
        (_, false) => "  - all images without a name\n",
    };
    let is_everything = arguments.all && filters.is_empty() && !arguments.limits_cache();
    let pushed = if is_everything { ALL_PUSHED } else { "" };
    let cache = match (of_cache, arguments.limits_cache()) {
        (true, _) => "  - what fits of the build cache and no image needs\n",
        (_, true) => "  - as much of the build cache as was asked for\n",
        (_, false) => "  - all of the build cache that no image needs: results, cache mounts, logs\n",
    };
    let question = format!("This will remove:\n{images}{pushed}{cache}");
    if !arguments.force && !agreed(&question, context)? {
        return Ok(Status::Done);
    }
    let (home, engine) = crate::wiring::engine(context, "rbuild prune")?;
    let keep = keep_bytes(arguments, &home)?;
    let cleared = match of_cache {
        true => clear_cache(&home, &conditions, keep)?,
        false => clear(&home, &engine, arguments.all, &filters, CacheShare::All(keep))?,
    };
    told(cleared, context)
}

/// `rbuild image prune`: images without a name, or all that no container is made of.
pub(super) fn images(arguments: &PruneImages, context: &Context) -> Outcome {
    let mut filters = filter::parse(&arguments.filter, filter::OF_IMAGE_PRUNE, Timestamp::now())?;
    let named = arguments.all || filters.contains(&Filter::Dangling(false));
    filters.retain(|filter| !matches!(filter, Filter::Dangling(_)));
    let question = if named {
        "WARNING! This will remove all images without at least one container associated to them."
    } else {
        "WARNING! This will remove all dangling images."
    };
    if !arguments.force && !agreed(question, context)? {
        return Ok(Status::Done);
    }
    let (home, engine) = crate::wiring::engine(context, "rbuild image prune")?;
    told(clear(&home, &engine, named, &filters, CacheShare::OfImages)?, context)
}

/// Prints what was cleared away, and tells what could not be.
fn told(cleared: Cleared, context: &Context) -> Outcome {
    let status = report::tell_all(cleared.failures, context.terminal);
    let images = section("Deleted Images:", cleared.images);
    let bytes = human::precise_size(cleared.bytes);
    context.terminal.print(&format!("{images}Total reclaimed space: {bytes}\n"))?;
    Ok(status)
}

/// Returns how much of the cache stays, as BuildKit counts it: no more than `--max-used-space`, less where
/// `--min-free-space` wants it, and never less than `--reserved-space`.
fn keep_bytes(arguments: &Prune, home: &Home) -> anyhow::Result<Option<u64>> {
    if !arguments.limits_cache() {
        return Ok(None);
    }
    home.take_stock()?;
    let all = home.store.sweep(OWNERS, &Policy::default(), Sweep::Dry)?.bytes;
    let free = rbuild_store::space::free(home.store.layout().root())?.0;
    Ok(Some(kept(arguments, all, free)))
}

fn kept(arguments: &Prune, all: u64, free: u64) -> u64 {
    let lacking = arguments.min_free_space.map_or(0, |wanted| wanted.saturating_sub(free));
    let keep = match (arguments.max_used_space, lacking) {
        (None, 0) => 0,
        (Some(most), 0) => most,
        (most, lacking) => most.unwrap_or(u64::MAX).min(all.saturating_sub(lacking)),
    };
    // Where only free room is asked for and there is enough, nothing has to go.
    let only_free = arguments.max_used_space.is_none() && arguments.reserved_space.is_none();
    let keep = if only_free && lacking == 0 { all } else { keep };
    keep.max(arguments.reserved_space.unwrap_or(0))
}

/// What was cleared away.
#[derive(Debug, Default)]
pub(super) struct Cleared {
    /// Names and images, a line each.
    pub(super) images: Vec<String>,
    /// How many bytes that were.
    pub(super) bytes: u64,
    /// What could not be.
    pub(super) failures: Vec<anyhow::Error>,
}

/// What of the build cache goes with images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CacheShare {
    /// What no image needs, but for so many bytes.
    All(Option<u64>),
    /// Only what the images held.
    OfImages,
}

/// Removes images that no container is made of, those with a name only if `named` says so, and with them a share of
/// the build cache. Where nothing is chosen and nothing is to stay, what was pushed here goes too.
pub(super) fn clear(
    home: &Home,
    engine: &Engine,
    named: bool,
    filters: &[Filter],
    share: CacheShare,
) -> anyhow::Result<Cleared> {
    home.store.spare_room()?;
    home.take_stock()?;
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
            Ok(removed) => cleared.images.extend(removed.iter().map(rmi::line)),
            Err(error) => cleared.failures.push(error.into()),
        }
    }
    let everything = named && filters.is_empty() && share == CacheShare::All(None);
    if everything {
        let pushed = home.images.clear_shelf()?;
        cleared.images.extend(pushed.into_iter().map(|name| format!("pushed here: {name}")));
    }
    home.images.tidy_shelf()?;
    let labels = filters.iter().any(|filter| matches!(filter, Filter::Label(..) | Filter::NoLabel(..)));
    let until = filters.iter().find_map(|filter| match filter {
        Filter::Until(moment) => Some(moment.as_second()),
        _ => None,
    });
    let (used_since, keep_bytes) = match share {
        // Results of steps have no labels: all are kept, and only what the removed images held goes.
        CacheShare::All(keep) if labels => (Some(0), keep),
        CacheShare::All(keep) => (until, keep),
        CacheShare::OfImages => (Some(0), None),
    };
    let policy = Policy { used_since, keep_bytes };
    let swept = home.store.sweep(OWNERS, &policy, Sweep::Take)?;
    cleared.failures.extend(swept.failures.into_iter().map(Into::into));
    cleared.bytes = swept.bytes;
    if everything {
        home.records().forget_builds()?;
        home.store.shrink()?;
    }
    Ok(cleared)
}

/// Removes what fits of the cache.
fn clear_cache(home: &Home, conditions: &[Condition], keep_bytes: Option<u64>) -> anyhow::Result<Cleared> {
    home.store.spare_room()?;
    let inventory = Inventory::take(home)?;
    let pieces: HashMap<&str, &Piece> =
        inventory.pieces.iter().map(|piece| (piece.id.as_str(), piece)).collect();
    let fits = |kind, candidate: &Candidate| {
        let piece = pieces.get(inventory.piece_of(kind, candidate).as_str()).copied();
        piece.is_some_and(|piece| conditions.iter().all(|condition| condition.fits(piece)))
    };
    let policy = Policy { used_since: None, keep_bytes };
    let swept = home.store.sweep_chosen(OWNERS, &policy, &fits, Sweep::Take)?;
    let failures = swept.failures.into_iter().map(Into::into).collect();
    Ok(Cleared { images: Vec::new(), bytes: swept.bytes, failures })
}

/// Asks whether it is meant. The answer may come from a program, as from `yes`.
pub(super) fn agreed(question: &str, context: &Context) -> anyhow::Result<bool> {
    context.terminal.tell(&format!("{question}\nAre you sure you want to continue? [y/N] "));
    let mut answer = String::new();
    if io::stdin().lock().read_line(&mut answer).context("failed to read the answer")? == 0 {
        return Err(Mistake::new("nobody can be asked whether this is meant").hint("use `--force`").into());
    }
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Returns what was removed, a line each under a title; nothing if nothing was.
pub(super) fn section(title: &str, removed: impl IntoIterator<Item = impl Display>) -> String {
    let lines: String = removed.into_iter().map(|name| format!("{name}\n")).collect();
    if lines.is_empty() { lines } else { format!("{title}\n{lines}\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_without_anything_are_left_out() {
        assert_eq!(section("Deleted Networks:", [""; 0]), "");
        assert_eq!(section("Deleted Networks:", ["a", "b"]), "Deleted Networks:\na\nb\n\n");
    }

    #[test]
    fn what_stays_is_what_buildkit_would_keep() {
        const GB: u64 = 1 << 30;
        let kept = |max: Option<u64>, reserved, min_free| {
            let arguments = Prune {
                all: false,
                force: true,
                filter: Vec::new(),
                max_used_space: max.map(|gb: u64| gb * GB),
                reserved_space: reserved,
                min_free_space: min_free,
            };
            super::kept(&arguments, 10 * GB, 5 * GB) as f64 / GB as f64
        };
        assert_eq!(kept(Some(4), None, None), 4.0);
        assert_eq!(kept(None, Some(2 * GB), None), 2.0);
        assert_eq!(kept(Some(1), Some(2 * GB), None), 2.0);
        assert_eq!(kept(None, None, Some(8 * GB)), 7.0, "three more have to be free");
        assert_eq!(kept(Some(6), None, Some(8 * GB)), 6.0);
        assert_eq!(kept(None, None, Some(2 * GB)), 10.0, "enough is free");
        assert_eq!(kept(None, Some(9 * GB), Some(8 * GB)), 9.0);
    }
}
