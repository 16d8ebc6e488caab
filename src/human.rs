//! Sizes, spans of time and moments as Docker writes them.

use std::time::Duration;

use jiff::Timestamp;

const UNITS: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];

/// Returns a size in powers of 1000 with three significant digits (`4.42MB`).
pub(crate) fn size(bytes: u64) -> String {
    size_with(bytes, 3)
}

/// Returns a size in powers of 1000 with four significant digits (`1.318GB`).
pub(crate) fn precise_size(bytes: u64) -> String {
    size_with(bytes, 4)
}

/// Returns a size in powers of 1024 with four significant digits (`1.944GiB`).
pub(crate) fn binary_size(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{}{}", significant(value, 4), UNITS[unit])
}

fn size_with(bytes: u64, digits: usize) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let mut text = significant(value, digits);
    if text == "1000" && unit + 1 < UNITS.len() {
        text = "1".to_owned();
        unit += 1;
    }
    format!("{text}{}", UNITS[unit])
}

/// Writes a number below 1000 with so many significant digits and no zeros at the end.
fn significant(value: f64, digits: usize) -> String {
    let whole = if value >= 100.0 {
        3
    } else if value >= 10.0 {
        2
    } else {
        1
    };
    let text = format!("{value:.*}", digits.saturating_sub(whole));
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Returns a span of time in words (`2 weeks`).
pub(crate) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let minutes = seconds / 60;
    let hours = (span.as_secs_f64() / 3600.0 + 0.5) as u64;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", hours / 24 / 365),
    }
}

/// Returns how long ago a moment was (`2 weeks ago`); `N/A` for the epoch, which stands for "not known".
pub(crate) fn ago(moment: Timestamp, now: Timestamp) -> String {
    if moment == Timestamp::UNIX_EPOCH {
        return "N/A".to_owned();
    }
    let passed = now.duration_since(moment);
    let passed = Duration::try_from(passed).unwrap_or_default();
    format!("{} ago", self::span(passed))
}

/// Returns a moment as tables show it (`2026-11-21 15:57:06 +0000 UTC`).
pub(crate) fn moment(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string()
}

/// Returns a step's time as progress shows it (`1.2s`).
pub(crate) fn seconds(span: Duration) -> String {
    format!("{:.1}s", span.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_dockers() {
        for (bytes, short, long) in [
            (0, "0B", "0B"),
            (228, "228B", "228B"),
            (999, "999B", "999B"),
            (1_564, "1.56kB", "1.564kB"),
            (1_984_458, "1.98MB", "1.984MB"),
            (263_000_000, "263MB", "263MB"),
            (999_999, "1MB", "1MB"),
            (1_318_000_000, "1.32GB", "1.318GB"),
            (4_400_000, "4.4MB", "4.4MB"),
        ] {
            assert_eq!((size(bytes).as_str(), precise_size(bytes).as_str()), (short, long));
        }
    }

    #[test]
    fn spans_are_dockers() {
        let (minute, hour, day) = (60, 3600, 86_400);
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (minute, "About a minute"),
            (119, "About a minute"),
            (2 * minute, "2 minutes"),
            (59 * minute, "59 minutes"),
            (hour, "About an hour"),
            (47 * hour, "47 hours"),
            (2 * day, "2 days"),
            (14 * day, "2 weeks"),
            (60 * day, "2 months"),
            (800 * day, "2 years"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text, "{seconds}");
        }
    }

    #[test]
    fn moments() {
        let then: Timestamp = "2026-11-21T15:57:06.5Z".parse().unwrap();
        let now: Timestamp = "2026-11-21T16:08:10Z".parse().unwrap();
        assert_eq!(moment(then), "2026-11-21 15:57:06 +0000 UTC");
        assert_eq!(ago(then, now), "11 minutes ago");
        assert_eq!(ago(now, then), "Less than a second ago");
        assert_eq!(ago(Timestamp::UNIX_EPOCH, now), "N/A");
    }
}
