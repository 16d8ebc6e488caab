//! `cp`: files into containers and out of them, whether they run or not.
//!
//! A container that runs is seen through its first process, with all that is mounted in it. One that does not run is
//! seen as its root and, where a path leads into a mount, as what would be mounted there. Every path of the container is
//! resolved within its root.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use rbuild_confined::{Handle, Kind, Mounts, NewDir, Owner, Root, remove_tree};
use rbuild_image::compress::{DecodeLimits, Decoder};
use rbuild_image::tar::{Limits, Reader};
use rbuild_model::container::{Definition, MountUse, MountWhat};
use rbuild_sandbox::mounts::mount_detached;
use rbuild_snapshotter::extract::{Extractor, Rules};
use rbuild_snapshotter::write_tree_without;

use super::define;
use super::error::ContainerError;
use super::trees::for_reading;
use crate::engine::Engine;

/// What is at a path of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathStat {
    /// The last part of the path.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// What a link says.
    pub link: Option<PathBuf>,
}

/// Whether a container's tree is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    Reading,
    Writing,
}

impl Engine {
    /// Looks at a path of a container; a link at its end is not followed.
    pub fn stat_path(&self, definition: &Definition, path: &str) -> Result<Option<PathStat>, ContainerError> {
        let (root, at) = self.locate(definition, path, For::Reading)?;
        let found = if path.ends_with('/') || path.ends_with("/.") {
            root.find(&at)?
        } else {
            root.find_nofollow(&at)?
        };
        let Some(handle) = found else { return Ok(None) };
        let kind = handle.metadata()?.kind;
        let link = if kind == Kind::Symlink { Some(handle.read_link()?) } else { None };
        let name = define::plain(path)
            .file_name()
            .map_or_else(|| "/".into(), |name| name.to_string_lossy().into_owned());
        Ok(Some(PathStat { name, kind, link }))
    }

    /// Writes what is at a path of a container as a tar whose entries are named from its last part on, or from `name`.
    pub fn copy_out(
        &self,
        definition: &Definition,
        path: &str,
        name: &Path,
        out: &mut dyn Write,
    ) -> Result<(), ContainerError> {
        let _still = self.hold_still(definition)?;
        let (root, at) = self.locate(definition, path, For::Reading)?;
        let missing = || {
            ContainerError::Invalid(format!(
                "Could not find the file {path} in container {}",
                definition.name
            ))
        };
        // A path that ends so means what a link leads to.
        let at = if path.ends_with('/') || path.ends_with("/.") {
            root.canonicalize(&at)
                .map_err(|error| if error.is_not_found() { missing() } else { error.into() })?
        } else {
            at
        };
        root.find_nofollow(&at)?.ok_or_else(missing)?;
        let closed = below(&led(&root, &at.to_string_lossy()));
        write_tree_without(&root, &at, name, &closed, &mut *out)?;
        self.tell(definition, "archive-path", &[]);
        Ok(())
    }

    /// Extracts a tar, which may be compressed, into a folder of a container. With an owner, everything belongs to it.
    pub fn copy_in(
        &self,
        definition: &Definition,
        path: &str,
        owner: Option<Owner>,
        tar: &mut dyn Read,
    ) -> Result<(), ContainerError> {
        let _still = self.hold_still(definition)?;
        let (root, at) = self.locate(definition, path, For::Writing)?;
        let missing = || {
            ContainerError::Invalid(format!(
                "Could not find the file {path} in container {}",
                definition.name
            ))
        };
        unpack(root.find(&at)?.ok_or_else(missing)?, owner, tar)?;
        self.tell(definition, "extract-to-dir", &[]);
        Ok(())
    }

    /// Makes a folder of a container, with those above it; what is there stays as it is. New ones belong to the owner.
    pub fn make_folder(
        &self,
        definition: &Definition,
        path: &str,
        owner: Option<Owner>,
    ) -> Result<(), ContainerError> {
        let _still = self.hold_still(definition)?;
        let (root, at) = self.locate(definition, path, For::Writing)?;
        root.mkdir_all(&at, NewDir { owner, ..NewDir::default() })?;
        Ok(())
    }

