//! Bytes and durations.

/// Reads a number of bytes: `64m`, `1.5 GiB`, `100`; every unit is a power of 1024.
pub(crate) fn bytes(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = match number.bytes().next() {
        Some(c) if c.is_ascii_digit() && !number.ends_with('.') => number.parse().map_err(|_| invalid())?,
        _ => return Err(invalid()),
    };
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let power = match unit.strip_suffix('i').unwrap_or(unit) {
        "" if unit.is_empty() => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(format!("invalid suffix: '{}'", &text[end..].trim_start())),
    };
    let size = number * 1024_f64.powi(power);
    if size < 9.2e18 { Ok(size as i64) } else { Err(invalid()) }
}

const UNITS: &[(&str, i64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
    ("w", 604_800_000_000_000),
];

/// Reads a duration in nanoseconds: `1h5m30s20ms`, with days and weeks too.
pub(crate) fn duration(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid duration {text:?}");
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total = 0_f64;
    let mut exact = 0_i64;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(|| format!("missing unit in duration {text:?}"))?;
        let (number, behind) = rest.split_at(end);
        let unit_end = behind.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(behind.len());
        let (unit, next) = behind.split_at(unit_end);
        let (_, size) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(invalid)?;
        if number.contains('.') {
            total += number.parse::<f64>().map_err(|_| invalid())? * (*size as f64);
        } else {
            let number: i64 = number.parse().map_err(|_| invalid())?;
            exact = number.checked_mul(*size).and_then(|part| exact.checked_add(part)).ok_or_else(invalid)?;
        }
        rest = next;
    }
    let total = exact.checked_add(total as i64).ok_or_else(invalid)?;
    Ok(if negative { -total } else { total })
}

/// Writes a duration of nanoseconds: `1h0m30.5s`, `500ms`, `0s`.
pub(crate) fn write_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let fraction = |value: u64, unit: u64| {
        let digits = unit.ilog10() as usize;
        let text = format!("{}.{:0digits$}", value / unit, value % unit);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{nanos}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", fraction(nanos, 1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", fraction(nanos, 1_000_000)),
        _ => {
            let seconds = fraction(nanos % 60_000_000_000, 1_000_000_000);
            let seconds = if seconds.is_empty() { "0".to_owned() } else { seconds };
            let minutes = nanos / 60_000_000_000;
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
    fn bytes_have_units_of_1024() {
        for (text, wanted) in [("64m", 64 << 20), ("1.5k", 1536), ("100", 100), ("2 GiB", 2 << 30), ("1b", 1)]
        {
            assert_eq!(bytes(text), Ok(wanted), "{text}");
        }
        for text in ["", "x", "1x", "-1", "1.", "1 kk", "i", "1ib"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_read_and_written() {
        for (text, wanted) in [
            ("90s", "1m30s"),
            ("1h5m30s20ms", "1h5m30.02s"),
            ("1d", "24h0m0s"),
            ("2w", "336h0m0s"),
            ("1us", "1µs"),
            ("500ms", "500ms"),
            ("0s", "0s"),
            ("1.5s", "1.5s"),
            ("60m", "1h0m0s"),
            ("10s", "10s"),
        ] {
            assert_eq!(duration(text).map(write_duration).as_deref(), Ok(wanted), "{text}");
        }
        for text in ["", "10", "s", "1x", "1s2"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(nanos in 0_i64..1_000_000_000_000_000) {
            let text = write_duration(nanos);
            let again = duration(&text).unwrap_or(-1);
            prop_assert!((again - nanos).abs() <= 1, "{} {} {}", nanos, text, again);
        }
    }
}
