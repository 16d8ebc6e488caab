//! `rbuild compose config`: what a project means.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use rbuild_frontend::compose::{Loaded, Mention, Section, Skip, yaml_text};
use serde::Serialize as _;
use serde_json::json;

use super::super::Outcome;
use super::loading::Lazily;
use super::{loading, pins};
use crate::cli::compose::{Config, Format, Project};
use crate::report::{Findings, Mistake, Status};
use crate::settings::Environment;
use crate::table::Table;
use crate::terminal::Terminal;

/// What is shown.
enum View<'a> {
    /// The names of a section.
    Names(Section),
    Hashes(&'a str),
    Profiles,
    Images,
    Variables,
    Environment,
    Explained(&'a str),
    Document(Format),
}

/// Checks a project and shows what was asked for.
pub(super) fn run(
    project: &Project,
    config: &Config,
    environment: &Environment,
    settings: Lazily<'_>,
    terminal: Terminal,
) -> Outcome {
    let view = view(config)?;
    let skip = Skip {
        interpolation: config.no_interpolate || matches!(view, View::Variables),
        // The reference spells nothing out where the flag is given.
        normalisation: config.no_normalize || (project.compatibility && matches!(view, View::Document(_))),
        path_resolution: config.no_path_resolution,
        consistency: config.no_consistency,
        env_resolution: config.no_env_resolution || !matches!(view, View::Document(_) | View::Hashes(_)),
        pruning: project.all_resources,
    };
    let whole = matches!(view, View::Names(_) | View::Hashes(_));
    if skip.interpolation && !config.services.is_empty() && !whole {
        terminal.tell("warning: services are not selected where variables are left as they are\n");
    }
    let services = if whole { &[][..] } else { &config.services };
    let request = loading::request(project, services, skip, environment)?;
    let mut loaded = loading::loaded(&request, settings, terminal)?;
    let separator = if loading::is_compatible(project, &loaded) { '_' } else { '-' };
    if config.pins() && matches!(view, View::Document(_)) {
        pins::pin(&mut loaded, separator, &settings()?)?;
        if config.lock_image_digests {
            pins::lock(&mut loaded, terminal);
        }
    }
    let text = match view {
        View::Names(section) => lines(loaded.names(section)),
        View::Hashes(asked) => hashes(&loaded, asked)?,
        View::Profiles => lines(loaded.profiles()),
        View::Images => lines(loaded.images(separator)),
        View::Variables => variables(&loaded.variables(), config.format.as_deref())?,
        View::Environment => {
            lines(loaded.environment.iter().map(|(name, variable)| format!("{name}={}", variable.value)))
        }
        View::Explained(name) => loaded.explain(name),
        View::Document(format) => document(&loaded, format, skip)?,
    };
    if config.quiet {
        return Ok(Status::Done);
    }
    match &config.output {
        Some(path) => std::fs::write(path, text).map_err(|error| {
            anyhow::Error::from(error).context(format!("cannot write {}", path.display()))
        })?,
        None => terminal.print(&text)?,
    }
    Ok(Status::Done)
}

fn view(config: &Config) -> anyhow::Result<View<'_>> {
    let format = match config.format.as_deref() {
        None | Some("" | "yaml") => Format::Yaml,
        Some("json") => Format::Json,
        Some(_) if config.variables => Format::Yaml,
        Some(other) => {
            return Err(Mistake::new(format!("unsupported format {other:?}"))
                .hint("there are yaml and json")
                .into());
        }
    };
    let hashed = config.hash.as_deref().filter(|services| !services.is_empty());
    let views = [
        (config.list_services, View::Names(Section::Services)),
        (config.volumes, View::Names(Section::Volumes)),
        (config.networks, View::Names(Section::Networks)),
        (config.models, View::Names(Section::Models)),
        (hashed.is_some(), View::Hashes(hashed.unwrap_or_default())),
        (config.profiles, View::Profiles),
        (config.images, View::Images),
        (config.variables, View::Variables),
        (config.environment, View::Environment),
        (config.explain.is_some(), View::Explained(config.explain.as_deref().unwrap_or_default())),
    ];
    let asked = views.into_iter().find(|(asked, _)| *asked);
    Ok(asked.map_or(View::Document(format), |(_, view)| view))
}

fn lines(names: impl IntoIterator<Item = String>) -> String {
    names.into_iter().map(|name| name + "\n").collect()
}

fn document(loaded: &Loaded, format: Format, skip: Skip) -> anyhow::Result<String> {
    if skip.interpolation {
        return Ok(match format {
            Format::Yaml => loaded.raw_yaml(),
            Format::Json => loaded.raw_json(),
        });
    }
    let text = match format {
        Format::Yaml => loaded.yaml(),
        Format::Json => loaded.json(),
    };
    // What is shown can be read again: a dollar is doubled.
    Ok(text.map_err(Findings::from)?.replace('$', "$$"))
}

fn hashes(loaded: &Loaded, asked: &str) -> anyhow::Result<String> {
    let hashes = loaded.hashes().map_err(Findings::from)?;
    let names: Vec<&str> = match asked {
        "*" => hashes.keys().map(String::as_str).collect(),
        list => {
            let mut names: Vec<&str> = list.split(',').collect();
            names.sort_unstable();
            names
        }
    };
    let mut text = String::new();
    for name in names {
        let hash = hashes.get(name).ok_or_else(|| Mistake::new(format!("no such service: {name}")))?;
        writeln!(text, "{name} {hash}")?;
    }
    Ok(text)
}

fn variables(mentions: &BTreeMap<String, Mention>, format: Option<&str>) -> anyhow::Result<String> {
    let mut text = String::new();
    match format {
        None | Some("" | "table" | "pretty") => {
            let mut table = Table::spaced(20, 3);
            table.row(["NAME", "REQUIRED", "DEFAULT VALUE", "ALTERNATE VALUE"]);
            for (name, mention) in mentions {
                let required = mention.required.to_string();
                table.row([name, &required, &mention.default, &mention.alternate]);
            }
            text = table.render();
        }
        Some("json") => {
            let all: serde_json::Map<String, serde_json::Value> = mentions
                .iter()
                .map(|(name, mention)| {
                    let document = json!({
                        "Name": name,
                        "DefaultValue": mention.default,
                        "PresenceValue": mention.alternate,
                        "Required": mention.required,
                    });
                    (name.clone(), document)
                })
                .collect();
            let mut bytes = Vec::new();
            let layout = serde_json::ser::PrettyFormatter::with_indent(b"    ");
            all.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, layout))?;
            text = String::from_utf8(bytes)?;
            text.push_str("\n\n");
        }
        Some("yaml") => {
            for (name, mention) in mentions {
                let name = yaml_text(name);
                writeln!(text, "{name}:\n    name: {name}")?;
                writeln!(text, "    defaultvalue: {}", yaml_text(&mention.default))?;
                writeln!(text, "    presencevalue: {}", yaml_text(&mention.alternate))?;
                writeln!(text, "    required: {}", mention.required)?;
            }
        }
        Some(other) => {
            let mistake = Mistake::new(format!("format value {other:?} could not be parsed"));
            return Err(mistake.hint("there are table, json and yaml").into());
        }
    }
    Ok(text)
}
