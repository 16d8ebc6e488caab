//! One thin file a verb: values in, calls to the crates below, text out.

mod attach;
mod bake;
pub(crate) mod build;
pub(crate) mod cache;
mod check;
mod complete;
mod completion;
mod compose;
mod containers;
mod context;
mod copy;
mod create;
mod doctor;
mod du;
mod events;
mod filter;
mod history;
mod images;
mod import;
mod info;
mod inspect;
mod labels;
mod lifecycle;
mod load;
mod logs;
mod man;
mod network;
mod port;
mod ports;
mod promote;
mod prune;
mod ps;
mod pull;
mod registry;
mod rmi;
pub(crate) mod run;
mod save;
mod system;
mod tag;
mod top;
mod transfer;
mod update;
mod version;
mod volume;
mod why;

use std::ffi::OsString;

pub(crate) use create::IdFile;

use crate::cli::container::GroupVerb;
use crate::cli::images as image;
use crate::cli::{self, Cli, Command};
use crate::report::{self, Status};
use crate::settings::{Environment, Settings, User};
use crate::terminal::Terminal;
use crate::wiring;

/// What every command works with.
#[derive(Debug)]
pub(crate) struct Context {
    /// What it goes by.
    pub(crate) settings: Settings,
    /// Where it writes.
    pub(crate) terminal: Terminal,
}

/// The verbs that work on projects: as in Docker Compose, a wrong command line is a failure as any other there.
const PROJECT_VERBS: [&str; 3] = ["compose", "down", "up"];

/// How a command ends, or why it cannot.
pub(crate) type Outcome = anyhow::Result<Status>;

/// Reads the command line, runs the command, tells what went wrong.
pub(crate) fn main(arguments: Vec<OsString>, environment: Environment, terminal: Terminal) -> Status {
    let cli = match cli::parse(arguments.clone()) {
        Ok(cli) => cli,
        Err(error) => {
            return ended(refused(&error, terminal), &arguments);
        }
    };
    let runs = matches!(cli.command, Command::Run(_));
    let is_verbose = matches!(&cli.command, Command::Compose(arguments) if arguments.verbose);
    let debug = cli.global.debug || is_verbose;
    let error = match start(cli, environment, terminal) {
        Ok(status) => return status,
        Err(error) => error,
    };
    let status = report::tell(&error, terminal);
    if debug {
        terminal.tell(&report::causes(&error));
    }
    match status {
        // As in Docker: whatever kept the program from being started.
        Status::Failed if runs => Status::Usage,
        status => ended(status, &arguments),
    }
}

/// Returns how a command line ends that could not be carried out.
fn ended(status: Status, arguments: &[OsString]) -> Status {
    let is_of_projects = || cli::verb(arguments).is_some_and(|verb| PROJECT_VERBS.contains(&&*verb));
    match status {
        Status::Usage if is_of_projects() => Status::Failed,
        status => status,
    }
}

/// Prints help and versions where they were asked for, and mistakes of the command line.
fn refused(error: &anyhow::Error, terminal: Terminal) -> Status {
    match error.downcast_ref::<clap::Error>() {
        Some(asked) => {
            let colour = terminal.out().colour == crate::terminal::Colour::On;
            let text = asked.render();
            let text = if colour { text.ansi().to_string() } else { text.to_string() };
            match terminal.print(&text) {
                Ok(()) => Status::Done,
                Err(error) => report::tell(&error.into(), terminal),
            }
        }
        _ => report::tell(error, terminal),
    }
}

fn start(cli: Cli, environment: Environment, terminal: Terminal) -> Outcome {
    let user = match rustix::process::geteuid() {
        id if id.is_root() => User::Root,
        id => User::Other(id.as_raw()),
    };
    // These work without a store, and with a broken config file.
    match &cli.command {
        Command::Completion(arguments) => return completion::run(arguments, terminal),
        Command::Compose(arguments) if compose::needs_no_store(arguments) => {
            let settings = || Settings::load(&cli.global, environment.clone(), user);
            return compose::without_store(arguments, &environment, &settings, terminal);
        }
        Command::Man(arguments) => return man::run(arguments),
        Command::Version(arguments) => return version::run(arguments, terminal),
        _ => {}
    }
    let mut settings = Settings::load(&cli.global, environment, user)?;
    if user != User::Root {
        // Nothing has started a thread by now, and nothing has opened the store.
        settings.rootless = wiring::Rootless::enter(&cli.command, &settings, terminal)?;
    }
    let context = Context { settings, terminal };
    carry_out(cli.command, &context).map_err(|error| wiring::hinted(error, &context.settings))
}

