//! `Cargo.lock`: tables of `key = "value"` in the one form that Cargo writes.

use super::{Ecosystem, Found, More};

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
        match (field("name"), field("version"), field("source")) {
            // Without a source it is a part of the project itself.
            (Some(_), Some(_), None) => {}
            (Some(name), Some(version), Some(_)) => {
                found.add(Ecosystem::Cargo, name, version, More::default());
            }
            _ => found.damaged += 1,
        }
    }
}
