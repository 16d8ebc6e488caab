//! Modules that a program of Go was made of: the linker writes them into a section of the program.

use super::pieces::{Pieces, Trouble};
use super::{Ecosystem, Found, More};

/// What the note of the linker begins with.
const MARK: &[u8] = b"\xff Go buildinf:";
/// Bytes before its texts.
const HEAD: usize = 32;
/// The texts follow it, instead of being pointed to.
const INLINE: u8 = 2;
/// Bytes of the note.
const MOST_NOTE: u64 = 4 << 20;
/// Sections or segments of a program.
const MOST_PARTS: u64 = 4096;
/// Bytes of a table of them.
const MOST_TABLE: u64 = 1 << 20;
/// Bytes of a segment in which the note is looked for where there are no sections.
const MOST_LOOKED: u64 = 64 << 10;

/// Takes the modules of a program in; files that are none of Go have none.
pub(super) fn program(file: &dyn Pieces, found: &mut Found<'_>) -> Result<(), Trouble> {
    // What is no program, or is made in a way that nobody makes programs of Go, is none of them.
    let Some((at, size)) = note(file)? else { return Ok(()) };
    let bytes = file.piece(at, usize::try_from(size.min(MOST_NOTE)).unwrap_or(usize::MAX))?;
    if bytes.get(15).is_none_or(|flags| flags & INLINE == 0) {
        return Err(Trouble::Form("made by a Go before 1.18, whose notes are not read"));
    }
    let texts = || {
        let (version, rest) = text(bytes.get(HEAD..)?)?;
        Some((version, text(rest)?.0))
    };
    match texts() {
        Some((version, list)) => modules(version, list, found),
        None => found.damaged += 1,
    }
    Ok(())
}

/// A text after its length, and what follows it.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut length, mut at) = (0_u64, 0);
    loop {
        let byte = *bytes.get(at)?;
        length |= u64::from(byte & 0x7f) << (7 * at);
        at += 1;
        match byte {
            0..0x80 => break,
            _ if at == 5 => return None,
            _ => {}
        }
    }
    bytes[at..].split_at_checked(usize::try_from(length).ok()?)
}

/// Reads lines of `dep`, path, version and sum, between tabs; `=>` says what the line before was replaced by.
fn modules(version: &[u8], list: &[u8], found: &mut Found<'_>) {
    let version = String::from_utf8_lossy(version);
    let release = version.split(' ').find_map(|word| word.strip_prefix("go"));
    if let Some(release) = release.filter(|release| !release.is_empty()) {
        found.add(Ecosystem::Golang, "stdlib", release, More::default());
    }
    // Marks of 16 bytes stand around the list.
    let framed = list.len() >= 33 && list[list.len() - 17] == b'\n';
    let list = if framed { &list[16..list.len() - 16] } else { &[][..] };
    let list = String::from_utf8_lossy(list);
    let mut last: Option<(&str, &str)> = None;
    for line in list.lines() {
        let mut fields = line.split('\t');
        let kind = fields.next();
        let module = fields.next().zip(fields.next());
        match (kind, module) {
            (Some("mod" | "dep"), Some(module)) => keep(last.replace(module), found),
            // A folder has no version: the module is known by what it stands for.
            (Some("=>"), Some((path, version))) if !version.is_empty() => last = Some((path, version)),
            (Some("mod" | "dep"), None) => found.damaged += 1,
            _ => {}
        }
    }
    keep(last, found);
}

fn keep(module: Option<(&str, &str)>, found: &mut Found<'_>) {
    if let Some((path, version)) = module {
        found.add(Ecosystem::Golang, path, version, More::default());
    }
}

/// Where numbers stand in programs of one kind, and how they are read.
struct Elf {
    wide: bool,
    big: bool,
}

impl Elf {
    fn number(&self, bytes: &[u8], at: usize, size: usize) -> Option<u64> {
        let bytes = bytes.get(at..at.checked_add(size)?)?;
        let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(if self.big { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) })
    }

    /// A number of the machine's own width, at one of two places.
    fn word(&self, bytes: &[u8], narrow: usize, wide: usize) -> Option<u64> {
        if self.wide { self.number(bytes, wide, 8) } else { self.number(bytes, narrow, 4) }
    }
}

/// Reads the head of a program; nothing of any other file.
fn head(file: &dyn Pieces) -> Result<Option<(Elf, Vec<u8>)>, Trouble> {
    let head = file.piece(0, 64)?;
    if !head.starts_with(b"\x7fELF") || head.len() < 64 {
        return Ok(None);
    }
    Ok(Some((Elf { wide: head[4] == 2, big: head[5] == 2 }, head)))
}

