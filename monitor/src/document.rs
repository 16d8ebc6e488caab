//! Small files that are replaced whole and carry a checksum.
//!
//! ```text
//! rbuild <kind> <version> <blake3 of the rest, 64 hex digits>\n
//! <JSON>
//! ```
//!
//! A reader sees the old text or the new one. What is damaged (a torn write after a power loss, a bad disk) is told
//! apart from what is missing.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use rbuild_network::volatile;
use rustix::fs::{CWD, Mode, OFlags};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// No document of ours is longer.
const LARGEST: u64 = 8 << 20;
/// The version that is written; the two before it would be read too, if there were any.
const VERSION: u32 = 1;

/// A document that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// A file operation failed.
    #[error("cannot {act} `{}`", path.display())]
    File {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It is not what we write.
    #[error("the file `{}` is damaged: {why}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// How it is known.
        why: &'static str,
    },
    /// Another program wrote it.
    #[error("the file `{}` has version {found}, this program reads version {VERSION}", path.display())]
    Version {
        /// Which file.
        path: PathBuf,
        /// What it says.
        found: u32,
    },
}

/// Whether what is written has to survive a power loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Promise {
    /// It is on the disk when the write returns.
    Synced,
    /// It survives the end of this process. After a power loss there is the old text or the new one.
    Written,
    /// It survives the end of this process, and is of no use after that of the machine.
    Volatile,
}

/// Replaces a document; the caller is the only writer.
pub(crate) fn write<T: Serialize>(
    path: &Path,
    kind: &str,
    value: &T,
    promise: Promise,
) -> Result<(), DocumentError> {
    let failed = |act| move |source: io::Error| DocumentError::File { act, path: path.to_owned(), source };
    let body = serde_json::to_vec(value).map_err(|error| failed("encode")(error.into()))?;
    let head = format!("rbuild {kind} {VERSION} {}\n", blake3::hash(&body).to_hex());
    let temporary = path.with_extension("new");
    let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = rustix::fs::openat(CWD, &temporary, flags, Mode::RUSR | Mode::WUSR)
        .map_err(|errno| failed("write")(errno.into()))?;
    let mut file = File::from(file);
    file.write_all(head.as_bytes()).and_then(|()| file.write_all(&body)).map_err(failed("write"))?;
    if promise == Promise::Synced {
        file.sync_data().map_err(failed("sync"))?;
    }
    let replaced = match promise {
        Promise::Volatile => volatile::put(&temporary, path),
        Promise::Synced | Promise::Written => std::fs::rename(&temporary, path),
    };
    replaced.map_err(failed("replace"))?;
    if promise == Promise::Synced {
        let folder = path.parent().unwrap_or(Path::new("/"));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync the folder of"))?;
    }
    Ok(())
}

/// Reads a document; `None` if there is none.
pub(crate) fn read<T: DeserializeOwned>(path: &Path, kind: &str) -> Result<Option<T>, DocumentError> {
    let failed = |source| DocumentError::File { act: "read", path: path.to_owned(), source };
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(failed)?,
    };
    // Most of them are smaller: one call reads it, one finds its end.
    let mut bytes = Vec::with_capacity(4096);
    file.take(LARGEST).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.is_empty() {
        // What a power loss leaves of one that was not synced.
        return Ok(None);
    }
    decode(&bytes, kind).map(Some).map_err(|wrong| match wrong {
        Wrong::Form(why) => DocumentError::Damaged { path: path.to_owned(), why },
        Wrong::Version(found) => DocumentError::Version { path: path.to_owned(), found },
    })
}

#[derive(Debug, PartialEq, Eq)]
enum Wrong {
    Form(&'static str),
    Version(u32),
}

fn decode<T: DeserializeOwned>(bytes: &[u8], kind: &str) -> Result<T, Wrong> {
    let end = bytes.iter().take(256).position(|byte| *byte == b'\n').ok_or(Wrong::Form("no first line"))?;
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| Wrong::Form("no text"))?;
    let body = &bytes[end + 1..];
    let words: Vec<&str> = head.split(' ').collect();
    let ["rbuild", found, version, hash] = words[..] else { return Err(Wrong::Form("another first line")) };
    if found != kind {
        return Err(Wrong::Form("another kind of file"));
    }
    let version: u32 = version.parse().map_err(|_| Wrong::Form("no version"))?;
    if version != VERSION {
        return Err(Wrong::Version(version));
    }
    if blake3::hash(body).to_hex().as_str() != hash {
        return Err(Wrong::Form("its checksum is another"));
    }
    serde_json::from_slice(body).map_err(|_| Wrong::Form("it lacks what it has to hold"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        assert_eq!(read::<Vec<u32>>(&path, "state").unwrap(), None);
        for promise in [Promise::Written, Promise::Synced, Promise::Volatile] {
            write(&path, "state", &vec![1, 2], promise).unwrap();
            assert_eq!(read::<Vec<u32>>(&path, "state").unwrap(), Some(vec![1, 2]));
        }
        assert!(matches!(read::<Vec<u32>>(&path, "plan"), Err(DocumentError::Damaged { .. })));
        assert!(matches!(read::<String>(&path, "state"), Err(DocumentError::Damaged { .. })));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn every_damage_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        write(&path, "state", &"text", Promise::Written).unwrap();
        let good = std::fs::read(&path).unwrap();
        assert_eq!(decode::<String>(&good, "state").unwrap(), "text");
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 1;
            assert!(decode::<String>(&bad, "state").is_err(), "at {place}");
            assert!(decode::<String>(&good[..place], "state").is_err(), "cut at {place}");
        }
        let newer = String::from_utf8(good).unwrap().replacen(" 1 ", " 9 ", 1);
        assert_eq!(decode::<String>(newer.as_bytes(), "state"), Err(Wrong::Version(9)));
    }
}
