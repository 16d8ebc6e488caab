//! The code of a Rust file without its comments and the contents of its literals.

/// A file taken apart, line by line.
#[derive(Debug)]
pub(super) struct Code {
    /// Each line with comments and literals blanked.
    pub(super) code: Vec<String>,
    /// The comments of each line.
    pub(super) comments: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Code,
    Line,
    Block(usize),
    Text,
    Raw(usize),
}

/// Takes a file apart. It is no parser: it only has to be right about where comments and literals end.
pub(super) fn split(text: &str) -> Code {
    let (mut code, mut comments) = (vec![String::new()], vec![String::new()]);
    let mut state = State::Code;
    let chars: Vec<char> = text.chars().collect();
    let mut at = 0;
    while at < chars.len() {
        let here = chars[at];
        let next = chars.get(at + 1).copied().unwrap_or('\0');
        if here == '\n' {
            if state == State::Line {
                state = State::Code;
            }
            code.push(String::new());
            comments.push(String::new());
            at += 1;
            continue;
        }
        let line = code.len() - 1;
        let mut step = 1;
        match state {
            State::Code => match (here, next) {
                ('/', '/') => state = State::Line,
                ('/', '*') => (state, step) = (State::Block(1), 2),
                ('"', _) => {
                    state = State::Text;
                    code[line].push('"');
                }
                ('r', '"' | '#') if !follows_word(&chars, at) => match raw_start(&chars, at) {
                    Some((hashes, length)) => (state, step) = (State::Raw(hashes), length),
                    None => code[line].push(here),
                },
                ('\'', _) => match char_length(&chars, at) {
                    Some(length) => step = length,
                    None => code[line].push(here),
                },
                _ => code[line].push(here),
            },
            State::Line => comments[line].push(here),
            State::Block(depth) => match (here, next) {
                ('*', '/') if depth == 1 => (state, step) = (State::Code, 2),
                ('*', '/') => (state, step) = (State::Block(depth - 1), 2),
                ('/', '*') => (state, step) = (State::Block(depth + 1), 2),
                _ => comments[line].push(here),
            },
            State::Text => match here {
                // An escaped end of line is still an end of line.
                '\\' if next != '\n' => step = 2,
                '"' => {
                    state = State::Code;
                    code[line].push('"');
                }
                _ => {}
            },
            State::Raw(hashes) => {
                let closes = here == '"' && (1..=hashes).all(|offset| chars.get(at + offset) == Some(&'#'));
                if closes {
                    (state, step) = (State::Code, 1 + hashes);
                }
            }
        }
        at += step;
    }
    Code { code, comments }
}

fn follows_word(chars: &[char], at: usize) -> bool {
    // `br"…"` and `cr"…"` begin a literal too.
    let before = at.checked_sub(1).map(|index| chars[index]);
    match before {
        Some('b' | 'c') => at >= 2 && is_word(chars[at - 2]),
        Some(before) => is_word(before),
        None => false,
    }
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn raw_start(chars: &[char], at: usize) -> Option<(usize, usize)> {
    let hashes = chars[at + 1..].iter().take_while(|character| **character == '#').count();
    (chars.get(at + 1 + hashes) == Some(&'"')).then_some((hashes, hashes + 2))
}

/// The length of a character literal; nothing for a lifetime.
fn char_length(chars: &[char], at: usize) -> Option<usize> {
    match chars.get(at + 1)? {
        '\\' => chars[at + 3..].iter().position(|character| *character == '\'').map(|offset| offset + 4),
        _ => (chars.get(at + 2) == Some(&'\'')).then_some(3),
    }
}

/// Whether a line of code has a word.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_not_code() {
        let text = r##"
let a = "unsafe \" // no comment"; // unsafe one
/* unsafe /* nested */ still */ let b = r#"unsafe " "#;
let c = 'u'; let d: &'static str = b"unsafe"; let e = '\''; let f = '"'; unsafe {}
let g = "two
lines unsafe"; let h = 1;
"##;
        let split = split(text);
        assert_eq!(split.code.len(), text.lines().count() + 1);
        let lines: Vec<usize> = split
            .code
            .iter()
            .enumerate()
            .filter(|(_, line)| has_word(line, "unsafe"))
            .map(|(at, _)| at)
            .collect();
        assert_eq!(lines, [3]);
        assert_eq!(split.comments[1].trim_start_matches('/'), " unsafe one");
        assert!(split.code[5].contains("let h = 1"));
        assert!(!has_word("let unsafely = 1;", "unsafe") && has_word("unsafe{", "unsafe"));
    }
}
