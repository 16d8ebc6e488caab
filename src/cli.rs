//! The command line: one file a verb in `cli/`, all listed in [`Command`] (in `verbs!`).
//!
//! Differences between clap and the flags that Docker's users know are evened out in three places, and only here:
//!
//! - [`arguments`] puts `build` in front of a folder (`rbuild .`) and knows the grouped spellings (`image ls`);
//! - [`read`] lets switches take `=true` and `=false`, and the last of a repeated flag count;
//! - [`unsupported`] adds the flags that are not there yet: each is an error that says what to do instead.

pub(crate) mod arguments;
pub(crate) mod bake;
pub(crate) mod build;
pub(crate) mod cache;
pub(crate) mod check;
pub(crate) mod complete;
pub(crate) mod compose;
pub(crate) mod container;
mod cursor;
mod formats;
mod help;
pub(crate) mod images;
mod mistakes;
pub(crate) mod network;
pub(crate) mod prune;
pub(crate) mod registry;
pub(crate) mod run;
pub(crate) mod system;
#[cfg(test)]
mod tests;
pub(crate) mod unsupported;
pub(crate) mod volume;
pub(crate) mod why;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::flags;
use crate::report::Mistake;
use help::{ENVIRONMENT, EXAMPLES};

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Cli {
    /// Flags that every command has.
    pub(crate) global: Global,
    /// What to do.
    pub(crate) command: Command,
}

/// Flags that every command has, and what is said of all of them.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "rbuild",
    bin_name = "rbuild",
    about = "Builds container images and runs containers, without a daemon",
    version,
    styles = help::STYLES,
    disable_help_subcommand = true,
    override_usage = "rbuild [OPTIONS] COMMAND [ARG]...\n       rbuild [BUILD OPTIONS] PATH|URL|-",
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{ENVIRONMENT}"),
    max_term_width = 100
)]
pub(crate) struct Global {
    /// Folder of the store
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub(crate) root: Option<PathBuf>,
    /// Config file to read instead of the usual ones
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub(crate) config: Option<PathBuf>,
    /// Ask no registry and no server for images and files
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) offline: bool,
    /// Most that images and the cache may take
    #[arg(long, global = true, value_name = "BYTES", value_parser = flags::bytes, help_heading = "Global options")]
    pub(crate) cache_max: Option<u64>,
    /// Folder of run folders; `run` and `create` have a `--runtime` of Docker's
    #[arg(long, global = true, value_name = "DIR", hide = true)]
    pub(crate) run_folder: Option<PathBuf>,
    /// Tell what happens in more detail
    #[arg(short = 'D', long, global = true, help_heading = "Global options")]
    pub(crate) debug: bool,
}

