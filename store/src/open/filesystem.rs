//! Which file systems cannot hold a store.

use std::fs;
use std::io;

use rustix::fd::OwnedFd;
use rustix::fs::Stat;

/// File systems that are known by their magic number.
const BY_MAGIC: &[(u32, &str)] = &[
    (0x6969, "NFS"),
    (0x0102_1997, "9p"),
    (0xff53_4d42, "SMB"),
    (0xfe53_4d42, "SMB"),
    (0x517b, "SMB"),
    (0x5346_414f, "AFS"),
];

/// The number that all FUSE file systems share, virtiofs among them.
const FUSE: u32 = 0x6573_5546;

/// The flag of a folder that ignores case (`EXT4_CASEFOLD_FL`).
const CASEFOLD: u32 = 0x4000_0000;

/// Names the kind of file system if its renames and locks are not to be relied on.
pub(super) fn unreliable(root: &OwnedFd, stat: &Stat) -> io::Result<Option<&'static str>> {
    let magic = rustix::fs::fstatfs(root)?.f_type as u32;
    if let Some((_, kind)) = BY_MAGIC.iter().find(|(number, _)| *number == magic) {
        return Ok(Some(kind));
    }
    if magic != FUSE {
        return Ok(None);
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(is_virtiofs(&mounts, stat.st_dev).then_some("virtiofs"))
}

fn is_virtiofs(mounts: &str, device: u64) -> bool {
    let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    mounts.lines().any(|line| {
        let kind = line.split_once(" - ").and_then(|(_, rest)| rest.split(' ').next());
        line.split(' ').nth(2) == Some(device.as_str()) && kind == Some("virtiofs")
    })
}

/// Tells whether names that differ only in case are one name.
pub(super) fn ignores_case(root: &OwnedFd) -> bool {
    // A file system without flags has no such folders.
    rustix::fs::ioctl_getflags(root).is_ok_and(|flags| flags.bits() & CASEFOLD != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtiofs_is_found_by_its_device() {
        let mounts = "22 1 0:5 / /dev rw - devtmpfs devtmpfs rw\n\
                      40 1 0:44 / /host rw,relatime shared:3 - virtiofs host0 rw\n";
        assert!(is_virtiofs(mounts, rustix::fs::makedev(0, 44)));
        assert!(!is_virtiofs(mounts, rustix::fs::makedev(0, 5)));
        assert!(!is_virtiofs(mounts, rustix::fs::makedev(0, 4)));
    }
}
