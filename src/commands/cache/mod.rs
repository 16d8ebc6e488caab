//! `rbuild cache`: what the build cache of this store holds.

use jiff::Timestamp;
use rbuild_store::collect::{Policy, Sweep};
use serde_json::{Value, json};

use super::{Context, Outcome};
use crate::cli::cache::{Cache, CacheVerb, List, Mounts, Remove};
use crate::human;
use crate::report::{self, Findings, Mistake, Status};
use crate::template::{self, Column};
use crate::text::one_line;
use crate::wiring::{Home, OWNERS};

mod diff;
pub(crate) mod inventory;
mod remote;
pub(crate) mod wanted;

use inventory::{Inventory, Piece};

const COLUMNS: &[Column] = &[
    Column { field: "ID", title: "ID" },
    Column { field: "Reclaimable", title: "RECLAIMABLE" },
    Column { field: "Size", title: "SIZE" },
    Column { field: "LastUsedAt", title: "LAST ACCESSED" },
    Column { field: "Type", title: "TYPE" },
    Column { field: "Description", title: "DESCRIPTION" },
    Column { field: "CreatedAt", title: "CREATED AT" },
    Column { field: "Parents", title: "PARENTS" },
    Column { field: "Mutable", title: "MUTABLE" },
    Column { field: "Shared", title: "SHARED" },
    Column { field: "InUse", title: "IN USE" },
    Column { field: "UsageCount", title: "USAGE COUNT" },
];
const STANDARD: &str = "{{.ID}}\t{{.Reclaimable}}\t{{.Size}}\t{{.LastUsedAt}}\t{{.Type}}\t{{.Description}}";
/// How much of a description the table shows.
const SHOWN: usize = 50;

const MOUNTS: &[Column] = &[
    Column { field: "ID", title: "ID" },
    Column { field: "CacheID", title: "CACHE ID" },
    Column { field: "Target", title: "TARGET" },
    Column { field: "Size", title: "SIZE" },
    Column { field: "UsageCount", title: "USES" },
    Column { field: "LastUsedAt", title: "LAST USED" },
];
const MOUNT: &str = "{{.ID}}\t{{.CacheID}}\t{{.Target}}\t{{.Size}}\t{{.UsageCount}}\t{{.LastUsedAt}}";

pub(super) fn run(arguments: &Cache, context: &Context) -> Outcome {
    match &arguments.verb {
        CacheVerb::Ls(List { from: Some(from), format, .. }) => {
            remote::list(from, format.as_deref(), context)
        }
        CacheVerb::Ls(arguments) => list(arguments, context),
        CacheVerb::Rm(arguments) => remove(arguments, context),
        CacheVerb::Mounts(arguments) => mounts(arguments, context),
        CacheVerb::Diff(arguments) => diff::run(arguments, context),
    }
}

/// Lists what the cache holds; `rbuild du --verbose` is the same list.
pub(super) fn list(arguments: &List, context: &Context) -> Outcome {
    let now = Timestamp::now();
    let conditions = wanted::parse(&arguments.filter, now)?;
    let home = Home::open(&context.settings, "rbuild cache ls")?;
    let inventory = Inventory::take(&home)?;
    let chosen: Vec<&Piece> = inventory
        .pieces
        .iter()
        .filter(|piece| piece.share.is_listed())
        .filter(|piece| conditions.iter().all(|condition| condition.fits(piece)))
        .collect();
    let text = match arguments.format.as_deref() {
        Some(format) => {
            let rows: Vec<Value> = chosen.iter().map(|piece| document(piece, now, usize::MAX)).collect();
            template::list(Some(format), STANDARD, COLUMNS, &rows).map_err(Findings::from)?
        }
        None if arguments.verbose => chosen.iter().map(|piece| pretty(piece, now)).collect(),
        None => {
            let rows: Vec<Value> = chosen.iter().map(|piece| document(piece, now, SHOWN)).collect();
            let table = template::list(None, STANDARD, COLUMNS, &rows).map_err(Findings::from)?;
            table + &totals(&chosen)
        }
    };
    context.terminal.print(&text)?;
    Ok(Status::Done)
}

fn ago(at: Option<i64>, now: Timestamp) -> String {
    let moment = at.and_then(|at| Timestamp::from_second(at).ok());
    moment.map_or_else(String::new, |moment| {
        format!("{} ago", human::ago(moment, now).trim_end_matches(" ago"))
    })
}

fn moment(at: Option<i64>) -> String {
    at.and_then(|at| Timestamp::from_second(at).ok()).map_or_else(String::new, human::moment)
}

fn document(piece: &Piece, now: Timestamp, shown: usize) -> Value {
    let mut description = one_line(&piece.description);
    if let Some((end, _)) = description.char_indices().nth(shown) {
        description.truncate(end);
        description.push('…');
    }
    json!({
        "ID": piece.id,
        "Parents": piece.parents,
        "CreatedAt": moment(piece.created_at),
        "LastUsedAt": ago(piece.used_at, now),
        "Description": description,
        "InUse": piece.in_use,
        "Mutable": piece.mutable,
        "Reclaimable": piece.is_reclaimable(),
        "Shared": piece.shared,
        "Size": human::precise_size(piece.bytes),
        "Bytes": piece.bytes,
        "Type": piece.kind,
        "UsageCount": piece.uses,
    })
}

