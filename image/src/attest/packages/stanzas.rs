//! Lists of fields: those of dpkg, of apk, and of the distribution itself.

use super::{Distribution, Ecosystem, Found, More};

/// Reads dpkg's list: paragraphs of `Field: value`, continued in lines that begin with a space.
pub(super) fn dpkg(bytes: &[u8], found: &mut Found<'_>) {
    let text = String::from_utf8_lossy(bytes);
    for paragraph in paragraphs(&text) {
        let field = |name: &str| {
            let mut lines = paragraph.iter().filter(|line| !line.starts_with([' ', '\t']));
            lines.find_map(|line| Some(line.split_once(':').filter(|(key, _)| *key == name)?.1.trim()))
        };
        // A part of the list (`status.d`) has no states: what lies there is installed.
        let installed = field("Status").is_none_or(|status| status.ends_with(" installed"));
        let Some(name) = field("Package") else {
            found.damaged += 1;
            continue;
        };
        if !installed {
            continue;
        }
        let more = More { architecture: field("Architecture"), licence: None };
        match field("Version") {
            Some(version) => found.add(Ecosystem::Deb, name, version, more),
            None => found.damaged += 1,
        }
    }
}

/// Reads apk's list: paragraphs of one letter, a colon, a value.
pub(super) fn apk(bytes: &[u8], found: &mut Found<'_>) {
    let text = String::from_utf8_lossy(bytes);
    for paragraph in paragraphs(&text) {
        let field = |name: &str| paragraph.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let more = More { architecture: field("A"), licence: field("L") };
        match (field("P"), field("V")) {
            (Some(name), Some(version)) => found.add(Ecosystem::Apk, name, version, more),
            _ => found.damaged += 1,
        }
    }
}

/// Reads what the distribution says of itself.
pub(super) fn os_release(bytes: &[u8]) -> Option<Distribution> {
    let text = String::from_utf8_lossy(bytes);
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?.trim();
        let value = value.trim_matches(['"', '\'']);
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        (value.len() <= 64 && value.chars().all(good)).then(|| value.to_owned())
    };
    let id = field("ID").filter(|id| !id.is_empty())?;
    Some(Distribution { id, version: field("VERSION_ID").unwrap_or_default() })
}

/// Lines between empty ones.
fn paragraphs(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let mut lines = text.lines();
    std::iter::from_fn(move || {
        let mut paragraph = Vec::new();
        for line in lines.by_ref() {
            match (line.is_empty(), paragraph.is_empty()) {
                (true, true) => {}
                (true, false) => break,
                (false, _) => paragraph.push(line),
            }
        }
        (!paragraph.is_empty()).then_some(paragraph)
    })
}
