//! Models that services use: Docker's runner of models is asked for them, a program of the host.
//!
//! ```text
//! docker-model ls --json                                        which ones it has
//! docker-model pull MODEL                                       one that it has not
//! docker-model configure [--context-size=N] MODEL [-- FLAG...]
//! docker-model status --json                                    where it answers
//! ```
//!
//! A service is told the address and the name: in `KEY_URL` and `KEY_MODEL`, or in the variables that it chose.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use rbuild_model::project::{Model, ModelKey, ModelUse, ServiceName};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::board::{Board, Stage};
use super::places::placed;
use super::project::Meant;
use super::providers::{give, plugin};
use crate::cli::compose::Project;
use crate::commands::Context;
use crate::report::Mistake;
use crate::text;

/// Has the models brought that services use, and tells the services where they are.
pub(super) fn provide(
    meant: &mut Meant,
    services: &BTreeSet<ServiceName>,
    project: &Project,
    board: &Board,
    context: &Context,
) -> anyhow::Result<()> {
    let services = services.iter().filter_map(|name| meant.model.services.get(name));
    let users: Vec<ServiceName> =
        services.filter(|service| !service.models.is_empty()).map(|service| service.name.clone()).collect();
    let Some(first) = users.first() else { return Ok(()) };
    let program = plugin("model", context).ok_or_else(|| {
        let missing = Mistake::new("'models' support requires Docker Model plugin")
            .hint("install `docker-model` where Docker's plugins are");
        placed(meant, &["services", first.as_str(), "models"], missing)
    })?;
    let used = users.iter().flat_map(|name| meant.model.services[name].models.keys());
    let used: BTreeMap<&ModelKey, &Model> =
        used.filter_map(|key| Some((key, meant.model.models.get(key)?))).collect();
    if project.dry_run {
        for (key, model) in used {
            context.terminal.print(&format!("provide model {key}: {}\n", text::one_line(&model.model)))?;
        }
        return Ok(());
    }
    let there: Vec<There> = answered(&program, &["ls", "--json"])?;
    for (key, model) in used {
        let is_there = there.iter().any(|one| one.tags.contains(&model.model));
        let made = bring(&program, key, model, is_there, board);
        made.inspect_err(|_| board.tell(key.as_str(), "Error", Stage::Failed))?;
    }
    let status: Status = answered(&program, &["status", "--json"])?;
    for name in users {
        let Some(service) = meant.model.services.get_mut(&name) else { continue };
        let mut set = BTreeMap::new();
        for (key, how) in &service.models {
            let Some(model) = meant.model.models.get(key) else { continue };
            let [address, named] = variables(key, how);
            set.extend([(address, status.endpoint.clone()), (named, model.model.clone())]);
        }
        give(service, &set);
        meant.provided.entry(name).or_default().extend(set);
    }
    Ok(())
}

/// The variables that a service is told of a model in: its address, and its name.
pub(super) fn variables(key: &ModelKey, how: &ModelUse) -> [String; 2] {
    let own = key.as_str().to_uppercase().replace('-', "_");
    let chosen = |name: &Option<String>, end| name.clone().unwrap_or_else(|| format!("{own}_{end}"));
    [chosen(&how.endpoint_var, "URL"), chosen(&how.model_var, "MODEL")]
}

/// Brings a model that is not there, and sets it up.
fn bring(program: &Path, key: &ModelKey, model: &Model, is_there: bool, board: &Board) -> anyhow::Result<()> {
    if !is_there {
        board.tell(key.as_str(), "Pulling", Stage::Working);
        run(program, &["pull", &model.model])?;
        board.tell(key.as_str(), "Pulled", Stage::Working);
    }
    board.tell(key.as_str(), "Configuring", Stage::Working);
    let size = model.context_size.filter(|size| *size > 0).map(|size| format!("--context-size={size}"));
    let mut arguments = vec!["configure"];
    arguments.extend(size.as_deref());
    arguments.push(&model.model);
    if !model.runtime_flags.is_empty() {
        arguments.push("--");
        arguments.extend(model.runtime_flags.iter().map(String::as_str));
    }
    run(program, &arguments)?;
    board.tell(key.as_str(), "Configured", Stage::Done);
    Ok(())
}

/// A model that the runner has.
#[derive(Debug, Deserialize)]
struct There {
    #[serde(default)]
    tags: Vec<String>,
}

/// How the runner is.
#[derive(Debug, Deserialize)]
struct Status {
    endpoint: String,
}

/// Runs the program, and reads what it says.
fn answered<T: DeserializeOwned>(program: &Path, arguments: &[&str]) -> anyhow::Result<T> {
    let output = run(program, arguments)?;
    let told = || {
        format!("`{} {}` answers with something else than expected", program.display(), arguments.join(" "))
    };
    serde_json::from_slice(&output).with_context(told)
}

/// Runs the program, and returns what it writes.
fn run(program: &Path, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
    let shown = format!("{} {}", program.display(), arguments.join(" "));
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("failed to run `{shown}`"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim().lines().last().map(text::one_line).unwrap_or_default();
    Err(Mistake::new(format!("`{shown}` ended with {}: {said}", output.status)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_have_the_name_of_the_model_unless_they_were_chosen() {
        let key = ModelKey::new("my-llm").expect("a key");
        assert_eq!(variables(&key, &ModelUse::default()), ["MY_LLM_URL", "MY_LLM_MODEL"]);
        let how = ModelUse { endpoint_var: Some("AT".to_owned()), model_var: None };
        assert_eq!(variables(&key, &how), ["AT", "MY_LLM_MODEL"]);
    }
}
