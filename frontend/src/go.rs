//! Texts as Go reads and prints them. The history of an image and the print of a project hold such texts, and tools compare
//! them.

use std::fmt::Write as _;

/// Writes `["a" "b"]`.
pub(crate) fn quoted_list(items: &[String]) -> String {
    let items: Vec<String> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", items.join(" "))
}

/// Writes a Go string literal.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for ch in text.chars() {
        match ch {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            ch if ch.is_ascii_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(ch));
            }
            // Nor are separators and formats printed as they are.
            ch if ch.is_control()
                || (ch.is_whitespace() && ch != ' ')
                || matches!(ch, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}') =>
            {
                let _ = write!(out, "\\u{:04x}", u32::from(ch));
            }
            ch => out.push(ch),
        }
    }
    out.push('"');
    out
}

const UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

const LONG_UNITS: [(&str, i128); 2] = [("d", 86_400_000_000_000), ("w", 604_800_000_000_000)];

/// Reads a Go duration (`1m30s`, `1.5h`, `0`) as nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    parse_with(text, &[])
}

/// Reads a duration that may have days and weeks too (`1w2d`), which Go itself does not know.
pub(crate) fn parse_long_duration(text: &str) -> Option<i64> {
    parse_with(text, &LONG_UNITS)
}

fn parse_with(text: &str, more_units: &[(&str, i128)]) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|ch: char| !ch.is_ascii_digit() && ch != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let unit_end = after.find(|ch: char| ch.is_ascii_digit() || ch == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(unit_end);
        let scale = UNITS.iter().chain(more_units).find(|(name, _)| *name == unit)?.1;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || number.len() > 30 {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(scale)?)?;
        let mut place = scale;
        for digit in fraction.bytes() {
            place /= 10;
            total += i128::from(digit - b'0') * place;
        }
        rest = next;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// Says why a text is no duration, as Go's `time.ParseDuration` does.
pub(crate) fn no_duration(text: &str) -> String {
    told_with(text, &[])
}

/// Says the same where days and weeks count too.
pub(crate) fn no_long_duration(text: &str) -> String {
    told_with(text, &LONG_UNITS)
}

fn told_with(text: &str, more_units: &[(&str, i128)]) -> String {
    let given = quoted(text);
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    while rest.starts_with(|ch: char| ch.is_ascii_digit() || ch == '.') {
        let (whole, after) = rest.split_at(digits(rest));
        let after = after.strip_prefix('.').map_or(after, |after| {
            let fraction = digits(after);
            &after[fraction..]
        });
        if whole.is_empty() && rest.len() - after.len() == 1 {
            break;
        }
        let end = after.find(|ch: char| ch.is_ascii_digit() || ch == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        if unit.is_empty() {
            return format!("time: missing unit in duration {given}");
        }
        if !UNITS.iter().chain(more_units).any(|(name, _)| *name == unit) {
            return format!("time: unknown unit {} in duration {given}", quoted(unit));
        }
        rest = next;
    }
    format!("time: invalid duration {given}")
}

/// Writes a duration as Go does: `1m30s`, `1.5s`, `0s`.
pub fn duration(nanoseconds: i64) -> String {
    let total = nanoseconds.unsigned_abs();
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let with_fraction = |value: u64, scale: u64| {
        let whole = value / scale;
        let width = scale.ilog10() as usize;
        let fraction = format!("{:0width$}", value % scale);
        let fraction = fraction.trim_end_matches('0');
        if scale == 1 || fraction.is_empty() { whole.to_string() } else { format!("{whole}.{fraction}") }
    };
    match total {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{total}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", with_fraction(total, 1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", with_fraction(total, 1_000_000)),
        _ => {
            let seconds = with_fraction(total % 60_000_000_000, 1_000_000_000);
            let minutes = total / 60_000_000_000;
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn literals_show_what_can_be_printed() {
        assert_eq!(quoted("<é \u{2028}\u{feff}\u{7f}\t日\""), r#""<é \u2028\ufeff\x7f\t日\"""#);
    }

    #[test]
    fn what_is_no_duration_is_told_as_go_does() {
        for (text, told) in [
            ("", r#"time: invalid duration """#),
            ("x", r#"time: invalid duration "x""#),
            (".s", r#"time: invalid duration ".s""#),
            ("5", r#"time: missing unit in duration "5""#),
            ("1.2.3s", r#"time: missing unit in duration "1.2.3s""#),
            ("1x", r#"time: unknown unit "x" in duration "1x""#),
            ("-1s2 m", r#"time: unknown unit " m" in duration "-1s2 m""#),
            ("9999999999h", r#"time: invalid duration "9999999999h""#),
        ] {
            assert_eq!((parse_duration(text), no_duration(text)), (None, told.to_owned()));
        }
    }

    #[test]
    fn durations_are_read_and_written_as_go_does() {
        for (text, nanoseconds, written) in [
            ("0", 0, "0s"),
            ("30s", 30_000_000_000, "30s"),
            ("1m30s", 90_000_000_000, "1m30s"),
            ("1.5h", 5_400_000_000_000, "1h30m0s"),
            ("1500ms", 1_500_000_000, "1.5s"),
            ("2h", 7_200_000_000_000, "2h0m0s"),
            ("10us", 10_000, "10µs"),
            ("1.25ms", 1_250_000, "1.25ms"),
            ("7ns", 7, "7ns"),
            ("-1s", -1_000_000_000, "-1s"),
            (".5s", 500_000_000, "500ms"),
        ] {
            assert_eq!(parse_duration(text), Some(nanoseconds), "{text}");
            assert_eq!(duration(nanoseconds), written, "{text}");
        }
        for wrong in ["", "1", "s", "1x", "1.2.3s", ".s", "99999999999h", "1s x"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn long_durations_have_days_and_weeks() {
        for (text, written) in
            [("1d", "24h0m0s"), ("2w", "336h0m0s"), ("1h5m30s20ms", "1h5m30.02s"), ("60m", "1h0m0s")]
        {
            assert_eq!(parse_long_duration(text).map(duration).as_deref(), Some(written), "{text}");
        }
        assert_eq!(parse_duration("1d"), None);
        assert_eq!(no_long_duration("1d2"), r#"time: missing unit in duration "1d2""#);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(nanoseconds: i64) {
            prop_assert_eq!(parse_duration(&duration(nanoseconds)), Some(nanoseconds));
        }
    }

    #[test]
    fn strings_are_quoted_as_go_does() {
        let items = ["a\"b".to_owned(), "c\\d".to_owned(), "\t\n\u{1}ü".to_owned()];
        assert_eq!(quoted_list(&items), r#"["a\"b" "c\\d" "\t\n\x01ü"]"#);
        assert_eq!(quoted_list(&[]), "[]");
    }
}
