//! A registry on this machine's loopback: Debian's `docker-registry`, on a port that the kernel chooses.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A running registry; it ends with this value.
#[derive(Debug)]
pub struct Registry {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Registry {
    /// Starts one; nothing if the program is not installed, which is said loudly.
    ///
    /// # Panics
    /// If it is installed and does not start.
    pub fn start(test: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let config = folder.path().join("config.yml");
        let storage = folder.path().join("storage");
        fs::write(
            &config,
            format!(
                "version: 0.1\nlog: {{level: info, formatter: text}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  delete: {{enabled: true}}\nhttp: {{addr: \"127.0.0.1:0\"}}\n",
                storage.display()
            ),
        )
        .expect("a file in a temporary folder");
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
                crate::privilege::skipped(test, "docker-registry is not installed");
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
