//! Lists of patterns: `--exclude`, and the include pattern of `--parents`.

use rbuild_model::glob::{BadPattern, DeepGlob};

use super::error::{Error, Result};
use super::filter::Decision;

/// What a selection narrows its directories by, besides the ignore file.
#[derive(Debug)]
pub(crate) struct Narrowing {
    /// How many bytes of a path belong to the directory that the patterns are relative to.
    skip: usize,
    include: Option<DeepGlob>,
    exclude: Vec<(DeepGlob, Sign)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Exclude,
    IncludeAgain,
}

impl Narrowing {
    /// Compiles the patterns; `None` if they let everything through.
    pub(crate) fn new(base: &[u8], include: Option<DeepGlob>, exclude: &[String]) -> Result<Option<Self>> {
        let mut compiled = Vec::new();
        for pattern in exclude {
            let bad = |reason| Error::Pattern { pattern: pattern.clone(), reason };
            let text = pattern.trim();
            let (text, sign) = match text.strip_prefix('!') {
                Some(rest) => (rest.trim(), Sign::IncludeAgain),
                None => (text, Sign::Exclude),
            };
            if text.is_empty() {
                if sign == Sign::IncludeAgain {
                    return Err(bad("nothing follows the exclamation mark"));
                }
                continue;
            }
            let clean = clean(text);
            let glob = DeepGlob::new(clean.as_bytes()).map_err(|_| bad(BadPattern::REASON))?;
            if clean != "." {
                compiled.push((glob, sign));
            }
        }
        if include.is_none() && compiled.is_empty() {
            return Ok(None);
        }
        let skip = if base.is_empty() { 0 } else { base.len() + 1 };
        Ok(Some(Self { skip, include, exclude: compiled }))
    }

    /// Decides about a path of the tree, given from the tree's root.
    pub(crate) fn decision(&self, path: &[u8], is_dir: bool) -> Decision {
        let path = &path[self.skip..];
        let included = match self.include.as_ref().map(|glob| glob.check(path)) {
            None => Decision::Include,
            Some(verdict) if verdict.matched => Decision::Include,
            Some(verdict) if verdict.below && is_dir => Decision::ExcludeButDescend,
            Some(_) => return Decision::Exclude,
        };
        let mut excluded = false;
        let mut again_below = false;
        for (glob, sign) in &self.exclude {
            let verdict = glob.check(path);
            if verdict.matched {
                excluded = *sign == Sign::Exclude;
            }
            again_below |= *sign == Sign::IncludeAgain && verdict.below;
        }
        included.and(match excluded {
            false => Decision::Include,
            true if is_dir && again_below => Decision::ExcludeButDescend,
            true => Decision::Exclude,
        })
    }
}

/// Cleans a pattern by its text: no `.`, no `..` behind a name, no doubled or last slash. A first slash stays.
fn clean(text: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
        match parts.last() {
            Some(&last) if part == ".." && last != ".." => {
                parts.pop();
            }
            None if part == ".." && text.starts_with('/') => {}
            _ => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (text.starts_with('/'), joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excludes_are_evaluated_in_order() {
        use Decision::{Exclude, ExcludeButDescend, Include};
        let cases: &[(&[&str], &str, bool, Decision)] = &[
            (&["*.txt"], "a.txt", false, Exclude),
            (&["*.txt"], "sub/a.txt", false, Include),
            (&["*.txt", "!b.txt"], "b.txt", false, Include),
            (&["!b.txt", "*.txt"], "b.txt", false, Exclude),
            (&["./f"], "f", false, Exclude),
            (&["sub/"], "sub/x", false, Exclude),
            (&["/f"], "f", false, Include),
            (&["."], "f", false, Include),
            (&["sub/**"], "sub", true, Include),
            (&["sub/**"], "sub/x", false, Exclude),
            (&["sub", "!sub/keep"], "sub", true, ExcludeButDescend),
            (&["sub", "!sub/keep"], "sub/keep", false, Include),
            (&["sub", "!other/keep"], "sub", true, Exclude),
            (&["a/../f"], "f", false, Exclude),
        ];
        for (patterns, path, is_dir, expected) in cases {
            let patterns: Vec<String> = patterns.iter().map(|&text| text.to_owned()).collect();
            let got = Narrowing::new(b"", None, &patterns)
                .unwrap()
                .map_or(Include, |narrowing| narrowing.decision(path.as_bytes(), *is_dir));
            assert_eq!(got, *expected, "{patterns:?} on {path}");
        }
    }

    #[test]
    fn a_bad_pattern_is_refused() {
        for pattern in ["!", "a[", "! "] {
            let error = Narrowing::new(b"", None, &[pattern.to_owned()]).unwrap_err();
            assert!(matches!(error, Error::Pattern { .. }), "{pattern}");
        }
    }

    #[test]
    fn patterns_are_relative_to_their_base() {
        let narrowing = Narrowing::new(b"base", Some(DeepGlob::literal(b"x/y")), &[]).unwrap().unwrap();
        assert_eq!(narrowing.decision(b"base/x", true), Decision::ExcludeButDescend);
        assert_eq!(narrowing.decision(b"base/x", false), Decision::Exclude);
        assert_eq!(narrowing.decision(b"base/x/y", false), Decision::Include);
        assert_eq!(narrowing.decision(b"base/y", true), Decision::Exclude);
    }
}
