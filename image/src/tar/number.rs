//! Numbers in header fields: octal text, or base 256 where the first bit is set.

/// Reads a number that may be negative (only base 256 can be).
pub(super) fn signed(field: &[u8]) -> Option<i64> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => base_256(field),
        _ => i64::try_from(octal(field)?).ok(),
    }
}

/// Reads a number that may not be negative.
pub(super) fn unsigned(field: &[u8]) -> Option<u64> {
    u64::try_from(signed(field)?).ok()
}

/// Two's complement, most significant byte first, without the topmost bit, which marks the form.
fn base_256(field: &[u8]) -> Option<i64> {
    let (&first, rest) = field.split_first()?;
    let negative = first & 0x40 != 0;
    let mut value = i128::from(first & 0x7f) - if negative { 0x80 } else { 0 };
    for &byte in rest {
        value = value.checked_mul(256)?.checked_add(i128::from(byte))?;
        if value > i128::from(i64::MAX) || value < i128::from(i64::MIN) {
            return None;
        }
    }
    i64::try_from(value).ok()
}

/// Spaces, digits, and then spaces and NULs only; a field without digits is zero, as old programs leave unused
/// fields empty.
fn octal(field: &[u8]) -> Option<u64> {
    let start = field.iter().position(|&byte| byte != b' ').unwrap_or(field.len());
    let mut digits = field[start..].iter();
    let mut value = 0_u64;
    for &byte in digits.by_ref() {
        match byte {
            b'0'..=b'7' => value = value.checked_mul(8)?.checked_add(u64::from(byte - b'0'))?,
            b' ' | 0 => break,
            _ => return None,
        }
    }
    digits.all(|byte| matches!(byte, b' ' | 0)).then_some(value)
}

/// Writes octal digits with a closing NUL; `None` if the number does not fit.
pub(super) fn write_octal(field: &mut [u8], value: u64) -> Option<()> {
    let (last, digits) = field.split_last_mut()?;
    let mut rest = value;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest & 7) as u8;
        rest >>= 3;
    }
    *last = 0;
    (rest == 0).then_some(())
}

/// Reads plain decimal digits.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 20 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_accepts_the_forms_in_use_and_no_garbage() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"00000000012 ", Some(10)),
            (b"77777777", Some(0o77_777_777)),
            (b"\0\0\0\0", Some(0)),
            (b"    ", Some(0)),
            (b"644\0junk", None),
            (b"64 4", None),
            (b"8", None),
            (b"-1", None),
            (b"7777777777777777777777777", None),
        ] {
            assert_eq!(unsigned(field), value, "{}", field.escape_ascii());
        }
    }

    #[test]
    fn base_256_is_two_s_complement_within_64_bits() {
        assert_eq!(signed(b"\x80\0\0\0\0\0\0\x05"), Some(5));
        assert_eq!(signed(b"\xff\xff\xff\xff"), Some(-1));
        assert_eq!(unsigned(b"\xff\xff\xff\xff"), None);
        assert_eq!(signed(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"), Some(i64::MAX));
        assert_eq!(signed(b"\x80\0\0\0\x80\0\0\0\0\0\0\0"), None);
        assert_eq!(signed(b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), None);
    }

    #[test]
    fn octal_is_written_with_leading_zeros_and_refused_beyond_its_field() {
        let mut field = [1; 8];
        assert_eq!(write_octal(&mut field, 0o644), Some(()));
        assert_eq!(&field, b"0000644\0");
        assert_eq!(write_octal(&mut field, 0o7_777_777), Some(()));
        assert_eq!(write_octal(&mut field, 0o10_000_000), None);
    }

    #[test]
    fn decimal_wants_digits_only() {
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        for wrong in
            [&b""[..], b"+1", b"-1", b" 1", b"1e9", b"18446744073709551616", b"000000000000000000001"]
        {
            assert_eq!(decimal(wrong), None);
        }
    }
}
