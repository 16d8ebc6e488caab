//! `--filter key=value` of lists of images, and ages.

use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};
use rbuild_images::Image;
use rbuild_model::glob::Glob;

use super::labels::unknown;
use crate::report::Mistake;

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    /// Whether it has no name.
    Dangling(bool),
    /// It has a label, with a value if one is given.
    Label(String, Option<String>),
    /// It has not.
    NoLabel(String, Option<String>),
    /// One of its names fits a pattern.
    Reference(Glob),
    /// It is older than an image.
    Before(String),
    /// It is newer than an image.
    Since(String),
    /// It was made before a moment.
    Until(Timestamp),
}

/// The keys that lists of images know.
pub(super) const OF_IMAGES: &[&str] = &["dangling", "label", "reference", "before", "since", "until"];
/// The keys that say which images are removed.
pub(super) const OF_IMAGE_PRUNE: &[&str] = &["dangling", "label", "label!", "until"];
/// The keys that say what is removed.
pub(super) const OF_PRUNE: &[&str] = &["label", "label!", "until"];

/// Reads conditions that have certain keys.
pub(super) fn parse(texts: &[String], keys: &[&str], now: Timestamp) -> Result<Vec<Filter>, Mistake> {
    texts.iter().map(|text| one(text, keys, now)).collect()
}

fn one(text: &str, keys: &[&str], now: Timestamp) -> Result<Filter, Mistake> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| Mistake::usage(format!("`--filter {text}`: write `KEY=VALUE`")))?;
    let labelled = || match value.split_once('=') {
        Some((label, value)) => (label.to_owned(), Some(value.to_owned())),
        None => (value.to_owned(), None),
    };
    let known = if keys.contains(&key) { key } else { "" };
    Ok(match known {
        "dangling" => Filter::Dangling(
            crate::flags::boolean(value)
                .map_err(|error| Mistake::usage(format!("`--filter {text}`: {error}")))?,
        ),
        "label" => {
            let (label, value) = labelled();
            Filter::Label(label, value)
        }
        "label!" => {
            let (label, value) = labelled();
            Filter::NoLabel(label, value)
        }
        "reference" => Filter::Reference(
            Glob::new(value.as_bytes())
                .map_err(|error| Mistake::new(format!("`--filter {text}`: {error}")))?,
        ),
        "before" => Filter::Before(value.to_owned()),
        "since" => Filter::Since(value.to_owned()),
        "until" => Filter::Until(moment(value, now).ok_or_else(|| {
            Mistake::new(format!("`--filter {text}`: not a time"))
                .hint("use an age like `24h`, seconds since 1970, or RFC 3339")
        })?),
        _ => {
            return Err(unknown(key, keys));
        }
    })
}

/// Reads a moment: an age (`1h30m`; `-1h` is to come), seconds since 1970, RFC 3339, or a part of that, with a zone or
/// without one, which is UTC.
pub(super) fn moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Some(ahead) = text.strip_prefix('-').and_then(age) {
        return now.checked_add(ahead).ok();
    }
    if let Some(age) = age(text) {
        return now.checked_sub(age).ok();
    }
    of_epoch(text).or_else(|| text.parse().ok()).or_else(|| in_part(text))
}

/// Reads a date, with a time or without one, and with a zone (`Z`, `+02:00`) or in UTC.
fn in_part(text: &str) -> Option<Timestamp> {
    // A day has two of them itself.
    const DATE: usize = "2026-01-02".len();
    let (text, offset) = match text.get(DATE..).and_then(|rest| rest.rfind(['Z', '+', '-'])) {
        None => (text, Offset::UTC),
        Some(at) => match text.split_at(DATE + at) {
            (text, "Z") => (text, Offset::UTC),
            (text, zone) => {
                let (hours, minutes) = zone[1..].split_once(':')?;
                let number = |text: &str| text.parse::<u8>().ok().map(i32::from);
                let seconds = number(hours)? * 3600 + number(minutes)? * 60;
                let offset = if zone.starts_with('-') { -seconds } else { seconds };
                (text, Offset::from_seconds(offset).ok()?)
            }
        },
    };
    offset.to_timestamp(text.parse::<DateTime>().ok()?).ok()
}

/// Reads seconds since 1970, with a fraction of up to nine digits.
fn of_epoch(text: &str) -> Option<Timestamp> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.is_empty() || fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Timestamp::new(seconds.parse().ok()?, format!("{fraction:0<9}").parse().ok()?).ok()
}

