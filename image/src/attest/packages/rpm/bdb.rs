//! The database as a hash of Berkeley DB: pages of pairs, whose values (the headers) lie in chains of further pages.

use super::super::Found;
use super::super::pieces::{Pieces, Seen, Trouble, exactly, le16, le32};
use super::{MOST_HEADER, header};

const HASH: u32 = 0x0006_1561;
/// Bytes before what a page holds.
const HEAD: usize = 26;

const HASH_UNSORTED: u8 = 2;
const OVERFLOW: u8 = 7;
const HASH_META: u8 = 8;
const HASH_PAGE: u8 = 13;

/// A value that lies on its page.
const HERE: u8 = 1;
/// A value that lies in a chain of pages.
const ELSEWHERE: u8 = 3;

/// Takes the packages of a database in.
pub(in super::super) fn read(file: &dyn Pieces, found: &mut Found<'_>) -> Result<(), Trouble> {
    let head = exactly(file, 0, 512)?;
    let size = le32(&head, 20).unwrap_or_default() as usize;
    if le32(&head, 12) != Some(HASH) || head[25] != HASH_META {
        return Err(Trouble::Form("not a hash of Berkeley DB in the order of this machine's bytes"));
    }
    if !(512..=65_536).contains(&size) || !size.is_power_of_two() || head[24] != 0 {
        return Err(Trouble::Form("a hash of Berkeley DB of an unknown form"));
    }
    let pages = (file.length() / size as u64).min(u64::from(u32::MAX));
    let mut seen = Seen::new(pages);
    for number in 1..pages {
        let page = exactly(file, number * size as u64, size)?;
        if !matches!(page[25], HASH_UNSORTED | HASH_PAGE) {
            continue;
        }
        let entries = usize::from(le16(&page, 20).unwrap_or_default());
        // A key, its value, a key, its value.
        for at in (1..entries).step_by(2) {
            let place = |at: usize| le16(&page, HEAD + at * 2).map(usize::from);
            let Some((start, end)) = place(at).zip(place(at - 1)) else {
                found.damaged += 1;
                continue;
            };
            match page.get(start) {
                Some(&ELSEWHERE) => {
                    let (first, length) = (le32(&page, start + 4), le32(&page, start + 8));
                    let length = length.map(|length| length as usize).filter(|length| *length <= MOST_HEADER);
                    match first.zip(length) {
                        Some((first, length)) => {
                            header(&chain(file, size, first, length, &mut seen)?, found);
                        }
                        None => found.damaged += 1,
                    }
                }
                // Pages are filled from their end. A short value is the number that the next package gets.
                Some(&HERE) => match page.get(start + 1..end) {
                    Some(value) if value.len() > 8 => header(value, found),
                    Some(_) => {}
                    None => found.damaged += 1,
                },
                _ => found.damaged += 1,
            }
        }
    }
    Ok(())
}

/// Puts a value together; every page of the file belongs to one at most.
fn chain(
    file: &dyn Pieces,
    size: usize,
    first: u32,
    length: usize,
    seen: &mut Seen,
) -> Result<Vec<u8>, Trouble> {
    let (mut value, mut number) = (Vec::new(), u64::from(first));
    while value.len() < length {
        seen.visit(number)?;
        let page = exactly(file, number * size as u64, size)?;
        let held = usize::from(le16(&page, 22).unwrap_or_default()).min(length - value.len());
        let bytes = page.get(HEAD..HEAD + held).filter(|bytes| !bytes.is_empty() && page[25] == OVERFLOW);
        value.extend_from_slice(bytes.ok_or(Trouble::Form("a chain of pages that breaks off"))?);
        number = u64::from(le32(&page, 16).unwrap_or_default());
    }
    Ok(value)
}
