//! The pattern language: `*`, `?`, `[class]` and `\` within a component, and `**` across components.
//!
//! [`Glob`] is for one component of a COPY source (Go's `filepath.Match`, where `**` is just `*`); [`DeepGlob`] is for
//! the lists of `--exclude` and `--parents`, which speak the language of ignore files. Both work on characters, with
//! each byte of broken UTF-8 being one, and in time bounded by the product of the two lengths.

/// The pattern is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadPattern;

/// How [`BadPattern`] is told.
pub(crate) const BAD_PATTERN: &str = "syntax error in pattern";

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Char(u32),
    /// `?`: one character other than `/`.
    Any,
    Class {
        negated: bool,
        ranges: Vec<(u32, u32)>,
    },
    /// `*`: any characters other than `/`.
    Star,
    /// `**/`: nothing, or any characters and a slash. This is its entry, the next token its loop.
    Depth,
    DepthLoop,
    /// `**` at the end: anything.
    Rest,
}

impl Token {
    fn takes(&self, c: u32) -> bool {
        match self {
            Self::Char(own) => *own == c,
            Self::Any => c != SLASH,
            Self::Class { negated, ranges } => {
                c != SLASH && ranges.iter().any(|&(low, high)| low <= c && c <= high) != *negated
            }
            Self::Star | Self::Depth | Self::DepthLoop | Self::Rest => false,
        }
    }
}

const SLASH: u32 = b'/' as u32;

/// Takes one character off the front: its code point, or above all code points a byte that is none.
fn next_char(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        return Some((first.into(), rest));
    }
    for length in 2..=bytes.len().min(4) {
        if let Ok(text) = std::str::from_utf8(&bytes[..length])
            && let Some(c) = text.chars().next()
        {
            return Some((c.into(), &bytes[length..]));
        }
    }
    Some((0x11_0000 + u32::from(first), rest))
}

fn class(mut pattern: &[u8]) -> Result<(Token, &[u8]), BadPattern> {
    fn bound(pattern: &[u8]) -> Result<(u32, &[u8]), BadPattern> {
        let pattern = match pattern {
            [] | [b'-' | b']', ..] => return Err(BadPattern),
            [b'\\', rest @ ..] => rest,
            _ => pattern,
        };
        match next_char(pattern) {
            Some((c, rest)) if !rest.is_empty() => Ok((c, rest)),
            _ => Err(BadPattern),
        }
    }
    let negated = pattern.first() == Some(&b'^');
    if negated {
        pattern = &pattern[1..];
    }
    let mut ranges = Vec::new();
    loop {
        if let [b']', rest @ ..] = pattern
            && !ranges.is_empty()
        {
            return Ok((Token::Class { negated, ranges }, rest));
        }
        let (low, rest) = bound(pattern)?;
        pattern = rest;
        let mut high = low;
        if let [b'-', rest @ ..] = pattern {
            (high, pattern) = bound(rest)?;
        }
        ranges.push((low, high));
    }
}

fn tokens(mut pattern: &[u8], deep: bool) -> Result<Vec<Token>, BadPattern> {
    let mut found = Vec::new();
    while let Some((c, rest)) = next_char(pattern) {
        pattern = rest;
        match u8::try_from(c).unwrap_or(0) {
            b'*' if deep && pattern.first() == Some(&b'*') => {
                pattern = &pattern[1..];
                if let [b'/', rest @ ..] = pattern {
                    pattern = rest;
                }
                if pattern.is_empty() {
                    found.push(Token::Rest);
                } else {
                    found.extend([Token::Depth, Token::DepthLoop]);
                }
            }
            b'*' if found.last() == Some(&Token::Star) => {}
            b'*' => found.push(Token::Star),
            b'?' => found.push(Token::Any),
            b'[' => {
                let (token, rest) = class(pattern)?;
                found.push(token);
                pattern = rest;
            }
            b'\\' => {
                let (c, rest) = next_char(pattern).ok_or(BadPattern)?;
                found.push(Token::Char(c));
                pattern = rest;
            }
            _ => found.push(Token::Char(c)),
        }
    }
    Ok(found)
}

/// Whether the text has a wildcard that is not escaped.
pub(crate) fn has_wildcard(text: &[u8]) -> bool {
    let mut escaped = false;
    text.iter().any(|&byte| {
        let found = !escaped && matches!(byte, b'*' | b'?' | b'[');
        escaped = !escaped && byte == b'\\';
        found
    })
}

/// Takes the escapes out of a text without wildcards.
pub(crate) fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        plain.push(if byte == b'\\' { *bytes.next().unwrap_or(&byte) } else { byte });
    }
    plain
}

