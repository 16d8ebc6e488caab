//! The rules about every tracked text.

use std::path::Path;

use super::{File, Finding, Report};

pub(super) fn check(root: &Path, file: &File, report: &mut Report) {
    let Some(place) = checkout(root) else { return };
    for (index, line) in file.text.lines().enumerate() {
        if names(line, &place) {
            report.findings.push(Finding::new(file, index + 1, "names the folder of somebody's checkout"));
        }
    }
}

/// The project's folder on this machine, if its path is long enough to be nobody else's.
fn checkout(root: &Path) -> Option<String> {
    let text = root.to_str()?;
    (text.matches('/').count() >= 2).then(|| text.to_owned())
}

fn names(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let after = line[at + place.len()..].chars().next();
        !after.is_some_and(|character| character.is_alphanumeric() || matches!(character, '_' | '-' | '.'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_checkout_itself_is_meant() {
        let place = format!("/{}/{}", "somewhere", "rbuild");
        assert!(names(&format!("see {place}/src"), &place) && names(&place, &place));
        assert!(!names(&format!("{place}er"), &place));
        assert_eq!(checkout(Path::new("/src")), None);
    }
}
