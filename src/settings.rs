//! Arguments, environment and config files to plain values: the only place that knows all three.
//!
//! A flag counts before the environment, the environment before `$XDG_CONFIG_HOME/rbuild/config.toml`, that before
//! `/etc/rbuild/config.toml`. With `--config FILE` only that file is read. The files are TOML, because people write
//! them and want comments; an unknown key is an error that points at it.
//!
//! ```toml
//! root = "/var/lib/rbuild"
//! progress = "plain"            # auto, tty, plain, quiet, none, rawjson
//! remember_tags = "10m"         # for how long a tag is not asked for again; always if nothing is said
//! offline = false               # true: nobody is asked for images or files
//! ca = "host"                   # builtin, host, or a PEM file: who vouches for registries
//!
//! [registry."docker.io"]
//! mirrors = ["127.0.0.1:5000"]
//!
//! [registry."registry.corp.example"]
//! insecure = true               # plain HTTP
//! ca = "/etc/ssl/corp.pem"
//! cert = "/etc/ssl/me.pem"      # what it is shown, with its key
//! key = "/etc/ssl/me.key"
//! blocked = false               # true: nothing comes from there
//!
//! [steps]
//! devices = ["/etc/cdi"]          # folders that say what `--device` may mean (CDI), of containers too
//!
//! [networks]
//! docker_rules = false          # change nothing in the filter of a Docker beside us; a note says what would help
//! address_pools = [{ base = "10.200.0.0/16", size = 24 }]   # what networks are taken from that ask for no subnet
//!
//! [limits]
//! parallel = 8                  # steps at once
//!
//! [cache]
//! max = "20GB"                  # the most that images and the cache may take
//! ```

mod docker;
mod environment;
mod file;
#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
pub(crate) use tests::bare;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use environment::{Environment, Proxy};
pub(crate) use file::{Authorities, FileError, Registry};
use rbuild_network::address::Pool;
use rbuild_network::firewall::passage::Passage;

use crate::cli::Global;
use crate::progress::Mode;
use crate::report::Mistake;
use crate::terminal::{Ability, ColourChoice};
use crate::wiring::Rootless;

/// What every command goes by.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The folder of the store.
    pub(crate) root: PathBuf,
    /// The folder below which its run folder lies.
    pub(crate) runtime: PathBuf,
    /// How progress is shown where no flag says it.
    pub(crate) progress: Mode,
    /// What is known of registries, by name.
    pub(crate) registries: BTreeMap<String, Registry>,
    /// Who vouches for registries.
    pub(crate) authorities: Authorities,
    /// For how long what a registry said of a tag is taken for true.
    pub(crate) remember_tags: Option<std::time::Duration>,
    /// Whether no registry and no server is asked for anything.
    pub(crate) offline: bool,
    /// Certificate authorities that steps are given besides those of their image.
    pub(crate) step_authorities: Option<Authorities>,
    /// The folders that say which devices `--device` may mean; a later one counts more.
    pub(crate) device_folders: Vec<PathBuf>,
    /// Whether networks get rules in the filter of a Docker that drops what is forwarded.
    pub(crate) passage: Passage,
    /// What subnets of networks are taken from; the usual ranges if nothing is said.
    pub(crate) pools: Vec<Pool>,
    /// The folder of Docker's `config.json`.
    pub(crate) docker_config: Option<PathBuf>,
    /// How many steps run at once; `None` for as many as there are processors.
    pub(crate) parallel: Option<NonZeroUsize>,
    /// The most that images and the cache may take, in bytes.
    pub(crate) cache_max: Option<u64>,
    /// The platform where no flag says it (`DOCKER_DEFAULT_PLATFORM`).
    pub(crate) platform: Option<rbuild_model::platform::Platform>,
    /// What an ordinary user works in, once it was entered.
    pub(crate) rootless: Option<Arc<Rootless>>,
    /// The caller's environment, for what asks for a variable by name.
    pub(crate) environment: Environment,
}

/// The variable with the folder of run folders.
pub(crate) const RUNTIME: &str = "RBUILD_RUNTIME";

/// Who runs the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    /// Root.
    Root,
    /// Somebody else.
    Other(u32),
}

impl Settings {
    /// Puts everything together.
    pub(crate) fn load(global: &Global, environment: Environment, user: User) -> anyhow::Result<Self> {
        let mut known = file::Config::default();
        for path in config_files(global, &environment) {
            match std::fs::read_to_string(&path.path) {
                Ok(text) => known.merge(file::Config::parse(&path.path, &text)?),
                Err(error)
                    if error.kind() == std::io::ErrorKind::NotFound && path.wanted == Wanted::IfThere => {}
                Err(source) => return Err(FileError::new(path.path, source).into()),
            }
        }
        Self::assemble(global, environment, user, known)
    }

