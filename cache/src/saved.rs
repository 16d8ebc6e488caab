//! What only saves work, as the store's sweep sees it: logs of steps, and everything below `index`.
//!
//! | Object | What it is | When somebody works with it |
//! |---|---|---|
//! | `logs/<process>-…` | what a step printed | its name begins with the id of a live process |
//! | `index/<hash>` | hashes of a context that stats vouch for | read whole, replaced whole: it may go at any time |
//! | `index/http/<address>` | what a server said of a file | the same |
//! | `index/git/<address>` | a bare repository | its lock is held |
//!
//! None of it has rows: it is listed from the disk, and used when it was last written.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use rbuild_store::collect::{Candidate, Collected, SweepError, Verdict};
use rbuild_store::usage::bytes_of;
use rbuild_store::{
    DatabaseError, FileError, Lock, LockClass, LockMode, LockName, ObjectKind, Store, UniqueId,
};
use rusqlite::Transaction;

use crate::blobs::BYTES_PER_SECOND;

/// The logs of steps; comes after the records that name them.
#[derive(Clone, Copy, Debug)]
pub struct StepLogs;

/// What lies below `index`.
#[derive(Clone, Copy, Debug)]
pub struct SavedWork;

/// A file or folder: its name, when it was last written, its room.
struct Listed {
    name: String,
    written_at: i64,
    bytes: u64,
}

fn list(folder: &Path) -> Result<Vec<Listed>, FileError> {
    let failed = |error| FileError::new("list", folder, error);
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // What went meanwhile is not there.
        let Ok(stat) = std::fs::symlink_metadata(entry.path()) else { continue };
        found.push(Listed { name, written_at: stat.mtime(), bytes: bytes_of(&entry.path())? });
    }
    found.sort_by_key(|listed| listed.written_at);
    Ok(found)
}

/// Returns an object as a path below the folder of its kind; nothing that leads elsewhere.
fn path_of(object: &[u8]) -> Option<&Path> {
    let path = Path::new(std::str::from_utf8(object).ok()?);
    path.components().all(|part| matches!(part, std::path::Component::Normal(_))).then_some(path)
}

impl Collected for StepLogs {
    fn kind(&self) -> ObjectKind {
        ObjectKind::LOG
    }

    fn survey(&self, store: &Store) -> Result<Vec<Candidate>, SweepError> {
        let mut found = Vec::new();
        for Listed { name, written_at, bytes } in list(&store.layout().logs())? {
            let writer = name.split_once('-').and_then(|(id, _)| UniqueId::parse(id));
            let is_written = match writer {
                Some(writer) => store.is_alive(writer)?,
                None => false,
            };
            let log = Candidate::new(name.into_bytes(), bytes).used_at(written_at);
            found.push(if is_written { log.in_use() } else { log });
        }
        Ok(found)
    }

    fn condemn(&self, transaction: &Transaction<'_>, object: &[u8]) -> Result<Verdict, DatabaseError> {
        if let Ok(name) = std::str::from_utf8(object) {
            transaction.prepare_cached("UPDATE records SET log = NULL WHERE log = ?1")?.execute([name])?;
        }
        Ok(Verdict::Condemned)
    }

    fn reclaim(&self, store: &Store, object: &[u8]) -> Result<(), SweepError> {
        if let Some(path) = path_of(object) {
            store.discard(&store.layout().logs().join(path))?;
        }
        Ok(())
    }
}

/// Folders below `index` whose entries are objects of their own.
const FOLDERS: [&str; 2] = ["git", "http"];
/// Keys of hosts that were seen: forgetting them would forget whom to trust.
const KNOWN_HOSTS: &str = "known_hosts";

/// Takes the lock of a repository, unless somebody works on it. Two who only look do not take each other for that.
fn locked(store: &Store, address: &str, mode: LockMode) -> Result<Option<Lock>, SweepError> {
    Ok(store.locks().scope().try_acquire(&LockName::new(LockClass::Step, address), mode)?)
}

