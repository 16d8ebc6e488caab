//! `rbuild volume ls` and `rbuild volume prune`.

use std::cmp::Ordering;

use rbuild_engine::Engine;
use rbuild_engine::containers::fits_name;
use rbuild_engine::volumes::{VolumeUsers as _, Volumes};
use rbuild_model::volume::VolumeDefinition;
use serde_json::{Value, json};

use crate::cli::volume::{List, Prune};
use crate::commands::labels::{self, LabelFilter, truth, unknown};
use crate::commands::prune::{agreed, section};
use crate::commands::{Context, Outcome};
use crate::human;
use crate::report::{self, Findings, Mistake, Status};
use crate::template::{self, Column};

/// What is known of a volume in a list.
pub(in crate::commands) const COLUMNS: &[Column] = &[
    Column { field: "Name", title: "VOLUME NAME" },
    Column { field: "Driver", title: "DRIVER" },
    Column { field: "Scope", title: "SCOPE" },
    Column { field: "Mountpoint", title: "MOUNTPOINT" },
    Column { field: "Labels", title: "LABELS" },
    Column { field: "Links", title: "LINKS" },
    Column { field: "Size", title: "SIZE" },
    Column { field: "Status", title: "STATUS" },
    Column { field: "Availability", title: "AVAILABILITY" },
    Column { field: "Group", title: "GROUP" },
];
/// What is shown of it.
pub(in crate::commands) const STANDARD: &str = "{{.Driver}}\t{{.Name}}";
const KEYS: &[&str] = &["dangling", "driver", "label", "name"];
const PRUNE_KEYS: &[&str] = &["label", "all"];

pub(super) fn run(arguments: &List, context: &Context) -> Outcome {
    let filters = arguments.filter.iter().map(|(key, value)| read(key, value));
    let filters = filters.collect::<Result<Vec<_>, _>>()?;
    let (_home, engine) = crate::wiring::engine(context, "rbuild volume ls")?;
    let volumes = engine.volumes();
    let mut rows = Vec::new();
    let mut all = volumes.list()?;
    all.sort_by(|one, other| by_numbers(one.name.as_str(), other.name.as_str()));
    for definition in all {
        if Filter::all_fit(&filters, &definition, &engine)? {
            rows.push(row(&definition, &volumes)?);
        }
    }
    let text = if arguments.quiet && arguments.format.is_none() {
        rows.iter().filter_map(|row| Some(format!("{}\n", row["Name"].as_str()?))).collect()
    } else {
        template::list(arguments.format.as_deref(), STANDARD, COLUMNS, &rows).map_err(Findings::from)?
    };
    context.terminal.print(&text)?;
    Ok(Status::Done)
}

/// Compares names as people count: `data9` comes before `data10`.
fn by_numbers(one: &str, other: &str) -> Ordering {
    let parts = |text: &'_ str| -> Vec<String> {
        let mut parts: Vec<String> = Vec::new();
        for letter in text.chars() {
            match parts.last_mut() {
                Some(part)
                    if part.ends_with(|last: char| last.is_ascii_digit() == letter.is_ascii_digit()) =>
                {
                    part.push(letter);
                }
                _ => parts.push(letter.to_string()),
            }
        }
        parts
    };
    let is_number = |part: &str| part.starts_with(|first: char| first.is_ascii_digit());
    for (a, b) in parts(one).iter().zip(&parts(other)) {
        let order = if is_number(a) && is_number(b) {
            let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
            a.len().cmp(&b.len()).then_with(|| a.cmp(b))
        } else {
            a.cmp(b)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

/// Returns a volume as lists show it.
pub(in crate::commands) fn row(definition: &VolumeDefinition, volumes: &Volumes) -> anyhow::Result<Value> {
    Ok(json!({
        "Availability": "N/A",
        "Driver": definition.driver,
        "Group": "N/A",
        "Label": definition.labels,
        "Labels": labels::line(&definition.labels),
        "Links": "N/A",
        "Mountpoint": volumes.mountpoint(definition)?,
        "Name": definition.name,
        "Scope": volumes.scope(definition)?.word(),
        "Size": "N/A",
        "Status": "N/A",
    }))
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Filter {
    Dangling(bool),
    Driver(String),
    Label(LabelFilter),
    Name(String),
}

fn read(key: &str, value: &str) -> Result<Filter, Mistake> {
    if let Some(label) = LabelFilter::read(key, value) {
        return Ok(Filter::Label(label));
    }
    Ok(match key {
        "dangling" => Filter::Dangling(truth(key, value)?),
        "driver" => Filter::Driver(value.to_owned()),
        "name" => Filter::Name(value.to_owned()),
        other => return Err(unknown(other, KEYS)),
    })
}

impl Filter {
    /// Tells whether a volume fits: labels must all fit, of several names or drivers one is enough.
    fn all_fit(filters: &[Self], definition: &VolumeDefinition, engine: &Engine) -> anyhow::Result<bool> {
        for filter in filters {
            let mut fits = false;
            for one in filters.iter().filter(|other| match filter {
                Self::Label(_) => *other == filter,
                _ => std::mem::discriminant(*other) == std::mem::discriminant(filter),
            }) {
                fits |= one.fits(definition, engine)?;
            }
            if !fits {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn fits(&self, definition: &VolumeDefinition, engine: &Engine) -> anyhow::Result<bool> {
        Ok(match self {
            Self::Dangling(wanted) => engine.users(&definition.name)?.is_empty() == *wanted,
            Self::Driver(driver) => definition.driver == *driver,
            Self::Label(label) => label.fits(&definition.labels),
            Self::Name(pattern) => fits_name(definition.name.as_str(), pattern),
        })
    }
}

pub(super) fn prune(arguments: &Prune, context: &Context) -> Outcome {
    let mut labels = Vec::new();
    let mut all = arguments.all;
    for (key, value) in &arguments.filter {
        match (LabelFilter::read(key, value), key.as_str()) {
            (Some(label), _) => labels.push(label),
            (None, "all") => all = truth(key, value)?,
            (None, other) => return Err(unknown(other, PRUNE_KEYS).into()),
        }
    }
    let question = if all {
        "WARNING! This will remove all local volumes not used by at least one container."
    } else {
        "WARNING! This will remove anonymous local volumes not used by at least one container."
    };
    if !arguments.force && !agreed(question, context)? {
        return Ok(Status::Done);
    }
    let (_home, engine) = crate::wiring::engine(context, "rbuild volume prune")?;
    let pruned = engine.volumes().prune(&engine, |definition| {
        (all || definition.is_anonymous()) && labels.iter().all(|label| label.fits(&definition.labels))
    })?;
    let mut text = section("Deleted Volumes:", pruned.volumes);
    text.push_str(&format!("Total reclaimed space: {}\n", human::precise_size(pruned.bytes)));
    context.terminal.print(&text)?;
    Ok(report::tell_all(pruned.failures, context.terminal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_numbers_are_in_the_order_of_the_numbers() {
        let sorted = ["a", "a1", "a2", "a02b", "a9", "a10", "a10b1", "a10b02", "ab", "b"];
        for (at, one) in sorted.iter().enumerate() {
            for (beside, other) in sorted.iter().enumerate() {
                assert_eq!(by_numbers(one, other), at.cmp(&beside), "{one} {other}");
            }
        }
    }
}
