//! The database as rpm's own `ndb`: pages of slots, each of which says where the header of one package lies.

use super::super::Found;
use super::super::pieces::{Pieces, Trouble, exactly, le32};
use super::{MOST_HEADER, header};

const DATABASE: u32 = u32::from_le_bytes(*b"RpmP");
const SLOT: u32 = u32::from_le_bytes(*b"Slot");
const BLOB: u32 = u32::from_le_bytes(*b"BlbS");
/// Bytes of a page of slots.
const PAGE: usize = 4096;
/// Bytes of a slot, of the head of a blob, and of what places are counted in.
const UNIT: usize = 16;

/// Takes the packages of a database in.
pub(in super::super) fn read(file: &dyn Pieces, found: &mut Found<'_>) -> Result<(), Trouble> {
    let head = exactly(file, 0, 32)?;
    let number = |at: usize| le32(&head, at).unwrap_or_default();
    if number(0) != DATABASE || number(4) != 0 {
        return Err(Trouble::Form("not a database of rpm"));
    }
    let pages = u64::from(number(12));
    if pages * PAGE as u64 > file.length() {
        return Err(Trouble::Form("cut short"));
    }
    // Headers do not overlap, so all of them have no more bytes than the file.
    let mut left = file.length();
    for page in 0..pages {
        let slots = exactly(file, page * PAGE as u64, PAGE)?;
        // The first two are the head.
        for slot in slots.chunks_exact(UNIT).skip(if page == 0 { 2 } else { 0 }) {
            let field = |at: usize| le32(slot, at).unwrap_or_default();
            let (package, place) = (field(4), u64::from(field(8)));
            if field(0) != SLOT {
                return Err(Trouble::Form("a slot of an unknown form"));
            }
            if package == 0 || place == 0 {
                continue;
            }
            let blob = exactly(file, place * UNIT as u64, UNIT)?;
            let field = |at: usize| le32(&blob, at).unwrap_or_default();
            let size = field(12) as usize;
            if field(0) != BLOB || field(4) != package || size > MOST_HEADER {
                found.damaged += 1;
                continue;
            }
            left = left.checked_sub(size as u64).ok_or(Trouble::Form("headers overlap"))?;
            header(&exactly(file, (place + 1) * UNIT as u64, size)?, found);
        }
    }
    Ok(())
}
