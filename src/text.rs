//! Text from outside made fit for a terminal.
//!
//! What steps print, and names that come from files, registries and users, may hold control sequences: titles, clipboard
//! writes, cursor movements, erasure, text direction overrides. [`escape`] makes them visible in messages.
//! [`Lines`] cuts a program's output into lines of bounded length and drops them, except for colours (SGR) where
//! a terminal is known to take them; it needs bounded memory for any input.

use rbuild_model::span::{edit_distance, nearest};

/// Whether colour sequences are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sgr {
    /// They are kept, and reset at the end of each line.
    Keep,
    /// They are dropped.
    Drop,
}

/// How long a line may get before it is cut, in bytes.
pub(crate) const LINE_LIMIT: usize = 16 * 1024;

/// How long the parameters of a colour sequence may be.
const SGR_LIMIT: usize = 32;

/// Returns the text with every control character, except line ends and tabs, written as an escape.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\n' || c == '\t' || !is_hostile(c) {
            escaped.push(c);
        } else {
            escaped.extend(c.escape_default());
        }
    }
    escaped
}

/// Returns the text in double quotes, as Go quotes it: nothing in it can be taken for anything else.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if u32::from(c) < 0x80 && c.is_control() => {
                quoted.push_str(&format!("\\x{:02x}", u32::from(c)))
            }
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Returns the text in one line: escaped, with line ends as spaces.
pub(crate) fn one_line(text: &str) -> String {
    escape(text).replace(['\n', '\t'], " ")
}

