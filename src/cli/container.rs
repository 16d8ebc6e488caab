//! The verbs of containers.

use std::path::PathBuf;

use crate::cli::formats;
use crate::flags;

/// What verbs take that do one thing to each container.
#[derive(Debug, clap::Args)]
pub(crate) struct Named {
    /// Containers, by name or id
    #[arg(value_name = "CONTAINER", required = true)]
    pub(crate) containers: Vec<String>,
}

/// What `rbuild ps` takes.
#[derive(Debug, clap::Args)]
#[command(after_long_help = formats::of_list(r"{{.ID}}\t{{.Names}}", "{{.Names}}: {{.Status}}"))]
pub(crate) struct List {
    /// Also containers that do not run
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Only containers that fit: `name=`, `id=`, `label=`, `status=`, `exited=`, `ancestor=`, `before=`, `since=`, `volume=`, `network=`, `publish=`, `expose=`, `health=` (can be repeated)
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = flags::filter)]
    pub(crate) filter: Vec<(String, String)>,
    /// How it is shown
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// So many containers at most, the newest, running or not
    #[arg(
        short = 'n',
        long,
        value_name = "NUMBER",
        allow_hyphen_values = true,
        default_value = "-1",
        hide_default_value = true
    )]
    pub(crate) last: i64,
    /// The newest container, running or not
    #[arg(short, long)]
    pub(crate) latest: bool,
    /// Show everything in full
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Only ids
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Count what containers take
    #[arg(short, long)]
    pub(crate) size: bool,
}

/// What `rbuild start` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Start {
    /// Containers, by name or id
    #[arg(value_name = "CONTAINER", required = true)]
    pub(crate) containers: Vec<String>,
    /// Show its output and pass signals on
    #[arg(short, long)]
    pub(crate) attach: bool,
    /// Pass your input on
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Keys that leave the container running
    #[arg(long, value_name = "KEYS", value_parser = flags::detach_keys)]
    pub(crate) detach_keys: Option<flags::DetachKeys>,
}

/// What `rbuild stop` and `rbuild restart` take.
#[derive(Debug, clap::Args)]
pub(crate) struct Stop {
    /// Containers, by name or id
    #[arg(value_name = "CONTAINER", required = true)]
    pub(crate) containers: Vec<String>,
    /// Signal that asks it to end
    #[arg(short, long, value_name = "SIGNAL")]
    pub(crate) signal: Option<String>,
    /// Seconds that it has to end before it is killed; -1 for any time
    #[arg(short, long, visible_alias = "time", value_name = "SECONDS", allow_hyphen_values = true)]
    pub(crate) timeout: Option<i64>,
}

/// What `rbuild kill` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Kill {
    /// Containers, by name or id
    #[arg(value_name = "CONTAINER", required = true)]
    pub(crate) containers: Vec<String>,
    /// Signal to send
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL", hide_default_value = true)]
    pub(crate) signal: String,
}

/// What `rbuild rm` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    /// Containers, by name or id
    #[arg(value_name = "CONTAINER", required = true)]
    pub(crate) containers: Vec<String>,
    /// Kill what runs, and ignore what is not there
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Also volumes that were made for the container and have no name
    #[arg(short, long)]
    pub(crate) volumes: bool,
}

/// What `rbuild rename` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Rename {
    /// Container, by name or id
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
    /// Its new name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
}

/// What `rbuild update` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Update {
    /// Containers, by name or id
    #[arg(value_name = "CONTAINER", required = true)]
    pub(crate) containers: Vec<String>,
    /// When it is started again
    #[arg(long, value_name = "POLICY")]
    pub(crate) restart: Option<String>,
    /// What they may use at most from now on.
    #[command(flatten)]
    pub(crate) limits: super::run::Limits,
}

/// What `rbuild top` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Top {
    /// Container, by name or id, and options of `ps`
    #[arg(value_names = ["CONTAINER", "OPTIONS"], required = true, num_args = 1.., trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) container_and_options: Vec<String>,
}

/// What `rbuild stats` takes.
#[derive(Debug, clap::Args)]
#[command(after_long_help = formats::of_list(r"{{.Name}}\t{{.CPUPerc}}", "{{.Name}}: {{.MemUsage}}"))]
pub(crate) struct Stats {
    /// Containers, by name or id; all that run if none is named
    #[arg(value_name = "CONTAINER")]
    pub(crate) containers: Vec<String>,
    /// Also containers that do not run
    #[arg(short, long)]
    pub(crate) all: bool,
    /// How it is shown
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Show one look, and end
    #[arg(long)]
    pub(crate) no_stream: bool,
    /// Show everything in full
    #[arg(long)]
    pub(crate) no_trunc: bool,
}

/// What `rbuild port` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Port {
    /// Container, by name or id
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
    /// Port of the container
    #[arg(value_name = "PORT[/PROTOCOL]")]
    pub(crate) port: Option<String>,
}