/// A pattern for one component.
#[derive(Clone, Debug)]
pub(crate) struct Glob(Vec<Token>);

impl Glob {
    pub(crate) fn new(pattern: &[u8]) -> Result<Self, BadPattern> {
        tokens(pattern, false).map(Self)
    }

    pub(crate) fn matches(&self, mut name: &[u8]) -> bool {
        let tokens = &self.0;
        let mut at = 0;
        let mut retry: Option<(usize, &[u8])> = None;
        loop {
            if tokens.get(at) == Some(&Token::Star) {
                retry = Some((at + 1, name));
                at += 1;
                continue;
            }
            match next_char(name) {
                None if at == tokens.len() => return true,
                Some((c, rest)) if tokens.get(at).is_some_and(|token| token.takes(c)) => {
                    at += 1;
                    name = rest;
                    continue;
                }
                _ => {}
            }
            // The last star takes one character more; that it never takes a slash is up to the caller's components.
            let Some((after, from)) = retry else { return false };
            let Some((_, rest)) = next_char(from) else { return false };
            (at, name) = (after, rest);
            retry = Some((after, rest));
        }
    }
}

/// A pattern for a path.
#[derive(Clone, Debug)]
pub(crate) struct DeepGlob {
    tokens: Vec<Token>,
    /// The characters that every match begins with, as bytes.
    prefix: Vec<u8>,
}

/// What a pattern says about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// It matches the path or one of its parents.
    pub(crate) matched: bool,
    /// It could match something below the path.
    pub(crate) below: bool,
}

impl Verdict {
    const NO: Self = Self { matched: false, below: false };
}

impl DeepGlob {
    pub(crate) fn new(pattern: &[u8]) -> Result<Self, BadPattern> {
        Ok(Self::from_tokens(tokens(pattern, true)?))
    }

    /// A pattern without any wildcard.
    pub(crate) fn literal(text: &[u8]) -> Self {
        let mut found = Vec::new();
        let mut rest = text;
        while let Some((c, after)) = next_char(rest) {
            found.push(Token::Char(c));
            rest = after;
        }
        Self::from_tokens(found)
    }

    fn from_tokens(tokens: Vec<Token>) -> Self {
        let ascii = |token: &Token| match token {
            Token::Char(c) => u8::try_from(*c).ok().filter(u8::is_ascii),
            _ => None,
        };
        let prefix = tokens.iter().map_while(ascii).collect();
        Self { tokens, prefix }
    }

    pub(crate) fn check(&self, path: &[u8]) -> Verdict {
        let common = self.prefix.len().min(path.len());
        if self.prefix[..common] != path[..common] {
            return Verdict::NO;
        }
        let end = self.tokens.len();
        let mut now = vec![false; end + 1];
        let mut next = vec![false; end + 1];
        self.enter(&mut now, 0);
        let mut rest = path;
        while let Some((c, after)) = next_char(rest) {
            if c == SLASH && now[end] {
                return Verdict { matched: true, below: true };
            }
            if !self.step(&now, &mut next, c) {
                return Verdict::NO;
            }
            std::mem::swap(&mut now, &mut next);
            rest = after;
        }
        Verdict { matched: now[end], below: now[end] || self.step(&now, &mut next, SLASH) }
    }

    /// Adds a state and those that are reached from it for nothing.
    fn enter(&self, states: &mut [bool], mut at: usize) {
        loop {
            states[at] = true;
            match self.tokens.get(at) {
                Some(Token::Star | Token::Rest) => at += 1,
                Some(Token::Depth) => {
                    states[at + 1] = true;
                    at += 2;
                }
                _ => return,
            }
        }
    }

