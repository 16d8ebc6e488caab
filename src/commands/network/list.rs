//! `rbuild network ls` and `rbuild network prune`.

use jiff::Timestamp;
use rbuild_engine::containers::fits_name;
use rbuild_engine::networks::Networks;
use rbuild_model::network::NetworkDefinition;
use serde_json::{Value, json};

use crate::cli::network::{List, Prune};
use crate::commands::filter::moment;
use crate::commands::labels::{self, LabelFilter, truth, unknown};
use crate::commands::prune::{agreed, section};
use crate::commands::{Context, Outcome};
use crate::human;
use crate::report::{self, Findings, Mistake, Status};
use crate::template::{self, Column};

const COLUMNS: &[Column] = &[
    Column { field: "ID", title: "NETWORK ID" },
    Column { field: "Name", title: "NAME" },
    Column { field: "Driver", title: "DRIVER" },
    Column { field: "Scope", title: "SCOPE" },
    Column { field: "IPv4", title: "IPV4" },
    Column { field: "IPv6", title: "IPV6" },
    Column { field: "Internal", title: "INTERNAL" },
    Column { field: "Labels", title: "LABELS" },
    Column { field: "CreatedAt", title: "CREATED AT" },
];
const STANDARD: &str = "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}";
const KEYS: &[&str] = &["dangling", "driver", "id", "label", "name", "scope", "type"];
const PRUNE_KEYS: &[&str] = &["until", "label"];

pub(super) fn run(arguments: &List, context: &Context) -> Outcome {
    let filters = arguments.filter.iter().map(|(key, value)| read(key, value));
    let filters = filters.collect::<Result<Vec<_>, _>>()?;
    let (_home, engine) = crate::wiring::engine(context, "rbuild network ls")?;
    let networks = engine.networks();
    let mut chosen = Vec::new();
    for definition in networks.list()? {
        if Filter::all_fit(&filters, &definition, &networks)? {
            chosen.push(definition);
        }
    }
    chosen.sort_by(|one, other| one.name.cmp(&other.name));
    let rows: Vec<Value> = chosen.iter().map(|definition| row(definition, arguments)).collect();
    let text = if arguments.quiet && arguments.format.is_none() {
        rows.iter().filter_map(|row| Some(format!("{}\n", row["ID"].as_str()?))).collect()
    } else {
        template::list(arguments.format.as_deref(), STANDARD, COLUMNS, &rows).map_err(Findings::from)?
    };
    context.terminal.print(&text)?;
    Ok(Status::Done)
}

fn row(definition: &NetworkDefinition, arguments: &List) -> Value {
    let id = if arguments.no_trunc { definition.id.as_str() } else { &definition.id[..12] };
    let created = definition.created.parse().unwrap_or(Timestamp::UNIX_EPOCH);
    json!({
        "CreatedAt": human::moment(created),
        "Driver": definition.driver.word(),
        "ID": id,
        "IPv4": definition.ipv4.is_on().to_string(),
        "IPv6": definition.ipv6.is_on().to_string(),
        "Internal": definition.internal.is_on().to_string(),
        "Label": definition.labels,
        "Labels": labels::line(&definition.labels),
        "Name": definition.name,
        "Scope": "local",
    })
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Filter {
    Dangling(bool),
    Driver(String),
    Id(String),
    Label(LabelFilter),
    Name(String),
    Scope(String),
    Custom(bool),
}

fn read(key: &str, value: &str) -> Result<Filter, Mistake> {
    if let Some(label) = LabelFilter::read(key, value) {
        return Ok(Filter::Label(label));
    }
    let value = value.to_owned();
    Ok(match key {
        "dangling" => Filter::Dangling(truth(key, &value)?),
        "driver" => Filter::Driver(value),
        "id" => Filter::Id(value),
        "name" => Filter::Name(value),
        "scope" => Filter::Scope(value),
        "type" if value == "custom" => Filter::Custom(true),
        "type" if value == "builtin" => Filter::Custom(false),
        "type" => return Err(Mistake::new(format!("invalid filter: 'type'='{value}'"))),
        other => return Err(unknown(other, KEYS)),
    })
}

impl Filter {
    /// Tells whether a network fits: each kind of condition in one of its values.
    fn all_fit(
        filters: &[Self],
        definition: &NetworkDefinition,
        networks: &Networks,
    ) -> anyhow::Result<bool> {
        for filter in filters {
            let alternatives = filters.iter().filter(|other| other.is_alternative_to(filter));
            let mut fits = false;
            for one in alternatives {
                fits |= one.fits(definition, networks)?;
            }
            if !fits {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Labels must all fit; of several names, drivers, … one is enough.
    fn is_alternative_to(&self, other: &Self) -> bool {
        match self {
            Self::Label(_) => self == other,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }

    fn fits(&self, definition: &NetworkDefinition, networks: &Networks) -> anyhow::Result<bool> {
        Ok(match self {
            Self::Dangling(wanted) => {
                let is_used = || -> anyhow::Result<bool> {
                    Ok(networks.state(definition)?.is_some_and(|state| !state.endpoints.is_empty()))
                };
                // The networks that are there by themselves are never left over.
                (!definition.is_predefined() && !is_used()?) == *wanted
            }
            Self::Driver(driver) => definition.driver.word() == driver,
            Self::Id(part) => definition.id.contains(part.as_str()),
            Self::Label(label) => label.fits(&definition.labels),
            Self::Name(pattern) => fits_name(&definition.name, pattern),
            Self::Scope(scope) => scope == "local",
            Self::Custom(wanted) => definition.is_predefined() != *wanted,
        })
    }
}

pub(super) fn prune(arguments: &Prune, context: &Context) -> Outcome {
    let now = Timestamp::now();
    let mut labels = Vec::new();
    let mut until = None;
    for (key, value) in &arguments.filter {
        match (LabelFilter::read(key, value), key.as_str()) {
            (Some(label), _) => labels.push(label),
            (None, "until") => {
                let mistake = || Mistake::new(format!("invalid filter 'until={value}': not a time"));
                until = Some(moment(value, now).ok_or_else(mistake)?);
            }
            (None, other) => return Err(unknown(other, PRUNE_KEYS).into()),
        }
    }
    let question = "WARNING! This will remove all custom networks not used by at least one container.";
    if !arguments.force && !agreed(question, context)? {
        return Ok(Status::Done);
    }
    let (_home, engine) = crate::wiring::engine(context, "rbuild network prune")?;
    let (removed, failures) = engine.networks().prune(|definition| {
        let is_old = || {
            let created: Result<Timestamp, _> = definition.created.parse();
            until.is_none_or(|until| created.is_ok_and(|created| created < until))
        };
        labels.iter().all(|label| label.fits(&definition.labels)) && is_old()
    })?;
    context.terminal.print(&section("Deleted Networks:", removed))?;
    Ok(report::tell_all(failures, context.terminal))
}
