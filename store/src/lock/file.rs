//! The act of locking one file.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, after, bounded, never, select};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, Stat};
use rustix::io::Errno;

use super::{Holder, LockError, LockMode, LockName, NOTICE_AFTER, Wait};
use crate::error::{Context, FileError};

/// No signature is longer.
const MAX_SIGNATURE: usize = 512;

/// A granted lock on the file that stands under its name.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) fd: OwnedFd,
    pub(crate) left_behind: Option<Holder>,
}

fn open(path: &Path) -> Result<OwnedFd, FileError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    loop {
        match rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR) {
            Err(Errno::INTR) => {}
            opened => return opened.at("open the lock file", path),
        }
    }
}

/// Tells whether the description is still the file under the name.
fn is_current(fd: &OwnedFd, path: &Path) -> Result<Option<Stat>, FileError> {
    let ours = rustix::fs::fstat(fd).at("stat the lock file", path)?;
    match rustix::fs::stat(path) {
        Ok(named) => Ok((named.st_ino == ours.st_ino && named.st_dev == ours.st_dev).then_some(ours)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(FileError::new("stat the lock file", path, error)),
    }
}

/// Turns a locked description into a grant, unless the file was removed meanwhile.
fn grant(fd: OwnedFd, path: &Path) -> Result<Option<Grant>, FileError> {
    Ok(is_current(&fd, path)?.map(|stat| {
        let left_behind = if stat.st_size > 0 { read_signature(&fd) } else { None };
        Grant { fd, left_behind }
    }))
}

/// Locks the file if that needs no waiting.
pub(crate) fn try_file(path: &Path, mode: LockMode) -> Result<Option<Grant>, FileError> {
    loop {
        let fd = open(path)?;
        match rustix::fs::flock(&fd, mode.immediate()) {
            Ok(()) => {
                if let Some(grant) = grant(fd, path)? {
                    return Ok(Some(grant));
                }
            }
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(error) => return Err(FileError::new("lock", path, error)),
        }
    }
}

/// Locks the file, waiting as told.
pub(crate) fn acquire_file(
    path: &Path,
    name: &LockName,
    mode: LockMode,
    wait: &Wait<'_>,
    notice: &dyn Fn(Option<&Holder>),
) -> Result<Grant, LockError> {
    if let Some(grant) = try_file(path, mode)? {
        return Ok(grant);
    }
    let begun = Instant::now();
    let deadline = wait.timeout.map_or_else(never, after);
    let mut notice_due = if wait.notice.is_some() { after(NOTICE_AFTER) } else { never() };
    loop {
        // One thread for each file that stands under the name; a new file under the name means a new thread.
        let granted = wait_in_thread(path, name, mode)?;
        let fd = loop {
            select! {
                recv(granted) -> answer => match answer {
                    Ok(locked) => break locked.at("lock", path)?,
                    Err(_) => {
                        let error = std::io::Error::other("the waiting thread ended without an answer");
                        return Err(FileError::new("lock", path, error).into());
                    }
                },
                recv(wait.cancel.channel()) -> _ => {
                    return Err(LockError::Cancelled { name: name.to_string() });
                }
                recv(deadline) -> _ => {
                    let holder = holder_of(path);
                    return Err(LockError::TimedOut { name: name.to_string(), waited: begun.elapsed(), holder });
                }
                recv(notice_due) -> _ => {
                    notice_due = never();
                    notice(holder_of(path).as_ref());
                }
            }
        };
        if let Some(grant) = grant(fd, path)? {
            return Ok(grant);
        }
        // The holder removed the file before it let go. Whoever was quicker may hold the new one.
        if let Some(grant) = try_file(path, mode)? {
            return Ok(grant);
        }
    }
}

type Granted = Receiver<Result<OwnedFd, Errno>>;

fn wait_in_thread(path: &Path, name: &LockName, mode: LockMode) -> Result<Granted, LockError> {
    let fd = open(path)?;
    let (answer, granted) = bounded(0);
    let answer = Arc::new(answer);
    thread::Builder::new()
        .name("lock wait".to_owned())
        .stack_size(64 * 1024)
        .spawn(move || {
            let locked = loop {
                match rustix::fs::flock(&fd, mode.blocking()) {
                    Err(Errno::INTR) => {}
                    locked => break locked,
                }
            };
            // A receiver that is gone drops the descriptor here, and with it the lock.
            let _ = answer.send(locked.map(|()| fd));
        })
        .map_err(|source| LockError::Thread { name: name.to_string(), source })?;
    Ok(granted)
}

/// Writes who holds the lock; failure to do so only costs information.
pub(super) fn sign(fd: &OwnedFd, purpose: &str) {
    let mut text = Vec::with_capacity(64);
    let _ = writeln!(text, "{}\t{purpose}", std::process::id());
    text.truncate(MAX_SIGNATURE);
    if rustix::io::pwrite(fd, &text, 0).is_ok() {
        let _ = rustix::fs::ftruncate(fd, text.len() as u64);
    }
}

/// Takes the signature away and removes the file, both while the lock is still held.
pub(super) fn unsign_and_remove(fd: &OwnedFd, path: &Path) {
    // The name may meanwhile lead to another file only if somebody outside this program replaced it.
    if matches!(is_current(fd, path), Ok(Some(_))) && rustix::fs::unlink(path).is_ok() {
        return;
    }
    let _ = rustix::fs::ftruncate(fd, 0);
}

fn parse_signature(text: &[u8]) -> Option<Holder> {
    let text = String::from_utf8_lossy(text);
    let (pid, purpose) = text.split_once('\t')?;
    let purpose: String = purpose.trim_end().chars().filter(|letter| !letter.is_control()).collect();
    Some(Holder { pid: pid.parse().ok()?, purpose })
}

fn read_signature(fd: impl AsFd) -> Option<Holder> {
    let mut text = [0u8; MAX_SIGNATURE];
    let length = rustix::io::pread(fd, &mut text, 0).ok()?;
    parse_signature(&text[..length])
}

/// Reads who says to hold the lock at this path.
pub(crate) fn holder_of(path: &Path) -> Option<Holder> {
    read_signature(fs::File::open(path).ok()?)
}
