//! Output that is the same in every run: times, digests, ids and folders of a test replaced by words.

/// Replaces what differs from run to run.
///
/// `sha256:…` and `blake3:…` become `[DIGEST]`, words of 12, 32 or 64 hexadecimal digits `[ID]`, durations such as `0.3s` or
/// `12 ms` `[TIME]`, points in time such as `2026-01-02T03:04:05.6Z` `[DATE]`.
pub fn steady(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_word) {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        // Parts of a date or a digest are more than one word.
        if let Some(length) = date(rest) {
            out.push_str("[DATE]");
            rest = &rest[length..];
            continue;
        }
        if let Some(length) = digest(rest) {
            out.push_str("[DIGEST]");
            rest = &rest[length..];
            continue;
        }
        if let Some(length) = duration(rest) {
            out.push_str("[TIME]");
            rest = &rest[length..];
            continue;
        }
        let end = rest.find(|character| !is_word(character)).unwrap_or(rest.len());
        let word = &rest[..end];
        let id = matches!(end, 12 | 32 | 64)
            && word.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
            && word.bytes().any(|byte| byte.is_ascii_digit());
        out.push_str(if id { "[ID]" } else { word });
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn digest(text: &str) -> Option<usize> {
    let (name, rest) = text.split_once(':')?;
    let digits = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
    (matches!(name, "sha256" | "blake3") && digits >= 12).then_some(name.len() + 1 + digits)
}

/// A number with an optional fraction and a unit of time.
fn duration(text: &str) -> Option<usize> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let mut length = digits(text);
    if length == 0 {
        return None;
    }
    if text[length..].starts_with('.') {
        length += 1 + digits(&text[length + 1..]);
    }
    let gap = usize::from(text[length..].starts_with(' '));
    let unit: &str =
        text[length + gap..].split(|character: char| !is_word(character)).next().unwrap_or_default();
    let known = matches!(unit, "s" | "ms" | "us" | "µs" | "ns");
    known.then_some(length + gap + unit.len())
}

/// A point in time as RFC 3339 writes it.
fn date(text: &str) -> Option<usize> {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00";
    let bytes = text.as_bytes();
    let fits = bytes.len() >= SHAPE.len()
        && bytes.iter().zip(SHAPE).all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            b'T' => matches!(byte, b'T' | b' '),
            other => byte == other,
        });
    let tail = |character: char| character.is_ascii_digit() || matches!(character, '.' | ':' | '+' | 'Z');
    fits.then(|| {
        SHAPE.len()
            + text[SHAPE.len()..].find(|character| !tail(character)).unwrap_or(text.len() - SHAPE.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_becomes_a_word() {
        for (text, expected) in [
            ("step 3 of 4 took 0.31s", "step 3 of 4 took [TIME]"),
            ("built in 12 ms (CACHED)", "built in [TIME] (CACHED)"),
            ("sha256:0123456789abcdef0123 pulled", "[DIGEST] pulled"),
            ("id 0123456789ab, name decade000000", "id [ID], name [ID]"),
            ("created 2026-01-02T03:04:05.678Z.", "created [DATE]"),
            ("3 layers, 5 steps, busybox:1.35.0", "3 layers, 5 steps, busybox:1.35.0"),
            ("", ""),
            ("µ äöü 4s", "µ äöü [TIME]"),
        ] {
            assert_eq!(steady(text), expected);
        }
    }
}
