//! Credentials of the caller: Docker's `config.json` and the helper programs that it names.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rbuild_image::distribution::{Credential, CredentialError, Credentials, DockerConfig, Found};

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
}

/// Asks a helper program; one that knows nothing of the server is no failure.
fn ask(program: &str, server: &str) -> Result<Option<Credential>, CredentialError> {
    let failed =
        |error: std::io::Error| CredentialError::Other(format!("failed to run `{program}`: {error}"));
    let mut child = Command::new(program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(server.as_bytes()).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return DockerConfig::parse_helper(&output.stdout).map(Some);
    }
    if String::from_utf8_lossy(&output.stdout).contains("credentials not found") {
        return Ok(None);
    }
    Err(CredentialError::Other(format!("`{program} get` failed: {}", output.status)))
}
