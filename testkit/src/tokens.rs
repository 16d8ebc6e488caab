//! A service of tokens for a registry: it gives them to who knows the registry's user and password.
//!
//! Tokens are JSON web tokens, signed with the key of a [`Certificate`] by the `openssl` program.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::certificates::Certificate;
use crate::registry::{PASSWORD, USER};

/// A running service. Its thread waits for connections as long as the test process lives.
#[derive(Debug)]
pub struct Tokens {
    address: String,
    given: Arc<Mutex<Vec<String>>>,
}

impl Tokens {
    /// Starts one whose tokens a certificate vouches for.
    ///
    /// # Panics
    /// If no port of the loopback can be had.
    pub fn start(certificate: &Certificate) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the loopback");
        let address = listener.local_addr().expect("a listener has an address").to_string();
        let given = Arc::new(Mutex::new(Vec::new()));
        let (list, folder) = (Arc::clone(&given), certificate.folder().to_owned());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away is its own test's business.
                let _ = answer(stream, &folder, &list);
            }
        });
        Self { address, given }
    }

    /// What the registry is to tell its clients.
    pub fn realm(&self) -> String {
        format!("http://{}/token", self.address)
    }

    /// The scopes of the tokens that were given.
    pub fn given(&self) -> Vec<String> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn answer(mut stream: TcpStream, folder: &Path, given: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let line = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let expected = encoded(format!("{USER}:{PASSWORD}").as_bytes(), folder, Alphabet::Plain);
    let mut known = false;
    for header in lines {
        let header = header?;
        if header.is_empty() {
            break;
        }
        known |= header.split_once(": ").is_some_and(|(name, value)| {
            name.eq_ignore_ascii_case("authorization") && value == format!("Basic {expected}")
        });
    }
    let scope = line.split(['?', '&', ' ']).find_map(|part| part.strip_prefix("scope=")).unwrap_or_default();
    let scope = scope.replace("%3A", ":").replace("%2F", "/").replace("%2C", ",");
    let (status, body) = if known {
        given.lock().unwrap_or_else(PoisonError::into_inner).push(scope.clone());
        ("200 OK", json!({ "token": token(&scope, folder) }))
    } else {
        ("401 Unauthorized", json!({ "details": "who are you?" }))
    };
    let body = body.to_string();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn token(scope: &str, folder: &Path) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let der = openssl(&["x509", "-in", "server.pem", "-outform", "DER"], &[], folder);
    let header = json!({ "typ": "JWT", "alg": "ES256", "x5c": [encoded(&der, folder, Alphabet::Plain)] });
    let mut parts = scope.split(':');
    let access = match (parts.next(), parts.next(), parts.next()) {
        (Some(kind), Some(name), Some(actions)) => {
            json!([{ "type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>() }])
        }
        _ => json!([]),
    };
    let claims = json!({
        "iss": "test", "sub": USER, "aud": "registry", "jti": "1",
        "iat": now, "nbf": now - 10, "exp": now + 300, "access": access,
    });
    let part = |value: &serde_json::Value| encoded(value.to_string().as_bytes(), folder, Alphabet::Url);
    let signed = format!("{}.{}", part(&header), part(&claims));
    let signature = openssl(&["dgst", "-sha256", "-sign", "server.key"], signed.as_bytes(), folder);
    format!("{signed}.{}", encoded(&raw_signature(&signature), folder, Alphabet::Url))
}

/// The two numbers of a signature in DER, each of 32 bytes.
fn raw_signature(der: &[u8]) -> Vec<u8> {
    let mut raw = Vec::new();
    let mut rest = &der[2..];
    for _ in 0..2 {
        let length = usize::from(rest[1]);
        let number = &rest[2..2 + length];
        let number = &number[number.len().saturating_sub(32)..];
        raw.extend(std::iter::repeat_n(0, 32 - number.len()));
        raw.extend_from_slice(number);
        rest = &rest[2 + length..];
    }
    raw
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Alphabet {
    Plain,
    Url,
}

fn encoded(bytes: &[u8], folder: &Path, alphabet: Alphabet) -> String {
    let text = String::from_utf8(openssl(&["base64", "-A"], bytes, folder)).expect("base64 is text");
    match alphabet {
        Alphabet::Plain => text,
        Alphabet::Url => text.trim_end_matches('=').replace('+', "-").replace('/', "_"),
    }
}

fn openssl(arguments: &[&str], input: &[u8], folder: &Path) -> Vec<u8> {
    let folder: PathBuf = folder.to_owned();
    let mut child = Command::new("openssl")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl can be run");
    let mut stdin = child.stdin.take().expect("its standard input is a pipe");
    stdin.write_all(input).expect("openssl reads its input");
    drop(stdin);
    let output = child.wait_with_output().expect("openssl can be waited for");
    assert!(output.status.success(), "openssl {arguments:?} failed");
    output.stdout
}
