//! Times.

use jiff::{SignedDuration, Timestamp, civil, tz::Offset};

use super::{Function, World, function, text, whole};
use crate::hcl::Value;

/// The functions.
pub(super) const FUNCTIONS: &[Function] = &[
    function("formatdate", 2, 2, |a, _| format(&text(a, 0)?, &text(a, 1)?).map(Value::String)),
    function("timeadd", 2, 2, |a, _| {
        let (time, offset) = read(&text(a, 0)?)?;
        let later = time.checked_add(duration(&text(a, 1)?)?).map_err(|error| error.to_string())?;
        Ok(Value::string(show(later, offset)))
    }),
    function("timestamp", 0, 0, |_, world: &World| {
        let time = Timestamp::from_second(world.now).map_err(|error| error.to_string())?;
        Ok(Value::string(show(time, Offset::UTC)))
    }),
    function("unixtimestampparse", 1, 1, |a, _| {
        let seconds = whole(a, 0)?;
        let time = Timestamp::from_second(seconds).map_err(|error| error.to_string())?;
        let local = Offset::UTC.to_datetime(time);
        let number = |number: i64| Value::Number(number.into());
        let year_day = i64::from(local.day_of_year());
        let week = local.date().iso_week_date();
        Ok(Value::Map(
            [
                ("year", number(local.year().into())),
                ("year_day", number(year_day)),
                ("day", number(local.day().into())),
                ("month", number(local.month().into())),
                ("month_name", Value::string(MONTHS[local.month() as usize - 1])),
                ("weekday", number(local.weekday().to_sunday_zero_offset().into())),
                ("weekday_name", Value::string(WEEKDAYS[local.weekday().to_sunday_zero_offset() as usize])),
                ("hour", number(local.hour().into())),
                ("minute", number(local.minute().into())),
                ("second", number(local.second().into())),
                ("unix", number(seconds)),
                ("rfc3339", Value::string(show(time, Offset::UTC))),
                ("iso_year", number(week.year().into())),
                ("iso_week", number(week.week().into())),
            ]
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
        ))
    }),
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Reads a time of RFC 3339 with its distance from UTC.
fn read(text: &str) -> Result<(Timestamp, Offset), String> {
    let wrong = || format!("{text:?} is no time: write it as 2006-01-02T15:04:05Z");
    let time: Timestamp = text.parse().map_err(|_| wrong())?;
    let offset = match text.rfind(['+', '-']).filter(|at| *at > 10) {
        None => Offset::UTC,
        Some(at) => {
            let (hours, minutes) = text[at + 1..].split_once(':').ok_or_else(wrong)?;
            let hours: i32 = hours.parse().map_err(|_| wrong())?;
            let minutes: i32 = minutes.parse().map_err(|_| wrong())?;
            let seconds = hours * 3600 + minutes * 60;
            let signed = if text.as_bytes()[at] == b'-' { -seconds } else { seconds };
            Offset::from_seconds(signed).map_err(|_| wrong())?
        }
    };
    Ok((time, offset))
}

fn zone(offset: Offset, colon: &str) -> String {
    let minutes = offset.seconds() / 60;
    let sign = if minutes < 0 { '-' } else { '+' };
    format!("{sign}{:02}{colon}{:02}", minutes.abs() / 60, minutes.abs() % 60)
}

fn show(time: Timestamp, offset: Offset) -> String {
    let local = offset.to_datetime(time);
    let zone = if offset == Offset::UTC { "Z".to_owned() } else { zone(offset, ":") };
    format!("{}T{:02}:{:02}:{:02}{zone}", local.date(), local.hour(), local.minute(), local.second())
}

/// Reads a duration as Go writes it: `1h30m`.
fn duration(text: &str) -> Result<SignedDuration, String> {
    let wrong = || format!("{text:?} is no duration: write it as 1h30m");
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut seconds = 0.0;
    while !rest.is_empty() && rest != "0" {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let units = [("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9), ("h", 3600.0), ("m", 60.0), ("s", 1.0)];
        let (unit, worth) = units.into_iter().find(|(unit, _)| rest.starts_with(unit)).ok_or_else(wrong)?;
        rest = &rest[unit.len()..];
        seconds += number * worth;
    }
    SignedDuration::try_from_secs_f64(if negative { -seconds } else { seconds }).map_err(|_| wrong())
}

/// Writes a time as a pattern of repeated letters says (`YYYY-MM-DD`).
fn format(pattern: &str, time: &str) -> Result<String, String> {
    let (time, offset) = read(time)?;
    let local: civil::DateTime = offset.to_datetime(time);
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        if first == '\'' {
            let (quoted, after) = rest[1..].split_once('\'').ok_or("a quote has no end")?;
            out.push_str(if quoted.is_empty() { "'" } else { quoted });
            rest = after;
            continue;
        }
        let length = rest.chars().take_while(|letter| *letter == first).count() * first.len_utf8();
        let run = &rest[..length];
        rest = &rest[length..];
        let half = match local.hour() % 12 {
            0 => 12,
            hour => hour,
        };
        let month = MONTHS[local.month() as usize - 1];
        let weekday = WEEKDAYS[local.weekday().to_sunday_zero_offset() as usize];
        let zone_or_z =
            |colon: &str| if offset == Offset::UTC { "Z".to_owned() } else { zone(offset, colon) };
        out.push_str(&match run {
            "YYYY" => format!("{:04}", local.year()),
            "YY" => format!("{:02}", local.year() % 100),
            "MMMM" => month.to_owned(),
            "MMM" => month[..3].to_owned(),
            "MM" => format!("{:02}", local.month()),
            "M" => local.month().to_string(),
            "DD" => format!("{:02}", local.day()),
            "D" => local.day().to_string(),
            "EEEE" => weekday.to_owned(),
            "EEE" => weekday[..3].to_owned(),
            "hh" => format!("{:02}", local.hour()),
            "h" => local.hour().to_string(),
            "HH" => format!("{half:02}"),
            "H" => half.to_string(),
            "AA" => if local.hour() < 12 { "AM" } else { "PM" }.to_owned(),
            "aa" => if local.hour() < 12 { "am" } else { "pm" }.to_owned(),
            "mm" => format!("{:02}", local.minute()),
            "m" => local.minute().to_string(),
            "ss" => format!("{:02}", local.second()),
            "s" => local.second().to_string(),
            "ZZZZ" => zone(offset, ""),
            "ZZZZZ" => zone(offset, ":"),
            "ZZZ" if offset == Offset::UTC => "UTC".to_owned(),
            "ZZZ" => zone(offset, ""),
            "Z" => zone_or_z(":"),
            other if first.is_ascii_alphabetic() => {
                return Err(format!("{other:?} means nothing in a pattern of a time"));
            }
            other => other.to_owned(),
        });
    }
    Ok(out)
}
