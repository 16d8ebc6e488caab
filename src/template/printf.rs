//! What `printf` makes of a format and values, as Go's package `fmt` does it: also what does not fit is told in the text.

use serde_json::Value;

use super::eval::print;

/// The widest that something is filled up to, and the most digits.
const WIDEST: i64 = 10_000;

/// Returns the text of a format for values.
pub(super) fn printf(format: &str, values: &[Value]) -> String {
    let mut printer = Printer { rest: format, values, next: 0, text: String::new(), is_reordered: false };
    while let Some(at) = printer.rest.find('%') {
        printer.text.push_str(&printer.rest[..at]);
        printer.rest = &printer.rest[at + 1..];
        printer.directive();
    }
    printer.text.push_str(printer.rest);
    let mut text = printer.text;
    if !printer.is_reordered && printer.next < values.len() {
        let extra: Vec<String> = values[printer.next..].iter().map(typed).collect();
        text.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    text
}

struct Printer<'a> {
    rest: &'a str,
    values: &'a [Value],
    next: usize,
    text: String,
    /// Whether a place was named: then nothing is said of values that are not used.
    is_reordered: bool,
}

/// How a value is written.
#[derive(Clone, Debug, Default)]
struct Form {
    plus: bool,
    minus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// A place that is named in brackets.
enum Place {
    None,
    Good,
    Bad,
}

impl Printer<'_> {
    fn directive(&mut self) {
        let mut form = Form::default();
        let flags = self.rest.find(|c| !matches!(c, '+' | '-' | '#' | ' ' | '0')).unwrap_or(self.rest.len());
        for flag in self.rest[..flags].chars() {
            match flag {
                '+' => form.plus = true,
                '-' => form.minus = true,
                '#' => form.sharp = true,
                ' ' => form.space = true,
                _ => form.zero = true,
            }
        }
        self.rest = &self.rest[flags..];
        let mut is_bad = matches!(self.place(), Place::Bad);
        match self.number("BADWIDTH") {
            Some(width) if width < 0 => {
                form.minus = true;
                form.width = usize::try_from(-width).ok();
            }
            width => form.width = width.and_then(|width| usize::try_from(width).ok()),
        }
        if let Some(rest) = self.rest.strip_prefix('.') {
            self.rest = rest;
            is_bad |= matches!(self.place(), Place::Bad);
            let precision = if self.rest.starts_with(|c: char| c.is_ascii_digit() || c == '*') {
                self.number("BADPREC")
            } else {
                Some(0)
            };
            form.precision = precision.and_then(|precision| usize::try_from(precision).ok());
        }
        is_bad |= matches!(self.place(), Place::Bad);
        let Some(verb) = self.rest.chars().next() else {
            self.text.push_str("%!(NOVERB)");
            return;
        };
        self.rest = &self.rest[verb.len_utf8()..];
        if verb == '%' {
            self.text.push('%');
        } else if is_bad {
            self.text.push_str(&format!("%!{verb}(BADINDEX)"));
        } else if let Some(value) = self.values.get(self.next) {
            self.next += 1;
            form.value(verb, value, &mut self.text);
        } else {
            self.text.push_str(&format!("%!{verb}(MISSING)"));
        }
    }

    /// Reads `[N]`: the value that comes next.
    fn place(&mut self) -> Place {
        let Some(inside) = self.rest.strip_prefix('[') else { return Place::None };
        self.is_reordered = true;
        let Some((number, rest)) = inside.split_once(']') else {
            self.rest = inside;
            return Place::Bad;
        };
        self.rest = rest;
        match number.parse::<usize>().ok().filter(|at| (1..=self.values.len()).contains(at)) {
            Some(at) => {
                self.next = at - 1;
                Place::Good
            }
            None => Place::Bad,
        }
    }

    /// Reads a width or precision: digits, or `*` for the next value.
    fn number(&mut self, bad: &str) -> Option<i64> {
        let fits = |number: &i64| (-WIDEST..=WIDEST).contains(number);
        if let Some(rest) = self.rest.strip_prefix('*') {
            self.rest = rest;
            let number = self.values.get(self.next).and_then(Value::as_i64).filter(fits);
            self.next += usize::from(self.next < self.values.len());
            if number.is_none() {
                self.text.push_str(&format!("%!({bad})"));
            }
            return number;
        }
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        digits.parse().ok().filter(fits)
    }
}

