//! The pattern language: `*`, `?`, `[class]` and `\` within a component, and `**` across components.
//!
//! [`Glob`] is Go's `path.Match`, where `**` is just `*` and nothing but a slash takes a slash: components of COPY sources, names of images in
//! filters, names of bake's targets. [`DeepGlob`] is for the lists of `--exclude` and `--parents`, which speak the
//! language of ignore files. Both work on characters, with each byte of broken UTF-8 being one, and in time bounded by
//! the product of the two lengths.
//!
//! | Pattern | Takes |
//! |---|---|
//! | `*` | any characters but `/` |
//! | `?` | one character but `/` |
//! | `[a-z_]`, `[^a-z]` | one of these characters, one that is none of them; never `/` |
//! | `\c` | the character itself |
//! | `**/`, `**` (deep) | any folders, everything |

/// The pattern is malformed: a class that does not end or is empty, a `\` at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", Self::REASON)]
pub struct BadPattern;

impl BadPattern {
    /// How it is told.
    pub const REASON: &str = "syntax error in pattern";
}

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
pub fn has_wildcard(text: &[u8]) -> bool {
    let mut escaped = false;
    text.iter().any(|&byte| {
        let found = !escaped && matches!(byte, b'*' | b'?' | b'[');
        escaped = !escaped && byte == b'\\';
        found
    })
}

/// Takes the escapes out of a text without wildcards.
pub fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        plain.push(if byte == b'\\' { *bytes.next().unwrap_or(&byte) } else { byte });
    }
    plain
}

/// A pattern that fits a whole text, as Go's `path.Match` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob(Vec<Token>);

impl Glob {
    /// Reads a pattern.
    pub fn new(pattern: &[u8]) -> Result<Self, BadPattern> {
        tokens(pattern, false).map(Self)
    }

    /// Tells whether the pattern fits all of a text.
    pub fn matches(&self, mut name: &[u8]) -> bool {
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
            // The last star takes one character more. An earlier one need not: it cannot pass a slash either.
            let Some((after, from)) = retry else { return false };
            let Some((_, rest)) = next_char(from).filter(|(c, _)| *c != SLASH) else { return false };
            (at, name) = (after, rest);
            retry = Some((after, rest));
        }
    }
}

/// A pattern for a path.
#[derive(Clone, Debug)]
pub struct DeepGlob {
    tokens: Vec<Token>,
    /// The characters that every match begins with, as bytes.
    prefix: Vec<u8>,
}

/// What a pattern says about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// It matches the path or one of its parents.
    pub matched: bool,
    /// It could match something below the path.
    pub below: bool,
}

impl Verdict {
    const NO: Self = Self { matched: false, below: false };
}

impl DeepGlob {
    /// Reads a pattern.
    pub fn new(pattern: &[u8]) -> Result<Self, BadPattern> {
        Ok(Self::from_tokens(tokens(pattern, true)?))
    }

    /// A pattern without any wildcard.
    pub fn literal(text: &[u8]) -> Self {
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

    /// Says what the pattern says about a path.
    pub fn check(&self, path: &[u8]) -> Verdict {
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
mod tests;