/// What `rbuild cp` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Copy {
    /// `CONTAINER:PATH`, a path of yours, or `-` for a tar on standard input
    #[arg(value_name = "SOURCE")]
    pub(crate) source: String,
    /// `CONTAINER:PATH`, a path of yours, or `-` for a tar on standard output
    #[arg(value_name = "TARGET")]
    pub(crate) target: String,
    /// Keep owners
    #[arg(short, long)]
    pub(crate) archive: bool,
    /// Copy what a link leads to
    #[arg(short = 'L', long)]
    pub(crate) follow_link: bool,
    /// Say nothing
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// What `rbuild commit` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Commit {
    /// Container, by name or id
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
    /// Name of the image
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) name: Option<String>,
    /// Who answers for it
    #[arg(short, long, value_name = "NAME")]
    pub(crate) author: Option<String>,
    /// Dockerfile instruction for the image's config (can be repeated)
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub(crate) change: Vec<String>,
    /// Remark for the image's history
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Hold the container still meanwhile
    #[arg(short, long, value_name = "YES", action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", value_parser = flags::boolean, hide_default_value = true)]
    pub(crate) pause: bool,
}

/// What `rbuild export` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// Container, by name or id
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
    /// File to write instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// What `rbuild diff` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Diff {
    /// Container, by name or id
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
}

/// What `rbuild logs` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Logs {
    /// Container, by name or id
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
    /// Which lines.
    #[command(flatten)]
    pub(crate) lines: LogLines,
    /// Show the labels and variables that the log keeps
    #[arg(long)]
    pub(crate) details: bool,
}

/// Which lines of what containers wrote are shown: of one container, or of a project's.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct LogLines {
    /// Show also what comes
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only lines from this moment on: RFC 3339, seconds since 1970, or an age like `42m`
    #[arg(long, value_name = "MOMENT", allow_hyphen_values = true)]
    pub(crate) since: Option<String>,
    /// Only lines before this moment
    #[arg(long, value_name = "MOMENT", allow_hyphen_values = true)]
    pub(crate) until: Option<String>,
    /// So many of the last lines of each container
    #[arg(
        short = 'n',
        long,
        value_name = "NUMBER",
        default_value = "all",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    pub(crate) tail: String,
    /// Show the time of each line
    #[arg(short, long)]
    pub(crate) timestamps: bool,
}

/// What `rbuild attach` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Attach {
    /// Container, by name or id
    #[arg(value_name = "CONTAINER")]
    pub(crate) container: String,
    /// Keys that leave the container running
    #[arg(long, value_name = "KEYS", value_parser = flags::detach_keys)]
    pub(crate) detach_keys: Option<flags::DetachKeys>,
    /// Keep your input
    #[arg(long)]
    pub(crate) no_stdin: bool,
    /// Pass signals on to the program
    #[arg(long, value_name = "YES", action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", value_parser = flags::boolean, hide_default_value = true)]
    pub(crate) sig_proxy: bool,
}

/// What `rbuild exec` takes.
#[derive(Debug, clap::Args)]
#[command(override_usage = "rbuild exec [OPTIONS] CONTAINER COMMAND [ARG]...")]
pub(crate) struct Exec {
    /// Container, by name or id, and the program with its arguments
    #[arg(value_names = ["CONTAINER", "COMMAND"], required = true, num_args = 2.., trailing_var_arg = true)]
    pub(crate) container_and_command: Vec<String>,
    /// Leave it running in the background
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Keys that leave the program running
    #[arg(long, value_name = "KEYS", value_parser = flags::detach_keys)]
    pub(crate) detach_keys: Option<flags::DetachKeys>,
    /// Environment variable; only a name passes yours on (can be repeated)
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = flags::env_entry)]
    pub(crate) env: Vec<flags::EnvEntry>,
    /// File of environment variables, one a line (can be repeated)
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// Keep standard input open
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give all capabilities
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Give the program a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// User and group: names or numbers
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// Working folder
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
}

/// What `rbuild events` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Events {
    /// Only events that fit: `container=`, `event=`, `image=`, `label=`, `type=`, `volume=`, `network=` (can be repeated)
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = flags::filter)]
    pub(crate) filter: Vec<(String, String)>,
    /// How it is shown: `json`, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// From this moment on: RFC 3339, seconds since 1970, or an age like `42m`
    #[arg(long, value_name = "MOMENT", allow_hyphen_values = true)]
    pub(crate) since: Option<String>,
    /// Until this moment
    #[arg(long, value_name = "MOMENT", allow_hyphen_values = true)]
    pub(crate) until: Option<String>,
}

/// What `rbuild container prune` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Prune {
    /// Only containers that fit: `until=`, `label=`, `label!=` (can be repeated)
    #[arg(long, value_name = "KEY=VALUE", value_parser = flags::filter)]
    pub(crate) filter: Vec<(String, String)>,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// What `rbuild container` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Group {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: GroupVerb,
}

/// The verbs of containers that have no short name.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum GroupVerb {
    /// Remove all containers that do not run
    Prune(Prune),
    /// Show all that is known of containers
    Inspect(Inspect),
}

/// What `rbuild container inspect` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    /// Containers, by name or id
    #[arg(value_name = "CONTAINER", required = true)]
    pub(crate) containers: Vec<String>,
    /// How it is shown: `json`, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Count what it takes
    #[arg(short, long)]
    pub(crate) size: bool,
}

/// What the hidden verb takes that removes an ended container.
#[derive(Debug, clap::Args)]
pub(crate) struct Reap {
    /// The container's id
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}
