//! Crates: those of `Cargo.lock`, tables of `key = "value"` in the one form that Cargo writes, and those that
//! `cargo auditable` writes into a program.

use std::io::Read as _;

use flate2::read::ZlibDecoder;
use serde::Deserialize;

use super::pieces::{Pieces, Trouble};
use super::{Ecosystem, Found, More, go};

/// Bytes of the list in a program, as it lies there and unpacked.
const MOST_PACKED: u64 = 8 << 20;
const MOST_LIST: u64 = 64 << 20;

/// What a program was made of.
#[derive(Deserialize)]
struct List {
    packages: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    name: String,
    version: String,
    kind: Option<String>,
}

/// Takes the crates of a program in; most programs have no list of them.
pub(super) fn program(file: &dyn Pieces, found: &mut Found<'_>) -> Result<(), Trouble> {
    let Some((at, size)) = go::section_of(file, b".dep-v0\0")? else { return Ok(()) };
    let packed = file.piece(at, usize::try_from(size.min(MOST_PACKED)).unwrap_or(usize::MAX))?;
    let mut text = Vec::new();
    let unpacked = ZlibDecoder::new(&packed[..]).take(MOST_LIST).read_to_end(&mut text);
    let list = unpacked.ok().and_then(|_| serde_json::from_slice::<List>(&text).ok());
    let list = list.ok_or(Trouble::Form("its list of crates cannot be read"))?;
    // What only made it is not in it.
    for Listed { name, version, .. } in
        list.packages.iter().filter(|one| one.kind.as_deref() != Some("build"))
    {
        found.add(Ecosystem::Cargo, name, version, More::default());
    }
    Ok(())
}

pub(super) fn lock(bytes: &[u8], found: &mut Found<'_>) {
    let text = String::from_utf8_lossy(bytes);
    let mut tables = text.split("[[package]]");
    // What stands before the first package is about the file.
    tables.next();
    for table in tables {
        let lines = || table.lines().map(str::trim).take_while(|line| !line.starts_with('['));
        let field = |name: &str| {
            lines().find_map(|line| {
                let value = line.strip_prefix(name)?.trim_start().strip_prefix('=')?.trim();
                value.strip_prefix('"')?.strip_suffix('"')
            })
        };
        // Without a source it is of the project itself, which is in the image no less than what it stands on.
        match (field("name"), field("version")) {
            (Some(name), Some(version)) => found.add(Ecosystem::Cargo, name, version, More::default()),
            _ => found.damaged += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::ZlibEncoder;

    use super::go::tests::{program_with, read, urls};

    fn packed(list: &str) -> Vec<u8> {
        let mut writer = ZlibEncoder::new(Vec::new(), Compression::default());
        writer.write_all(list.as_bytes()).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn programs_tell_the_crates_that_are_in_them() {
        let list = packed(
            r#"{"packages":[
                {"name":"app","version":"0.1.0","source":"local","root":true,"dependencies":[1,2]},
                {"name":"serde","version":"1.0.2","source":"crates.io","kind":"runtime"},
                {"name":"cc","version":"1.2.0","source":"crates.io","kind":"build"},
                {"name":"forked","version":"2.0.0-rc.1","source":"git"}
            ]}"#,
        );
        for (wide, big) in [(true, false), (true, true), (false, false)] {
            let inventory = read(&program_with(".dep-v0", wide, big, true, &list));
            assert_eq!(
                urls(&inventory),
                ["pkg:cargo/app@0.1.0", "pkg:cargo/forked@2.0.0-rc.1", "pkg:cargo/serde@1.0.2"]
            );
            assert_eq!(inventory.left_out().count(), 0);
        }
    }

    #[test]
    fn lists_that_cannot_be_read_are_told() {
        let cut = packed(r#"{"packages":[]}"#);
        for list in [&b"no zlib"[..], &cut[..5], &packed(r#"{"packages":{}}"#), &packed("[")] {
            let inventory = read(&program_with(".dep-v0", true, false, true, list));
            let told: Vec<_> = inventory.left_out().collect();
            assert_eq!(told, ["bin/app: its list of crates cannot be read"]);
        }
    }
}
