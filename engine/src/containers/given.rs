//! Files that a container is given when it is made: what is in configs and secrets.
//!
//! Those of its root are written there before anybody finds the container. Those that lie in a volume or a folder of the
//! host are kept beside its definition and written at each start: until then another may use what is there, and what is in
//! a volume may be gone after its last use.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{ErrorKind, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rbuild_confined::{Owner, Root};
use rbuild_image::tar::{Entry, EntryKind, EntryPath, Limits, Options, Reader, Timestamp, Writer};
use rbuild_model::container::{Definition, MountUse, MountWhat};
use rbuild_sandbox::mounts::mount_detached;

use super::archive::{For, mount_at, real, unpack};
use super::create::write_new;
use super::define;
use super::error::ContainerError;
use crate::engine::{Engine, io};

/// A file that a container is given.
#[derive(Clone, Debug)]
pub struct GivenFile {
    /// What people call it.
    pub name: String,
    /// Where the container sees it; the folders above it are made where they are missing.
    pub path: String,
    /// What is in it.
    pub content: Vec<u8>,
    /// Its permissions.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

impl Engine {
    /// Writes files into the root of a container whose folder has no name yet, and keeps there what lies in its mounts.
    pub(super) fn give(
        &self,
        folder: &Path,
        definition: &Definition,
        files: &[GivenFile],
    ) -> Result<(), ContainerError> {
        if files.is_empty() {
            return Ok(());
        }
        let root = Root::from_fd(mount_detached(&self.root_plan_in(folder, definition)?)?)?;
        let mut archives = BTreeMap::new();
        for file in files {
            let refused = |why: String| ContainerError::Invalid(format!("{}: {why}", file.name));
            let (mount, path) = lying(&root, &definition.host.mounts, &file.path);
            if let Some(MountUse { target, read_only: true, .. }) =
                mount.map(|index| &definition.host.mounts[index])
            {
                let path = &file.path;
                return Err(refused(format!("`{path}` lies in `{target}`, which is mounted read-only")));
            }
            let archive =
                archives.entry(mount).or_insert_with(|| Writer::new(Vec::new(), Options::default()));
            append(archive, &path, file).map_err(|why| refused(why.to_string()))?;
        }
        for (mount, archive) in archives {
            let archive = archive.finish().map_err(|why| ContainerError::Invalid(why.to_string()))?;
            match mount {
                Some(index) => write_new(folder.join(kept(index)), &archive)?,
                None => unpack(root.resolve("/")?, None, &mut &archive[..])?,
            }
        }
        Ok(())
    }

