//! The `git` program, run with nothing of this machine's or its user's settings.
//!
//! It is called by its absolute path with an environment of ours, in which all of its settings stand: no file of settings is
//! read, nothing is asked for, no hook and no watcher is run, and only the protocols that repositories are fetched over are
//! spoken. Addresses and credentials are settings too, so no command line shows them. It only ever works on bare
//! repositories that were made here, and never writes a working tree.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rbuild_image::distribution::Registries;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::remote::{Protocol, Remote};
use crate::cancel::Cancel;

/// Where the program is looked for; the caller's `PATH` has no say.
const PLACES: [&str; 3] = ["/usr/bin/git", "/usr/local/bin/git", "/bin/git"];
/// Where it looks for its own helpers, such as `ssh`.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The most bytes of what it says.
const MAX_OUTPUT: u64 = 32 << 20;
/// The most bytes of its complaint that are told.
const MAX_COMPLAINT: usize = 4096;
/// The name that a remote is called by on command lines.
pub(super) const SOURCE: &str = "source";

/// Why the program did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GitError {
    /// There is none.
    #[error("there is no `git` program on this machine (looked for {}); install the package git", PLACES.join(", "))]
    Missing,
    /// It could not be run.
    #[error("failed to run git")]
    Run(#[source] std::io::Error),
    /// It failed.
    #[error("git {verb} failed: {complaint}")]
    Failed {
        /// What it was asked for.
        verb: String,
        /// What it said.
        complaint: String,
    },
    /// It said too much.
    #[error("git {verb} says more than {MAX_OUTPUT} bytes")]
    TooMuch {
        /// What it was asked for.
        verb: String,
    },
    /// Somebody cancelled.
    #[error("cancelled")]
    Cancelled,
}

/// How the program is run for one fetch.
pub(super) struct Git<'a> {
    program: PathBuf,
    cancel: &'a Cancel,
    /// A folder of ours, for what it takes for its home.
    home: PathBuf,
    /// The socket of the client's agent.
    pub(super) agent: Option<PathBuf>,
    /// The file of the keys of hosts that were seen.
    known_hosts: PathBuf,
    /// A bundle of certificate authorities, where the machine's own are not enough.
    authorities: Option<PathBuf>,
    proxies: Vec<(&'static str, String)>,
    /// What runs at this moment. Killed at most until it is waited for: its number then belongs to nobody, or to another.
    running: Arc<Mutex<Option<Pid>>>,
}

/// One call of the program.
pub(super) struct Call<'g> {
    git: &'g Git<'g>,
    verb: String,
    command: Command,
    settings: Vec<(String, String)>,
}

impl<'a> Git<'a> {
    /// Finds the program. `known_hosts` is written by it; `home` is a folder that nobody else writes to.
    pub(super) fn find(
        registries: &Registries,
        cancel: &'a Cancel,
        home: &Path,
        known_hosts: PathBuf,
    ) -> Result<Self, GitError> {
        let program = PLACES.iter().map(PathBuf::from).find(|path| path.exists()).ok_or(GitError::Missing)?;
        let proxies = &registries.proxies;
        let proxies =
            [("http_proxy", &proxies.http), ("https_proxy", &proxies.https), ("no_proxy", &proxies.none_for)];
        let mut authorities = None;
        if !registries.extra_authorities.is_empty() {
            let path = home.join("authorities.pem");
            let mut bundle = registries.system_authorities();
            for extra in &registries.extra_authorities {
                bundle.push(b'\n');
                bundle.extend_from_slice(extra);
            }
            std::fs::write(&path, bundle).map_err(GitError::Run)?;
            authorities = Some(path);
        }
        Ok(Self {
            program,
            cancel,
            home: home.to_owned(),
            agent: None,
            known_hosts,
            authorities,
            proxies: proxies.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect(),
            running: Arc::default(),
        })
    }

    /// Ends what runs.
    pub(super) fn stop(&self) {
        kill(&self.running);
    }

    /// Prepares a call that works on the repository at `folder`, or on none.
    pub(super) fn call(&self, folder: Option<&Path>, verb: &str) -> Call<'_> {
        let mut command = Command::new(&self.program);
        command
            .arg(verb)
            .env_clear()
            .envs([
                ("PATH", PATH),
                ("LC_ALL", "C"),
                ("GIT_CONFIG_NOSYSTEM", "1"),
                ("GIT_CONFIG_GLOBAL", "/dev/null"),
                ("GIT_ATTR_NOSYSTEM", "1"),
                ("GIT_TERMINAL_PROMPT", "0"),
                ("GIT_ALLOW_PROTOCOL", "https:http:ssh:git"),
                ("GIT_NO_REPLACE_OBJECTS", "1"),
                ("GIT_OPTIONAL_LOCKS", "0"),
            ])
            .env("HOME", &self.home)
            .envs(self.proxies.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.home)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(folder) = folder {
            command.env("GIT_DIR", folder);
        }
        if let Some(authorities) = &self.authorities {
            command.env("GIT_SSL_CAINFO", authorities);
        }
        let fixed = [
            ("core.hooksPath", "/dev/null"),
            ("core.fsmonitor", "false"),
            ("core.attributesFile", "/dev/null"),
            // What is kept of a repository is the same whenever it is made.
            ("core.logAllRefUpdates", "false"),
            ("credential.helper", ""),
            ("core.askPass", ""),
            ("gc.auto", "0"),
            ("maintenance.auto", "false"),
            ("fetch.recurseSubmodules", "false"),
            ("submodule.recurse", "false"),
            ("transfer.bundleURI", "false"),
            ("http.lowSpeedLimit", "1024"),
            ("http.lowSpeedTime", "60"),
            ("tar.umask", "0022"),
        ];
        let settings = fixed.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        Call { git: self, verb: verb.to_owned(), command, settings }
    }
}

