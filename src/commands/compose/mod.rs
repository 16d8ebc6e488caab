//! `rbuild compose`: one file a verb, or a group of verbs that are alike.
//!
//! ```text
//! loading     files -> model              the loader asks, the machine answers
//! places      later errors -> their lines
//! project     the model, the store, the containers that are there
//! making      flags -> what is wanted -> images -> plan -> carried out
//! board       what happens, as people and programs see it
//! output      what containers write
//! ```

mod board;
mod build;
mod canonical;
mod carry;
mod commit;
mod config;
mod copy;
mod doubts;
mod down;
mod events;
mod exec;
mod images;
mod images_needed;
mod life;
mod list;
pub(super) mod loading;
mod logs;
mod look;
mod making;
mod models;
pub(crate) mod output;
mod pins;
mod places;
mod port;
pub(crate) mod project;
mod providers;
mod ps;
mod publish;
mod remote;
mod run;
mod top;
mod up;
mod version;
mod wait;
mod watch;

use rbuild_engine::projects::Order;

use self::loading::Lazily;
use super::{Context, Outcome};
use crate::cli::compose::up::{ShortDown, ShortUp};
use crate::cli::compose::{Arguments, Verb};
use crate::settings::Environment;
use crate::terminal::Terminal;

/// Whether a verb works without a store, and with a broken config file.
pub(super) fn needs_no_store(arguments: &Arguments) -> bool {
    matches!(arguments.verb, Verb::Config(_))
}

/// Runs a verb that needs no store.
pub(super) fn without_store(
    arguments: &Arguments,
    environment: &Environment,
    settings: Lazily<'_>,
    terminal: Terminal,
) -> Outcome {
    match &arguments.verb {
        Verb::Config(config) => config::run(&arguments.project, config, environment, settings, terminal),
        _ => unreachable!("only these verbs need no store"),
    }
}

/// Runs a verb.
pub(super) fn run(arguments: &Arguments, context: &Context) -> Outcome {
    let project = &arguments.project;
    board::check(context)?;
    match &arguments.verb {
        Verb::Build(build) => build::run(project, build, context),
        Verb::Config(_) => unreachable!("it needs no store"),
        Verb::Create(create) => up::create(project, create, context),
        Verb::Down(down) => down::run(project, down, down::Manner::Compose, context),
        Verb::Kill(kill) => life::kill(project, kill, context),
        Verb::Look(verb) => look::run(verb, project, context),
        Verb::Pause(services) => life::pause(project, services, context),
        Verb::Restart(restart) => life::restart(project, restart, context),
        Verb::Rm(remove) => life::remove(project, remove, context),
        Verb::Run(run) => run::run(project, run, context),
        Verb::Scale(scale) => up::scale(project, scale, context),
        Verb::Start(start) => life::start(project, start, context),
        Verb::Stop(stop) => life::stop(project, stop, context),
        Verb::Unpause(services) => life::unpause(project, services, context),
        Verb::Up(up) => up::run(project, up, down::Manner::Compose, Order::StopFirst, context),
    }
}

/// Runs `rbuild up`.
pub(super) fn short_up(arguments: &ShortUp, context: &Context) -> Outcome {
    board::check(context)?;
    let order = if arguments.start_first { Order::StartFirst } else { Order::StopFirst };
    up::run(&arguments.project, &arguments.up, down::Manner::Short, order, context)
}

/// Runs `rbuild down`.
pub(super) fn short_down(arguments: &ShortDown, context: &Context) -> Outcome {
    board::check(context)?;
    down::run(&arguments.project, &arguments.down, down::Manner::Short, context)
}