/// Finds a section of a program, by its name with a zero behind it: where it is, and how long.
pub(super) fn section_of(file: &dyn Pieces, name: &[u8]) -> Result<Option<(u64, u64)>, Trouble> {
    match head(file)? {
        Some((elf, head)) => section(file, &elf, &head, name),
        None => Ok(None),
    }
}

/// Finds the note in a program: where it is, and how long at most.
fn note(file: &dyn Pieces) -> Result<Option<(u64, u64)>, Trouble> {
    let Some((elf, head)) = head(file)? else { return Ok(None) };
    if let Some((at, size)) = section(file, &elf, &head, b".go.buildinfo\0")? {
        let is_note = size >= HEAD as u64 && file.piece(at, MARK.len())? == MARK;
        return Ok(is_note.then_some((at, size)));
    }
    segment(file, &elf, &head)
}

/// Where the header says of a table where it is and how large an entry; how many there are stands behind that.
struct Place {
    narrow: (usize, usize),
    wide: (usize, usize),
}

const SECTIONS: Place = Place { narrow: (0x20, 0x2e), wide: (0x28, 0x3a) };
const SEGMENTS: Place = Place { narrow: (0x1c, 0x2a), wide: (0x20, 0x36) };

/// Reads the entries of a table; nothing of one that cannot be.
fn table(file: &dyn Pieces, elf: &Elf, head: &[u8], place: &Place) -> Result<Vec<Vec<u8>>, Trouble> {
    let (at, size) = if elf.wide { place.wide } else { place.narrow };
    let (Some(at), Some(size), Some(count)) =
        (elf.word(head, at, at), elf.number(head, size, 2), elf.number(head, size + 2, 2))
    else {
        return Ok(Vec::new());
    };
    let least = if elf.wide { 56 } else { 32 };
    if at == 0 || size < least || count > MOST_PARTS || size * count > MOST_TABLE {
        return Ok(Vec::new());
    }
    let size = usize::try_from(size).unwrap_or_default();
    let bytes = file.piece(at, size * usize::try_from(count).unwrap_or_default())?;
    Ok(bytes.chunks_exact(size).map(<[u8]>::to_vec).collect())
}

fn section(file: &dyn Pieces, elf: &Elf, head: &[u8], wanted: &[u8]) -> Result<Option<(u64, u64)>, Trouble> {
    let sections = table(file, elf, head, &SECTIONS)?;
    let place = |section: &[u8]| elf.word(section, 0x10, 0x18).zip(elf.word(section, 0x14, 0x20));
    let names = elf.number(head, if elf.wide { 0x3e } else { 0x32 }, 2);
    let names = names.and_then(|at| sections.get(usize::try_from(at).ok()?)).and_then(|names| place(names));
    let Some((at, size)) = names.filter(|(_, size)| *size <= MOST_TABLE) else { return Ok(None) };
    let names = file.piece(at, usize::try_from(size).unwrap_or_default())?;
    let is_it = |section: &&Vec<u8>| {
        let name = elf.number(section, 0, 4).and_then(|at| names.get(usize::try_from(at).ok()?..));
        name.is_some_and(|name| name.starts_with(wanted))
    };
    Ok(sections.iter().find(is_it).and_then(|section| place(section)))
}

/// Looks for the note at the beginning of the first segment that is written to.
fn segment(file: &dyn Pieces, elf: &Elf, head: &[u8]) -> Result<Option<(u64, u64)>, Trouble> {
    let segments = table(file, elf, head, &SEGMENTS)?;
    let is_data = |segment: &&Vec<u8>| {
        let flags = elf.number(segment, if elf.wide { 4 } else { 24 }, 4).unwrap_or_default();
        elf.number(segment, 0, 4) == Some(1) && flags & 3 == 2
    };
    let Some(segment) = segments.iter().find(is_data) else { return Ok(None) };
    let place = elf.word(segment, 4, 8).zip(elf.word(segment, 16, 32));
    let Some((at, size)) = place else { return Ok(None) };
    let bytes = file.piece(at, usize::try_from(size.min(MOST_LOOKED)).unwrap_or_default())?;
    let found = bytes.chunks(16).position(|chunk| chunk.starts_with(MARK));
    Ok(found.map(|chunk| chunk as u64 * 16).map(|from| (at + from, size - from)))
}

#[cfg(test)]
pub(super) mod tests;
