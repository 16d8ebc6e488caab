//! Which step of an earlier build a step is the successor of.
//!
//! Lines with equal text and stage are matched in order (the longest common subsequence); between two matched lines,
//! those left over are paired in order if they have the same stage and begin with the same word: an instruction that
//! was edited is still that instruction.

use crate::records::builds::LineageLine;

/// Builds with more steps than this are compared by text alone: the table would be large.
const MAX_LINES: usize = 2000;

/// Returns a step's text without the place that displays put before it (`[build 2/4] `).
pub fn text(note: &str) -> &str {
    match note.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        Some((place, text)) if place.ends_with(|last: char| last.is_ascii_digit()) => text,
        _ => note,
    }
}

fn word(note: &str) -> &str {
    text(note).split_whitespace().next().unwrap_or_default()
}

/// Returns which of the earlier lines is the one that line `at` of the later ones succeeds.
pub fn partner(earlier: &[LineageLine], later: &[LineageLine], at: usize) -> Option<usize> {
    partners(earlier, later)[at]
}

/// Returns for each later line the earlier one that it succeeds.
pub fn partners(earlier: &[LineageLine], later: &[LineageLine]) -> Vec<Option<usize>> {
    let equal = |old: usize, new: usize| {
        earlier[old].stage == later[new].stage && text(&earlier[old].note) == text(&later[new].note)
    };
    if earlier.len().max(later.len()) > MAX_LINES {
        return (0..later.len()).map(|new| (0..earlier.len()).find(|old| equal(*old, new))).collect();
    }
    let width = later.len() + 1;
    let mut longest = vec![0_u16; (earlier.len() + 1) * width];
    for old in (0..earlier.len()).rev() {
        for new in (0..later.len()).rev() {
            longest[old * width + new] = match equal(old, new) {
                true => longest[(old + 1) * width + new + 1] + 1,
                false => longest[(old + 1) * width + new].max(longest[old * width + new + 1]),
            };
        }
    }
    let mut found = vec![None; later.len()];
    let (mut old, mut new) = (0, 0);
    let (mut old_gap, mut new_gap) = (0, 0);
    while old < earlier.len() && new < later.len() {
        if equal(old, new) {
            found[new] = Some(old);
            pair(earlier, later, old_gap..old, new_gap..new, &mut found);
            (old, new) = (old + 1, new + 1);
            (old_gap, new_gap) = (old, new);
        } else if longest[(old + 1) * width + new] >= longest[old * width + new + 1] {
            old += 1;
        } else {
            new += 1;
        }
    }
    pair(earlier, later, old_gap..earlier.len(), new_gap..later.len(), &mut found);
    found
}

/// Pairs what lies between two matched lines.
fn pair(
    earlier: &[LineageLine],
    later: &[LineageLine],
    mut old: std::ops::Range<usize>,
    new: std::ops::Range<usize>,
    found: &mut [Option<usize>],
) {
    for at in new {
        let like = |before: usize| {
            earlier[before].stage == later[at].stage && word(&earlier[before].note) == word(&later[at].note)
        };
        if let Some(before) = old.clone().find(|before| like(*before)) {
            found[at] = Some(before);
            old.start = before + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<LineageLine> {
        text.split(';')
            .map(|note| LineageLine {
                stage: "build".to_owned(),
                note: note.to_owned(),
                record: None,
                origin: None,
            })
            .collect()
    }

    #[track_caller]
    fn check(earlier: &str, later: &str, expected: &[Option<usize>]) {
        assert_eq!(partners(&lines(earlier), &lines(later)), expected, "{earlier} | {later}");
    }

    #[test]
    fn steps_are_matched_by_text_and_then_by_place() {
        check("[1/2] RUN a;[2/2] RUN b", "[1/3] RUN a;[2/3] RUN new;[3/3] RUN b", &[Some(0), None, Some(1)]);
        check("RUN a;RUN b", "RUN a;RUN b2", &[Some(0), Some(1)]);
        check("RUN a;COPY b c;RUN d", "RUN d", &[Some(2)]);
        check("RUN a;RUN a", "RUN a;RUN a", &[Some(0), Some(1)]);
        check("COPY a b;RUN x", "RUN y;COPY a2 b", &[Some(1), None]);
        check("RUN a", "ADD a b", &[None]);
    }

    #[test]
    fn only_the_place_is_no_text() {
        for (note, expected) in [
            ("[build 2/4] RUN make", "RUN make"),
            ("[linux/arm64 1/2] FROM a", "FROM a"),
            ("[\"a\"] b", "[\"a\"] b"),
            ("[internal] load build context", "[internal] load build context"),
        ] {
            assert_eq!(text(note), expected);
        }
    }
}
