//! `rbuild compose`: the flags of all its verbs, and the verbs; a file a group of them.

pub(crate) mod build;
pub(crate) mod carry;
pub(crate) mod config;
pub(crate) mod life;
pub(crate) mod look;
pub(crate) mod reach;
pub(crate) mod run;
pub(crate) mod up;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

pub(crate) use config::{Config, Format};

/// What `rbuild compose` takes.
#[derive(Debug, clap::Args)]
#[command(display_name = "rbuild compose version", version, disable_version_flag = true)]
pub(crate) struct Arguments {
    /// Which project.
    #[command(flatten)]
    pub(crate) project: Project,
    /// Print the version
    #[arg(short = 'v', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
    /// Tell what happens in more detail
    #[arg(long, hide = true)]
    pub(crate) verbose: bool,
    /// What to do with it.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Which project, how it is read, and how it is told what happens.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Project {
    /// Compose file, `-` for standard input (can be repeated; later ones are laid over earlier ones)
    #[arg(short, long = "file", value_name = "FILE")]
    pub(crate) files: Vec<String>,
    /// Name of the project
    #[arg(short = 'p', long, value_name = "NAME")]
    pub(crate) project_name: Option<String>,
    /// Folder that relative paths begin at
    #[arg(long, alias = "workdir", value_name = "DIR")]
    pub(crate) project_directory: Option<PathBuf>,
    /// File with variables, instead of `.env` (can be repeated)
    #[arg(long = "env-file", value_name = "FILE")]
    pub(crate) env_files: Vec<String>,
    /// Profile to turn on, `*` for all (can be repeated)
    #[arg(long = "profile", value_name = "NAME")]
    pub(crate) profiles: Vec<String>,
    /// Keep resources that no service uses
    #[arg(long)]
    pub(crate) all_resources: bool,
    /// When colours and cursor movements are written
    #[arg(long, value_name = "WHEN")]
    pub(crate) ansi: Option<Ansi>,
    /// What `--ansi never` was called before
    #[arg(long, hide = true, conflicts_with = "ansi")]
    pub(crate) no_ansi: bool,
    /// Name containers with underscores, as the first compose did
    #[arg(long)]
    pub(crate) compatibility: bool,
    /// Show what would be done, and do nothing
    #[arg(long, global = true)]
    pub(crate) dry_run: bool,
    /// Do so much at once, -1 for everything
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true, value_parser = parallel)]
    pub(crate) parallel: Option<Parallel>,
    /// How progress is shown
    #[arg(long, value_name = "KIND")]
    pub(crate) progress: Option<Progress>,
}

/// When colours and cursor movements are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Ansi {
    /// Never
    Never,
    /// Always
    Always,
    /// On terminals
    #[default]
    Auto,
}

/// How progress of a project is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    /// `tty` on a terminal, `plain` otherwise
    #[default]
    Auto,
    /// A live view
    Tty,
    /// A line for each change
    Plain,
    /// One JSON object a line
    Json,
    /// Nothing
    Quiet,
}

/// How much is done at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parallel(pub(crate) Option<NonZeroUsize>);

/// Reads how much is done at once; what is not above zero means everything.
pub(crate) fn parallel(text: &str) -> Result<Parallel, String> {
    let number: i64 = text.parse().map_err(|_| "not a number".to_owned())?;
    Ok(Parallel(usize::try_from(number).ok().and_then(NonZeroUsize::new)))
}

impl Verb {
    /// Whether programs are run that were not, so that they need a place to run in.
    pub(crate) fn runs_programs(&self) -> bool {
        matches!(
            self,
            Self::Build(_)
                | Self::Create(_)
                | Self::Restart(_)
                | Self::Run(_)
                | Self::Scale(_)
                | Self::Start(_)
                | Self::Up(_)
        )
    }
}

/// The verbs of `rbuild compose`.
#[derive(Debug, Subcommand)]
#[command(next_display_order = None)]
pub(crate) enum Verb {
    /// Build the images of services
    Build(Box<build::Build>),
    /// Check a project and show what it means, in its canonical form
    Config(Box<Config>),
    /// Make the containers of services without starting them
    Create(Box<up::Create>),
    /// Stop and remove containers and networks
    Down(up::Down),
    /// Send a signal to containers
    Kill(life::Kill),
    /// The verbs that change no service.
    #[command(flatten)]
    Look(look::Verb),
    /// Hold containers still
    Pause(life::Services),
    /// Stop containers and start them
    Restart(life::Restart),
    /// Remove containers that do not run
    Rm(life::Remove),
    /// Run one program in a new container of a service
    Run(Box<run::Run>),
    /// Change how many containers services have
    Scale(life::Scale),
    /// Start containers that are there
    Start(life::Start),
    /// Stop containers
    Stop(life::Stop),
    /// Let containers go on
    Unpause(life::Services),
    /// Make services what the project says, and start them
    Up(Box<up::Up>),
}
