//! Named volumes: folders that outlive containers.
//!
//! ```text
//! volumes/<name>/_data
//! ```
//!
//! A volume appears under its name complete: it is filled in a temporary folder first, so that nobody sees it half
//! filled, and synced before it is used, because what is written into it later is precious.

use std::path::PathBuf;

use rbuild_confined::{Kind, Root};
use rbuild_snapshotter::copier::{Capabilities, Copier, CopyRules};
use rbuild_store::{LockClass, LockMode, LockName, LockScope, Store, Wait};

use crate::error::RunError;
use crate::request::Begins;

/// Returns the folder of a named volume, which is made if there is none. One that is new or empty gets what the image
/// has at `target`.
pub fn open(
    store: &Store,
    scope: &LockScope,
    name: &str,
    image: &Root,
    target: &str,
    begins: Begins,
) -> Result<PathBuf, RunError> {
    check_name(name)?;
    let folder = store.layout().volumes();
    let data = folder.join(name).join("_data");
    let is_filled = || match std::fs::read_dir(&data) {
        Ok(mut entries) => Ok(begins == Begins::Empty || entries.next().is_some()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(RunError::Io { act: "list", path: data.clone(), source }),
    };
    if is_filled()? {
        return Ok(data);
    }
    // Who comes second waits until the first has filled it.
    let lock = LockName::new(LockClass::Volume, format!("volume {name}"));
    let _making = scope.acquire(&lock, LockMode::Exclusive, &Wait::forever())?;
    if is_filled()? {
        return Ok(data);
    }
    if data.is_dir() {
        fill(name, &data, image, target)?;
        return Ok(data);
    }
    let fresh = store.temp_tree()?;
    let inner = fresh.path().join("_data");
    std::fs::create_dir(&inner).map_err(|source| RunError::Io {
        act: "make",
        path: inner.clone(),
        source,
    })?;
    if begins == Begins::WithImage {
        fill(name, &inner, image, target)?;
    }
    match store.precious().publish_tree(fresh, &folder, name) {
        Ok(()) => Ok(data),
        // Somebody else made it meanwhile; theirs is used.
        Err(_) if data.is_dir() => Ok(data),
        Err(error) => Err(error.into()),
    }
}

/// Copies what the image has at `target` into a new volume, with the attributes of the folder itself.
pub fn fill(name: &str, folder: &std::path::Path, image: &Root, target: &str) -> Result<(), RunError> {
    let Some(source) = image.find(target)? else { return Ok(()) };
    let meta = source.metadata()?;
    if meta.kind != Kind::Directory {
        return Ok(());
    }
    let top = Root::open(folder)?;
    let rules = CopyRules { capabilities: Capabilities::Keep, ..CopyRules::default() };
    Copier::new(rules)
        .copy_dir(&source, top.resolve("/")?)
        .map_err(|source| RunError::Fill { name: name.to_owned(), source })?;
    let io = |source: std::io::Error| RunError::Io {
        act: "set the attributes of",
        path: folder.to_owned(),
        source,
    };
    std::os::unix::fs::chown(folder, Some(meta.owner.uid), Some(meta.owner.gid)).map_err(io)?;
    rustix::fs::chmod(folder, rustix::fs::Mode::from_raw_mode(meta.mode)).map_err(|errno| io(errno.into()))
}

/// Checks the name of a volume: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`.
pub fn check_name(name: &str) -> Result<(), RunError> {
    let mut bytes = name.bytes();
    let good = bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
        && name.len() <= 255;
    if good {
        return Ok(());
    }
    Err(RunError::Invalid {
        what: "volume name",
        why: format!("{name:?} includes invalid characters, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed"),
    })
}

#[cfg(test)]
mod tests {
    use super::check_name;

    #[test]
    fn names_are_plain() {
        for good in ["a", "a-b_c.d", "0"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "-a", "a/b", "a b", "ü", &"a".repeat(256)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
