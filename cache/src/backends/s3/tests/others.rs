//! Against a server that others wrote: s3rver, where it is installed (`npm install --global s3rver`).

use std::io::{BufRead as _, BufReader, ErrorKind};
use std::process::{Child, Command, Stdio};

use super::*;

/// A running s3rver with one bucket; it ends with this value.
struct Server {
    child: Child,
    host: String,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start(test: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("s3rver");
        command.args([
            "--address",
            "127.0.0.1",
            "--port",
            "0",
            "--configure-bucket",
            "bucket",
            "--directory",
        ]);
        let spawned = command.arg(folder.path()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let child = match spawned {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                rbuild_testkit::privilege::skipped(test, "s3rver is not installed");
                return None;
            }
            Err(error) => panic!("cannot start s3rver: {error}"),
        };
        // From here on it ends with this value, also where what it says is not what is waited for.
        let mut server = Self { child, host: String::new(), _folder: folder };
        let mut log = BufReader::new(server.child.stdout.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on ") {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "s3rver ended before it listened");
        }
        // Its log is read to the end, so that it never waits for a reader.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        line.split_once("listening on ").unwrap().1.trim().clone_into(&mut server.host);
        Some(server)
    }

    fn cache(&self) -> S3 {
        let keys = Keys { id: "S3RVER".to_owned(), secret: "S3RVER".to_owned(), session: None };
        cache_at(self.host.clone(), keys, Network::new(Registries::default()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_server_of_others_takes_it_too() {
    let Some(server) = Server::start("a_server_of_others_takes_it_too") else { return };
    let cache = server.cache();
    conformance::suite(&cache);
    // In parts, and whole again.
    let (blob, bytes) = large();
    assert_eq!(cache.put(&blob, &&bytes[..]).unwrap(), Put::Sent);
    let again = server.cache();
    assert_eq!(again.put(&blob, &&bytes[..]).unwrap(), Put::Present);
    let mut came = Vec::new();
    again.get(&blob, &mut came).unwrap();
    assert!(came == bytes);
}
