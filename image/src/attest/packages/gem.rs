//! Descriptions of gems, in the one form that Ruby writes when it installs: `s.name = "rake".freeze`.

use super::{Ecosystem, Found, More};

pub(super) fn specification(bytes: &[u8], found: &mut Found<'_>) {
    let text = String::from_utf8_lossy(bytes);
    let field = |name: &str| {
        text.lines().find_map(|line| {
            let value = line.trim().strip_prefix("s.")?.strip_prefix(name)?.trim_start().strip_prefix('=')?;
            Some(value.trim_start_matches([' ', '[']).strip_prefix('"')?.split_once('"')?.0)
        })
    };
    match (field("name"), field("version")) {
        (Some(name), Some(version)) => {
            found.add(Ecosystem::Gem, name, version, More { licence: field("licenses"), ..More::default() });
        }
        _ => found.damaged += 1,
    }
}
