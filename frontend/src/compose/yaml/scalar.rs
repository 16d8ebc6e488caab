//! What a plain scalar means.

use super::Value;

/// Returns what a plain scalar means.
pub(super) fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        _ => {}
    }
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.')) {
        return Value::String(text.to_owned());
    }
    let digits = text.replace('_', "");
    if let Some(number) = integer(&digits) {
        return Value::Int(number);
    }
    if let Some(number) = wide(&digits) {
        return Value::Wide(number);
    }
    if is_decimal(&digits)
        && let Ok(number) = digits.parse::<f64>()
        && number.is_finite()
    {
        return Value::Float(number);
    }
    Value::String(text.to_owned())
}

/// Reads a whole number in any of the spellings: decimal, `0x`, `0b`, `0o`, and octal by a leading zero.
pub(super) fn integer(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = radix(digits)?;
    let signed = if negative { format!("-{digits}") } else { digits.to_owned() };
    i64::from_str_radix(&signed, radix).ok()
}

/// Reads a whole number that has no sign, in any of the spellings.
fn wide(text: &str) -> Option<u64> {
    let (radix, digits) = radix(text)?;
    u64::from_str_radix(digits, radix).ok()
}

/// Returns the base that a number is written in, and its digits.
fn radix(digits: &str) -> Option<(u32, &str)> {
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    let is_right = !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_alphanumeric());
    is_right.then_some((radix, digits))
}

/// Tells whether a text is a number written in decimal, perhaps with a fraction and an exponent.
pub(super) fn is_decimal(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
    let exponent_is_right = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        !exponent.is_empty() && digits(exponent)
    });
    digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty()) && exponent_is_right
}

/// Tells whether a text would be read as something other than a text.
pub(super) fn is_ambiguous(text: &str) -> bool {
    !matches!(plain(text), Value::String(_))
        || is_timestamp(text)
        || is_old_boolean(text)
        || is_sexagesimal(text)
}

fn is_old_boolean(text: &str) -> bool {
    matches!(
        text,
        "y" | "Y"
            | "yes"
            | "Yes"
            | "YES"
            | "on"
            | "On"
            | "ON"
            | "n"
            | "N"
            | "no"
            | "No"
            | "NO"
            | "off"
            | "Off"
            | "OFF"
    )
}

/// Numbers to the base of 60, as older parsers read them: `1:30`, `190:20:30.15`.
fn is_sexagesimal(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let mut parts = text.split(':');
    let Some(first) = parts.next() else { return false };
    if !first.starts_with(|c: char| c.is_ascii_digit())
        || !first.bytes().all(|c| c.is_ascii_digit() || c == b'_')
    {
        return false;
    }
    let rest: Vec<&str> = parts.collect();
    let Some((last, middle)) = rest.split_last() else { return false };
    let two = |part: &str| match part.as_bytes() {
        [one] => one.is_ascii_digit(),
        [ten, one] => (b'0'..=b'5').contains(ten) && one.is_ascii_digit(),
        _ => false,
    };
    let (whole, fraction) = last.split_once('.').unwrap_or((last, ""));
    middle.iter().all(|part| two(part))
        && two(whole)
        && fraction.bytes().all(|c| c.is_ascii_digit() || c == b'_')
}

/// Tells whether a text looks like a date, alone or with a time.
fn is_timestamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    let number =
        |from: usize, to: usize| bytes.get(from..to).is_some_and(|part| part.iter().all(u8::is_ascii_digit));
    if !number(0, 4) || bytes.get(4) != Some(&b'-') {
        return false;
    }
    let parts: Vec<&str> = text.splitn(3, '-').collect();
    let [_, month, rest] = parts.as_slice() else { return false };
    let day_length = rest.bytes().take_while(u8::is_ascii_digit).count();
    let short = |length: usize| length == 1 || length == 2;
    if !short(month.len()) || !month.bytes().all(|c| c.is_ascii_digit()) || !short(day_length) {
        return false;
    }
    let Ok(month) = month.parse::<u8>() else { return false };
    let Ok(day) = rest[..day_length].parse::<u8>() else { return false };
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return false;
    }
    let time = &rest[day_length..];
    time.is_empty() || is_time(time)
}

fn is_time(text: &str) -> bool {
    let Some(text) = text.strip_prefix(['t', 'T']).or_else(|| text.strip_prefix(' ')) else { return false };
    let end = text.find(|c: char| !c.is_ascii_digit() && !matches!(c, ':' | '.')).unwrap_or(text.len());
    let (clock, zone) = text.split_at(end);
    let parts: Vec<&str> = clock.split(':').collect();
    let [hour, minute, second] = parts.as_slice() else { return false };
    let (second, fraction) = second.split_once('.').unwrap_or((second, "0"));
    let below = |text: &str, limit: u8| text.len() <= 2 && text.parse::<u8>().is_ok_and(|n| n < limit);
    let zone = zone.trim_start_matches(' ');
    below(hour, 24)
        && below(minute, 60)
        && below(second, 60)
        && fraction.bytes().all(|c| c.is_ascii_digit())
        && (zone.is_empty()
            || zone == "Z"
            || zone.strip_prefix(['+', '-']).is_some_and(|zone| {
                zone.split(':').count() <= 2 && zone.bytes().all(|c| c.is_ascii_digit() || c == b':')
            }))
}