    /// Does the same from values alone.
    fn assemble(
        global: &Global,
        environment: Environment,
        user: User,
        known: file::Config,
    ) -> anyhow::Result<Self> {
        let root = match global.root.clone().or_else(|| environment.path("RBUILD_ROOT")).or(known.root) {
            Some(root) if root.as_os_str().is_empty() => {
                return Err(Mistake::usage("the folder of the store is empty: give `--root` a folder").into());
            }
            Some(root) => root,
            None => default_root(&environment, user)?,
        };
        let root = std::path::absolute(&root).unwrap_or(root);
        Ok(Self {
            root,
            runtime: global.run_folder.clone().unwrap_or_else(|| runtime(&environment, user)),
            progress: environment.progress()?.or(known.progress).unwrap_or_default(),
            registries: known.registry,
            authorities: known.ca.unwrap_or_default(),
            remember_tags: known.remember_tags,
            offline: global.offline || known.offline.unwrap_or(false),
            step_authorities: known.steps.ca,
            device_folders: known
                .steps
                .devices
                .unwrap_or_else(|| rbuild_devices::FOLDERS.map(PathBuf::from).to_vec()),
            passage: match known.networks.docker_rules {
                None | Some(true) => Passage::BesideDocker,
                Some(false) => Passage::Never,
            },
            pools: known.networks.address_pools.unwrap_or_default().into_iter().map(Pool::from).collect(),
            docker_config: environment
                .path("DOCKER_CONFIG")
                .or_else(|| environment.path("HOME").map(|home| home.join(".docker"))),
            parallel: known.limits.parallel,
            cache_max: global.cache_max.or(environment.cache_max()?).or(known.cache.max),
            platform: environment.platform()?,
            rootless: None,
            environment,
        })
    }
}

impl Settings {
    /// Reads the proxies of Docker's `config.json`, which builds and containers are given.
    pub(crate) fn docker_proxies(&self) -> anyhow::Result<Vec<Proxy>> {
        docker::proxies(self.docker_config.as_deref())
    }
}

struct ConfigFile {
    path: PathBuf,
    wanted: Wanted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Always,
    IfThere,
}

fn config_files(global: &Global, environment: &Environment) -> Vec<ConfigFile> {
    if let Some(path) = &global.config {
        return vec![ConfigFile { path: path.clone(), wanted: Wanted::Always }];
    }
    let own = environment
        .path("XDG_CONFIG_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| environment.path("HOME").map(|home| home.join(".config")));
    std::iter::once(PathBuf::from("/etc"))
        .chain(own)
        .map(|folder| ConfigFile { path: folder.join("rbuild/config.toml"), wanted: Wanted::IfThere })
        .collect()
}

fn default_root(environment: &Environment, user: User) -> Result<PathBuf, Mistake> {
    if user == User::Root {
        return Ok(PathBuf::from("/var/lib/rbuild"));
    }
    environment
        .path("XDG_DATA_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| environment.path("HOME").map(|home| home.join(".local/share")))
        .map(|data| data.join("rbuild"))
        .ok_or_else(|| {
            Mistake::new("HOME is not set, so there is no folder for the store")
                .hint("give one with `--root`")
        })
}

/// Returns the folder of run folders. The variable is how a command tells one that it starts inside a user namespace.
fn runtime(environment: &Environment, user: User) -> PathBuf {
    if let Some(path) = environment.path(RUNTIME).filter(|path| path.is_absolute()) {
        return path;
    }
    match user {
        User::Root => PathBuf::from("/run/rbuild"),
        User::Other(id) => environment
            .path("XDG_RUNTIME_DIR")
            .filter(|path| path.is_absolute())
            // Logging in makes this one, but `su` and `sudo -u` do not tell of it.
            .or_else(|| Some(PathBuf::from(format!("/run/user/{id}"))).filter(|path| path.is_dir()))
            .unwrap_or_else(|| Path::new("/tmp").join(format!("rbuild-run-{id}")))
            .join("rbuild"),
    }
}

/// Returns what a terminal of the user's can do.
pub(crate) fn ability(environment: &Environment) -> Ability {
    if environment.text("TERM").as_deref() == Some("dumb") { Ability::Rolling } else { Ability::Moving }
}

/// Returns what the user says about colours, before anything else is known.
pub(crate) fn colour(environment: &Environment) -> ColourChoice {
    let says = |name: &str| environment.text(name).filter(|value| !value.is_empty());
    if says("NO_COLOR").is_some() {
        ColourChoice::Never
    } else if says("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
        ColourChoice::Always
    } else if says("TERM").as_deref() == Some("dumb") || environment.text("CLICOLOR").as_deref() == Some("0")
    {
        ColourChoice::Never
    } else {
        ColourChoice::Auto
    }
}
