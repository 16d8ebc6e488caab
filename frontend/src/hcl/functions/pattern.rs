//! Regular expressions and versions.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use regex_lite::{Captures, Regex};

use super::{Function, World, function, text};
use crate::hcl::Value;

/// The functions.
pub(super) const FUNCTIONS: &[Function] = &[
    function("regex", 2, 2, |a, _| {
        let (regex, whole) = (read(&text(a, 0)?)?, text(a, 1)?);
        let found = regex.captures(&whole).ok_or_else(|| "the pattern did not match".to_owned())?;
        Ok(groups(&regex, &found))
    }),
    function("regex_replace", 3, 3, |a, _| {
        let regex = read(&text(a, 1)?)?;
        Ok(Value::string(regex.replace_all(&text(a, 0)?, &*text(a, 2)?)))
    }),
    function("regexall", 2, 2, |a, _| {
        let (regex, whole) = (read(&text(a, 0)?)?, text(a, 1)?);
        Ok(Value::List(regex.captures_iter(&whole).map(|found| groups(&regex, &found)).collect()))
    }),
];

fn read(pattern: &str) -> Result<Regex, String> {
    Regex::new(pattern).map_err(|error| format!("{pattern:?} is no regular expression: {error}"))
}

/// What a pattern found: its groups by name or position, or all of it where it has none.
fn groups(regex: &Regex, found: &Captures<'_>) -> Value {
    let of = |group: Option<regex_lite::Match<'_>>| {
        group.map_or(Value::Null, |group| Value::string(group.as_str()))
    };
    if regex.captures_len() == 1 {
        return of(found.get(0));
    }
    let named: BTreeMap<String, Value> =
        regex.capture_names().flatten().map(|name| (name.to_owned(), of(found.name(name)))).collect();
    if named.is_empty() {
        Value::List((1..found.len()).map(|at| of(found.get(at))).collect())
    } else {
        Value::Map(named)
    }
}

/// A version: its numbers, and what comes before a release.
type Version = (Vec<u64>, Option<Vec<String>>);

fn version(text: &str) -> Option<Version> {
    let text = text.trim().trim_start_matches('v');
    let text = text.split('+').next()?;
    let (numbers, pre) = text.split_once('-').map_or((text, None), |(numbers, pre)| (numbers, Some(pre)));
    let mut numbers: Vec<u64> = numbers.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    if numbers.len() > 3 {
        return None;
    }
    numbers.resize(3, 0);
    Some((numbers, pre.map(|pre| pre.split('.').map(str::to_owned).collect())))
}

fn compare(left: &Version, right: &Version) -> Ordering {
    left.0.cmp(&right.0).then_with(|| match (&left.1, &right.1) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(left), Some(right)) => left
            .iter()
            .zip(right)
            .map(|(a, b)| match (a.parse::<u64>(), b.parse::<u64>()) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                (Err(_), Err(_)) => a.cmp(b),
            })
            .find(|order| order.is_ne())
            .unwrap_or_else(|| left.len().cmp(&right.len())),
    })
}

/// Says whether a version fulfils a constraint like `>= 1.2, < 2`.
pub(super) fn compare_versions(arguments: &[Value], _: &World) -> Result<Value, String> {
    let (subject, constraint) = (text(arguments, 0)?, text(arguments, 1)?);
    let subject = version(&subject).ok_or_else(|| format!("{subject:?} is no version"))?;
    let one = |part: &str| -> Result<bool, String> {
        let part = part.trim();
        let operator: String = part.chars().take_while(|letter| "=!<>~^".contains(*letter)).collect();
        let written = part[operator.len()..].trim();
        let wanted = version(written).ok_or_else(|| format!("{part:?} is no constraint"))?;
        let order = compare(&subject, &wanted);
        let depth = written.split('.').count();
        let below = |keep: usize| subject.0[..keep] == wanted.0[..keep];
        Ok(match &*operator {
            "" | "=" | "==" => order.is_eq(),
            "!=" => order.is_ne(),
            ">" => order.is_gt(),
            ">=" => order.is_ge(),
            "<" => order.is_lt(),
            "<=" => order.is_le(),
            "~" => order.is_ge() && below(depth.saturating_sub(1).clamp(1, 2)),
            "^" => {
                let first = wanted.0.iter().position(|number| *number != 0).unwrap_or(2);
                order.is_ge() && below(first + 1)
            }
            _ => return Err(format!("{part:?} is no constraint")),
        })
    };
    let any = |alternative: &str| -> Result<bool, String> {
        alternative.split(',').map(one).try_fold(true, |all, next| Ok(all && next?))
    };
    let result =
        constraint.split("||").map(any).try_fold(false, |some, next| Ok::<_, String>(some || next?))?;
    Ok(Value::Bool(result))
}
