use proptest::prelude::*;

use super::super::{Database, Inventory};

const LIST: &str = "path\texample.com/app/cmd/app\n\
    mod\texample.com/app\tv1.4.0\th1:a=\n\
    dep\tgithub.com/Azure/go-autorest\tv14.2.0+incompatible\th1:b=\n\
    dep\tgolang.org/x/old\tv0.1.0\n\
    =>\tgolang.org/x/new\tv0.2.0\th1:c=\n\
    dep\texample.com/own\tv0.3.0\n\
    =>\t./own\t\n\
    build\tCGO_ENABLED=0\n\
    build\t-tags\ta\n";

const FOUND: [&str; 5] = [
    "pkg:golang/example.com/app@v1.4.0",
    "pkg:golang/example.com/own@v0.3.0",
    "pkg:golang/github.com/Azure/go-autorest@v14.2.0%2Bincompatible",
    "pkg:golang/golang.org/x/new@v0.2.0",
    "pkg:golang/stdlib@1.27.1",
];

/// What the linker writes.
fn note(version: &str, list: &str) -> Vec<u8> {
    let mut note = b"\xff Go buildinf:\x08\x02".to_vec();
    note.resize(32, 0);
    let list = format!("0123456789abcdef{list}0123456789abcdef");
    for text in [version.as_bytes(), list.as_bytes()] {
        let mut length = text.len();
        while length > 0x7f {
            note.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        note.push(length as u8);
        note.extend(text);
    }
    note
}

/// A program with a section of names and one of a note; or with a segment that is written to alone.
fn program(wide: bool, big: bool, sections: bool, note: &[u8]) -> Vec<u8> {
    program_with(".go.buildinfo", wide, big, sections, note)
}

/// As [`program`], with a section of any name.
pub(in super::super) fn program_with(
    section: &str,
    wide: bool,
    big: bool,
    sections: bool,
    note: &[u8],
) -> Vec<u8> {
    let number = |value: usize, size: usize| -> Vec<u8> {
        let bytes = (value as u64).to_be_bytes()[8 - size..].to_vec();
        if big { bytes } else { bytes.into_iter().rev().collect() }
    };
    let word = if wide { 8 } else { 4 };
    let mut file = vec![0; 0x200];
    let put =
        |file: &mut Vec<u8>, at: usize, bytes: Vec<u8>| file[at..at + bytes.len()].copy_from_slice(&bytes);
    file[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 1 + u8::from(wide), 1 + u8::from(big)]);
    let names = format!("\0.text\0{section}\0");
    let names_at = file.len();
    file.extend(names.as_bytes());
    file.resize(file.len().next_multiple_of(16), 0);
    let note_at = file.len();
    file.extend(note);
    if sections {
        let (table, size, count, last) = if wide { (0x28, 64, 0x3c, 0x3e) } else { (0x20, 40, 0x30, 0x32) };
        put(&mut file, table, number(0x100, word));
        put(&mut file, count - 2, number(size, 2));
        put(&mut file, count, number(3, 2));
        put(&mut file, last, number(1, 2));
        let parts = [(1, names_at, names.len()), (7, note_at, note.len())];
        for (place, (name, at, length)) in parts.into_iter().enumerate() {
            let entry = 0x100 + (place + 1) * size;
            put(&mut file, entry, number(name, 4));
            put(&mut file, entry + if wide { 0x18 } else { 0x10 }, number(at, word));
            put(&mut file, entry + if wide { 0x20 } else { 0x14 }, number(length, word));
        }
    } else {
        let (table, size, count) = if wide { (0x20, 56, 0x38) } else { (0x1c, 32, 0x2c) };
        put(&mut file, table, number(0x100, word));
        put(&mut file, count - 2, number(size, 2));
        put(&mut file, count, number(1, 2));
        put(&mut file, 0x100, number(1, 4));
        put(&mut file, 0x100 + if wide { 4 } else { 24 }, number(6, 4));
        put(&mut file, 0x100 + word, number(names_at, word));
        let length = file.len() - names_at;
        put(&mut file, 0x100 + if wide { 32 } else { 16 }, number(length, word));
    }
    file
}

pub(in super::super) fn read(file: &[u8]) -> Inventory {
    let mut inventory = Inventory::default();
    inventory.read(Database::Program, "bin/app", &file).unwrap();
    inventory
}

pub(in super::super) fn urls(inventory: &Inventory) -> Vec<String> {
    inventory.packages().map(|package| inventory.url(package)).collect()
}

#[test]
fn programs_of_every_kind_tell_their_modules() {
    for (wide, big, sections) in
        [(true, false, true), (true, true, true), (false, false, true), (false, true, true)]
            .into_iter()
            .chain([(true, false, false), (false, true, false)])
    {
        // Notes in segments lie at multiples of 16 from where the segment begins.
        let file = program(wide, big, sections, &note("go1.27.1 X:nocoverageredesign", LIST));
        let inventory = read(&file);
        assert_eq!(urls(&inventory), FOUND, "{wide} {big} {sections}");
        assert_eq!(inventory.left_out().count(), 0);
    }
}

#[test]
fn other_programs_tell_nothing() {
    for file in [
        &b"#!/bin/sh\n"[..],
        b"",
        b"\x7fELF",
        &program(true, false, true, b"something else that is long enough"),
        &program(true, false, false, b"nothing"),
    ] {
        let inventory = read(file);
        assert_eq!((inventory.packages().count(), inventory.left_out().count()), (0, 0));
    }
}

#[test]
fn notes_that_are_not_read_are_told() {
    let mut old = note("go1.17", LIST);
    old[15] = 0;
    let told = |note: &[u8]| -> Vec<String> {
        read(&program(true, false, true, note)).left_out().map(str::to_owned).collect()
    };
    assert_eq!(told(&old), ["bin/app: made by a Go before 1.18, whose notes are not read"]);
    let cut = &note("go1.27", LIST)[..60];
    assert_eq!(told(cut), ["bin/app: 1 entries that cannot be read"]);
    let mut endless = note("go1.27", LIST);
    endless[32..42].fill(0xff);
    assert_eq!(told(&endless), ["bin/app: 1 entries that cannot be read"]);
    // A program without modules has the library all the same.
    let plain = read(&program(true, false, true, &note("go1.27", "")));
    assert_eq!(urls(&plain), ["pkg:golang/stdlib@1.27"]);
}

proptest! {
    #[test]
    fn programs_with_wrong_bytes_are_read_without_harm(
        wrong in proptest::collection::vec((0_usize..0x400, any::<u8>()), 1..24),
        sections in any::<bool>(),
        wide in any::<bool>(),
        cut in 0_usize..0x500,
    ) {
        let mut file = program(wide, false, sections, &note("go1.27.1", LIST));
        for (at, byte) in wrong {
            if let Some(place) = file.get_mut(at) {
                *place = byte;
            }
        }
        file.truncate(cut.max(64));
        prop_assert!(read(&file).packages().count() < 64);
    }
}
