//! One header block as an entry, once its extended headers are known.

use super::error::EntryProblem;
use super::number::{signed, unsigned};
use super::pax::Extension;
use super::{Device, Entry, EntryKind, EntryPath, Limits, Timestamp};

/// Compares the checksum; sums of signed bytes were made by historic programs and still count.
pub(super) fn check_sum(header: &tar::Header) -> Result<(), EntryProblem> {
    let wanted = signed(&header.as_old().cksum).ok_or(EntryProblem::Checksum)?;
    let bytes = header.as_bytes();
    let (mut unsigned_sum, mut signed_sum) = (8 * 32_i64, 8 * 32_i64);
    for (index, &byte) in bytes.iter().enumerate() {
        if !(148..156).contains(&index) {
            unsigned_sum += i64::from(byte);
            signed_sum += i64::from(byte as i8);
        }
    }
    if wanted == unsigned_sum || wanted == signed_sum { Ok(()) } else { Err(EntryProblem::Checksum) }
}

pub(super) fn until_nul(field: &[u8]) -> Vec<u8> {
    field.split(|&byte| byte == 0).next().unwrap_or_default().to_vec()
}

/// Returns the name in a header, with its ustar prefix; GNU headers keep other things there.
pub(super) fn raw_name(header: &tar::Header) -> Vec<u8> {
    let bytes = header.as_bytes();
    let name = until_nul(&header.as_old().name);
    if &bytes[257..263] != b"ustar\0" {
        return name;
    }
    let mut prefix = until_nul(&bytes[345..500]);
    if prefix.is_empty() {
        return name;
    }
    prefix.push(b'/');
    prefix.extend_from_slice(&name);
    prefix
}

pub(super) fn parse(
    header: &tar::Header,
    name: &[u8],
    link: Vec<u8>,
    pax: &mut Extension,
    limits: &Limits,
) -> Result<Entry, EntryProblem> {
    let fields = header.as_old();
    let path = EntryPath::parse(name, limits).map_err(EntryProblem::Path)?;
    let kind = match fields.linkflag[0] {
        // Old programs write a folder as a file whose name ends in a slash.
        b'0' | 0 if name.ends_with(b"/") => EntryKind::Directory,
        b'0' | 0 | b'7' | b'S' => EntryKind::File { size: 0 },
        b'1' => EntryKind::Hardlink { target: hardlink_target(&link, limits)? },
        b'2' => EntryKind::Symlink { target: symlink_target(link, limits)? },
        b'3' => match device(header)? {
            Device { major: 0, minor: 0 } => return Err(EntryProblem::WhiteoutDevice),
            device => EntryKind::CharDevice(device),
        },
        b'4' => EntryKind::BlockDevice(device(header)?),
        b'5' => EntryKind::Directory,
        b'6' => EntryKind::Fifo,
        other => return Err(EntryProblem::Type(char::from(other))),
    };
    if path.is_root() && kind != EntryKind::Directory {
        return Err(EntryProblem::RootNotDirectory);
    }
    if pax.sparse.is_sparse() && !matches!(kind, EntryKind::File { .. }) {
        return Err(EntryProblem::SparseMap);
    }
    let mtime = match pax.mtime {
        Some(time) => time,
        None => Timestamp::from_seconds(signed(&fields.mtime).ok_or(EntryProblem::Number("mtime"))?),
    };
    Ok(Entry {
        path,
        kind,
        mode: (unsigned(&fields.mode).ok_or(EntryProblem::Number("mode"))? & 0o7777) as u32,
        uid: owner(pax.uid, &fields.uid, "uid")?,
        gid: owner(pax.gid, &fields.gid, "gid")?,
        mtime,
        xattrs: pax.take_xattrs(),
    })
}

fn owner(pax: Option<u64>, field: &[u8], what: &'static str) -> Result<u32, EntryProblem> {
    let id = pax.or_else(|| unsigned(field)).ok_or(EntryProblem::Number(what))?;
    // The last number means "none" to the kernel.
    u32::try_from(id).ok().filter(|&id| id != u32::MAX).ok_or(EntryProblem::Number(what))
}

fn device(header: &tar::Header) -> Result<Device, EntryProblem> {
    let bytes = header.as_bytes();
    let number = |field| unsigned(field).and_then(|number| u32::try_from(number).ok());
    match (number(&bytes[329..337]), number(&bytes[337..345])) {
        (Some(major), Some(minor)) => Ok(Device { major, minor }),
        _ => Err(EntryProblem::Number("device")),
    }
}

fn hardlink_target(link: &[u8], limits: &Limits) -> Result<EntryPath, EntryProblem> {
    let target = EntryPath::parse(link, limits).map_err(EntryProblem::Target)?;
    if target.is_root() { Err(EntryProblem::EmptyTarget) } else { Ok(target) }
}

fn symlink_target(link: Vec<u8>, limits: &Limits) -> Result<Vec<u8>, EntryProblem> {
    use super::PathProblem;
    if link.is_empty() {
        return Err(EntryProblem::EmptyTarget);
    }
    if link.contains(&0) {
        return Err(EntryProblem::Target(PathProblem::Nul));
    }
    // The kernel counts a closing NUL.
    if link.len() >= limits.path_bytes {
        return Err(EntryProblem::Target(PathProblem::TooLong(limits.path_bytes - 1)));
    }
    Ok(link)
}