impl Form {
    fn value(&self, verb: char, value: &Value, out: &mut String) {
        if verb == 'v' && self.plus {
            // It asks for the names of fields.
            return Self { plus: false, ..self.clone() }.value(verb, value, out);
        }
        match (verb, value) {
            ('T', value) => self.pad(&kind(value), out),
            ('v', Value::Null) => self.pad("<nil>", out),
            ('t' | 'v', Value::Bool(truth)) => self.pad(&truth.to_string(), out),
            (_, Value::String(text)) if self.string(verb, text, out) => {}
            // Numbers of documents are texts in Docker, too.
            ('s', Value::Number(_)) => self.pad(&print(value), out),
            (_, Value::Number(number)) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(signed), ..) if self.integer(verb, signed.into(), out) => {}
                (None, Some(unsigned), _) if self.integer(verb, unsigned.into(), out) => {}
                (None, None, Some(float)) if self.float(verb, float, out) => {}
                _ => out.push_str(&bad(verb, value)),
            },
            ('v', Value::Array(_) | Value::Object(_)) if self.sharp => out.push_str(&literal(value)),
            (_, Value::Array(items)) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(' ');
                    }
                    self.value(verb, item, out);
                }
                out.push(']');
            }
            (_, Value::Object(map)) => {
                let mut entries: Vec<_> = map.iter().collect();
                entries.sort_by(|a, b| a.0.cmp(b.0));
                out.push_str("map[");
                for (at, (key, value)) in entries.into_iter().enumerate() {
                    if at > 0 {
                        out.push(' ');
                    }
                    self.value(verb, &Value::from(key.as_str()), out);
                    out.push(':');
                    self.value(verb, value, out);
                }
                out.push(']');
            }
            (_, value) => out.push_str(&bad(verb, value)),
        }
    }

    /// Fills a text up to the width.
    fn pad(&self, text: &str, out: &mut String) {
        let missing = self.width.unwrap_or(0).saturating_sub(text.chars().count());
        let filling = if self.zero && !self.minus { "0" } else { " " }.repeat(missing);
        if self.minus {
            out.extend([text, &filling]);
        } else {
            out.extend([&filling, text]);
        }
    }

    /// Fills up with blanks alone, where zeros are part of the text already.
    fn pad_blank(&self, text: &str, out: &mut String) {
        Self { zero: false, ..self.clone() }.pad(text, out);
    }

    fn string(&self, verb: char, text: &str, out: &mut String) -> bool {
        let shown: String = match self.precision {
            Some(most) if !matches!(verb, 'x' | 'X') => text.chars().take(most).collect(),
            _ => text.to_owned(),
        };
        match verb {
            'v' if self.sharp => self.pad(&quoted(&shown, '"', false), out),
            'v' | 's' => self.pad(&shown, out),
            'q' if self.sharp && !shown.contains(|c: char| c == '`' || (c.is_control() && c != '\t')) => {
                self.pad(&format!("`{shown}`"), out);
            }
            'q' => self.pad(&quoted(&shown, '"', self.plus), out),
            'x' | 'X' => {
                let prefix = match (self.sharp, verb) {
                    (false, _) => "",
                    (true, 'x') => "0x",
                    (true, _) => "0X",
                };
                let bytes = text.bytes().take(self.precision.unwrap_or(usize::MAX));
                let digits: Vec<String> = bytes
                    .map(|byte| if verb == 'x' { format!("{byte:02x}") } else { format!("{byte:02X}") })
                    .collect();
                let hex = match self.space {
                    true => digits.iter().map(|byte| format!("{prefix}{byte}")).collect::<Vec<_>>().join(" "),
                    false if digits.is_empty() => String::new(),
                    false => prefix.to_owned() + &digits.concat(),
                };
                self.pad(&hex, out);
            }
            _ => return false,
        }
        true
    }

    fn integer(&self, verb: char, number: i128, out: &mut String) -> bool {
        let size = number.unsigned_abs();
        let char = u32::try_from(number).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
        let mut digits = match verb {
            'v' | 'd' => size.to_string(),
            'b' => format!("{size:b}"),
            'o' | 'O' => format!("{size:o}"),
            'x' => format!("{size:x}"),
            'X' => format!("{size:X}"),
            'c' => {
                self.pad(&char.to_string(), out);
                return true;
            }
            'q' => {
                self.pad(&quoted(&char.to_string(), '\'', self.plus), out);
                return true;
            }
            'U' => {
                let digits = self.precision.unwrap_or(0).max(4);
                let shown = if self.sharp { format!(" '{char}'") } else { String::new() };
                self.pad_blank(&format!("U+{number:0digits$X}{shown}"), out);
                return true;
            }
            _ => return false,
        };
        let sign = match number {
            ..0 => "-",
            _ if self.plus => "+",
            _ if self.space => " ",
            _ => "",
        };
        if self.precision == Some(0) && number == 0 {
            self.pad_blank("", out);
            return true;
        }
        let least = match (self.precision, self.width) {
            (Some(precision), _) => precision,
            (None, Some(width)) if self.zero && !self.minus => width.saturating_sub(sign.len()),
            _ => 0,
        };
        digits.insert_str(0, &"0".repeat(least.saturating_sub(digits.len())));
        let prefix = match verb {
            'O' => "0o",
            'b' if self.sharp => "0b",
            'o' if self.sharp && !digits.starts_with('0') => "0",
            'x' if self.sharp => "0x",
            'X' if self.sharp => "0X",
            _ => "",
        };
        self.pad_blank(&format!("{sign}{prefix}{digits}"), out);
        true
    }

    fn float(&self, verb: char, number: f64, out: &mut String) -> bool {
        let size = number.abs();
        let digits = match verb {
            'v' | 'g' => general(size, self.precision),
            'G' => general(size, self.precision).to_uppercase(),
            'e' => exponential(&format!("{size:.*e}", self.precision.unwrap_or(6))),
            'E' => exponential(&format!("{size:.*e}", self.precision.unwrap_or(6))).to_uppercase(),
            'f' | 'F' => format!("{size:.*}", self.precision.unwrap_or(6)),
            _ => return false,
        };
        let sign = match number.is_sign_negative() {
            true => "-",
            false if self.plus => "+",
            false if self.space => " ",
            false => "",
        };
        match self.width {
            Some(width) if self.zero && !self.minus => {
                let zeros = "0".repeat(width.saturating_sub(sign.len() + digits.len()));
                out.extend([sign, &zeros, &digits]);
            }
            _ => self.pad_blank(&(sign.to_owned() + &digits), out),
        }
        true
    }
}