fn carry_out(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Build(arguments) => build::run(*arguments, context),
        Command::Bake(arguments) => bake::run(&arguments, context),
        Command::Check(arguments) => check::run(*arguments, context),
        Command::Context(arguments) => context::run(&arguments, context),
        Command::Run(arguments) => run::run(*arguments, context),
        Command::Create(arguments) => create::run(*arguments, context),
        Command::Ps(arguments) => ps::run(&arguments, context),
        Command::Start(arguments) => lifecycle::start(&arguments, context),
        Command::Stop(arguments) => lifecycle::stop(&arguments, context),
        Command::Restart(arguments) => lifecycle::restart(&arguments, context),
        Command::Kill(arguments) => lifecycle::kill(&arguments, context),
        Command::Pause(arguments) => lifecycle::pause(&arguments, context),
        Command::Unpause(arguments) => lifecycle::unpause(&arguments, context),
        Command::Wait(arguments) => lifecycle::wait(&arguments, context),
        Command::Logs(arguments) => logs::run(&arguments, context),
        Command::Attach(arguments) => attach::run(&arguments, context),
        Command::Exec(arguments) => attach::exec(arguments, context),
        Command::Commit(arguments) => containers::commit(&arguments, context),
        Command::Update(arguments) => update::run(&arguments, context),
        Command::Top(arguments) => top::top(&arguments, context),
        Command::Stats(arguments) => top::stats(&arguments, context),
        Command::Cp(arguments) => copy::run(&arguments, context),
        Command::Rm(arguments) => containers::remove(&arguments, context),
        Command::Rename(arguments) => containers::rename(&arguments, context),
        Command::Port(arguments) => port::run(&arguments, context),
        Command::Diff(arguments) => containers::diff(&arguments, context),
        Command::Export(arguments) => containers::export(&arguments, context),
        Command::Events(arguments) => events::run(&arguments, context),
        Command::Container(group) => match group.verb {
            GroupVerb::Prune(arguments) => containers::prune(&arguments, context),
            GroupVerb::Inspect(arguments) => inspect::containers(&arguments, context),
        },
        Command::Image(image::Group { verb: image::GroupVerb::Prune(arguments) }) => {
            prune::images(&arguments, context)
        }
        Command::Reap(arguments) => containers::reap(&arguments, context),
        Command::Network(group) => network::run(group, context),
        Command::Volume(group) => volume::run(group, context),
        Command::Images(arguments) => images::run(&arguments, context),
        Command::Inspect(arguments) => inspect::run(&arguments, context),
        Command::History(arguments) => history::run(&arguments, context),
        Command::Tag(arguments) => tag::run(&arguments, context),
        Command::Rmi(arguments) => rmi::run(&arguments, context),
        Command::Pull(arguments) => pull::run(&arguments, context),
        Command::Push(arguments) => registry::push(&arguments, context),
        Command::Copy(arguments) => registry::copy(&arguments, context),
        Command::Imagetools(group) => registry::imagetools(&group, context),
        Command::Manifest(group) => registry::manifest(&group, context),
        Command::Registry(group) => registry::registry(&group, context),
        Command::Search(arguments) => registry::search(&arguments, context),
        Command::Login(arguments) => registry::login(&arguments, context),
        Command::Logout(arguments) => registry::logout(&arguments, context),
        Command::Save(arguments) => save::run(&arguments, context),
        Command::Load(arguments) => load::run(&arguments, context),
        Command::Import(arguments) => import::run(&arguments, context),
        Command::Cache(arguments) => cache::run(&arguments, context),
        Command::Why(arguments) => why::run(&arguments, context),
        Command::Du(arguments) => du::run(&arguments, context),
        Command::Prune(arguments) => prune::run(&arguments, context),
        Command::Promote => promote::run(context),
        Command::Up(arguments) => compose::short_up(&arguments, context),
        Command::Down(arguments) => compose::short_down(&arguments, context),
        Command::Compose(arguments) => compose::run(&arguments, context),
        Command::System(group) => system::run(&group, context),
        Command::Info(arguments) => info::run(&arguments, context),
        Command::Doctor(arguments) => doctor::run(&arguments, context),
        Command::Complete(arguments) => complete::run(&arguments, context),
        Command::Completion(_) | Command::Man(_) | Command::Version(_) => Ok(Status::Done),
    }
}
