//! The patterns of `${v#p}`, `${v%p}` and `${v/p/r}`.
//!
//! `*` stands for any text and `?` for any one character; there are no classes, brackets are text. A pattern is
//! kept as runs of one-character tests that stars stand between, so every search is a sequence of searches
//! for runs, first one first, and no input makes it go back over text it has passed.

use super::ExpandError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Any,
    Is(char),
}

impl Test {
    fn passes(self, ch: char) -> bool {
        match self {
            Self::Any => true,
            Self::Is(wanted) => wanted == ch,
        }
    }
}

/// A parsed pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// The runs between the stars; one more than there are stars.
    runs: Vec<Vec<Test>>,
}

/// Where a run was found, as character positions.
type Found = (usize, usize);

impl Pattern {
    /// Parses a pattern; a backslash may stand before `*`, `?`, a backslash, `/` and `}` only.
    pub fn parse(text: &str) -> Result<Self, ExpandError> {
        let mut runs = vec![Vec::new()];
        let mut chars = text.chars();
        while let Some(ch) = chars.next() {
            let test = match ch {
                '*' => {
                    runs.push(Vec::new());
                    continue;
                }
                '?' => Test::Any,
                '\\' => match chars.next() {
                    Some(literal @ ('*' | '?' | '\\' | '/' | '}')) => Test::Is(literal),
                    other => {
                        return Err(ExpandError::Escape {
                            found: other.map(String::from).unwrap_or_default(),
                        });
                    }
                },
                _ => Test::Is(ch),
            };
            if let Some(run) = runs.last_mut() {
                run.push(test);
            }
        }
        Ok(Self { runs })
    }

    /// Removes the shortest or longest prefix that matches.
    pub fn strip_prefix<'a>(&self, value: &'a str, longest: bool) -> &'a str {
        let chars: Vec<char> = value.chars().collect();
        match self.match_at_start(&chars, longest) {
            Some(end) => &value[byte_offset(value, end)..],
            None => value,
        }
    }

    /// Removes the shortest or longest suffix that matches.
    pub fn strip_suffix<'a>(&self, value: &'a str, longest: bool) -> &'a str {
        let chars: Vec<char> = value.chars().rev().collect();
        match self.reversed().match_at_start(&chars, longest) {
            Some(end) => &value[..byte_offset(value, chars.len() - end)],
            None => value,
        }
    }

    /// Replaces the first match, or every match that does not overlap an earlier one; each is taken as long as possible.
    /// `None` if more than `limit` bytes come out.
    pub fn replace(&self, value: &str, replacement: &str, all: bool, limit: usize) -> Option<String> {
        let chars: Vec<char> = value.chars().collect();
        let mut result = String::with_capacity(value.len());
        let mut copied = 0;
        let mut from = 0;
        let mut last_end = None;
        while let Some((start, end)) = self.search(&chars, from) {
            // An empty match directly behind the match before it does not count.
            if !(start == end && last_end == Some(start)) {
                result.extend(&chars[copied..start]);
                result.push_str(replacement);
                if result.len() > limit {
                    return None;
                }
                copied = end;
                last_end = Some(end);
                if !all {
                    break;
                }
            }
            from = if end > start { end } else { end + 1 };
            if from > chars.len() {
                break;
            }
        }
        result.extend(&chars[copied..]);
        Some(result)
    }

    fn reversed(&self) -> Self {
        Self { runs: self.runs.iter().rev().map(|run| run.iter().rev().copied().collect()).collect() }
    }

    fn match_at_start(&self, chars: &[char], longest: bool) -> Option<usize> {
        let (first, rest) = self.runs.split_first().expect("a pattern has at least one run");
        if !run_at(first, chars, 0) {
            return None;
        }
        end_of_rest(rest, chars, first.len(), longest)
    }

    /// Finds the leftmost match at or behind a position, as long as possible.
    fn search(&self, chars: &[char], from: usize) -> Option<Found> {
        let (first, rest) = self.runs.split_first().expect("a pattern has at least one run");
        // If the rest cannot be found behind the first place of the first run, it cannot behind any later one.
        let (start, end) = find(first, chars, from)?;
        Some((start, end_of_rest(rest, chars, end, true)?))
    }
}

fn end_of_rest(runs: &[Vec<Test>], chars: &[char], mut at: usize, longest: bool) -> Option<usize> {
    let Some((last, middle)) = runs.split_last() else { return Some(at) };
    for run in middle {
        at = find(run, chars, at)?.1;
    }
    let found = if longest { find_last(last, chars, at) } else { find(last, chars, at) };
    found.map(|(_, end)| end)
}

fn run_at(run: &[Test], chars: &[char], at: usize) -> bool {
    chars
        .get(at..at + run.len())
        .is_some_and(|window| run.iter().zip(window).all(|(test, ch)| test.passes(*ch)))
}

fn find(run: &[Test], chars: &[char], from: usize) -> Option<Found> {
    (from..=chars.len().checked_sub(run.len())?)
        .find(|at| run_at(run, chars, *at))
        .map(|at| (at, at + run.len()))
}

fn find_last(run: &[Test], chars: &[char], from: usize) -> Option<Found> {
    (from..=chars.len().checked_sub(run.len())?)
        .rev()
        .find(|at| run_at(run, chars, *at))
        .map(|at| (at, at + run.len()))
}

fn byte_offset(text: &str, chars: usize) -> usize {
    text.char_indices().nth(chars).map_or(text.len(), |(at, _)| at)
}