fn age(text: &str) -> Option<SignedDuration> {
    let is_digit = |c: char| c.is_ascii_digit() || c == '.';
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, units) = rest.split_at(rest.find(|c| !is_digit(c))?);
        let (unit, more) = units.split_at(units.find(is_digit).unwrap_or(units.len()));
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * seconds;
        rest = more;
    }
    if text.is_empty() { None } else { SignedDuration::try_from_secs_f64(total).ok() }
}

impl Filter {
    /// Tells whether an image fits.
    pub(super) fn fits(&self, image: &Image, all: &[Image]) -> bool {
        let made =
            |image: &Image| image.config.created.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
        let named = |name: &str| {
            all.iter().find(|image| {
                image.id.to_string().trim_start_matches("sha256:").starts_with(name)
                    || name
                        .parse::<rbuild_model::reference::Reference>()
                        .is_ok_and(|reference| image.tags.contains(&reference.with_default_tag()))
            })
        };
        let labelled = |name: &String, value: &Option<String>| {
            let own = image.config.config.labels.get(name);
            own.is_some_and(|own| value.as_ref().is_none_or(|value| value == own))
        };
        match self {
            Self::Dangling(wanted) => image.tags.is_empty() == *wanted,
            Self::Label(name, value) => labelled(name, value),
            Self::NoLabel(name, value) => !labelled(name, value),
            Self::Reference(pattern) => image.tags.iter().any(|tag| {
                [tag.familiar_name(), tag.familiar(), tag.to_string()]
                    .iter()
                    .any(|name| pattern.matches(name.as_bytes()))
            }),
            Self::Before(name) => named(name).is_some_and(|other| made(image) < made(other)),
            Self::Since(name) => named(name).is_some_and(|other| made(image) > made(other)),
            Self::Until(moment) => made(image).is_some_and(|made| made < *moment),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_many_ways() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        for (text, moment) in [
            ("1.5h", "2026-01-01T22:30:00Z"),
            ("1m30s", "2026-01-01T23:58:30Z"),
            ("250ms", "2026-01-01T23:59:59.75Z"),
            ("1795360216.011716484", "2026-11-22T15:10:16.011716484Z"),
            ("2026-01-01", "2026-01-01T00:00:00Z"),
            ("2026-01-01T10:20", "2026-01-01T10:20:00Z"),
            ("2026-01-01T10:20:30.5", "2026-01-01T10:20:30.5Z"),
            ("2026-01-01T10:20:30+02:00", "2026-01-01T08:20:30Z"),
            ("2026-01-01Z", "2026-01-01T00:00:00Z"),
            ("2026-01-01-02:00", "2026-01-01T02:00:00Z"),
            ("2026-01-01T10:20+02:30", "2026-01-01T07:50:00Z"),
            ("-1h", "2026-01-02T01:00:00Z"),
        ] {
            assert_eq!(super::moment(text, now).map(|at| at.to_string()).as_deref(), Some(moment), "{text}");
        }
        for wrong in
            ["", "bogus", "1e9", "5y", "h", ".", "1.", "1.2.3s", "-", "--1h", "2026-01-01+2", "2026-01-01ZZ"]
        {
            assert_eq!(moment(wrong, now), None, "{wrong}");
        }
    }

    #[test]
    fn conditions_are_read() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        let read =
            |text: &str| parse(&[text.to_owned()], OF_IMAGES, now).map(|mut filters| filters.remove(0));
        assert_eq!(read("label=a=b").unwrap(), Filter::Label("a".to_owned(), Some("b".to_owned())));
        assert_eq!(read("until=24h").unwrap(), Filter::Until("2026-01-01T00:00:00Z".parse().unwrap()));
        assert_eq!(read("until=1d1m").unwrap(), Filter::Until("2025-12-31T23:59:00Z".parse().unwrap()));
        assert_eq!(read("until=0").unwrap(), Filter::Until(Timestamp::UNIX_EPOCH));
        let sweep = |text: &str| parse(&[text.to_owned()], OF_PRUNE, now);
        assert_eq!(sweep("label!=a=b").unwrap(), [Filter::NoLabel("a".to_owned(), Some("b".to_owned()))]);
        for bad in ["dangling=true", "reference=a", "before=a", "since=a"] {
            assert!(sweep(bad).is_err(), "{bad}");
        }
        for bad in ["dangling", "dangling=x", "until=5y", "danglin=true", "reference=["] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
