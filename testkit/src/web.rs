//! A web server on this machine's loopback that answers as a test tells it to.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// A request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET` and so on.
    pub method: String,
    /// The path.
    pub path: String,
    /// What stands behind the `?`.
    pub query: String,
    /// The headers, by their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Reply {
    /// Answers with a body.
    pub fn of(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, headers: Vec::new(), body: body.into() }
    }

    /// Answers with a status and a body.
    pub fn with_status(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    /// Answers with a status alone.
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

impl Request {
    /// Answers with a file as it was last modified, unless the client has that one: by its `ETag`.
    pub fn file(&self, body: &[u8], etag: &str, modified: &str) -> Reply {
        if self.headers.get("if-none-match").is_some_and(|known| known == etag) {
            return Reply::status(304);
        }
        Reply::of(body).header("ETag", etag).header("Last-Modified", modified)
    }

    /// Answers as `git http-backend` does for the bare repositories in a folder.
    ///
    /// # Panics
    /// If git cannot be run.
    pub fn git(&self, folder: &Path) -> Reply {
        let header = |name: &str| self.headers.get(name).cloned().unwrap_or_default();
        let mut child = Command::new("git")
            .arg("http-backend")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_PROJECT_ROOT", folder)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("PATH_INFO", &self.path)
            .env("QUERY_STRING", &self.query)
            .env("REQUEST_METHOD", &self.method)
            .env("CONTENT_TYPE", header("content-type"))
            .env("CONTENT_LENGTH", self.body.len().to_string())
            .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
            .env("HTTP_GIT_PROTOCOL", header("git-protocol"))
            .env("REMOTE_ADDR", "127.0.0.1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("git can be run");
        let mut stdin = child.stdin.take().expect("its standard input is a pipe");
        let body = self.body.clone();
        let writer = std::thread::spawn(move || drop(stdin.write_all(&body)));
        let output = child.wait_with_output().expect("git can be waited for");
        writer.join().expect("writing to a pipe does not panic");
        let split = output.stdout.windows(4).position(|window| window == b"\r\n\r\n");
        let Some(split) = split else { return Reply::status(500) };
        let mut reply = Reply::of(&output.stdout[split + 4..]);
        for line in String::from_utf8_lossy(&output.stdout[..split]).lines() {
            match line.split_once(": ") {
                Some(("Status", status)) => {
                    reply.status = status.split(' ').next().and_then(|code| code.parse().ok()).unwrap_or(500);
                }
                Some((name, value)) => reply = reply.header(name, value),
                None => {}
            }
        }
        reply
    }
}

type Answer = dyn Fn(&Request) -> Reply + Send + Sync;

/// A running server; it ends with this value.
#[derive(Debug)]
pub struct Web {
    port: u16,
    seen: Arc<Mutex<Vec<Request>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Web {
    /// Starts one. Each connection is answered once.
    ///
    /// # Panics
    /// If no port of the loopback can be listened on.
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the loopback");
        let port = listener.local_addr().expect("a listener has an address").port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let ended = Arc::new(AtomicBool::new(false));
        let answer: Arc<Answer> = Arc::new(answer);
        let (shared, over) = (Arc::clone(&seen), Arc::clone(&ended));
        let thread = std::thread::spawn(move || {
            for connection in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(connection) = connection else { continue };
                let (seen, answer) = (Arc::clone(&shared), Arc::clone(&answer));
                std::thread::spawn(move || serve(connection, &seen, &*answer));
            }
        });
        Self { port, seen, ended, thread: Some(thread) }
    }

    /// The URL of a path, which begins with `/`.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Where it listens: `127.0.0.1:` and a port.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// All requests so far, in the order in which they came.
    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the thread, which then sees that it is over.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(mut stream: TcpStream, seen: &Mutex<Vec<Request>>, answer: &Answer) -> Option<()> {
    let request = read(&mut stream)?;
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(request.clone());
    let reply = answer(&request);
    let mut head = format!("HTTP/1.1 {} -\r\nConnection: close\r\n", reply.status);
    if !reply.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
        head.push_str(&format!("Content-Length: {}\r\n", reply.body.len()));
    }
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    if request.method != "HEAD" {
        stream.write_all(&reply.body).ok()?;
    }
    stream.shutdown(std::net::Shutdown::Write).ok()
}

fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 8192];
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
    };
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let mut lines = text.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut body = bytes[head..].to_vec();
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while body.len() < length {
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        body.extend_from_slice(&buffer[..count]);
    }
    Some(Request { method, path: path.to_owned(), query: query.to_owned(), headers, body })
}