/// Tells whether a character may steer a terminal or hide what stands there.
fn is_hostile(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Cuts a stream of bytes into harmless lines.
#[derive(Debug)]
pub(crate) struct Lines {
    sgr: Sgr,
    line: String,
    /// Bytes of a character, or of a colour sequence, that is not whole yet.
    pending: Vec<u8>,
    state: State,
    coloured: bool,
    /// A carriage return was seen; if no line feed follows, the line begins anew.
    returned: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Text,
    /// Behind ESC.
    Escape,
    /// Behind ESC and an intermediate byte (a character set choice): one more byte.
    Intermediate,
    /// Behind `ESC [`.
    Control,
    /// In a string that ends with BEL or `ESC \`.
    Text8,
    /// Behind an ESC in such a string.
    Text8Escape,
}

impl Lines {
    /// Begins a stream.
    pub(crate) const fn new(sgr: Sgr) -> Self {
        Self {
            sgr,
            line: String::new(),
            pending: Vec::new(),
            state: State::Text,
            coloured: false,
            returned: false,
        }
    }

    /// Takes bytes and hands out each line that became whole.
    pub(crate) fn push(&mut self, bytes: &[u8], mut take: impl FnMut(&str)) {
        for &byte in bytes {
            self.byte(byte, &mut take);
        }
    }

    /// Hands out what is left of the last line.
    pub(crate) fn finish(&mut self, mut take: impl FnMut(&str)) {
        self.flush_pending();
        self.state = State::Text;
        self.returned = false;
        if !self.line.is_empty() {
            self.end_line(&mut take);
        }
    }

    /// Returns the line that is not whole yet.
    pub(crate) fn partial(&self) -> &str {
        &self.line
    }

    fn byte(&mut self, byte: u8, take: &mut impl FnMut(&str)) {
        match self.state {
            State::Text => self.text(byte, take),
            State::Escape => {
                self.state = match byte {
                    b'[' => {
                        self.pending.clear();
                        State::Control
                    }
                    b']' | b'P' | b'X' | b'^' | b'_' => State::Text8,
                    0x20..=0x2f => State::Intermediate,
                    0x1b => State::Escape,
                    b'\n' | b'\r' => return self.recover(byte, take),
                    _ => State::Text,
                };
            }
            State::Intermediate => {
                if !matches!(byte, 0x20..=0x2f) {
                    self.state = State::Text;
                }
            }
            State::Control => self.control(byte, take),
            State::Text8 => match byte {
                0x07 => self.state = State::Text,
                0x1b => self.state = State::Text8Escape,
                // No such string has a line in it: it was never ended, so what follows is text again.
                b'\n' => self.recover(byte, take),
                _ => {}
            },
            State::Text8Escape => {
                self.state = if byte == 0x1b { State::Text8Escape } else { State::Text };
                if !matches!(byte, b'\\' | 0x1b) {
                    self.state = State::Escape;
                    self.byte(byte, take);
                }
            }
        }
    }

    fn recover(&mut self, byte: u8, take: &mut impl FnMut(&str)) {
        self.state = State::Text;
        self.pending.clear();
        self.text(byte, take);
    }

    fn control(&mut self, byte: u8, take: &mut impl FnMut(&str)) {
        match byte {
            b'0'..=b'9' | b';' | b':' if self.pending.len() < SGR_LIMIT => self.pending.push(byte),
            0x20..=0x3f => self.pending.resize(SGR_LIMIT + 1, b'?'),
            b'm' if self.sgr == Sgr::Keep && self.pending.len() <= SGR_LIMIT => {
                self.begin_anew();
                self.line.push_str("\x1b[");
                self.line.extend(self.pending.drain(..).map(char::from));
                self.line.push('m');
                self.coloured = true;
                self.state = State::Text;
            }
            b'\n' | b'\r' => self.recover(byte, take),
            0x1b => {
                self.pending.clear();
                self.state = State::Escape;
            }
            _ => {
                self.pending.clear();
                self.state = State::Text;
            }
        }
    }

    fn text(&mut self, byte: u8, take: &mut impl FnMut(&str)) {
        if !self.pending.is_empty() {
            if matches!(byte, 0x80..=0xbf) {
                self.pending.push(byte);
                return self.complete(take);
            }
            self.flush_pending();
        }
        match byte {
            b'\n' => {
                self.returned = false;
                return self.end_line(take);
            }
            b'\r' => self.returned = true,
            0x1b => self.state = State::Escape,
            b'\t' => self.put('\t'),
            0x20..=0x7e => self.put(char::from(byte)),
            0xc2..=0xf4 => self.pending.push(byte),
            0x80.. => self.put_bytes(&[byte]),
            _ => {}
        }
        self.cut(take);
    }

    /// Puts the pending character if its bytes are all there.
    fn complete(&mut self, take: &mut impl FnMut(&str)) {
        match std::str::from_utf8(&self.pending) {
            Ok(text) => {
                let c = text.chars().next();
                self.pending.clear();
                if let Some(c) = c {
                    if is_hostile(c) {
                        self.begin_anew();
                        self.line.extend(c.escape_default());
                    } else {
                        self.put(c);
                    }
                }
            }
            Err(error) if error.error_len().is_none() => {}
            Err(_) => self.flush_pending(),
        }
        self.cut(take);
    }

    /// Puts pending bytes that turned out to be no character.
    fn flush_pending(&mut self) {
        let bytes = std::mem::take(&mut self.pending);
        if self.state == State::Text {
            self.put_bytes(&bytes);
        }
    }

    fn put_bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.begin_anew();
            self.line.push_str(&format!("\\x{byte:02x}"));
        }
    }

    fn put(&mut self, c: char) {
        self.begin_anew();
        self.line.push(c);
    }

    fn begin_anew(&mut self) {
        if self.returned {
            self.line.clear();
            self.coloured = false;
            self.returned = false;
        }
    }

    fn cut(&mut self, take: &mut impl FnMut(&str)) {
        if self.line.len() >= LINE_LIMIT {
            self.end_line(take);
        }
    }

    fn end_line(&mut self, take: &mut impl FnMut(&str)) {
        self.flush_pending();
        if self.coloured {
            self.line.push_str("\x1b[0m");
            self.coloured = false;
        }
        take(&self.line);
        self.line.clear();
    }
}

