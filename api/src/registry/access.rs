//! Who is let in: a file of users as `htpasswd -B` writes it.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use sha2::{Digest as _, Sha256};

/// How many passwords are remembered to be right.
const REMEMBERED: usize = 1024;

/// The file of users is none.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// It could not be read.
    #[error("failed to read the users in `{path}`")]
    Read {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A line is none.
    #[error("`{path}`, line {line}: not USER:HASH with a bcrypt hash, as `htpasswd -B` writes it")]
    Line {
        /// The file.
        path: String,
        /// The line's number.
        line: usize,
    },
}

/// The users and the hashes of their passwords.
pub struct Access {
    users: HashMap<String, String>,
    /// Digests of pairs that were right: a hash takes long by design, and clients ask often.
    right: Mutex<HashSet<[u8; 32]>>,
}

impl Access {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, AccessError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|source| AccessError::Read { path: shown.clone(), source })?;
        Self::parse(&text).map_err(|line| AccessError::Line { path: shown, line })
    }

    /// Reads the text of a file; an error is the number of a line.
    fn parse(text: &str) -> Result<Self, usize> {
        let mut users = HashMap::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (user, hash) = line.split_once(':').ok_or(number)?;
            let known = ["$2y$", "$2a$", "$2b$"].iter().any(|kind| hash.starts_with(kind));
            if user.is_empty() || !known {
                return Err(number);
            }
            users.insert(user.to_owned(), hash.to_owned());
        }
        Ok(Self { users, right: Mutex::default() })
    }

    /// Tells whether the value of an `Authorization` header lets one in. Takes long for a password that is new.
    pub(super) fn admits(&self, header: &str) -> bool {
        let Some(encoded) = header.strip_prefix("Basic ").or_else(|| header.strip_prefix("basic ")) else {
            return false;
        };
        let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim());
        let Some(pair) = decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok()) else { return false };
        let Some((user, password)) = pair.split_once(':') else { return false };
        let digest: [u8; 32] = Sha256::digest(pair.as_bytes()).into();
        if self.right.lock().unwrap_or_else(PoisonError::into_inner).contains(&digest) {
            return true;
        }
        let Some(hash) = self.users.get(user) else { return false };
        if !bcrypt::verify(password, hash).unwrap_or(false) {
            return false;
        }
        let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        if right.len() >= REMEMBERED {
            right.clear();
        }
        right.insert(digest);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(pair: &str) -> String {
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
    }

    #[test]
    fn passwords_are_compared_with_hashes() {
        let hash = bcrypt::hash("hunter2", 4).unwrap();
        let access = Access::parse(&format!("# users\n\nme:{hash}\n")).unwrap();
        for _ in 0..2 {
            assert!(access.admits(&header("me:hunter2")));
        }
        for wrong in ["me:hunter3", "you:hunter2", "me", ":", "me:"] {
            assert!(!access.admits(&header(wrong)), "{wrong}");
        }
        assert!(!access.admits("Bearer x") && !access.admits("Basic ???"));
    }

    #[test]
    fn what_is_no_bcrypt_hash_is_refused() {
        for (text, line) in [("me", 1), ("a:$2y$05$x\nme:{SHA}x", 2), (":$2y$05$x", 1), ("me:$apr1$x", 1)] {
            assert_eq!(Access::parse(text).err(), Some(line), "{text}");
        }
    }
}