/// A git repository that a test writes to, and the bare one that is served.
#[derive(Debug)]
pub struct Repository {
    work: PathBuf,
    bare: PathBuf,
}

impl Repository {
    /// Makes an empty one below a folder: `NAME.git`, with its files in `NAME`. Nothing if git is not installed, which is
    /// said loudly.
    ///
    /// # Panics
    /// If git is installed and does not do it.
    pub fn new(test: &str, folder: &Path, name: &str) -> Option<Self> {
        Self::of_format(test, folder, name, "sha1")
    }

    /// As [`Repository::new`], with names of objects of another kind: `sha256`.
    ///
    /// # Panics
    /// If git is installed and does not do it.
    pub fn of_format(test: &str, folder: &Path, name: &str, format: &str) -> Option<Self> {
        if Command::new("git").arg("--version").stdout(Stdio::null()).status().is_err() {
            crate::privilege::missing(test, "git is not installed");
            return None;
        }
        let repository = Self { work: folder.join(name), bare: folder.join(format!("{name}.git")) };
        std::fs::create_dir_all(&repository.work).expect("a folder in a temporary folder");
        let bare = repository.bare.to_string_lossy().into_owned();
        let (bare, format) = (format!("--separate-git-dir={bare}"), format!("--object-format={format}"));
        repository.git(&["init", "--quiet", "--initial-branch=main", &bare, &format]);
        Some(repository)
    }

    /// The files of the working tree.
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// Writes files and commits everything; returns the commit.
    ///
    /// # Panics
    /// If git does not do it.
    pub fn commit(&self, files: &[(&str, &str)]) -> String {
        for (path, text) in files {
            let path = self.work.join(path);
            std::fs::create_dir_all(path.parent().expect("a file has a folder"))
                .and_then(|()| std::fs::write(&path, text))
                .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message=a commit"]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Runs git in the working tree and returns what it says.
    ///
    /// # Panics
    /// If it fails.
    #[track_caller]
    pub fn git(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("git");
        for (name, value) in [("NAME", "a"), ("EMAIL", "a@b"), ("DATE", "1700000000 +0000")] {
            command.env(format!("GIT_AUTHOR_{name}"), value).env(format!("GIT_COMMITTER_{name}"), value);
        }
        let output = command
            .args(arguments)
            .current_dir(&self.work)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_ALLOW_PROTOCOL", "file")
            .output()
            .expect("git can be run");
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_answers_and_remembers() {
        let web = Web::start(|request| match request.path.as_str() {
            "/f" => request.file(b"file", "\"1\"", "Wed, 21 Oct 2015 07:28:00 GMT"),
            _ => Reply::status(404),
        });
        let ask = |text: &str| {
            let mut stream = TcpStream::connect(web.host()).unwrap();
            stream.write_all(text.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        };
        let answer = ask("GET /f?x HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nfile"), "{answer}");
        assert!(ask("GET /f HTTP/1.1\r\nIf-None-Match: \"1\"\r\n\r\n").starts_with("HTTP/1.1 304"));
        assert!(ask("GET /g HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
        let seen = web.seen();
        assert_eq!((seen.len(), seen[0].path.as_str(), seen[0].query.as_str()), (3, "/f", "x"));
    }
}
