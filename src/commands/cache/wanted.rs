//! `--filter` of what the cache holds, with the keys of `docker buildx du` and `prune`.

use jiff::Timestamp;
use rbuild_model::span::nearest;

use super::inventory::Piece;
use crate::commands::filter::moment;
use crate::report::Mistake;

/// The keys.
pub(crate) const KEYS: &[&str] =
    &["id", "parents", "type", "description", "inuse", "mutable", "immutable", "shared", "private", "until"];

/// A condition on a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    field: Field,
    /// Whether it is to hold, or not to.
    holds: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    Id(String),
    Parents(String),
    Type(String),
    Description(String),
    InUse,
    Mutable,
    Shared,
    /// Not used since.
    Until(i64),
}

/// Whether a filter is one of the cache's own, not of images.
pub(crate) fn is_of_cache(text: &str) -> bool {
    let key = text.split(['=', '!', '~']).next().unwrap_or_default();
    KEYS.contains(&key) && key != "until"
}

/// Reads conditions.
pub(crate) fn parse(texts: &[String], now: Timestamp) -> Result<Vec<Condition>, Mistake> {
    texts.iter().map(|text| one(text, now)).collect()
}

fn one(text: &str, now: Timestamp) -> Result<Condition, Mistake> {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value.trim_start_matches('='))),
        None => (text, None),
    };
    let (key, is_not) = match key.strip_suffix('!') {
        Some(key) => (key, true),
        None => (key.strip_suffix('~').unwrap_or(key), false),
    };
    let needed = || {
        value
            .map(str::to_owned)
            .ok_or_else(|| Mistake::usage(format!("`--filter {text}`: write `{key}=VALUE`")))
    };
    let said = || match value {
        None => Ok(true),
        Some(value) => crate::flags::boolean(value)
            .map_err(|error| Mistake::usage(format!("`--filter {text}`: {error}"))),
    };
    let (field, holds) = match key {
        "id" => (Field::Id(needed()?), true),
        "parents" => (Field::Parents(needed()?), true),
        "type" => (Field::Type(needed()?), true),
        "description" => (Field::Description(needed()?), true),
        "inuse" => (Field::InUse, said()?),
        "mutable" => (Field::Mutable, said()?),
        "immutable" => (Field::Mutable, !said()?),
        "shared" => (Field::Shared, said()?),
        "private" => (Field::Shared, !said()?),
        "until" => {
            let value = needed()?;
            let moment = moment(&value, now).ok_or_else(|| {
                Mistake::usage(format!("`--filter {text}`: not a time"))
                    .hint("use an age like `24h`, seconds since 1970, or RFC 3339")
            })?;
            (Field::Until(moment.as_second()), true)
        }
        _ => {
            let mistake = Mistake::usage(format!("`--filter {text}`: unknown key `{key}`"));
            return Err(match nearest(key, KEYS.iter().copied()) {
                Some(near) => mistake.hint(format!("did you mean `{near}`?")),
                None => mistake.hint(format!("use one of [{}]", KEYS.join(", "))),
            });
        }
    };
    Ok(Condition { field, holds: holds != is_not })
}

impl Condition {
    /// Whether a piece fits.
    pub(crate) fn fits(&self, piece: &Piece) -> bool {
        let is = match &self.field {
            Field::Id(id) => piece.id.starts_with(id.trim_start_matches("sha256:")),
            Field::Parents(id) => piece.parents.iter().any(|parent| parent.starts_with(id.as_str())),
            Field::Type(kind) => piece.kind == kind,
            Field::Description(text) => piece.description.contains(text.as_str()),
            Field::InUse => piece.in_use,
            Field::Mutable => piece.mutable,
            Field::Shared => piece.shared,
            Field::Until(moment) => piece.used_at.is_none_or(|used_at| used_at < *moment),
        };
        is == self.holds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::cache::inventory::Share;

    fn piece(kind: &'static str, mutable: bool) -> Piece {
        Piece {
            id: "0123abcd".to_owned(),
            kind,
            share: Share::Cache,
            bytes: 1,
            description: "[build 2/4] RUN make".to_owned(),
            parents: vec!["ffff".to_owned()],
            created_at: None,
            used_at: Some(1000),
            uses: None,
            in_use: false,
            mutable,
            shared: false,
        }
    }

    #[test]
    fn conditions_are_those_of_docker() {
        let now = Timestamp::from_second(10_000).unwrap();
        let fits = |text: &str| {
            let condition = one(text, now).unwrap();
            (condition.fits(&piece("regular", false)), condition.fits(&piece("exec.cachemount", true)))
        };
        assert_eq!(fits("type=exec.cachemount"), (false, true));
        assert_eq!(fits("type!=exec.cachemount"), (true, false));
        assert_eq!(fits("mutable"), (false, true));
        assert_eq!(fits("mutable=false"), (true, false));
        assert_eq!(fits("immutable"), (true, false));
        assert_eq!(
            (fits("inuse"), fits("shared"), fits("private=true")),
            ((false, false), (false, false), (true, true))
        );
        assert_eq!(
            (fits("id=0123"), fits("id~=9"), fits("parents=ff")),
            ((true, true), (false, false), (true, true))
        );
        assert_eq!(fits("description~=RUN make"), (true, true));
        assert_eq!((fits("until=1h"), fits("until=3h")), ((true, true), (false, false)));
        assert!(
            one("typ=regular", now).is_err() && one("id", now).is_err() && one("until=soon", now).is_err()
        );
        assert!(is_of_cache("type=x") && is_of_cache("mutable") && is_of_cache("type!=x"));
        assert!(!is_of_cache("until=1h") && !is_of_cache("label=x"));
    }
}
