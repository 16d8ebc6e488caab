//! Descriptions of Python's distributions: headers as those of a letter, ended by an empty line.

use super::{Ecosystem, Found, More};

pub(super) fn metadata(bytes: &[u8], found: &mut Found<'_>) {
    let text = String::from_utf8_lossy(bytes);
    let head = || text.lines().take_while(|line| !line.trim_end().is_empty());
    let field = |name: &str| {
        head().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    };
    let licence = field("License-Expression").or_else(|| field("License")).filter(|text| *text != "UNKNOWN");
    match (field("Name"), field("Version")) {
        (Some(name), Some(version)) => {
            found.add(Ecosystem::Pypi, name, version, More { licence, ..More::default() });
        }
        _ => found.damaged += 1,
    }
}
