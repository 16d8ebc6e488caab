//! Numbers as text, digit for digit as the reference prints them.

/// The shortest digits of a number and the place of its point: `0.digits * 10^point`.
struct Digits {
    negative: bool,
    digits: String,
    point: i32,
}

fn digits(number: f64) -> Digits {
    let text = format!("{:e}", number.abs());
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits = mantissa.replace('.', "");
    Digits { negative: number.is_sign_negative(), digits, point: exponent + 1 }
}

/// Returns a number with an exponent where it is below a ten-thousandth, or a million or more.
pub(crate) fn go_float(number: f64) -> String {
    if number.is_nan() {
        return ".nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { ".inf".to_owned() } else { "-.inf".to_owned() };
    }
    let parts = digits(number);
    let exponent = parts.point - 1;
    if number != 0.0 && !(-4..6).contains(&exponent) { scientific(&parts, exponent) } else { plain(&parts) }
}

/// Returns a number as JSON has it.
pub(crate) fn json_float(number: f64) -> String {
    let parts = digits(number);
    let size = number.abs();
    if number != 0.0 && !(1e-6..1e21).contains(&size) {
        scientific(&parts, parts.point - 1).replace("e-0", "e-")
    } else {
        plain(&parts)
    }
}

fn sign(parts: &Digits) -> &'static str {
    if parts.negative { "-" } else { "" }
}

fn scientific(parts: &Digits, exponent: i32) -> String {
    let (first, rest) = parts.digits.split_at(1);
    let point = if rest.is_empty() { "" } else { "." };
    let sign_of_exponent = if exponent < 0 { '-' } else { '+' };
    format!("{}{first}{point}{rest}e{sign_of_exponent}{:02}", sign(parts), exponent.abs())
}

fn plain(parts: &Digits) -> String {
    let sign = sign(parts);
    let count = i32::try_from(parts.digits.len()).unwrap_or(i32::MAX);
    if parts.point <= 0 {
        let zeros = "0".repeat(usize::try_from(-parts.point).unwrap_or(0));
        if parts.digits.chars().all(|c| c == '0') {
            return format!("{sign}0");
        }
        format!("{sign}0.{zeros}{}", parts.digits)
    } else if parts.point >= count {
        let zeros = "0".repeat(usize::try_from(parts.point - count).unwrap_or(0));
        format!("{sign}{}{zeros}", parts.digits)
    } else {
        let (whole, fraction) = parts.digits.split_at(usize::try_from(parts.point).unwrap_or(0));
        format!("{sign}{whole}.{fraction}")
    }
}
