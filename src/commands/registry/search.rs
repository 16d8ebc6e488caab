//! `rbuild search`.

use rbuild_images::Found;
use serde_json::{Value, json};

use crate::cli::registry::Search;
use crate::commands::{Context, Outcome};
use crate::report::{Findings, Mistake, Status};
use crate::template::{self, Column};
use crate::wiring::logins::remote;

const COLUMNS: &[Column] = &[
    Column { field: "Name", title: "NAME" },
    Column { field: "Description", title: "DESCRIPTION" },
    Column { field: "StarCount", title: "STARS" },
    Column { field: "IsOfficial", title: "OFFICIAL" },
];
const STANDARD: &str = "{{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}";
/// How much of a description is shown.
const SHOWN: usize = 45;

/// What a repository has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Filter {
    Official(bool),
    Stars(u64),
}

impl Filter {
    fn parse(text: &str) -> Result<Self, Mistake> {
        let wrong = |why: String| Mistake::usage(format!("`--filter {text}`: {why}"));
        let (key, value) = text.split_once('=').ok_or_else(|| wrong("write KEY=VALUE".to_owned()))?;
        match key {
            "is-official" => {
                crate::flags::boolean(value).map(Self::Official).map_err(|error| wrong(error.to_string()))
            }
            "stars" => value.parse().map(Self::Stars).map_err(|_| wrong("that is no number".to_owned())),
            "is-automated" => Err(wrong("nothing is automated any more".to_owned())),
            _ => Err(wrong("use `is-official=` or `stars=`".to_owned())),
        }
    }

    fn fits(self, found: &Found) -> bool {
        match self {
            Self::Official(wanted) => found.is_official == wanted,
            Self::Stars(least) => found.stars >= least,
        }
    }
}

pub(in crate::commands) fn run(arguments: &Search, context: &Context) -> Outcome {
    let filters = arguments.filter.iter().map(|text| Filter::parse(text)).collect::<Result<Vec<_>, _>>()?;
    let found = remote(&context.settings)?.search(&arguments.term, arguments.limit)?;
    let rows: Vec<Value> = found
        .iter()
        .filter(|found| filters.iter().all(|filter| filter.fits(found)))
        .map(|found| row(found, arguments.no_trunc))
        .collect();
    let text =
        template::list(arguments.format.as_deref(), STANDARD, COLUMNS, &rows).map_err(Findings::from)?;
    context.terminal.print(&text)?;
    Ok(Status::Done)
}

fn row(found: &Found, in_full: bool) -> Value {
    let description = crate::text::one_line(&found.description);
    let short: String = if in_full || description.chars().count() <= SHOWN {
        description.to_string()
    } else {
        description.chars().take(SHOWN - 1).chain(['…']).collect()
    };
    json!({
        "Name": crate::text::one_line(&found.name),
        "Description": short,
        "StarCount": found.stars.to_string(),
        "IsOfficial": if found.is_official { "[OK]" } else { "" },
        "IsAutomated": "",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_narrowed_and_shortened() {
        let found = |stars, is_official| Found {
            name: "a".into(),
            description: "long ".repeat(20),
            stars,
            is_official,
        };
        let fits = |text: &str, found: &Found| Filter::parse(text).unwrap().fits(found);
        assert!(fits("stars=3", &found(3, false)) && !fits("stars=4", &found(3, false)));
        assert!(fits("is-official=true", &found(0, true)) && !fits("is-official=true", &found(9, false)));
        for wrong in ["stars", "stars=x", "x=1", "is-automated=true"] {
            assert!(Filter::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(row(&found(1, false), false)["Description"].as_str().unwrap().chars().count(), SHOWN);
        assert_eq!(row(&found(1, false), true)["Description"].as_str().unwrap().chars().count(), 100);
    }
}
