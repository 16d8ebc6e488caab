//! Conditions on labels and ages, as `--filter` has them for networks and volumes.

use std::collections::BTreeMap;

use crate::report::Mistake;

/// A condition on labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LabelFilter {
    /// It has the label, with the value if one is given.
    With(String, Option<String>),
    /// It does not.
    Without(String, Option<String>),
}

impl LabelFilter {
    /// Reads the condition of a filter's key, if the key is one of labels.
    pub(super) fn read(key: &str, value: &str) -> Option<Self> {
        let (label, wanted) = match value.split_once('=') {
            Some((label, wanted)) => (label.to_owned(), Some(wanted.to_owned())),
            None => (value.to_owned(), None),
        };
        match key {
            "label" => Some(Self::With(label, wanted)),
            "label!" => Some(Self::Without(label, wanted)),
            _ => None,
        }
    }

    /// Tells whether labels fit.
    pub(super) fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |label: &String, wanted: &Option<String>| {
            labels.get(label).is_some_and(|own| wanted.as_ref().is_none_or(|wanted| wanted == own))
        };
        match self {
            Self::With(label, wanted) => has(label, wanted),
            Self::Without(label, wanted) => !has(label, wanted),
        }
    }
}

/// Says that a filter's key is not known.
pub(super) fn unknown(key: &str, known: &[&str]) -> Mistake {
    let mistake = Mistake::new(format!("invalid filter '{key}'"));
    match rbuild_model::span::nearest(key, known.iter().copied()) {
        Some(near) => mistake.hint(format!("did you mean `{near}`?")),
        None => mistake.hint(format!("use one of [{}]", known.join(", "))),
    }
}

/// Reads a truth value of a filter.
pub(super) fn truth(key: &str, value: &str) -> Result<bool, Mistake> {
    crate::flags::boolean(value).map_err(|_| Mistake::new(format!("invalid filter '{key}={value}'")))
}

/// Labels in one line: `a=b,c=`.
pub(super) fn line(labels: &BTreeMap<String, String>) -> String {
    labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_fit_by_key_or_by_value() {
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned()), ("c".to_owned(), String::new())]);
        for (key, value, fits) in [
            ("label", "a", true),
            ("label", "a=b", true),
            ("label", "a=x", false),
            ("label", "z", false),
            ("label!", "a", false),
            ("label!", "a=x", true),
            ("label!", "z", true),
        ] {
            assert_eq!(LabelFilter::read(key, value).unwrap().fits(&labels), fits, "{key}={value}");
        }
        assert_eq!(LabelFilter::read("name", "a"), None);
        assert_eq!(line(&labels), "a=b,c=");
    }
}
