//! Patterns of paths.
//!
//! `**` stands for any folders where something follows it (nothing, or text that ends with a slash; a slash behind
//! `**` belongs to it), and for anything at all at the end. Matching keeps the set of places of the pattern that
//! the text read so far can lead to, so it costs at most length times length, whatever the pattern; mostly the set is
//! empty after a character or two, and then the search ends.

/// One thing that a character of a path has to be, or a repetition.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// This character.
    Is(char),
    /// One character, no slash.
    One,
    /// One of a class. A negated class takes a slash too, as Docker's does.
    Class { negated: bool, ranges: Vec<(char, char)> },
    /// Any characters, no slash.
    Star,
    /// Any characters, slashes too.
    DoubleStar,
    /// Reads nothing: either the next token, or the one behind it.
    Optional,
    /// Any characters up to some slash.
    UntilSlash,
}

/// What can be said about the paths below a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// None can match.
    Never,
    /// Some may match.
    Perhaps,
}

/// A parsed pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    tokens: Vec<Token>,
    /// The pattern as text if it has no wildcards: most have none.
    literal: Option<String>,
}

/// What can be looked up of a pattern.
pub(super) enum Shape {
    /// It is a path.
    Path(String),
    /// It is about the first name of a path.
    FirstName(Name),
    /// It is about any name of a path.
    AnyName(Name),
    /// It begins with this folder's path and a slash.
    Below(String),
    /// Nothing.
    Other,
}

/// What a pattern wants of a name.
pub(super) enum Name {
    /// This.
    Is(String),
    /// This end.
    Ends(String),
    /// This beginning.
    Begins(String),
}

impl Pattern {
    /// Says what can be looked up.
    pub(super) fn shape(&self) -> Shape {
        if let Some(literal) = &self.literal {
            return Shape::Path(literal.clone());
        }
        match self.tokens.as_slice() {
            [Token::Optional, Token::UntilSlash, rest @ ..] => {
                name(rest).map_or(Shape::Other, Shape::AnyName)
            }
            tokens => match (name(tokens), folder(tokens)) {
                (Some(name), _) => Shape::FirstName(name),
                (None, Some(folder)) => Shape::Below(folder),
                (None, None) => Shape::Other,
            },
        }
    }

    /// Parses a cleaned pattern; `None` if brackets, ranges or escapes do not fit.
    pub(super) fn parse(text: &str) -> Option<Self> {
        // Two stars before plain text make a suffix of it: `**foo` takes `xfoo`.
        if let Some(suffix) = text.strip_prefix("**")
            && !suffix.starts_with('/')
            && !suffix.contains(['*', '?', '[', ']', '\\'])
        {
            let tokens = std::iter::once(Token::DoubleStar).chain(suffix.chars().map(Token::Is)).collect();
            return Some(Self { tokens, literal: None });
        }
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(ch) = chars.next() {
            match ch {
                '*' if chars.next_if_eq(&'*').is_some() => {
                    chars.next_if_eq(&'/');
                    if chars.peek().is_none() {
                        tokens.push(Token::DoubleStar);
                    } else {
                        tokens.extend([Token::Optional, Token::UntilSlash]);
                    }
                }
                '*' => tokens.push(Token::Star),
                '?' => tokens.push(Token::One),
                '\\' => tokens.push(escaped(chars.next()?)?),
                '[' => tokens.push(class(&mut chars)?),
                _ => tokens.push(Token::Is(ch)),
            }
        }
        let literal = tokens
            .iter()
            .map(|token| match token {
                Token::Is(ch) => Some(*ch),
                _ => None,
            })
            .collect();
        Some(Self { tokens, literal })
    }

    /// Tells whether the pattern matches the path, or a folder above it.
    pub(super) fn matches_or_above(&self, path: &str) -> bool {
        if let Some(literal) = &self.literal {
            return path
                .strip_prefix(literal.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                && !path.is_empty();
        }
        let mut search = Search::new(self);
        for ch in path.chars() {
            if ch == '/' && search.is_match() {
                return true;
            }
            search.step(ch);
            if search.is_dead() {
                return false;
            }
        }
        !path.is_empty() && search.is_match()
    }

    /// Says whether a path below the folder, or the folder itself, can match.
    pub(super) fn below(&self, folder: &str) -> Outcome {
        if folder.is_empty() || self.matches_or_above(folder) {
            return Outcome::Perhaps;
        }
        if let Some(literal) = &self.literal {
            let is_below = literal.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
            return if is_below { Outcome::Perhaps } else { Outcome::Never };
        }
        let mut search = Search::new(self);
        for ch in folder.chars().chain(['/']) {
            search.step(ch);
            if search.is_dead() {
                return Outcome::Never;
            }
        }
        Outcome::Perhaps
    }
}

/// Returns the text of tokens that are all characters.
fn plain(tokens: Option<&[Token]>) -> Option<String> {
    let character = |token: &Token| match token {
        Token::Is(ch) => Some(*ch),
        _ => None,
    };
    tokens.filter(|tokens| !tokens.is_empty())?.iter().map(character).collect()
}

/// Returns the path that tokens begin with, up to the last slash before anything else than characters.
fn folder(tokens: &[Token]) -> Option<String> {
    let characters = tokens.iter().take_while(|token| matches!(token, Token::Is(_))).count();
    let slash = tokens[..characters].iter().rposition(|token| *token == Token::Is('/'))?;
    plain(Some(&tokens[..slash]))
}

/// Reads tokens that want a name, or its beginning or end, and nothing else.
fn name(tokens: &[Token]) -> Option<Name> {
    if tokens.contains(&Token::Is('/')) {
        return None;
    }
    match tokens {
        [Token::Star] => Some(Name::Ends(String::new())),
        [Token::Star, end @ ..] => plain(Some(end)).map(Name::Ends),
        [beginning @ .., Token::Star] => plain(Some(beginning)).map(Name::Begins),
        all => plain(Some(all)).map(Name::Is),
    }
}

/// The places of a pattern that a text leads to, as a set of bits.
struct Search<'p> {
    tokens: &'p [Token],
    places: Vec<u64>,
    next: Vec<u64>,
}

