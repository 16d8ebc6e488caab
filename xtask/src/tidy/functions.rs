//! How long functions are.

use super::code::Code;

/// Lines from which a function is more than one thing. It may only shrink.
pub(super) const LONGEST: usize = 110;

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    /// The line of its `fn`, from 0.
    pub(super) line: usize,
    /// Its lines, from that one to the one of its last brace.
    pub(super) lines: usize,
}

/// Lists the functions of a file in the order of their ends.
pub(super) fn of(code: &Code) -> Vec<Function> {
    let mut found = Vec::new();
    // Functions whose body is open, each with the number of braces around it.
    let mut open: Vec<(String, usize, usize)> = Vec::new();
    // One whose body has not begun, with the number of parentheses and brackets around it.
    let mut head: Option<(String, usize, usize)> = None;
    let (mut braces, mut others) = (0_usize, 0_usize);
    for (line, text) in code.code.iter().enumerate() {
        for (at, character) in text.char_indices() {
            match character {
                'f' => {
                    if let Some(name) = name_at(text, at) {
                        head = Some((name.to_owned(), line, others));
                    }
                }
                '(' | '[' => others += 1,
                ')' | ']' => others = others.saturating_sub(1),
                '{' => {
                    if let Some((name, line, _)) = head.take_if(|head| head.2 == others) {
                        open.push((name, line, braces));
                    }
                    braces += 1;
                }
                '}' => {
                    braces = braces.saturating_sub(1);
                    if let Some((name, start, _)) = open.pop_if(|open| open.2 == braces) {
                        found.push(Function { name, line: start, lines: line - start + 1 });
                    }
                }
                // Of a trait, without a body.
                ';' => drop(head.take_if(|head| head.2 == others)),
                _ => {}
            }
        }
    }
    found
}

/// The name behind a `fn` at a place; nothing for a type of functions.
fn name_at(text: &str, at: usize) -> Option<&str> {
    let is_word = |character: char| character.is_alphanumeric() || character == '_';
    let rest = text[at..].strip_prefix("fn ")?.trim_start();
    let end = rest.find(|character| !is_word(character)).unwrap_or(rest.len());
    let begins = !text[..at].chars().next_back().is_some_and(is_word);
    (begins && end > 0).then(|| &rest[..end])
}

#[cfg(test)]
mod tests {
    use super::super::code::split;
    use super::*;

    #[test]
    fn functions_are_counted_from_head_to_end() {
        let text = r#"
trait T {
    fn none(&self, bytes: [u8; 2]) -> u8;
    fn one(&self) {}
}
fn outer(
    f: fn(u8) -> u8,
) -> [u8; 2]
where
    u8: Copy,
{
    let text = "fn text() { }}"; // fn comment() {
    fn inner() {
        match 1 { _ => {} }
    }
    let cfn = |x: u8| { x };
    [1; 2]
}
"#;
        let found: Vec<_> =
            of(&split(text)).into_iter().map(|found| (found.name, found.line, found.lines)).collect();
        let expected = [("one", 3, 1), ("inner", 12, 3), ("outer", 5, 13)];
        assert_eq!(found, expected.map(|(name, line, lines)| (name.to_owned(), line, lines)));
    }
}
