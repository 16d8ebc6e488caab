//! What volumes are made of that are mounts: file systems of servers, of memory, folders of the host.
//!
//! Such a volume lies on its folder in the host's mount table as long as containers use it, so that all of them see the
//! same. It is the one kind of mount here that outlives the process that made it; whoever finds it unused takes it
//! away by its folder.

use std::ffi::CString;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};

use crate::mounts::MountError;

/// What is mounted, in the words of `mount -t KIND -o OPTIONS DEVICE`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeMount {
    /// The type of file system; nothing of it matters for a bind.
    pub kind: String,
    /// What is mounted.
    pub device: String,
    /// Options, separated by commas.
    pub options: String,
}

/// Whether something is mounted on a folder.
pub fn is_mounted(folder: &Path) -> Result<bool, MountError> {
    let seen = statx(CWD, folder, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS);
    match seen {
        Ok(seen) => Ok(seen.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(MountError::path("look at", folder, errno)),
    }
}

/// Mounts a volume on its folder.
pub fn mount_volume(volume: &VolumeMount, folder: &Path) -> Result<(), MountError> {
    let Options { flags, data, is_bind } = Options::read(&volume.options);
    let failed = |errno| MountError::path("mount a volume on", folder, errno);
    let text = |text: &str| CString::new(text).map_err(|_| failed(Errno::INVAL));
    let (device, kind, data) = (text(&volume.device)?, text(&volume.kind)?, text(&data)?);
    if !is_bind {
        let mounted = mount(device.as_c_str(), folder, kind.as_c_str(), flags, data.as_c_str());
        return mounted.map_err(|errno| match errno {
            Errno::NODEV => {
                MountError::path("have this kernel mount the type", Path::new(&volume.kind), errno)
            }
            _ => failed(errno),
        });
    }
    let how = MountFlags::BIND | flags & MountFlags::REC;
    mount(device.as_c_str(), folder, c"", how, c"")
        .map_err(|errno| MountError::path("bind to a volume", Path::new(&volume.device), errno))?;
    let restrictions = flags - MountFlags::REC;
    if restrictions.is_empty() {
        return Ok(());
    }
    // A bind takes its restrictions only when it is there.
    mount_remount(folder, MountFlags::BIND | restrictions, c"").map_err(|errno| {
        let error = failed(errno);
        // What is told is why it is not as it should be; without the restrictions it must not stay.
        let _ = unmount(folder, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH);
        error
    })
}

/// Takes what is mounted on a folder away, however much lies there. Nothing there is no error.
pub fn unmount_volume(folder: &Path) -> Result<(), MountError> {
    while is_mounted(folder)? {
        unmount(folder, UnmountFlags::NOFOLLOW)
            .map_err(|errno| MountError::path("unmount the volume on", folder, errno))?;
    }
    Ok(())
}

/// Options of a mount: those that the kernel has numbers for, and those that the file system reads itself.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    flags: MountFlags,
    data: String,
    is_bind: bool,
}

impl Options {
    fn read(text: &str) -> Self {
        let mut options = Self { flags: MountFlags::empty(), data: String::new(), is_bind: false };
        for word in text.split(',').filter(|word| !word.is_empty()) {
            let flag = match word {
                "bind" | "rbind" => {
                    options.is_bind = true;
                    if word == "rbind" { MountFlags::REC } else { MountFlags::empty() }
                }
                "defaults" | "rw" | "suid" | "dev" | "exec" | "async" | "atime" | "diratime" => {
                    MountFlags::empty()
                }
                "ro" => MountFlags::RDONLY,
                "nosuid" => MountFlags::NOSUID,
                "nodev" => MountFlags::NODEV,
                "noexec" => MountFlags::NOEXEC,
                "sync" => MountFlags::SYNCHRONOUS,
                "dirsync" => MountFlags::DIRSYNC,
                "noatime" => MountFlags::NOATIME,
                "nodiratime" => MountFlags::NODIRATIME,
                "relatime" => MountFlags::RELATIME,
                "strictatime" => MountFlags::STRICTATIME,
                word => {
                    if !options.data.is_empty() {
                        options.data.push(',');
                    }
                    options.data.push_str(word);
                    continue;
                }
            };
            options.flags |= flag;
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_told_apart() {
        let read = |text| {
            let Options { flags, data, is_bind } = Options::read(text);
            (flags, data, is_bind)
        };
        let flags = MountFlags::RDONLY | MountFlags::NOSUID;
        assert_eq!(read("ro,size=1m,nosuid,,uid=7"), (flags, "size=1m,uid=7".to_owned(), false));
        assert_eq!(read("rbind"), (MountFlags::REC, String::new(), true));
        assert_eq!(read(""), (MountFlags::empty(), String::new(), false));
    }

    #[test]
    fn a_volume_is_mounted_once_and_goes_by_its_folder() {
        if !rbuild_testkit::privilege::is_root("volumes that are mounts") {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let (data, source) = (folder.path().join("data"), folder.path().join("source"));
        std::fs::create_dir(&data).unwrap();
        std::fs::create_dir(&source).unwrap();
        std::fs::write(source.join("seen"), "").unwrap();
        let volume = |kind: &str, device: &str, options: &str| VolumeMount {
            kind: kind.to_owned(),
            device: device.to_owned(),
            options: options.to_owned(),
        };
        assert!(!is_mounted(&data).unwrap());
        mount_volume(&volume("tmpfs", "tmpfs", "size=64k,mode=0700"), &data).unwrap();
        assert!(is_mounted(&data).unwrap());
        assert!(std::fs::write(data.join("large"), vec![0; 1 << 20]).is_err(), "it is bounded");
        unmount_volume(&data).unwrap();
        unmount_volume(&data).unwrap();
        mount_volume(&volume("none", source.to_str().unwrap(), "bind,ro"), &data).unwrap();
        assert!(data.join("seen").exists());
        assert!(std::fs::write(data.join("new"), "").is_err(), "it cannot be written");
        unmount_volume(&data).unwrap();
        let error = mount_volume(&volume("nosuchfs", "x", ""), &data).unwrap_err();
        assert_eq!(error.to_string(), "cannot have this kernel mount the type `nosuchfs`");
        assert!(!is_mounted(&data).unwrap());
    }
}