impl Call<'_> {
    /// Adds arguments.
    pub(super) fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Sets a variable.
    pub(super) fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.command.env(name, value.into());
        self
    }

    /// Says what [`SOURCE`] is, and what it is shown.
    pub(super) fn source(mut self, remote: &Remote, authorization: Option<&str>) -> Self {
        self.settings.push((format!("remote.{SOURCE}.url"), remote.url.clone()));
        if let (Some(origin), Some(value)) = (remote.origin(), authorization) {
            self.settings.push((format!("http.{origin}.extraHeader"), format!("Authorization: {value}")));
        }
        if remote.protocol == Protocol::Ssh {
            let hosts = self.git.known_hosts.display();
            // A key that is new is taken and kept; one that changed is refused.
            let ssh = format!(
                "ssh -F /dev/null -o BatchMode=yes -o ConnectTimeout=30 -o ServerAliveInterval=15 \
                 -o StrictHostKeyChecking=accept-new -o 'UserKnownHostsFile=\"{hosts}\"'"
            );
            self.command.env("GIT_SSH_COMMAND", ssh);
            if let Some(agent) = &self.git.agent {
                self.command.env("SSH_AUTH_SOCK", agent);
            }
        }
        self
    }

    /// Returns what it says.
    pub(super) fn output(self) -> Result<Vec<u8>, GitError> {
        let verb = self.verb.clone();
        self.stream(|stdout| {
            let mut output = Vec::new();
            stdout.take(MAX_OUTPUT + 1).read_to_end(&mut output).map_err(GitError::Run)?;
            if output.len() as u64 > MAX_OUTPUT { Err(GitError::TooMuch { verb }) } else { Ok(output) }
        })
    }

    /// Hands on what it says as it comes; what the program thinks of it counts before what the reader thinks.
    pub(super) fn stream<T, E: From<GitError>>(
        mut self,
        read: impl FnOnce(ChildStdout) -> Result<T, E>,
    ) -> Result<T, E> {
        self.command.env("GIT_CONFIG_COUNT", self.settings.len().to_string());
        for (at, (key, value)) in self.settings.iter().enumerate() {
            self.command
                .env(format!("GIT_CONFIG_KEY_{at}"), key)
                .env(format!("GIT_CONFIG_VALUE_{at}"), value);
        }
        rbuild_sandbox::helper::ends_with_caller(&mut self.command);
        let mut child = self.command.spawn().map_err(GitError::Run)?;
        let stdout = child.stdout.take().expect("its standard output is a pipe");
        let stderr = child.stderr.take().expect("its standard error is a pipe");
        let group = &self.git.running;
        *group.lock().unwrap_or_else(PoisonError::into_inner) = Pid::from_raw(child.id().cast_signed());
        let target = Arc::clone(group);
        let _registration = self.git.cancel.on_cancel(move || kill(&target));
        let (read, complaint) = std::thread::scope(|scope| {
            let complaint = scope.spawn(move || tail(stderr));
            // Whoever reads to the end, or drops the pipe before, lets the program end.
            let read = read(stdout);
            (read, complaint.join().unwrap_or_default())
        });
        let status = wait(child, group).map_err(GitError::Run)?;
        if self.git.cancel.is_cancelled() {
            return Err(GitError::Cancelled.into());
        }
        // A reader that stopped early made the program fail.
        if !status.success() && (read.is_ok() || !complaint.is_empty()) {
            return Err(GitError::Failed { verb: self.verb, complaint }.into());
        }
        read
    }
}

fn kill(group: &Mutex<Option<Pid>>) {
    if let Some(group) = *group.lock().unwrap_or_else(PoisonError::into_inner) {
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
}

/// Waits for the program, and forgets its number before anybody else can have it.
fn wait(mut child: Child, group: &Mutex<Option<Pid>>) -> std::io::Result<std::process::ExitStatus> {
    if let Some(pid) = Pid::from_raw(child.id().cast_signed()) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(error) = rustix::process::waitid(WaitId::Pid(pid), options) {
            if error != rustix::io::Errno::INTR {
                return Err(error.into());
            }
        }
    }
    *group.lock().unwrap_or_else(PoisonError::into_inner) = None;
    child.wait()
}

/// Reads a complaint and keeps its end, on one line, without control characters.
fn tail(mut stderr: impl Read) -> String {
    let mut kept: Vec<u8> = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stderr.read(&mut buffer) {
        kept.extend_from_slice(&buffer[..count]);
        let over = kept.len().saturating_sub(MAX_COMPLAINT);
        kept.drain(..over);
    }
    let text = String::from_utf8_lossy(&kept);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<String> = lines.map(|line| line.chars().flat_map(escaped).collect()).collect();
    lines.join("; ")
}

fn escaped(ch: char) -> Vec<char> {
    if ch.is_control() { ch.escape_debug().collect() } else { vec![ch] }
}
