//! `rbuild bake`: many targets from one file, as one build.
//!
//! `remote` brings a definition that is elsewhere, `files` finds and reads what defines targets, `frontend::bake` makes a plan of it, `rights` says whether the plan may be
//! carried out, and `plan` makes of each target what a build goes by.

mod files;
mod plan;
mod remote;
mod rights;
#[cfg(test)]
mod tests;

use anyhow::Context as _;
use rbuild_frontend::bake::{self, Override, Plan, Request};
use rbuild_frontend::hcl::functions::World;
use rbuild_model::platform::Platform;
use rbuild_model::span::Diagnostic;
use rbuild_store::UniqueId;
use serde_json::{Map, Value, json};

use self::remote::Remote;
use super::build::BuildPlan;
use super::check::{self, Said};
use super::{Context, Outcome};
use crate::cli::bake::Bake;
use crate::cli::build::{CallForm, Method};
use crate::report::{self, Findings, Mistake, Status};
use crate::settings::Settings;
use crate::terminal::{Paint, Terminal};
use crate::wiring::{self, PlannedTarget};

/// Runs the verb.
pub(super) fn run(arguments: &Bake, context: &Context) -> Outcome {
    let settings = &context.settings;
    let (definition, command_context, names) = remote::words(&arguments.targets);
    let remote = match definition {
        None => None,
        Some(address) => match Remote::bring(address, context)? {
            None => return Ok(Status::Interrupted),
            brought => brought,
        },
    };
    let located = |place: &str| match &remote {
        Some(remote) => remote.located(place),
        None => place.to_owned(),
    };
    let request = Request {
        files: files::read(&arguments.file, remote.as_ref(), context)?,
        names: names.to_vec(),
        overrides: overrides(arguments)?,
        environment: &|name| settings.environment.text(name),
        world: world(settings)?,
        platform: Platform::host().to_string(),
        command_context: command_context.to_owned(),
        located: &located,
    };
    let bake = bake::read(&request).map_err(Findings)?;
    tell(&bake.warnings, context.terminal);
    if let Some(what) = &arguments.list {
        let list =
            bake::list(&bake, what).map_err(|error| Mistake::usage(format!("`--list {what}`: {error}")))?;
        context.terminal.print(&list)?;
        return Ok(Status::Done);
    }
    let mut plan = bake::plan(&bake, &request).map_err(|error| Findings(vec![error]))?;
    plan.targets.values().try_for_each(plan::check)?;
    if arguments.print {
        context.terminal.print(&format!("{}\n", bake::json(&plan)))?;
        return Ok(Status::Done);
    }
    let mut allowed = arguments.allow.clone();
    if let Some(remote) = &remote {
        remote.locate_named(&mut plan);
        // What came with the definition is its own.
        allowed.extend(remote.files().ok().map(|folder| format!("fs.read={}", folder.display())));
    }
    rights::check(&plan, &allowed, &settings.environment)?;
    carry_out(&plan, arguments, context)
}

/// The overrides of `--set`, and those that other flags are short for.
fn overrides(arguments: &Bake) -> anyhow::Result<Vec<Override>> {
    let mut texts = arguments.set.clone();
    let mut also = |asked: bool, text: &str| {
        if asked {
            texts.push(text.to_owned());
        }
    };
    also(arguments.push, "*.push=true");
    also(arguments.load, "*.load=true");
    if let Some(call) = method(arguments) {
        // Plans call a check by its former name.
        let name = call.split(',').next().unwrap_or_default();
        also(name != "build", &format!("*.call={}", if name == "check" { "lint" } else { name }));
    }
    for (key, value) in [("no-cache", arguments.no_cache), ("pull", arguments.pull)] {
        texts.extend(value.map(|value| format!("*.{key}={value}")));
    }
    for (kind, value) in [("sbom", &arguments.sbom), ("provenance", &arguments.provenance)] {
        texts.extend(value.as_ref().map(|value| format!("*.attest={}", bake::options::attest(kind, value))));
    }
    let read = |text: &String| {
        Override::read(text).map_err(|error| Mistake::new(format!("`--set {text}`: {error}")).into())
    };
    texts.iter().map(read).collect()
}

