//! The first content of a volume: what the image has where the volume is seen.
//!
//! A volume is filled in place, because somebody may use it already, and a mark beside it says so for as long as that
//! takes. A mark that is found with nobody at work is a killed process: the volume is filled again, over what the other
//! did. The mark is on the disk before the first file is, and all files are before it is gone. It lies in the store,
//! whoever keeps the volume.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rbuild_confined::{Kind, Root};
use rbuild_model::volume::VolumeName;
use rbuild_snapshotter::copier::{Capabilities, Copier, CopyRules};

use super::error::{VolumesError, io};

/// Where the mark is: in the volume's own folder of the store.
fn mark(own: &Path) -> PathBuf {
    own.join("filling")
}

/// Whether a volume waits for its first content: one that has any is somebody's, also one that was made only now, of a
/// folder that was there before.
pub(super) fn is_due(own: &Path, data: &Path) -> Result<bool, VolumesError> {
    if mark(own).exists() {
        return Ok(true);
    }
    Ok(fs::read_dir(data).map_err(io("list", data))?.next().is_none())
}

/// Copies what the image has at `target` into a volume, with the attributes of the folder itself; `own` is the volume's
/// folder in the store. The caller holds the volume's lock.
pub(super) fn fill(
    name: &VolumeName,
    (own, data): (&Path, &Path),
    image: &Root,
    target: &str,
) -> Result<(), VolumesError> {
    let Some(source) = image.find(target)? else { return Ok(()) };
    let meta = source.metadata()?;
    if meta.kind != Kind::Directory {
        return Err(VolumesError::NotAFolder { volume: name.clone(), target: target.to_owned() });
    }
    let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all()).map_err(io("sync", path));
    let mark = mark(own);
    File::create(&mark).map_err(io("make", &mark))?;
    sync(own)?;
    rbuild_store::crash::point("volume.filling");
    let top = Root::open(data)?;
    let rules = CopyRules { capabilities: Capabilities::All, ..CopyRules::default() };
    Copier::new(rules)
        .copy_dir(&source, top.resolve("/")?)
        .map_err(|source| VolumesError::Fill { volume: name.clone(), source })?;
    std::os::unix::fs::chown(data, Some(meta.owner.uid), Some(meta.owner.gid))
        .map_err(io("set the owner of", data))?;
    rustix::fs::chmod(data, rustix::fs::Mode::from_raw_mode(meta.mode))
        .map_err(io("set the mode of", data))?;
    let folder = File::open(data).map_err(io("open", data))?;
    let top = source.open_dir()?;
    rbuild_snapshotter::copy_xattrs(&top, &folder).map_err(io("set the attributes of", data))?;
    rbuild_store::sync_tree(data, &folder)?;
    rbuild_store::crash::point("volume.filled");
    finish(own)?;
    sync(own)
}

/// Takes the mark away: what is in the volume is somebody's from now on.
pub(super) fn finish(own: &Path) -> Result<(), VolumesError> {
    let mark = mark(own);
    match fs::remove_file(&mark) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(io("remove", &mark)),
    }
}