    /// Writes the files that a container was given into its mounts; the caller is about to start it.
    pub(super) fn write_given(&self, definition: &Definition) -> Result<(), ContainerError> {
        let folder = self.folder(definition.id);
        for (index, mount) in definition.host.mounts.iter().enumerate() {
            let path = folder.join(kept(index));
            let archive = match std::fs::read(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                read => read.map_err(io("read", path))?,
            };
            let _alone = self.volumes().hold_given()?;
            let written = || {
                let root = self.open_mount(mount, For::Writing)?;
                // Another replica that runs may be reading them.
                if has(&root, &archive).unwrap_or(false) {
                    return Ok(());
                }
                unpack(root.resolve("/")?, None, &mut &archive[..])
            };
            written().map_err(|source| ContainerError::Given {
                target: mount.target.clone(),
                source: Box::new(source),
            })?;
        }
        Ok(())
    }
}

/// What the archive of the files in a mount is called, in the folder of a container.
fn kept(mount: usize) -> String {
    format!("given-{mount}.tar")
}

/// Returns the mount that a file is written into and its path there, or no mount and its path in the root: what begins
/// empty with each start, and what is another's, is not written into.
fn lying(root: &Root, mounts: &[MountUse], path: &str) -> (Option<usize>, PathBuf) {
    let path = define::plain(path);
    let name = path.file_name().unwrap_or_default();
    let folder = real(root, path.parent().unwrap_or(&path));
    match mount_at(root, mounts, &folder) {
        Some((index, inside))
            if matches!(mounts[index].what, MountWhat::Volume { .. } | MountWhat::Bind { .. }) =>
        {
            (Some(index), inside.join(name))
        }
        _ => (None, folder.join(name)),
    }
}

fn append(
    archive: &mut Writer<Vec<u8>>,
    path: &Path,
    file: &GivenFile,
) -> Result<(), Box<dyn std::error::Error>> {
    let kind = EntryKind::File { size: file.content.len() as u64 };
    let mut entry = Entry::new(EntryPath::new(path.as_os_str().as_bytes())?, kind, file.mode);
    (entry.uid, entry.gid, entry.mtime) = (file.uid, file.gid, Timestamp::from_seconds(0));
    Ok(archive.append_bytes(&entry, &file.content)?)
}

/// Whether a tree has the files of an archive as they are there; an error where it has something else.
fn has(root: &Root, archive: &[u8]) -> Result<bool, Box<dyn std::error::Error>> {
    let mut reader = Reader::new(archive, Limits::default());
    while let Some(entry) = reader.next_entry()? {
        let there = root.resolve_nofollow(OsStr::from_bytes(entry.path.as_bytes()))?;
        let metadata = there.metadata()?;
        let is_alike = metadata.mode == entry.mode
            && metadata.owner == Owner::new(entry.uid, entry.gid)
            && metadata.size == entry.size();
        if !is_alike {
            return Ok(false);
        }
        let mut content = Vec::new();
        there.open_file()?.take(entry.size()).read_to_end(&mut content)?;
        if content != reader.contents(entry.size())? {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rbuild_model::container::{BindRecursion, MissingSource, MountAsked, Propagation, TmpfsUse};

    use super::*;

    #[test]
    fn files_below_a_mount_are_written_into_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("run/app")).unwrap();
        symlink("/run", folder.path().join("led")).unwrap();
        let root = Root::open(folder.path()).unwrap();
        let bind = || MountWhat::Bind {
            source: PathBuf::from("/host"),
            missing: MissingSource::Refuse,
            recursion: BindRecursion::All,
            propagation: Propagation::RPrivate,
        };
        let tmpfs = MountWhat::Tmpfs(TmpfsUse::new(None, None));
        let mounts = [("/srv", bind()), ("/srv/memory", tmpfs), ("/srv/data/", bind()), ("/led/app", bind())]
            .map(|(target, what)| MountUse {
                target: target.to_owned(),
                what,
                read_only: false,
                asked: MountAsked::default(),
            });
        let lies = |path: &str| {
            let (mount, path) = lying(&root, &mounts, path);
            (mount, path.to_str().unwrap().to_owned())
        };
        let at = |mount: Option<usize>, path: &str| (mount, path.to_owned());
        assert_eq!(lies("/srv/a/b"), at(Some(0), "a/b"));
        assert_eq!(lies("/srv/data/b"), at(Some(2), "b"));
        assert_eq!(lies("/srv/x/../data/b"), at(Some(2), "b"));
        assert_eq!(lies("/srv/data"), at(Some(0), "data"));
        assert_eq!(lies("/srvx/b"), at(None, "/srvx/b"));
        assert_eq!(lies("/srv/memory/b"), at(None, "/srv/memory/b"));
        assert_eq!(lies("/led/app/b"), at(Some(3), "b"));
        assert_eq!(lies("/run/app/deep/b"), at(Some(3), "deep/b"));
        assert_eq!(lies("/led/other/b"), at(None, "/run/other/b"));
    }
    #[test]
    fn what_is_there_already_is_known() {
        use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

        let folder = tempfile::tempdir().unwrap();
        let (root, path) = (Root::open(folder.path()).unwrap(), folder.path().join("a"));
        std::fs::write(&path, "content").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).unwrap();
        let there = std::fs::metadata(&path).unwrap();
        let archive = |name: &str, content: &str, mode: u32| {
            let file = GivenFile {
                name: "config a".to_owned(),
                path: name.to_owned(),
                content: content.as_bytes().to_vec(),
                mode,
                uid: there.uid(),
                gid: there.gid(),
            };
            let mut archive = Writer::new(Vec::new(), Options::default());
            append(&mut archive, Path::new(name), &file).unwrap();
            archive.finish().unwrap()
        };
        assert!(has(&root, &archive("a", "content", 0o444)).unwrap());
        assert!(!has(&root, &archive("a", "another", 0o444)).unwrap());
        assert!(!has(&root, &archive("a", "content", 0o400)).unwrap());
        assert!(has(&root, &archive("b", "content", 0o444)).is_err());
    }
}