/// Returns a number as Go prints it where nothing else is said.
pub(super) fn plain(number: f64) -> String {
    let mut text = String::new();
    Form::default().float('v', number, &mut text);
    text
}

/// `1.5e3` as Go has it: a sign, and two digits at least.
fn exponential(text: &str) -> String {
    let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// The shorter of both forms; without a precision, with as many digits as it takes to tell the number from others.
fn general(size: f64, precision: Option<usize>) -> String {
    let text = match precision {
        None => format!("{size:e}"),
        Some(digits) => format!("{size:.*e}", digits.max(1) - 1),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let digits = match digits.trim_end_matches('0') {
        "" => "0",
        digits => digits,
    };
    let (count, point) = (i32::try_from(digits.len()).unwrap_or(i32::MAX), exponent + 1);
    let most = match precision {
        None => 6,
        Some(precision) => {
            let precision = i32::try_from(precision.max(1)).unwrap_or(i32::MAX);
            if precision > count && count >= point { count } else { precision }
        }
    };
    if exponent < -4 || exponent >= most {
        return exponential(&format!("{size:.*e}", digits.len() - 1));
    }
    format!("{size:.*}", usize::try_from(count - point).unwrap_or(0))
}

/// Returns a text in quotes as a literal of Go.
fn quoted(text: &str, quote: char, only_ascii: bool) -> String {
    let mut quoted = String::from(quote);
    for c in text.chars() {
        match c {
            '\\' => quoted.push_str("\\\\"),
            c if c == quote => quoted.extend(['\\', c]),
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0c' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x0b' => quoted.push_str("\\v"),
            c if c < ' ' || c == '\x7f' => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_ascii() => quoted.push(c),
            c if !only_ascii && !c.is_control() && !c.is_whitespace() => quoted.push(c),
            c if u32::from(c) < 0x1_0000 => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    quoted.push(quote);
    quoted
}

/// Returns what Go calls the type of a value.
fn kind(value: &Value) -> String {
    let texts = |mut values: Box<dyn Iterator<Item = &Value> + '_>| match values.all(Value::is_string) {
        true => "string",
        false => "interface {}",
    };
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(_) => "bool".to_owned(),
        Value::Number(number) if number.is_f64() => "float64".to_owned(),
        Value::Number(_) => "int".to_owned(),
        Value::String(_) => "string".to_owned(),
        Value::Array(items) => format!("[]{}", texts(Box::new(items.iter()))),
        Value::Object(map) => format!("map[string]{}", texts(Box::new(map.values()))),
    }
}

/// Returns a value as `%#v` has it.
fn literal(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!("{}{{{}}}", kind(value), items.iter().map(literal).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map
                .iter()
                .map(|(key, value)| format!("{}:{}", quoted(key, '"', false), literal(value)))
                .collect();
            entries.sort();
            format!("{}{{{}}}", kind(value), entries.join(", "))
        }
        Value::String(text) => quoted(text, '"', false),
        other => print(other),
    }
}

/// A value with its type.
fn typed(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        value => format!("{}={}", kind(value), print(value)),
    }
}

/// What is told of a verb that a value has not.
fn bad(verb: char, value: &Value) -> String {
    format!("%!{verb}({})", typed(value))
}
