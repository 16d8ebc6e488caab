//! An agent for the keys of `--ssh ID=KEY`: OpenSSH's own, for as long as the build runs.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;

use crate::report::Mistake;

/// Runs in the agent: adds the keys, says where the agent listens, and ends it when whoever started it is gone, however that
/// comes about.
const SCRIPT: &str = "ssh-add -q -- \"$@\" </dev/null || { kill \"$SSH_AGENT_PID\"; exit 1; }\n\
                      echo \"$SSH_AUTH_SOCK\"; cat >/dev/null; kill \"$SSH_AGENT_PID\"";

/// Which keys can be used.
const USABLE: &str = "a key has to be its owner's alone (mode 0600) and without a passphrase; \
                      one that has one you can add to your own agent, and write `--ssh ID`";

/// An agent that ends with this value.
pub(super) struct Keys {
    socket: PathBuf,
    agent: Child,
}

impl Keys {
    /// Starts an agent that holds the keys in these files.
    pub(super) fn load(files: &[PathBuf]) -> anyhow::Result<Self> {
        for file in files {
            if !file.exists() {
                return Err(Mistake::new(format!("there is no key `{}`", file.display())).into());
            }
        }
        let agent = Command::new("ssh-agent")
            .args(["sh", "-c", SCRIPT, "sh"])
            .args(files)
            // Nobody is asked for a passphrase, whatever the terminal.
            .envs([("SSH_ASKPASS", "false"), ("SSH_ASKPASS_REQUIRE", "force")])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("keys need `ssh-agent` and `ssh-add` (Debian's package openssh-client)")?;
        // From here on it ends with this value.
        let mut keys = Self { socket: PathBuf::new(), agent };
        let mut line = String::new();
        if let Some(out) = keys.agent.stdout.take() {
            BufReader::new(out).read_line(&mut line)?;
        }
        keys.socket = PathBuf::from(line.trim_end());
        if line.is_empty() {
            let mut said = String::new();
            if let Some(mut err) = keys.agent.stderr.take() {
                err.read_to_string(&mut said)?;
            }
            let shown: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
            return Err(Mistake::new(format!("ssh-add does not take {}: {}", shown.join(", "), said.trim()))
                .hint(USABLE)
                .into());
        }
        Ok(keys)
    }

    /// Returns where the agent listens.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // The end of its input is what it waits for.
        drop(self.agent.stdin.take());
        let _ = self.agent.wait();
    }
}
