//! The database as a file of SQLite: the blobs of its table `Packages`, by a reader of just the table b-tree.
//!
//! SQLite itself is no reader of foreign files: it has views, triggers and a query language. Here every page is read
//! at most once, so the work is bounded by the file's length.

use super::super::Found;
use super::super::pieces::{Pieces, Seen, Trouble, be16, be32, exactly};
use super::{MOST_HEADER, header};

/// Takes the packages of a database in.
pub(in super::super) fn read(file: &dyn Pieces, found: &mut Found<'_>) -> Result<(), Trouble> {
    let mut database = Database::open(file)?;
    let mut root = None;
    database.table(1, &mut |record| {
        let columns = columns(record)?;
        let text = |at: usize| columns.get(at).copied().unwrap_or_default();
        if text(0) == b"table" && text(1) == b"Packages" {
            root = text(3)
                .iter()
                .try_fold(0_u32, |number, byte| number.checked_mul(256)?.checked_add(u32::from(*byte)));
        }
        Some(())
    })?;
    let root = root.ok_or(Trouble::Form("without a table of packages"))?;
    let damaged = database.table(root, &mut |record| {
        // The number of a package is the row's own and stands outside.
        header(columns(record)?.get(1)?, found);
        Some(())
    })?;
    found.damaged += damaged;
    Ok(())
}

struct Database<'a> {
    file: &'a dyn Pieces,
    page: usize,
    /// Bytes of a page that hold something.
    usable: usize,
    seen: Seen,
}

impl<'a> Database<'a> {
    fn open(file: &'a dyn Pieces) -> Result<Self, Trouble> {
        let head = exactly(file, 0, 100)?;
        if !head.starts_with(b"SQLite format 3\0") {
            return Err(Trouble::Form("not a database of SQLite"));
        }
        let page = match be16(&head, 16) {
            Some(1) => 65_536,
            Some(size) if size >= 512 && size.is_power_of_two() => usize::from(size),
            _ => return Err(Trouble::Form("pages of a size that there is not")),
        };
        let usable = page - usize::from(head[20]);
        if usable < 480 || be32(&head, 56) != Some(1) {
            return Err(Trouble::Form("a database of an unknown form"));
        }
        Ok(Self { file, page, usable, seen: Seen::new(file.length() / page as u64 + 1) })
    }

    fn load(&mut self, number: u32) -> Result<Vec<u8>, Trouble> {
        // Pages count from one.
        self.seen.visit(u64::from(number))?;
        let at =
            u64::from(number).checked_sub(1).ok_or(Trouble::Form("a page that is not there is named"))?;
        exactly(self.file, at * self.page as u64, self.page)
    }

    /// Shows the records of a table, and returns how many could not be read.
    fn table(&mut self, root: u32, each: &mut dyn FnMut(&[u8]) -> Option<()>) -> Result<usize, Trouble> {
        const FORM: Trouble = Trouble::Form("a page of an unknown form");
        let (mut waiting, mut damaged) = (vec![root], 0);
        while let Some(number) = waiting.pop() {
            let page = self.load(number)?;
            // The first page begins with the file's own header.
            let top = if number == 1 { 100 } else { 0 };
            let cells = usize::from(be16(&page, top + 3).ok_or(FORM)?);
            let cell = |list: usize, at: usize| be16(&page, top + list + at * 2).map(usize::from);
            match page.get(top) {
                Some(0x05) => {
                    for at in 0..cells {
                        let child = cell(12, at).and_then(|cell| be32(&page, cell)).ok_or(FORM)?;
                        waiting.push(child);
                    }
                    waiting.push(be32(&page, top + 8).ok_or(FORM)?);
                }
                Some(0x0d) => {
                    for at in 0..cells {
                        let start = cell(8, at).ok_or(FORM)?;
                        let shown = match self.record(&page, start)? {
                            Some(record) => each(&record),
                            None => None,
                        };
                        damaged += usize::from(shown.is_none());
                    }
                }
                _ => return Err(FORM),
            }
            if waiting.len() as u64 > self.file.length() {
                return Err(FORM);
            }
        }
        Ok(damaged)
    }

    /// Puts a record together from its leaf and the pages that it runs over to; nothing for one that is none.
    fn record(&mut self, leaf: &[u8], start: usize) -> Result<Option<Vec<u8>>, Trouble> {
        let Some((length, next)) = varint(leaf, start) else { return Ok(None) };
        let Some((_row, start)) = varint(leaf, next) else { return Ok(None) };
        let Some(length) = usize::try_from(length).ok().filter(|length| *length <= MOST_HEADER) else {
            return Ok(None);
        };
        let most = self.usable - 35;
        let here = if length <= most {
            length
        } else {
            let least = (self.usable - 12) * 32 / 255 - 23;
            let fitting = least + (length - least) % (self.usable - 4);
            if fitting <= most { fitting } else { least }
        };
        let Some(local) = leaf.get(start..start + here) else { return Ok(None) };
        let mut record = local.to_vec();
        let mut next = if here < length { be32(leaf, start + here) } else { None };
        while record.len() < length {
            let Some(number) = next else { return Ok(None) };
            let page = self.load(number)?;
            let wanted = (length - record.len()).min(self.usable - 4);
            record.extend_from_slice(&page[4..4 + wanted]);
            next = be32(&page, 0);
        }
        Ok(Some(record))
    }
}

/// The columns of a record, as bytes.
fn columns(record: &[u8]) -> Option<Vec<&[u8]>> {
    let (size, mut at) = varint(record, 0)?;
    let end = usize::try_from(size).ok().filter(|end| *end <= record.len())?;
    let (mut place, mut columns) = (end, Vec::new());
    while at < end {
        let (kind, next) = varint(record, at)?;
        let size = match kind {
            0 | 8 | 9 => 0,
            1..=4 => kind,
            5 => 6,
            6 | 7 => 8,
            10 | 11 => return None,
            _ => (kind - 12) / 2,
        };
        let until = place.checked_add(usize::try_from(size).ok()?)?;
        columns.push(record.get(place..until)?);
        (at, place) = (next, until);
    }
    Some(columns)
}

/// A number of one to nine bytes, and where it ends.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0;
    for step in 0..9 {
        let byte = *bytes.get(at.checked_add(step)?)?;
        if step == 8 {
            return Some((value << 8 | u64::from(byte), at + 9));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte < 0x80 {
            return Some((value, at + step + 1));
        }
    }
    None
}
