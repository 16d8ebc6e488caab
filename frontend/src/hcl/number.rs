//! Numbers as HCL has them: one kind, whole or not.

use std::cmp::Ordering;
use std::fmt;

/// The greatest whole number that is kept to the last digit.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number(pub f64);

impl Number {
    /// Reads a number in decimal form, with or without an exponent.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('-').unwrap_or(text);
        if !digits.starts_with(|first: char| first.is_ascii_digit()) {
            return None;
        }
        text.parse().ok().filter(|number: &f64| number.is_finite()).map(Self)
    }

    /// Returns the number if it is whole and not too large.
    pub fn whole(self) -> Option<i64> {
        (self.0.fract() == 0.0 && self.0.abs() <= EXACT).then_some(self.0 as i64)
    }
}

impl From<i64> for Number {
    fn from(number: i64) -> Self {
        Self(number as f64)
    }
}

impl Eq for Number {}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl fmt::Display for Number {
    /// Writes all digits that mean something, never an exponent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(whole) = self.whole() {
            return write!(f, "{whole}");
        }
        // Fifteen digits are what a sum of decimal fractions is sure of.
        let rounded: f64 = format!("{:.14e}", self.0).parse().unwrap_or(self.0);
        write!(f, "{rounded}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_write_them() {
        for (number, text) in [
            (1.0, "1"),
            (-3.0, "-3"),
            (0.1 + 0.2, "0.3"),
            (1.5, "1.5"),
            (1e20, "100000000000000000000"),
            (1e-7, "0.0000001"),
        ] {
            assert_eq!(Number(number).to_string(), text);
        }
        assert_eq!(Number::parse("1e3"), Some(Number(1000.0)));
        assert_eq!(Number::parse("nan"), None);
        assert_eq!(Number::parse("-.5"), None);
    }
}