fn pretty(piece: &Piece, now: Timestamp) -> String {
    let parents: String = piece.parents.iter().map(|parent| format!(" - {parent}\n")).collect();
    let uses = piece.uses.map_or_else(String::new, |uses| format!("Usage count:  {uses}\n"));
    format!(
        "ID:           {}\n{}{parents}Created at:   {}\nMutable:      {}\nReclaimable:  {}\nShared:       {}\n\
         Size:         {}\nDescription:  {}\n{uses}Last used:    {}\nType:         {}\n\n",
        one_line(&piece.id),
        if parents.is_empty() { "" } else { "Parents:\n" },
        moment(piece.created_at),
        piece.mutable,
        piece.is_reclaimable(),
        piece.shared,
        human::precise_size(piece.bytes),
        one_line(&piece.description),
        ago(piece.used_at, now),
        piece.kind,
    )
}

fn totals(chosen: &[&Piece]) -> String {
    let sum = |fits: &dyn Fn(&Piece) -> bool| {
        human::precise_size(chosen.iter().filter(|piece| fits(piece)).map(|piece| piece.bytes).sum())
    };
    format!(
        "Shared:\t\t{}\nPrivate:\t{}\nReclaimable:\t{}\nTotal:\t\t{}\n",
        sum(&|piece| piece.shared),
        sum(&|piece| !piece.shared),
        sum(&Piece::is_reclaimable),
        sum(&|_| true),
    )
}

fn remove(arguments: &Remove, context: &Context) -> Outcome {
    let home = Home::open(&context.settings, "rbuild cache rm")?;
    let inventory = Inventory::take(&home)?;
    let mut ids = Vec::new();
    for wanted in &arguments.ids {
        let short = wanted.trim_start_matches("sha256:");
        let fits: Vec<&Piece> = inventory
            .pieces
            .iter()
            .filter(|piece| piece.share.is_listed())
            .filter(|piece| !short.is_empty() && piece.id.starts_with(short))
            .collect();
        match fits[..] {
            [piece] if piece.shared => {
                return Err(Mistake::new(format!("`{wanted}` is part of an image or a container"))
                    .hint("remove those first: `rbuild rmi`, `rbuild rm`")
                    .into());
            }
            [piece] if piece.in_use => {
                return Err(Mistake::new(format!("`{wanted}` is in use by a build")).into());
            }
            [piece] => ids.push(piece.id.clone()),
            [] => return Err(Mistake::new(format!("the cache holds nothing called `{wanted}`")).into()),
            _ => {
                return Err(Mistake::new(format!("`{wanted}` may mean {} things in the cache", fits.len()))
                    .hint("write more of the id")
                    .into());
            }
        }
    }
    let choice = |kind, candidate: &_| ids.contains(&inventory.piece_of(kind, candidate));
    let swept = home.store.sweep_chosen(OWNERS, &Policy::default(), &choice, Sweep::Take)?;
    let mut status = Status::Done;
    for failure in swept.failures {
        status = report::tell(&failure.into(), context.terminal);
    }
    let gone: Vec<String> =
        swept.swept.iter().map(|swept| inventory.piece_of(swept.kind, &swept.candidate)).collect();
    for id in &ids {
        if gone.contains(id) && !still_there(&home, id)? {
            context.terminal.print(&format!("{id}\n"))?;
        } else {
            let mistake = Mistake::new(format!("`{id}` stays: other results in the cache stand on it"))
                .hint("remove those first; `rbuild cache ls --filter parents=ID` names them");
            status = report::tell(&mistake.into(), context.terminal);
        }
    }
    Ok(status)
}

/// Whether the files of a piece are still in the store.
fn still_there(home: &Home, id: &str) -> anyhow::Result<bool> {
    Ok(home.store.parts()?.iter().any(|part| part.name() == id && part.area() == "snapshots"))
}

fn mounts(arguments: &Mounts, context: &Context) -> Outcome {
    let now = Timestamp::now();
    let home = Home::open(&context.settings, "rbuild cache mounts")?;
    let mounts = rbuild_cache::mounts::Mounts::new(&home.store);
    mounts.take_stock()?;
    let rows: Vec<Value> = mounts
        .list()?
        .iter()
        .map(|mount| {
            json!({
                "ID": mount.is_for.name,
                "CacheID": one_line(&mount.is_for.id),
                "Target": one_line(&mount.is_for.target),
                "Size": human::precise_size(mount.bytes),
                "Bytes": mount.bytes,
                "UsageCount": mount.uses,
                "CreatedAt": moment(Some(mount.created_at)),
                "LastUsedAt": ago(Some(mount.used_at), now),
            })
        })
        .collect();
    let text = template::list(arguments.format.as_deref(), MOUNT, MOUNTS, &rows).map_err(Findings::from)?;
    context.terminal.print(&text)?;
    Ok(Status::Done)
}
