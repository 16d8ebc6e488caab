//! `rbuild bake`: many targets from one file, as one build.
//!
//! `files` finds and reads what defines targets, `frontend::bake` makes a plan of it, `rights` says whether the plan may be
//! carried out, and `plan` makes of each target what a build goes by.

mod files;
mod plan;
mod rights;
#[cfg(test)]
mod tests;

use anyhow::Context as _;
use rbuild_frontend::bake::{self, Override, Plan, Request};
use rbuild_frontend::hcl::functions::World;
use rbuild_model::platform::Platform;
use rbuild_model::span::Diagnostic;
use rbuild_store::UniqueId;
use serde_json::{Map, Value};

use super::build::BuildPlan;
use super::{Context, Outcome};
use crate::cli::bake::Bake;
use crate::cli::build::Method;
use crate::report::{self, Findings, Mistake, NotYet, Status};
use crate::settings::Settings;
use crate::terminal::{Paint, Terminal};
use crate::wiring::{self, PlannedTarget};

/// Runs the verb.
pub(super) fn run(arguments: &Bake, context: &Context) -> Outcome {
    if let Some(address) = arguments.targets.first().filter(|name| is_address(name)) {
        return Err(NotYet::supported(
            format!("a definition elsewhere (`{address}`)"),
            "fetch it, and name the file with `-f`",
        )
        .into());
    }
    let settings = &context.settings;
    let request = Request {
        files: files::read(&arguments.file, context)?,
        names: arguments.targets.clone(),
        overrides: overrides(arguments)?,
        environment: &|name| settings.environment.text(name),
        world: world(settings)?,
        platform: Platform::host().to_string(),
    };
    let bake = bake::read(&request).map_err(Findings)?;
    tell(&bake.warnings, context.terminal);
    if let Some(what) = &arguments.list {
        let list =
            bake::list(&bake, what).map_err(|error| Mistake::usage(format!("`--list {what}`: {error}")))?;
        context.terminal.print(&list)?;
        return Ok(Status::Done);
    }
    let plan = bake::plan(&bake, &request).map_err(|error| Findings(vec![error]))?;
    if arguments.print {
        context.terminal.print(&format!("{}\n", bake::json(&plan)))?;
        return Ok(Status::Done);
    }
    rights::check(&plan, &arguments.allow, &settings.environment)?;
    carry_out(&plan, arguments, context)
}

fn is_address(name: &str) -> bool {
    name.contains("://") || name.starts_with("git@") || name.starts_with("github.com/")
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
    also(arguments.no_cache, "*.no-cache=true");
    also(arguments.pull, "*.pull=true");
    if arguments.check {
        also(arguments.call.is_none(), "*.call=check");
    }
    for (kind, value) in [("sbom", &arguments.sbom), ("provenance", &arguments.provenance)] {
        match value.as_deref() {
            None => {}
            Some("true" | "1") => texts.push(format!("*.attest=type={kind}")),
            Some("false" | "0") => texts.push(format!("*.attest=type={kind},disabled=true")),
            Some(more) => texts.push(format!("*.attest=type={kind},{more}")),
        }
    }
    texts.extend(arguments.call.as_ref().map(|call| format!("*.call={call}")));
    let read = |text: &String| {
        Override::read(text).map_err(|error| Mistake::usage(format!("`--set {text}`: {error}")).into())
    };
    texts.iter().map(read).collect()
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
        let plan = plan::of(&plan.targets[name], &scratch, &context.settings)
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

/// Answers what is asked of the Dockerfiles, target by target.
fn call(targets: &[PlannedTarget], plan: &Plan, context: &Context) -> Outcome {
    let mut status = Status::Done;
    for PlannedTarget { name, plan: build } in targets {
        if plan.targets[name].is_linked {
            continue;
        }
        if targets.len() > 1 {
            context.terminal.print(&format!("{name}\n"))?;
        }
        match super::check::call(build, context)? {
            Status::Done => {}
            other => status = other,
        }
    }
    Ok(status)
}
