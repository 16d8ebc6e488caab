//! Ranges of ports as texts.

/// Reads `PORT[-PORT]`, the first no greater than the last.
pub(crate) fn range(text: &str) -> Option<(u16, u16)> {
    // The parser of numbers takes a sign as well.
    let port = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u16>().ok()).flatten()
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_one_port_or_two_in_order() {
        for (text, expected) in [
            ("80", Some((80, 80))),
            ("80-90", Some((80, 90))),
            ("0-65535", Some((0, 65535))),
            ("90-80", None),
            ("65536", None),
            ("+80", None),
            ("80-", None),
            ("1-2-3", None),
            ("", None),
        ] {
            assert_eq!(range(text), expected, "{text:?}");
        }
    }
}