/// Returns the candidate that a word at a prompt is a slip of: by one edit, or by two in a long word that begins alike.
pub(crate) fn near<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let is_long = word.chars().count() > 5;
    let is_alike = |candidate: &&str| {
        let candidate = candidate.to_lowercase();
        edit_distance(&word, &candidate) < 2 || (is_long && candidate.chars().next() == word.chars().next())
    };
    nearest(&word, candidates.into_iter().filter(is_alike))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_gos() {
        assert_eq!(quoted("sh -c 'trap \"exit 5…"), "\"sh -c 'trap \\\"exit 5…\"");
        assert_eq!(quoted("a\\\n\t\x1b\u{85}"), "\"a\\\\\\n\\t\\x1b\\u0085\"");
    }

    fn lines(sgr: Sgr, bytes: &[u8]) -> Vec<String> {
        let mut whole = Vec::new();
        let mut lines = Lines::new(sgr);
        lines.push(bytes, |line| whole.push(line.to_owned()));
        lines.finish(|line| whole.push(line.to_owned()));
        // The cut of the input must not matter.
        let mut single = Vec::new();
        let mut lines = Lines::new(sgr);
        for byte in bytes {
            lines.push(&[*byte], |line| single.push(line.to_owned()));
        }
        lines.finish(|line| single.push(line.to_owned()));
        assert_eq!(whole, single);
        whole
    }

    #[test]
    fn control_sequences_do_not_pass() {
        for (bytes, expected) in [
            (&b"a\nb"[..], &["a", "b"][..]),
            (b"a\r\nb\r\n", &["a", "b"]),
            (b"10%\r20%\r30%\n", &["30%"]),
            (b"\x1b[31mred\x1b[0m!\n", &["red!"]),
            (b"\x1b]0;title\x07x\n", &["x"]),
            (b"\x1b]52;c;aGk=\x1b\\x\n", &["x"]),
            (b"\x1bPq#0\x1b\\x\n", &["x"]),
            (b"up\x1b[3A\x1b[2Jgone\n", &["upgone"]),
            (b"\x1b(Bx\x1bcy\n", &["xy"]),
            (b"bell\x07 back\x08\n", &["bell back"]),
            (b"\xff\xfe\n", &["\\xff\\xfe"]),
            ("ü€𝄞\n".as_bytes(), &["ü€𝄞"]),
            (b"\xe2\x82\n", &["\\xe2\\x82"]),
            ("\u{9b}31m \u{202e}x\n".as_bytes(), &["\\u{9b}31m \\u{202e}x"]),
            (b"\x1b]never ended\nnext\n", &["", "next"]),
            (b"\x1b[1;\nnext\n", &["", "next"]),
            (b"\n\n", &["", ""]),
        ] {
            assert_eq!(lines(Sgr::Drop, bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn colours_are_kept_and_reset_on_request() {
        assert_eq!(lines(Sgr::Keep, b"\x1b[1;31mred\nplain\x1b[2K\n"), ["\x1b[1;31mred\x1b[0m", "plain"]);
        let long = [b"\x1b[".as_slice(), &[b'1'; 100], b"mx\n"].concat();
        assert_eq!(lines(Sgr::Keep, &long), ["x"]);
        assert_eq!(lines(Sgr::Keep, b"\x1b[?25lx\x1b[>4;2m\n"), ["x"]);
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let cut = lines(Sgr::Drop, &vec![b'x'; 3 * LINE_LIMIT + 5]);
        assert_eq!(cut.iter().map(String::len).collect::<Vec<_>>(), [LINE_LIMIT, LINE_LIMIT, LINE_LIMIT, 5]);
        let mut lines = Lines::new(Sgr::Keep);
        lines.push(&[b"\x1b]".as_slice(), &vec![b'x'; 1 << 20]].concat(), |_| panic!("no line"));
        assert!(lines.partial().is_empty());
    }

    #[test]
    fn messages_show_control_characters() {
        assert_eq!(escape("a\x1b[2Jb\tc\nd\u{202e}"), "a\\u{1b}[2Jb\tc\nd\\u{202e}");
        assert_eq!(one_line("a\nb\x07"), "a b\\u{7}");
    }

    #[test]
    fn what_may_have_been_meant_is_near() {
        let verbs = ["images", "start", "login", "ps", "rm", "network"];
        for (word, meant) in [
            ("imags", Some("images")),
            ("imagess", Some("images")),
            ("strat", Some("start")),
            ("netwrk", Some("network")),
            ("netwokr", Some("network")),
            ("newtrok", Some("network")),
            ("sp", Some("ps")),
            ("swarm", None),
            ("plugin", None),
            ("rs", Some("ps")),
        ] {
            assert_eq!(near(word, verbs), meant, "{word}");
        }
    }
}
