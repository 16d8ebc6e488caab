//! Packages of rpm. Whatever form the database has, it holds one *header* a package: a list of tags with types, places and
//! counts, and the data that these point into.
//!
//! | Form | File | Who has it |
//! |---|---|---|
//! | [`sqlite`] | `rpmdb.sqlite` | Fedora since 33, RHEL since 9 and what comes from them |
//! | [`ndb`] | `Packages.db` | SUSE |
//! | [`bdb`] | `Packages` | RHEL up to 8 |

pub(super) mod bdb;
pub(super) mod ndb;
pub(super) mod sqlite;

use super::pieces::be32;
use super::{Ecosystem, Found, MOST_TEXT, More};

/// Bytes of one header.
const MOST_HEADER: usize = 32 << 20;
/// Tags of one header.
const MOST_TAGS: usize = 65_536;

const NAME: u32 = 1000;
const VERSION: u32 = 1001;
const RELEASE: u32 = 1002;
const EPOCH: u32 = 1003;
const LICENCE: u32 = 1014;
const ARCHITECTURE: u32 = 1022;

const INT32: u32 = 4;
const STRING: u32 = 6;
const STRINGS: u32 = 8;
const TRANSLATED: u32 = 9;

/// Takes the package of a header in.
fn header(bytes: &[u8], found: &mut Found<'_>) {
    if read(bytes, found).is_none() {
        found.damaged += 1;
    }
}

fn read(bytes: &[u8], found: &mut Found<'_>) -> Option<()> {
    let (tags, size) = (be32(bytes, 0)? as usize, be32(bytes, 4)? as usize);
    if tags > MOST_TAGS {
        return None;
    }
    let list = bytes.get(8..8 + tags * 16)?;
    let start = 8 + list.len();
    let data = bytes.get(start..start.checked_add(size)?)?;
    let tag = |wanted: u32, types: &[u32]| {
        let entry = list.chunks_exact(16).find(|entry| be32(entry, 0) == Some(wanted))?;
        types.contains(&be32(entry, 4)?).then_some(())?;
        data.get(be32(entry, 8)? as usize..)
    };
    let text = |wanted: u32| {
        let rest = tag(wanted, &[STRING, STRINGS, TRANSLATED])?;
        let end = rest.iter().take(MOST_TEXT + 1).position(|byte| *byte == 0)?;
        std::str::from_utf8(&rest[..end]).ok()
    };
    let (name, version, release) = (text(NAME)?, text(VERSION)?, text(RELEASE)?);
    // Keys that packages are signed with stand among the packages.
    if name == "gpg-pubkey" {
        return Some(());
    }
    let version = match tag(EPOCH, &[INT32]).and_then(|rest| be32(rest, 0)) {
        Some(epoch) if epoch > 0 => format!("{epoch}:{version}-{release}"),
        _ => format!("{version}-{release}"),
    };
    let more = More { architecture: text(ARCHITECTURE), licence: text(LICENCE) };
    found.add(Ecosystem::Rpm, name, &version, more);
    Some(())
}

#[cfg(test)]
mod tests;