    /// Takes one character, and says whether a state is left.
    fn step(&self, now: &[bool], next: &mut [bool], c: u32) -> bool {
        next.fill(false);
        for (at, token) in self.tokens.iter().enumerate().filter(|(at, _)| now[*at]) {
            match token {
                Token::Star if c != SLASH => self.enter(next, at),
                Token::Rest => self.enter(next, at),
                Token::DepthLoop => {
                    next[at] = true;
                    if c == SLASH {
                        self.enter(next, at + 1);
                    }
                }
                _ if token.takes(c) => self.enter(next, at + 1),
                _ => {}
            }
        }
        next.contains(&true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_component_matches_as_in_go() {
        let cases: &[(&str, &str, Option<bool>)] = &[
            ("abc", "abc", Some(true)),
            ("*", "abc", Some(true)),
            ("*", ".hidden", Some(true)),
            ("**", "abc", Some(true)),
            ("*c", "abc", Some(true)),
            ("a*", "a", Some(true)),
            ("a*b*c*d*e*", "axbxcxdxe", Some(true)),
            ("a*b?c*x", "abxbbxdbxebxczzx", Some(true)),
            ("a*b?c*x", "abxbbxdbxebxczzy", Some(false)),
            ("ab[c]", "abc", Some(true)),
            ("ab[b-d]", "abc", Some(true)),
            ("ab[e-g]", "abc", Some(false)),
            ("ab[^c]", "abc", Some(false)),
            ("ab[^e-g]", "abc", Some(true)),
            ("ab[!c]", "ab!", Some(true)),
            ("a\\*b", "a*b", Some(true)),
            ("a\\*b", "ab", Some(false)),
            ("a?b", "a☺b", Some(true)),
            ("a[^a]b", "a☺b", Some(true)),
            ("a???b", "a☺b", Some(false)),
            ("[a-ζ]*", "α", Some(true)),
            ("[[]x", "[x", Some(true)),
            ("[\\]a]", "]", Some(true)),
            ("[\\-x]", "-", Some(true)),
            ("[]a]", "]", None),
            ("[-]", "-", None),
            ("[x-]", "x", None),
            ("[", "a", None),
            ("[^", "a", None),
            ("[^bc", "a", None),
            ("a[", "ab", None),
            ("\\", "a", None),
            ("*x", "xxx", Some(true)),
            ("", "", Some(true)),
            ("", "a", Some(false)),
        ];
        for (pattern, name, expected) in cases {
            let got = Glob::new(pattern.as_bytes()).ok().map(|glob| glob.matches(name.as_bytes()));
            assert_eq!(got, *expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn a_path_matches_across_levels() {
        // (pattern, path, matched, below)
        let cases = [
            ("a", "a", true, true),
            ("a", "a/b/c", true, true),
            ("a", "ab", false, false),
            ("a/b", "a", false, true),
            ("a/*", "a/b", true, true),
            ("a/*", "a", false, true),
            ("*.go", "x.go", true, true),
            ("*.go", "sub/x.go", false, false),
            ("**/*.go", "x.go", true, true),
            ("**/*.go", "a/b/x.go", true, true),
            ("**/*.go", "a/b", false, true),
            ("**/*.go", "a/b/x.gob", false, true),
            ("a/**", "a", false, true),
            ("a/**", "a/b/c", true, true),
            ("a/**/b", "a/b", true, true),
            ("a/**/b", "a/x/y/b", true, true),
            ("a/**/b", "a/xb", false, true),
            ("**", "x/y", true, true),
            ("a**b", "ab", true, true),
            ("a**b", "ax/b", true, true),
            ("a**b", "axb", false, true),
            ("/f", "f", false, false),
        ];
        for (pattern, path, matched, below) in cases {
            let got = DeepGlob::new(pattern.as_bytes()).unwrap().check(path.as_bytes());
            assert_eq!(got, Verdict { matched, below }, "{pattern} on {path}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_linear_time() {
        let pattern = "*a".repeat(200) + "b";
        let path = "a".repeat(4000);
        assert!(!Glob::new(pattern.as_bytes()).unwrap().matches(path.as_bytes()));
        let deep = "**/a".repeat(100) + "b";
        assert!(!DeepGlob::new(deep.as_bytes()).unwrap().check("a/".repeat(2000).as_bytes()).matched);
    }

    proptest! {
        #[test]
        fn nothing_panics(pattern in prop::collection::vec(any::<u8>(), 0..12), path in prop::collection::vec(any::<u8>(), 0..12)) {
            if let Ok(glob) = Glob::new(&pattern) {
                glob.matches(&path);
            }
            if let Ok(glob) = DeepGlob::new(&pattern) {
                glob.check(&path);
            }
        }

        #[test]
        fn both_languages_agree_within_a_component(pattern in "[ab*?]{0,5}", name in "[ab]{1,5}") {
            prop_assume!(!pattern.contains("**"));
            let one = Glob::new(pattern.as_bytes()).unwrap().matches(name.as_bytes());
            prop_assert_eq!(one, DeepGlob::new(pattern.as_bytes()).unwrap().check(name.as_bytes()).matched);
        }

        #[test]
        fn what_matches_below_was_announced(pattern in "[ab*/?]{1,6}", path in "[ab]{1,2}(/[ab]{1,2}){1,3}") {
            let glob = DeepGlob::new(pattern.as_bytes()).unwrap();
            if glob.check(path.as_bytes()).matched {
                let parent = path.rsplit_once('/').unwrap().0;
                prop_assert!(glob.check(parent.as_bytes()).below);
            }
        }
    }
}
