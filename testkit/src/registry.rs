//! A registry on this machine's loopback: Debian's `docker-registry`, on a port that the kernel chooses.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::certificates::Certificate;

/// The name and the password that a registry of [`Access::Password`] knows.
pub const USER: &str = "anna";
/// See [`USER`].
pub const PASSWORD: &str = "secret";
/// The file of such a registry: the password as bcrypt has it, of little effort.
const PASSWORDS: &str = "anna:$2b$04$9DZULBhSI79LbRFqdV1hFe3BkMOV8ajEipog.AimR/PVIIwG.HA9u\n";

/// Whom a registry lets in.
#[derive(Clone, Copy, Debug)]
pub enum Access<'a> {
    /// Everybody.
    Open,
    /// Whoever knows [`USER`] and [`PASSWORD`], in each request.
    Password,
    /// Whoever shows a certificate that its own authority vouches for; it speaks TLS then.
    Certificate,
    /// Whoever brings a token of a service.
    Token {
        /// Where the service is.
        realm: &'a str,
        /// Whose tokens count.
        certificate: &'a Certificate,
    },
}

/// A running registry; it ends with this value.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Registry {
    /// Starts one that is open and speaks plain HTTP; nothing if the program is not installed, which is said loudly.
    ///
    /// # Panics
    /// If it is installed and does not start.
    pub fn start(test: &str) -> Option<Self> {
        Self::start_with(test, Access::Open, None)
    }

    /// Starts one that lets in whom it is told to, and speaks TLS if it has a certificate.
    ///
    /// # Panics
    /// If it is installed and does not start.
    pub fn start_with(test: &str, access: Access<'_>, tls: Option<&Certificate>) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let tls = tls.map_or_else(String::new, |tls| {
            let shown = match access {
                Access::Certificate => format!(", clientcas: [{}]", tls.authority().display()),
                _ => String::new(),
            };
            let (certificate, key) = (tls.certificate(), tls.key());
            format!(", tls: {{certificate: {}, key: {}{shown}}}", certificate.display(), key.display())
        });
        let access = match access {
            Access::Open | Access::Certificate => String::new(),
            Access::Password => {
                fs::write(folder.path().join("passwords"), PASSWORDS).expect("a file in a temporary folder");
                format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", path("passwords"))
            }
            Access::Token { realm, certificate } => format!(
                "auth: {{token: {{realm: \"{realm}\", service: registry, issuer: test, rootcertbundle: {}}}}}\n",
                certificate.certificate().display()
            ),
        };
        let text = format!(
            "version: 0.1\nlog: {{level: info, formatter: text}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\nhttp: {{addr: \"127.0.0.1:0\"{tls}}}\n{access}",
            path("storage")
        );
        let config = folder.path().join("config.yml");
        fs::write(&config, text).expect("a file in a temporary folder");
        let spawned = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .env_clear()
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                crate::privilege::missing(test, "docker-registry is not installed");
                return None;
            }
            Err(error) => panic!("cannot start docker-registry: {error}"),
        };
        let mut log = BufReader::new(child.stderr.take().expect("its standard error is a pipe"));
        let mut seen = String::new();
        let port = loop {
            let mut line = String::new();
            if log.read_line(&mut line).unwrap_or(0) == 0 {
                let _ = child.kill();
                let _ = child.wait();
                panic!("docker-registry ended before it listened:\n{seen}");
            }
            if let Some(port) = listening_port(&line) {
                break port;
            }
            seen.push_str(&line);
        };
        // Its log is read to the end, so that it never waits for a reader.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Some(Self { child, port, _folder: folder })
    }

    /// Where it listens: `127.0.0.1:` and a port.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself; the test says what that means.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listening_port(line: &str) -> Option<u16> {
    let rest = line.split("listening on 127.0.0.1:").nth(1)?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn a_registry_answers() {
        let Some(registry) = Registry::start("a_registry_answers") else { return };
        let mut stream = TcpStream::connect(registry.host()).unwrap();
        stream.write_all(b"GET /v2/ HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    }
}
