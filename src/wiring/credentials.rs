//! Credentials of the caller: Docker's `config.json` and the helper programs that it names.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use rbuild_image::distribution::{Credential, CredentialError, Credentials, DockerConfig, Found};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Reads the file when a registry first asks for credentials.
pub(super) struct Caller {
    folder: Option<PathBuf>,
    config: OnceLock<DockerConfig>,
}

impl Caller {
    pub(super) const fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, config: OnceLock::new() }
    }

    fn config(&self) -> Result<&DockerConfig, CredentialError> {
        if let Some(config) = self.config.get() {
            return Ok(config);
        }
        let Some(folder) = &self.folder else { return Ok(self.config.get_or_init(DockerConfig::default)) };
        let path = folder.join("config.json");
        let config = match std::fs::read(&path) {
            Ok(text) => DockerConfig::parse(&text)
                .map_err(|error| CredentialError::Other(format!("`{}`: {error}", path.display())))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => DockerConfig::default(),
            Err(error) => {
                return Err(CredentialError::Other(format!("failed to read `{}`: {error}", path.display())));
            }
        };
        Ok(self.config.get_or_init(|| config))
    }
}

impl Credentials for Caller {
    fn for_registry(&self, registry: &str) -> Result<Option<Credential>, CredentialError> {
        match self.config()?.find(registry) {
            Found::Nothing => Ok(None),
            Found::Credential(credential) => Ok(Some(credential)),
            Found::Helper(name, server) => ask(&name.program(), &server),
        }
    }

    fn headers(&self) -> Vec<(String, String)> {
        // A file that cannot be read is an error where a credential is asked for.
        let Ok(config) = self.config() else { return Vec::new() };
        config.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

/// The longest time that a helper program may take.
const LONGEST: Duration = Duration::from_secs(30);
/// The most bytes that it may print.
const MOST: u64 = 1 << 20;

/// Asks a helper program; one that knows nothing of the server is no failure.
fn ask(program: &str, server: &str) -> Result<Option<Credential>, CredentialError> {
    match talk(program, "get", server.as_bytes())? {
        (true, output) => DockerConfig::parse_helper(&output).map(Some),
        (false, output) if String::from_utf8_lossy(&output).contains("credentials not found") => Ok(None),
        (false, _) => Err(CredentialError::Other(format!("`{program} get` failed"))),
    }
}

/// Has a helper program do something.
pub(super) fn run(program: &str, verb: &str, input: &[u8]) -> Result<(), CredentialError> {
    match talk(program, verb, input)? {
        (true, _) => Ok(()),
        // What it says may quote what it was told.
        (false, _) => Err(CredentialError::Other(format!("`{program} {verb}` failed"))),
    }
}

/// Runs a helper program, and returns whether it succeeded and what it printed.
fn talk(program: &str, verb: &str, input: &[u8]) -> Result<(bool, Vec<u8>), CredentialError> {
    talk_for(LONGEST, program, verb, input)
}

fn talk_for(
    longest: Duration,
    program: &str,
    verb: &str,
    input: &[u8],
) -> Result<(bool, Vec<u8>), CredentialError> {
    let until = Instant::now() + longest;
    let failed =
        |error: std::io::Error| CredentialError::Other(format!("failed to run `{program}`: {error}"));
    let mut child = Command::new(program)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(input) {
            // One that reads nothing may still know.
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(failed(error)),
            _ => {}
        }
    }
    let (sender, answer) = mpsc::channel();
    let stdout = child.stdout.take();
    std::thread::spawn(move || {
        let mut output = Vec::new();
        let read = stdout.map_or(Ok(0), |stdout| stdout.take(MOST).read_to_end(&mut output));
        // Nobody listens any more if it took too long.
        let _ = sender.send(read.map(|_| output));
    });
    let why = match answer.recv_timeout(longest) {
        Ok(Ok(output)) if (output.len() as u64) < MOST => {
            if has_ended(&child, until).map_err(failed)? {
                let status = child.wait().map_err(failed)?;
                return Ok((status.success(), output));
            }
            "answers and does not end"
        }
        Ok(Ok(_)) => "prints without end",
        Ok(Err(error)) => return Err(failed(error)),
        Err(_) => "does not answer",
    };
    let _ = child.kill();
    let _ = child.wait();
    let seconds = longest.as_secs();
    Err(CredentialError::Other(format!("`{program} {verb}` {why}: it was given {seconds} seconds")))
}

/// Waits until a program ends; tells whether it did in time.
fn has_ended(child: &Child, until: Instant) -> std::io::Result<bool> {
    let process = rustix::process::Pid::from_child(child);
    let process = rustix::process::pidfd_open(process, rustix::process::PidfdFlags::empty())?;
    let mut ready = [PollFd::new(&process, PollFlags::IN)];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(std::io::Error::other)?;
        match poll(&mut ready, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            result => return Ok(result? > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// What comes of a helper that is a script.
    fn talked(longest: Duration, script: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("docker-credential-test");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        match talk_for(longest, path.to_str().unwrap(), "get", b"registry.test") {
            Ok((success, output)) => format!("{success} {}", String::from_utf8(output).unwrap()),
            Err(error) => error.to_string().replace(path.to_str().unwrap(), "helper"),
        }
    }

    #[test]
    fn a_helper_that_hangs_is_not_waited_for() {
        assert_eq!(talked(LONGEST, "cat; exit 1"), "false registry.test");
        let none = Duration::ZERO;
        assert_eq!(talked(none, "exec sleep 1000"), "`helper get` does not answer: it was given 0 seconds");
        let endless = "exec cat /dev/zero";
        assert_eq!(talked(LONGEST, endless), "`helper get` prints without end: it was given 30 seconds");
    }

    #[test]
    fn one_that_answered_and_goes_on_is_not_waited_for() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        assert!(!has_ended(&child, Instant::now()).unwrap());
        child.kill().unwrap();
        assert!(has_ended(&child, Instant::now() + LONGEST).unwrap());
        child.wait().unwrap();
    }
}