impl Collected for SavedWork {
    fn kind(&self) -> ObjectKind {
        ObjectKind::INDEX
    }

    fn survey(&self, store: &Store) -> Result<Vec<Candidate>, SweepError> {
        let index = store.layout().index();
        let mut found = Vec::new();
        for Listed { name, written_at, bytes } in list(&index)? {
            if FOLDERS.contains(&&*name) {
                for below in list(&index.join(&name))? {
                    if below.name != KNOWN_HOSTS {
                        let object = format!("{name}/{}", below.name).into_bytes();
                        let again = Duration::from_secs_f64(below.bytes as f64 / BYTES_PER_SECOND);
                        let candidate =
                            Candidate::new(object, below.bytes).used_at(below.written_at).costing(again);
                        let is_busy =
                            name == "git" && locked(store, &below.name, LockMode::Shared)?.is_none();
                        found.push(if is_busy { candidate.in_use() } else { candidate });
                    }
                }
            } else {
                found.push(Candidate::new(name.into_bytes(), bytes).used_at(written_at));
            }
        }
        Ok(found)
    }

    fn condemn(&self, _: &Transaction<'_>, _: &[u8]) -> Result<Verdict, DatabaseError> {
        Ok(Verdict::Condemned)
    }

    fn reclaim(&self, store: &Store, object: &[u8]) -> Result<(), SweepError> {
        let Some(path) = path_of(object) else { return Ok(()) };
        let place = store.layout().index().join(path);
        let Some(address) = path.strip_prefix("git").ok().and_then(Path::to_str) else {
            store.discard(&place)?;
            return Ok(());
        };
        if let Some(_lock) = locked(store, address, LockMode::Exclusive)? {
            store.discard(&place)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::SCHEMA;
    use rbuild_store::StoreOptions;
    use rbuild_store::collect::{Policy, Sweep};
    use std::fs;

    #[test]
    fn what_saves_work_goes_unless_somebody_works_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let options = StoreOptions::new(folder.path().join("root"), folder.path().join("run"), "rbuild test");
        let store = Store::open(StoreOptions { schemas: &[&SCHEMA], reserve: 0, ..options }).unwrap();
        let own = store.layout().logs().join(format!("{}-1.log", store.process_id().unwrap()));
        let index = store.layout().index();
        let dead = store.layout().logs().join(format!("{}-1.log", UniqueId::random().unwrap()));
        let git = index.join("git");
        let files = [
            own.clone(),
            dead.clone(),
            index.join("0123"),
            index.join("http/a"),
            git.join("busy/sha1/pack"),
            git.join("idle/sha1/pack"),
            git.join("known_hosts"),
        ];
        for file in &files {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "something").unwrap();
        }
        let scope = store.locks().scope();
        let busy = LockName::new(LockClass::Step, "busy");
        let lock = scope.try_acquire(&busy, LockMode::Exclusive).unwrap();
        let in_use: Vec<_> = SavedWork.survey(&store).unwrap().into_iter().filter(|one| one.in_use).collect();
        assert_eq!(in_use.len(), 1, "what cannot go is not offered: {in_use:?}");
        let recent = Policy { used_since: Some(1), keep_bytes: None };
        let owners: [&dyn Collected; 2] = [&StepLogs, &SavedWork];
        assert_eq!(store.sweep(&owners, &recent, Sweep::Take).unwrap().swept, []);
        store.sweep(&owners, &Policy::default(), Sweep::Take).unwrap();
        let left: Vec<bool> = files.iter().map(|file| file.exists()).collect();
        assert_eq!(left, [true, false, false, false, true, false, true]);
        drop(lock);
        store.sweep(&owners, &Policy::default(), Sweep::Take).unwrap();
        assert!(!git.join("busy").exists() && own.exists());
        assert!(path_of(b"../x").is_none() && path_of(b"/x").is_none() && path_of(b"git/x").is_some());
    }
}
