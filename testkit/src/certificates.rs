//! Certificates for servers on this machine's loopback, made with the `openssl` program.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A server's certificate, and the authority that vouches for it and for nothing else.
#[derive(Debug)]
pub struct Certificate {
    folder: TempDir,
}

impl Certificate {
    /// Makes one for `127.0.0.1`; nothing if there is no `openssl`, which is said loudly.
    ///
    /// # Panics
    /// If there is, and it fails.
    pub fn make(test: &str) -> Option<Self> {
        if Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_err() {
            crate::privilege::missing(test, "openssl is not installed");
            return None;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let made = Self { folder };
        made.request(&["-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.pem"]);
        made.request(&[
            "-subj",
            "/CN=test server",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-keyout",
            "server.key",
            "-out",
            "server.pem",
        ]);
        Some(made)
    }

    fn request(&self, arguments: &[&str]) {
        let common = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let all = [&common[..], &["-days", "30"], arguments].concat();
        let output = Command::new("openssl").args(all).current_dir(self.folder.path()).output();
        let output = output.expect("openssl can be run");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The folder of the files.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The authority's own certificate.
    pub fn authority(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// The server's certificate.
    pub fn certificate(&self) -> PathBuf {
        self.path("server.pem")
    }

    /// The server's key.
    pub fn key(&self) -> PathBuf {
        self.path("server.key")
    }
}