impl<'p> Search<'p> {
    fn new(pattern: &'p Pattern) -> Self {
        let words = pattern.tokens.len() / 64 + 1;
        let mut search = Self { tokens: &pattern.tokens, places: vec![0; words], next: vec![0; words] };
        search.reach(0);
        std::mem::swap(&mut search.places, &mut search.next);
        search
    }

    /// Adds a place to the next set, with those that are reached from it without reading.
    fn reach(&mut self, mut place: usize) {
        loop {
            self.next[place / 64] |= 1 << (place % 64);
            match self.tokens.get(place) {
                Some(Token::Star | Token::DoubleStar) => place += 1,
                Some(Token::Optional) => {
                    let inside = place + 1;
                    self.next[inside / 64] |= 1 << (inside % 64);
                    place += 2;
                }
                _ => return,
            }
        }
    }

    fn step(&mut self, ch: char) {
        self.next.fill(0);
        for word in 0..self.places.len() {
            let mut bits = self.places[word];
            while bits != 0 {
                let place = word * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let Some(token) = self.tokens.get(place) else { continue };
                let (stays, goes) = match token {
                    Token::Is(wanted) => (false, *wanted == ch),
                    Token::One => (false, ch != '/'),
                    Token::Class { negated, ranges } => {
                        (false, ranges.iter().any(|(low, high)| (*low..=*high).contains(&ch)) != *negated)
                    }
                    Token::Star => (ch != '/', false),
                    Token::DoubleStar => (true, false),
                    Token::Optional => (false, false),
                    Token::UntilSlash => (true, ch == '/'),
                };
                if stays {
                    self.reach(place);
                }
                if goes {
                    self.reach(place + 1);
                }
            }
        }
        std::mem::swap(&mut self.places, &mut self.next);
    }

    fn is_match(&self) -> bool {
        let end = self.tokens.len();
        self.places[end / 64] & (1 << (end % 64)) != 0
    }

    fn is_dead(&self) -> bool {
        self.places.iter().all(|word| *word == 0)
    }
}

/// What a character behind a backslash means: itself, unless it is a letter or a digit. Of these Docker's matcher, which works
/// with regular expressions, takes those below for control characters and classes. What else it takes is refused here:
/// assertions (`\b`), classes by name (`\pL`), quotations (`\Q`) and characters by number (`\x41`, `\101`).
fn escaped(ch: char) -> Option<Token> {
    let of = |negated, ranges: &[(char, char)]| Token::Class { negated, ranges: ranges.to_vec() };
    let word = [('0', '9'), ('A', 'Z'), ('_', '_'), ('a', 'z')];
    let blank = [('\t', '\n'), ('\u{c}', '\r'), (' ', ' ')];
    Some(match ch {
        'a' => Token::Is('\u{7}'),
        'f' => Token::Is('\u{c}'),
        'n' => Token::Is('\n'),
        'r' => Token::Is('\r'),
        't' => Token::Is('\t'),
        'v' => Token::Is('\u{b}'),
        'd' | 'D' => of(ch == 'D', &word[..1]),
        's' | 'S' => of(ch == 'S', &blank),
        'w' | 'W' => of(ch == 'W', &word),
        _ if ch.is_ascii_alphanumeric() || !ch.is_ascii() => return None,
        _ => Token::Is(ch),
    })
}

fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Token> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && chars.next_if_eq(&']').is_some() {
            return Some(Token::Class { negated, ranges });
        }
        let low = member(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() { member(chars)? } else { low };
        if high < low {
            return None;
        }
        ranges.push((low, high));
    }
}

/// Reads a character in brackets. Docker's matcher takes classes there as well.
fn member(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    match chars.next()? {
        '\\' => match escaped(chars.next()?)? {
            Token::Is(ch) => Some(ch),
            _ => None,
        },
        '-' | ']' => None,
        ch => Some(ch),
    }
}
