//! The few extended attributes that matter here.

use std::os::fd::AsFd;

use rbuild_image::tar::Xattr;
use rbuild_model::rootfs::OverlayXattr;
use rustix::fs::XattrFlags;
use rustix::io::Errno;

/// The file capabilities of a program.
pub(crate) const CAPABILITY: &str = "security.capability";

/// The longest list of names and the longest value that the kernel gives.
const MAX: usize = 64 * 1024;

/// Names of overlayfs's marks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marks {
    pub(crate) prefix: &'static str,
    pub(crate) opaque: &'static str,
}

impl Marks {
    pub(crate) const fn of(xattr: OverlayXattr) -> Self {
        match xattr {
            OverlayXattr::Trusted => Self { prefix: "trusted.overlay.", opaque: "trusted.overlay.opaque" },
            OverlayXattr::User => Self { prefix: "user.overlay.", opaque: "user.overlay.opaque" },
        }
    }
}

/// Returns the attributes of a file or directory by name, without the marks of overlayfs, which are not the tree's.
pub fn xattrs_of(file: impl AsFd) -> Result<Vec<Xattr>, Errno> {
    let marks = [OverlayXattr::Trusted, OverlayXattr::User].map(|kind| Marks::of(kind).prefix.as_bytes());
    let mut names = list(&file)?;
    names.retain(|name| !marks.iter().any(|prefix| name.starts_with(prefix)));
    names.sort_unstable();
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        // One that has just gone is one that is not there.
        if let Some(value) = get(&file, &name[..])? {
            found.push(Xattr { name, value });
        }
    }
    Ok(found)
}

/// Gives a file or directory the attributes of another, as [`xattrs_of`] has them.
pub fn copy_xattrs(from: impl AsFd, to: impl AsFd) -> Result<(), Errno> {
    give(to, &xattrs_of(from)?)
}

/// Sets attributes. Of those that the file system cannot have, and of labels that only the kernel gives, nothing is set;
/// without its capabilities, though, a program would not be what it was.
pub(crate) fn give(file: impl AsFd, attributes: &[Xattr]) -> Result<(), Errno> {
    for Xattr { name, value } in attributes {
        let is_label = name.starts_with(b"security.") || name.starts_with(b"trusted.");
        match set(&file, name, value) {
            Err(errno) if name == CAPABILITY.as_bytes() => return Err(errno),
            Err(Errno::OPNOTSUPP) => {}
            Err(Errno::PERM) if is_label => {}
            done => done?,
        }
    }
    Ok(())
}

/// Reads an attribute; `None` if there is none, or if the file system has no attributes.
pub(crate) fn get(file: impl AsFd, name: impl rustix::path::Arg + Copy) -> Result<Option<Vec<u8>>, Errno> {
    let mut small = [0_u8; 256];
    match rustix::fs::fgetxattr(&file, name, &mut small[..]) {
        Ok(length) => Ok(Some(small[..length].to_vec())),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(Errno::RANGE) => {
            let mut large = vec![0_u8; MAX];
            let length = rustix::fs::fgetxattr(&file, name, &mut large[..])?;
            large.truncate(length);
            Ok(Some(large))
        }
        Err(errno) => Err(errno),
    }
}

/// Lists the names of attributes.
pub(crate) fn list(file: impl AsFd) -> Result<Vec<Vec<u8>>, Errno> {
    let split = |bytes: &[u8]| {
        bytes.split(|&byte| byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect()
    };
    let mut small = [0_u8; 512];
    match rustix::fs::flistxattr(&file, &mut small[..]) {
        Ok(length) => Ok(split(&small[..length])),
        Err(Errno::OPNOTSUPP) => Ok(Vec::new()),
        Err(Errno::RANGE) => {
            let mut large = vec![0_u8; MAX];
            let length = rustix::fs::flistxattr(&file, &mut large[..])?;
            Ok(split(&large[..length]))
        }
        Err(errno) => Err(errno),
    }
}

/// Sets an attribute.
pub(crate) fn set(file: impl AsFd, name: &[u8], value: &[u8]) -> Result<(), Errno> {
    rustix::fs::fsetxattr(file, name, value, XattrFlags::empty())
}
