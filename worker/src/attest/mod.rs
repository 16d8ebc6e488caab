//! Facts about what was built: what is in it, and how it was made.
//!
//! Bills of materials are read from the result's root, whose files are foreign: every read is bounded, and through
//! [`rbuild_confined`]. Provenance is made of the graph: which sources there were and what they were pinned to; with
//! [`Detail::Max`](crate::request::Detail::Max) also the arguments, the ids of secrets, and the steps by the names that are kept, in which no value of a variable stands.
//!
//! | Where a result goes | Its facts |
//! |---|---|
//! | an archive, a registry | statements in a manifest beside the image's ([`rbuild_image::attest`]) |
//! | the store | kept with the image, for when it leaves |
//! | files | a file a fact beside them, a statement about each of them ([`files`]) |
//!
//! With an epoch all times are that of the epoch, so that equal builds say equal things.

pub(crate) mod files;
mod materials;
mod provenance;

use std::time::Duration;

use rbuild_image::attest::{Predicate, SPDX, spdx};
use rbuild_model::graph::{Graph, StepId};

use crate::describe::{Finished, rfc3339, rfc3339_nanos};
use crate::exporters::ExportError;
use crate::request::{Attestations, BuildRequest, Scope};
use crate::worker::Worker;

/// What a build knows of itself once it is done.
pub(crate) struct Known<'a> {
    pub(crate) request: &'a BuildRequest,
    pub(crate) graph: &'a Graph,
    /// The steps that the target needed.
    pub(crate) steps: Vec<StepId>,
    /// When it began, since the Unix epoch.
    pub(crate) began: Duration,
    /// When it ended, since the Unix epoch.
    pub(crate) ended: Duration,
}

/// Something that is said about a result.
#[derive(Clone, Debug)]
pub(crate) struct Fact {
    pub(crate) predicate: Predicate,
    /// What the file is called that it becomes beside files.
    pub(crate) file: String,
    /// Where it goes.
    pub(crate) scope: Scope,
}

/// Returns what goes with an image. What is said only where there is an index anyway makes none.
pub(crate) fn of_image(facts: &[Fact], index: Indexed) -> Vec<Predicate> {
    let makes = |fact: &Fact| fact.scope == Scope::Everywhere;
    if index == Indexed::OnlyIfNeeded && !facts.iter().any(makes) {
        return Vec::new();
    }
    facts.iter().map(|fact| fact.predicate.clone()).collect()
}

/// Whether an image stands in an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Indexed {
    /// In any case, or as soon as there is something to say (`attestation-inline`).
    Anyway,
    /// Only because of what is said about it.
    OnlyIfNeeded,
}

/// Makes the facts that were asked for about one result.
pub(crate) fn facts(worker: &Worker, known: &Known<'_>, result: &Finished) -> Result<Vec<Fact>, ExportError> {
    let Attestations { materials, provenance } = &known.request.attestations;
    let mut facts = Vec::new();
    if let Some(wanted) = provenance {
        facts.push(Fact {
            predicate: provenance::predicate(known, wanted, result),
            file: wanted.file.clone().unwrap_or_else(|| "provenance.json".to_owned()),
            scope: wanted.scope,
        });
    }
    if materials.is_some() {
        let view = worker.view(&result.chain)?;
        let inventory = materials::inventory(&view)?;
        let created = time(known.ended, result.epoch);
        let name = known.request.tags.first().map(ToString::to_string);
        let described = spdx::Described {
            name: name.as_deref().unwrap_or("image"),
            created: &created,
            tool: concat!("rbuild-", env!("CARGO_PKG_VERSION")),
        };
        let value = spdx::document(&inventory, &described);
        facts.push(Fact {
            predicate: Predicate { kind: SPDX.to_owned(), value },
            file: "sbom.spdx.json".to_owned(),
            scope: Scope::Everywhere,
        });
    }
    Ok(facts)
}

fn time(at: Duration, epoch: Option<i64>) -> String {
    match epoch {
        Some(epoch) => rfc3339(epoch),
        None => rfc3339_nanos(i128::try_from(at.as_nanos()).unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests;