    /// Removes a path of a container, with all that is below it; what is not there is as good as removed. A link at its
    /// end is removed, not followed.
    pub fn remove_path(&self, definition: &Definition, path: &str) -> Result<(), ContainerError> {
        let _still = self.hold_still(definition)?;
        let (root, at) = self.locate(definition, path, For::Writing)?;
        match root.parent(&at) {
            Ok((folder, name)) => Ok(remove_tree(folder.open_dir()?, name)?),
            Err(error) if error.is_not_found() || error.is_not_a_directory() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the owner that files get which are copied for the container's user.
    pub fn owner_inside(&self, definition: &Definition) -> Result<Option<Owner>, ContainerError> {
        if definition.program.user.is_empty() {
            return Ok(None);
        }
        let (identity, _) = super::launch::identity(&self.tree(definition)?, &definition.program.user, &[])?;
        Ok(Some(Owner::new(identity.uid, identity.gid)))
    }

    /// Finds the tree that a path of a container lies in, and the path in that tree.
    fn locate(
        &self,
        definition: &Definition,
        asked: &str,
        purpose: For,
    ) -> Result<(Root, PathBuf), ContainerError> {
        let path = Path::new("/").join(asked);
        if let Some(root) = self.running_root(definition)? {
            let root = root.with_mounts(Mounts::Cross);
            if purpose == For::Writing {
                let mounts = &definition.host.mounts;
                let mount = mount_at(&root, mounts, &real(&root, &path)).map(|(index, _)| &mounts[index]);
                check_writable(definition, mount)?;
            } else if is_kernels(&root, asked) {
                return Ok((self.files(definition)?, path));
            }
            return Ok((root, path));
        }
        let plan = self.root_plan(definition)?;
        let plan = if purpose == For::Reading { for_reading(plan) } else { plan };
        let root = Root::from_fd(mount_detached(&plan)?)?;
        // A folder in memory comes and goes with a run: in between there is the one that it is mounted on.
        let lasts = |mount: &&MountUse| !matches!(mount.what, MountWhat::Tmpfs(_));
        let mounts: Vec<MountUse> = definition.host.mounts.iter().filter(lasts).cloned().collect();
        // A link may lead into a mount.
        let Some((index, inside)) = mount_at(&root, &mounts, &real(&root, &path)) else {
            if purpose == For::Writing {
                check_writable(definition, None)?;
            }
            return Ok((root, path));
        };
        if purpose == For::Writing {
            check_writable(definition, Some(&mounts[index]))?;
        }
        Ok((self.open_mount(&mounts[index], purpose)?, Path::new("/").join(inside)))
    }

    /// Opens what a container that does not run would see at a mount.
    pub(super) fn open_mount(&self, mount: &MountUse, purpose: For) -> Result<Root, ContainerError> {
        match &mount.what {
            MountWhat::Bind { source, missing, .. } => {
                if purpose == For::Writing {
                    super::launch::make_source(source, *missing)?;
                }
                Ok(Root::open(source)?)
            }
            MountWhat::Volume { name, subpath, .. } => {
                self.volume_source(name, None)?;
                let folder = Root::open(self.volume_folder(name))?;
                let at = Path::new("/").join(subpath.as_deref().unwrap_or_default());
                Ok(folder.resolve(at)?.into_root()?)
            }
            MountWhat::Tmpfs(_) | MountWhat::Image { .. } => Err(ContainerError::Unsupported {
                what: "copying from or to what is mounted only while the container runs".to_owned(),
            }),
        }
    }
}

/// What the kernel shows to a container that runs, and what is no file of it: left out of a copy from above. Of `/dev`, single
/// paths can be copied.
const KERNELS: [&str; 3] = ["/dev", "/proc", "/sys"];

/// Returns the paths of [`KERNELS`] that are below a folder, from there on.
fn below(top: &Path) -> Vec<PathBuf> {
    let paths = KERNELS.iter().filter_map(|folder| Path::new(folder).strip_prefix(top).ok());
    paths.filter(|path| !path.as_os_str().is_empty()).map(Path::to_owned).collect()
}

/// Whether a path leads to what the kernel makes up at the moment that it is read.
fn is_kernels(root: &Root, path: &str) -> bool {
    let path = led(root, path);
    ["/proc", "/sys"].iter().any(|folder| path.starts_with(folder))
}

/// Returns where a path of a tree leads, free of links but for one at its end, which is followed where the path says that it is
/// a folder.
fn led(root: &Root, path: &str) -> PathBuf {
    let whole = Path::new("/").join(path);
    match (whole.parent(), whole.file_name()) {
        (Some(folder), Some(name)) if !path.ends_with('/') && !path.ends_with("/.") => {
            real(root, folder).join(name)
        }
        _ => real(root, &whole),
    }
}

/// Refuses writing where a container may not.
fn check_writable(definition: &Definition, mount: Option<&MountUse>) -> Result<(), ContainerError> {
    let what = match mount {
        Some(mount) if mount.read_only => "mounted volume",
        None if definition.host.read_only => "container rootfs",
        _ => return Ok(()),
    };
    Err(ContainerError::Invalid(format!("{what} is marked read-only")))
}

/// Returns where a path of a tree leads, free of links as far as it is there.
pub(super) fn real(root: &Root, path: &Path) -> PathBuf {
    for above in path.ancestors() {
        if let Ok(led) = root.canonicalize(above) {
            let rest = define::plain(&path.strip_prefix(above).unwrap_or(path).to_string_lossy());
            return Path::new("/").join(led).join(rest.strip_prefix("/").unwrap_or(&rest));
        }
    }
    define::plain(&path.to_string_lossy())
}

/// Returns the mount that a path free of links lies in, the deepest one, and the path in it.
pub(super) fn mount_at(root: &Root, mounts: &[MountUse], path: &Path) -> Option<(usize, PathBuf)> {
    let covering = mounts.iter().enumerate().filter_map(|(index, mount)| {
        let inside = path.strip_prefix(real(root, Path::new(&mount.target))).ok()?;
        Some((index, inside.to_owned()))
    });
    covering.min_by_key(|(_, inside)| inside.components().count())
}

/// Extracts a tar into a folder. With an owner, everything belongs to it.
pub(super) fn unpack(folder: Handle, owner: Option<Owner>, tar: &mut dyn Read) -> Result<(), ContainerError> {
    if folder.metadata()?.kind != Kind::Directory {
        return Err(ContainerError::Invalid("extraction point is not a directory".to_owned()));
    }
    let rules = Rules { owner, ..Rules::default() };
    // Copied by who may fill the container anyway: it may expand to whatever there is room for.
    let limits = DecodeLimits { expanded_bytes: u64::MAX, ratio: u64::MAX, ..DecodeLimits::default() };
    let tar = Decoder::detect(tar, limits).map_err(ContainerError::Archive)?;
    let extractor = Extractor::onto_tree(folder.into_root()?, rules).map_err(extract)?;
    extractor.extract(Reader::new(tar, Limits::default())).map_err(extract)?;
    Ok(())
}

fn extract(error: rbuild_snapshotter::extract::ExtractError) -> ContainerError {
    ContainerError::Extract(Box::new(error))
}
