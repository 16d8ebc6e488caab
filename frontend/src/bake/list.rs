//! Lists of targets and variables.

use serde_json::{Map, Value, json};

use super::Bake;

/// What is listed (`--list WHAT[,format=json]`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Targets,
    Variables,
}

/// Writes a list: `targets`, `variables`, or `type=targets,format=json`.
pub fn list(bake: &Bake, wanted: &str) -> Result<String, String> {
    let mut what = None;
    let mut as_json = false;
    for field in wanted.split(',') {
        match field.split_once('=').unwrap_or(("type", field)) {
            ("type", "targets") => what = Some(What::Targets),
            ("type", "variables") => what = Some(What::Variables),
            ("format", "json") => as_json = true,
            ("format", "table") => as_json = false,
            (key, value) => {
                return Err(format!(
                    "there is no list with {key}={value}: write targets or variables, and format=json for programs"
                ));
            }
        }
    }
    match what.ok_or_else(|| "write targets or variables".to_owned())? {
        What::Targets => Ok(if as_json { targets_json(bake) } else { targets(bake) }),
        What::Variables => Ok(if as_json { variables_json(bake) } else { variables(bake) }),
    }
}

/// Name, description, whether it is a group. What begins with `_` is there for others to inherit, and not listed.
fn lines(bake: &Bake) -> Vec<(String, String, bool)> {
    let groups = bake.config.groups.iter().map(|(name, group)| {
        let about = group.description.clone().unwrap_or_else(|| {
            let mut targets = group.targets.clone();
            targets.sort();
            targets.join(", ")
        });
        (name.clone(), about, true)
    });
    let targets = bake
        .config
        .targets
        .iter()
        .map(|target| (target.name.clone(), target.description.clone().unwrap_or_default(), false));
    let mut lines: Vec<_> = targets.chain(groups).filter(|(name, ..)| !name.starts_with('_')).collect();
    lines.sort();
    lines
}

fn targets(bake: &Bake) -> String {
    let mut rows = vec![vec!["TARGET".to_owned(), "DESCRIPTION".to_owned()]];
    rows.extend(lines(bake).into_iter().map(|(name, about, _)| vec![name, about]));
    columns(&rows)
}

/// Writes columns that tab stops bring under each other.
fn columns(rows: &[Vec<String>]) -> String {
    let stops = |text: &str| text.chars().count() / 8 + 1;
    let mut out = String::new();
    for row in rows {
        for (at, cell) in row.iter().enumerate() {
            out.push_str(cell);
            if at + 1 == row.len() {
                out.push('\n');
            } else {
                // A column in which nothing stands is one stop wide too.
                let widest = rows.iter().map(|row| stops(&row[at])).max().unwrap_or(1);
                let own = cell.chars().count() / 8;
                out.push_str(&"\t".repeat(widest - own));
            }
        }
    }
    out
}

fn pretty(values: Vec<Value>) -> String {
    serde_json::to_string_pretty(&values).unwrap_or_default() + "\n"
}

fn filled(pairs: &[(&str, Option<Value>)]) -> Value {
    let map: Map<String, Value> =
        pairs.iter().filter_map(|(name, value)| Some(((*name).to_owned(), value.clone()?))).collect();
    Value::Object(map)
}

fn targets_json(bake: &Bake) -> String {
    let one = |(name, about, is_group): (String, String, bool)| {
        filled(&[
            ("name", Some(json!(name))),
            ("description", Some(about).filter(|about| !about.is_empty()).map(Value::from)),
            ("group", is_group.then_some(json!(true))),
        ])
    };
    pretty(lines(bake).into_iter().map(one).collect())
}

fn variables(bake: &Bake) -> String {
    let mut rows = vec![["VARIABLE", "TYPE", "VALUE", "DESCRIPTION"].map(str::to_owned).to_vec()];
    for super::Variable { name, kind, value, description } in &bake.variables {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let value = value.clone().unwrap_or_else(|| "<null>".to_owned());
        rows.push(vec![name.clone(), text(kind), value, text(description)]);
    }
    columns(&rows)
}

fn variables_json(bake: &Bake) -> String {
    let one = |variable: &super::Variable| {
        filled(&[
            ("name", Some(json!(variable.name))),
            ("description", variable.description.clone().map(Value::from)),
            ("type", variable.kind.clone().map(Value::from)),
            ("value", variable.value.clone().map(Value::from)),
        ])
    };
    pretty(bake.variables.iter().map(one).collect())
}
