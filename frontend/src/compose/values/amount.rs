//! Bytes and durations.

use crate::go;

/// Reads a number of bytes: `64m`, `1.5 GiB`, `100`; every unit is a power of 1024.
pub(crate) fn bytes(text: &str) -> Result<i64, String> {
    let invalid = || format!("invalid size: '{text}'");
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().map_err(|_| invalid())?;
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

/// Reads a duration in nanoseconds: `1h5m30s20ms`, with days and weeks too.
pub(crate) fn duration(text: &str) -> Result<i64, String> {
    go::parse_long_duration(text).ok_or_else(|| go::no_long_duration(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units_of_1024() {
        for (text, wanted) in [
            ("64m", 64 << 20),
            ("1.5k", 1536),
            ("100", 100),
            ("2 GiB", 2 << 30),
            ("1b", 1),
            (".5k", 512),
            ("1.k", 1024),
        ] {
            assert_eq!(bytes(text), Ok(wanted), "{text}");
        }
        for text in ["", "x", "1x", "-1", ".", "1 kk", "i", "1ib"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_duration_that_cannot_be_read_is_shown() {
        assert_eq!(duration("1m30s"), Ok(90_000_000_000));
        assert_eq!(duration("10").err().as_deref(), Some("time: missing unit in duration \"10\""));
        for text in ["", "s", "1x", "1s2"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
