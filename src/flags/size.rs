//! Amounts of memory: `512m`, `1.5GiB`, `64`; all in powers of 1024, as Docker reads them.

use super::{Invalid, Read};

/// How much swap a container may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Swap {
    /// As much as there is.
    Unlimited,
    /// Memory and swap together, in bytes.
    Total(u64),
}

/// Reads an amount in bytes.
pub(crate) fn bytes(text: &str) -> Read<u64> {
    let wrong =
        |why: &str| Invalid::new(format!("{why}: use a number with b, k, m, g, t or p, as in `512m`"));
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.').map_or(0, |at| at + 1);
    let (number, unit) = text.split_at(end);
    let number = number.trim();
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(wrong("not a size"));
    }
    let unit = unit.trim().to_ascii_lowercase();
    let unit = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    let power = match unit {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        other => return Err(wrong(&format!("unknown unit `{other}`"))),
    };
    let scale = 1024_u64.pow(power);
    let too_much = || Invalid::new("the size is larger than any machine");
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(scale).filter(|size| i64::try_from(*size).is_ok()).ok_or_else(too_much);
    }
    let exact = number.parse::<f64>().map_err(|_| wrong("not a number"))? * scale as f64;
    if exact < i64::MAX as f64 { Ok(exact as u64) } else { Err(too_much()) }
}

/// Reads `--memory-swap`: an amount, or `-1` for no limit.
pub(crate) fn swap(text: &str) -> Read<Swap> {
    if text == "-1" { Ok(Swap::Unlimited) } else { bytes(text).map(Swap::Total) }
}