/// What is to be done with the Dockerfiles, if a flag says so.
fn method(arguments: &Bake) -> Option<&str> {
    arguments.call.as_deref().or_else(|| arguments.check.then_some("check"))
}

fn world(settings: &Settings) -> anyhow::Result<World> {
    let mut seed = [0; 32];
    for half in seed.chunks_exact_mut(16) {
        half.copy_from_slice(UniqueId::random().context("failed to make an identifier")?.as_bytes());
    }
    Ok(World { now: jiff::Timestamp::now().as_second(), home: settings.environment.text("HOME"), seed })
}

fn tell(warnings: &[Diagnostic], terminal: Terminal) {
    for warning in warnings {
        let title = terminal.err().colour.paint(Paint::Yellow, "warning:");
        let place = warning.location().map(|at| {
            let position = at.source.position(at.span.start);
            format!("{}:{}:{}: ", at.source.name(), position.line, position.column)
        });
        let text = format!("{}{}", place.unwrap_or_default(), report::sentence(warning));
        terminal.tell(&format!("{title} {}\n", crate::text::one_line(&text)));
    }
}

fn carry_out(plan: &Plan, arguments: &Bake, context: &Context) -> Outcome {
    let progress = arguments.progress.unwrap_or(context.settings.progress);
    let scratch = plan::Scratch::default();
    let planned = |name: &String| -> anyhow::Result<PlannedTarget> {
        let mut target = plan.targets[name].clone();
        if let Some(call) = method(arguments) {
            target.call = Some(call.to_owned());
        }
        let plan = plan::of(&target, &scratch, &context.settings)
            .with_context(|| report::Target(Some(name.clone())))?;
        Ok(PlannedTarget { name: name.clone(), plan: BuildPlan { progress, ..plan } })
    };
    let targets = plan.order.iter().map(planned).collect::<anyhow::Result<Vec<_>>>()?;
    let asked = |target: &&PlannedTarget| target.plan.call.method != Method::Build;
    if targets.iter().any(|target| asked(&target)) {
        return call(&targets, plan, context);
    }
    let (home, cancel) = wiring::open_to_build(&context.settings, "rbuild bake")?;
    let built = wiring::build_all(&home, &targets, progress, &cancel, context)?;
    let Some(built) = built else { return Ok(Status::Interrupted) };
    if let Some(path) = &arguments.metadata_file {
        let of = |(target, built): (&PlannedTarget, _)| {
            (target.name.clone(), Value::Object(wiring::metadata(&target.plan, built)))
        };
        let all: Map<String, Value> = targets.iter().zip(&built).map(of).collect();
        wiring::replace(path, &serde_json::to_vec_pretty(&all)?)?;
    }
    Ok(Status::Done)
}

/// Answers what is asked of the Dockerfiles: target by target, or for programs with the plan in one document.
fn call(targets: &[PlannedTarget], plan: &Plan, context: &Context) -> Outcome {
    let mut document = bake::document(plan);
    let mut form = CallForm::Text;
    let mut status = Status::Done;
    let mut failure = None;
    let mut between = "";
    for PlannedTarget { name, plan: build } in targets.iter().filter(|it| !plan.targets[&it.name].is_linked) {
        let answer = check::answer(build, context)?;
        match answer.said {
            Said::Text(text) => context.terminal.print(&format!("{between}{name}\n\n{text}"))?,
            Said::Document(value) => {
                form = CallForm::Json;
                let target = &mut document["target"][name];
                *target = json!({ "build": target.take(), build.call.method.name(): value });
            }
        }
        if answer.failure.is_some() {
            failure = answer.failure;
            break;
        }
        if answer.status != Status::Done {
            status = answer.status;
        }
        between = "\n";
    }
    if form == CallForm::Json {
        context.terminal.print(&check::document(&document))?;
    }
    failure.map_or(Ok(status), Err)
}