/// Declares the verbs once, and how each gets its flags: making those of all takes longer than many a command.
macro_rules! verbs {
    ($($(#[$note:meta])* $verb:ident $(($flags:ty))?,)+) => {
        /// The verbs.
        #[derive(Debug, Subcommand)]
        pub(crate) enum Command {
            $($(#[$note])* $verb $(($flags))?,)+
        }

        // The verbs without their flags. What were said in the documentation would be said in help.
        #[derive(Subcommand)]
        enum Bare {
            $($(#[$note])* $verb,)+
        }

        /// Gives a verb its flags, and leaves what help says of it.
        fn with_flags(verb: clap::Command) -> clap::Command {
            let about = verb.get_about().cloned().unwrap_or_default();
            let add: fn(clap::Command) -> clap::Command = match verb.get_name() {
                $($(name if name.eq_ignore_ascii_case(stringify!($verb)) => <$flags as Args>::augment_args,)?)+
                _ => return verb,
            };
            let verb = add(verb);
            // Unless it was written for help, it is the documentation of the flags.
            let long = verb.get_long_about().filter(|long| long.to_string().starts_with(&about.to_string()));
            match long.cloned() {
                Some(long) => verb.about(about).long_about(long),
                None => verb.about(about).long_about(None),
            }
        }
    };
}

verbs! {
    /// Build an image from a Dockerfile
    Build(Box<build::Arguments>),
    /// Build many targets from one file
    Bake(Box<bake::Bake>),
    /// Check a Dockerfile, and build nothing
    Check(Box<check::Check>),
    /// Show what a build context holds
    Context(check::ContextVerb),
    /// Run a program in a new container
    Run(Box<run::Arguments>),
    /// Make a container without starting it
    Create(Box<run::Create>),
    /// List containers
    Ps(container::List),
    /// Start containers that are there
    Start(container::Start),
    /// Stop containers
    Stop(container::Stop),
    /// Stop containers and start them
    Restart(container::Stop),
    /// Send a signal to containers
    Kill(container::Kill),
    /// Hold containers still
    Pause(container::Named),
    /// Let containers go on
    Unpause(container::Named),
    /// Wait until containers end, and print their statuses
    Wait(container::Named),
    /// Show what a container wrote
    Logs(container::Logs),
    /// Attach a container that runs
    Attach(container::Attach),
    /// Run a program in a container that runs
    Exec(container::Exec),
    /// Make an image of a container
    Commit(container::Commit),
    /// Change limits and restart policy of containers
    Update(container::Update),
    /// Show the processes of a container
    Top(container::Top),
    /// Show what containers use of the machine
    Stats(container::Stats),
    /// Copy files into containers and out of them
    Cp(container::Copy),
    /// Remove containers
    Rm(container::Remove),
    /// Give a container another name
    Rename(container::Rename),
    /// Show which ports of this machine lead to a container
    Port(container::Port),
    /// Show what a container changed of its image's files
    Diff(container::Diff),
    /// Write all files of a container as a tar
    Export(container::Export),
    /// Show what happens
    Events(container::Events),
    /// Verbs of containers, as Docker groups them
    #[command(hide = true)]
    Container(container::Group),
    /// Verbs of images, as Docker groups them
    #[command(hide = true)]
    Image(images::Group),
    /// Remove a container that ended and removes itself; started by its monitor
    #[command(hide = true)]
    Reap(container::Reap),
    /// Make, list, connect and remove networks
    Network(network::Network),
    /// Make, list and remove volumes
    Volume(volume::Volume),
    /// List images
    #[command(visible_alias = "ls")]
    Images(images::List),
    /// Show all that is known of containers and images
    Inspect(images::Inspect),
    /// Show how an image came to be
    History(images::History),
    /// Give an image another name
    Tag(images::Tag),
    /// Remove images
    Rmi(images::Remove),
    /// Download images from a registry
    Pull(images::Pull),
    /// Upload an image to a registry
    Push(registry::Push),
    /// Copy an image from registry to registry
    Copy(registry::Copy),
    /// Look at images at registries, and put them together
    Imagetools(registry::Imagetools),
    /// Put lists of manifests together and push them
    Manifest(registry::Manifest),
    /// Serve the store as a registry
    Registry(registry::Registry),
    /// Search a registry for images
    Search(registry::Search),
    /// Log in to a registry
    Login(registry::Login),
    /// Log out of a registry
    Logout(registry::Logout),
    /// Write images to a tar archive
    Save(images::Save),
    /// Read images from a tar archive
    Load(images::Load),
    /// Make an image from a tar of a file system
    Import(images::Import),
    /// List and remove what the build cache holds
    Cache(cache::Cache),
    /// Say why steps of the last build ran
    Why(why::Why),
    /// Show what takes space
    Du(prune::Usage),
    /// Remove what is not used
    Prune(prune::Prune),
    /// See what takes space, remove what is not used, let containers come back after a reboot
    System(system::System),
    /// Start the project in this folder
    Up(Box<compose::up::ShortUp>),
    /// Take the project in this folder down
    Down(Box<compose::up::ShortDown>),
    /// Work with a project of several services
    Compose(Box<compose::Arguments>),
    /// Show versions
    Version(prune::Formatted),
    /// Show what is known of the machine and the store
    Info(prune::Formatted),
    /// Check the machine and the store, and say what is missing
    Doctor(prune::Doctor),
    /// Write completions for a shell
    Completion(prune::Completion),
    /// Say what may follow; asked by what `completion` writes
    #[command(hide = true)]
    Complete(complete::Complete),
    /// Write manual pages to a folder
    Man(prune::Man),
    /// Make what was built last survive a power loss; started by builds, in the background
    #[command(hide = true)]
    Promote,
}

/// Returns the command line without any verb.
fn program() -> clap::Command {
    Global::command().subcommand_required(true).arg_required_else_help(true)
}

/// Returns the command line with its verbs, which have no flags yet.
fn bare() -> clap::Command {
    Bare::augment_subcommands(program())
}

/// Returns the command line as completions and manual pages show it.
pub(crate) fn offered() -> clap::Command {
    bare().mut_subcommands(with_flags)
}

/// Makes a verb of the command line what help shows: it knows the flags that are not there yet, and the last of a
/// repeated flag counts, in verbs of groups too.
fn known(verb: clap::Command) -> clap::Command {
    fn lenient(verb: clap::Command) -> clap::Command {
        verb.args_override_self(true).mut_subcommands(lenient)
    }
    lenient(unsupported::add(with_flags(verb)))
}

/// Makes a verb what is read: switches take a value behind `=`.
fn read(verb: clap::Command) -> clap::Command {
    fn switches(verb: clap::Command) -> clap::Command {
        verb.mut_args(switch).mut_subcommands(switches)
    }
    switches(known(verb))
}

/// Lets a switch take a value; leaves other flags as they are.
fn switch(arg: clap::Arg) -> clap::Arg {
    if !matches!(arg.get_action(), ArgAction::SetTrue) || arg.get_id() == "help" {
        return with_any_value(arg);
    }
    arg.action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .default_value("false")
        .value_parser(ValueParser::new(flags::boolean))
}

/// A flag that has a value has the next word, whatever it begins with, as with Docker's commands: `--label -x`.
fn with_any_value(arg: clap::Arg) -> clap::Arg {
    let takes = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    let is_one = arg.get_num_args().is_none_or(|number| number == 1.into());
    if takes && is_one && !arg.is_positional() { arg.allow_hyphen_values(true) } else { arg }
}

/// Reads the command line.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> anyhow::Result<Cli> {
    let all = bare();
    let arguments = arguments::rewrite(arguments.into_iter().collect(), &all)?;
    let verb = arguments::verb(&arguments, &all);
    let arguments = arguments::join_values(arguments, verb.as_deref());
    let verb = verb.and_then(|verb| all.find_subcommand(verb).cloned());
    // Each verb that is there is given all global flags: the others stay away.
    let parser = verb.map_or(all, |verb| program().subcommand(read(verb)));
    let mut parser = parser.mut_args(switch);
    let mut matches = match parser.try_get_matches_from_mut(&arguments) {
        Ok(matches) => matches,
        Err(error) => return Err(told(error, &parser, &arguments)),
    };
    if let Some((verb, matches)) = matches.subcommand() {
        unsupported::check(verb, matches)?;
    }
    let cli = Global::from_arg_matches_mut(&mut matches)
        .and_then(|global| Ok(Cli { global, command: Command::from_arg_matches_mut(&mut matches)? }));
    let mut cli = cli.map_err(|error| told(error, &parser, &arguments))?;
    if let Command::Complete(asked) = &cli.command {
        complete::add_globals(&asked.words, &mut cli.global);
    }
    Ok(cli)
}

/// Returns the verb that a command line asks for, which could not be read.
pub(crate) fn verb(arguments: &[OsString]) -> Option<String> {
    let all = bare();
    let arguments = arguments::rewrite(arguments.to_vec(), &all).ok()?;
    arguments::verb(&arguments, &all)
}

/// Makes the verb ready that is asked for.
fn ready(
    all: clap::Command,
    arguments: &[OsString],
    make: fn(clap::Command) -> clap::Command,
) -> clap::Command {
    match arguments::verb(arguments, &all) {
        Some(verb) => all.mut_subcommand(verb, make),
        None => all,
    }
}

/// Returns what was asked for, help without the marks of [`read`], or says what is wrong.
fn told(error: clap::Error, parser: &clap::Command, arguments: &[OsString]) -> anyhow::Error {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let plain = help::in_sections(help::with_grouped(ready(bare(), arguments, known)));
            let plain = plain.try_get_matches_from(arguments);
            return plain.err().unwrap_or(error).into();
        }
        ErrorKind::DisplayVersion => return error.into(),
        _ => {}
    }
    let hostname = matches!(error.get(ContextKind::InvalidArg), Some(ContextValue::String(name)) if name.starts_with("--hostname"));
    if hostname && error.kind() == ErrorKind::InvalidValue {
        return Mistake::usage("`-h` needs a value")
            .hint("it is `--hostname` here, as in Docker; help is `--help`")
            .into();
    }
    mistakes::of(&error, parser, arguments).into()
}
